//! Order, sequences and retries of a producer.

use super::cluster;
use super::fake::{Answer, Asked, Fake, USUAL, Usual};
use crate::client::producer::{Acks, Delivery};
use crate::client::{Error, Producer, ProducerOptions, ProducerRecord};
use crate::protocol::messages::produce::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use crate::protocol::records::{BatchHeader, decode_records};
use crate::protocol::{ApiKey, ErrorCode, Str};
use crate::types::{LeaderEpoch, NodeId, Offset, TopicId};
use bytes::Bytes;
use std::sync::{Arc, Mutex};

/// What a broker would have stored.
#[derive(Debug, Default)]
struct Stored {
    values: Vec<String>,
    /// Producer id and base sequence of each stored batch.
    stamps: Vec<(i64, i32)>,
    /// How many records each had.
    counts: Vec<i32>,
    /// Version and topic name of each request.
    requests: Vec<(i16, String)>,
}

type Store = Arc<Mutex<Stored>>;

fn batch_of(request: &ProduceRequest) -> Bytes {
    let partition = &request.topic_data[0].partition_data[0];
    partition.records.clone().expect("records")
}

/// Stores the batch, and answers.
fn store(asked: &Asked, request: &ProduceRequest, store: &Store) -> Answer {
    let batch = batch_of(request);
    let header = BatchHeader::parse_checked(&batch).expect("a whole batch");
    let mut stored = store.lock().expect("fine");
    let base = stored.values.len() as i64;
    let same = stored.stamps.iter().rposition(|(id, _)| *id == header.producer_id.0);
    let before = same.map_or(0, |at| stored.stamps[at].1 + stored.counts[at]);
    if header.has_producer() && header.base_sequence.0 != before {
        return answer(asked, request, ErrorCode::OutOfOrderSequenceNumber, 0);
    }
    stored.counts.push(header.record_count);
    for record in decode_records(&batch, 1 << 20).expect("records") {
        let value = record.expect("a record").value.expect("a value");
        stored.values.push(String::from_utf8(value.to_vec()).expect("text"));
    }
    stored.stamps.push((header.producer_id.0, header.base_sequence.0));
    stored.requests.push((asked.version, request.topic_data[0].name.to_string()));
    answer(asked, request, ErrorCode::None, base)
}

