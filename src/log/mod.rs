//! One partition's bytes: segments, indexes, recovery, retention.
//!
//! Floor 1. Synchronous: callers hold their own lock around a [`Log`], and do without it what is
//! slow: [`ReadPlan::execute`] and [`FlushJob::run`].
//!
//! Invariants:
//! - What `flushed_offset` covers survives a power cut: bytes, file names, epochs.
//! - Segment files hold whole record batches as they were sent; only base offset, leader epoch
//!   and, where the topic asks for it, the append time are stamped.
//! - Indexes and snapshots are hints: whatever they hold, a read gives the right batches or an
//!   error. Batches are the truth, guarded by their checksums.
//! - A failed sync is final for the log.
//!
//! Must never: serve bytes whose checksum is wrong, wait for another node, or touch a file other
//! than through `env::disk`.

mod config;
mod error;

pub use config::{
    AbortedTransaction, ActiveProducer, Appended, LogConfig, Origin, TimestampedOffset,
};
pub use error::{AppendError, Error, RecordError};

use crate::env::clock::Clock;
use crate::env::disk::Disk;
use crate::types::{LeaderEpoch, Offset, TimestampMs, TopicId};
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is known about a log before it is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenHints {
    /// The topic's id; written into `partition.metadata`, and compared with what is there.
    pub topic_id: Option<TopicId>,
    /// From the recovery point checkpoint of the data directory.
    pub flushed_checkpoint: Option<Offset>,
    /// From the log start offset checkpoint of the data directory.
    pub log_start_checkpoint: Option<Offset>,
    /// Whether the node said that it stopped in good order.
    pub clean_shutdown: bool,
    /// What the logs of a data directory share; a private one when missing.
    pub shared: Option<Arc<Shared>>,
}

/// What all logs of one data directory share: open files, the tail cache's budget, the room left.
#[derive(Debug)]
pub struct Shared {}

impl Shared {
    /// For the logs under `data_dir`, with the bounds of `limits`.
    #[must_use]
    pub fn new(_disk: Arc<dyn Disk>, _data_dir: &Path) -> Arc<Self> {
        todo!()
    }
}

/// What opening a log found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Bytes of batches that were read and checked.
    pub scanned_bytes: u64,
    /// Bytes that were cut off, because they were no whole, undamaged batch.
    pub cut_bytes: u64,
    /// Segments that were removed, because they lay behind a cut.
    pub removed_segments: usize,
    /// Index, epoch and producer files that were rebuilt from batches.
    pub rebuilt_files: usize,
}

/// One partition's log.
#[derive(Debug)]
pub struct Log {}

/// A segment that retention, truncation or DeleteRecords removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its first offset.
    pub base_offset: Offset,
    /// Its bytes.
    pub bytes: u64,
    /// Its log file.
    pub path: PathBuf,
}

