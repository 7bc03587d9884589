//! Who counts: the ISR, proposals to change it, and when a follower joins or leaves.

use super::{Effect, Leader, Role, State, watermark};
use crate::types::mutant::Mutant;
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};
use std::collections::BTreeSet;

/// The ISR as decided, and at most one open proposal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Isr {
    pub(super) decided: BTreeSet<NodeId>,
    /// Who may be elected although not in sync.
    pub(super) elr: BTreeSet<NodeId>,
    pub(super) proposed: Option<BTreeSet<NodeId>>,
    pub(super) partition_epoch: PartitionEpoch,
    /// Whether a proposal was refused since the last tick: the same one would be refused again.
    pub(super) refused: bool,
}

/// A wish for another ISR (AlterPartition).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IsrProposal {
    /// The leadership that asks.
    pub leader_epoch: LeaderEpoch,
    /// The version that the wish is made against; the controller refuses an old one.
    pub partition_epoch: PartitionEpoch,
    /// The wanted ISR, with each follower's registration, so that one that lost its log since is
    /// refused (KIP-903). The leader itself goes without.
    pub isr: Vec<(NodeId, Option<BrokerEpoch>)>,
    /// Members of the old ISR and of the ELR that have lost what was committed, and so may not be
    /// elected.
    pub lost: Vec<NodeId>,
}

impl Isr {
    pub(super) fn decided(
        decided: BTreeSet<NodeId>,
        elr: BTreeSet<NodeId>,
        partition_epoch: PartitionEpoch,
    ) -> Self {
        Self { decided, elr, proposed: None, partition_epoch, refused: false }
    }

    /// Takes the controller's word. A newer version closes whatever was proposed against an
    /// older one, whether it was this proposal or another's change.
    pub(super) fn decide(
        &mut self,
        decided: BTreeSet<NodeId>,
        elr: BTreeSet<NodeId>,
        partition_epoch: PartitionEpoch,
    ) {
        if partition_epoch > self.partition_epoch || Mutant::ProposalForgottenUnanswered.is_active()
        {
            self.proposed = None;
            self.refused = false;
        }
        self.decided = decided;
        self.elr = elr;
        self.partition_epoch = partition_epoch;
    }

    pub(super) fn maximal(&self) -> BTreeSet<NodeId> {
        if Mutant::HighWatermarkOverDecidedIsr.is_active() {
            return self.decided.clone();
        }
        if let Some(proposed) = &self.proposed
            && Mutant::HighWatermarkOverProposedIsr.is_active()
        {
            return proposed.clone();
        }
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
    if leader.isr.decided.contains(&follower) || !leader.may_propose() {
        return;
    }
    if leader.has_reached(follower, high_watermark, write_caching) {
        let mut wanted = leader.isr.decided.clone();
        wanted.insert(follower);
        propose(leader, wanted, high_watermark, effects);
    }
}

/// Proposes whoever could join or has lost records, after a decision has closed what was open:
/// they may have nothing new to say.
pub(super) fn consider_all(state: &mut State, effects: &mut Vec<Effect>) {
    let (log_end, high_watermark) = (state.log.end, state.high_watermark);
    let write_caching = state.settings.write_caching;
    let Role::Leader(leader) = &mut state.role else { return };
    if !leader.may_propose() {
        return;
    }
    let stay = leader.isr.decided.iter().copied();
    let join = leader.waiting(log_end, high_watermark, write_caching);
    let wanted = stay.chain(join).filter(|node| !leader.has_lost(*node, high_watermark)).collect();
    propose_changes(leader, wanted, high_watermark, effects);
}

/// Proposes an ISR and an ELR without a member that has lost what was committed: its disk was
/// damaged, and it fetches anew from below the high watermark. It may not be elected while it does.
/// (The high watermark stands still while the ELR has members, so they have all below it, too.)
pub(super) fn consider_loss(state: &mut State, follower: NodeId, effects: &mut Vec<Effect>) {
    let high_watermark = state.high_watermark;
    let Role::Leader(leader) = &mut state.role else { return };
    if leader.may_propose() && leader.has_lost(follower, high_watermark) {
        let mut wanted = leader.isr.decided.clone();
        wanted.remove(&follower);
        propose(leader, wanted, high_watermark, effects);
    }
}

/// Time passes: proposes an ISR without the followers that have not caught up for too long, and
/// with those that have.
pub(super) fn tick(state: &mut State, now_ms: i64, effects: &mut Vec<Effect>) {
    let lag_ms_max = state.settings.lag_ms_max;
    let (log_end, high_watermark) = (state.log.end, state.high_watermark);
    let write_caching = state.settings.write_caching;
    let Role::Leader(leader) = &mut state.role else { return };
    for progress in leader.followers.values_mut() {
        // A follower that has everything does not fetch anew while nothing is written. It was
        // caught up until now, so the first record after a long silence does not make it late.
        if progress.end == Some(log_end) {
            progress.caught_up_ms = progress.caught_up_ms.max(now_ms);
        }
    }
    leader.isr.refused = false;
    if !leader.may_propose() {
        return;
    }
    let late = |node: &NodeId| {
        leader.followers.get(node).is_some_and(|progress| {
            progress.end != Some(log_end)
                && now_ms.saturating_sub(progress.caught_up_ms) > lag_ms_max
        })
    };
    let stay = leader.isr.decided.iter().copied().filter(|node| !late(node));
    let join = leader.waiting(log_end, high_watermark, write_caching);
    let wanted = stay.chain(join).filter(|node| !leader.has_lost(*node, high_watermark)).collect();
    propose_changes(leader, wanted, high_watermark, effects);
}

/// The controller refused the open proposal: the decided ISR alone counts again.
pub(super) fn refused(
    state: &mut State,
    partition_epoch: PartitionEpoch,
    effects: &mut Vec<Effect>,
) {
    let Role::Leader(leader) = &mut state.role else { return };
    if leader.isr.partition_epoch == partition_epoch && leader.isr.proposed.is_some() {
        leader.isr.proposed = None;
        leader.isr.refused = true;
        watermark::advance(state, effects);
    }
}

impl Leader {
    fn may_propose(&self) -> bool {
        self.isr.proposed.is_none() && !self.isr.refused
    }

