//! ElectLeaders: gives partitions back to their preferred leaders, or to any replica that is left.
//! KIP-183, KIP-460 (kinds of elections).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::PartitionIndex;

request!(ElectLeadersRequest => ElectLeadersResponse, ElectLeaders, 0..=2, flexible 2);

schema! {
    /// Asks for elections.
    struct ElectLeadersRequest {
        /// 0: the preferred replica; 1: any replica that is alive, though records may be lost.
        election_type: i8, 1..;
        /// The partitions, or null for all.
        topic_partitions: Option<Vec<TopicPartitions>>, 0.., nullable 0..;
        /// Milliseconds that the client is ready to wait.
        timeout_ms: i32, 0.., default 60_000;
    }

    /// Partitions of a topic.
    struct TopicPartitions {
        /// The topic's name.
        topic: Str, 0..;
        /// The partitions.
        partitions: Vec<PartitionIndex>, 0..;
    }

    /// What became of the elections.
    struct ElectLeadersResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// What went wrong with the request as a whole, if anything.
        error_code: ErrorCode, 1..;
        /// The topics.
        replica_election_results: Vec<ReplicaElectionResult>, 0..;
    }

    /// What became of one topic.
    struct ReplicaElectionResult {
        /// The topic's name.
        topic: Str, 0..;
        /// The partitions.
        partition_result: Vec<PartitionResult>, 0..;
    }

    /// What became of one partition.
    struct PartitionResult {
        /// The partition.
        partition_id: PartitionIndex, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 0.., nullable 0..;
    }
}
