//! What can be proposed to the metadata group.
//!
//! Commands are stored in the Raft log and travel between nodes, so the order of variants and of
//! fields is part of the format (docs/FORMAT.md): new ones go to the end, behind a new version of
//! the entry. Everything that is time, chance or a node's own setting is put in by the proposer,
//! so that every node that applies a command comes to the same state.

use super::configs::ConfigResource;
use crate::types::{
    BrokerEpoch, DirectoryId, IncarnationId, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex,
    TimestampMs, TopicId,
};
use serde::{Deserialize, Serialize};

/// One change to the metadata. Applied as a whole, with a result per item inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A broker announces itself, or comes back as a new incarnation.
    RegisterBroker(RegisterBroker),
    /// Brokers become able, or unable, to lead partitions.
    ChangeFencing(ChangeFencing),
    /// New topics, each on its own: one that is refused does not hold back the others.
    CreateTopics(CreateTopics),
    /// Topics go, with their partitions and configs.
    DeleteTopics(DeleteTopics),
    /// Topics get more partitions.
    CreatePartitions(CreatePartitions),
    /// Topic or broker configs change.
    AlterConfigs(AlterConfigs),
    /// A broker takes a block of producer ids that nobody else will ever get.
    AllocateProducerIds(AllocateProducerIds),
    /// Cluster-wide feature levels change (KIP-584).
    UpdateFeatures(UpdateFeatures),
    /// A data directory gets its node id.
    AdmitNode(AdmitNode),
    /// A node leaves for good.
    UnregisterBroker(UnregisterBroker),
    /// A leader changes the ISRs of partitions that it leads (KIP-497).
    AlterPartitions(AlterPartitions),
    /// Leaders are chosen anew (KIP-460).
    ElectLeaders(ElectLeaders),
    /// Partitions move to other replicas, or stop doing so (KIP-455).
    AlterReassignments(AlterReassignments),
    /// Replicas of a broker lost their storage, while the broker lives (KIP-858).
    ReplicasFailed(ReplicasFailed),
}

/// Where clients or nodes reach a broker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Name of the listener, in Kafka's sense (`PLAINTEXT`).
    pub listener: String,
    /// Host name or address, as advertised.
    pub host: String,
    /// Port, as advertised.
    pub port: u16,
    /// Kafka's number of the security protocol: 0 for plaintext.
    pub security_protocol: i16,
}

/// See [`Command::RegisterBroker`]. The answer is the broker's epoch: the Raft index of the
/// registration. The node must have been admitted with one of these directories
/// ([`AdmitNode`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterBroker {
    /// Who.
    pub node_id: NodeId,
    /// This start of the process. The same incarnation may register again (a retry) and gets the
    /// same epoch.
    pub incarnation: IncarnationId,
    /// Where clients connect.
    pub endpoints: Vec<Endpoint>,
    /// Where other nodes connect, as `host:port`.
    pub rpc: String,
    /// The rack, for placement and for followers' reads.
    pub rack: Option<String>,
    /// The data directories.
    pub directories: Vec<DirectoryId>,
    /// Whether the previous incarnation stopped cleanly. If not, what it held unsynced may be
    /// lost, so it leaves the ISR and ELR of topics with `write.caching` (where another replica
    /// can take over).
    pub clean_shutdown: bool,
    /// Highest feature level that this binary understands, by feature name.
    pub features: Vec<(String, i16)>,
    /// When.
    pub now: TimestampMs,
}

/// See [`Command::ChangeFencing`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeFencing {
    /// Who, and how. Applied in this order, then all elections are held at once.
    pub changes: Vec<FencingChange>,
}

/// One broker of a [`ChangeFencing`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencingChange {
    /// Who.
    pub node_id: NodeId,
    /// The registration that is meant; refused when another one has taken its place.
    pub broker_epoch: BrokerEpoch,
    /// Whether the broker is to be fenced.
    pub fenced: bool,
    /// Whether the broker is about to stop: it keeps its registration and leads nothing new.
    pub in_controlled_shutdown: bool,
}

/// See [`Command::CreateTopics`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTopics {
    /// The topics.
    pub topics: Vec<NewTopic>,
    /// Partitions of a topic that asks for -1 (the proposer's `num.partitions`).
    pub partitions_default: i32,
    /// Replicas of a topic that asks for -1 (the proposer's `default.replication.factor`); -1
    /// where that is not set: one per registered broker, up to 3.
    pub replication_factor_default: i16,
    /// Checks everything, changes nothing.
    pub validate_only: bool,
    /// When.
    pub now: TimestampMs,
}

/// One topic of a [`CreateTopics`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTopic {
    /// The name, not checked yet.
    pub name: String,
    /// A random id, put in by the proposer; also seeds the placement.
    pub id: TopicId,
    /// How many partitions; -1 for the default, or when `assignments` are given.
    pub partitions: i32,
    /// How many replicas of each; -1 for the default, or when `assignments` are given.
    pub replication_factor: i16,
    /// Replicas by partition, chosen by hand; empty to have them placed.
    pub assignments: Vec<(PartitionIndex, Vec<NodeId>)>,
    /// Topic configs. `None` as a value is an error that Kafka reports.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic by name or by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TopicSelector {
    /// Whatever has this name now.
    Name(String),
    /// Exactly this incarnation.
    Id(TopicId),
}

/// See [`Command::DeleteTopics`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteTopics {
    /// The topics.
    pub topics: Vec<TopicSelector>,
}

/// See [`Command::CreatePartitions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatePartitions {
    /// The topics, each once.
    pub topics: Vec<MorePartitions>,
    /// Checks everything, changes nothing.
    pub validate_only: bool,
}

