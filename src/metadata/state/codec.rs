//! Values as bytes: one version byte, then bincode.
//!
//! Integers are variable-length, little-endian; the order of fields and variants is the format.
//! A reader that meets a version it does not know says so, and never guesses.

use bincode::Options as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are not a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer version of this program, or damaged.
    #[error("format version {found} is not known; this program reads up to {known}")]
    Version {
        /// What the bytes say.
        found: u8,
        /// What this program knows.
        known: u8,
    },
    /// Damaged.
    #[error("malformed: {0}")]
    Malformed(String),
}

/// The value behind its version byte.
///
/// # Panics
/// Never for the types of this module: they hold nothing that bincode refuses.
#[must_use]
pub fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    let mut bytes = vec![version];
    bincode::DefaultOptions::new()
        .serialize_into(&mut bytes, value)
        .expect("invariant: plain values always serialize into memory");
    bytes
}

/// How many bytes [`encode`] would make.
#[must_use]
pub fn encoded_bytes<T: Serialize>(value: &T) -> usize {
    let body = bincode::DefaultOptions::new().serialized_size(value).unwrap_or(u64::MAX);
    usize::try_from(body.saturating_add(1)).unwrap_or(usize::MAX)
}

/// Reads what [`encode`] wrote with this version.
///
/// # Errors
/// [`CodecError`], also for bytes left over.
pub fn decode<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<T, CodecError> {
    let Some((found, body)) = bytes.split_first() else {
        return Err(CodecError::Malformed("no bytes at all".to_owned()));
    };
    if *found != version {
        return Err(CodecError::Version { found: *found, known: version });
    }
    // No length in the bytes can ask for more memory than there are bytes.
    bincode::DefaultOptions::new()
        .with_limit(body.len() as u64)
        .deserialize(body)
        .map_err(|error| CodecError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_anything_else_is_an_error() {
        let bytes = encode(3, &("text".to_owned(), 300u32));
        assert_eq!(bytes, b"\x03\x04text\xfb\x2c\x01");
        assert_eq!(bytes.len(), encoded_bytes(&("text".to_owned(), 300u32)));
        assert_eq!(decode(3, &bytes), Ok(("text".to_owned(), 300u32)));
        let other = decode::<(String, u32)>(4, &bytes);
        assert_eq!(other, Err(CodecError::Version { found: 3, known: 4 }));
        for cut in 0..bytes.len() {
            assert!(decode::<(String, u32)>(3, &bytes[..cut]).is_err());
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(decode::<(String, u32)>(3, &longer).is_err());
        // A length of 2^62 bytes, and nothing behind it.
        let hostile = [3, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0x40];
        assert!(decode::<(String, u32)>(3, &hostile).is_err());
    }
}
