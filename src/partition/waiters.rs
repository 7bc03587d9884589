//! Who waits for a partition: produces for the high watermark, fetches for news.

use super::serve::Ready;
use super::{Error, Partition};
use crate::limits::{COMMIT_WAITERS_PER_PARTITION_MAX, WATCHERS_PER_PARTITION_MAX};
use crate::types::Offset;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{Notify, oneshot};

/// How a wait for the high watermark ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed,
    TooFewReplicas,
    NotLeader,
    Failed,
}

impl Outcome {
    pub(super) fn into_result(self) -> Result<(), Error> {
        match self {
            Self::Committed => Ok(()),
            Self::TooFewReplicas => Err(Error::NotEnoughReplicasAfterAppend),
            Self::NotLeader => Err(Error::NotLeader),
            Self::Failed => Err(Error::Storage("a write or sync failed".to_owned())),
        }
    }
}

/// The high watermark that a produce needs, and a number that tells it from others.
pub(super) type WaiterKey = (Offset, u64);

/// Produces that wait, by the high watermark that they need.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: BTreeMap<WaiterKey, oneshot::Sender<Outcome>>,
    next_id: u64,
}

impl Waiters {
    /// Waits until the high watermark is `needed`; `None` when too many wait already.
    pub(super) fn add(
        &mut self,
        needed: Offset,
    ) -> Option<(WaiterKey, oneshot::Receiver<Outcome>)> {
        if self.waiting.len() >= COMMIT_WAITERS_PER_PARTITION_MAX {
            return None;
        }
        let key = (needed, self.next_id);
        self.next_id += 1;
        let (sender, receiver) = oneshot::channel();
        self.waiting.insert(key, sender);
        Some((key, receiver))
    }

    /// Forgets a waiter that gave up.
    pub(super) fn remove(&mut self, key: WaiterKey) {
        self.waiting.remove(&key);
    }

    /// Ends the waits that need no more than `high_watermark`.
    pub(super) fn reached(&mut self, high_watermark: Offset, outcome: Outcome) {
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0 > high_watermark {
                break;
            }
            // A receiver that is gone gave up; that is its affair.
            let _ = first.remove().send(outcome);
        }
    }

    /// Ends every wait.
    pub(super) fn fail_all(&mut self, outcome: Outcome) {
        for (_, sender) in std::mem::take(&mut self.waiting) {
            let _ = sender.send(outcome);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// Fetches that watch. Under a lock of its own, so that a guard can be dropped anywhere.
#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<(u64, BTreeMap<u64, Arc<Notify>>)>);

impl Watchers {
    pub(super) fn add(&self, wake: Arc<Notify>) -> Option<u64> {
        // A panic under this lock leaves the map whole: it only inserts, removes and walks.
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (next_id, watching) = &mut *guard;
        if watching.len() >= WATCHERS_PER_PARTITION_MAX {
            return None;
        }
        *next_id += 1;
        watching.insert(*next_id, wake);
        Some(*next_id)
    }

    pub(super) fn remove(&self, id: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&id);
    }

    pub(super) fn wake_all(&self) {
        for wake in self.0.lock().unwrap_or_else(PoisonError::into_inner).1.values() {
            // Leaves a permit when nobody waits just now, so that no news is lost.
            wake.notify_one();
        }
    }
}

/// A watch on a partition; ends when dropped.
#[derive(Debug)]
pub struct WatchGuard {
    partition: Weak<Partition>,
    id: u64,
}

impl WatchGuard {
    pub(super) fn new(partition: Weak<Partition>, id: u64) -> Self {
        Self { partition, id }
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        if let Some(partition) = self.partition.upgrade() {
            partition.watchers.remove(self.id);
        }
    }
}

/// Fetch sessions of followers that have this partition. Under a lock of its own, as
/// [`Watchers`].
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<(u64, BTreeMap<u64, Arc<Ready>>)>);

impl Sessions {
    fn add(&self, ready: Arc<Ready>) -> u64 {
        // Bounded by the sessions there are, with one entry each.
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guard.0 += 1;
        let id = guard.0;
        guard.1.insert(id, ready);
        id
    }

    fn remove(&self, id: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&id);
    }

    /// Tells all of them that there is something new: at once, or when something else is.
    pub(super) fn tell(&self, key: super::serve::Key, at_once: bool, now_ms: i64) {
        for ready in self.0.lock().unwrap_or_else(PoisonError::into_inner).1.values() {
            ready.push(key, at_once, now_ms);
        }
    }
}

/// A session's interest in a partition; ends when dropped.
#[derive(Debug)]
pub(super) struct SessionGuard {
    partition: Weak<Partition>,
    id: u64,
}

impl Partition {
    /// Puts the partition into `ready` whenever it has news for followers, until the guard is
    /// dropped.
    pub(super) fn join_session(&self, ready: Arc<Ready>) -> SessionGuard {
        SessionGuard { partition: self.myself.clone(), id: self.sessions.add(ready) }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        if let Some(partition) = self.partition.upgrade() {
            partition.sessions.remove(self.id);
        }
    }
}
