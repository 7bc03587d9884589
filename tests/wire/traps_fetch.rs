//! Section 5: fetch, and the fetch rows of section 15.

use crate::harness::{
    Client, Topic, batch, fetch_partition, fetch_request, produce_request, row_of,
};
use bytes::Bytes;
use purlin::protocol::ErrorCode;
use purlin::protocol::messages::fetch::{FetchRequest, FetchResponse, ReplicaState};
use purlin::protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use purlin::protocol::messages::produce::ProduceRequest;
use purlin::protocol::records::{BatchHeader, BatchIter};
use purlin::types::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId};
use std::time::{Duration, Instant};

/// A wait that no test may sit out.
const LONG_WAIT_MS: i32 = 50_000;

fn base_offsets(records: &Bytes) -> Vec<i64> {
    let mut left = &records[..];
    let mut offsets = Vec::new();
    while let Ok(header) = BatchHeader::parse_checked(left) {
        offsets.push(header.base_offset.0);
        left = &left[header.total_bytes()..];
    }
    assert!(left.is_empty(), "only whole batches");
    offsets
}

fn records(row: &purlin::protocol::messages::fetch::PartitionData) -> Bytes {
    row.records.clone().expect("records are never null")
}

#[test]
fn trap_5_position_offset_inside_a_batch_skips_it() {
    let mut client = Client::shared();
    let topic = client.create("inside", 1, &[]);
    client.produce(&topic, batch(&["0", "1", "2"]));
    client.produce(&topic, batch(&["3", "4", "5"]));
    for (offset, expected) in [(0, vec![0, 3]), (2, vec![0, 3]), (3, vec![3]), (5, vec![3])] {
        let row = client.fetch(&topic, offset);
        assert_eq!(base_offsets(&records(&row)), expected, "from {offset}");
    }
    // The base and last offset delta of the header are what the client jumps by.
    let read = records(&client.fetch(&topic, 5));
    assert_eq!(BatchIter::new(&read).count(), 1);
    assert_eq!(BatchHeader::parse(&read).expect("a batch").last_offset(), Offset(5));
}

#[test]
fn trap_5_range_offset_out_of_range() {
    let mut client = Client::shared();
    let topic = client.create("range", 1, &[]);
    client.produce(&topic, batch(&["0", "1"]));
    let at_end = client.fetch(&topic, 2);
    assert_eq!((at_end.error_code, records(&at_end).len()), (ErrorCode::None, 0));
    for offset in [3, i64::MAX, -1] {
        let row = client.fetch(&topic, offset);
        assert_eq!(row.error_code, ErrorCode::OffsetOutOfRange, "offset {offset}");
        assert!(records(&row).is_empty());
    }
}

#[test]
fn trap_5_read_committed_watermarks_are_filled() {
    let mut client = Client::shared();
    let topic = client.create("marks", 1, &[]);
    client.produce(&topic, batch(&["0", "1"]));
    for isolation_level in [0, 1] {
        let request = FetchRequest { isolation_level, ..fetch_request(&topic, 0) };
        let row = row_of(&client.call(&request, 11));
        assert_eq!(row.high_watermark, Offset(2));
        assert_eq!(row.last_stable_offset, Offset(2));
        assert_eq!(row.log_start_offset, Offset(0));
        // A list for those who asked for it, and only for them.
        assert_eq!(row.aborted_transactions.is_some(), isolation_level == 1);
    }
}

#[test]
fn trap_15_fetch_empty_fetch_answered_with_null_records() {
    let mut client = Client::shared();
    let topic = client.create("empty", 1, &[]);
    for version in 4..=18 {
        let row = row_of(&client.call(&fetch_request(&topic, 0), version));
        assert_eq!(row.records, Some(Bytes::new()), "version {version}");
        let failed = row_of(&client.call(&fetch_request(&topic, 99), version));
        assert_eq!(failed.records, Some(Bytes::new()), "version {version}, with an error");
    }
}

#[test]
fn trap_5_size_first_batch_larger_than_max_bytes() {
    let mut client = Client::shared();
    let topic = client.create("large", 3, &[]);
    let large = "x".repeat(10_000);
    let mut request = produce_request(&topic, Some(batch(&[&large])), -1);
    let data = request.topic_data[0].partition_data[0].clone();
    request.topic_data[0].partition_data = (0..3)
        .map(|index| {
            let mut data = data.clone();
            data.index = PartitionIndex(index);
            data
        })
        .collect();
    client.call::<ProduceRequest>(&request, 9);

    let mut fetch = fetch_request(&topic, 0);
    fetch.topics[0].partitions = (0..3).map(|index| fetch_partition(index, 0)).collect();
    fetch.max_bytes = 100;
    let sizes = |response: &FetchResponse| -> Vec<usize> {
        response.responses[0].partitions.iter().map(|row| records(row).len()).collect()
    };
    let got = sizes(&client.call(&fetch, 11));
    assert!(got[0] > 10_000, "the first partition gives its first batch whole: {got:?}");
    assert_eq!(got[1..], [0, 0], "the others keep to the limit");
    fetch.max_bytes = 25_000;
    let got = sizes(&client.call(&fetch, 11));
    assert!(got[0] > 10_000 && got[1] > 10_000 && got[2] == 0, "{got:?}");
}

