//! The log itself: its parts, and what can be asked without touching a file.

use super::config::{ActiveProducer, LogConfig};
use super::epochs::Epochs;
use super::error::Error;
use super::producers::Producers;
use super::segment::Segment;
use super::shared::Shared;
use super::tail::Tail;
use crate::env::clock::Clock;
use crate::env::disk::{Disk, DiskFile};
use crate::types::{LeaderEpoch, Offset, TopicId};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is known about a log before it is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenHints {
    /// The topic's id; written into `partition.metadata`, and compared with what is there.
    pub topic_id: Option<TopicId>,
    /// From the recovery point checkpoint of the data directory. Without it everything is scanned.
    pub flushed_checkpoint: Option<Offset>,
    /// From the log start offset checkpoint of the data directory.
    pub log_start_checkpoint: Option<Offset>,
    /// Whether the node said that it stopped in good order, with every log closed.
    pub clean_shutdown: bool,
    /// What the logs of a data directory share; a private one when missing.
    pub shared: Option<Arc<Shared>>,
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
    /// Batches below the flushed checkpoint that are damaged, with undamaged ones behind them.
    /// They are kept, and reading them gives an error.
    pub damaged_batches: usize,
    /// Whether the log now ends below the flushed checkpoint: something that was durable is gone.
    /// Also set when that checkpoint is missing and whole segments had to go. A replica of which
    /// this is true must not be elected before it has copied what it lost.
    pub lost_flushed: bool,
    /// The first damaged batch that was kept, or that an earlier run has found. A replica with one
    /// must not be elected while another has the records.
    pub damaged_from: Option<Offset>,
}

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

/// One partition's log.
#[derive(Debug)]
pub struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) config: LogConfig,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shared: Arc<Shared>,
    /// By base offset; never empty but while a truncation is under way.
    pub(super) segments: VecDeque<Segment>,
    pub(super) start: Offset,
    pub(super) end: Offset,
    pub(super) flushed: Offset,
    pub(super) epochs: Epochs,
    pub(super) producers: Producers,
    pub(super) tail: Arc<Tail>,
    /// Counts the truncations, so that a read without the lock notices one.
    pub(super) moves: Arc<AtomicU64>,
    /// Files besides those of `segments` that are marked dirty.
    pub(super) unsynced_files: Vec<Arc<dyn DiskFile>>,
    /// Whether files were made or removed since the directory was synced.
    pub(super) names_changed: bool,
    /// Whether a checkpoint job has the epochs' file.
    pub(super) writing_epochs: bool,
    /// While a flush is under way: up to where it may count, which truncation lowers.
    pub(super) flush_limit: Option<Offset>,
    pub(super) failure: Option<String>,
    pub(super) damaged_from: Option<Offset>,
}

impl Drop for Log {
    /// Reads that were planned and not executed must not open what may soon lie under these names.
    fn drop(&mut self) {
        self.moves.fetch_add(1, Ordering::AcqRel);
    }
}

impl Log {
    /// The partition's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Replaces the settings. They hold for what is appended from now on.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// Whether a flush or a checkpoint is under way: started, and not finished.
    #[must_use]
    pub fn is_flushing(&self) -> bool {
        self.flush_limit.is_some() || self.writing_epochs
    }

    /// Why the log takes no more writes, if so. Reading goes on.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The first offset that may be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.start
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.end
    }

    /// Everything below is durable: bytes, names, epochs.
    #[must_use]
    pub fn flushed_offset(&self) -> Offset {
        self.flushed
    }

    /// Up to where a reader of committed transactions may go, at a high watermark.
    #[must_use]
    pub fn last_stable_offset(&self, high_watermark: Offset) -> Offset {
        self.producers.last_stable_offset(high_watermark).max(self.start)
    }

    /// The newest leader epoch that was assigned or appended.
    #[must_use]
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest()
    }

    /// Bytes of all batches.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// How many segments there are.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Records that a leader epoch begins at `start`: at an election, even before a write
    /// (KAFKA-7415). Written with the next flush or checkpoint.
    pub fn assign_epoch(&mut self, epoch: LeaderEpoch, start: Offset) {
        self.epochs.assign(epoch, start);
    }

    /// Where a leader epoch ended: the largest epoch up to the one asked for, and the offset at
    /// which the next began, or the log end for the newest (KIP-101, KIP-279). Both
    /// [`LeaderEpoch::NONE`] and [`Offset::NONE`] when the epoch is unknown or newer than all.
    #[must_use]
    pub fn epoch_end_offset(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        self.epochs.end_offset(epoch, self.end)
    }

    /// The leader epoch in which the record at an offset was appended.
    #[must_use]
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.epoch_for(offset)
    }

    /// The producers that the log remembers, by id.
    #[must_use]
    pub fn producers(&self) -> Vec<ActiveProducer> {
        self.producers.active()
    }

    pub(super) fn active(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("invariant: a log has a segment to write to")
    }

    /// The place of the segment that would hold `offset`.
    pub(super) fn segment_at(&self, offset: Offset) -> usize {
        self.segments.partition_point(|segment| segment.base() <= offset).saturating_sub(1)
    }

    /// Where the segment at a place ends: where the next begins, or the log end.
    pub(super) fn segment_end(&self, place: usize) -> Offset {
        self.segments.get(place + 1).map_or(self.end, Segment::base)
    }

    pub(super) fn check_failure(&self) -> Result<(), Error> {
        self.failure.as_ref().map_or(Ok(()), |why| Err(Error::Failed(why.clone())))
    }

    /// Marks the log as failed for good.
    pub(super) fn fail(&mut self, why: &str) {
        tracing::error!(dir = %self.dir.display(), why, "the log takes no more writes");
        self.failure.get_or_insert_with(|| why.to_owned());
    }

    /// Marks the log as failed if this is an error.
    pub(super) fn or_fail<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            self.fail(&error.to_string());
        }
        result
    }
}
