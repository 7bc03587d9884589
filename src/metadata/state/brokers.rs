//! Registrations of brokers, and who of them may lead.

use super::command::{ChangeFencing, FencingChange, RegisterBroker};
use super::configs::{ConfigResource, TopicConfig};
use super::delta::Delta;
use super::election::{self, Loss};
use super::model::{Broker, Partition, State};
use super::response::{Refusal, RefusalKind};
use crate::limits::METADATA_BROKERS_MAX;
use crate::types::{BrokerEpoch, NodeId, PartitionIndex, TopicName};
use std::sync::Arc;

/// Registers a broker, fenced: it may lead once it says that it is ready.
pub(super) fn register(
    state: &mut State,
    index: u64,
    command: RegisterBroker,
    delta: &mut Delta,
) -> Result<BrokerEpoch, Refusal> {
    let id = command.node_id;
    if id.0 < 0 {
        return Err(Refusal::new(RefusalKind::InvalidRequest, format!("node id {id} is negative")));
    }
    check_features(state, &command)?;
    if let Some(before) = state.broker(id) {
        if before.incarnation == command.incarnation {
            // A retry whose first answer got lost.
            return Ok(before.epoch);
        }
    } else if state.brokers.size() >= METADATA_BROKERS_MAX {
        return Err(Refusal::new(
            RefusalKind::PolicyViolation,
            format!("there are {METADATA_BROKERS_MAX} brokers already; no more are supported"),
        ));
    }
    let epoch = BrokerEpoch(i64::try_from(index).unwrap_or(i64::MAX));
    let broker = Broker {
        id,
        incarnation: command.incarnation,
        epoch,
        endpoints: command.endpoints,
        rpc: command.rpc,
        rack: command.rack,
        directories: command.directories,
        features: command.features,
        fenced: true,
        in_controlled_shutdown: false,
        registered_at: command.now,
    };
    state.brokers.insert_mut(id, Arc::new(broker));
    delta.brokers.insert(id);
    // Whatever its last incarnation led or held in sync: this one has yet to prove itself.
    lose_broker(state, id, !command.clean_shutdown, delta);
    Ok(epoch)
}

fn check_features(state: &State, command: &RegisterBroker) -> Result<(), Refusal> {
    for (name, level) in state.features() {
        let understood =
            command.features.iter().find(|(known, _)| known == name).map_or(0, |(_, most)| *most);
        if understood < level {
            return Err(Refusal::new(
                RefusalKind::UnsupportedVersion,
                format!(
                    "the cluster uses level {level} of feature {name}; this node's version \
                     understands at most {understood}: upgrade it"
                ),
            ));
        }
    }
    Ok(())
}

/// Fences and unfences, then holds the elections that follow.
pub(super) fn change_fencing(
    state: &mut State,
    command: ChangeFencing,
    delta: &mut Delta,
) -> Vec<Result<(), Refusal>> {
    let results: Vec<Result<bool, Refusal>> =
        command.changes.iter().map(|change| change_one(state, change, delta)).collect();
    for (change, result) in command.changes.iter().zip(&results) {
        let lost = matches!(result, Ok(true)) && !state.is_active(change.node_id);
        if lost {
            lose_broker(state, change.node_id, false, delta);
        }
    }
    if results
        .iter()
        .zip(&command.changes)
        .any(|(result, change)| matches!(result, Ok(true)) && state.is_active(change.node_id))
    {
        elect_where_there_is_no_leader(state, delta);
    }
    results.into_iter().map(|result| result.map(|_| ())).collect()
}

/// Whether anything changed.
fn change_one(
    state: &mut State,
    change: &FencingChange,
    delta: &mut Delta,
) -> Result<bool, Refusal> {
    let before = registered(state, change.node_id, change.broker_epoch)?;
    let same = before.fenced == change.fenced
        && before.in_controlled_shutdown == change.in_controlled_shutdown;
    if same {
        return Ok(false);
    }
    let mut broker = Broker::clone(before);
    broker.fenced = change.fenced;
    broker.in_controlled_shutdown = change.in_controlled_shutdown;
    state.brokers.insert_mut(change.node_id, Arc::new(broker));
    delta.brokers.insert(change.node_id);
    Ok(true)
}

/// The broker, if this is its current registration.
pub(super) fn registered(
    state: &State,
    id: NodeId,
    epoch: BrokerEpoch,
) -> Result<&Arc<Broker>, Refusal> {
    let Some(broker) = state.broker(id) else {
        return Err(Refusal::new(
            RefusalKind::BrokerNotRegistered,
            format!("broker {id} is not registered"),
        ));
    };
    if broker.epoch != epoch {
        return Err(Refusal::new(
            RefusalKind::StaleBrokerEpoch,
            format!("broker {id} is registered with epoch {}, not {epoch}", broker.epoch),
        ));
    }
    Ok(broker)
}

/// Takes a broker out of every ISR. After an unclean stop it also leaves the ELR of the topics
/// whose acknowledgements did not wait for the disk.
fn lose_broker(state: &mut State, lost: NodeId, unclean: bool, delta: &mut Delta) {
    let concerned =
        |partition: &Partition| partition.isr.contains(&lost) || partition.elr.contains(&lost);
    for_each_partition(state, delta, concerned, |state, config, partition| {
        let loss = if unclean && config.write_caching { Loss::Unclean } else { Loss::Stopped };
        let insync_min = election::insync_min(config.insync_replicas_min, partition.replicas.len());
        election::lose_replica(partition, lost, loss, insync_min, |id| state.is_active(id))
    });
}

fn elect_where_there_is_no_leader(state: &mut State, delta: &mut Delta) {
    let concerned = |partition: &Partition| partition.leader.is_none();
    for_each_partition(state, delta, concerned, |state, config, partition| {
        let insync_min = election::insync_min(config.insync_replicas_min, partition.replicas.len());
        election::elect(partition, insync_min, |id| state.is_active(id))
    });
}

/// Offers every partition that is concerned to `change`, which says whether it changed it.
fn for_each_partition(
    state: &mut State,
    delta: &mut Delta,
    concerned: impl Fn(&Partition) -> bool,
    change: impl Fn(&State, &TopicConfig, &mut Partition) -> bool,
) {
    let names: Vec<TopicName> = state
        .topics()
        .filter(|topic| topic.partitions().any(|(_, partition)| concerned(partition)))
        .map(|topic| topic.name.clone())
        .collect();
    for name in names {
        let config = topic_config(state, &name);
        let Some(topic) = state.topics.get(&name) else { continue };
        let mut changed = Vec::new();
        for (index, partition) in topic.partitions().filter(|(_, p)| concerned(p)) {
            let mut next = partition.clone();
            if change(state, &config, &mut next) {
                changed.push((index, next));
            }
        }
        if changed.is_empty() {
            continue;
        }
        let id = topic.id;
        let indexes: Vec<PartitionIndex> = changed.iter().map(|(index, _)| *index).collect();
        if let Some(topic) = state.topics.get_mut(&name) {
            for (index, partition) in changed {
                let at = usize::try_from(index.0).unwrap_or(usize::MAX);
                topic.partitions.set_mut(at, Arc::new(partition));
            }
        }
        delta.change_partitions(id, indexes);
    }
}

/// The configs of a topic as the group knows them: without any node's own settings, which would
/// differ between nodes.
pub(super) fn topic_config(state: &State, name: &TopicName) -> TopicConfig {
    super::configs::shared_topic_config(
        state.configs(&ConfigResource::Topic(name.clone())),
        state.configs(&ConfigResource::BrokerDefault),
    )
}
