//! Who is in sync and who leads. Pure functions on one [`Partition`]: callers put the result back.
//!
//! Everything that happens to a partition ends in [`Election::settle`], which brings ISR, ELR,
//! leader and epochs in line with who is there.
//!
//! Rules (KIP-966, design section 4): a leader comes from the ISR; when that is empty, from the
//! ELR; when that is empty too, it is who led last, once it is back, or, where the topic allows
//! unclean election, anybody. Every change counts the partition epoch up. The leader epoch counts
//! changes of the leader, and replicas that are taken away: a leader must forget what it knew of
//! them, should they come back (case 14).
//!
//! Invariants: ISR and ELR are disjoint parts of the replicas, in their order, without offline
//! ones; the leader is in the ISR; nobody fenced is in the ISR; the ELR is empty while the ISR has
//! `min.insync.replicas` members, and below that takes in everybody who leaves it, so that what was
//! committed stays with someone who may lead.

use super::command::LeaderRecoveryState;
use super::model::{Partition, State};
use crate::types::mutant::Mutant;
use crate::types::{LeaderEpoch, NodeId, PartitionEpoch};
use std::collections::BTreeMap;

/// What a broker may do now. One that is not registered may do nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Standing {
    /// Registered and not fenced.
    pub(super) unfenced: bool,
    /// About to stop.
    pub(super) stopping: bool,
    /// To lead only where nobody else can.
    pub(super) draining: bool,
}

impl Standing {
    /// Whether it may be elected and join ISRs.
    pub(super) fn is_active(self) -> bool {
        self.unfenced && !self.stopping
    }
}

/// The standing of every broker.
#[derive(Debug, Clone, Default)]
pub(super) struct Standings(BTreeMap<NodeId, Standing>);

impl Standings {
    pub(super) fn of(state: &State) -> Self {
        let standing = |broker: &super::model::Broker| Standing {
            unfenced: !broker.fenced || Mutant::FencedBrokerCounts.is_active(),
            stopping: broker.in_controlled_shutdown,
            draining: state.is_draining(broker.id),
        };
        Self(state.brokers().map(|broker| (broker.id, standing(broker))).collect())
    }

    pub(super) fn get(&self, id: NodeId) -> Standing {
        self.0.get(&id).copied().unwrap_or_default()
    }

    pub(super) fn is_active(&self, id: NodeId) -> bool {
        self.get(id).is_active()
    }

    /// The one to lead among these: the first that is active, those last that are being drained.
    fn best(&self, candidates: impl Iterator<Item = NodeId>) -> Option<NodeId> {
        let active = candidates.filter(|id| self.is_active(*id));
        // The first of several least ones.
        active.min_by_key(|id| self.get(*id).draining)
    }
}

/// A new partition: every active replica is in sync (there is nothing to lack), the first of them
/// leads. `None` when no replica is active.
pub(super) fn new_partition(replicas: Vec<NodeId>, standings: &Standings) -> Option<Partition> {
    let isr: Vec<NodeId> = replicas.iter().copied().filter(|id| standings.is_active(*id)).collect();
    let leader = standings.best(isr.iter().copied())?;
    Some(Partition {
        replicas,
        isr,
        elr: Vec::new(),
        leader: Some(leader),
        leader_epoch: LeaderEpoch::ZERO,
        partition_epoch: PartitionEpoch::ZERO,
        adding: Vec::new(),
        removing: Vec::new(),
        offline: Vec::new(),
        leader_last_known: None,
        recovery: LeaderRecoveryState::Recovered,
    })
}

/// What decides about the partitions of one topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Election<'a> {
    /// Who may do what.
    pub(super) standings: &'a Standings,
    /// `min.insync.replicas`, where it is set.
    pub(super) insync_min: Option<i32>,
    /// Whether anybody may lead before nobody does.
    pub(super) unclean: bool,
}

