//! Chance: ids that must be unique, and jitter.

use rand::Rng as _;

/// Sixteen random bytes in the shape of a version 4 UUID, never one whose printed form starts
/// with `-` (command lines would take it for a flag) and never all zero.
#[must_use]
pub fn id_bytes() -> [u8; 16] {
    loop {
        let mut bytes = [0u8; 16];
        rand::rng().fill_bytes(&mut bytes);
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        // The first base64 character is the top six bits; 62 prints as '-'.
        if bytes[0] >> 2 != 62 {
            return bytes;
        }
    }
}

/// A random 31-bit number, for ids that only have to differ from recent ones.
#[must_use]
pub fn positive_i32() -> i32 {
    let mut bytes = [0u8; 4];
    rand::rng().fill_bytes(&mut bytes);
    i32::from_le_bytes(bytes) & i32::MAX
}

/// A generator whose numbers follow from its seed alone (SplitMix64), for everything that must
/// happen the same way twice. Never for ids or secrets.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// Starts the sequence that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound`, exclusive; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
