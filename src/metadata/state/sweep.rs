//! Changing partitions: one, or every one that something concerns.
//!
//! Everything that changes a partition which exists comes through here, so that the delta names it
//! and its epochs are counted.

use super::configs::{ConfigResource, SharedConfig};
use super::delta::Delta;
use super::election::{Election, Standings};
use super::model::{Partition, State, Topic};
use super::response::{Refusal, RefusalKind};
use crate::types::{PartitionIndex, TopicId, TopicName};
use std::sync::Arc;

/// The configs of a topic that decide about its replicas, as the whole group has them.
pub(super) fn shared_config(state: &State, topic: &TopicName) -> SharedConfig {
    SharedConfig::of(
        state.configs(&ConfigResource::Topic(topic.clone())),
        state.configs(&ConfigResource::BrokerDefault),
    )
}

/// What decides about a topic's partitions.
pub(super) fn election<'a>(config: &SharedConfig, standings: &'a Standings) -> Election<'a> {
    Election {
        standings,
        insync_min: config.insync_replicas_min,
        unclean: config.unclean_leader_election,
    }
}

/// Offers every partition that is concerned to `change`, which says whether it changed it.
pub(super) fn sweep(
    state: &mut State,
    delta: &mut Delta,
    standings: &Standings,
    concerned: impl Fn(&Partition) -> bool,
    change: impl Fn(&Election<'_>, &SharedConfig, &mut Partition) -> bool,
) {
    let hit = |topic: &&Topic| topic.partitions().any(|(_, partition)| concerned(partition));
    let topics: Vec<Topic> = state.topics().filter(hit).cloned().collect();
    for topic in topics {
        sweep_topic(state, delta, standings, &topic, &concerned, &change);
    }
}

/// The same for the partitions of one topic.
pub(super) fn sweep_topic(
    state: &mut State,
    delta: &mut Delta,
    standings: &Standings,
    topic: &Topic,
    concerned: impl Fn(&Partition) -> bool,
    change: impl Fn(&Election<'_>, &SharedConfig, &mut Partition) -> bool,
) {
    let config = shared_config(state, &topic.name);
    let election = election(&config, standings);
    let mut changed = Vec::new();
    for (index, partition) in topic.partitions().filter(|(_, partition)| concerned(partition)) {
        let mut next = partition.clone();
        if change(&election, &config, &mut next) {
            changed.push((index, next));
        }
    }
    put(state, delta, topic, changed);
}

/// Puts changed partitions of a topic in place.
pub(super) fn put(
    state: &mut State,
    delta: &mut Delta,
    topic: &Topic,
    changed: Vec<(PartitionIndex, Partition)>,
) {
    if changed.is_empty() {
        return;
    }
    delta.change_partitions(topic.id, changed.iter().map(|(index, _)| *index));
    if let Some(topic) = state.topics.get_mut(&topic.name) {
        for (index, partition) in changed {
            let at = usize::try_from(index.0).unwrap_or(usize::MAX);
            topic.partitions.set_mut(at, Arc::new(partition));
        }
    }
}

/// A partition by its topic's id.
pub(super) fn by_id(
    state: &State,
    topic: TopicId,
    partition: PartitionIndex,
) -> Result<(Topic, Partition), Refusal> {
    let Some(found) = state.topic_by_id(topic) else {
        return Err(Refusal::new(
            RefusalKind::UnknownTopicId,
            format!("there is no topic with id {topic}"),
        ));
    };
    with_partition(found, partition)
}

/// A partition by its topic's name.
pub(super) fn by_name(
    state: &State,
    topic: &str,
    partition: PartitionIndex,
) -> Result<(Topic, Partition), Refusal> {
    let Some(found) = state.topic_by_name(topic) else {
        return Err(Refusal::new(
            RefusalKind::UnknownTopic,
            format!("there is no topic '{topic}'"),
        ));
    };
    with_partition(found, partition)
}

fn with_partition(topic: &Topic, index: PartitionIndex) -> Result<(Topic, Partition), Refusal> {
    match topic.partition(index) {
        Some(partition) => Ok((topic.clone(), partition.clone())),
        None => Err(Refusal::new(
            RefusalKind::UnknownTopic,
            format!("topic '{}' has no partition {index}", topic.name),
        )),
    }
}
