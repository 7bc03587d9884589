//! Group commit: one sync serves all that was appended before it began.
//!
//! [`super::Log::start_flush`] collects, under the log's lock, what has to be synced;
//! [`FlushJob::run`] syncs without the lock; [`super::Log::finish_flush`] moves the flushed
//! offset. [`Flusher`] does that for many logs on a few threads.
//!
//! Invariants:
//! - The flushed offset moves only after a sync that began after the bytes were written.
//! - One flush per log at a time.
//! - A failed sync fails its log for good; with `sync_file_system`, every log that it was for.

use super::core::Log;
use super::error::Error;
use super::sync_costs::SyncCosts;
use crate::env::disk::{Disk, DiskFile};
use crate::env::spawn;
use crate::types::Offset;
use crate::types::mutant::Mutant;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What has to be synced; made under the log's lock, run without it, given back to the log.
#[derive(Debug)]
#[must_use = "a log whose flush job is lost is never flushed again"]
pub struct FlushJob {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    files: Vec<Arc<dyn DiskFile>>,
    sync_dir: bool,
    upto: Offset,
}

impl FlushJob {
    /// Where the log ended when the job was made.
    #[must_use]
    pub fn upto(&self) -> Offset {
        self.upto
    }

    /// Syncs every file, and the directory if names changed.
    ///
    /// # Errors
    /// Those of the disk. Do not run the job again: give the error to the log.
    pub fn run(&self) -> io::Result<()> {
        for file in &self.files {
            file.sync_data()?;
        }
        if self.sync_dir {
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }
}

impl Log {
    /// Collects what has to be synced so that all that was appended so far is durable. `None`
    /// when nothing has to, while another flush of this log is under way, or when the log failed.
    pub fn start_flush(&mut self) -> Option<FlushJob> {
        if self.failure.is_some() || self.flush_limit.is_some() || !self.needs_flush() {
            return None;
        }
        let mut files = std::mem::take(&mut self.unsynced_files);
        let last = self.segments.len().saturating_sub(1);
        let mut unopened = None;
        for (place, segment) in self.segments.iter_mut().enumerate() {
            if segment.dirty {
                match segment.files.log_for_writing() {
                    Ok(file) => files.push(file),
                    Err(error) => unopened = Some(error),
                }
                segment.dirty = false;
            }
            if place < last {
                segment.files.unpin();
            }
        }
        if let Some(error) = unopened {
            self.fail(&format!("opening a segment to sync it: {error}"));
            return None;
        }
        self.flush_limit = Some(self.end);
        Some(FlushJob {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            files,
            sync_dir: std::mem::take(&mut self.names_changed),
            upto: self.end,
        })
    }

    fn needs_flush(&self) -> bool {
        self.flushed < self.end
            || self.names_changed
            || !self.unsynced_files.is_empty()
            || self.segments.iter().any(|segment| segment.dirty)
    }

    /// Takes note of a flush that ended. Gives the flushed offset.
    ///
    /// # Errors
    /// [`Error::Failed`] when the sync failed: the log then takes no more writes, for good.
    pub fn finish_flush(&mut self, job: FlushJob, result: io::Result<()>) -> Result<Offset, Error> {
        let limit = self.flush_limit.take().unwrap_or(Offset::ZERO);
        if let Err(error) = result
            && !Mutant::SyncErrorIgnored.is_active()
        {
            self.fail(&format!("a sync failed: {error}"));
        }
        self.check_failure()?;
        self.flushed = self.flushed.max(job.upto.min(limit));
        Ok(self.flushed)
    }

    /// Makes everything durable here and now.
    pub(super) fn flush_now(&mut self) -> Result<(), Error> {
        self.check_failure()?;
        if let Some(job) = self.start_flush() {
            let result = job.run();
            self.finish_flush(job, result)?;
        }
        self.check_failure()
    }
}

/// A log that can be flushed, with its lock inside.
pub trait FlushTarget: Send + Sync {
    /// Takes the lock; [`super::Log::start_flush`].
    fn start_flush(&self) -> Option<FlushJob>;
    /// Takes the lock; [`super::Log::finish_flush`], and wakes who waits.
    fn finish_flush(&self, job: FlushJob, result: io::Result<()>);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Queued,
    Running,
    /// Asked for again while running.
    RunningAgain,
}

#[derive(Default)]
struct Queue {
    /// Each target once, whatever its phase; bounded by the number of logs.
    phases: HashMap<usize, Phase>,
    waiting: VecDeque<Arc<dyn FlushTarget>>,
    stopped: bool,
    costs: SyncCosts,
    /// Whether a thread is in `sync_file_system`; one is enough.
    syncing_all: bool,
    /// Whether `sync_file_system` is of no use: not honoured here, or it failed once. The system
    /// tells such an error once, to whoever asks first, whatever file it was about: a second call
    /// proves nothing. Files are then synced each by itself, which tells the error of each.
    each_only: bool,
}

struct Work {
    started: Instant,
    threads: usize,
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    queue: Mutex<Queue>,
    more: Condvar,
}

/// Stops the threads when the last handle goes.
struct Handle(Arc<Work>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue().stopped = true;
        self.0.more.notify_all();
    }
}

/// The node's flusher threads. They end, after what was asked for is done, when the last handle is
/// dropped.
#[derive(Clone)]
pub struct Flusher(Arc<Handle>);

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flusher({} waiting)", self.0.0.queue().waiting.len())
    }
}

