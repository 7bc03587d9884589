//! A token bucket: how fast followers that are far behind may catch up.

/// Lets so many bytes through a second, over all fetchers of a node, with a second's worth of
/// burst. What has arrived is taken off after the fact, so the bucket may go below zero and is
/// waited for.
#[derive(Debug, Clone)]
pub struct Throttle {
    bytes_per_second: u64,
    tokens: i64,
    filled_ms: i64,
}

impl Throttle {
    /// A full bucket at `now_ms`.
    #[must_use]
    pub fn new(bytes_per_second: u64, now_ms: i64) -> Self {
        let tokens = i64::try_from(bytes_per_second).unwrap_or(i64::MAX);
        Self { bytes_per_second, tokens, filled_ms: now_ms }
    }

    /// Changes the rate (`follower.replication.throttled.rate`).
    pub fn set_rate(&mut self, bytes_per_second: u64, now_ms: i64) {
        self.fill(now_ms);
        self.bytes_per_second = bytes_per_second;
        self.tokens = self.tokens.min(self.burst());
    }

    /// Whether more may be asked for at `now_ms`.
    pub fn is_open(&mut self, now_ms: i64) -> bool {
        self.fill(now_ms);
        self.tokens > 0
    }

    /// Takes off what has arrived.
    pub fn spend(&mut self, bytes: usize, now_ms: i64) {
        self.fill(now_ms);
        self.tokens = self.tokens.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// When a closed bucket opens again, on the same clock.
    #[must_use]
    pub fn opens_at_ms(&self) -> i64 {
        let missing = u64::try_from(1i64.saturating_sub(self.tokens)).unwrap_or(0);
        let wait_ms = missing.saturating_mul(1_000).div_ceil(self.bytes_per_second.max(1));
        self.filled_ms.saturating_add(i64::try_from(wait_ms).unwrap_or(i64::MAX))
    }

    fn burst(&self) -> i64 {
        i64::try_from(self.bytes_per_second).unwrap_or(i64::MAX)
    }

    fn fill(&mut self, now_ms: i64) {
        let passed_ms = u64::try_from(now_ms.saturating_sub(self.filled_ms)).unwrap_or(0);
        let grown = passed_ms.saturating_mul(self.bytes_per_second) / 1_000;
        // Time that has not made a whole token yet stays to be counted.
        if grown > 0 {
            let grown = i64::try_from(grown).unwrap_or(i64::MAX);
            self.tokens = self.tokens.saturating_add(grown).min(self.burst());
            self.filled_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_time_and_a_debt_is_waited_for() {
        let mut throttle = Throttle::new(1_000, 0);
        assert!(throttle.is_open(0));
        throttle.spend(3_000, 0);
        assert!(!throttle.is_open(0));
        assert_eq!(throttle.opens_at_ms(), 2_001);
        assert!(!throttle.is_open(2_000));
        assert!(throttle.is_open(2_001));
        // A long rest saves up one second's worth.
        throttle.spend(0, 60_000);
        throttle.spend(1_000, 60_000);
        assert!(!throttle.is_open(60_000));
        throttle.set_rate(1_000_000, 60_000);
        assert!(throttle.is_open(60_001));
    }
}
