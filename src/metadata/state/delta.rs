//! What changed between two states.

use super::configs::ConfigResource;
use super::model::State;
use crate::types::{NodeId, PartitionIndex, TopicId, TopicName};
use std::collections::{BTreeMap, BTreeSet};

/// Names everything that differs between two states, not how: the later state says that. Two
/// deltas in a row merge into one, so that a reader who falls behind loses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// By topic id. A topic that was deleted and created again appears under both ids.
    pub topics: BTreeMap<TopicId, TopicChange>,
    /// Resources whose configs changed.
    pub configs: BTreeSet<ConfigResource>,
    /// Nodes that were admitted or removed.
    pub nodes: BTreeSet<NodeId>,
    /// Brokers that were registered, unregistered, fenced, unfenced or changed otherwise.
    pub brokers: BTreeSet<NodeId>,
    /// Whether feature levels changed.
    pub features: bool,
    /// Whether producer ids were handed out.
    pub producer_ids: bool,
    /// Whether the controller changed.
    pub controller: bool,
}

/// What happened to one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicChange {
    /// It is new to the reader.
    Created,
    /// These of its partitions are new or changed.
    Changed(BTreeSet<PartitionIndex>),
    /// It is gone; the later state doesn't know its name any more.
    Deleted(TopicName),
}

impl Delta {
    /// The delta from nothing to `state`: every topic created, every broker and config new.
    #[must_use]
    pub fn everything(state: &State) -> Self {
        Self {
            topics: state.topics().map(|topic| (topic.id, TopicChange::Created)).collect(),
            configs: state.all_configs().map(|(resource, _)| resource.clone()).collect(),
            nodes: state.nodes().map(|node| node.id).collect(),
            brokers: state.brokers().map(|broker| broker.id).collect(),
            features: true,
            producer_ids: true,
            controller: true,
        }
    }

    /// Adds what changed next, so that this names everything that changed in both.
    pub fn merge(&mut self, later: Self) {
        for (id, change) in later.topics {
            match (self.topics.remove(&id), change) {
                // Still new to whoever has not seen it yet.
                (Some(TopicChange::Created), TopicChange::Changed(_)) => {
                    self.topics.insert(id, TopicChange::Created);
                }
                (Some(TopicChange::Changed(mut first)), TopicChange::Changed(second)) => {
                    first.extend(second);
                    self.topics.insert(id, TopicChange::Changed(first));
                }
                (_, change) => {
                    self.topics.insert(id, change);
                }
            }
        }
        self.configs.extend(later.configs);
        self.nodes.extend(later.nodes);
        self.brokers.extend(later.brokers);
        self.features |= later.features;
        self.producer_ids |= later.producer_ids;
        self.controller |= later.controller;
    }

    /// The delta between two states that did not follow from each other command by command, as
    /// when a snapshot from the controller is installed. Looks at everything.
    #[must_use]
    pub fn between(before: &State, after: &State) -> Self {
        let mut delta = Self {
            features: before.features != after.features,
            producer_ids: before.producer_id_next != after.producer_id_next,
            ..Self::default()
        };
        for topic in after.topics() {
            match before.topic_by_id(topic.id) {
                None => delta.create_topic(topic.id),
                Some(old) => {
                    let changed: Vec<PartitionIndex> = topic
                        .partitions()
                        .filter(|(index, partition)| old.partition(*index) != Some(partition))
                        .map(|(index, _)| index)
                        .collect();
                    if !changed.is_empty() {
                        delta.change_partitions(topic.id, changed);
                    }
                }
            }
        }
        for topic in before.topics().filter(|topic| after.topic_by_id(topic.id).is_none()) {
            delta.delete_topic(topic.id, topic.name.clone());
        }
        let resources = before.all_configs().chain(after.all_configs()).map(|(name, _)| name);
        delta.configs =
            resources.filter(|name| before.configs(name) != after.configs(name)).cloned().collect();
        let nodes = before.nodes().chain(after.nodes()).map(|node| node.id);
        delta.nodes = nodes.filter(|id| before.node(*id) != after.node(*id)).collect();
        let brokers = before.brokers().chain(after.brokers()).map(|broker| broker.id);
        delta.brokers = brokers.filter(|id| before.broker(*id) != after.broker(*id)).collect();
        delta
    }

    pub(super) fn create_topic(&mut self, id: TopicId) {
        self.topics.insert(id, TopicChange::Created);
    }

    pub(super) fn delete_topic(&mut self, id: TopicId, name: TopicName) {
        self.topics.insert(id, TopicChange::Deleted(name));
    }

    pub(super) fn change_partitions(
        &mut self,
        id: TopicId,
        partitions: impl IntoIterator<Item = PartitionIndex>,
    ) {
        let change = self.topics.entry(id).or_insert_with(|| TopicChange::Changed(BTreeSet::new()));
        if let TopicChange::Changed(changed) = change {
            changed.extend(partitions);
        }
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