/// One topic of a [`CreatePartitions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MorePartitions {
    /// The topic.
    pub name: String,
    /// How many partitions it shall have in all.
    pub count: i32,
    /// Replicas of each new partition, chosen by hand; `None` to have them placed.
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

/// See [`Command::AlterConfigs`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterConfigs {
    /// The resources, each once. One that is refused stays as it is, whole.
    pub resources: Vec<ConfigAlteration>,
    /// Checks everything, changes nothing.
    pub validate_only: bool,
}

/// One resource of an [`AlterConfigs`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigAlteration {
    /// Whose configs.
    pub resource: ConfigResource,
    /// How they change.
    pub change: ConfigChange,
}

/// How the configs of one resource change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigChange {
    /// IncrementalAlterConfigs (KIP-339): only the named keys change.
    Incremental(Vec<ConfigOp>),
    /// AlterConfigs: these are all; keys that are not named fall back to their defaults.
    Replace(Vec<(String, Option<String>)>),
}

/// One key of a [`ConfigChange::Incremental`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigOp {
    /// Which config.
    pub name: String,
    /// What to do.
    pub kind: ConfigOpKind,
    /// With what; ignored by [`ConfigOpKind::Delete`], needed by all others.
    pub value: Option<String>,
}

/// What a [`ConfigOp`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigOpKind {
    /// Takes the value.
    Set,
    /// Falls back to the default.
    Delete,
    /// Adds the entries of a list that are not in it yet.
    Append,
    /// Takes entries out of a list.
    Subtract,
}

/// See [`Command::AllocateProducerIds`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocateProducerIds {
    /// For whom.
    pub node_id: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
}

/// See [`Command::UpdateFeatures`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateFeatures {
    /// New level by feature; 0 takes the feature away.
    pub levels: Vec<(String, i16)>,
    /// Checks everything, changes nothing.
    pub validate_only: bool,
}

/// See [`Command::AdmitNode`]. The answer is the node id. The same directory gets the same id
/// again, so that a retry is harmless; no other directory ever gets it, not even after the node
/// was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmitNode {
    /// The data directory: what makes a node that node.
    pub directory: DirectoryId,
    /// The id that it asks for; `None` for the next free one.
    pub wanted: Option<NodeId>,
    /// Where other nodes connect, as `host:port`.
    pub rpc: String,
    /// When.
    pub now: TimestampMs,
}

/// See [`Command::UnregisterBroker`]. Refused while the node holds replicas, or is the last that is
/// active. Its directory cannot come back, and its id is not given out again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnregisterBroker {
    /// Who. It need not have registered: an id that was only admitted goes too.
    pub node_id: NodeId,
}

/// See [`Command::AlterPartitions`]. The answer has one result per change, in their order. When the
/// broker's epoch is not the current one, each is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterPartitions {
    /// The leader that asks.
    pub node_id: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// What it asks for, partition by partition.
    pub changes: Vec<IsrChange>,
}

/// One partition of an [`AlterPartitions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsrChange {
    /// The topic.
    pub topic_id: TopicId,
    /// Its partition.
    pub partition: PartitionIndex,
    /// The epoch that the leader leads in.
    pub leader_epoch: LeaderEpoch,
    /// The partition epoch that the leader last saw; anything may have changed in a later one.
    pub partition_epoch: PartitionEpoch,
    /// The whole new ISR, the leader included, each member with the registration that the leader
    /// knows it under (KIP-903).
    pub isr: Vec<(NodeId, BrokerEpoch)>,
    /// Replicas outside of the new ISR that the leader knows to lack what was committed: they may
    /// not be elected, so they do not stay in the ELR either.
    pub lost: Vec<NodeId>,
    /// [`Recovered`](LeaderRecoveryState::Recovered), unless the leader is still recovering from
    /// an unclean election (KIP-704).
    pub recovery: LeaderRecoveryState,
}

/// Whether a leader may lack records that were committed (KIP-704). The numbers are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(i8)]
pub enum LeaderRecoveryState {
    /// It was elected from ISR or ELR, or has dealt with what it may lack.
    Recovered = 0,
    /// It was elected uncleanly. Until it says otherwise the ISR is itself alone.
    Recovering = 1,
}

/// See [`Command::ElectLeaders`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectLeaders {
    /// Which kind of election.
    pub kind: ElectionKind,
    /// The partitions, by topic name; `None` for all. With `None`, those that need no election are
    /// left out of the answer.
    pub partitions: Option<Vec<(String, PartitionIndex)>>,
}

/// The kinds of elections that can be asked for. The numbers are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(i8)]
pub enum ElectionKind {
    /// The first replica leads, if it is in sync.
    Preferred = 0,
    /// Where nobody leads, any active replica may, whatever the topic allows: records may be lost.
    Unclean = 1,
}

/// See [`Command::AlterReassignments`]. The answer has one result per item, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterReassignments {
    /// What is to move.
    pub partitions: Vec<Reassignment>,
    /// Whether the number of replicas may change with it.
    pub allow_replication_factor_change: bool,
}

/// Where one partition is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reassignment {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: PartitionIndex,
    /// The replicas in the end, the preferred leader first; `None` to go back to what was before
    /// the reassignment that is under way.
    pub replicas: Option<Vec<NodeId>>,
}

/// See [`Command::ReplicasFailed`]. The answer has one result per partition, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicasFailed {
    /// Whose replicas.
    pub node_id: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// Which.
    pub partitions: Vec<(TopicId, PartitionIndex)>,
    /// Whether only records are lost, and the replicas can copy them from others: they are not
    /// eligible any more until they are in sync again. Else they count as offline until the broker
    /// registers anew.
    pub usable: bool,
}
