//! Who counts: the ISR, proposals to change it, and when a follower joins or leaves.

use super::{Effect, Role, State, watermark};
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch};
use std::collections::BTreeSet;

/// The ISR as decided, and at most one open proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Isr {
    pub(super) decided: BTreeSet<NodeId>,
    pub(super) proposed: Option<BTreeSet<NodeId>>,
    pub(super) partition_epoch: PartitionEpoch,
}

/// A wish for another ISR (AlterPartition).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrProposal {
    /// The leadership that asks.
    pub leader_epoch: LeaderEpoch,
    /// The version that the wish is made against; the controller refuses an old one.
    pub partition_epoch: PartitionEpoch,
    /// The wanted ISR, with each follower's registration, so that one that lost its log since is
    /// refused (KIP-903). The leader itself goes without.
    pub isr: Vec<(NodeId, Option<BrokerEpoch>)>,
}

impl Isr {
    pub(super) fn decided(decided: BTreeSet<NodeId>, partition_epoch: PartitionEpoch) -> Self {
        Self { decided, proposed: None, partition_epoch }
    }

    /// Takes the controller's word. A newer version closes whatever was proposed against an
    /// older one, whether it was this proposal or another's change.
    pub(super) fn decide(&mut self, decided: BTreeSet<NodeId>, partition_epoch: PartitionEpoch) {
        if partition_epoch > self.partition_epoch {
            self.proposed = None;
        }
        self.decided = decided;
        self.partition_epoch = partition_epoch;
    }

    pub(super) fn maximal(&self) -> BTreeSet<NodeId> {
        let proposed = self.proposed.iter().flatten();
        self.decided.iter().chain(proposed).copied().collect()
    }
}

/// Proposes a follower that meets every condition of the design: it fetched in this epoch up to
/// the high watermark and to the start of the leader's epoch, and its registration is current.
pub(super) fn consider_joining(state: &mut State, follower: NodeId, effects: &mut Vec<Effect>) {
    let high_watermark = state.high_watermark;
    let write_caching = state.settings.write_caching;
    let Role::Leader(leader) = &mut state.role else { return };
    if leader.isr.proposed.is_some() || leader.isr.decided.contains(&follower) {
        return;
    }
    let Some(progress) = leader.followers.get(&follower) else { return };
    let reached = if write_caching { progress.end } else { progress.flushed };
    let Some(reached) = reached else { return };
    if progress.broker_epoch.is_none() || reached < high_watermark || reached < leader.epoch_start {
        return;
    }
    let mut wanted = leader.isr.decided.clone();
    wanted.insert(follower);
    propose(leader, wanted, effects);
}

/// Proposes an ISR without the followers that have not caught up for too long.
pub(super) fn drop_laggards(state: &mut State, now_ms: i64, effects: &mut Vec<Effect>) {
    let lag_ms_max = state.settings.lag_ms_max;
    let log_end = state.log.end;
    let Role::Leader(leader) = &mut state.role else { return };
    if leader.isr.proposed.is_some() {
        return;
    }
    let keeps = |node: &NodeId| {
        leader.followers.get(node).is_none_or(|progress| {
            progress.end == Some(log_end)
                || now_ms.saturating_sub(progress.caught_up_ms) <= lag_ms_max
        })
    };
    let wanted: BTreeSet<NodeId> = leader.isr.decided.iter().copied().filter(keeps).collect();
    if wanted != leader.isr.decided {
        propose(leader, wanted, effects);
    }
}

/// The controller refused the open proposal: the decided ISR alone counts again.
pub(super) fn refused(
    state: &mut State,
    partition_epoch: PartitionEpoch,
    effects: &mut Vec<Effect>,
) {
    let Role::Leader(leader) = &mut state.role else { return };
    if leader.isr.partition_epoch == partition_epoch {
        leader.isr.proposed = None;
        watermark::advance(state, effects);
    }
}

fn propose(leader: &mut super::Leader, wanted: BTreeSet<NodeId>, effects: &mut Vec<Effect>) {
    let registration = |node: &NodeId| leader.followers.get(node).and_then(|p| p.broker_epoch);
    let isr = wanted.iter().map(|node| (*node, registration(node))).collect();
    effects.push(Effect::ProposeIsr(IsrProposal {
        leader_epoch: leader.epoch,
        partition_epoch: leader.isr.partition_epoch,
        isr,
    }));
    leader.isr.proposed = Some(wanted);
}
