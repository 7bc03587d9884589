//! What can go wrong in a log, by what the caller does next.

use crate::types::Offset;
use std::io;
use std::path::{Path, PathBuf};

/// Everything but a refused append.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The offset is below the log start offset or above the log end offset.
    #[error("offset {asked} is outside of the log, which spans {start} to {end}")]
    OutOfRange {
        /// What was asked for.
        asked: Offset,
        /// The log start offset.
        start: Offset,
        /// The log end offset.
        end: Offset,
    },
    /// The bytes were deleted or truncated while they were read: look again.
    #[error("the log was truncated or deleted during the read")]
    Moved,
    /// Stored bytes are not what was written. They must not be served: repair from another
    /// replica, or give the partition up.
    #[error("stored batch at offset {offset} in {path} is damaged: {what}")]
    Corrupt {
        /// The first offset that cannot be read.
        offset: Offset,
        /// The segment file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The disk refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A write or sync failed before, and the log takes nothing any more.
    #[error("the log failed and takes no more writes: {0}")]
    Failed(String),
    /// A file of text or fixed layout does not have that layout.
    #[error("{path} is malformed: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Whether the system is short of file descriptors or memory: nothing is wrong with the disk, and
/// the same may work a little later.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

impl Error {
    /// Whether the system was short of file descriptors or memory, so that nothing is known
    /// against the disk.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_shortage(source))
    }

    /// Names the path that an I/O error happened at.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// One record that made its batch be refused (KIP-467).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// Its place in the batch, from 0.
    pub index: i32,
    /// Why.
    pub message: String,
}

/// Why an append was refused. A duplicate is no error.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The batch does not follow the producer's last one.
    #[error("{0}")]
    OutOfOrderSequence(String),
    /// A newer incarnation of the producer has written here.
    #[error("{0}")]
    InvalidProducerEpoch(String),
    /// A transactional producer wrote outside of its transaction.
    #[error("{0}")]
    InvalidTransactionState(String),
    /// A marker comes from a transaction coordinator that was replaced.
    #[error("{0}")]
    CoordinatorFenced(String),
    /// The batch or some of its records break the rules.
    #[error("{message}")]
    InvalidRecord {
        /// About the batch.
        message: String,
        /// About single records; empty when the batch as a whole is wrong.
        records: Vec<RecordError>,
    },
    /// The bytes changed on the way, or are no batch.
    #[error("{0}")]
    Corrupt(String),
    /// The batch is larger than `max.message.bytes`.
    #[error("the record batch has {bytes} bytes; max.message.bytes is {bytes_max}")]
    TooLarge {
        /// Bytes of the batch.
        bytes: usize,
        /// The topic's limit.
        bytes_max: usize,
    },
    /// The batch is larger than `segment.bytes`.
    #[error("the record batch has {bytes} bytes; segment.bytes is {bytes_max}")]
    LargerThanSegment {
        /// Bytes of the batch.
        bytes: usize,
        /// The topic's limit.
        bytes_max: usize,
    },
    /// A record's time is too far off, or the producer claims to stamp for the broker.
    #[error("{message}")]
    InvalidTimestamp {
        /// About the batch.
        message: String,
        /// About single records.
        records: Vec<RecordError>,
    },
    /// The codec bits name no codec.
    #[error("{0}")]
    UnsupportedCodec(String),
    /// Replicated batches do not continue the log.
    #[error("the log ends at {end}, but the batches begin at {got}")]
    UnexpectedOffset {
        /// Where the log ends.
        end: Offset,
        /// Where the batches begin.
        got: Offset,
    },
    /// Nothing was written, to keep the disk's reserve. Try again later.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// A write or sync failed, now or before, and the log takes nothing any more.
    #[error("the log failed and takes no more writes: {0}")]
    Failed(String),
}
