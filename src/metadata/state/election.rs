//! Who leads a partition. Pure functions on one [`Partition`]: callers put the result back.
//!
//! Rules (KIP-966, design section 4): a leader comes from the ISR; when that is empty, from the
//! ELR; otherwise the partition is offline. Every change counts the partition epoch up, and every
//! change of the leader counts the leader epoch up too.
//!
//! Invariants: ISR and ELR are disjoint parts of the replicas, in their order; the leader is in
//! the ISR; the ISR shrinks below `min.insync.replicas` only into the ELR, so that what was
//! committed stays with someone who may lead.

use super::command::LeaderRecoveryState;
use super::model::Partition;
use crate::types::{LeaderEpoch, NodeId, PartitionEpoch};

/// A new partition: every active replica is in sync (there is nothing to lack), the first of them
/// leads. `None` when no replica is active.
pub(super) fn new_partition(
    replicas: Vec<NodeId>,
    is_active: impl Fn(NodeId) -> bool,
) -> Option<Partition> {
    let isr: Vec<NodeId> = replicas.iter().copied().filter(|id| is_active(*id)).collect();
    let leader = *isr.first()?;
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

/// What is to happen to a partition's in-sync replicas.
#[derive(Debug, Clone, Copy)]
pub(super) enum Loss {
    /// The replica stopped, and its disk keeps what it had: it may still lead.
    Stopped,
    /// The replica stopped, and may have lost what it had not synced.
    Unclean,
}

/// Takes a replica out of the ISR because its broker was fenced or stops. With
/// [`Loss::Unclean`] it leaves the ELR too, unless it is the only replica: then nobody could know
/// better. Returns whether anything changed.
pub(super) fn lose_replica(
    partition: &mut Partition,
    lost: NodeId,
    loss: Loss,
    insync_min: usize,
    is_active: impl Fn(NodeId) -> bool,
) -> bool {
    let before = partition.clone();
    let eligible = matches!(loss, Loss::Stopped) || partition.replicas == [lost];
    let was_in_isr = partition.isr.contains(&lost);
    partition.isr.retain(|id| *id != lost);
    if was_in_isr && eligible && partition.isr.len() < insync_min {
        partition.elr.push(lost);
    }
    if !eligible {
        partition.elr.retain(|id| *id != lost);
    }
    settle(partition, &before, insync_min, is_active)
}

/// Elects a leader where there is none and someone may lead. Called when a broker becomes active.
/// Returns whether anything changed.
pub(super) fn elect(
    partition: &mut Partition,
    insync_min: usize,
    is_active: impl Fn(NodeId) -> bool,
) -> bool {
    if partition.leader.is_some() {
        return false;
    }
    let before = partition.clone();
    settle(partition, &before, insync_min, is_active)
}

/// Brings leader, ISR, ELR and epochs in line after a change.
fn settle(
    partition: &mut Partition,
    before: &Partition,
    insync_min: usize,
    is_active: impl Fn(NodeId) -> bool,
) -> bool {
    let stays = partition.leader.is_some_and(|leader| partition.isr.contains(&leader));
    if !stays {
        let by_preference = |from: &[NodeId]| {
            partition.replicas.iter().copied().find(|id| from.contains(id) && is_active(*id))
        };
        partition.leader = by_preference(&partition.isr);
        // Only an empty ISR lets the ELR lead: those in sync hold more.
        if partition.leader.is_none()
            && partition.isr.is_empty()
            && let Some(leader) = by_preference(&partition.elr)
        {
            partition.leader = Some(leader);
            partition.isr.push(leader);
        }
    }
    if partition.isr.len() >= insync_min {
        // Enough replicas hold everything: those that fell behind are no longer needed.
        partition.elr.clear();
    }
    partition.elr.retain(|id| !partition.isr.contains(id));
    partition.elr = in_order_of(&partition.replicas, &partition.elr);
    partition.isr = in_order_of(&partition.replicas, &partition.isr);
    if partition == before {
        return false;
    }
    partition.partition_epoch = partition.partition_epoch.next();
    if partition.leader != before.leader {
        partition.leader_epoch = partition.leader_epoch.next();
    }
    true
}

fn in_order_of(replicas: &[NodeId], members: &[NodeId]) -> Vec<NodeId> {
    replicas.iter().copied().filter(|id| members.contains(id)).collect()
}

/// The in-sync replicas that an acknowledgement needs: `min.insync.replicas`, but never more than
/// there are replicas (KIP-966).
pub(super) fn insync_min(configured: i32, replicas: usize) -> usize {
    usize::try_from(configured).unwrap_or(1).clamp(1, replicas.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[i32]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn partition(replicas: &[i32]) -> Partition {
        new_partition(nodes(replicas), |_| true).expect("all are active")
    }

    /// `replicas / isr / elr / leader @ leader epoch . partition epoch`
    fn show(partition: &Partition) -> String {
        let list =
            |ids: &[NodeId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        format!(
            "{} / {} / {} / {} @ {}.{}",
            list(&partition.replicas),
            list(&partition.isr),
            list(&partition.elr),
            partition.leader.map_or("-".to_owned(), |id| id.to_string()),
            partition.leader_epoch,
            partition.partition_epoch
        )
    }

    #[test]
    fn a_new_partition_is_led_by_its_first_active_replica_at_epoch_zero() {
        assert_eq!(show(&partition(&[3, 1, 2])), "3,1,2 / 3,1,2 /  / 3 @ 0.0");
        let without_3 = new_partition(nodes(&[3, 1, 2]), |id| id != NodeId(3)).expect("two active");
        assert_eq!(show(&without_3), "3,1,2 / 1,2 /  / 1 @ 0.0");
        assert_eq!(new_partition(nodes(&[1]), |_| false), None);
    }

    #[test]
    fn replicas_lost_one_by_one_go_to_the_elr_below_the_minimum_and_come_back_by_election() {
        let mut p = partition(&[1, 2, 3]);
        assert!(lose_replica(&mut p, NodeId(1), Loss::Stopped, 2, |id| id != NodeId(1)));
        assert_eq!(show(&p), "1,2,3 / 2,3 /  / 2 @ 1.1");
        assert!(lose_replica(&mut p, NodeId(3), Loss::Stopped, 2, |id| id == NodeId(2)));
        assert_eq!(show(&p), "1,2,3 / 2 / 3 / 2 @ 1.2");
        assert!(lose_replica(&mut p, NodeId(2), Loss::Stopped, 2, |_| false));
        assert_eq!(show(&p), "1,2,3 /  / 2,3 / - @ 2.3");
        // Node 1 left when the ISR was large enough: it may lack what was committed since.
        assert!(!elect(&mut p, 2, |id| id == NodeId(1)));
        assert!(elect(&mut p, 2, |id| id != NodeId(2)));
        assert_eq!(show(&p), "1,2,3 / 3 / 2 / 3 @ 3.4");
        // Once elected, nothing changes until something happens.
        assert!(!elect(&mut p, 2, |_| true));
    }

    #[test]
    fn losing_a_replica_that_was_not_in_sync_changes_nothing() {
        let mut p = partition(&[1, 2, 3]);
        lose_replica(&mut p, NodeId(3), Loss::Stopped, 1, |id| id != NodeId(3));
        let before = p.clone();
        assert!(!lose_replica(&mut p, NodeId(3), Loss::Stopped, 1, |id| id != NodeId(3)));
        assert_eq!(p, before);
    }

    #[test]
    fn an_unclean_stop_takes_the_replica_out_of_the_elr_unless_it_is_the_only_one() {
        let mut p = partition(&[1, 2]);
        lose_replica(&mut p, NodeId(2), Loss::Stopped, 2, |id| id == NodeId(1));
        lose_replica(&mut p, NodeId(1), Loss::Stopped, 2, |_| false);
        assert_eq!(show(&p), "1,2 /  / 1,2 / - @ 1.2");
        assert!(lose_replica(&mut p, NodeId(2), Loss::Unclean, 2, |id| id == NodeId(2)));
        assert_eq!(show(&p), "1,2 /  / 1 / - @ 1.3");
        assert!(!elect(&mut p, 2, |id| id == NodeId(2)));

        let mut single = partition(&[7]);
        lose_replica(&mut single, NodeId(7), Loss::Unclean, 1, |_| false);
        assert_eq!(show(&single), "7 /  / 7 / - @ 1.1");
        assert!(elect(&mut single, 1, |_| true));
        assert_eq!(show(&single), "7 / 7 /  / 7 @ 2.2");
    }

    #[test]
    fn the_minimum_never_asks_for_more_replicas_than_there_are() {
        assert_eq!(insync_min(2, 1), 1);
        assert_eq!(insync_min(2, 3), 2);
        assert_eq!(insync_min(-5, 3), 1);
        assert_eq!(insync_min(1, 0), 1);
    }
}
