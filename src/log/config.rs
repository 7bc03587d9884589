//! The settings of one log, with Kafka's defaults.

use crate::limits;
use crate::protocol::records::TimestampKind;
use crate::types::{LeaderEpoch, Offset, TimestampMs};
use bytes::Bytes;

/// What a topic may set about its partitions' logs. Names and defaults are Kafka's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is rolled before it grows past this.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment is rolled once its batches span more than this.
    pub segment_roll_ms: i64,
    /// `index.interval.bytes`: log bytes between two index entries.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`: a segment is rolled when an index would grow past this.
    pub index_bytes_max: u32,
    /// `retention.ms`; -1 keeps everything.
    pub retention_ms: i64,
    /// `retention.bytes`; -1 keeps everything.
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`. Kept to be described; files are removed at once, since a reader
    /// that holds one open can still finish.
    pub file_delete_delay_ms: i64,
    /// `max.message.bytes`: bytes of one batch, as sent.
    pub message_bytes_max: u32,
    /// `message.timestamp.type`.
    pub timestamp_kind: TimestampKind,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_ms_max: i64,
    /// `cleanup.policy` names `compact`: records must have keys.
    pub compact: bool,
    /// `cleanup.policy` names `delete`: retention applies.
    pub delete: bool,
    /// `write.caching`: produces are answered from the page cache.
    pub write_caching: bool,
    /// `producer.id.expiration.ms` of the broker.
    pub producer_expiration_ms: i64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_roll_ms: 7 * 24 * 3_600_000,
            index_interval_bytes: 4096,
            index_bytes_max: 10 * 1024 * 1024,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            message_bytes_max: limits::BATCH_BYTES_MAX_DEFAULT.unsigned_abs(),
            timestamp_kind: TimestampKind::CreateTime,
            timestamp_before_ms_max: i64::MAX,
            timestamp_after_ms_max: 3_600_000,
            compact: false,
            delete: true,
            write_caching: false,
            producer_expiration_ms: 24 * 3_600_000,
        }
    }
}

/// Who asks for an append as leader; decides which checks apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client's produce: everything is checked.
    Client,
    /// A group or transaction coordinator: sequences are not checked, control batches are fine.
    Coordinator,
    /// A leader of another node, whose records are copied: it has checked them, and they leave the
    /// disk reserve alone.
    Replica,
    /// The Raft log: as [`Self::Coordinator`], and the disk reserve may be used.
    Raft,
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record; of the original batch, for a duplicate.
    pub base_offset: Offset,
    /// Offset of the last record; of the original batch, for a duplicate.
    pub last_offset: Offset,
    /// The leader's time, if the topic stamps it.
    pub append_time: Option<TimestampMs>,
    /// Where the log starts now.
    pub log_start_offset: Offset,
    /// Whether the producer had sent this batch before; then nothing was written.
    pub duplicate: bool,
    /// The bytes as they lie in the log; empty for a duplicate.
    pub bytes: Bytes,
}

/// A record found by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// Where the record is.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: TimestampMs,
    /// The epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
}

/// What `DescribeProducers` tells of one active producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Who.
    pub producer_id: crate::types::ProducerId,
    /// Its newest epoch.
    pub producer_epoch: crate::types::ProducerEpoch,
    /// Sequence of its last record, or none after a marker alone.
    pub last_sequence: crate::types::Sequence,
    /// Time of its last batch.
    pub last_timestamp: TimestampMs,
    /// Epoch of the transaction coordinator that wrote its last marker, or -1.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins, if it has one.
    pub transaction_start: Option<Offset>,
}

/// An aborted transaction that overlaps a range of offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbortedTransaction {
    /// Offset of the transaction's first record.
    pub first_offset: Offset,
    /// Whose it was.
    pub producer_id: crate::types::ProducerId,
    /// Offset of the abort marker.
    pub last_offset: Offset,
    /// The last stable offset after the marker.
    pub last_stable_offset: Offset,
}