/// Which target it is, as long as it lives; it lives while it is in the queue.
fn identity(target: &Arc<dyn FlushTarget>) -> usize {
    Arc::as_ptr(target).cast::<()>() as usize
}

impl Flusher {
    /// Starts the threads. With none, nothing is flushed until [`Self::flush_waiting`] is called:
    /// a simulation or a test then decides when a flush happens.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(disk: Arc<dyn Disk>, data_dir: &Path, threads: usize) -> io::Result<Self> {
        let data_dir = data_dir.to_owned();
        disk.watch_file_system(&data_dir)?;
        let work = Arc::new(Work::new(disk, data_dir, threads));
        let flusher = Self(Arc::new(Handle(Arc::clone(&work))));
        for _ in 0..threads {
            let work = Arc::clone(&work);
            spawn::thread("flusher", move || work.serve())?;
        }
        Ok(flusher)
    }

    /// A flusher without threads: nothing is flushed until [`Self::flush_waiting`] is called. For
    /// simulations and tests, which decide when a flush happens.
    #[must_use]
    pub fn manual(disk: Arc<dyn Disk>, data_dir: &Path) -> Self {
        Self(Arc::new(Handle(Arc::new(Work::new(disk, data_dir.to_owned(), 1)))))
    }

    /// How many logs wait to be flushed.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.0.0.queue().waiting.len()
    }

    /// Asks for a flush of all that `target` has appended so far. Asking again before it has
    /// begun costs nothing.
    pub fn request(&self, target: Arc<dyn FlushTarget>) {
        let work = &self.0.0;
        let mut queue = work.queue();
        let phase = queue.phases.get(&identity(&target)).copied();
        match phase {
            Some(Phase::Queued | Phase::RunningAgain) => {}
            Some(Phase::Running) => {
                queue.phases.insert(identity(&target), Phase::RunningAgain);
            }
            None => {
                queue.phases.insert(identity(&target), Phase::Queued);
                queue.waiting.push_back(target);
                drop(queue);
                work.more.notify_one();
            }
        }
    }
}

impl Flusher {
    /// Flushes, on the calling thread, everything that was asked for by now.
    pub fn flush_waiting(&self) {
        let work = &self.0.0;
        let asked = work.queue().waiting.len();
        for _ in 0..asked {
            // Another thread may have taken the rest.
            if work.queue().waiting.is_empty() {
                return;
            }
            work.serve_once();
        }
    }
}

impl Work {
    fn new(disk: Arc<dyn Disk>, data_dir: PathBuf, threads: usize) -> Self {
        let (queue, more) = (Mutex::default(), Condvar::new());
        Self { started: Instant::now(), threads, disk, data_dir, queue, more }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Targets run without this lock, so a panic never leaves it half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        while self.serve_once() {}
    }

    /// Takes and flushes the next targets; false when the flusher was stopped.
    fn serve_once(&self) -> bool {
        let Some((targets, all)) = self.take() else { return false };
        let flushed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            if all {
                self.flush_together(&targets);
            } else {
                self.flush_each(&targets);
            }
        }));
        if let Err(panic) = flushed {
            spawn::count_panic("flusher", panic.as_ref());
        }
        self.put_back(targets, all);
        true
    }

    /// The next targets, and whether one sync of the file system is to serve them all.
    fn take(&self) -> Option<(Vec<Arc<dyn FlushTarget>>, bool)> {
        let mut queue = self.queue();
        loop {
            if !queue.waiting.is_empty() {
                break;
            }
            if queue.stopped {
                return None;
            }
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let together = !queue.syncing_all && !queue.each_only;
        let waiting = queue.waiting.len();
        let all = together && queue.costs.prefers_all(waiting, self.threads, self.now_ms());
        let count = if all { queue.waiting.len() } else { 1 };
        let targets: Vec<_> = queue.waiting.drain(..count).collect();
        for target in &targets {
            queue.phases.insert(identity(target), Phase::Running);
        }
        queue.syncing_all |= all;
        Some((targets, all))
    }

    fn put_back(&self, targets: Vec<Arc<dyn FlushTarget>>, all: bool) {
        let mut queue = self.queue();
        if all {
            queue.syncing_all = false;
        }
        for target in targets {
            let id = identity(&target);
            if queue.phases.remove(&id) == Some(Phase::RunningAgain) {
                queue.phases.insert(id, Phase::Queued);
                queue.waiting.push_back(target);
                self.more.notify_one();
            }
        }
    }

    fn flush_together(&self, targets: &[Arc<dyn FlushTarget>]) {
        let mut jobs = Vec::with_capacity(targets.len());
        for target in targets {
            if let Some(job) = target.start_flush() {
                jobs.push((target, job));
            }
        }
        let began = Instant::now();
        let synced = self.disk.sync_file_system(&self.data_dir);
        {
            let mut queue = self.queue();
            match synced {
                Ok(true) => queue.costs.synced_all(began.elapsed(), self.now_ms()),
                Ok(false) | Err(_) => queue.each_only = true,
            }
        }
        for (target, job) in jobs {
            let result = match &synced {
                Ok(true) => Ok(()),
                Ok(false) => job.run(),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            target.finish_flush(job, result);
        }
    }

    fn flush_each(&self, targets: &[Arc<dyn FlushTarget>]) {
        for target in targets {
            if let Some(job) = target.start_flush() {
                let began = Instant::now();
                let result = job.run();
                self.queue().costs.synced_each(began.elapsed());
                target.finish_flush(job, result);
            }
        }
    }
}
