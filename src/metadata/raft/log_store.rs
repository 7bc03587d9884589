//! The Raft log on the engine that also holds partitions.
//!
//! Invariants: an entry is answered only when it is durable; the log has no holes; it is cut at
//! its beginning only behind a durable snapshot, and not beyond the oldest one kept; what was
//! known to be flushed and is gone at the next start stops the node, since a member of the group
//! must not forget.

use super::Error;
use super::checked_file;
use super::entry;
use super::room::Room;
use super::snapshots::Snapshots;
use super::types::{Entry, LogId, LogState, StorageError, StorageIoError, TypeConfig, Vote};
use super::vote;
use super::writer::{SharedLog, Writer};
use crate::env::clock::Clock;
use crate::env::disk::Disk;
use crate::limits::{METADATA_ENTRY_BYTES_MAX, METADATA_READ_BYTES_MAX};
use crate::log::{AppendError, Log, LogConfig, OpenHints, Origin};
use crate::types::Offset;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, OptionalSend, RaftLogReader};
use std::fmt::Debug;
use std::io;
use std::iter::Peekable;
use std::ops::{Bound, RangeBounds};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Directory of the log, inside the group's.
const LOG_DIR: &str = "log";

/// The log, the vote and the purge mark of one member.
#[derive(Debug, Clone)]
pub(super) struct LogStore {
    inner: Arc<Inner>,
    writer: Writer,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    log: Arc<SharedLog>,
    snapshots: Arc<Snapshots>,
    room: Room,
    ends: Mutex<Ends>,
    /// How often entries were taken away from the end.
    truncations: AtomicU64,
}

/// A look at the log from outside, which does not keep its thread alive.
#[derive(Debug, Clone)]
pub(in crate::metadata) struct LogView(Arc<Inner>);

impl LogView {
    /// Whether this member answers nobody, because the disk is full.
    pub(in crate::metadata) fn waits_for_room(&self) -> bool {
        self.0.room.is_waited_for()
    }

    /// The last entry.
    pub(in crate::metadata) fn last(&self) -> Option<LogId> {
        self.0.ends().last
    }

    /// How often entries were taken away from the end since the start. Whoever waits for an entry
    /// of its own, and sees this grow, can't tell what became of it.
    pub(in crate::metadata) fn truncations(&self) -> u64 {
        self.0.truncations.load(Ordering::SeqCst)
    }
}

/// Where the log begins and ends, as Raft sees it.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    vote: Option<Vote>,
    /// The engine was told that everything up to here is gone; some of it may still be there.
    purged: Option<LogId>,
    last: Option<LogId>,
}

/// What opening the log found, besides the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    /// The entry before the first one in the log.
    pub(super) purged: Option<LogId>,
    /// The last entry.
    pub(super) last: Option<LogId>,
    /// Whether recovery cut something off the end.
    pub(super) was_cut: bool,
}

fn log_config() -> LogConfig {
    let bytes = u32::try_from(METADATA_ENTRY_BYTES_MAX).expect("invariant: far below 4 GiB");
    LogConfig {
        segment_bytes: 2 * bytes,
        message_bytes_max: 2 * bytes,
        retention_ms: -1,
        retention_bytes: -1,
        delete: false,
        ..LogConfig::default()
    }
}

