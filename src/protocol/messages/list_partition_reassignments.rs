//! ListPartitionReassignments: the moves that are under way. KIP-455.

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::{NodeId, PartitionIndex};

request!(
    ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse,
    ListPartitionReassignments, 0..=0, flexible 0
);

schema! {
    /// Asks for the moves.
    struct ListPartitionReassignmentsRequest {
        /// Milliseconds that the client is ready to wait.
        timeout_ms: i32, 0.., default 60_000;
        /// The partitions to look at, or null for all.
        topics: Option<Vec<ListPartitionReassignmentsTopics>>, 0.., nullable 0..;
    }

    /// Partitions of a topic.
    struct ListPartitionReassignmentsTopics {
        /// The topic's name.
        name: Str, 0..;
        /// The partitions.
        partition_indexes: Vec<PartitionIndex>, 0..;
    }

    /// The moves.
    struct ListPartitionReassignmentsResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 0.., nullable 0..;
        /// The topics of which partitions move.
        topics: Vec<OngoingTopicReassignment>, 0..;
    }

    /// A topic of which partitions move.
    struct OngoingTopicReassignment {
        /// The topic's name.
        name: Str, 0..;
        /// The partitions that move.
        partitions: Vec<OngoingPartitionReassignment>, 0..;
    }

    /// A partition that moves.
    struct OngoingPartitionReassignment {
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// All its replicas: those that stay, come and go.
        replicas: Vec<NodeId>, 0..;
        /// Those that come.
        adding_replicas: Vec<NodeId>, 0..;
        /// Those that go.
        removing_replicas: Vec<NodeId>, 0..;
    }
}
