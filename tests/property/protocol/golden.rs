//! Bytes written out by hand, for the versions that the witness does not know, and for layouts that
//! clients are known to trip over.

use bytes::Bytes;
use purlin::protocol::messages::create_topics::{CreatableTopicResult, CreateTopicsResponse};
use purlin::protocol::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use purlin::protocol::messages::fetch::{
    FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData, ReplicaState,
};
use purlin::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, ListOffsetsTopicResponse,
};
use purlin::protocol::messages::metadata::{MetadataRequest, MetadataResponseBroker};
use purlin::protocol::schema::{Layout, Wire};
use purlin::protocol::{ErrorCode, Message, Reader, Str, Writer};
use purlin::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex};
use std::fmt::Debug;

fn check<M: Message + Debug + PartialEq>(message: &M, version: i16, golden: &[&[u8]]) {
    let golden = golden.concat();
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    assert_eq!(writer.into_bytes(), golden, "{message:?}");
    let mut reader = Reader::new(Bytes::from(golden));
    assert_eq!(M::decode(&mut reader, version).as_ref(), Ok(message));
    assert_eq!(reader.left(), 0);
}

#[test]
fn list_offsets_11() {
    let request = ListOffsetsRequest {
        replica_id: NodeId::NONE,
        isolation_level: 1,
        topics: vec![ListOffsetsTopic {
            name: Str::from_static("t"),
            partitions: vec![ListOffsetsPartition {
                partition_index: PartitionIndex(3),
                current_leader_epoch: LeaderEpoch(9),
                timestamp: -6,
                ..ListOffsetsPartition::default()
            }],
            ..ListOffsetsTopic::default()
        }],
        timeout_ms: 1000,
        ..ListOffsetsRequest::default()
    };
    check(
        &request,
        11,
        &[
            &[0xff, 0xff, 0xff, 0xff, 1], // replica id, isolation level
            &[2, 2, b't'],                // one topic and its name
            &[2, 0, 0, 0, 3, 0, 0, 0, 9], // one partition, its index and leader epoch
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfa], // timestamp
            &[0, 0],                      // ends of partition and topic
            &[0, 0, 0x03, 0xe8, 0],       // timeout, end
        ],
    );
    let response = ListOffsetsResponse {
        throttle_time_ms: 0,
        topics: vec![ListOffsetsTopicResponse {
            name: Str::from_static("t"),
            partitions: vec![ListOffsetsPartitionResponse {
                partition_index: PartitionIndex(3),
                error_code: ErrorCode::NotLeaderOrFollower,
                offset: Offset(5),
                ..ListOffsetsPartitionResponse::default()
            }],
            ..ListOffsetsTopicResponse::default()
        }],
        ..ListOffsetsResponse::default()
    };
    check(
        &response,
        11,
        &[
            &[0, 0, 0, 0],
            &[2, 2, b't'],
            &[2, 0, 0, 0, 3, 0, 6],
            &[0xff; 8], // timestamp
            &[0, 0, 0, 0, 0, 0, 0, 5],
            &[0xff; 4], // leader epoch
            &[0, 0, 0],
        ],
    );
}

#[test]
fn describe_log_dirs_5() {
    let request = DescribeLogDirsRequest {
        topics: Some(vec![DescribableLogDirTopic {
            topic: Str::from_static("t"),
            partitions: vec![PartitionIndex(1)],
            ..DescribableLogDirTopic::default()
        }]),
        ..DescribeLogDirsRequest::default()
    };
    check(&request, 5, &[&[2, 2, b't', 2, 0, 0, 0, 1, 0, 0]]);
    check(&DescribeLogDirsRequest::default(), 5, &[&[0, 0]]);
    let response = DescribeLogDirsResponse {
        results: vec![DescribeLogDirsResult {
            log_dir: Str::from_static("/d"),
            topics: vec![DescribeLogDirsTopic {
                name: Str::from_static("t"),
                partitions: vec![DescribeLogDirsPartition {
                    partition_index: PartitionIndex(1),
                    partition_size: 258,
                    ..DescribeLogDirsPartition::default()
                }],
                ..DescribeLogDirsTopic::default()
            }],
            total_bytes: 1,
            is_cordoned: true,
            ..DescribeLogDirsResult::default()
        }],
        ..DescribeLogDirsResponse::default()
    };
    check(
        &response,
        5,
        &[
            &[0, 0, 0, 0, 0, 0], // throttle time, error
            &[2, 0, 0, 3, b'/', b'd', 2, 2, b't'],
            &[2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0], // offset lag, future
            &[0, 0],                      // ends of partition and topic
            &[0, 0, 0, 0, 0, 0, 0, 1],    // bytes in total
            &[0xff; 8],                   // usable bytes
            &[1, 0, 0],                   // cordoned, ends
        ],
    );
}

