//! One fetch, and the batches of its answer.

use super::partition::Position;
use super::{Asked, Batch, ConsumerOptions, Isolation};
use crate::client::Error;
use crate::client::cluster::{Cluster, Purpose};
use crate::limits;
use crate::protocol::messages::fetch::{
    AbortedTransaction, FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use crate::protocol::records::{
    BatchError, BatchHeader, BatchIter, ControlKind, ControlRecord, decode_records,
};
use crate::protocol::{ErrorCode, Str};
use crate::types::{LeaderEpoch, NodeId, Offset, PartitionIndex};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// The last version that names topics.
const VERSION_BY_NAME_MAX: i16 = 12;

pub(super) struct Answer {
    pub(super) throttle_ms: u64,
    pub(super) parts: Vec<Part>,
}

pub(super) struct Part {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) outcome: Result<Fetched, Error>,
}

/// The batches of one partition in one answer.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// Where the next fetch goes on; nothing when there were no records.
    pub(super) next_offset: Option<Offset>,
    /// The end as the isolation sees it.
    pub(super) end: Offset,
    pub(super) bytes: usize,
    rest: Bytes,
    /// Aborted transactions, by first offset, that are still to come. None without isolation.
    aborted: Option<Vec<AbortedTransaction>>,
}

/// Errors of a fetch that fresh metadata or a little time may cure, besides those that every
/// request has.
pub(super) fn may_pass(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::OffsetNotAvailable
            | ErrorCode::UnknownTopicId
            | ErrorCode::InconsistentTopicId
            | ErrorCode::FetchSessionTopicIdError
    )
}

pub(super) fn is_out_of_range(error: &Error) -> bool {
    error.code() == Some(ErrorCode::OffsetOutOfRange)
}

pub(super) async fn fetch(
    cluster: &Cluster,
    node: NodeId,
    asked: &[Asked],
    options: &ConsumerOptions,
) -> Result<Answer, Error> {
    let connection = cluster.connection(node, Purpose::Fetch).await?;
    let by_name = asked.iter().any(|one| one.topic_id.is_zero());
    let version_max = if by_name { VERSION_BY_NAME_MAX } else { i16::MAX };
    let request = request(cluster, asked, options);
    let slack = cluster.options().request_timeout_ms;
    let timeout = Duration::from_millis(options.fetch_wait_ms_max.saturating_add(slack));
    let answer = connection.call_within(&request, timeout, version_max).await?;
    if answer.error_code != ErrorCode::None {
        return Err(Error::refused(
            format!("fetching from broker {node}"),
            answer.error_code,
            None,
        ));
    }
    Ok(parts(asked, answer, options))
}

fn request(cluster: &Cluster, asked: &[Asked], options: &ConsumerOptions) -> FetchRequest {
    let int = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let mut topics: Vec<FetchTopic> = Vec::new();
    for one in asked {
        let epoch = cluster.leader(&one.topic, one.partition).map(|(_, epoch)| epoch);
        let partition = FetchPartition {
            partition: PartitionIndex(one.partition),
            current_leader_epoch: epoch.unwrap_or(LeaderEpoch::NONE),
            fetch_offset: one.offset,
            partition_max_bytes: int(options.partition_bytes_max),
            ..FetchPartition::default()
        };
        match topics.last_mut() {
            Some(last) if *last.topic == *one.topic => last.partitions.push(partition),
            _ => topics.push(FetchTopic {
                topic: Str::from(&*one.topic),
                topic_id: one.topic_id,
                partitions: vec![partition],
                ..FetchTopic::default()
            }),
        }
    }
    FetchRequest {
        max_wait_ms: i32::try_from(options.fetch_wait_ms_max).unwrap_or(i32::MAX),
        min_bytes: int(options.fetch_bytes_min),
        max_bytes: int(options.fetch_bytes_max),
        isolation_level: options.isolation.to_i8(),
        topics,
        ..FetchRequest::default()
    }
}

fn parts(asked: &[Asked], answer: FetchResponse, options: &ConsumerOptions) -> Answer {
    let mut parts = Vec::new();
    for topic in answer.responses {
        for data in topic.partitions {
            let same = |one: &&Asked| {
                let topic_is = if topic.topic.is_empty() {
                    one.topic_id == topic.topic_id
                } else {
                    *one.topic == *topic.topic
                };
                topic_is && one.partition == data.partition_index.0
            };
            // What was not asked for is not read.
            if let Some(one) = asked.iter().find(same) {
                parts.push(Part {
                    topic: one.topic.clone(),
                    partition: one.partition,
                    outcome: fetched(one, data, options.isolation),
                });
            }
        }
    }
    let throttle_ms = u64::try_from(answer.throttle_time_ms).unwrap_or(0);
    Answer { throttle_ms, parts }
}

