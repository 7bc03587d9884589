//! Control records: the markers that end transactions (KIP-98).

use super::BatchError;
use bytes::Bytes;

/// What a control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlKind {
    /// The producer's transaction is aborted.
    Abort,
    /// The producer's transaction is committed.
    Commit,
    /// A type for other uses, such as Kafka's own Raft log.
    Other(i16),
}

/// A control record, from the key and value of a record in a control batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ControlRecord {
    /// What it says.
    pub kind: ControlKind,
    /// Epoch of the transaction coordinator that wrote it; 0 for other kinds.
    pub coordinator_epoch: i32,
}

impl ControlRecord {
    /// Reads a control record.
    ///
    /// # Errors
    /// [`BatchError::Malformed`].
    pub fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, BatchError> {
        const BAD_KEY: BatchError = BatchError::Malformed("a control record has no proper key");
        const BAD_VALUE: BatchError = BatchError::Malformed("a marker has no proper value");
        let key = key.and_then(|key| key.first_chunk::<4>()).ok_or(BAD_KEY)?;
        if i16::from_be_bytes([key[0], key[1]]) < 0 {
            return Err(BAD_KEY);
        }
        let kind = match i16::from_be_bytes([key[2], key[3]]) {
            0 => ControlKind::Abort,
            1 => ControlKind::Commit,
            other => return Ok(Self { kind: ControlKind::Other(other), coordinator_epoch: 0 }),
        };
        let value = value.and_then(|value| value.first_chunk::<6>()).ok_or(BAD_VALUE)?;
        if i16::from_be_bytes([value[0], value[1]]) < 0 {
            return Err(BAD_VALUE);
        }
        let coordinator_epoch = i32::from_be_bytes([value[2], value[3], value[4], value[5]]);
        Ok(Self { kind, coordinator_epoch })
    }

    /// The record's key: version 0 and the type.
    #[must_use]
    pub fn key(&self) -> Bytes {
        let kind: i16 = match self.kind {
            ControlKind::Abort => 0,
            ControlKind::Commit => 1,
            ControlKind::Other(other) => other,
        };
        let [high, low] = kind.to_be_bytes();
        Bytes::copy_from_slice(&[0, 0, high, low])
    }

    /// The record's value: version 0 and the coordinator epoch.
    #[must_use]
    pub fn value(&self) -> Bytes {
        let [a, b, c, d] = self.coordinator_epoch.to_be_bytes();
        Bytes::copy_from_slice(&[0, 0, a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_5_control_marker_layout() {
        let commit = ControlRecord { kind: ControlKind::Commit, coordinator_epoch: 0x0102_0304 };
        assert_eq!(commit.key(), [0, 0, 0, 1].as_slice());
        assert_eq!(commit.value(), [0, 0, 1, 2, 3, 4].as_slice());
        assert_eq!(ControlRecord::parse(Some(&commit.key()), Some(&commit.value())), Ok(commit));
        assert!(ControlRecord::parse(Some(&[0, 0, 0]), None).is_err());
        assert!(ControlRecord::parse(Some(&[0, 0, 0, 0]), Some(&[0, 0, 1])).is_err());
        assert!(ControlRecord::parse(None, None).is_err());
        let leader_change = ControlRecord::parse(Some(&[0, 0, 0, 2]), None).expect("known shape");
        assert_eq!(leader_change.kind, ControlKind::Other(2));
    }
}