#[test]
fn trap_1_framing_null_versus_empty() {
    // A null list where the version has no null goes out as an empty one.
    let topics = |version| {
        let mut writer = Writer::new();
        MetadataRequest::default().encode(&mut writer, version);
        writer.into_bytes()
    };
    assert_eq!(topics(0), [0, 0, 0, 0].as_slice());
    assert_eq!(topics(1), [0xff; 4].as_slice());
    // Settings of a created topic: null is allowed, as the field first appears.
    let created = CreateTopicsResponse {
        topics: vec![CreatableTopicResult {
            name: Str::from_static("t"),
            configs: Some(Vec::new()),
            ..CreatableTopicResult::default()
        }],
        ..CreateTopicsResponse::default()
    };
    check(
        &created,
        5,
        &[
            &[0, 0, 0, 0, 2, 2, b't', 0, 0, 0], // throttle time, name, error, null message
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0], // counts, empty settings, ends
        ],
    );
    // And null on the wire where there is no null is refused, not taken as empty.
    let mut reader = Reader::new(Bytes::from_static(&[0xff; 4]));
    assert!(MetadataRequest::decode(&mut reader, 0).is_err());
}

#[test]
fn trap_5_records_null() {
    // An answer without records, error or not, says "no bytes", never null.
    let empty = FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: Str::from_static("t"),
            partitions: vec![PartitionData {
                error_code: ErrorCode::OffsetOutOfRange,
                ..PartitionData::default()
            }],
            ..FetchableTopicResponse::default()
        }],
        ..FetchResponse::default()
    };
    for version in 4..=18 {
        let mut writer = Writer::new();
        empty.encode(&mut writer, version);
        let bytes = writer.into_bytes();
        let records: &[u8] = if version < 12 { &[0, 0, 0, 0] } else { &[1, 0, 0, 0] };
        assert!(bytes.ends_with(records), "version {version}: {bytes:?}");
        let back = FetchResponse::decode(&mut Reader::new(bytes), version).expect("our own");
        assert_eq!(back.responses[0].partitions[0].records, Some(Bytes::new()));
    }
}

#[test]
fn trap_5_replica_id_field_moved() {
    let follower = FetchRequest {
        replica_state: ReplicaState {
            replica_id: NodeId(2),
            replica_epoch: BrokerEpoch(3),
            ..ReplicaState::default()
        },
        topics: vec![FetchTopic::default()],
        ..FetchRequest::default()
    };
    let mut writer = Writer::new();
    follower.encode(&mut writer, 15);
    let bytes = writer.into_bytes();
    let tagged = [1, 1, 13, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0];
    assert!(bytes.ends_with(&tagged), "{bytes:?}");
    let back = FetchRequest::decode(&mut Reader::new(bytes), 15).expect("our own");
    assert_eq!(back.replica_state.replica_id, NodeId(2));
    assert_eq!(back.replica_id, NodeId::NONE);
}

#[test]
fn trap_2_fields_small_defaults() {
    let mut writer = Writer::new();
    let layout = Layout { version: 9, flexible: true, nullable: false };
    MetadataResponseBroker::default().write(&mut writer, layout);
    let bytes = writer.into_bytes();
    assert_eq!(bytes[bytes.len() - 2..], [0, 0], "a null rack, not an empty one");
    let topic = purlin::protocol::messages::metadata::MetadataResponseTopic::default();
    assert_eq!(topic.topic_authorized_operations, i32::MIN);
}
