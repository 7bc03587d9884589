//! DescribeLogDirs: the data directories, and what each partition takes in them. KIP-113, KIP-827
//! (volume sizes), KIP-1066 (cordoned directories).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::PartitionIndex;

request!(DescribeLogDirsRequest => DescribeLogDirsResponse, DescribeLogDirs, 1..=5, flexible 2);

schema! {
    /// Asks for the data directories.
    struct DescribeLogDirsRequest {
        /// The topics, or null for all.
        topics: Option<Vec<DescribableLogDirTopic>>, 0.., nullable 0..;
    }

    /// A topic to describe.
    struct DescribableLogDirTopic {
        /// The topic's name.
        topic: Str, 0..;
        /// The partitions.
        partitions: Vec<PartitionIndex>, 0..;
    }

    /// The data directories.
    struct DescribeLogDirsResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 3..;
        /// The answers, in the order of the request.
        results: Vec<DescribeLogDirsResult>, 0..;
    }

    /// One data directory.
    struct DescribeLogDirsResult {
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// The path.
        log_dir: Str, 0..;
        /// The topics.
        topics: Vec<DescribeLogDirsTopic>, 0..;
        /// Bytes of the volume, or -1.
        total_bytes: i64, 4.., default -1;
        /// Free bytes of the volume, or -1.
        usable_bytes: i64, 4.., default -1;
        /// Whether no new partitions are put here.
        is_cordoned: bool, 5..;
    }

    /// A topic in the directory.
    struct DescribeLogDirsTopic {
        /// The name.
        name: Str, 0..;
        /// The partitions.
        partitions: Vec<DescribeLogDirsPartition>, 0..;
    }

    /// What one partition takes.
    struct DescribeLogDirsPartition {
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// Bytes of its segments.
        partition_size: i64, 0..;
        /// How far the log is behind the high watermark.
        offset_lag: i64, 0..;
        /// Whether the log is to replace the current one.
        is_future_key: bool, 0..;
    }
}
