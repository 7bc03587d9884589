//! OffsetForLeaderEpoch: where an epoch ends, for consumers that look for truncation (KIP-320).

use super::common;
use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::metadata::Image;
use crate::protocol::ErrorCode;
use crate::protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use crate::types::{LeaderEpoch, Offset};

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let image = broker.context.metadata.image();
    let topics = request.topics.into_iter().map(|topic| {
        let row = |asked: &OffsetForLeaderPartition| row(broker, &image, &topic.topic, asked);
        OffsetForLeaderTopicResult {
            partitions: topic.partitions.iter().map(row).collect(),
            topic: topic.topic.clone(),
            ..Default::default()
        }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

fn row(
    broker: &Broker,
    image: &Image,
    name: &str,
    asked: &OffsetForLeaderPartition,
) -> EpochEndOffset {
    match look_up(broker, image, name, asked) {
        Ok((leader_epoch, end_offset)) => EpochEndOffset {
            partition: asked.partition,
            leader_epoch,
            end_offset,
            ..Default::default()
        },
        Err(error_code) => {
            EpochEndOffset { partition: asked.partition, error_code, ..Default::default() }
        }
    }
}

fn look_up(
    broker: &Broker,
    image: &Image,
    name: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(LeaderEpoch, Offset), ErrorCode> {
    let partition = common::hosted_by_name(&broker.context, image, name, asked.partition)?;
    partition
        .epoch_end_offset(asked.current_leader_epoch, asked.leader_epoch)
        .map_err(|error| errors::partition_code(&error))
}
