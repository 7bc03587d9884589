//! Epochs: counters that fence what is old. A larger epoch always wins.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! epoch {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        impl $name {
            /// The first epoch.
            pub const ZERO: Self = Self(0);
            /// "Not known" on the wire and in checkpoints.
            pub const NONE: Self = Self(-1);

            /// The epoch after this one.
            ///
            /// # Panics
            /// When the counter is used up, which no real history reaches.
            #[must_use]
            pub fn next(self) -> Self {
                assert!(self.0 < <$inner>::MAX, "epoch counter used up");
                Self(self.0 + 1)
            }

            /// Whether the epoch is known at all.
            #[must_use]
            pub fn is_known(self) -> bool {
                self.0 >= 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

epoch!(
    /// Counts the leaders of one partition; stamped into every record batch (KIP-101).
    LeaderEpoch,
    i32
);
epoch!(
    /// Counts the changes to one partition's ISR and replicas; compared by AlterPartition (KIP-497).
    PartitionEpoch,
    i32
);
epoch!(
    /// Identifies one registration of a broker: the Raft index of that registration (KIP-631).
    BrokerEpoch,
    i64
);
epoch!(
    /// Counts the incarnations of one producer id; a newer one fences the older (KIP-98).
    ProducerEpoch,
    i16
);
