//! DescribeTopicPartitions: topics with their eligible leader replicas, in pages (KIP-966).

use std::collections::BTreeSet;

use super::common;
use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::view::View;
use crate::limits;
use crate::metadata::state::{Partition, Topic};
use crate::protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::protocol::{ErrorCode, Str};
use crate::types::{NodeId, PartitionIndex, TopicName};

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = broker.context.metadata.image();
    let wanted: BTreeSet<&str> = if request.topics.is_empty() {
        image.topics().map(|topic| topic.name.as_str()).collect()
    } else {
        request.topics.iter().map(|topic| &*topic.name).collect()
    };
    if let Some(cursor) = &request.cursor
        && (cursor.partition_index.0 < 0
            || (!request.topics.is_empty() && !wanted.contains(&*cursor.topic_name)))
    {
        return refuse(&request);
    }
    let room = request.response_partition_limit.clamp(1, limits::DESCRIBE_PARTITIONS_MAX);
    let all = request.topics.is_empty();
    page(
        View::of(&broker.context, &image),
        wanted,
        request.cursor.as_ref(),
        room.unsigned_abs() as usize,
        all,
    )
}

/// There is no error field for the whole response: every topic that was asked for gets it.
fn refuse(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let rows = request.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest,
        name: Some(topic.name.clone()),
        ..Default::default()
    });
    DescribeTopicPartitionsResponse { topics: rows.collect(), ..Default::default() }
}

/// Topics in the order of their names from the cursor on, until `room` partitions are listed.
fn page(
    view: View<'_>,
    wanted: BTreeSet<&str>,
    cursor: Option<&Cursor>,
    mut room: usize,
    all: bool,
) -> DescribeTopicPartitionsResponse {
    let from = cursor.map_or("", |cursor| &*cursor.topic_name);
    let mut topics = Vec::new();
    let mut next_cursor = None;
    for name in wanted.range(from..) {
        let first = match cursor {
            Some(cursor) if &*cursor.topic_name == *name => cursor.partition_index,
            _ => PartitionIndex(0),
        };
        if room == 0 {
            next_cursor = Some(Cursor {
                topic_name: Str::from(*name),
                partition_index: first,
                ..Default::default()
            });
            break;
        }
        let Some(topic) = view.image.topic_by_name(name) else {
            if !all {
                topics.push(unknown(name));
            }
            continue;
        };
        let partitions: Vec<_> = topic
            .partitions()
            .filter(|(index, _)| *index >= first)
            .take(room)
            .map(|(index, state)| partition(view, index, state))
            .collect();
        room -= partitions.len();
        let end = first.0.max(0) as usize + partitions.len();
        topics.push(found(topic, partitions));
        if end < topic.partition_count() {
            next_cursor = Some(Cursor {
                topic_name: Str::from(*name),
                partition_index: PartitionIndex(i32::try_from(end).unwrap_or(i32::MAX)),
                ..Default::default()
            });
            break;
        }
    }
    DescribeTopicPartitionsResponse { topics, next_cursor, ..Default::default() }
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error_code = if TopicName::new(name).is_ok() {
        ErrorCode::UnknownTopicOrPartition
    } else {
        ErrorCode::InvalidTopicException
    };
    DescribeTopicPartitionsResponseTopic {
        error_code,
        name: Some(Str::from(name)),
        is_internal: common::is_internal(name),
        ..Default::default()
    }
}

fn found(
    topic: &Topic,
    partitions: Vec<DescribeTopicPartitionsResponsePartition>,
) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        name: Some(Str::from(topic.name.as_str())),
        topic_id: topic.id,
        is_internal: common::is_internal(topic.name.as_str()),
        partitions,
        topic_authorized_operations: common::TOPIC_OPERATIONS,
        ..Default::default()
    }
}

fn partition(
    view: View<'_>,
    index: PartitionIndex,
    state: &Partition,
) -> DescribeTopicPartitionsResponsePartition {
    let leader = view.leader(state);
    DescribeTopicPartitionsResponsePartition {
        error_code: if leader.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable },
        partition_index: index,
        leader_id: leader.unwrap_or(NodeId::NONE),
        leader_epoch: state.leader_epoch,
        replica_nodes: state.replicas.clone(),
        isr_nodes: state.isr.clone(),
        eligible_leader_replicas: Some(state.elr.clone()),
        last_known_elr: Some(state.leader_last_known.into_iter().collect()),
        offline_replicas: view.offline(state),
        ..Default::default()
    }
}
