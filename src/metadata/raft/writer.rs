//! The one thread that makes the Raft log durable.
//!
//! Everything that has to be on disk before it is answered goes through here, in the order in
//! which it was asked for: flushes of appended entries, votes, truncations, purges. One sync
//! serves all flushes that wait together.
//!
//! Invariant: a flush is answered only after a sync that began when its entries were written, and
//! answers go out in the order of the questions. After a sync failed, nothing is ever answered
//! with success again.

use super::types::TypeConfig;
use crate::env::spawn;
use crate::limits::METADATA_LOG_QUEUE_MAX;
use crate::log::Log;
use openraft::storage::LogFlushed;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// The log, with its lock: readers and appenders on one side, the writer thread on the other.
#[derive(Debug)]
pub(super) struct SharedLog(Mutex<Log>);

impl SharedLog {
    pub(super) fn new(log: Log) -> Arc<Self> {
        Arc::new(Self(Mutex::new(log)))
    }

    /// Never held across an await, and only for moments: syncs run outside.
    pub(super) fn lock(&self) -> MutexGuard<'_, Log> {
        // The log guards itself against half-done changes: a failed write fails it for good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs what was appended so far.
    pub(super) fn flush(&self) -> io::Result<()> {
        let job = self.lock().start_flush();
        let Some(job) = job else {
            return match self.lock().failure() {
                Some(why) => Err(io::Error::other(why.to_owned())),
                None => Ok(()),
            };
        };
        let result = job.run();
        let finished = self.lock().finish_flush(job, result);
        finished.map(|_| ()).map_err(io::Error::other)
    }
}

/// What waits for the thread.
pub(super) enum Job {
    /// Entries were appended; answer once they are synced.
    Flush(LogFlushed<TypeConfig>),
    /// Anything else that writes; it answers for itself.
    Task(Box<dyn FnOnce() + Send>),
}

/// Sends work to the thread. The thread ends when the last of these is gone.
#[derive(Debug, Clone)]
pub(super) struct Writer(mpsc::Sender<Job>);

impl Writer {
    /// Starts the thread.
    pub(super) fn start(log: Arc<SharedLog>) -> io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (sender, receiver) = mpsc::channel(METADATA_LOG_QUEUE_MAX);
        let thread = spawn::thread("raft-log", move || run(&log, receiver))?;
        Ok((Self(sender), thread))
    }

    /// Queues a flush. If the thread is gone, the callback is answered with an error.
    pub(super) async fn flush(&self, callback: LogFlushed<TypeConfig>) {
        if let Err(mpsc::error::SendError(Job::Flush(callback))) =
            self.0.send(Job::Flush(callback)).await
        {
            callback.log_io_completed(Err(gone()));
        }
    }

    /// Runs `task` on the thread, after all that was asked for before, and gives its result.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, result) = tokio::sync::oneshot::channel();
        let job = Job::Task(Box::new(move || {
            // Whoever asked may have been shut down meanwhile.
            let _ = answer.send(task());
        }));
        self.0.send(job).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that writes the Raft log has ended")
}

fn run(log: &SharedLog, mut jobs: mpsc::Receiver<Job>) {
    let mut next = jobs.blocking_recv();
    while let Some(job) = next.take() {
        match job {
            Job::Task(task) => task(),
            Job::Flush(first) => {
                let mut waiting = vec![first];
                // What waits by now has been appended before the sync begins.
                while let Ok(job) = jobs.try_recv() {
                    match job {
                        Job::Flush(callback) => waiting.push(callback),
                        Job::Task(_) => {
                            next = Some(job);
                            break;
                        }
                    }
                }
                let result = log.flush();
                for callback in waiting {
                    let copy = match &result {
                        Ok(()) => Ok(()),
                        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                    };
                    callback.log_io_completed(copy);
                }
            }
        }
        if next.is_none() {
            next = jobs.blocking_recv();
        }
    }
}
