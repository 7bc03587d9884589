//! DescribeTopicPartitions: partitions with their eligible leader replicas, page by page. KIP-966.

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::{LeaderEpoch, NodeId, PartitionIndex, TopicId};

request!(DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse, DescribeTopicPartitions, 0..=0, flexible 0);

schema! {
    /// Asks for topics and their partitions.
    struct DescribeTopicPartitionsRequest {
        /// The topics.
        topics: Vec<TopicRequest>, 0..;
        /// Partitions to return at most.
        response_partition_limit: i32, 0.., default 2_000;
        /// Where to go on, or null for the beginning.
        cursor: Option<Cursor>, 0.., nullable 0..;
    }

    /// A topic to describe.
    struct TopicRequest {
        /// The name.
        name: Str, 0..;
    }

    /// Where the next page begins.
    struct Cursor {
        /// The topic's name.
        topic_name: Str, 0..;
        /// The partition.
        partition_index: PartitionIndex, 0..;
    }

    /// One page of topics and partitions.
    struct DescribeTopicPartitionsResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// The topics.
        topics: Vec<DescribeTopicPartitionsResponseTopic>, 0..;
        /// Where the next page begins, or null at the end.
        next_cursor: Option<Cursor>, 0.., nullable 0..;
    }

    /// A topic.
    struct DescribeTopicPartitionsResponseTopic {
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// The name.
        name: Option<Str>, 0.., nullable 0..;
        /// The topic's id, or zero where it goes by name.
        topic_id: TopicId, 0..;
        /// Whether the topic belongs to the cluster itself.
        is_internal: bool, 0..;
        /// The partitions.
        partitions: Vec<DescribeTopicPartitionsResponsePartition>, 0..;
        /// Bits of what the client may do, or -2147483648 if not asked for.
        topic_authorized_operations: i32, 0.., default i32::MIN;
    }

    /// A partition, its leader and its replicas.
    struct DescribeTopicPartitionsResponsePartition {
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// The leader, or -1 for none.
        leader_id: NodeId, 0..;
        /// The leader epoch, or -1 if not known.
        leader_epoch: LeaderEpoch, 0.., default LeaderEpoch::NONE;
        /// All replicas.
        replica_nodes: Vec<NodeId>, 0..;
        /// The in-sync replicas.
        isr_nodes: Vec<NodeId>, 0..;
        /// Replicas outside the ISR that may still lead (KIP-966).
        eligible_leader_replicas: Option<Vec<NodeId>>, 0.., nullable 0..;
        /// The last replicas known to be eligible (KIP-966).
        last_known_elr: Option<Vec<NodeId>>, 0.., nullable 0..;
        /// Replicas that are not available.
        offline_replicas: Vec<NodeId>, 0..;
    }
}
