//! What can go wrong with a partition, by what the caller does next.

use crate::log::{self, AppendError};
use crate::types::Offset;

/// Why a partition did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another node leads, or nobody does: refresh the metadata.
    #[error("this node does not lead the partition")]
    NotLeader,
    /// The caller's leader epoch is older than ours: refresh the metadata.
    #[error("the leader epoch of the request is older than the partition's")]
    FencedEpoch,
    /// The caller's leader epoch is newer than ours: try again soon.
    #[error("the leader epoch of the request is newer than the partition's")]
    UnknownEpoch,
    /// The offset is below the log start offset or above the log end offset.
    #[error("offset {asked} is outside of the log, which spans {start} to {end}")]
    OffsetOutOfRange {
        /// What was asked for.
        asked: Offset,
        /// The log start offset.
        start: Offset,
        /// The log end offset.
        end: Offset,
    },
    /// A new leader does not know yet how far the partition is committed: try again soon.
    #[error("the high watermark is not known yet")]
    OffsetNotAvailable,
    /// The time is up; whether the write is committed is not known.
    #[error("timed out waiting for the write to be committed")]
    Timeout,
    /// The ISR is smaller than `min.insync.replicas`; nothing was written.
    #[error("fewer in-sync replicas than min.insync.replicas; nothing was written")]
    NotEnoughReplicas,
    /// As above, but the write happened before the ISR shrank.
    #[error("written, but there are fewer in-sync replicas than min.insync.replicas")]
    NotEnoughReplicasAfterAppend,
    /// This replica's storage failed, and it is stopped.
    #[error("the partition's storage failed: {0}")]
    Storage(String),
    /// Stored bytes are damaged; they are not served.
    #[error("{0}")]
    Corrupt(String),
    /// The log refused the batch.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<log::Error> for Error {
    fn from(error: log::Error) -> Self {
        match error {
            log::Error::OutOfRange { asked, start, end } => {
                Self::OffsetOutOfRange { asked, start, end }
            }
            // The caller looks again and finds the log as it is now.
            log::Error::Moved => Self::OffsetNotAvailable,
            error @ log::Error::Corrupt { .. } => Self::Corrupt(error.to_string()),
            other => Self::Storage(other.to_string()),
        }
    }
}
