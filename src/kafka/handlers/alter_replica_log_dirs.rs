//! AlterReplicaLogDirs: moves replicas between the data directories of this broker (KIP-113).
//!
//! A node has one data directory, so a replica that is here is where it can be, and no other
//! directory is known. `kafka-reassign-partitions` asks when a plan names directories.

use crate::kafka::dispatch::{Broker, Call};
use crate::protocol::ErrorCode;
use crate::protocol::messages::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopic, AlterReplicaLogDirTopicResult,
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse,
};
use crate::types::PartitionIndex;

use super::common;

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let here = broker.context.data_dir.to_string_lossy();
    let mut results = Vec::new();
    for dir in request.dirs {
        let is_ours = *dir.path == *here;
        results.extend(dir.topics.into_iter().map(|topic| row(broker, topic, is_ours)));
    }
    AlterReplicaLogDirsResponse { results, ..Default::default() }
}

fn row(
    broker: &Broker,
    topic: AlterReplicaLogDirTopic,
    is_ours: bool,
) -> AlterReplicaLogDirTopicResult {
    let partitions = topic.partitions.iter().map(|index| AlterReplicaLogDirPartitionResult {
        partition_index: *index,
        error_code: place(broker, &topic.name, *index, is_ours),
        ..Default::default()
    });
    AlterReplicaLogDirTopicResult {
        partitions: partitions.collect(),
        topic_name: topic.name.clone(),
        ..Default::default()
    }
}

fn place(broker: &Broker, name: &str, index: PartitionIndex, is_ours: bool) -> ErrorCode {
    if !is_ours {
        return ErrorCode::LogDirNotFound;
    }
    let image = broker.context.metadata.image();
    match common::hosted_by_name(&broker.context, &image, name, index) {
        Ok(_) => ErrorCode::None,
        // The tool plans moves for replicas that are still to come, and asks again on this code.
        Err(_) => ErrorCode::ReplicaNotAvailable,
    }
}