fn answer(asked: &Asked, request: &ProduceRequest, code: ErrorCode, base: i64) -> Answer {
    let topic = &request.topic_data[0];
    asked.answer::<ProduceRequest>(&ProduceResponse {
        responses: vec![TopicProduceResponse {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partition_responses: vec![PartitionProduceResponse {
                index: topic.partition_data[0].index,
                error_code: code,
                base_offset: Offset(if code == ErrorCode::None { base } else { -1 }),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// A broker that refuses the produce requests with these numbers, and stores the others.
fn refusing(usual: Usual, refusals: &'static [(usize, ErrorCode)]) -> (Fake, Store) {
    let stored = Store::default();
    let theirs = stored.clone();
    let mut count = 0;
    let fake = Fake::start(usual, move |asked| {
        if asked.api != ApiKey::Produce {
            return Answer::Usual;
        }
        let request: ProduceRequest = asked.read();
        count += 1;
        match refusals.iter().find(|(number, _)| *number == count) {
            Some((_, code)) => answer(asked, &request, *code, 0),
            None if request.acks == 0 => {
                let _ = store(asked, &request, &theirs);
                Answer::Silence
            }
            None => store(asked, &request, &theirs),
        }
    });
    (fake, stored)
}

/// One record per batch.
fn options() -> ProducerOptions {
    ProducerOptions {
        batch_bytes: 1,
        linger_ms: 0,
        delivery_timeout_ms: 10_000,
        ..ProducerOptions::default()
    }
}

async fn send(fake: &Fake, options: ProducerOptions, count: usize) -> (Producer, Vec<Delivery>) {
    let producer = Producer::start(cluster(fake).await, options).await.expect("starts");
    let topic: Arc<str> = Arc::from("t");
    let mut deliveries = Vec::new();
    for number in 0..count {
        let record = ProducerRecord::new(topic.clone(), number.to_string());
        deliveries.push(producer.send(record).await.expect("taken"));
    }
    producer.flush().await;
    (producer, deliveries)
}

fn in_order(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_refused_batch_and_those_behind_it_go_again_in_order() {
    // The second is refused; those that were sent behind it do not fit any more, for a while.
    let (fake, stored) = refusing(USUAL, &[(2, ErrorCode::NotLeaderOrFollower)]);
    let (producer, deliveries) = send(&fake, options(), 12).await;
    let stored = stored.lock().expect("fine");
    assert_eq!(stored.values, in_order(12), "once, and in order");
    let id = stored.stamps[0].0;
    let expected: Vec<(i64, i32)> = (0..12).map(|sequence| (id, sequence)).collect();
    assert_eq!(stored.stamps, expected, "each under its first sequence");
    for (number, delivery) in deliveries.iter().enumerate() {
        let offset = delivery.now().expect("known").expect("stored").offset;
        assert_eq!(offset, Offset(number as i64));
    }
    assert_eq!(producer.totals().acknowledged, 12);
    assert!(producer.totals().retries >= 1);
}

/// A leader that hands over names its successor, and what it refused goes there at once, without a
/// question to anybody (KIP-951).
#[tokio::test]
async fn what_a_former_leader_refuses_goes_to_the_one_that_it_names() {
    let (successor, stored) = refusing(USUAL, &[]);
    let questions = Arc::new(Mutex::new(0));
    let (asked_for, address) = (questions.clone(), successor.address.clone());
    let mut refused = false;
    let former = Fake::start(USUAL, move |asked| {
        if asked.api == ApiKey::Metadata && refused {
            *asked_for.lock().expect("fine") += 1;
        }
        if asked.api != ApiKey::Produce {
            return Answer::Usual;
        }
        refused = true;
        let request: ProduceRequest = asked.read();
        let topic = &request.topic_data[0];
        asked.answer::<ProduceRequest>(&ProduceResponse {
            responses: vec![TopicProduceResponse {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partition_responses: vec![PartitionProduceResponse {
                    index: topic.partition_data[0].index,
                    error_code: ErrorCode::NotLeaderOrFollower,
                    base_offset: Offset(-1),
                    current_leader: LeaderIdAndEpoch {
                        leader_id: NodeId(2),
                        leader_epoch: LeaderEpoch(9),
                        ..Default::default()
                    },
                    ..Default::default()
                }],
                ..Default::default()
            }],
            node_endpoints: vec![NodeEndpoint {
                node_id: NodeId(2),
                host: Str::from(address.host.as_str()),
                port: i32::from(address.port),
                ..Default::default()
            }],
            ..Default::default()
        })
    });
    let cluster = cluster(&former).await;
    let producer = Producer::start(cluster, options()).await.expect("starts");
    let topic: Arc<str> = Arc::from("t");
    for number in 0..5 {
        let record = ProducerRecord::new(topic.clone(), number.to_string());
        producer.send(record).await.expect("taken");
    }
    producer.flush().await;
    assert_eq!(stored.lock().expect("fine").values, in_order(5), "once, and in order");
    assert!(producer.totals().retries >= 1);
    assert_eq!(*questions.lock().expect("fine"), 0, "nobody was asked who leads");
}

#[tokio::test]
async fn trap_4_sequence_what_a_broker_forgot_goes_on_under_a_new_producer_id() {
    for code in [ErrorCode::OutOfOrderSequenceNumber, ErrorCode::UnknownProducerId] {
        let refusals: &[(usize, ErrorCode)] = match code {
            ErrorCode::UnknownProducerId => &[(1, ErrorCode::UnknownProducerId)],
            _ => &[(1, ErrorCode::OutOfOrderSequenceNumber)],
        };
        let (fake, stored) = refusing(USUAL, refusals);
        let one_by_one = ProducerOptions { in_flight_max: 1, ..options() };
        let (producer, _) = send(&fake, one_by_one, 3).await;
        let stored = stored.lock().expect("fine");
        assert_eq!(stored.values, in_order(3), "{code:?}");
        let sequences: Vec<i32> = stored.stamps.iter().map(|(_, sequence)| *sequence).collect();
        assert_eq!(sequences, [0, 1, 2], "{code:?}: from 0 again, and one id for all");
        assert_eq!(producer.totals().failed, 0);
    }
}

#[tokio::test]
async fn trap_4_dedupe_a_duplicate_without_an_offset_counts_as_stored() {
    let (fake, stored) = refusing(USUAL, &[(1, ErrorCode::DuplicateSequenceNumber)]);
    let (producer, deliveries) = send(&fake, options(), 1).await;
    assert_eq!(deliveries[0].now().expect("known").expect("stored").offset, Offset::NONE);
    assert_eq!(producer.totals().acknowledged, 1);
    assert!(stored.lock().expect("fine").values.is_empty(), "and is not sent again");
}

#[tokio::test]
async fn trap_3_size_a_batch_that_is_too_large_is_split() {
    let (fake, stored) = refusing(USUAL, &[(1, ErrorCode::MessageTooLarge)]);
    let roomy = ProducerOptions { batch_bytes: 1 << 16, linger_ms: 50, ..options() };
    let (producer, deliveries) = send(&fake, roomy, 5).await;
    let stored = stored.lock().expect("fine");
    assert_eq!(stored.values, in_order(5));
    let sequences: Vec<i32> = stored.stamps.iter().map(|(_, sequence)| *sequence).collect();
    assert_eq!(sequences, [0, 2], "the halves carry on the sequences of the whole");
    let offset = |at: usize| deliveries[at].now().expect("known").expect("stored").offset;
    assert_eq!((offset(1), offset(2), offset(4)), (Offset(1), Offset(2), Offset(4)));
    assert_eq!(producer.totals().acknowledged, 5);
}

#[tokio::test]
async fn a_refusal_for_good_is_told_and_the_next_records_go_on() {
    let (fake, stored) = refusing(USUAL, &[(1, ErrorCode::InvalidRecord)]);
    let one_by_one = ProducerOptions { in_flight_max: 1, ..options() };
    let (producer, deliveries) = send(&fake, one_by_one, 3).await;
    let error = deliveries[0].now().expect("known").expect_err("refused");
    assert_eq!(error.code(), Some(ErrorCode::InvalidRecord));
    let totals = producer.totals();
    assert_eq!((totals.failed, totals.acknowledged), (1, 2));
    assert_eq!(stored.lock().expect("fine").values, ["1", "2"]);
}

#[tokio::test]
async fn trap_1_versions_without_topic_ids_topics_go_by_name() {
    let (fake, stored) = refusing(Usual { topic_id: TopicId::ZERO, ..USUAL }, &[]);
    drop(send(&fake, options(), 1).await);
    assert_eq!(stored.lock().expect("fine").requests, [(12, "t".to_owned())]);
    let (fake, stored) = refusing(USUAL, &[]);
    drop(send(&fake, options(), 1).await);
    assert_eq!(stored.lock().expect("fine").requests, [(13, String::new())]);
}

#[tokio::test]
async fn trap_1_framing_acks_of_nobody_wait_for_no_answer() {
    let (fake, stored) = refusing(USUAL, &[]);
    let nobody = ProducerOptions { acks: Acks::None, idempotence: false, ..options() };
    let (producer, _) = send(&fake, nobody, 20).await;
    assert_eq!(producer.totals().acknowledged, 20);
    // The fake takes what was sent on its own thread.
    for _ in 0..500 {
        if stored.lock().expect("fine").values.len() == 20 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(stored.lock().expect("fine").values, in_order(20));
}

#[tokio::test]
async fn a_broker_that_never_takes_it_is_given_up() {
    let fake = Fake::start(USUAL, |asked| {
        if asked.api != ApiKey::Produce {
            return Answer::Usual;
        }
        let request: ProduceRequest = asked.read();
        answer(asked, &request, ErrorCode::NotEnoughReplicas, 0)
    });
    let hurried = ProducerOptions { delivery_timeout_ms: 300, ..options() };
    let (producer, deliveries) = send(&fake, hurried, 2).await;
    let error = deliveries[1].now().expect("known").expect_err("given up");
    assert!(matches!(&error, Error::DeliveryTimeout { last, .. } if last == "NOT_ENOUGH_REPLICAS"));
    assert_eq!(producer.totals().failed, 2);
}

#[tokio::test]
async fn a_full_buffer_makes_senders_wait_and_is_given_back() {
    let (fake, stored) = refusing(USUAL, &[]);
    let tight = ProducerOptions {
        batch_bytes: 200,
        buffer_bytes: 400,
        linger_ms: 60_000,
        ..ProducerOptions::default()
    };
    // Far more than the buffer holds, and nothing lingers while somebody waits for room.
    let (producer, _) = send(&fake, tight, 300).await;
    assert_eq!(producer.totals().acknowledged, 300);
    assert_eq!(stored.lock().expect("fine").values, in_order(300));
}
