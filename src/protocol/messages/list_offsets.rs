//! ListOffsets: offsets by timestamp, or by a special timestamp (earliest, latest, largest
//! timestamp, and those of tiered storage). KIP-79, KIP-734, KIP-405.

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::{LeaderEpoch, NodeId, Offset, PartitionIndex};

request!(ListOffsetsRequest => ListOffsetsResponse, ListOffsets, 1..=11, flexible 6);

schema! {
    /// Looks up offsets.
    struct ListOffsetsRequest {
        /// The replica that asks; -1 for a client.
        replica_id: NodeId, 0..;
        /// 0: read up to the high watermark; 1: up to the last stable offset.
        isolation_level: i8, 2..;
        /// The topics.
        topics: Vec<ListOffsetsTopic>, 0..;
        /// Milliseconds that the client is ready to wait.
        timeout_ms: i32, 10..;
    }

    /// One topic to look in.
    struct ListOffsetsTopic {
        /// The name.
        name: Str, 0..;
        /// The partitions.
        partitions: Vec<ListOffsetsPartition>, 0..;
    }

    /// One partition, and what to look for.
    struct ListOffsetsPartition {
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// The leader epoch that the client knows, or -1 to skip the check.
        current_leader_epoch: LeaderEpoch, 4.., default LeaderEpoch::NONE;
        /// The timestamp to look for: the first record at or after it. -1 latest, -2 earliest, -3
        /// largest
        /// timestamp, -4 earliest local, -5 latest tiered, -6 earliest pending upload.
        timestamp: i64, 0..;
    }

    /// The offsets found.
    struct ListOffsetsResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 2..;
        /// The topics.
        topics: Vec<ListOffsetsTopicResponse>, 0..;
    }

    /// One topic of the response.
    struct ListOffsetsTopicResponse {
        /// The name.
        name: Str, 0..;
        /// The partitions.
        partitions: Vec<ListOffsetsPartitionResponse>, 0..;
    }

    /// What was found in one partition.
    struct ListOffsetsPartitionResponse {
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// The record's timestamp, or -1.
        timestamp: i64, 1.., default -1;
        /// The offset found, or -1.
        offset: Offset, 1.., default Offset::NONE;
        /// The leader epoch, or -1 if not known.
        leader_epoch: LeaderEpoch, 4.., default LeaderEpoch::NONE;
    }
}
