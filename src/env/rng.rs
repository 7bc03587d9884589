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
