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
use std::time::Duration;
use tokio::sync::watch;

/// Tells a full disk from a broken one, and waits for room. Clones share one shutdown.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<watch::Sender<bool>>);

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Ends all waits, those to come too: what finds no room then fails.
    pub(super) fn stop_waiting(&self) {
        self.0.send_replace(true);
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
        let mut stopping = self.0.subscribe();
        let mut was_full = false;
        loop {
            let error = match work().await {
                Err(error) if is_full(&error) => error,
                result => {
                    if was_full && result.is_ok() {
                        tracing::info!(what, "there is room again: the metadata goes on");
                    }
                    return result;
                }
            };
            if !was_full {
                tracing::error!(
                    what, %error,
                    "the disk is full: this node's part of the metadata group waits for room"
                );
                was_full = true;
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
