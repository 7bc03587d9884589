//! OffsetForLeaderEpoch: where a leader epoch ends, for consumers that check for truncation. KIP-101,
//! KIP-320.

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::{LeaderEpoch, NodeId, Offset, PartitionIndex};

request!(OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse, OffsetForLeaderEpoch, 2..=4, flexible 4);

schema! {
    /// Asks where leader epochs end.
    struct OffsetForLeaderEpochRequest {
        /// The replica that asks; -1 for a client.
        replica_id: NodeId, 3.., default NodeId(-2);
        /// The topics.
        topics: Vec<OffsetForLeaderTopic>, 0..;
    }

    /// One topic to look in.
    struct OffsetForLeaderTopic {
        /// The topic's name.
        topic: Str, 0..;
        /// The partitions.
        partitions: Vec<OffsetForLeaderPartition>, 0..;
    }

    /// One partition, and the epoch to look for.
    struct OffsetForLeaderPartition {
        /// The partition.
        partition: PartitionIndex, 0..;
        /// The leader epoch that the client knows, or -1 to skip the check.
        current_leader_epoch: LeaderEpoch, 2.., default LeaderEpoch::NONE;
        /// The epoch to look for.
        leader_epoch: LeaderEpoch, 0..;
    }

    /// Where the epochs end.
    struct OffsetForLeaderEpochResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 2..;
        /// The topics.
        topics: Vec<OffsetForLeaderTopicResult>, 0..;
    }

    /// One topic of the response.
    struct OffsetForLeaderTopicResult {
        /// The topic's name.
        topic: Str, 0..;
        /// The partitions.
        partitions: Vec<EpochEndOffset>, 0..;
    }

    /// Where the epoch of one partition ends.
    struct EpochEndOffset {
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// The partition.
        partition: PartitionIndex, 0..;
        /// The largest epoch at or below the one asked for, or -1.
        leader_epoch: LeaderEpoch, 1.., default LeaderEpoch::NONE;
        /// The first offset after it, or -1.
        end_offset: Offset, 0.., default Offset::NONE;
    }
}