#[test]
fn trap_5_wait_long_poll_wake_by_data() {
    let mut client = Client::shared();
    let topic = client.create("wake", 1, &[]);
    let waiting = FetchRequest { max_wait_ms: LONG_WAIT_MS, ..fetch_request(&topic, 0) };
    let began = Instant::now();
    client.send(&waiting, 11);
    let mut producer = Client::shared();
    producer.produce(&topic, batch(&["news"]));
    let (_, response) = client.receive::<FetchRequest>(11);
    assert_eq!(base_offsets(&records(&row_of(&response))), [0]);
    assert!(began.elapsed() < Duration::from_millis(LONG_WAIT_MS as u64), "woken, not timed out");
}

#[test]
fn trap_5_wait_min_bytes_and_max_wait() {
    let mut client = Client::shared();
    let topic = client.create("min", 1, &[]);
    client.produce(&topic, batch(&["little"]));
    // Too little for long, then enough.
    let patient =
        FetchRequest { max_wait_ms: LONG_WAIT_MS, min_bytes: 5_000, ..fetch_request(&topic, 0) };
    client.send(&patient, 11);
    let mut producer = Client::shared();
    producer.produce(&topic, batch(&[&"x".repeat(6_000)]));
    let (_, response) = client.receive::<FetchRequest>(11);
    assert_eq!(base_offsets(&records(&row_of(&response))), [0, 1]);
    // Never enough: what is there, when the time is up.
    let brief = FetchRequest { max_wait_ms: 20, min_bytes: 1 << 20, ..fetch_request(&topic, 0) };
    let row = row_of(&client.call(&brief, 11));
    assert_eq!(base_offsets(&records(&row)), [0, 1]);
}

#[test]
fn trap_5_wait_long_poll_wake_by_error() {
    let mut client = Client::shared();
    let topic = client.create("broken", 1, &[]);
    let mut request = FetchRequest { max_wait_ms: LONG_WAIT_MS, ..fetch_request(&topic, 0) };
    request.topics[0].partitions.push(fetch_partition(7, 0));
    let response = client.call(&request, 11);
    let codes: Vec<ErrorCode> =
        response.responses[0].partitions.iter().map(|row| row.error_code).collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::UnknownTopicOrPartition]);
}

#[test]
fn trap_5_wait_long_poll_wake_by_deletion() {
    use purlin::protocol::messages::delete_topics::DeleteTopicsRequest;
    let mut client = Client::shared();
    let topic = client.create("deleted", 1, &[]);
    let waiting = FetchRequest { max_wait_ms: LONG_WAIT_MS, ..fetch_request(&topic, 0) };
    client.send(&waiting, 11);
    let delete = DeleteTopicsRequest {
        topic_names: vec![topic.name.clone()],
        timeout_ms: 30_000,
        ..Default::default()
    };
    // Once the fetch has begun to wait, for certain.
    std::thread::sleep(Duration::from_millis(100));
    let began = Instant::now();
    let deleted = Client::shared().call(&delete, 5);
    assert_eq!(deleted.responses[0].error_code, ErrorCode::None);
    let (_, response) = client.receive::<FetchRequest>(11);
    assert!(began.elapsed() < Duration::from_millis(LONG_WAIT_MS as u64), "woken, not timed out");
    let code = row_of(&response).error_code;
    assert!(
        matches!(code, ErrorCode::UnknownTopicOrPartition | ErrorCode::NotLeaderOrFollower),
        "{code}"
    );
}

#[test]
fn trap_5_sessions_over_the_wire() {
    let mut client = Client::shared();
    let topic = client.create("session", 2, &[]);
    let mut open = FetchRequest { session_epoch: 0, ..fetch_request(&topic, 0) };
    open.topics[0].partitions.push(fetch_partition(1, 0));
    let full = client.call(&open, 11);
    assert!(full.session_id > 0);
    assert_eq!(full.responses[0].partitions.len(), 2, "a full answer lists all");
    let next = |epoch| FetchRequest {
        session_id: full.session_id,
        session_epoch: epoch,
        topics: Vec::new(),
        ..fetch_request(&topic, 0)
    };
    assert!(client.call(&next(1), 11).responses.is_empty(), "nothing changed");
    client.produce(&topic, batch(&["x"]));
    let news = client.call(&next(2), 11);
    let row = row_of(&news);
    assert_eq!((row.partition_index, row.high_watermark), (PartitionIndex(0), Offset(1)));

    assert_eq!(client.call(&next(2), 11).error_code, ErrorCode::InvalidFetchSessionEpoch);
    // The same session by topic id is another kind of session.
    assert_eq!(client.call(&next(3), 13).error_code, ErrorCode::FetchSessionTopicIdError);
    let unknown = FetchRequest { session_id: 1, ..next(1) };
    assert_eq!(client.call(&unknown, 11).error_code, ErrorCode::FetchSessionIdNotFound);
    let close = client.call(&next(-1), 11);
    assert_eq!((close.error_code, close.session_id), (ErrorCode::None, 0));
    assert_eq!(client.call(&next(3), 11).error_code, ErrorCode::FetchSessionIdNotFound);
}

