//! Which is cheaper for the logs that wait: a sync of each one's files, or one of the file system.
//!
//! One sync of the file system serves any number of logs, but writes out whatever anybody has left
//! dirty there, other programs too. What it costs is therefore measured, and it is left alone for
//! a while after it was slow.
//!
//! Pure: times are passed in. A wrong guess costs time, nothing else.

use crate::limits::{FLUSH_FILE_SYSTEM_FROM, FLUSH_FILE_SYSTEM_HALF_LIFE_MS};
use std::time::Duration;

/// What syncs have cost so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SyncCosts {
    /// One log's files, on average, in microseconds.
    each_us: f64,
    /// The file system, in microseconds, and when that was measured.
    all_us: f64,
    all_at_ms: u64,
}

/// How much of an average a new measurement is.
const WEIGHT: f64 = 0.2;

impl SyncCosts {
    /// A log's files were synced by themselves.
    pub(super) fn synced_each(&mut self, took: Duration) {
        let took_us = took.as_secs_f64() * 1e6;
        self.each_us = if self.each_us > 0.0 {
            self.each_us + (took_us - self.each_us) * WEIGHT
        } else {
            took_us
        };
    }

    /// The whole file system was synced.
    pub(super) fn synced_all(&mut self, took: Duration, now_ms: u64) {
        self.all_us = took.as_secs_f64() * 1e6;
        self.all_at_ms = now_ms;
    }

    /// Whether one sync of the file system is expected to end sooner than those of `count` logs on
    /// `threads` threads. What was measured once counts half as much after each half-life, so that
    /// a file system that was slow is tried again.
    pub(super) fn prefers_all(&self, count: usize, threads: usize, now_ms: u64) -> bool {
        if count < FLUSH_FILE_SYSTEM_FROM {
            return false;
        }
        if self.each_us <= 0.0 || self.all_us <= 0.0 {
            return true;
        }
        let age = now_ms.saturating_sub(self.all_at_ms) as f64;
        let all_us = self.all_us * (-age / FLUSH_FILE_SYSTEM_HALF_LIFE_MS as f64).exp2();
        all_us <= self.each_us * count as f64 / threads.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_cheaper_one_is_chosen_and_a_slow_one_is_tried_again_later() {
        let mut costs = SyncCosts::default();
        assert!(!costs.prefers_all(FLUSH_FILE_SYSTEM_FROM - 1, 4, 0), "few files are synced each");
        assert!(costs.prefers_all(FLUSH_FILE_SYSTEM_FROM, 4, 0), "nothing is known yet");
        costs.synced_each(MS);
        costs.synced_all(2 * MS, 1_000);
        assert!(costs.prefers_all(100, 4, 1_000), "2 ms against 25");
        assert!(costs.prefers_all(8, 4, 1_000), "2 ms against 2");
        // Somebody else writes: it takes as long as that.
        costs.synced_all(4_000 * MS, 2_000);
        assert!(!costs.prefers_all(1_000, 4, 2_000), "4 s against 250 ms");
        let later = |halves: u64| 2_000 + halves * FLUSH_FILE_SYSTEM_HALF_LIFE_MS;
        assert!(!costs.prefers_all(1_000, 4, later(3)), "500 ms against 250");
        assert!(costs.prefers_all(1_000, 4, later(5)), "125 ms against 250");
        assert!(!costs.prefers_all(8, 4, later(5)), "125 ms against 2");
    }

    #[test]
    fn one_slow_file_does_not_decide() {
        let mut costs = SyncCosts::default();
        (0..50).for_each(|_| costs.synced_each(MS));
        costs.synced_each(100 * MS);
        (0..20).for_each(|_| costs.synced_each(MS));
        costs.synced_all(10 * MS, 0);
        assert!(!costs.prefers_all(8, 4, 0), "about 1.2 ms each");
    }
}