impl LogStore {
    /// Opens, or makes, what lies in `dir`. Starts the writer thread, which ends when the store is
    /// dropped; its handle is there to be joined.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        clock: Arc<dyn Clock>,
        snapshots: Arc<Snapshots>,
        room: Room,
    ) -> Result<(Self, Opened, std::thread::JoinHandle<()>), Error> {
        checked_file::remove_leftovers(&*disk, &dir).map_err(Error::io(&dir))?;
        let vote = vote::read_vote(&*disk, &dir).map_err(|error| Error::file("vote", error))?;
        let purged =
            vote::read_purged(&*disk, &dir).map_err(|error| Error::file("purge mark", error))?;
        let flushed =
            vote::read_flushed(&*disk, &dir).map_err(|error| Error::file("flush mark", error))?;
        let first = purged.map_or(0, |log_id| log_id.index + 1);
        let hints = OpenHints {
            flushed_checkpoint: flushed.map(entry::offset),
            log_start_checkpoint: Some(entry::offset(first)),
            ..OpenHints::default()
        };
        let path = dir.join(LOG_DIR);
        super::make_dir(&*disk, &path)?;
        let opened = Log::open(Arc::clone(&disk), &path, log_config(), Arc::clone(&clock), hints);
        let (mut log, report) = opened.map_err(|error| Error::Damaged(error.to_string()))?;
        if report.damaged_batches > 0 || report.lost_flushed {
            return Err(Error::Damaged(format!(
                "{} holds damaged entries that were durable before",
                path.display()
            )));
        }
        if log.log_end_offset() < entry::offset(first) {
            // The mark is written before the cut: finish it.
            log.reset_to(entry::offset(first)).map_err(|e| Error::Damaged(e.to_string()))?;
        }
        if log.log_start_offset() != entry::offset(first) {
            return Err(Error::Damaged(format!(
                "{} begins at entry {}, but entries from {first} on were never purged",
                path.display(),
                log.log_start_offset()
            )));
        }
        let log = SharedLog::new(log);
        let (writer, thread) = Writer::start(Arc::clone(&log)).map_err(Error::io(&path))?;
        let ends = Mutex::new(Ends { vote, purged, last: purged });
        let truncations = AtomicU64::new(0);
        let inner = Inner { disk, dir, clock, log, snapshots, room, ends, truncations };
        // Read everything once: the last entry's id is needed, and damage is better found now.
        let last = inner.check_all()?.or(purged);
        // An entry of a term comes after a vote in it: a vote that is gone could be given twice.
        if let Some(last) = last.filter(|last| vote.is_none() && last.leader_id.term > 0) {
            return Err(Error::Damaged(format!(
                "the vote is missing from {}, although the log has entries of term {}; restore it \
                 from a backup of this node",
                inner.dir.display(),
                last.leader_id.term
            )));
        }
        inner.ends().last = last;
        // What has been found is what is promised from now on.
        let flushed = inner.log.lock().flushed_offset();
        inner.save_flushed(flushed).map_err(Error::io(&inner.dir))?;
        let was_cut = report.cut_bytes > 0 || report.removed_segments > 0;
        Ok((Self { inner: Arc::new(inner), writer }, Opened { purged, last, was_cut }, thread))
    }

    /// The entry with this index, if it is in the log.
    pub(super) fn entry(&self, index: u64) -> Result<Option<Entry>, io::Error> {
        Ok(self.inner.read(index, index + 1, 1)?.pop())
    }

    /// Notes how far the log is flushed, so that the next start need not look, and notices if any
    /// of it is gone. Runs behind everything that was asked for before.
    pub(super) async fn checkpoint(&self) -> io::Result<()> {
        let inner = Arc::clone(&self.inner);
        self.writer
            .run(move || {
                inner.log.flush()?;
                inner.log.lock().checkpoint().map_err(io::Error::other)?;
                inner.save_flushed(inner.log.lock().flushed_offset())
            })
            .await
    }

    /// Whether nothing was ever promised here: no vote, no entry.
    pub(super) fn is_blank(&self) -> bool {
        let ends = self.inner.ends();
        ends.vote.is_none() && ends.last.is_none()
    }

    /// A look at it for others.
    pub(super) fn view(&self) -> LogView {
        LogView(Arc::clone(&self.inner))
    }
}

impl Inner {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save_flushed(&self, flushed: Offset) -> io::Result<()> {
        vote::save_flushed(&*self.disk, &self.dir, entry::index(flushed))
    }

    /// Reads every entry. Gives the last one's id.
    fn check_all(&self) -> Result<Option<LogId>, Error> {
        let damaged = |error: io::Error| Error::Damaged(error.to_string());
        let (mut next, end) = {
            let log = self.log.lock();
            (entry::index(log.log_start_offset()), entry::index(log.log_end_offset()))
        };
        let mut last = None;
        while next < end {
            let entries = self.read(next, end, METADATA_READ_BYTES_MAX).map_err(damaged)?;
            let Some(entry) = entries.last() else {
                return Err(Error::Damaged(format!("entry {next} can't be found")));
            };
            next = entry.log_id.index + 1;
            last = Some(entry.log_id);
        }
        Ok(last)
    }

    /// The first entries of `from..upto`: at least one, if there are any, and no more than about
    /// `bytes_max` bytes.
    fn read(&self, from: u64, upto: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let plan = {
            let log = self.log.lock();
            let from = entry::offset(from).max(log.log_start_offset());
            let upto = entry::offset(upto).min(log.log_end_offset());
            if from >= upto {
                return Ok(Vec::new());
            }
            log.read(from, upto, bytes_max, true).map_err(io::Error::other)?
        };
        let bytes = plan.execute().map_err(io::Error::other)?;
        entry::decode_all(&bytes).map_err(io::Error::other)
    }

    /// Appends the entries that are left, and takes from `entries` those that are in the log.
    fn append<I: Iterator<Item = Entry>>(&self, entries: &mut Peekable<I>) -> io::Result<()> {
        while let Some(entry) = entries.peek() {
            // What the purge mark covers is in a snapshot already.
            if Some(entry.log_id) > self.ends().purged {
                self.append_one(entry)?;
            }
            entries.next();
        }
        Ok(())
    }