#[test]
fn trap_5_epochs_kip_320() {
    let mut client = Client::shared();
    let topic = client.create("epochs", 1, &[]);
    client.produce(&topic, batch(&["0", "1"]));
    let ours =
        BatchHeader::parse(&records(&client.fetch(&topic, 0))).expect("a batch").leader_epoch;
    let mut with_epoch = |epoch: i32| {
        let mut request = fetch_request(&topic, 0);
        request.topics[0].partitions[0].current_leader_epoch = LeaderEpoch(epoch);
        row_of(&client.call(&request, 12)).error_code
    };
    assert_eq!(with_epoch(ours.0), ErrorCode::None);
    assert_eq!(with_epoch(ours.0 + 1), ErrorCode::UnknownLeaderEpoch);
    if ours.0 > 0 {
        assert_eq!(with_epoch(ours.0 - 1), ErrorCode::FencedLeaderEpoch);
    }

    let mut end_of = |current: i32, epoch: i32| {
        let request = OffsetForLeaderEpochRequest {
            topics: vec![OffsetForLeaderTopic {
                topic: topic.name.clone(),
                partitions: vec![OffsetForLeaderPartition {
                    partition: PartitionIndex(0),
                    current_leader_epoch: LeaderEpoch(current),
                    leader_epoch: LeaderEpoch(epoch),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = client.call(&request, 4);
        let row = &response.topics[0].partitions[0];
        (row.error_code, row.leader_epoch.0, row.end_offset.0)
    };
    assert_eq!(end_of(-1, ours.0), (ErrorCode::None, ours.0, 2));
    assert_eq!(end_of(-1, ours.0 + 5), (ErrorCode::None, -1, -1), "undefined");
    assert_eq!(end_of(ours.0 + 1, ours.0).0, ErrorCode::UnknownLeaderEpoch);
}

#[test]
fn trap_5_epochs_diverging_epoch_is_told_at_once() {
    let mut client = Client::shared();
    let topic = client.create("diverge", 1, &[]);
    client.produce(&topic, batch(&["0", "1"]));
    let ours =
        BatchHeader::parse(&records(&client.fetch(&topic, 0))).expect("a batch").leader_epoch;
    // A client that has records of our epoch beyond our end has read what was lost.
    let mut request = FetchRequest { max_wait_ms: LONG_WAIT_MS, ..fetch_request(&topic, 9) };
    request.topics[0].partitions[0].last_fetched_epoch = ours;
    let row = row_of(&client.call(&request, 12));
    assert_eq!(row.error_code, ErrorCode::None);
    assert_eq!((row.diverging_epoch.epoch, row.diverging_epoch.end_offset), (ours, Offset(2)));
    assert!(records(&row).is_empty());
}

#[test]
fn trap_5_ids_v13_codes() {
    let mut client = Client::shared();
    let topic = client.create("ids", 1, &[]);
    client.produce(&topic, batch(&["0"]));
    let known = row_of(&client.call(&fetch_request(&topic, 0), 13));
    assert_eq!(base_offsets(&records(&known)), [0]);
    let stranger = Topic { id: TopicId([5; 16]), ..topic };
    let unknown = row_of(&client.call(&fetch_request(&stranger, 0), 13));
    assert_eq!(unknown.error_code, ErrorCode::UnknownTopicId);
}

#[test]
fn trap_5_replica_id_a_client_that_claims_to_be_a_replica() {
    let mut client = Client::shared();
    let topic = client.create("replica", 1, &[]);
    client.produce(&topic, batch(&["0"]));
    for version in [11, 14, 15, 18] {
        let replica_state = ReplicaState { replica_id: NodeId(1), ..Default::default() };
        let request = if version >= 15 {
            FetchRequest { replica_state, ..fetch_request(&topic, 0) }
        } else {
            FetchRequest { replica_id: NodeId(1), ..fetch_request(&topic, 0) }
        };
        let row = row_of(&client.call(&request, version));
        assert_eq!(row.error_code, ErrorCode::TopicAuthorizationFailed, "version {version}");
        assert!(records(&row).is_empty());
    }
}

#[test]
fn trap_5_control_only_records_take_offsets() {
    let mut client = Client::shared();
    let topic = client.create("plain", 1, &[]);
    for n in 0..10 {
        assert_eq!(client.produce(&topic, batch(&["x"])).base_offset.0, n);
    }
}