#[allow(unused_variables, clippy::todo, missing_docs)]
impl Log {
    /// Opens the log in `dir`, which is made if it is missing, and recovers what a crash left.
    ///
    /// # Errors
    /// When the disk refuses, or `dir` belongs to another topic id.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: LogConfig,
        clock: Arc<dyn Clock>,
        hints: OpenHints,
    ) -> Result<(Self, RecoveryReport), Error> {
        todo!()
    }

    pub fn append_as_leader(
        &mut self,
        batch: Bytes,
        epoch: LeaderEpoch,
        origin: Origin,
    ) -> Result<Appended, AppendError> {
        todo!()
    }

    pub fn append_as_follower(&mut self, batches: Bytes) -> Result<Appended, AppendError> {
        todo!()
    }

    pub fn read(
        &self,
        from: Offset,
        upto: Offset,
        bytes_max: usize,
        at_least_one_batch: bool,
    ) -> Result<ReadPlan, Error> {
        todo!()
    }

    pub fn start_flush(&mut self) -> Option<FlushJob> {
        todo!()
    }

    pub fn finish_flush(&mut self, job: FlushJob, result: io::Result<()>) -> Result<Offset, Error> {
        todo!()
    }

    pub fn dir(&self) -> &Path {
        todo!()
    }
    pub fn config(&self) -> &LogConfig {
        todo!()
    }
    pub fn set_config(&mut self, config: LogConfig) {
        todo!()
    }
    /// Why the log takes no more writes, if so.
    pub fn failure(&self) -> Option<&str> {
        todo!()
    }
    pub fn log_start_offset(&self) -> Offset {
        todo!()
    }
    pub fn log_end_offset(&self) -> Offset {
        todo!()
    }
    pub fn flushed_offset(&self) -> Offset {
        todo!()
    }
    pub fn last_stable_offset(&self, high_watermark: Offset) -> Offset {
        todo!()
    }
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        todo!()
    }
    pub fn size_bytes(&self) -> u64 {
        todo!()
    }
    pub fn segment_count(&self) -> usize {
        todo!()
    }

    pub fn assign_epoch(&mut self, epoch: LeaderEpoch, start: Offset) {
        todo!()
    }
    pub fn epoch_end_offset(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        todo!()
    }
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        todo!()
    }

    /// Cuts the log so that it ends at `offset`; durable on return.
    pub fn truncate_to(&mut self, offset: Offset) -> Result<(), Error> {
        todo!()
    }
    /// Drops everything; the log then starts and ends at `offset`. Durable on return.
    pub fn reset_to(&mut self, offset: Offset) -> Result<(), Error> {
        todo!()
    }
    /// Moves the log start offset up (DeleteRecords, Raft purge), and removes the segments that lie
    /// wholly below it.
    pub fn raise_log_start(&mut self, offset: Offset) -> Result<Vec<Removed>, Error> {
        todo!()
    }
    pub fn apply_retention(
        &mut self,
        now: TimestampMs,
        high_watermark: Offset,
    ) -> Result<Vec<Removed>, Error> {
        todo!()
    }

    pub fn offset_for_timestamp(
        &self,
        target: TimestampMs,
        upto: Offset,
    ) -> Result<Option<TimestampedOffset>, Error> {
        todo!()
    }
    pub fn max_timestamp(&self, upto: Offset) -> Result<Option<TimestampedOffset>, Error> {
        todo!()
    }

    pub fn producers(&self) -> Vec<ActiveProducer> {
        todo!()
    }
    /// Aborted transactions that overlap `from` (inclusive) to `upto` (exclusive), by first offset.
    pub fn aborted_transactions(
        &self,
        from: Offset,
        upto: Offset,
    ) -> Result<Vec<AbortedTransaction>, Error> {
        todo!()
    }

    /// Writes what would otherwise be written at the next roll or flush: epochs, index entries.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        todo!()
    }
    /// Flushes, and writes everything that makes the next open quick. Returns the log end offset,
    /// which is then also the flushed offset.
    pub fn close(self) -> Result<Offset, Error> {
        todo!()
    }
    /// Removes the directory with all in it; durable on return.
    pub fn delete(self) -> Result<(), Error> {
        todo!()
    }
}

/// Where the batches of one read are; made under the log's lock, executed without it.
#[derive(Debug)]
pub struct ReadPlan {}

#[allow(unused_variables, clippy::todo, missing_docs)]
impl ReadPlan {
    /// The batches, if the tail cache holds them: as they were sent, joined if there are several.
    pub fn bytes_if_cached(&self) -> Option<Bytes> {
        todo!()
    }
    /// The batches, if the tail cache holds them, without joining them.
    pub fn chunks_if_cached(&self) -> Option<Vec<Bytes>> {
        todo!()
    }
    /// The batches, from the cache or from the disk; checksums are verified. Empty when nothing
    /// fits or nothing is there.
    ///
    /// # Errors
    /// [`Error::Moved`], [`Error::Corrupt`], and those of the disk.
    pub fn execute(&self) -> Result<Bytes, Error> {
        todo!()
    }
}

/// What has to be synced; made under the log's lock, run without it.
#[derive(Debug)]
pub struct FlushJob {}

