//! The applied metadata, as values.
//!
//! Maps are persistent (`rpds`) and ordered: a clone costs one reference count per map, and
//! iteration is the same on every node.

use super::command::{Endpoint, LeaderRecoveryState};
use super::configs::ConfigResource;
use crate::types::{
    BrokerEpoch, DirectoryId, IncarnationId, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex,
    ProducerId, TimestampMs, TopicId, TopicName,
};
use rpds::{RedBlackTreeMapSync, VectorSync};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The configs of one resource: only what was set, by name.
pub type ConfigMap = BTreeMap<String, String>;

/// Everything that the metadata group has agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// Every node that was ever admitted, removed ones included.
    pub(super) nodes: RedBlackTreeMapSync<NodeId, Arc<Node>>,
    /// Who has a directory. Follows from `nodes`.
    pub(super) directories: RedBlackTreeMapSync<DirectoryId, NodeId>,
    pub(super) brokers: RedBlackTreeMapSync<NodeId, Arc<Broker>>,
    pub(super) topics: RedBlackTreeMapSync<TopicName, Topic>,
    pub(super) topic_names: RedBlackTreeMapSync<TopicId, TopicName>,
    /// Which topic owns a name with `.` and `_` made alike. Follows from `topics`.
    pub(super) collision_keys: RedBlackTreeMapSync<String, TopicName>,
    pub(super) configs: RedBlackTreeMapSync<ConfigResource, Arc<ConfigMap>>,
    pub(super) features: RedBlackTreeMapSync<String, i16>,
    pub(super) producer_id_next: ProducerId,
    /// Partitions of all topics together. Follows from `topics`.
    pub(super) partition_count: usize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            nodes: RedBlackTreeMapSync::new_sync(),
            directories: RedBlackTreeMapSync::new_sync(),
            brokers: RedBlackTreeMapSync::new_sync(),
            topics: RedBlackTreeMapSync::new_sync(),
            topic_names: RedBlackTreeMapSync::new_sync(),
            collision_keys: RedBlackTreeMapSync::new_sync(),
            configs: RedBlackTreeMapSync::new_sync(),
            features: RedBlackTreeMapSync::new_sync(),
            producer_id_next: ProducerId(0),
            partition_count: 0,
        }
    }
}

/// A registered broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Broker {
    /// Its node id.
    pub id: NodeId,
    /// The process that registered.
    pub incarnation: IncarnationId,
    /// The registration: the Raft index that it was applied at.
    pub epoch: BrokerEpoch,
    /// Where clients connect.
    pub endpoints: Vec<Endpoint>,
    /// Where other nodes connect, as `host:port`.
    pub rpc: String,
    /// Its rack.
    pub rack: Option<String>,
    /// Its data directories.
    pub directories: Vec<DirectoryId>,
    /// Highest feature levels it understands.
    pub features: Vec<(String, i16)>,
    /// Whether it is kept from leading: not heard of, or not caught up yet.
    pub fenced: bool,
    /// Whether it is about to stop, and hands its partitions over.
    pub in_controlled_shutdown: bool,
    /// When it registered.
    pub registered_at: TimestampMs,
}

impl Broker {
    /// Whether it may lead partitions and join ISRs.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// The endpoint of a listener, by name.
    #[must_use]
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener == listener)
    }
}

/// A topic with its partitions. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// This incarnation of the name.
    pub id: TopicId,
    /// When it was created.
    pub created_at: TimestampMs,
    pub(super) partitions: VectorSync<Arc<Partition>>,
}

impl Topic {
    /// How many partitions it has.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// One partition.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index.0).ok()?).map(Arc::as_ref)
    }

    /// All partitions, by index.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionIndex, &Partition)> {
        (0..).zip(self.partitions.iter()).map(|(i, partition)| (PartitionIndex(i), &**partition))
    }

    /// Replicas of partition 0, without those that a reassignment removes: what tools show as the
    /// topic's replication factor.
    #[must_use]
    pub fn replication_factor(&self) -> i16 {
        let count = self.partitions.first().map_or(0, |first| first.target().len());
        i16::try_from(count).unwrap_or(i16::MAX)
    }
}

/// Who holds and who leads one partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// All replicas; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// In-sync replicas, in the order of `replicas`.
    pub isr: Vec<NodeId>,
    /// Eligible leader replicas: not in sync now, but known to hold everything committed
    /// (KIP-966). In the order of `replicas`.
    pub elr: Vec<NodeId>,
    /// The leader, or nobody while no eligible replica is active.
    pub leader: Option<NodeId>,
    /// Counts the leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts all changes to this value.
    pub partition_epoch: PartitionEpoch,
    /// Replicas that a reassignment is adding.
    pub adding: Vec<NodeId>,
    /// Replicas that a reassignment is removing.
    pub removing: Vec<NodeId>,
    /// Replicas whose storage failed: they lead nothing and are out of ISR and ELR until their
    /// broker registers anew. The only replica of a partition stays in the ELR: it comes back as
    /// what there is.
    pub offline: Vec<NodeId>,
    /// Who led last, while nobody leads (the last known leader of KIP-966): the next best once the
    /// ELR has nobody either.
    pub leader_last_known: Option<NodeId>,
    /// Whether the leader may lack committed records (KIP-704).
    pub recovery: LeaderRecoveryState,
}