impl Election<'_> {
    /// In-sync replicas that an acknowledgement needs.
    pub(super) fn insync_min(&self, partition: &Partition) -> usize {
        insync_min(self.insync_min, partition)
    }

    /// Brings a partition in line after a change: `before` is what it was, `excluded` are replicas
    /// that may lack what was committed, and so are not eligible. Returns whether anything changed
    /// in all.
    pub(super) fn settle(
        &self,
        partition: &mut Partition,
        before: &Partition,
        excluded: &[NodeId],
    ) -> bool {
        let replicas = &partition.replicas;
        partition.offline.retain(|id| replicas.contains(id));
        self.settle_isr(partition, before);
        self.complete_reassignment(partition);
        self.settle_elr(partition, before, excluded);
        self.settle_leader(partition, before);
        let enough = partition.isr.len() >= self.insync_min(partition);
        if enough && !Mutant::ElrNotCleared.is_active() {
            // One elected from the ELR may be enough.
            partition.elr.clear();
        }
        if partition.leader.is_some() {
            partition.leader_last_known = None;
        } else if before.leader.is_some() {
            partition.leader_last_known = before.leader;
        }
        let replicas = &partition.replicas;
        partition.leader_last_known.take_if(|last| !replicas.contains(last));
        if partition == before {
            return false;
        }
        if !Mutant::PartitionEpochNotRaised.is_active() {
            partition.partition_epoch = partition.partition_epoch.next();
        }
        let forgets = before.replicas.iter().any(|id| !partition.replicas.contains(id))
            && !Mutant::RemovalKeepsLeaderEpoch.is_active();
        let elected =
            partition.leader != before.leader && !Mutant::LeaderEpochNotRaised.is_active();
        if elected || forgets {
            partition.leader_epoch = partition.leader_epoch.next();
        }
        true
    }

    /// Whoever is fenced or without storage leaves. So does who is about to stop, unless it leads
    /// and nobody else could: then it leads to its end.
    fn settle_isr(&self, partition: &mut Partition, before: &Partition) {
        let offline = &partition.offline;
        let isr = in_order_of(&partition.replicas, &partition.isr);
        let usable = |id: &NodeId| !offline.contains(id) && self.standings.get(*id).unfenced;
        let others = isr.iter().any(|id| usable(id) && self.standings.is_active(*id));
        partition.isr = isr
            .into_iter()
            .filter(|id| usable(id))
            .filter(|id| self.standings.is_active(*id) || (!others && before.leader == Some(*id)))
            .collect();
    }

    /// A reassignment is over once all that it adds is in sync, and what it removes is not needed:
    /// the rest has enough in-sync replicas, and no fewer than there would be without it, unless
    /// the target asks for fewer. One that stays and is down holds nothing up.
    fn complete_reassignment(&self, partition: &mut Partition) {
        if !partition.is_reassigning() {
            return;
        }
        let target = partition.target();
        let kept = in_order_of(&target, &partition.isr);
        let enough = insync_min_of(self.insync_min, target.len());
        let without = partition.isr.iter().filter(|id| !partition.adding.contains(id)).count();
        let enough = enough.max(without.min(target.len()));
        let enough = kept.len() >= enough || Mutant::ReassignmentDropsBelowMin.is_active();
        let arrived = partition.adding.iter().all(|id| kept.contains(id));
        if enough && (arrived || Mutant::ReassignmentCompletesEarly.is_active()) {
            partition.offline.retain(|id| target.contains(id));
            partition.replicas = target;
            partition.isr = kept;
            partition.adding.clear();
            partition.removing.clear();
        }
    }

    fn settle_elr(&self, partition: &mut Partition, before: &Partition, excluded: &[NodeId]) {
        let enough = partition.isr.len() >= self.insync_min(partition);
        if (enough && !Mutant::ElrNotCleared.is_active()) || Mutant::ElrNotKept.is_active() {
            // Enough replicas hold everything: those that fell behind are no longer needed.
            partition.elr.clear();
            return;
        }
        // Of the only replica there is, nobody could know better.
        let only = matches!(partition.replicas[..], [_]);
        let eligible = |id: &NodeId| {
            (before.isr.contains(id) || before.elr.contains(id))
                && !partition.isr.contains(id)
                && (only || !(excluded.contains(id) || partition.offline.contains(id)))
        };
        partition.elr = partition.replicas.iter().copied().filter(eligible).collect();
    }

    fn settle_leader(&self, partition: &mut Partition, before: &Partition) {
        let best = self.standings.best(partition.isr.iter().copied());
        let stays = partition.leader.filter(|leader| {
            let standing = self.standings.get(*leader);
            let better = best.is_some_and(|best| !self.standings.get(best).draining);
            partition.isr.contains(leader) && !(standing.draining && better)
        });
        partition.leader = stays.or(best);
        if partition.leader.is_some() || !partition.isr.is_empty() {
            return;
        }
        let online = |id: &NodeId| !partition.offline.contains(id);
        // Only an empty ISR lets the ELR lead: those in sync hold more.
        let eligible = self.standings.best(partition.elr.iter().copied().filter(online));
        // Nobody is known to hold everything: next best is who led last. Not while the ELR has
        // members that may come back.
        let last = || {
            let last = before.leader.or(partition.leader_last_known);
            let elr_waits = !partition.elr.is_empty() && !Mutant::LastLeaderBeforeElr.is_active();
            let last = last.filter(|id| !elr_waits && online(id));
            last.filter(|id| partition.replicas.contains(id) && self.standings.is_active(*id))
        };
        let anybody = || {
            let online = partition.replicas.iter().copied().filter(online);
            let unclean = self.unclean || Mutant::UncleanReplicaElected.is_active();
            self.standings.best(online).filter(|_| unclean)
        };
        if let Some(leader) = eligible {
            partition.elr.retain(|id| *id != leader);
            partition.lead_alone(leader);
        } else if let Some(leader) = last().or_else(anybody) {
            partition.lead_uncleanly(leader);
        }
    }
}

impl Partition {
    fn lead_alone(&mut self, leader: NodeId) {
        self.leader = Some(leader);
        self.isr = vec![leader];
    }

    /// This one leads, whatever it lacks: what the others have beyond it is given up.
    pub(super) fn lead_uncleanly(&mut self, leader: NodeId) {
        self.lead_alone(leader);
        self.elr.clear();
        self.recovery = LeaderRecoveryState::Recovering;
    }
}

pub(super) fn in_order_of(replicas: &[NodeId], members: &[NodeId]) -> Vec<NodeId> {
    replicas.iter().copied().filter(|id| members.contains(id)).collect()
}

/// The in-sync replicas that an acknowledgement needs: `min.insync.replicas`, but never more than
/// there are replicas (KIP-966). Where it is not set, 2 of 3 and more replicas, else 1. A
/// reassignment counts with the smaller of what was and what will be: replicas that are only being
/// added can't be asked to be in sync yet.
pub(super) fn insync_min(configured: Option<i32>, partition: &Partition) -> usize {
    let all = partition.replicas.len();
    let replicas = all.saturating_sub(partition.adding.len().max(partition.removing.len()));
    insync_min_of(configured, replicas)
}

/// The same for a partition with this many replicas.
pub(super) fn insync_min_of(configured: Option<i32>, replicas: usize) -> usize {
    let asked = match configured {
        Some(configured) => usize::try_from(configured).unwrap_or(1),
        None if replicas >= 3 => 2,
        None => 1,
    };
    asked.clamp(1, replicas.max(1))
}

#[cfg(test)]
mod tests;
