//! Which partitions of a fetch session have news.

use super::Key;
use crate::limits::REPLICA_WATERMARK_DELAY_MS;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The partitions of one session that have something for its follower. Bounded by the session's
/// partitions: each is in at most once.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    queue: Mutex<Queue>,
    pub(super) notify: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// In order of their turn.
    urgent: VecDeque<Key>,
    urgent_set: BTreeSet<Key>,
    /// Only a watermark moved: worth no answer of its own for a little while.
    quiet: BTreeSet<Key>,
    quiet_since_ms: Option<i64>,
}

impl Ready {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code that can panic runs under this lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A partition has news.
    pub(crate) fn push(&self, key: Key, at_once: bool, now_ms: i64) {
        let first = {
            let mut queue = self.queue();
            if at_once {
                queue.quiet.remove(&key);
                let new = queue.urgent_set.insert(key);
                if new {
                    queue.urgent.push_back(key);
                }
                new && queue.urgent.len() == 1
            } else if queue.urgent_set.contains(&key) {
                false
            } else {
                queue.quiet.insert(key);
                let first = queue.quiet_since_ms.is_none();
                queue.quiet_since_ms.get_or_insert(now_ms);
                first
            }
        };
        if first {
            self.notify.notify_waiters();
        }
    }

    /// Puts partitions back that had to wait, before all others.
    pub(super) fn put_back(&self, keys: Vec<Key>) {
        let mut queue = self.queue();
        for key in keys.into_iter().rev() {
            queue.quiet.remove(&key);
            if queue.urgent_set.insert(key) {
                queue.urgent.push_front(key);
            }
        }
    }

    /// Takes what has news at `now_ms`, in the order of its turn. Moved watermarks come along with
    /// other news, and alone once they have waited long enough, or if they must not wait.
    pub(super) fn take(&self, now_ms: i64, quiet_too: bool) -> Vec<Key> {
        let mut queue = self.queue();
        let due = queue
            .quiet_since_ms
            .is_some_and(|since| now_ms.saturating_sub(since) >= REPLICA_WATERMARK_DELAY_MS);
        let mut keys: Vec<Key> = std::mem::take(&mut queue.urgent).into();
        queue.urgent_set.clear();
        if !keys.is_empty() || due || quiet_too {
            keys.extend(std::mem::take(&mut queue.quiet));
            queue.quiet_since_ms = None;
        }
        keys
    }

    /// When waiting watermarks are due.
    pub(super) fn due_at_ms(&self) -> Option<i64> {
        Some(self.queue().quiet_since_ms?.saturating_add(REPLICA_WATERMARK_DELAY_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{PartitionIndex, TopicId};

    fn key(partition: i32) -> Key {
        (TopicId([1; 16]), PartitionIndex(partition))
    }

    #[test]
    fn a_moved_watermark_waits_for_company_or_a_little_while() {
        let ready = Ready::default();
        ready.push(key(1), false, 100);
        assert_eq!(ready.take(100, false), []);
        assert_eq!(ready.due_at_ms(), Some(100 + REPLICA_WATERMARK_DELAY_MS));
        ready.push(key(2), true, 101);
        assert_eq!(ready.take(101, false), [key(2), key(1)]);
        assert_eq!(ready.due_at_ms(), None);
        ready.push(key(1), false, 200);
        assert_eq!(ready.take(200 + REPLICA_WATERMARK_DELAY_MS, false), [key(1)]);
        ready.push(key(1), false, 300);
        assert_eq!(ready.take(300, true), [key(1)], "at the deadline");
    }

    #[test]
    fn each_is_in_once_and_what_was_put_back_goes_first() {
        let ready = Ready::default();
        for _ in 0..3 {
            ready.push(key(1), true, 0);
            ready.push(key(2), true, 0);
            ready.push(key(1), false, 0);
        }
        assert_eq!(ready.take(0, true), [key(1), key(2)]);
        ready.push(key(3), true, 0);
        ready.put_back(vec![key(1), key(2)]);
        assert_eq!(ready.take(0, false), [key(1), key(2), key(3)]);
    }
}
