//! Produce: append what was sent, in the order in which it was sent; answer once it is as durable
//! as the client asked for.
//!
//! Invariant: [`handle`] appends before it returns, without waiting for anything, so that the
//! appends of a connection happen in the order of its requests. Only the wait for the commit is
//! left for later.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::join_all;
use tokio::time::Instant;

use super::common;
use crate::kafka::connection::Outcome;
use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors::{self, ProduceFailure};
use crate::kafka::metrics::Metrics;
use crate::kafka::view::{LeaderHint, View};
use crate::limits;
use crate::metadata::Image;
use crate::partition::{Acks, Appended, Partition};
use crate::protocol::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    ProduceRequest, ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use crate::protocol::records::{BatchError, BatchHeader, Compression};
use crate::protocol::{ErrorCode, Str};
use crate::types::{Offset, PartitionIndex, TopicId, TopicName, TopicPartition};

/// First version that names topics by id.
const TOPIC_IDS_SINCE: i16 = 13;
/// First version that may carry zstd (KIP-110).
const ZSTD_SINCE: i16 = 7;
/// First version whose answer says who leads instead (KIP-951).
const LEADER_HINTS_SINCE: i16 = 10;

/// What became of one partition's batch.
enum Row {
    Done(Appended),
    Waiting { partition: Arc<Partition>, appended: Appended },
    Failed(ProduceFailure),
}

struct TopicRows {
    name: Str,
    topic_id: TopicId,
    /// The topic's checked name, where it has one.
    topic: Option<TopicName>,
    rows: Vec<(PartitionIndex, Row)>,
}

/// Appends, and says how the answer comes.
pub(in crate::kafka) fn handle(
    broker: &Arc<Broker>,
    call: &Call,
    request: ProduceRequest,
) -> Outcome {
    let acks = Acks::from_wire(request.acks);
    let image = broker.context.metadata.image();
    let topics: Vec<TopicRows> = request
        .topic_data
        .into_iter()
        .map(|topic| append_topic(broker, call, &image, topic, acks))
        .collect();

    if acks == Some(Acks::None) {
        // Nobody reads an answer. A closed connection is the only way to tell of an error.
        return match first_failure(&topics) {
            Some(failure) => Outcome::Close(format!("produce with acks=0 failed: {failure}")),
            None => Outcome::Nothing,
        };
    }
    let waits = topics.iter().flat_map(|topic| &topic.rows).any(|(_, row)| row.is_waiting());
    if !waits {
        let response = respond(broker, call.version, &image, topics);
        return Outcome::Answer(call.answer::<ProduceRequest>(&response));
    }
    let wait_ms = request.timeout_ms.clamp(0, limits::PRODUCE_WAIT_MS_MAX).unsigned_abs();
    let deadline = Instant::now() + Duration::from_millis(u64::from(wait_ms));
    let (broker, call) = (Arc::clone(broker), call.clone());
    let later = async move {
        let mut topics = topics;
        wait_for_commits(&mut topics, deadline, call.version).await;
        // Whoever lost a partition meanwhile is told by the newest image who has it.
        let image = broker.context.metadata.image();
        let response = respond(&broker, call.version, &image, topics);
        call.answer::<ProduceRequest>(&response)
    };
    Outcome::Later(later.boxed())
}

impl Row {
    fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting { .. })
    }
}

fn first_failure(topics: &[TopicRows]) -> Option<String> {
    topics.iter().find_map(|topic| {
        topic.rows.iter().find_map(|(index, row)| match row {
            Row::Failed(failure) => Some(format!("{}-{index}: {}", &*topic.name, failure.code)),
            Row::Done(_) | Row::Waiting { .. } => None,
        })
    })
}

fn append_topic(
    broker: &Broker,
    call: &Call,
    image: &Image,
    topic: TopicProduceData,
    acks: Option<Acks>,
) -> TopicRows {
    let named = resolve(call, image, &topic);
    let rows = topic.partition_data.into_iter().map(|data| {
        let row = match (&named, acks) {
            (_, None) => Row::Failed(ErrorCode::InvalidRequiredAcks.into()),
            (Err(code), _) => Row::Failed((*code).into()),
            (Ok(name), Some(acks)) => {
                let name = TopicPartition::new(name.clone(), data.index);
                append(broker, call, image, &name, data.records, acks)
            }
        };
        (data.index, row)
    });
    let rows = rows.collect();
    TopicRows { name: topic.name, topic_id: topic.topic_id, topic: named.ok(), rows }
}

