//! DescribeProducers: the producers that a partition's leader remembers (KIP-664).

use super::common;
use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::log::ActiveProducer;
use crate::metadata::Image;
use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicResponse,
};
use crate::types::{Offset, PartitionIndex, TopicName};

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let image = broker.context.metadata.image();
    let topics = request.topics.into_iter().map(|topic| {
        let rows =
            topic.partition_indexes.iter().map(|index| row(broker, &image, &topic.name, *index));
        TopicResponse { partitions: rows.collect(), name: topic.name.clone(), ..Default::default() }
    });
    DescribeProducersResponse { topics: topics.collect(), ..Default::default() }
}

fn row(broker: &Broker, image: &Image, name: &str, index: PartitionIndex) -> PartitionResponse {
    match producers(broker, image, name, index) {
        Ok(producers) => PartitionResponse {
            partition_index: index,
            active_producers: producers.into_iter().map(state).collect(),
            ..Default::default()
        },
        Err(error_code) => {
            PartitionResponse { partition_index: index, error_code, ..Default::default() }
        }
    }
}

fn producers(
    broker: &Broker,
    image: &Image,
    name: &str,
    index: PartitionIndex,
) -> Result<Vec<ActiveProducer>, ErrorCode> {
    TopicName::new(name).map_err(|_| ErrorCode::InvalidTopicException)?;
    let partition = common::hosted_by_name(&broker.context, image, name, index)?;
    partition.producers().map_err(|error| errors::partition_code(&error))
}

fn state(producer: ActiveProducer) -> ProducerState {
    ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: i32::from(producer.producer_epoch.0),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp.0,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.transaction_start.unwrap_or(Offset::NONE),
        ..Default::default()
    }
}