    fn append_one(&self, entry: &Entry) -> io::Result<()> {
        let batch = entry::encode(entry, self.clock.now()).map_err(io::Error::other)?;
        let mut log = self.log.lock();
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        let at = entry::offset(entry.log_id.index);
        // Only into an empty log may an entry come that does not follow the last one: behind a
        // snapshot, whose mark then says so.
        if start == end && at > end {
            log.reset_to(at).map_err(io::Error::other)?;
        }
        log.append_as_follower(batch, Origin::Raft).map_err(|error| match error {
            AppendError::DiskFull(_) => io::Error::new(io::ErrorKind::StorageFull, error),
            _ => io::Error::other(error),
        })?;
        drop(log);
        self.ends().last = Some(entry.log_id);
        Ok(())
    }

    fn truncate(&self, first_gone: LogId) -> io::Result<()> {
        let target = entry::offset(first_gone.index);
        if target >= self.log.lock().log_end_offset() {
            return Ok(());
        }
        self.log.flush()?;
        // What is cut must not be missed at the next start.
        self.save_flushed(target.min(self.log.lock().flushed_offset()))?;
        self.log.lock().truncate_to(target).map_err(io::Error::other)?;
        let last = match first_gone.index.checked_sub(1) {
            Some(before) => self.read(before, first_gone.index, 1)?.pop().map(|e| e.log_id),
            None => None,
        };
        let mut ends = self.ends();
        ends.last = last.or(ends.purged);
        Ok(())
    }

    fn purge(&self, upto: LogId) -> io::Result<()> {
        let end = self.log.lock().log_end_offset();
        {
            let mut ends = self.ends();
            ends.purged = ends.purged.max(Some(upto));
            ends.last = ends.last.max(Some(upto));
        }
        if entry::offset(upto.index) >= end {
            // A snapshot from elsewhere reaches beyond this log: nothing of it is needed.
            vote::save_purged(&*self.disk, &self.dir, &upto)?;
            let start = entry::offset(upto.index + 1);
            return self.log.lock().reset_to(start).map_err(io::Error::other);
        }
        // Keep what the oldest snapshot needs behind it, should the newer ones be damaged.
        let Some(oldest) = self.snapshots.oldest_log_id() else { return Ok(()) };
        let upto = upto.min(oldest);
        let start = entry::offset(upto.index + 1);
        if start <= self.log.lock().log_start_offset() {
            return Ok(());
        }
        vote::save_purged(&*self.disk, &self.dir, &upto)?;
        self.log.lock().raise_log_start(start).map_err(io::Error::other)?;
        let flushed = self.log.lock().flushed_offset();
        self.save_flushed(flushed)
    }
}

fn write_error(error: &io::Error) -> StorageError {
    StorageIoError::write_logs(AnyError::error(error)).into()
}

fn read_error(error: &io::Error) -> StorageError {
    StorageIoError::read_logs(AnyError::error(error)).into()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => *index + 1,
            Bound::Unbounded => 0,
        };
        let upto = match range.end_bound() {
            Bound::Included(index) => *index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX >> 1,
        };
        let purged = self.inner.ends().purged.map_or(0, |log_id| log_id.index + 1);
        let mut next = from.max(purged);
        let mut entries = Vec::new();
        while next < upto {
            let more = self.inner.read(next, upto, METADATA_READ_BYTES_MAX);
            let more = more.map_err(|error| read_error(&error))?;
            let Some(last) = more.last() else { break };
            next = last.log_id.index + 1;
            entries.extend(more);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        let entries = self.inner.read(start, end, METADATA_READ_BYTES_MAX);
        entries.map_err(|error| read_error(&error))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState, StorageError> {
        let ends = *self.inner.ends();
        Ok(LogState { last_purged_log_id: ends.purged, last_log_id: ends.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let saved = self
            .inner
            .room
            .wait_for("the vote", || {
                let (inner, vote) = (Arc::clone(&self.inner), *vote);
                self.writer.run(move || {
                    vote::save_vote(&*inner.disk, &inner.dir, &vote)?;
                    inner.ends().vote = Some(vote);
                    Ok(())
                })
            })
            .await;
        saved.map_err(|error| StorageIoError::write_vote(AnyError::error(error)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.inner.ends().vote)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut entries = entries.into_iter().peekable();
        let appended = self
            .inner
            .room
            .wait_for("an entry of the log", || std::future::ready(self.inner.append(&mut entries)))
            .await;
        if let Err(error) = appended {
            let failure = write_error(&error);
            callback.log_io_completed(Err(error));
            return Err(failure);
        }
        self.writer.flush(callback).await;
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        // Before the engine tells anybody that an entry is gone.
        self.inner.truncations.fetch_add(1, Ordering::SeqCst);
        let done = self.inner.room.wait_for("the end of the log", || {
            let inner = Arc::clone(&self.inner);
            self.writer.run(move || inner.truncate(log_id))
        });
        done.await.map_err(|error| write_error(&error))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let done = self.inner.room.wait_for("the beginning of the log", || {
            let inner = Arc::clone(&self.inner);
            self.writer.run(move || inner.purge(log_id))
        });
        done.await.map_err(|error| write_error(&error))
    }
}