    /// Whether a replica that may be elected, or that is in sync, lacks what was committed.
    fn has_lost(&self, follower: NodeId, high_watermark: Offset) -> bool {
        let may_lead = self.isr.decided.contains(&follower) || self.isr.elr.contains(&follower);
        let end = self.followers.get(&follower).and_then(|progress| progress.end);
        may_lead && end.is_some_and(|end| end < high_watermark)
    }

    /// The followers that could join, and that have no reason to fetch and thereby ask for it: they
    /// have everything. (One that is as far as the high watermark may have stopped fetching, and
    /// just have been dropped for it.)
    fn waiting(&self, log_end: Offset, high_watermark: Offset, write_caching: bool) -> Vec<NodeId> {
        let outside = self.followers.iter().filter(|(node, _)| !self.isr.decided.contains(node));
        outside
            .filter(|(_, progress)| {
                progress.end == Some(log_end) || Mutant::JoinWithoutFetch.is_active()
            })
            .map(|(node, _)| *node)
            .filter(|node| self.has_reached(*node, high_watermark, write_caching))
            .collect()
    }

    /// Whether a follower outside of the ISR has all that a member must have.
    fn has_reached(&self, follower: NodeId, high_watermark: Offset, write_caching: bool) -> bool {
        let Some(progress) = self.followers.get(&follower) else { return false };
        let reached = if write_caching { progress.end } else { progress.flushed };
        let reached = reached.or(Mutant::JoinWithoutFetch.is_active().then_some(high_watermark));
        let far_enough = reached.is_some_and(|end| {
            (end >= high_watermark || Mutant::JoinBelowHighWatermark.is_active())
                && (end >= self.epoch_start || Mutant::JoinBelowEpochStart.is_active())
        });
        far_enough && progress.broker_epoch.is_some()
    }
}

/// Proposes what is wanted, if it is not what is decided.
fn propose_changes(
    leader: &mut super::Leader,
    wanted: BTreeSet<NodeId>,
    high_watermark: Offset,
    effects: &mut Vec<Effect>,
) {
    let lost = leader.isr.elr.iter().any(|node| leader.has_lost(*node, high_watermark));
    if lost || wanted != leader.isr.decided {
        propose(leader, wanted, high_watermark, effects);
    }
}

fn propose(
    leader: &mut super::Leader,
    wanted: BTreeSet<NodeId>,
    high_watermark: Offset,
    effects: &mut Vec<Effect>,
) {
    let others = leader.followers.keys().copied().filter(|node| !wanted.contains(node));
    let lost = others.filter(|node| leader.has_lost(*node, high_watermark)).collect();
    let registration = |node: &NodeId| leader.followers.get(node).and_then(|p| p.broker_epoch);
    let isr = wanted.iter().map(|node| (*node, registration(node))).collect();
    effects.push(Effect::ProposeIsr(IsrProposal {
        leader_epoch: leader.epoch,
        partition_epoch: leader.isr.partition_epoch,
        isr,
        lost,
    }));
    leader.isr.proposed = Some(wanted);
}
