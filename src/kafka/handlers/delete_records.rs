//! DeleteRecords: moves a partition's log start offset up (KIP-107).

use std::sync::Arc;

use futures::future::join_all;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::common;
use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::kafka::view::View;
use crate::metadata::Image;
use crate::protocol::ErrorCode;
use crate::protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use crate::types::{NodeId, Offset};

/// Answers the request, once the records are gone from every replica that is alive.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let image = broker.context.metadata.image();
    let deadline = common::admin_deadline(request.timeout_ms);
    let rows = request.topics.iter().map(|topic| {
        let image = &image;
        join_all(topic.partitions.iter().map(move |asked| async move {
            let deleted = delete(broker, image, &topic.name, asked, deadline).await;
            let (error_code, low_watermark) = match deleted {
                Ok(low_watermark) => (ErrorCode::None, low_watermark),
                Err(code) => (code, Offset::NONE),
            };
            DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark,
                error_code,
                ..Default::default()
            }
        }))
    });
    let rows = join_all(rows).await;
    let topics = request.topics.iter().zip(rows).map(|(topic, partitions)| {
        let name = topic.name.clone();
        DeleteRecordsTopicResult { name, partitions, ..Default::default() }
    });
    DeleteRecordsResponse { topics: topics.collect(), ..Default::default() }
}

async fn delete(
    broker: &Broker,
    image: &Image,
    name: &str,
    asked: &DeleteRecordsPartition,
    deadline: Instant,
) -> Result<Offset, ErrorCode> {
    if common::is_internal(name) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let context = &broker.context;
    let partition = common::hosted_by_name(context, image, name, asked.partition_index)?;
    let code = |error| errors::partition_code(&error);
    let wanted = partition.delete_records(asked.offset).await.map_err(code)?;
    let wake = Arc::new(Notify::new());
    let _watch = partition.watch(Arc::clone(&wake));
    loop {
        // Who is not alive deletes when it is back.
        let image = context.metadata.image();
        let view = View::of(context, &image);
        let state = image.partition(partition.topic_partition());
        let state = state.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let offline = view.offline(state);
        let alive: Vec<NodeId> =
            state.replicas.iter().copied().filter(|id| !offline.contains(id)).collect();
        let low_watermark = partition.low_watermark(&alive).map_err(code)?;
        if low_watermark >= wanted {
            return Ok(low_watermark);
        }
        let now = Instant::now();
        if now >= deadline {
            return Err(ErrorCode::RequestTimedOut);
        }
        // A replica may also go while it is waited for, which wakes nobody.
        let until = deadline.min(now + common::UNWATCHED_LOOK);
        let _ = timeout_at(until, wake.notified()).await;
    }
}