/// The name of the topic that is meant, if it can be written to.
fn resolve(call: &Call, image: &Image, topic: &TopicProduceData) -> Result<TopicName, ErrorCode> {
    let name = if call.version >= TOPIC_IDS_SINCE {
        let known = image.topic_by_id(topic.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        known.name.clone()
    } else {
        TopicName::new(&topic.name).map_err(|_| ErrorCode::UnknownTopicOrPartition)?
    };
    if common::is_internal(name.as_str()) && !common::may_write_internal(call.client_id.as_ref()) {
        return Err(ErrorCode::InvalidTopicException);
    }
    Ok(name)
}

fn append(
    broker: &Broker,
    call: &Call,
    image: &Image,
    name: &TopicPartition,
    records: Option<Bytes>,
    acks: Acks,
) -> Row {
    let partition = match common::hosted(&broker.context, image, name) {
        Ok(partition) => partition,
        Err(code) => return Row::Failed(code.into()),
    };
    let batch = match one_batch(records, call.version) {
        Ok(batch) => batch,
        Err(failure) => return Row::Failed(failure),
    };
    let batch_bytes = batch.len() as u64;
    match partition.append(batch, acks) {
        Ok(appended) => {
            Metrics::add(&broker.context.metrics.produce_bytes, batch_bytes);
            if acks == Acks::All {
                Row::Waiting { partition, appended }
            } else {
                Row::Done(appended)
            }
        }
        Err(error) => Row::Failed(errors::produce_failure(&error, call.version)),
    }
}

/// Checks that there is exactly one batch of the current format, in a codec that the request's
/// version allows. What is inside the batch is the log's to check.
fn one_batch(records: Option<Bytes>, version: i16) -> Result<Bytes, ProduceFailure> {
    let invalid = |message: String| ProduceFailure {
        code: ErrorCode::InvalidRecord,
        message: Some(message),
        records: Vec::new(),
    };
    let batch = records.filter(|bytes| !bytes.is_empty());
    let batch = batch.ok_or_else(|| invalid("there is no record batch".to_owned()))?;
    let header = BatchHeader::parse(&batch).map_err(|error| match error {
        BatchError::Crc { .. } => ErrorCode::CorruptMessage.into(),
        other => invalid(other.to_string()),
    })?;
    if header.total_bytes() != batch.len() {
        return Err(invalid(format!(
            "there must be exactly one record batch, of {} bytes; {} bytes came",
            header.total_bytes(),
            batch.len()
        )));
    }
    if header.is_transactional() {
        // Nobody coordinates transactions, so none can be open: taking the batch would hold back
        // read_committed consumers for ever.
        return Err(ProduceFailure {
            code: ErrorCode::InvalidTxnState,
            message: Some("the producer has no open transaction".to_owned()),
            records: Vec::new(),
        });
    }
    match header.compression() {
        Ok(Compression::Zstd) if version < ZSTD_SINCE => Err(ProduceFailure {
            code: ErrorCode::UnsupportedCompressionType,
            message: Some(format!("zstd needs Produce {ZSTD_SINCE} or later")),
            records: Vec::new(),
        }),
        Ok(_) => Ok(batch),
        Err(error) => Err(ProduceFailure {
            code: ErrorCode::UnsupportedCompressionType,
            message: Some(error.to_string()),
            records: Vec::new(),
        }),
    }
}

/// Turns every waiting row into a done or a failed one.
async fn wait_for_commits(topics: &mut [TopicRows], deadline: Instant, version: i16) {
    let waits = topics.iter_mut().flat_map(|topic| &mut topic.rows).map(|(_, row)| async move {
        if let Row::Waiting { partition, appended } = row {
            *row = match partition.committed(appended, deadline).await {
                Ok(()) => Row::Done(*appended),
                Err(error) => Row::Failed(errors::produce_failure(&error, version)),
            };
        }
    });
    join_all(waits).await;
}

fn respond(
    broker: &Broker,
    version: i16,
    image: &Image,
    topics: Vec<TopicRows>,
) -> ProduceResponse {
    let mut node_endpoints: Vec<NodeEndpoint> = Vec::new();
    let mut responses = Vec::with_capacity(topics.len());
    for topic in topics {
        let mut partition_responses = Vec::with_capacity(topic.rows.len());
        for (index, row) in topic.rows {
            let mut response = row_response(index, row);
            if version >= LEADER_HINTS_SINCE
                && response.error_code == ErrorCode::NotLeaderOrFollower
                && let Some(name) = &topic.topic
            {
                let name = TopicPartition::new(name.clone(), index);
                let hint = View::of(&broker.context, image).leader_hint(&name);
                response.current_leader = leader(&hint);
                add_endpoint(&mut node_endpoints, hint);
            }
            partition_responses.push(response);
        }
        responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses,
            ..Default::default()
        });
    }
    ProduceResponse { responses, node_endpoints, ..Default::default() }
}

