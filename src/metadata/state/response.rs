//! What applying a command answers.

use super::model::Partition;
use crate::types::mutant::Mutant;
use crate::types::{BrokerEpoch, NodeId, PartitionIndex, ProducerId, TopicId};
use serde::{Deserialize, Serialize};

/// The answer to one [`Command`](super::Command), variant by variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To entries of the Raft group's own.
    Nothing,
    /// To [`RegisterBroker`](super::RegisterBroker).
    RegisterBroker(Result<BrokerEpoch, Refusal>),
    /// To [`ChangeFencing`](super::ChangeFencing), in the order asked.
    ChangeFencing(Vec<Result<(), Refusal>>),
    /// To [`CreateTopics`](super::CreateTopics), in the order asked.
    CreateTopics(Vec<TopicResult<CreatedTopic>>),
    /// To [`DeleteTopics`](super::DeleteTopics), in the order asked.
    DeleteTopics(Vec<DeletedTopic>),
    /// To [`CreatePartitions`](super::CreatePartitions), in the order asked.
    CreatePartitions(Vec<TopicResult<()>>),
    /// To [`AlterConfigs`](super::AlterConfigs), in the order asked.
    AlterConfigs(Vec<Result<(), Refusal>>),
    /// To [`AllocateProducerIds`](super::AllocateProducerIds).
    AllocateProducerIds(Result<ProducerIdBlock, Refusal>),
    /// To [`UpdateFeatures`](super::UpdateFeatures), in the order asked.
    UpdateFeatures(Vec<Result<(), Refusal>>),
    /// To [`AdmitNode`](super::AdmitNode): its id.
    AdmitNode(Result<NodeId, Refusal>),
    /// To [`UnregisterBroker`](super::UnregisterBroker).
    UnregisterBroker(Result<(), Refusal>),
    /// To [`AlterPartitions`](super::AlterPartitions), in the order asked: the partition as it is
    /// now, which need not name the asker as its leader any more (a reassignment that completes
    /// may take it away).
    AlterPartitions(Vec<Result<Partition, Refusal>>),
    /// To [`ElectLeaders`](super::ElectLeaders), in the order asked.
    ElectLeaders(Vec<ElectionResult>),
    /// To [`AlterReassignments`](super::AlterReassignments), in the order asked.
    AlterReassignments(Vec<Result<(), Refusal>>),
    /// To [`ReplicasFailed`](super::ReplicasFailed), in the order asked.
    ReplicasFailed(Vec<Result<(), Refusal>>),
}

/// The outcome for one partition of an [`ElectLeaders`](super::ElectLeaders).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectionResult {
    /// The topic, as asked.
    pub topic: String,
    /// Its partition.
    pub partition: PartitionIndex,
    /// What came of it.
    pub outcome: Result<(), Refusal>,
}

/// The outcome for one topic, by the name that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicResult<T> {
    /// The name as asked, which need not be a valid one.
    pub name: String,
    /// What came of it.
    pub outcome: Result<T, Refusal>,
}

/// A topic that was created (or would have been, when only validating).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedTopic {
    /// Its id; [`TopicId::ZERO`] when only validating.
    pub id: TopicId,
    /// Partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replication_factor: i16,
    /// The configs that were set with it.
    pub configs: Vec<(String, String)>,
}

/// The outcome for one topic of a deletion: name and id as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedTopic {
    /// The name, or `None` when an unknown id was asked for.
    pub name: Option<String>,
    /// The id, or [`TopicId::ZERO`] when an unknown name was asked for.
    pub id: TopicId,
    /// What came of it.
    pub outcome: Result<(), Refusal>,
}

/// Producer ids `first .. first + count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerIdBlock {
    /// The first of them.
    pub first: ProducerId,
    /// How many.
    pub count: i32,
}

/// Why an item of a command was refused. Nothing of that item was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For the caller's code.
    pub kind: RefusalKind,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// What a [`Refusal`] means. Each has exactly one Kafka error code (named in its line), which the
/// client port puts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RefusalKind {
    /// UNKNOWN_TOPIC_OR_PARTITION (3).
    UnknownTopic,
    /// UNKNOWN_TOPIC_ID (100).
    UnknownTopicId,
    /// INVALID_TOPIC_EXCEPTION (17): a name that breaks the rules or collides with another.
    InvalidTopic,
    /// TOPIC_ALREADY_EXISTS (36).
    TopicExists,
    /// INVALID_PARTITIONS (37).
    InvalidPartitions,
    /// INVALID_REPLICATION_FACTOR (38).
    InvalidReplicationFactor,
    /// INVALID_REPLICA_ASSIGNMENT (39).
    InvalidReplicaAssignment,
    /// INVALID_CONFIG (40).
    InvalidConfig,
    /// INVALID_REQUEST (42).
    InvalidRequest,
    /// POLICY_VIOLATION (44): beyond one of our own bounds.
    PolicyViolation,
    /// STALE_BROKER_EPOCH (77).
    StaleBrokerEpoch,
    /// DUPLICATE_BROKER_REGISTRATION (101): another live process has this node id.
    DuplicateBroker,
    /// BROKER_ID_NOT_REGISTERED (102).
    BrokerNotRegistered,
    /// FEATURE_UPDATE_FAILED (96).
    FeatureUpdateFailed,
    /// UNSUPPORTED_VERSION (35): the broker doesn't understand a feature level in use.
    UnsupportedVersion,
    /// FENCED_LEADER_EPOCH (74): somebody else leads by now, or the asker leads in a later epoch.
    FencedLeaderEpoch,
    /// INVALID_UPDATE_VERSION (95): the partition has changed since the asker looked.
    InvalidUpdateVersion,
    /// INELIGIBLE_REPLICA (107): a broker that is fenced, stopping, of another registration or
    /// without storage can't be in sync (KIP-841, KIP-903).
    IneligibleReplica,
    /// ELECTION_NOT_NEEDED (84).
    ElectionNotNeeded,
    /// PREFERRED_LEADER_NOT_AVAILABLE (80).
    PreferredLeaderNotAvailable,
    /// ELIGIBLE_LEADERS_NOT_AVAILABLE (83).
    EligibleLeadersNotAvailable,
    /// NO_REASSIGNMENT_IN_PROGRESS (85).
    NoReassignmentInProgress,
    /// REASSIGNMENT_IN_PROGRESS (60).
    ReassignmentInProgress,
    /// OPERATION_NOT_ATTEMPTED (55).
    NotAttempted,
}

impl RefusalKind {
    /// Whether a leader may forget an ISR change that was refused so, and count with the decided ISR
    /// alone again. Only where the change can have had no effect, now or earlier: a refusal for an
    /// old epoch may answer the second copy of a change whose first copy was applied, its answer
    /// lost. The leader then counts with the union until the metadata tells it more (KIP-497,
    /// scenario 9).
    #[must_use]
    pub fn settles_isr_change(self) -> bool {
        self == Self::IneligibleReplica || Mutant::AnyRefusalSettles.is_active()
    }
}
