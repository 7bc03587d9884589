//! Section 4: idempotent producers.

use crate::harness::{Client, TestNode, Topic, idempotent};
use bytes::Bytes;
use purlin::protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use purlin::protocol::messages::describe_producers::{DescribeProducersRequest, TopicRequest};
use purlin::protocol::messages::init_producer_id::InitProducerIdRequest;
use purlin::protocol::{ErrorCode, Str};
use purlin::types::{Offset, PartitionIndex, ProducerEpoch, ProducerId};
use std::collections::BTreeSet;

fn produce(client: &mut Client, topic: &Topic, batch: Bytes) -> (ErrorCode, i64) {
    let row = client.produce(topic, batch);
    (row.error_code, row.base_offset.0)
}

const GAP: (ErrorCode, i64) = (ErrorCode::OutOfOrderSequenceNumber, -1);

#[test]
fn trap_4_dedupe_only_last_sequence_remembered() {
    let mut client = Client::shared();
    let topic = client.create("dedupe", 1, &[]);
    let id = client.producer_id();
    for n in 0..6 {
        let got = produce(&mut client, &topic, idempotent(id, 0, n * 3, 3));
        assert_eq!(got, (ErrorCode::None, i64::from(n) * 3));
    }
    // The last five are known, and get their first answer again.
    for n in 1..6 {
        let again = produce(&mut client, &topic, idempotent(id, 0, n * 3, 3));
        assert_eq!(again, (ErrorCode::None, i64::from(n) * 3), "batch {n}");
    }
    // Only an exact repetition is one.
    assert_eq!(produce(&mut client, &topic, idempotent(id, 0, 15, 2)), GAP);
    assert_eq!(client.fetch(&topic, 0).high_watermark.0, 18, "nothing was stored twice");
}

#[test]
fn trap_4_sequence_emitting_duplicate_sequence_number() {
    let mut client = Client::shared();
    let topic = client.create("older", 1, &[]);
    let id = client.producer_id();
    for n in 0..6 {
        produce(&mut client, &topic, idempotent(id, 0, n, 1));
    }
    assert_eq!(produce(&mut client, &topic, idempotent(id, 0, 0, 1)), GAP, "45, never 46");
}

#[test]
fn trap_4_sequence_unknown_producer_refused() {
    let mut client = Client::shared();
    let topic = client.create("unknown", 1, &[]);
    let id = client.producer_id();
    let got = produce(&mut client, &topic, idempotent(id, 0, 1234, 1));
    assert_eq!(got, (ErrorCode::None, 0), "any first sequence is fine");
    assert_eq!(produce(&mut client, &topic, idempotent(id, 0, 1235, 1)).0, ErrorCode::None);

    // Deleted records take nothing from the producer.
    let delete = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: topic.name.clone(),
            partitions: vec![DeleteRecordsPartition { offset: Offset(2), ..Default::default() }],
            ..Default::default()
        }],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let deleted = client.call(&delete, 2);
    assert_eq!(deleted.topics[0].partitions[0].low_watermark.0, 2, "{deleted:?}");
    let next = produce(&mut client, &topic, idempotent(id, 0, 1236, 1));
    assert_eq!(next, (ErrorCode::None, 2));
}

#[test]
fn trap_4_sequence_wrong_code() {
    let mut client = Client::shared();
    let topic = client.create("codes", 1, &[]);
    let id = client.producer_id();
    assert_eq!(produce(&mut client, &topic, idempotent(id, 3, 0, 2)).0, ErrorCode::None);
    assert_eq!(produce(&mut client, &topic, idempotent(id, 3, 3, 1)), GAP, "a gap");
    assert_eq!(produce(&mut client, &topic, idempotent(id, 4, 2, 1)), GAP, "new epoch, not at 0");
    let older = produce(&mut client, &topic, idempotent(id, 2, 0, 1));
    assert_eq!(older, (ErrorCode::InvalidProducerEpoch, -1));
    assert_eq!(produce(&mut client, &topic, idempotent(id, 4, 0, 1)).0, ErrorCode::None);
}

