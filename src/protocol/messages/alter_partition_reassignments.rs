//! AlterPartitionReassignments: moves partitions to other brokers, or gives a move up. KIP-455,
//! KIP-860 (a guard against changed replication factors).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::{NodeId, PartitionIndex};

request!(
    AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse,
    AlterPartitionReassignments, 0..=1, flexible 0
);

schema! {
    /// Asks for moves.
    struct AlterPartitionReassignmentsRequest {
        /// Milliseconds that the client is ready to wait.
        timeout_ms: i32, 0.., default 60_000;
        /// Whether a partition may get another number of replicas than it has.
        allow_replication_factor_change: bool, 1.., default true;
        /// The topics.
        topics: Vec<ReassignableTopic>, 0..;
    }

    /// A topic whose partitions move.
    struct ReassignableTopic {
        /// The topic's name.
        name: Str, 0..;
        /// The partitions.
        partitions: Vec<ReassignablePartition>, 0..;
    }

    /// A partition that moves.
    struct ReassignablePartition {
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// The brokers to move to, the preferred leader first; null gives a move up.
        replicas: Option<Vec<NodeId>>, 0.., nullable 0..;
    }

    /// Which moves have begun.
    struct AlterPartitionReassignmentsResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// What the request said about other numbers of replicas.
        allow_replication_factor_change: bool, 1.., default true;
        /// What went wrong with the request as a whole, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 0.., nullable 0..;
        /// The topics.
        responses: Vec<ReassignableTopicResponse>, 0..;
    }

    /// What became of one topic.
    struct ReassignableTopicResponse {
        /// The topic's name.
        name: Str, 0..;
        /// The partitions.
        partitions: Vec<ReassignablePartitionResponse>, 0..;
    }

    /// What became of one partition.
    struct ReassignablePartitionResponse {
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 0.., nullable 0..;
    }
}
