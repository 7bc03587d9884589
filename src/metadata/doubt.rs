//! Nodes whose connections just broke.
//!
//! A process that is killed takes its connections with it, and every node sees that at once; the
//! controller needs some milliseconds more to make sure, and to give its partitions to others.
//! Whoever is told in between that it still leads may not ask again for a second.
//!
//! Invariant: a doubt is a hint about clients' patience, and passes by itself: nothing that must
//! be right depends on it.

use crate::limits::METADATA_DOUBT_MS;
use crate::types::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who is in doubt since when, in monotonic milliseconds; one entry for each node at most.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<BTreeMap<NodeId, i64>>);

impl Doubts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection with this node broke.
    pub(super) fn raise(&self, node: NodeId, now_ms: i64) {
        let mut doubts = self.lock();
        doubts.retain(|_, since_ms| is_fresh(*since_ms, now_ms));
        doubts.insert(node, now_ms);
    }

    /// The nodes that are in doubt now.
    pub(super) fn of(&self, now_ms: i64) -> BTreeSet<NodeId> {
        let doubts = self.lock();
        let fresh = doubts.iter().filter(|(_, since_ms)| is_fresh(**since_ms, now_ms));
        fresh.map(|(node, _)| *node).collect()
    }
}

fn is_fresh(since_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(since_ms) < METADATA_DOUBT_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubts_pass_by_themselves() {
        let doubts = Doubts::default();
        assert!(doubts.of(0).is_empty());
        doubts.raise(NodeId(2), 1_000);
        doubts.raise(NodeId(3), 1_000 + METADATA_DOUBT_MS - 1);
        assert_eq!(doubts.of(1_000 + METADATA_DOUBT_MS - 1), [NodeId(2), NodeId(3)].into());
        assert_eq!(doubts.of(1_000 + METADATA_DOUBT_MS), [NodeId(3)].into());
        doubts.raise(NodeId(2), 10_000);
        assert_eq!(doubts.of(10_000), [NodeId(2)].into());
    }
}
