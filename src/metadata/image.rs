//! What everyone else reads: the applied state at one index, unchanging.

use super::state::configs::{ConfigLayers, ConfigResource, StaticConfigs, TopicConfig};
use super::state::{Broker, Partition, State, Topic};
use crate::limits::METADATA_DEPARTED_LISTED_MS;
use crate::types::{ClusterId, NodeId, TopicId, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The applied metadata at one Raft index, and who the controller is. Making one costs a few
/// reference counts.
#[derive(Debug, Clone)]
pub struct Image {
    pub(super) cluster_id: ClusterId,
    pub(super) state: State,
    /// One more than the index of the last applied entry.
    pub(super) applied_count: u64,
    pub(super) controller: Option<NodeId>,
    /// When this node saw brokers become fenced, of late.
    pub(super) departed: BTreeMap<NodeId, Instant>,
}

impl Image {
    /// An image of no entries at all.
    #[must_use]
    pub fn empty(cluster_id: ClusterId) -> Self {
        Self::of(cluster_id, State::default(), 0, None)
    }

    /// An image of these parts; no broker has left of late.
    pub(crate) fn of(
        cluster_id: ClusterId,
        state: State,
        applied_count: u64,
        controller: Option<NodeId>,
    ) -> Self {
        Self { cluster_id, state, applied_count, controller, departed: BTreeMap::new() }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    /// The whole state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// How many Raft entries went into it. Grows with every change.
    #[must_use]
    pub fn applied_count(&self) -> u64 {
        self.applied_count
    }

    /// The node that leads the metadata group, as far as this node knows.
    #[must_use]
    pub fn controller(&self) -> Option<NodeId> {
        self.controller
    }

    /// A topic by name.
    #[must_use]
    pub fn topic_by_name(&self, name: &str) -> Option<&Topic> {
        self.state.topic_by_name(name)
    }

    /// A topic by id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Topic> {
        self.state.topic_by_id(id)
    }

    /// All topics, sorted by name.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.state.topics()
    }

    /// One partition.
    #[must_use]
    pub fn partition(&self, partition: &TopicPartition) -> Option<&Partition> {
        self.topic_by_name(partition.topic.as_str())?.partition(partition.partition)
    }

    /// All registered brokers by id, fenced ones included.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.state.brokers()
    }

    /// The brokers that clients may be told of: registered and unfenced.
    pub fn brokers_alive(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.state.brokers().filter(|broker| !broker.fenced)
    }

    /// One broker.
    #[must_use]
    pub fn broker(&self, id: NodeId) -> Option<&Arc<Broker>> {
        self.state.broker(id)
    }

    /// Whether a broker is registered, and became fenced before this node's eyes, not long ago.
    #[must_use]
    pub fn has_just_left(&self, id: NodeId) -> bool {
        let span = Duration::from_millis(METADATA_DEPARTED_LISTED_MS);
        self.broker(id).is_some() && self.departed.get(&id).is_some_and(|at| at.elapsed() < span)
    }

    /// Notes who became fenced on the way from `before` to this image, and who came back.
    pub(crate) fn note_departures(&mut self, before: &Self, brokers: &BTreeSet<NodeId>) {
        for id in brokers {
            if before.is_alive(*id) && !self.is_alive(*id) {
                self.departed.insert(*id, Instant::now());
            } else if self.is_alive(*id) || self.broker(*id).is_none() {
                self.departed.remove(id);
            }
        }
    }

    /// Whether a broker is registered and unfenced.
    #[must_use]
    pub fn is_alive(&self, id: NodeId) -> bool {
        self.broker(id).is_some_and(|broker| !broker.fenced)
    }

    /// What decides the configs of a topic (of no topic: the defaults of new ones) on a node.
    #[must_use]
    pub fn config_layers<'a>(
        &'a self,
        topic: Option<&Topic>,
        node_id: NodeId,
        statics: &'a StaticConfigs,
    ) -> ConfigLayers<'a> {
        ConfigLayers {
            topic: topic
                .and_then(|topic| self.state.configs(&ConfigResource::Topic(topic.name.clone()))),
            broker: self.state.configs(&ConfigResource::Broker(node_id)),
            broker_default: self.state.configs(&ConfigResource::BrokerDefault),
            statics,
            replicas: usize::try_from(match topic {
                Some(topic) => topic.replication_factor(),
                None => self.state.replication_factor_derived(),
            })
            .unwrap_or(1),
            brokers: self.state.broker_count(),
        }
    }

    /// How many in-sync replicas an acknowledgement of a partition needs, as the whole group has it.
    #[must_use]
    pub fn insync_replicas_min(&self, topic: &Topic, partition: &Partition) -> usize {
        self.state.insync_replicas_min(&topic.name, partition)
    }

    /// The values that count for a topic on a node.
    #[must_use]
    pub fn topic_config(
        &self,
        topic: &Topic,
        node_id: NodeId,
        statics: &StaticConfigs,
    ) -> TopicConfig {
        TopicConfig::effective(&self.config_layers(Some(topic), node_id, statics))
    }
}
