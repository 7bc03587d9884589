//! Section 6: ListOffsets.

use crate::harness::{Client, Topic, batch, now};
use purlin::protocol::ErrorCode;
use purlin::protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use purlin::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
};
use purlin::protocol::records::{BatchBuilder, BatchHeader, Compression};
use purlin::types::{LeaderEpoch, NodeId, Offset, PartitionIndex, TimestampMs};

fn request(topic: &Topic, timestamps: &[i64]) -> ListOffsetsRequest {
    let partition = |timestamp: &i64| ListOffsetsPartition {
        partition_index: PartitionIndex(0),
        timestamp: *timestamp,
        ..Default::default()
    };
    ListOffsetsRequest {
        replica_id: NodeId::NONE,
        topics: vec![ListOffsetsTopic {
            name: topic.name.clone(),
            partitions: timestamps.iter().map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn list(
    client: &mut Client,
    topic: &Topic,
    timestamp: i64,
    version: i16,
) -> ListOffsetsPartitionResponse {
    client.call(&request(topic, &[timestamp]), version).topics[0].partitions[0].clone()
}

/// The first record at a time or later.
pub(crate) fn at_time(
    client: &mut Client,
    topic: &Topic,
    timestamp: i64,
) -> ListOffsetsPartitionResponse {
    let row = list(client, topic, timestamp, 7);
    assert_eq!(row.error_code, ErrorCode::None, "{row:?}");
    row
}

/// Batches of three records, a second apart.
fn seconds(codec: Compression, start: TimestampMs, batches: i64) -> Vec<bytes::Bytes> {
    (0..batches)
        .map(|batch| {
            let mut builder = BatchBuilder::new(codec);
            for record in 0..3 {
                let time = TimestampMs(start.0 + (batch * 3 + record) * 1000);
                builder.append(time, None, Some(b"tick"), &[]);
            }
            builder.build()
        })
        .collect()
}

#[test]
fn trap_6_time_batch_base_returned_off_by_one_or_wrong() {
    let mut client = Client::shared();
    let start = TimestampMs(now().0 - 600_000);
    for codec in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let topic = client.create("times", 1, &[]);
        for batch in seconds(codec, start, 5) {
            client.produce(&topic, batch);
        }
        for record in 0..15 {
            let time = start.0 + record * 1000;
            for asked in [time - 999, time] {
                let found = at_time(&mut client, &topic, asked);
                assert_eq!(
                    (found.offset.0, found.timestamp),
                    (record, time),
                    "{codec:?}, asked for {asked}"
                );
            }
        }
    }
}

#[test]
fn trap_6_time_nothing_found_on_the_wire() {
    let mut client = Client::shared();
    let topic = client.create("nothing", 1, &[]);
    client.produce(&topic, batch(&["x"]));
    let row = at_time(&mut client, &topic, now().0 + 3_600_000);
    assert_eq!((row.offset.0, row.timestamp, row.leader_epoch.0), (-1, -1, -1));
    let empty = client.create("empty", 1, &[]);
    let row = list(&mut client, &empty, -3, 7);
    assert_eq!((row.error_code, row.offset.0, row.timestamp), (ErrorCode::None, -1, -1));
}

#[test]
fn trap_6_special_meaning_and_version_on_the_wire() {
    let mut client = Client::shared();
    let topic = client.create("special", 1, &[]);
    let start = TimestampMs(now().0 - 600_000);
    for batch in seconds(Compression::None, start, 2) {
        client.produce(&topic, batch);
    }
    for version in 1..=11 {
        assert_eq!(list(&mut client, &topic, -1, version).offset.0, 6, "version {version}");
        assert_eq!(list(&mut client, &topic, -2, version).offset.0, 0, "version {version}");
        for (timestamp, since) in [(-3, 7), (-4, 8), (-5, 9), (-6, 11)] {
            let code = list(&mut client, &topic, timestamp, version).error_code;
            let expected =
                if version < since { ErrorCode::UnsupportedVersion } else { ErrorCode::None };
            assert_eq!(code, expected, "{timestamp} in version {version}");
        }
        assert_eq!(
            list(&mut client, &topic, -7, version).error_code,
            ErrorCode::UnsupportedVersion
        );
    }
    let max = list(&mut client, &topic, -3, 7);
    assert_eq!((max.offset.0, max.timestamp), (5, start.0 + 5000));
    assert_eq!(list(&mut client, &topic, -4, 8).offset.0, 0);
}

#[test]
fn trap_6_epoch_of_the_returned_offset() {
    let mut client = Client::shared();
    let topic = client.create("epoch", 1, &[]);
    client.produce(&topic, batch(&["x"]));
    let records = client.fetch(&topic, 0).records.expect("never null");
    let ours = BatchHeader::parse(&records).expect("a batch").leader_epoch;
    let found = at_time(&mut client, &topic, 0);
    assert_eq!(found.leader_epoch, ours);
    let mut newer = request(&topic, &[-1]);
    newer.topics[0].partitions[0].current_leader_epoch = LeaderEpoch(ours.0 + 1);
    let row = client.call(&newer, 7).topics[0].partitions[0].clone();
    assert_eq!(row.error_code, ErrorCode::UnknownLeaderEpoch);
}

#[test]
fn trap_6_range_negative_or_stale_start_leaks() {
    let mut client = Client::shared();
    let topic = client.create("start", 1, &[]);
    for timestamp in [-1, -2] {
        assert_eq!(list(&mut client, &topic, timestamp, 5).offset.0, 0, "an empty log");
    }
    client.produce(&topic, batch(&["0", "1", "2"]));
    let delete = |offset: i64| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: topic.name.clone(),
            partitions: vec![DeleteRecordsPartition {
                partition_index: PartitionIndex(0),
                offset: Offset(offset),
                ..Default::default()
            }],
            ..Default::default()
        }],
        timeout_ms: 30_000,
        ..Default::default()
    };
    client.call(&delete(-1), 2);
    for timestamp in [-1, -2] {
        assert_eq!(list(&mut client, &topic, timestamp, 5).offset.0, 3, "all deleted");
    }
}

#[test]
fn trap_6_dup_partition_repeated() {
    let mut client = Client::shared();
    let topic = client.create("twice", 1, &[]);
    let response = client.call(&request(&topic, &[-1, -2]), 7);
    assert!(
        response.topics[0].partitions.iter().all(|row| row.error_code == ErrorCode::InvalidRequest)
    );
}
