//! The tail cache: recent batches as they were appended, so that followers and consumers at the
//! end of a log never touch a file.
//!
//! Each log has its own queue; one budget spans all logs of a data directory, and what was
//! appended first leaves first.
//!
//! Invariant: a queue holds a gapless run of batches up to the end of its log, or nothing.

use crate::types::Offset;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

#[derive(Debug)]
struct Chunk {
    base: Offset,
    last: Offset,
    bytes: Bytes,
}

/// The recent batches of one log.
#[derive(Debug, Default)]
pub(super) struct Tail(Mutex<VecDeque<Chunk>>);

impl Tail {
    fn chunks(&self) -> MutexGuard<'_, VecDeque<Chunk>> {
        // No code that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batches from the one that holds `from`, while they end before `upto` and fit into
    /// `bytes_max`; the first is taken whatever its size if `at_least_one`. `None` when the cache
    /// does not reach back to `from`.
    pub(super) fn read(
        &self,
        from: Offset,
        upto: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Option<Vec<Bytes>> {
        let chunks = self.chunks();
        if chunks.front().is_none_or(|first| first.base > from) {
            return None;
        }
        let at = chunks.partition_point(|chunk| chunk.last < from);
        let mut taken = Vec::new();
        let mut bytes = 0;
        for chunk in chunks.range(at..) {
            bytes += chunk.bytes.len();
            let forced = taken.is_empty() && at_least_one;
            if chunk.last >= upto || (bytes > bytes_max && !forced) {
                break;
            }
            taken.push(chunk.bytes.clone());
        }
        Some(taken)
    }

    /// Drops what begins at `end` or later.
    pub(super) fn truncate(&self, end: Offset) {
        let mut chunks = self.chunks();
        while chunks.back().is_some_and(|chunk| chunk.last >= end) {
            chunks.pop_back();
        }
    }

    /// Drops what ends before `start`.
    pub(super) fn drop_before(&self, start: Offset) {
        let mut chunks = self.chunks();
        while chunks.front().is_some_and(|chunk| chunk.last < start) {
            chunks.pop_front();
        }
    }

    fn push(&self, chunk: Chunk) {
        self.chunks().push_back(chunk);
    }

    fn evict(&self, last: Offset) {
        let mut chunks = self.chunks();
        while chunks.front().is_some_and(|chunk| chunk.last <= last) {
            chunks.pop_front();
        }
    }
}

#[derive(Debug)]
struct Pushed {
    log: Weak<Tail>,
    last: Offset,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    pushed: VecDeque<Pushed>,
    bytes: usize,
}

/// What all tails of a data directory may hold together.
#[derive(Debug)]
pub(super) struct TailBudget {
    queue: Mutex<Queue>,
    bytes_max: usize,
}

/// Bookkeeping counts as much as bytes do, or tiny batches would cost many times the budget.
const OVERHEAD_BYTES: usize = 128;

impl TailBudget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { queue: Mutex::default(), bytes_max }
    }

    /// Adds one appended batch to its log's tail, and drops the oldest of all logs where the
    /// budget asks for it.
    pub(super) fn push(&self, log: &Arc<Tail>, base: Offset, last: Offset, bytes: Bytes) {
        let cost = bytes.len() + OVERHEAD_BYTES;
        if cost > self.bytes_max {
            // The run must stay gapless.
            log.truncate(Offset::ZERO);
            return;
        }
        log.push(Chunk { base, last, bytes });
        let mut evicted = Vec::new();
        {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.bytes += cost;
            queue.pushed.push_back(Pushed { log: Arc::downgrade(log), last, bytes: cost });
            while queue.bytes > self.bytes_max
                && let Some(oldest) = queue.pushed.pop_front()
            {
                queue.bytes -= oldest.bytes;
                evicted.push(oldest);
            }
        }
        for oldest in evicted {
            if let Some(log) = oldest.log.upgrade() {
                log.evict(oldest.last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: usize) -> Bytes {
        Bytes::from(vec![0; count])
    }

    #[test]
    fn a_tail_serves_whole_batches_and_the_budget_spans_logs() {
        let budget = TailBudget::new(4 * (100 + OVERHEAD_BYTES));
        let (one, two) = (Arc::new(Tail::default()), Arc::new(Tail::default()));
        budget.push(&one, Offset(10), Offset(14), bytes(100));
        budget.push(&one, Offset(15), Offset(19), bytes(100));
        let read = |from, upto, max, forced| {
            one.read(Offset(from), Offset(upto), max, forced).map(|chunks| chunks.len())
        };
        assert_eq!(read(9, 99, 1000, true), None);
        assert_eq!(read(12, 99, 1000, true), Some(2), "the batch around the offset");
        assert_eq!(read(10, 19, 1000, true), Some(1), "only what ends before the bound");
        assert_eq!(read(10, 99, 150, true), Some(1));
        assert_eq!(read(10, 99, 50, false), Some(0));
        assert_eq!(read(10, 99, 50, true), Some(1));
        assert_eq!(read(20, 99, 50, true), Some(0), "at the end");
        for base in [0, 5, 10] {
            budget.push(&two, Offset(base), Offset(base + 4), bytes(100));
        }
        assert_eq!(read(10, 99, 1000, true), None, "the oldest of both logs left");
        assert_eq!(read(15, 99, 1000, true), Some(1));
        two.truncate(Offset(10));
        let left = two.read(Offset(0), Offset(99), 1000, true);
        assert_eq!(left.map(|chunks| chunks.len()), Some(2));
    }
}