#[test]
fn trap_4_sequence_counting_batches_not_records() {
    let mut client = Client::shared();
    let topic = client.create("records", 1, &[]);
    let id = client.producer_id();
    let near_end = i32::MAX - 1;
    assert_eq!(produce(&mut client, &topic, idempotent(id, 0, near_end, 4)).0, ErrorCode::None);
    // MAX-1, MAX, 0, 1: the next is 2.
    assert_eq!(produce(&mut client, &topic, idempotent(id, 0, 3, 1)), GAP);
    assert_eq!(produce(&mut client, &topic, idempotent(id, 0, 2, 1)), (ErrorCode::None, 4));
    // A negative producer id is none: nothing is remembered of it.
    for _ in 0..2 {
        let none = produce(&mut client, &topic, idempotent(ProducerId::NONE, -1, -1, 1));
        assert_eq!(none.0, ErrorCode::None);
    }
    assert_eq!(client.fetch(&topic, 0).high_watermark.0, 7);
}

#[test]
fn trap_4_dedupe_duplicate_answered_with_the_original_fields() {
    let mut client = Client::shared();
    let topic = client.create("fields", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let id = client.producer_id();
    let batch = idempotent(id, 0, 0, 2);
    let first = client.produce(&topic, batch.clone());
    let again = client.produce(&topic, batch);
    assert_eq!(first, again);
    assert!(first.log_append_time_ms > 0);
}

#[test]
fn trap_4_ids_init_producer_id() {
    let mut node = TestNode::start(&[]);
    let mut ids = BTreeSet::new();
    for _ in 0..3 {
        let mut client = node.client();
        for version in 0..=5 {
            let response = client.call(&InitProducerIdRequest::default(), version);
            assert_eq!(response.error_code, ErrorCode::None);
            assert_eq!(response.producer_epoch, ProducerEpoch(0));
            assert!(ids.insert(response.producer_id), "fresh each time, across restarts too");
        }
        let empty =
            InitProducerIdRequest { transactional_id: Some(Str::EMPTY), ..Default::default() };
        assert_eq!(client.call(&empty, 4).error_code, ErrorCode::InvalidRequest);
        let half = InitProducerIdRequest { producer_id: ProducerId(5), ..Default::default() };
        assert_eq!(client.call(&half, 4).error_code, ErrorCode::InvalidRequest);
        let transactional = InitProducerIdRequest {
            transactional_id: Some(Str::from_static("t")),
            ..Default::default()
        };
        let response = client.call(&transactional, 4);
        assert_eq!(response.error_code, ErrorCode::CoordinatorNotAvailable);
        assert_eq!(response.producer_id, ProducerId::NONE);
        node.restart();
    }
}

#[test]
fn trap_4_state_lost_on_restart() {
    let mut node = TestNode::start(&[]);
    let mut client = node.client();
    let topic = client.create_named("kept", 1, &[]);
    let id = client.producer_id();
    for n in 0..3 {
        produce(&mut client, &topic, idempotent(id, 0, n, 1));
    }
    node.restart();
    let mut client = node.client();
    let again = crate::harness::eventually(|| {
        let got = produce(&mut client, &topic, idempotent(id, 0, 1, 1));
        (got.0 == ErrorCode::None).then_some(got)
    });
    assert_eq!(again, (ErrorCode::None, 1), "a retry gets its first offset back");
    assert_eq!(produce(&mut client, &topic, idempotent(id, 0, 4, 1)), GAP);
    assert_eq!(produce(&mut client, &topic, idempotent(id, 0, 3, 1)), (ErrorCode::None, 3));

    let describe = DescribeProducersRequest {
        topics: vec![TopicRequest {
            name: topic.name.clone(),
            partition_indexes: vec![PartitionIndex(0), PartitionIndex(9)],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(&describe, 0);
    let rows = &response.topics[0].partitions;
    let [producer] = &rows[0].active_producers[..] else { panic!("one producer: {response:?}") };
    assert_eq!((producer.producer_id, producer.last_sequence.0), (id, 3));
    assert_eq!(producer.current_txn_start_offset, Offset::NONE);
    assert_eq!(rows[1].error_code, ErrorCode::UnknownTopicOrPartition);
}
