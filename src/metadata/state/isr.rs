//! In-sync replicas: changes that leaders ask for, and replicas that lost their storage.

use super::brokers::registered;
use super::command::{AlterPartitions, IsrChange, LeaderRecoveryState, ReplicasFailed};
use super::delta::Delta;
use super::election::{self, Standings};
use super::model::{Partition, State};
use super::response::{Refusal, RefusalKind};
use super::sweep;
use crate::types::mutant::Mutant;
use crate::types::{NodeId, PartitionIndex, TopicId};
use std::collections::BTreeSet;

/// Changes ISRs as their leader asks, each on its own, as far as the leader is up to date
/// (KIP-497).
pub(super) fn alter(
    state: &mut State,
    command: &AlterPartitions,
    delta: &mut Delta,
) -> Vec<Result<Partition, Refusal>> {
    if let Err(refusal) = registered(state, command.node_id, command.broker_epoch)
        && !Mutant::AskersBrokerEpochNotChecked.is_active()
    {
        return command.changes.iter().map(|_| Err(refusal.clone())).collect();
    }
    let standings = Standings::of(state);
    let alter = |change| alter_one(state, &standings, command.node_id, change, delta);
    command.changes.iter().map(alter).collect()
}

fn alter_one(
    state: &mut State,
    standings: &Standings,
    asker: NodeId,
    change: &IsrChange,
    delta: &mut Delta,
) -> Result<Partition, Refusal> {
    let (topic, before) = sweep::by_id(state, change.topic_id, change.partition)?;
    check_epochs(&before, asker, change)?;
    check_members(&before, asker, change)?;
    for (id, epoch) in &change.isr {
        check_eligible(state, standings, &before, asker, (*id, *epoch))?;
    }
    let isr: Vec<NodeId> = change.isr.iter().map(|(id, _)| *id).collect();
    let mut next = before.clone();
    next.isr = election::in_order_of(&next.replicas, &isr);
    next.recovery = change.recovery;
    let config = sweep::shared_config(state, &topic.name);
    let election = sweep::election(&config, standings);
    if election.settle(&mut next, &before, &change.lost) {
        sweep::put(state, delta, &topic, vec![(change.partition, next.clone())]);
    }
    Ok(next)
}

/// A leader that has not heard of a change may not build on what was before it.
fn check_epochs(partition: &Partition, asker: NodeId, change: &IsrChange) -> Result<(), Refusal> {
    let leads = change.leader_epoch == partition.leader_epoch && partition.leader == Some(asker);
    if !leads && !Mutant::OldLeaderAltersIsr.is_active() {
        return Err(Refusal::new(
            RefusalKind::FencedLeaderEpoch,
            format!(
                "node {asker} asked as leader of epoch {}; by now {} in epoch {}",
                change.leader_epoch,
                match partition.leader {
                    Some(leader) => format!("node {leader} leads"),
                    None => "nobody leads".to_owned(),
                },
                partition.leader_epoch
            ),
        ));
    }
    let current = change.partition_epoch == partition.partition_epoch;
    if !current && !Mutant::StaleAlterPartitionAccepted.is_active() {
        return Err(Refusal::new(
            RefusalKind::InvalidUpdateVersion,
            format!(
                "the leader knows partition epoch {}, and it is {} by now",
                change.partition_epoch, partition.partition_epoch
            ),
        ));
    }
    Ok(())
}

fn check_members(partition: &Partition, asker: NodeId, change: &IsrChange) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(RefusalKind::InvalidRequest, message));
    let members: BTreeSet<NodeId> = change.isr.iter().map(|(id, _)| *id).collect();
    if members.len() != change.isr.len() {
        return refuse("a broker stands in the new ISR more than once".to_owned());
    }
    if !members.contains(&asker) {
        return refuse(format!("leader {asker} left itself out of the new ISR"));
    }
    if let Some(stranger) = members.iter().find(|id| !partition.replicas.contains(id)) {
        return refuse(format!("broker {stranger} of the new ISR is not a replica"));
    }
    if let Some(both) = change.lost.iter().find(|id| members.contains(id)) {
        return refuse(format!("broker {both} cannot be in sync and lack committed records"));
    }
    match change.recovery {
        LeaderRecoveryState::Recovering if members.len() > 1 => {
            refuse("while the leader is recovering, the ISR is the leader alone".to_owned())
        }
        LeaderRecoveryState::Recovering if partition.recovery == LeaderRecoveryState::Recovered => {
            refuse("a leader that has recovered cannot begin to recover again".to_owned())
        }
        _ => Ok(()),
    }
}

/// Only who is alive, stays, and is the very process that the leader means can be in sync: any
/// other may have lost what the leader saw it fetch (KIP-841, KIP-903). A leader that is about to
/// stop may go on with itself.
fn check_eligible(
    state: &State,
    standings: &Standings,
    partition: &Partition,
    asker: NodeId,
    (id, epoch): (NodeId, crate::types::BrokerEpoch),
) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(RefusalKind::IneligibleReplica, message));
    if let Err(refusal) = registered(state, id, epoch)
        && !Mutant::MembersBrokerEpochNotChecked.is_active()
    {
        return refuse(refusal.message);
    }
    let standing = standings.get(id);
    if !standing.unfenced {
        return refuse(format!("broker {id} is fenced"));
    }
    if standing.stopping && id != asker {
        return refuse(format!("broker {id} is about to stop"));
    }
    if partition.offline.contains(&id) {
        return refuse(format!("the storage of broker {id} has failed"));
    }
    Ok(())
}

/// Takes replicas without storage out of ISR and ELR; others lead where they can (KIP-858).
pub(super) fn replicas_failed(
    state: &mut State,
    command: &ReplicasFailed,
    delta: &mut Delta,
) -> Vec<Result<(), Refusal>> {
    let id = command.node_id;
    if let Err(refusal) = registered(state, id, command.broker_epoch) {
        return command.partitions.iter().map(|_| Err(refusal.clone())).collect();
    }
    let standings = Standings::of(state);
    let fail = |at: &(TopicId, PartitionIndex)| {
        fail_one(state, &standings, (id, command.usable), *at, delta)
    };
    command.partitions.iter().map(fail).collect()
}

fn fail_one(
    state: &mut State,
    standings: &Standings,
    (id, usable): (NodeId, bool),
    (topic_id, index): (TopicId, PartitionIndex),
    delta: &mut Delta,
) -> Result<(), Refusal> {
    let (topic, before) = sweep::by_id(state, topic_id, index)?;
    if !before.replicas.contains(&id) {
        return Err(Refusal::new(
            RefusalKind::InvalidRequest,
            format!("broker {id} holds no replica of {}-{index}", topic.name),
        ));
    }
    let mut next = before.clone();
    if !usable && !next.offline.contains(&id) {
        next.offline.push(id);
        next.offline = election::in_order_of(&next.replicas, &next.offline);
    }
    let config = sweep::shared_config(state, &topic.name);
    let election = sweep::election(&config, standings);
    if election.settle(&mut next, &before, &[id]) {
        sweep::put(state, delta, &topic, vec![(index, next)]);
    }
    Ok(())
}
