//! What is in a file of a data directory, for people: every kind of file, entry by entry.
//!
//! A dump is for when something is wrong, so it goes on where a reader would refuse: what is
//! damaged becomes an [`Entry::Problem`], with the place where it was met.
//!
//! Invariant: only reads. Holds one batch or a few entries at a time, however large the file.

mod fixed;
mod segment;
mod text;

use super::error::Error;
use super::files::{FileKind, parse_name};
use super::{checkpoint, epochs};
use crate::env::disk::{Disk, OpenMode};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use bytes::Bytes;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// The kinds of files that can be dumped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `.log`: record batches.
    Segment,
    /// `.index`: positions by offset.
    OffsetIndex,
    /// `.timeindex`: offsets by time.
    TimeIndex,
    /// `.txnindex`: aborted transactions.
    TransactionIndex,
    /// `.snapshot`: producers at an offset.
    ProducerSnapshot,
    /// `leader-epoch-checkpoint`.
    LeaderEpochs,
    /// One of the files of offsets by partition.
    Offsets,
    /// `partition.metadata`, `meta.properties` and the like: names and values.
    Properties,
}

/// One thing in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// A record batch.
    Batch(BatchEntry),
    /// A record of the batch before it.
    Record(RecordEntry),
    /// An entry of an offset index.
    Position {
        /// Last offset of a batch.
        offset: Offset,
        /// Where that batch begins in the log file.
        position: u64,
    },
    /// An entry of a time index.
    Time {
        /// No record up to the offset has a larger one.
        timestamp: TimestampMs,
        /// Last offset of the batch that has it.
        offset: Offset,
    },
    /// An aborted transaction.
    Aborted {
        /// Whose it was.
        producer_id: ProducerId,
        /// Its first offset.
        first_offset: Offset,
        /// Offset of its marker.
        last_offset: Offset,
        /// The last stable offset when the marker was written.
        last_stable_offset: Offset,
    },
    /// A producer of a snapshot.
    Producer(ProducerEntry),
    /// A leader epoch.
    Epoch {
        /// The epoch.
        leader_epoch: LeaderEpoch,
        /// Where it begins.
        start_offset: Offset,
    },
    /// The offset of a partition.
    PartitionOffset {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Its offset.
        offset: Offset,
    },
    /// A name and a value.
    Property {
        /// The name.
        key: String,
        /// The value.
        value: String,
    },
    /// Something that should not be so.
    Problem {
        /// Where in the file, in bytes (in lines, for text).
        position: u64,
        /// What is wrong.
        problem: String,
    },
}

/// The header of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchEntry {
    /// Where in the file, in bytes.
    pub position: u64,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Records in it.
    pub count: i32,
    /// Epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// The idempotent producer, or -1.
    pub producer_id: ProducerId,
    /// Its epoch, or -1.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record, or -1.
    pub base_sequence: Sequence,
    /// Sequence of the last record, or -1.
    pub last_sequence: Sequence,
    /// Whether it is part of a transaction.
    pub is_transactional: bool,
    /// Whether it holds markers.
    pub is_control: bool,
    /// Timestamp that the records count from (or the delete horizon).
    pub base_timestamp: TimestampMs,
    /// The largest timestamp.
    pub max_timestamp: TimestampMs,
    /// `create_time` or `log_append_time`.
    pub timestamp_type: &'static str,
    /// `none`, `gzip`, `snappy`, `lz4`, `zstd`, or `unknown`.
    pub compression: &'static str,
    /// Bytes of the whole batch.
    pub bytes: usize,
    /// The stored checksum.
    pub crc: u32,
    /// Whether it fits the bytes.
    pub is_valid: bool,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordEntry {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: TimestampMs,
    /// Its sequence, or -1.
    pub sequence: Sequence,
    /// The key.
    #[serde(skip)]
    pub key: Option<Bytes>,
    /// The value.
    #[serde(skip)]
    pub value: Option<Bytes>,
    /// Names and values of the headers.
    #[serde(skip)]
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    /// What a control record says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
}

/// The state of one producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProducerEntry {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of its last record.
    pub last_sequence: Sequence,
    /// Offset of its last record, or -1.
    pub last_offset: Offset,
    /// How many offsets its last batch spans, less one.
    pub offset_delta: i32,
    /// Time of its last batch.
    pub timestamp: TimestampMs,
    /// Epoch of the coordinator that wrote its last marker, or -1.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins, or -1.
    pub transaction_first_offset: Offset,
}

/// The entries of a file, in order.
pub type Entries = Box<dyn Iterator<Item = Result<Entry, Error>>>;

/// Whether a file's name says that it is one of ours, and what it holds.
#[must_use]
pub fn kind_of(name: &str) -> Option<Kind> {
    if let Some((_, kind)) = parse_name(name) {
        return Some(match kind {
            FileKind::Log => Kind::Segment,
            FileKind::Index => Kind::OffsetIndex,
            FileKind::TimeIndex => Kind::TimeIndex,
            FileKind::TxnIndex => Kind::TransactionIndex,
            FileKind::Snapshot => Kind::ProducerSnapshot,
        });
    }
    match name {
        epochs::FILE => Some(Kind::LeaderEpochs),
        // Kafka has one more of them, for its cleaner.
        name if name.ends_with("-offset-checkpoint") => Some(Kind::Offsets),
        checkpoint::META_PROPERTIES
        | checkpoint::PARTITION_METADATA
        | checkpoint::CLEAN_SHUTDOWN => Some(Kind::Properties),
        _ => None,
    }
}

/// Opens a file for a dump. `deep` gives the records of each batch too.
///
/// # Errors
/// Those of the disk. A name that [`kind_of`] does not know gives [`Error::Malformed`].
pub fn dump(disk: &dyn Disk, path: &Path, deep: bool) -> Result<(Kind, Entries), Error> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let Some(kind) = kind_of(&name) else {
        let what = "its name is none that a data directory has".to_owned();
        return Err(Error::Malformed { path: path.to_owned(), what });
    };
    let file = disk.open(path, OpenMode::Read).map_err(Error::io(path))?;
    let base = parse_name(&name).map_or(Offset::ZERO, |(base, _)| base);
    let path: Arc<Path> = Arc::from(path);
    let entries: Entries = match kind {
        Kind::Segment => Box::new(segment::Batches::new(file, path, base, deep)),
        Kind::OffsetIndex => Box::new(fixed::positions(file, path, base)),
        Kind::TimeIndex => Box::new(fixed::times(file, path, base)),
        Kind::TransactionIndex => Box::new(fixed::aborted(file, path, base)),
        Kind::ProducerSnapshot => Box::new(fixed::producers(&*file, &path)?.into_iter().map(Ok)),
        Kind::LeaderEpochs => Box::new(text::epochs(&*file, &path)?.into_iter().map(Ok)),
        Kind::Offsets => Box::new(text::offsets(&*file, &path)?.into_iter().map(Ok)),
        Kind::Properties => Box::new(text::properties(&*file, &path)?.into_iter().map(Ok)),
    };
    Ok((kind, entries))
}

fn problem(position: u64, problem: impl Into<String>) -> Entry {
    Entry::Problem { position, problem: problem.into() }
}

#[cfg(test)]
mod tests;
