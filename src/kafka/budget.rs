//! Budgets of bytes: what is read from and written to clients is paid for first.
//!
//! Invariant: the bytes out on lease never exceed the budget, and a lease that is dropped is
//! paid back, whatever way its owner ended.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in units of this size, so that the count fits tokio's semaphore.
const UNIT_BYTES: usize = 1024;

/// A number of bytes that may be out on lease at one time. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    units_max: usize,
}

/// Bytes taken out of a budget, until dropped.
#[derive(Debug)]
pub(super) struct Lease(OwnedSemaphorePermit);

impl Budget {
    /// A budget of `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        let units_max = bytes.div_ceil(UNIT_BYTES);
        Self { units: Arc::new(Semaphore::new(units_max)), units_max }
    }

    /// Takes `bytes` (at most the whole budget), in the order of asking.
    pub(super) async fn take(&self, bytes: usize) -> Lease {
        let units = self.units_of(bytes);
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await;
        Lease(permit.expect("invariant: the semaphore is never closed"))
    }

    /// Takes `bytes`, or what is left if that is less, but at least `least`, for which it waits.
    pub(super) async fn take_some(&self, bytes: usize, least: usize) -> Lease {
        let mut units = self.units_of(bytes);
        let least_units = self.units_of(least.min(bytes));
        loop {
            if let Ok(permit) = Arc::clone(&self.units).try_acquire_many_owned(units) {
                return Lease(permit);
            }
            units /= 2;
            if units < least_units {
                return self.take(least.min(bytes)).await;
            }
        }
    }

    /// Bytes that are not out on lease.
    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.units.available_permits() * UNIT_BYTES
    }

    fn units_of(&self, bytes: usize) -> u32 {
        let units = bytes.div_ceil(UNIT_BYTES).min(self.units_max);
        u32::try_from(units).unwrap_or(u32::MAX)
    }
}

impl Lease {
    /// Bytes on this lease.
    pub(super) fn bytes(&self) -> usize {
        self.0.num_permits() * UNIT_BYTES
    }

    /// Pays back all but `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.0.num_permits().saturating_sub(bytes.div_ceil(UNIT_BYTES));
        drop(self.0.split(surplus));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn leases_are_bounded_and_paid_back() {
        let budget = Budget::new(10 * UNIT_BYTES);
        let mut all = budget.take(1 << 40).await;
        assert_eq!((all.bytes(), budget.left()), (10 * UNIT_BYTES, 0));
        all.shrink_to(1);
        assert_eq!(budget.left(), 9 * UNIT_BYTES);
        let some = budget.take_some(100 * UNIT_BYTES, UNIT_BYTES).await;
        assert!(some.bytes() >= UNIT_BYTES && some.bytes() <= 9 * UNIT_BYTES);
        drop((all, some));
        assert_eq!(budget.left(), 10 * UNIT_BYTES);
    }

    #[tokio::test]
    async fn a_lease_waits_for_its_turn() {
        let budget = Budget::new(4 * UNIT_BYTES);
        let first = budget.take(3 * UNIT_BYTES).await;
        let waiting = budget.take(2 * UNIT_BYTES);
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(first);
        assert_eq!(waiting.await.bytes(), 2 * UNIT_BYTES);
    }
}
