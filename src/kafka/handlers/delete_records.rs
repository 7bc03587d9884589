//! DeleteRecords: moves a partition's log start offset up (KIP-107).

use super::common;
use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::metadata::Image;
use crate::protocol::ErrorCode;
use crate::protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use crate::types::Offset;

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let image = broker.context.metadata.image();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let (error_code, low_watermark) = match delete(broker, &image, &topic.name, asked).await
            {
                Ok(log_start) => (ErrorCode::None, log_start),
                Err(code) => (code, Offset::NONE),
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark,
                error_code,
                ..Default::default()
            });
        }
        topics.push(DeleteRecordsTopicResult {
            name: topic.name,
            partitions,
            ..Default::default()
        });
    }
    DeleteRecordsResponse { topics, ..Default::default() }
}

async fn delete(
    broker: &Broker,
    image: &Image,
    name: &str,
    asked: &DeleteRecordsPartition,
) -> Result<Offset, ErrorCode> {
    if common::is_internal(name) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = common::hosted_by_name(&broker.context, image, name, asked.partition_index)?;
    partition.delete_records(asked.offset).await.map_err(|error| errors::partition_code(&error))
}
