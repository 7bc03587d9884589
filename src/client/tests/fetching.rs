//! What a consumer makes of fetched bytes.

use super::cluster;
use super::fake::{Answer, Fake, USUAL};
use crate::client::{Consumer, ConsumerOptions, Error, StartAt};
use crate::protocol::messages::fetch::{
    AbortedTransaction, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use crate::protocol::records::{BatchBuilder, Compression, ControlKind, ControlRecord};
use crate::protocol::{ApiKey, ErrorCode, Str};
use crate::types::{
    LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TimestampMs,
};
use bytes::Bytes;

const END: i64 = 1_000;

fn builder(base: i64) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::Zstd);
    builder.set_position(Offset(base), LeaderEpoch(3));
    builder
}

fn batch(base: i64, values: &[&str]) -> Vec<u8> {
    let mut builder = builder(base);
    for value in values {
        builder.append(TimestampMs(5), None, Some(value.as_bytes()), &[]);
    }
    builder.build().to_vec()
}

fn transactional(base: i64, id: i64, value: &str) -> Vec<u8> {
    let mut builder = builder(base);
    builder.set_producer(ProducerId(id), ProducerEpoch(0), Sequence(0));
    builder.set_transactional(true);
    builder.append(TimestampMs(5), None, Some(value.as_bytes()), &[]);
    builder.build().to_vec()
}

fn marker(base: i64, id: i64, kind: ControlKind) -> Vec<u8> {
    let mut builder = builder(base);
    builder.set_producer(ProducerId(id), ProducerEpoch(0), Sequence::NONE);
    builder.set_transactional(true);
    builder.set_control(true);
    let marker = ControlRecord { kind, coordinator_epoch: 0 };
    builder.append(TimestampMs(5), Some(&marker.key()), Some(&marker.value()), &[]);
    builder.build().to_vec()
}

/// A broker that answers the fetches one after the other with these errors and bytes, and then
/// with nothing.
fn serving(answers: Vec<(ErrorCode, Vec<u8>)>, aborted: Vec<AbortedTransaction>) -> Fake {
    let mut answers = answers.into_iter();
    Fake::start(USUAL, move |asked| match asked.api {
        ApiKey::ListOffsets => {
            let request: ListOffsetsRequest = asked.read();
            let earliest = request.topics[0].partitions[0].timestamp == -2;
            asked.answer::<ListOffsetsRequest>(&ListOffsetsResponse {
                topics: vec![ListOffsetsTopicResponse {
                    name: Str::from("t"),
                    partitions: vec![ListOffsetsPartitionResponse {
                        partition_index: PartitionIndex(0),
                        offset: Offset(if earliest { 0 } else { END }),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            })
        }
        ApiKey::Fetch => {
            let (error_code, bytes) = answers.next().unwrap_or((ErrorCode::None, Vec::new()));
            asked.answer::<FetchRequest>(&FetchResponse {
                responses: vec![FetchableTopicResponse {
                    topic: Str::from("t"),
                    topic_id: USUAL.topic_id,
                    partitions: vec![PartitionData {
                        partition_index: PartitionIndex(0),
                        error_code,
                        high_watermark: Offset(END),
                        last_stable_offset: Offset(END),
                        aborted_transactions: Some(aborted.clone()),
                        records: Some(Bytes::from(bytes)),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            })
        }
        _ => Answer::Usual,
    })
}

async fn read(fake: &Fake, from: i64, until: i64) -> Result<Vec<(i64, String)>, Error> {
    let options = ConsumerOptions { patience_ms: 2_000, ..ConsumerOptions::default() };
    let mut consumer = Consumer::new(cluster(fake).await, options);
    consumer.assign("t", &[], StartAt::Offset(Offset(from))).await?;
    consumer.stop_at("t", 0, Offset(until));
    let mut all = Vec::new();
    while let Some(batch) = consumer.next().await? {
        for record in batch {
            let record = record?;
            let value = record.value.unwrap_or_default();
            all.push((record.offset.0, String::from_utf8_lossy(&value).into_owned()));
        }
    }
    Ok(all)
}

fn ok(bytes: Vec<Vec<u8>>) -> (ErrorCode, Vec<u8>) {
    (ErrorCode::None, bytes.concat())
}

#[tokio::test]
async fn trap_5_position_an_offset_inside_of_a_batch_is_read_from_there() {
    let fake = serving(vec![ok(vec![batch(10, &["a", "b", "c"]), batch(13, &["d", "e"])])], vec![]);
    let read = read(&fake, 11, 14).await.expect("read");
    let expected = [(11, "b"), (12, "c"), (13, "d")].map(|(at, value)| (at, value.to_owned()));
    assert_eq!(read, expected, "neither what lies before, nor what lies behind the stop");
}

#[tokio::test]
async fn a_batch_that_is_cut_short_is_fetched_again() {
    let whole = batch(12, &["c"]);
    let cut = whole[..whole.len() - 3].to_vec();
    let fake = serving(vec![ok(vec![batch(10, &["a", "b"]), cut]), ok(vec![whole])], vec![]);
    let read = read(&fake, 10, 13).await.expect("read");
    assert_eq!(read.len(), 3, "{read:?}");
}

#[tokio::test]
async fn leaders_that_move_are_followed_and_damage_is_told() {
    use ErrorCode::{FencedLeaderEpoch, NotLeaderOrFollower, UnknownTopicId};
    let errors = [NotLeaderOrFollower, FencedLeaderEpoch, UnknownTopicId];
    let mut answers: Vec<_> = errors.into_iter().map(|code| (code, Vec::new())).collect();
    answers.push(ok(vec![batch(0, &["a"])]));
    let mut damaged = batch(1, &["b"]);
    *damaged.last_mut().expect("not empty") ^= 1;
    answers.push(ok(vec![damaged]));
    let fake = serving(answers, vec![]);
    let error = read(&fake, 0, 2).await.expect_err("a flipped bit");
    assert!(matches!(error, Error::Corrupt { offset: Offset(1), .. }), "{error}");
}

#[tokio::test]
async fn an_offset_that_is_gone_names_what_is_there() {
    let fake = serving(vec![(ErrorCode::OffsetOutOfRange, Vec::new())], vec![]);
    let error = read(&fake, 7, 9).await.expect_err("out of range");
    let expected = Error::OffsetOutOfRange {
        topic: "t".to_owned(),
        partition: 0,
        asked: Offset(7),
        earliest: Offset(0),
        latest: Offset(END),
    };
    assert_eq!(error, expected);
    let error = read(&fake, END + 1, END + 2).await.expect_err("beyond the end");
    assert!(matches!(error, Error::OffsetOutOfRange { .. }), "{error}");
}

#[tokio::test]
async fn markers_and_aborted_transactions_are_left_out() {
    let bytes = vec![
        transactional(0, 1, "aborted"),
        transactional(1, 2, "committed"),
        marker(2, 1, ControlKind::Abort),
        transactional(3, 1, "the same producer, later"),
        marker(4, 2, ControlKind::Commit),
        marker(5, 1, ControlKind::Commit),
        batch(6, &["plain"]),
    ];
    let aborted = AbortedTransaction {
        producer_id: ProducerId(1),
        first_offset: Offset(0),
        ..Default::default()
    };
    let fake = serving(vec![ok(bytes)], vec![aborted]);
    let read = read(&fake, 0, 7).await.expect("read");
    let values: Vec<&str> = read.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["committed", "the same producer, later", "plain"]);
}
