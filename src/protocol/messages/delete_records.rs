//! DeleteRecords: raise the log start offset of partitions. KIP-107.

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::{Offset, PartitionIndex};

request!(DeleteRecordsRequest => DeleteRecordsResponse, DeleteRecords, 0..=2, flexible 2);

schema! {
    /// Deletes the records before an offset.
    struct DeleteRecordsRequest {
        /// The topics.
        topics: Vec<DeleteRecordsTopic>, 0..;
        /// Milliseconds that the client is ready to wait.
        timeout_ms: i32, 0..;
    }

    /// One topic to delete from.
    struct DeleteRecordsTopic {
        /// The name.
        name: Str, 0..;
        /// The partitions.
        partitions: Vec<DeleteRecordsPartition>, 0..;
    }

    /// One partition to delete from.
    struct DeleteRecordsPartition {
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// The first offset to keep; -1 for the high watermark.
        offset: Offset, 0..;
    }

    /// What became of each partition.
    struct DeleteRecordsResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// The topics.
        topics: Vec<DeleteRecordsTopicResult>, 0..;
    }

    /// One topic of the response.
    struct DeleteRecordsTopicResult {
        /// The name.
        name: Str, 0..;
        /// The partitions.
        partitions: Vec<DeleteRecordsPartitionResult>, 0..;
    }

    /// What became of one partition.
    struct DeleteRecordsPartitionResult {
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// The log start offset afterwards.
        low_watermark: Offset, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
    }
}
