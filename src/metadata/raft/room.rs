//! Patience with a full disk.
//!
//! The engine takes any error of its storage as final. A disk without room is not: nothing was
//! written, and others may make room at any time. So the member's writes wait for it here. While
//! they wait the member answers nobody, like a paused process: the rest of the group goes on, and
//! elects another leader if it was this one.
//!
//! Invariants: what is tried again has changed nothing before, or may be done twice; a wait ends
//! with the member's shutdown.

use crate::limits::METADATA_DISK_FULL_RETRY_MS;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Tells a full disk from a broken one, and waits for room. Clones share one shutdown.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stopping: watch::Sender<bool>,
    /// How many writes wait.
    waiting: AtomicUsize,
}

/// Counts one that waits, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Room {
    pub(super) fn new() -> Self {
        let (stopping, waiting) = (watch::Sender::new(false), AtomicUsize::new(0));
        Self(Arc::new(Shared { stopping, waiting }))
    }

    /// Whether a write waits for room, and this member answers nobody meanwhile.
    pub(super) fn is_waited_for(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire) > 0
    }

    /// Ends all waits, those to come too: what finds no room then fails.
    pub(super) fn stop_waiting(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Does `work` until there was room for it.
    ///
    /// # Errors
    /// What `work` failed with, unless that was for want of room; that too once waiting was ended.
    pub(super) async fn wait_for<T, F: Future<Output = io::Result<T>>>(
        &self,
        what: &str,
        mut work: impl FnMut() -> F,
    ) -> io::Result<T> {
        let mut stopping = self.0.stopping.subscribe();
        let mut waiting = None;
        loop {
            let error = match work().await {
                Err(error) if is_full(&error) => error,
                result => {
                    if waiting.is_some() && result.is_ok() {
                        tracing::info!(what, "there is room again: the metadata goes on");
                    }
                    return result;
                }
            };
            if waiting.is_none() {
                tracing::error!(
                    what, %error,
                    "the disk is full: this node's part of the metadata group waits for room"
                );
                waiting = Some(Waiting::begin(&self.0.waiting));
            }
            let pause = Duration::from_millis(METADATA_DISK_FULL_RETRY_MS);
            let stopped = stopping.wait_for(|stopping| *stopping);
            // The sender lives as long as `self`.
            if tokio::time::timeout(pause, stopped).await.is_ok() {
                return Err(error);
            }
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