fn fetched(one: &Asked, data: PartitionData, isolation: Isolation) -> Result<Fetched, Error> {
    if data.error_code != ErrorCode::None {
        let what = format!("reading {}-{} at offset {}", one.topic, one.partition, one.offset);
        return Err(Error::refused(what, data.error_code, None));
    }
    let (end, aborted) = match isolation {
        Isolation::ReadUncommitted => (data.high_watermark, None),
        Isolation::ReadCommitted => {
            let mut aborted = data.aborted_transactions.unwrap_or_default();
            aborted.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
            (data.last_stable_offset, Some(aborted))
        }
    };
    let records = data.records.unwrap_or_default();
    // Where to go on is in the headers; the records are unpacked when they are wanted.
    let mut next_offset = None;
    let mut iter = BatchIter::new(&records);
    let mut cut = false;
    for batch in &mut iter {
        match batch {
            Ok((header, _)) => next_offset = Some(header.next_offset().max(one.offset)),
            // Brokers may cut the last batch short.
            Err(BatchError::Truncated { .. }) if next_offset.is_some() => cut = true,
            Err(cause) => {
                // With batches before it, the error comes when they have been read.
                if next_offset.is_none() {
                    return Err(corrupt(one, cause));
                }
            }
        }
    }
    let whole = iter.position();
    let rest = if cut { records.slice(..whole) } else { records };
    Ok(Fetched {
        topic: one.topic.clone(),
        partition: one.partition,
        next_offset,
        end,
        bytes: rest.len(),
        rest,
        aborted,
    })
}

fn corrupt(one: &Asked, cause: BatchError) -> Error {
    Error::Corrupt {
        topic: one.topic.to_string(),
        partition: one.partition,
        offset: one.offset,
        cause,
    }
}

impl Fetched {
    /// Whether nothing is left.
    pub(super) fn is_read(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next batch that has records for the reader; nothing when all are read.
    pub(super) fn next_batch(&mut self, position: &mut Position) -> Option<Result<Batch, Error>> {
        while !self.rest.is_empty() && !position.is_finished() {
            match self.take_batch(position) {
                Ok(Some(batch)) => return Some(Ok(batch)),
                Ok(None) => {}
                Err(cause) => {
                    self.rest = Bytes::new();
                    return Some(Err(Error::Corrupt {
                        topic: self.topic.to_string(),
                        partition: self.partition,
                        offset: position.handed_out,
                        cause,
                    }));
                }
            }
        }
        None
    }

    fn take_batch(&mut self, position: &mut Position) -> Result<Option<Batch>, BatchError> {
        let header = BatchHeader::parse_checked(&self.rest)?;
        let bytes = self.rest.split_to(header.total_bytes());
        let from = position.handed_out;
        let next = header.next_offset();
        if next <= from {
            return Ok(None);
        }
        position.handed_out = next;
        if header.is_control() {
            if self.aborted.is_some() && is_abort(&bytes)? {
                position.aborting.remove(&header.producer_id);
            }
            return Ok(None);
        }
        if header.is_transactional() && self.is_aborted(&header, position) {
            return Ok(None);
        }
        if position.stop_at.is_some_and(|end| header.base_offset >= end) {
            return Ok(None);
        }
        Ok(Some(Batch {
            topic: self.topic.clone(),
            partition: self.partition,
            header,
            from,
            upto: position.stop_at,
            records: decode_records(&bytes, limits::DECOMPRESSED_BYTES_MAX)?,
        }))
    }

    /// Whether the batch belongs to a transaction that was aborted.
    fn is_aborted(&mut self, header: &BatchHeader, position: &mut Position) -> bool {
        let Some(aborted) = &mut self.aborted else { return false };
        while let Some(next) = aborted.last()
            && next.first_offset <= header.last_offset()
        {
            position.aborting.insert(next.producer_id);
            aborted.pop();
        }
        position.aborting.contains(&header.producer_id)
    }
}

fn is_abort(bytes: &Bytes) -> Result<bool, BatchError> {
    let Some(record) = decode_records(bytes, limits::DECOMPRESSED_BYTES_MAX)?.next() else {
        return Ok(false);
    };
    let record = record?;
    let marker = ControlRecord::parse(record.key.as_deref(), record.value.as_deref())?;
    Ok(marker.kind == ControlKind::Abort)
}
