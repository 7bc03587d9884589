//! A version byte in front of every payload.

use super::Error;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// An encoded value behind its version byte, as it travels in a call.
///
/// ```text
/// 0  version  u8
/// 1  value    bincode 1.3, fixed-size integers
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload(Vec<u8>);

/// The newest version that this node writes and understands.
const VERSION: u8 = 1;

impl Payload {
    /// Encodes a value.
    ///
    /// # Panics
    /// When the type cannot be encoded at all, which a test of it would show.
    #[must_use]
    pub fn encode<T: Serialize>(value: &T) -> Self {
        let mut bytes = vec![VERSION];
        bincode::serialize_into(&mut bytes, value)
            .expect("invariant: payload types have no unserialisable parts");
        Self(bytes)
    }

    /// Decodes a value.
    ///
    /// # Errors
    /// [`Error::Version`] for a newer version, [`Error::Malformed`] for anything else.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        match self.0.split_first() {
            Some((&VERSION, value)) => {
                bincode::deserialize(value).map_err(|error| Error::Malformed(error.to_string()))
            }
            Some((&found, _)) => Err(Error::Version { found, known: VERSION }),
            None => Err(Error::Malformed("it is empty".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_begins_with_its_version_and_a_newer_one_is_refused() {
        let payload = Payload::encode(&7u32);
        assert_eq!(payload, Payload(vec![1, 7, 0, 0, 0]));
        assert_eq!(payload.decode::<u32>().expect("decodes"), 7);
        let newer = Payload(vec![2, 7, 0, 0, 0]);
        assert!(matches!(newer.decode::<u32>(), Err(Error::Version { found: 2, known: 1 })));
        assert!(matches!(Payload(vec![]).decode::<u32>(), Err(Error::Malformed(_))));
        assert!(matches!(Payload(vec![1, 7]).decode::<u32>(), Err(Error::Malformed(_))));
    }
}
