//! Metadata: the brokers, and the topics with their partitions and leaders. KIP-516 (topic ids from
//! version 10, look-up by id from 12).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::{LeaderEpoch, NodeId, PartitionIndex, TopicId};

request!(MetadataRequest => MetadataResponse, Metadata, 0..=13, flexible 9);

schema! {
    /// Asks for brokers and topics.
    struct MetadataRequest {
        /// The topics, or null for all. Empty means none, but all in version 0.
        topics: Option<Vec<MetadataRequestTopic>>, 0.., nullable 1..;
        /// Whether topics that do not exist may be created.
        allow_auto_topic_creation: bool, 4.., default true;
        /// Whether to say what the client may do to the cluster.
        include_cluster_authorized_operations: bool, 8..=10;
        /// Whether to say what the client may do to each topic.
        include_topic_authorized_operations: bool, 8..;
    }

    /// A topic by name or by id.
    struct MetadataRequestTopic {
        /// The topic's id, or zero where it goes by name.
        topic_id: TopicId, 10..;
        /// The name.
        name: Option<Str>, 0.., nullable 10..;
    }

    /// Brokers and topics.
    struct MetadataResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 3..;
        /// The live brokers.
        brokers: Vec<MetadataResponseBroker>, 0..;
        /// The cluster's id.
        cluster_id: Option<Str>, 2.., nullable 2..;
        /// The controller, or -1.
        controller_id: NodeId, 1.., default NodeId::NONE;
        /// The topics.
        topics: Vec<MetadataResponseTopic>, 0..;
        /// Bits of what the client may do, or -2147483648 if not asked for.
        cluster_authorized_operations: i32, 8..=10, default i32::MIN;
        /// What went wrong, if anything.
        error_code: ErrorCode, 13..;
    }

    /// A live broker.
    struct MetadataResponseBroker {
        /// The node.
        node_id: NodeId, 0..;
        /// Its host.
        host: Str, 0..;
        /// Its port.
        port: i32, 0..;
        /// Its rack, if it has one.
        rack: Option<Str>, 1.., nullable 1..;
    }

    /// A topic.
    struct MetadataResponseTopic {
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// The name.
        name: Option<Str>, 0.., nullable 12..;
        /// The topic's id, or zero where it goes by name.
        topic_id: TopicId, 10..;
        /// Whether the topic belongs to the cluster itself.
        is_internal: bool, 1..;
        /// The partitions.
        partitions: Vec<MetadataResponsePartition>, 0..;
        /// Bits of what the client may do, or -2147483648 if not asked for.
        topic_authorized_operations: i32, 8.., default i32::MIN;
    }

    /// A partition, its leader and its replicas.
    struct MetadataResponsePartition {
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// The leader, or -1 for none.
        leader_id: NodeId, 0..;
        /// The leader epoch, or -1 if not known.
        leader_epoch: LeaderEpoch, 7.., default LeaderEpoch::NONE;
        /// All replicas.
        replica_nodes: Vec<NodeId>, 0..;
        /// The in-sync replicas.
        isr_nodes: Vec<NodeId>, 0..;
        /// Replicas that are not available.
        offline_replicas: Vec<NodeId>, 5..;
    }
}
