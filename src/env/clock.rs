//! Time, as a value that can be replaced: the wall clock, and one that never goes back.
//!
//! Wall time only ever decides retention, timestamps and what people read. No safety rule
//! depends on either; waits of tasks use tokio's monotonic timers.

use crate::types::TimestampMs;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now, in milliseconds since 1970 UTC. May jump either way.
    fn now(&self) -> TimestampMs;

    /// Milliseconds since some moment of this process, never going back, whatever becomes of the
    /// wall clock.
    fn monotonic_ms(&self) -> i64;
}

/// When this process first asked.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one door to wall-clock time")]
    fn now(&self) -> TimestampMs {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimestampMs(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic_ms(&self) -> i64 {
        i64::try_from(BEGUN.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// A clock that stands still until it is moved. Clones share their hands.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<Hands>);

#[derive(Debug, Default)]
struct Hands {
    wall_ms: AtomicI64,
    monotonic_ms: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: TimestampMs) -> Self {
        Self(Arc::new(Hands { wall_ms: AtomicI64::new(now.0), monotonic_ms: AtomicI64::new(0) }))
    }

    /// Moves the wall clock by `span_ms`, which may be negative, and the monotonic one if it is
    /// not.
    pub fn advance(&self, span_ms: i64) {
        self.jump(span_ms);
        self.0.monotonic_ms.fetch_add(span_ms.max(0), Ordering::SeqCst);
    }

    /// Moves the wall clock alone, as somebody who sets it would.
    pub fn jump(&self, span_ms: i64) {
        self.0.wall_ms.fetch_add(span_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.0.wall_ms.load(Ordering::SeqCst))
    }

    fn monotonic_ms(&self) -> i64 {
        self.0.monotonic_ms.load(Ordering::SeqCst)
    }
}
