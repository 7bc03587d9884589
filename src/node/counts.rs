//! Counts of what happened to this node's partitions, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Each only grows.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// ISRs that this node, as leader, made smaller.
    pub(super) isr_shrinks: Count,
    /// ISRs that this node, as leader, made larger.
    pub(super) isr_expands: Count,
    /// ISR changes that the controller refused.
    pub(super) isr_refused: Count,
    /// Leaderships that began here.
    pub(super) leaderships: Count,
}

/// One count.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
