//! AlterReplicaLogDirs: moves replicas between the data directories of a broker. KIP-113.

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::PartitionIndex;

request!(
    AlterReplicaLogDirsRequest => AlterReplicaLogDirsResponse,
    AlterReplicaLogDirs, 1..=2, flexible 2
);

schema! {
    /// Moves replicas.
    struct AlterReplicaLogDirsRequest {
        /// The directories to move to.
        dirs: Vec<AlterReplicaLogDir>, 0..;
    }

    /// What moves to one directory.
    struct AlterReplicaLogDir {
        /// The directory.
        path: Str, 0..;
        /// The topics.
        topics: Vec<AlterReplicaLogDirTopic>, 0..;
    }

    /// Partitions of a topic.
    struct AlterReplicaLogDirTopic {
        /// The topic's name.
        name: Str, 0..;
        /// The partitions.
        partitions: Vec<PartitionIndex>, 0..;
    }

    /// Which moves have begun.
    struct AlterReplicaLogDirsResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// The topics.
        results: Vec<AlterReplicaLogDirTopicResult>, 0..;
    }

    /// What became of one topic.
    struct AlterReplicaLogDirTopicResult {
        /// The topic's name.
        topic_name: Str, 0..;
        /// The partitions.
        partitions: Vec<AlterReplicaLogDirPartitionResult>, 0..;
    }

    /// What became of one partition.
    struct AlterReplicaLogDirPartitionResult {
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
    }
}
