//! A version byte in front of every payload.

use super::Error;
use bincode::Options as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What one call, or its answer, carries: an encoded value behind its version byte, and behind
/// that raw bytes that are never encoded or copied.
///
/// ```text
/// 0  version  u8
/// 1  value    bincode 1.3, fixed-size integers
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    head: Bytes,
    raw: Vec<Bytes>,
}

/// The newest version that this node writes and understands.
const VERSION: u8 = 1;

impl Payload {
    /// Encodes a value.
    ///
    /// # Panics
    /// When the type cannot be encoded at all, which a test of it would show.
    #[must_use]
    pub fn encode<T: Serialize>(value: &T) -> Self {
        let mut writer = BytesMut::new().writer();
        writer.get_mut().put_u8(VERSION);
        bincode::serialize_into(&mut writer, value)
            .expect("invariant: payload types have no unserialisable parts");
        Self { head: writer.into_inner().freeze(), raw: Vec::new() }
    }

    /// The same value with `raw` bytes behind it: records, a piece of a snapshot. They are handed to
    /// the socket as they are; the receiver gets them in one piece.
    #[must_use]
    pub fn with_raw(mut self, raw: Vec<Bytes>) -> Self {
        self.raw = raw;
        self
    }

    /// What came in a frame. Nothing of it is looked at before [`Payload::decode`].
    #[must_use]
    pub fn from_parts(head: Bytes, raw: Vec<Bytes>) -> Self {
        Self { head, raw }
    }

    /// The encoded value with its version byte, and the raw bytes.
    #[must_use]
    pub fn into_parts(self) -> (Bytes, Vec<Bytes>) {
        (self.head, self.raw)
    }

    /// Bytes of all of it.
    #[must_use]
    pub fn length(&self) -> usize {
        self.head.len() + self.raw.iter().map(Bytes::len).sum::<usize>()
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// [`Error::Version`] for a newer version, [`Error::Malformed`] for anything else.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        match self.head.split_first() {
            Some((&VERSION, value)) => {
                // As `bincode::serialize` writes, and nothing may follow.
                bincode::DefaultOptions::new()
                    .with_fixint_encoding()
                    .deserialize(value)
                    .map_err(|error| Error::Malformed(error.to_string()))
            }
            Some((&found, _)) => Err(Error::Version { found, known: VERSION }),
            None => Err(Error::Malformed("it is empty".to_owned())),
        }
    }

    /// The raw bytes behind the value.
    #[must_use]
    pub fn raw(&self) -> &[Bytes] {
        &self.raw
    }

    /// The raw bytes behind the value.
    #[must_use]
    pub fn into_raw(self) -> Vec<Bytes> {
        self.raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(head: &'static [u8]) -> Payload {
        Payload { head: Bytes::from_static(head), raw: Vec::new() }
    }

    #[test]
    fn a_payload_begins_with_its_version_and_a_newer_one_is_refused() {
        let payload = Payload::encode(&7u32);
        assert_eq!(payload, bare(&[1, 7, 0, 0, 0]));
        assert_eq!(payload.decode::<u32>().expect("decodes"), 7);
        let newer = bare(&[2, 7, 0, 0, 0]);
        assert!(matches!(newer.decode::<u32>(), Err(Error::Version { found: 2, known: 1 })));
        assert!(matches!(bare(&[]).decode::<u32>(), Err(Error::Malformed(_))));
        assert!(matches!(bare(&[1, 7]).decode::<u32>(), Err(Error::Malformed(_))));
        let longer = bare(&[1, 7, 0, 0, 0, 0]);
        assert!(matches!(longer.decode::<u32>(), Err(Error::Malformed(_))), "bytes are left over");
    }
}
