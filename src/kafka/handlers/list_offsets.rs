//! ListOffsets: positions by name (start, end …) or by time (KIP-79, KIP-734).

use std::collections::HashMap;

use super::common;
use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::metadata::Image;
use crate::partition::{Isolation, ListedOffset, OffsetSpec};
use crate::protocol::ErrorCode;
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use crate::types::PartitionIndex;

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    call: &Call,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let image = broker.context.metadata.image();
    let isolation = Isolation::from_wire(request.isolation_level);
    let mut times_asked: HashMap<(&str, PartitionIndex), usize> = HashMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            *times_asked.entry((&topic.name, partition.partition_index)).or_default() += 1;
        }
    }
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let repeated = times_asked.get(&(&*topic.name, partition.partition_index)) > Some(&1);
            let listed = if repeated {
                Err(ErrorCode::InvalidRequest)
            } else {
                look_up(broker, call.version, &image, &topic.name, partition, isolation).await
            };
            partitions.push(row(partition.partition_index, listed));
        }
        let name = topic.name.clone();
        topics.push(ListOffsetsTopicResponse { name, partitions, ..Default::default() });
    }
    ListOffsetsResponse { topics, ..Default::default() }
}

fn row(
    partition_index: PartitionIndex,
    listed: Result<ListedOffset, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let (error_code, listed) = match listed {
        Ok(listed) => (ErrorCode::None, listed),
        Err(code) => (code, ListedOffset::NOTHING),
    };
    ListOffsetsPartitionResponse {
        partition_index,
        error_code,
        timestamp: listed.timestamp.0,
        offset: listed.offset,
        leader_epoch: listed.leader_epoch,
        ..Default::default()
    }
}

async fn look_up(
    broker: &Broker,
    version: i16,
    image: &Image,
    name: &str,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<ListedOffset, ErrorCode> {
    let spec = OffsetSpec::from_wire(asked.timestamp)
        .filter(|spec| version >= first_version(*spec))
        .ok_or(ErrorCode::UnsupportedVersion)?;
    let partition = common::hosted_by_name(&broker.context, image, name, asked.partition_index)?;
    if broker.context.metadata.is_isolated() {
        // Another may lead by now, and be ahead: positions must never go back.
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    partition
        .list_offset(spec, isolation, asked.current_leader_epoch)
        .await
        .map_err(|error| errors::list_offsets_code(&error, version))
}

/// The version in which clients learned of a special timestamp.
fn first_version(spec: OffsetSpec) -> i16 {
    match spec {
        OffsetSpec::Timestamp(_) | OffsetSpec::Latest | OffsetSpec::Earliest => 0,
        OffsetSpec::MaxTimestamp => 7,
        OffsetSpec::EarliestLocal => 8,
        OffsetSpec::LatestTiered => 9,
        OffsetSpec::EarliestPendingUpload => 11,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition;

    #[test]
    fn trap_6_special_meaning_and_version() {
        let first = |timestamp| OffsetSpec::from_wire(timestamp).map(first_version);
        assert_eq!([-1, -2, 0, 5].map(first), [Some(0); 4]);
        assert_eq!([-3, -4, -5, -6].map(first), [Some(7), Some(8), Some(9), Some(11)]);
        assert_eq!(first(-7), None);
    }

    #[test]
    fn trap_6_time_nothing_found() {
        let row = row(PartitionIndex(0), Ok(ListedOffset::NOTHING));
        assert_eq!(row.error_code, ErrorCode::None);
        assert_eq!((row.offset.0, row.timestamp, row.leader_epoch.0), (-1, -1, -1));
    }

    #[test]
    fn trap_6_linear_deposed_leader_answers() {
        let unknown = partition::Error::OffsetNotAvailable;
        assert_eq!(errors::list_offsets_code(&unknown, 5), ErrorCode::OffsetNotAvailable);
        assert_eq!(errors::list_offsets_code(&unknown, 4), ErrorCode::LeaderNotAvailable);
    }
}
