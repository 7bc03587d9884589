//! DescribeLogDirs: what the partitions take on disk here, and how much room is left (KIP-113,
//! KIP-827).

use std::collections::{BTreeMap, BTreeSet};

use crate::kafka::dispatch::{Broker, Call};
use crate::partition::Partition;
use crate::protocol::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::protocol::{ErrorCode, Str};

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let context = &broker.context;
    let wanted: Option<BTreeSet<_>> = request.topics.as_ref().map(|topics| {
        topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|index| (&*topic.topic, *index)))
            .collect()
    });
    let mut by_topic: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for partition in context.partitions.all() {
        let name = partition.topic_partition();
        let key = (name.topic.as_str(), name.partition);
        if wanted.as_ref().is_none_or(|wanted| wanted.contains(&key)) {
            by_topic.entry(name.topic.as_str().to_owned()).or_default().push(row(&partition));
        }
    }
    let topics = by_topic.into_iter().map(|(name, partitions)| DescribeLogDirsTopic {
        name: Str::from(name),
        partitions,
        ..Default::default()
    });
    let log_dir = Str::from(context.data_dir.to_string_lossy().as_ref());
    let mut result =
        DescribeLogDirsResult { log_dir, topics: topics.collect(), ..Default::default() };
    match context.disk.space(&context.data_dir) {
        Ok(space) => {
            result.total_bytes = i64::try_from(space.total_bytes).unwrap_or(i64::MAX);
            result.usable_bytes = i64::try_from(space.available_bytes).unwrap_or(i64::MAX);
        }
        Err(error) => {
            tracing::warn!(%error, "the room left in the data directory is not known");
            result.error_code = ErrorCode::KafkaStorageError;
        }
    }
    DescribeLogDirsResponse { results: vec![result], ..Default::default() }
}

fn row(partition: &Partition) -> DescribeLogDirsPartition {
    // How far this replica is behind what is committed; -1 for one that is stopped.
    let offset_lag = partition
        .offsets()
        .map_or(-1, |offsets| offsets.high_watermark.since(offsets.log_end).max(0));
    DescribeLogDirsPartition {
        partition_index: partition.topic_partition().partition,
        partition_size: i64::try_from(partition.size_bytes()).unwrap_or(i64::MAX),
        offset_lag,
        ..Default::default()
    }
}
