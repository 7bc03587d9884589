//! Counts that the client port keeps, for the admin port to print.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters and gauges of the client port.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections that are open now.
    pub connections_open: AtomicU64,
    /// Connections refused because a cap was reached.
    pub connections_refused: AtomicU64,
    /// Requests handled.
    pub requests: AtomicU64,
    /// Connections closed because a request made no sense.
    pub requests_rejected: AtomicU64,
    /// Bytes of record batches taken in.
    pub produce_bytes: AtomicU64,
    /// Bytes of record batches handed out.
    pub fetch_bytes: AtomicU64,
    /// Fetch sessions that are remembered now.
    pub fetch_sessions: AtomicU64,
}

impl Metrics {
    /// Adds to a counter.
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub(super) fn set(gauge: &AtomicU64, value: u64) {
        gauge.store(value, Ordering::Relaxed);
    }

    /// Reads a counter or gauge.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}