impl Partition {
    /// Whether a reassignment is under way.
    #[must_use]
    pub fn is_reassigning(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas once the reassignment under way is complete; without one, all.
    #[must_use]
    pub fn target(&self) -> Vec<NodeId> {
        self.replicas.iter().copied().filter(|id| !self.removing.contains(id)).collect()
    }
}

/// A data directory that has a node id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Node {
    /// The id.
    pub id: NodeId,
    /// The directory. No other one ever gets the id.
    pub directory: DirectoryId,
    /// Where other nodes reach it, as `host:port`: what it said last, when it was admitted or
    /// registered.
    pub rpc: String,
    /// When it was admitted.
    pub admitted_at: TimestampMs,
    /// Whether it was removed for good.
    pub removed: bool,
}

impl State {
    /// The nodes that were ever admitted, by id, removed ones included.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// One of [`Self::nodes`].
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&id)
    }

    /// The node with this data directory, if it was admitted and not removed.
    #[must_use]
    pub fn node_by_directory(&self, directory: DirectoryId) -> Option<&Arc<Node>> {
        self.node(*self.directories.get(&directory)?).filter(|node| !node.removed)
    }

    /// Whether a broker is being drained (`purlin.drain`): it leads nothing that another in-sync
    /// replica can lead.
    #[must_use]
    pub fn is_draining(&self, id: NodeId) -> bool {
        let configs = self.configs(&ConfigResource::Broker(id));
        let drain = configs.and_then(|configs| configs.get(super::configs::DRAIN));
        drain.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// How many in-sync replicas an acknowledgement of this topic's partition needs: what the whole
    /// group agrees on, and what the ELR is kept by. A leader must count with this number and no
    /// setting of its own (KIP-966).
    #[must_use]
    pub fn insync_replicas_min(&self, topic: &TopicName, partition: &Partition) -> usize {
        let config = super::sweep::shared_config(self, topic);
        super::election::insync_min(config.insync_replicas_min, partition)
    }

    /// The next id for a node that wants none in particular: one more than the highest ever given
    /// out.
    #[must_use]
    pub fn node_id_next(&self) -> NodeId {
        let last = self.nodes.last().map_or(0, |(id, _)| id.0);
        let free = |id: &NodeId| !self.nodes.contains_key(id);
        // Beyond the largest number the first gap is as good; the bound on nodes leaves some.
        let next = last.checked_add(1).map(NodeId);
        next.or_else(|| (1..=i32::MAX).map(NodeId).find(free)).unwrap_or(NodeId::NONE)
    }

    /// Replicas of a topic whose creator named no number, where nothing else is set: one per
    /// registered broker, up to 3.
    #[must_use]
    pub fn replication_factor_derived(&self) -> i16 {
        i16::try_from(self.brokers.size().clamp(1, 3)).unwrap_or(1)
    }

    /// The partitions that are being reassigned, by topic.
    pub fn reassignments(&self) -> impl Iterator<Item = (&Topic, PartitionIndex, &Partition)> {
        self.topics().flat_map(|topic| {
            let moving = topic.partitions().filter(|(_, partition)| partition.is_reassigning());
            moving.map(move |(index, partition)| (topic, index, partition))
        })
    }

    /// The brokers, by id, fenced ones included.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    /// How many brokers are registered.
    #[must_use]
    pub fn broker_count(&self) -> usize {
        self.brokers.size()
    }

    /// One broker.
    #[must_use]
    pub fn broker(&self, id: NodeId) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// Whether a broker is registered, unfenced and not about to stop.
    #[must_use]
    pub fn is_active(&self, id: NodeId) -> bool {
        self.broker(id).is_some_and(|broker| broker.is_active())
    }

    /// The topics, sorted by name.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.size()
    }

    /// How many partitions all topics have together.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The topics from a name on (exclusive), sorted: for answers in pages.
    pub fn topics_after<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Topic> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.topics.range::<str, _>((Excluded(name), Unbounded)).map(|(_, topic)| topic)
    }

    /// A topic by name.
    #[must_use]
    pub fn topic_by_name(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// A topic by id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(self.topic_names.get(&id)?)
    }

    /// What was set for a resource; nothing where nothing was.
    #[must_use]
    pub fn configs(&self, resource: &ConfigResource) -> Option<&ConfigMap> {
        self.configs.get(resource).map(Arc::as_ref)
    }

    /// Every resource that has configs.
    pub fn all_configs(&self) -> impl Iterator<Item = (&ConfigResource, &ConfigMap)> {
        self.configs.iter().map(|(resource, map)| (resource, &**map))
    }

    /// The finalized feature levels.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features.iter().map(|(name, level)| (name.as_str(), *level))
    }

    /// The first producer id that has not been handed out.
    #[must_use]
    pub fn producer_id_next(&self) -> ProducerId {
        self.producer_id_next
    }
}