fn leader(hint: &LeaderHint) -> LeaderIdAndEpoch {
    LeaderIdAndEpoch { leader_id: hint.leader, leader_epoch: hint.epoch, ..Default::default() }
}

fn add_endpoint(endpoints: &mut Vec<NodeEndpoint>, hint: LeaderHint) {
    let Some(address) = hint.endpoint else { return };
    if endpoints.iter().any(|known| known.node_id == address.node_id) {
        return;
    }
    endpoints.push(NodeEndpoint {
        node_id: address.node_id,
        host: address.host,
        port: address.port,
        rack: address.rack,
        ..Default::default()
    });
}

fn row_response(index: PartitionIndex, row: Row) -> PartitionProduceResponse {
    match row {
        Row::Done(appended) | Row::Waiting { appended, .. } => PartitionProduceResponse {
            index,
            base_offset: appended.base_offset,
            log_append_time_ms: appended.append_time.map_or(-1, |time| time.0),
            log_start_offset: appended.log_start_offset,
            ..Default::default()
        },
        Row::Failed(failure) => PartitionProduceResponse {
            index,
            error_code: failure.code,
            base_offset: Offset::NONE,
            record_errors: failure
                .records
                .into_iter()
                .map(|record| BatchIndexAndErrorMessage {
                    batch_index: record.index,
                    batch_index_error_message: Some(Str::from(record.message)),
                    ..Default::default()
                })
                .collect(),
            error_message: failure.message.map(Str::from),
            ..Default::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_3_shape_batch_count_and_magic() {
        let none = one_batch(None, 9).expect_err("refused");
        assert_eq!(none.code, ErrorCode::InvalidRecord);
        let empty = one_batch(Some(Bytes::new()), 9).expect_err("refused");
        assert_eq!(empty.code, ErrorCode::InvalidRecord);

        let mut header = [0u8; BatchHeader::SIZE];
        header[11] = 49;
        header[16] = 2;
        assert!(one_batch(Some(Bytes::copy_from_slice(&header)), 9).is_ok());
        let two = [header, header].concat();
        let two = one_batch(Some(Bytes::from(two)), 9).expect_err("two batches");
        assert_eq!(two.code, ErrorCode::InvalidRecord);
        header[16] = 1;
        let old = one_batch(Some(Bytes::copy_from_slice(&header)), 9).expect_err("older format");
        assert_eq!(old.code, ErrorCode::InvalidRecord);
    }

    #[test]
    fn trap_3_codec_zstd_under_old_produce() {
        let mut header = [0u8; BatchHeader::SIZE];
        header[11] = 49;
        header[16] = 2;
        header[22] = 4;
        let batch = Bytes::copy_from_slice(&header);
        let old = one_batch(Some(batch.clone()), 6).expect_err("too old");
        assert_eq!(old.code, ErrorCode::UnsupportedCompressionType);
        assert!(one_batch(Some(batch), 7).is_ok());
    }

    #[test]
    fn trap_15_compression_unknown_codec_bits() {
        let mut header = [0u8; BatchHeader::SIZE];
        header[11] = 49;
        header[16] = 2;
        for bits in 5..8 {
            header[22] = bits;
            let failure =
                one_batch(Some(Bytes::copy_from_slice(&header)), 13).expect_err("unknown");
            assert_eq!(failure.code, ErrorCode::UnsupportedCompressionType);
        }
    }

    #[test]
    fn trap_3_errors_error_response_fields() {
        let row = Row::Failed(ErrorCode::NotLeaderOrFollower.into());
        let response = row_response(PartitionIndex(3), row);
        assert_eq!(response.base_offset, Offset::NONE);
        assert_eq!(response.log_append_time_ms, -1);
        assert_eq!(response.log_start_offset, Offset::NONE);
    }
}
