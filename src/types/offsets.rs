//! Offsets of records in one partition, and sequence numbers of one producer.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A position in one partition's log. The first record ever appended has offset 0.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Offset(pub i64);

impl Offset {
    /// Where every log begins.
    pub const ZERO: Self = Self(0);
    /// "Not known" on the wire.
    pub const NONE: Self = Self(-1);

    /// The offset `count` records later.
    ///
    /// # Panics
    /// On overflow, which a 64-bit count of real records never reaches; offsets from the wire
    /// are checked before they get here.
    #[must_use]
    pub fn plus(self, count: i64) -> Self {
        Self(self.0.checked_add(count).expect("invariant: offsets stay far below i64::MAX"))
    }

    /// The next offset.
    #[must_use]
    pub fn next(self) -> Self {
        self.plus(1)
    }

    /// How many offsets lie from `earlier` (inclusive) to this one (exclusive); negative when
    /// `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of one record within a producer's writes to one partition. Counts records, and
/// wraps from `i32::MAX` to 0 (KIP-98).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Sequence(pub i32);

impl Sequence {
    /// "No sequence": a batch of a producer without idempotence.
    pub const NONE: Self = Self(-1);

    /// The sequence `count` records later, wrapped as Kafka wraps it. Total, because both numbers
    /// may come from a batch that nobody has checked yet.
    #[must_use]
    pub fn plus(self, count: i32) -> Self {
        const SEQUENCES: i64 = 1 << 31;
        let sum = i64::from(self.0) + i64::from(count);
        Self(sum.rem_euclid(SEQUENCES) as i32)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_from_the_largest_to_zero() {
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 2).plus(5), Sequence(2));
        assert_eq!(Sequence(7).plus(3), Sequence(10));
        for edge in [i32::MIN, -2, 0, i32::MAX] {
            let _ = (Sequence(edge).plus(i32::MAX), Sequence(edge).plus(i32::MIN));
        }
    }
}