#[allow(unused_variables, clippy::todo, missing_docs)]
impl FlushJob {
    /// Where the log ended when the job was made.
    pub fn upto(&self) -> Offset {
        todo!()
    }
    pub fn run(&self) -> io::Result<()> {
        todo!()
    }
}

pub mod flush {
    //! Group commit: threads that sync for many logs.
    use super::{Arc, Disk, FlushJob, Path, io};

    /// A log that can be flushed, with its lock inside.
    pub trait FlushTarget: Send + Sync {
        /// Takes the lock; [`super::Log::start_flush`].
        fn start_flush(&self) -> Option<FlushJob>;
        /// Takes the lock; [`super::Log::finish_flush`], and wakes who waits.
        fn finish_flush(&self, job: FlushJob, result: io::Result<()>);
    }

    /// The node's flusher threads. They end when the last handle is dropped.
    #[derive(Debug, Clone)]
    pub struct Flusher {}

    #[allow(unused_variables, clippy::todo)]
    impl Flusher {
        /// Starts the threads.
        ///
        /// # Errors
        /// When the system refuses a thread.
        pub fn start(disk: Arc<dyn Disk>, data_dir: &Path, threads: usize) -> io::Result<Self> {
            todo!()
        }
        /// Asks for a flush of all that `target` has appended so far. Asking again before it has
        /// begun costs nothing.
        pub fn request(&self, target: Arc<dyn FlushTarget>) {
            todo!()
        }
    }
}

pub mod checkpoint {
    //! Small text files, in Kafka's formats.
    use super::{Arc, Disk, Error, Offset, Path, TopicId};
    use crate::types::{ClusterId, DirectoryId, NodeId, TopicPartition};
    use std::collections::BTreeMap;

    /// `recovery-point-offset-checkpoint`.
    pub const RECOVERY_POINT: &str = "recovery-point-offset-checkpoint";
    /// `replication-offset-checkpoint`: high watermarks.
    pub const HIGH_WATERMARK: &str = "replication-offset-checkpoint";
    /// `log-start-offset-checkpoint`.
    pub const LOG_START: &str = "log-start-offset-checkpoint";

    /// What `meta.properties` says about a data directory.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct MetaProperties {
        /// `node.id`.
        pub node_id: NodeId,
        /// `cluster.id`.
        pub cluster_id: ClusterId,
        /// `directory.id`.
        pub directory_id: DirectoryId,
    }

    #[allow(unused_variables, clippy::todo, missing_docs)]
    impl MetaProperties {
        /// `None` when there is no such file.
        pub fn read(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<Option<Self>, Error> {
            todo!()
        }
        pub fn write(&self, disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<(), Error> {
            todo!()
        }
    }

    /// Reads a file of offsets by partition; a missing or malformed one is empty: it is a hint.
    #[allow(unused_variables, clippy::todo)]
    pub fn read_offsets(
        disk: &Arc<dyn Disk>,
        data_dir: &Path,
        file: &str,
    ) -> Result<BTreeMap<TopicPartition, Offset>, Error> {
        todo!()
    }

    /// Replaces a file of offsets by partition, in one durable step.
    #[allow(unused_variables, clippy::todo, missing_docs)]
    pub fn write_offsets(
        disk: &Arc<dyn Disk>,
        data_dir: &Path,
        file: &str,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), Error> {
        todo!()
    }

    /// The topic id in a partition directory's `partition.metadata`.
    #[allow(unused_variables, clippy::todo, missing_docs)]
    pub fn read_topic_id(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Option<TopicId>, Error> {
        todo!()
    }

    /// Marks the data directory as left in good order: the last thing before the process ends.
    #[allow(unused_variables, clippy::todo, missing_docs)]
    pub fn write_clean_shutdown(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<(), Error> {
        todo!()
    }

    /// Whether the mark is there; removes it, durably, so that a crash later does not find it.
    #[allow(unused_variables, clippy::todo, missing_docs)]
    pub fn take_clean_shutdown(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<bool, Error> {
        todo!()
    }
}
