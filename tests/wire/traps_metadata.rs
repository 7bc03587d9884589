//! Section 2: metadata and topics.

use crate::harness::{
    Client, TestNode, batch, eventually, fetch_request, fresh_name, produce_request, row_of,
};
use purlin::protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use purlin::protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use purlin::protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, TopicRequest,
};
use purlin::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use purlin::protocol::{ErrorCode, Str};
use purlin::types::{NodeId, PartitionIndex, TopicId};

fn named(names: &[&str]) -> MetadataRequest {
    let topic =
        |name: &&str| MetadataRequestTopic { name: Some(Str::from(*name)), ..Default::default() };
    MetadataRequest { topics: Some(names.iter().map(topic).collect()), ..Default::default() }
}

fn one(response: &MetadataResponse) -> &MetadataResponseTopic {
    let [topic] = &response.topics[..] else { panic!("one topic: {response:?}") };
    topic
}

#[test]
fn trap_2_create_succeeds_before_brokers_can_serve() {
    let mut client = Client::shared();
    for _ in 0..20 {
        let topic = client.create("at-once", 3, &[]);
        let metadata = client.call(&named(&[&topic.name]), 12);
        let row = one(&metadata);
        assert!(row.partitions.iter().all(|partition| partition.leader_id != NodeId::NONE));
        let produced = client.produce(&topic, batch(&["x"]));
        assert_eq!(produced.error_code, ErrorCode::None, "{produced:?}");
    }
}

#[test]
fn trap_2_auto_create_missing_or_overeager() {
    let mut client = Client::shared();
    let name = fresh_name("auto");
    let unwanted = MetadataRequest { allow_auto_topic_creation: false, ..named(&[&name]) };
    assert_eq!(one(&client.call(&unwanted, 9)).error_code, ErrorCode::UnknownTopicOrPartition);
    let first = client.call(&named(&[&name]), 9);
    assert_eq!(one(&first).error_code, ErrorCode::UnknownTopicOrPartition);
    let created = eventually(|| {
        let response = client.call(&unwanted, 9);
        let row = one(&response).clone();
        (row.error_code == ErrorCode::None).then_some(row)
    });
    assert_eq!(created.partitions.len(), 1);

    let bad = client.call(&named(&["no spaces"]), 9);
    assert_eq!(one(&bad).error_code, ErrorCode::InvalidTopicException);
    let internal = client.call(&named(&["__consumer_offsets"]), 9);
    assert_eq!(one(&internal).error_code, ErrorCode::UnknownTopicOrPartition);
    assert!(one(&internal).is_internal);
    // Asking for all creates nothing.
    let all = client.call(&MetadataRequest::default(), 9);
    assert!(all.topics.iter().all(|topic| topic.name.as_deref() != Some("__consumer_offsets")));
}

#[test]
fn trap_2_auto_create_switched_off_by_the_broker() {
    let node = TestNode::start(&[("auto.create.topics.enable", "false")]);
    let mut client = node.client();
    for _ in 0..3 {
        let response = client.call(&named(&["wanted"]), 9);
        assert_eq!(one(&response).error_code, ErrorCode::UnknownTopicOrPartition);
    }
    assert!(client.call(&MetadataRequest::default(), 9).topics.is_empty());
}

#[test]
fn trap_2_auto_create_default_partition_count() {
    let node = TestNode::start(&[("num.partitions", "4")]);
    let mut client = node.client();
    let partitions = eventually(|| {
        let response = client.call(&named(&["four"]), 9);
        let row = one(&response);
        (row.error_code == ErrorCode::None).then_some(row.partitions.len())
    });
    assert_eq!(partitions, 4);
}

#[test]
fn trap_2_epoch_leader_epoch_garbage_or_backward() {
    let mut node = TestNode::start(&[]);
    let mut client = node.client();
    let topic = client.create_named("epochs", 1, &[]);
    let epoch = |client: &mut Client| {
        let response = client.call(&named(&["epochs"]), 12);
        one(&response).partitions[0].leader_epoch
    };
    let before = epoch(&mut client);
    assert!(before.0 >= 0);
    client.produce(&topic, batch(&["x"]));
    node.restart();
    let mut client = node.client();
    let after = eventually(|| {
        let response = client.call(&named(&["epochs"]), 12);
        let row = one(&response).partitions[0].clone();
        (row.error_code == ErrorCode::None).then_some(row.leader_epoch)
    });
    assert!(after >= before, "{after} came after {before}");
    let response = client.call(&fetch_request(&topic, 0), 12);
    let records = row_of(&response).records.expect("never null");
    let stamped = i32::from_be_bytes(records[12..16].try_into().expect("four bytes"));
    assert_eq!(stamped, before.0, "batches carry the epoch of the leader that took them");
}

#[test]
fn trap_2_controller_and_brokers_are_live() {
    let mut client = Client::shared();
    for version in 1..=13 {
        let response = client.call(&MetadataRequest::default(), version);
        let ids: Vec<NodeId> = response.brokers.iter().map(|broker| broker.node_id).collect();
        assert!(ids.contains(&response.controller_id), "version {version}: {response:?}");
    }
}

#[test]
fn trap_2_topics_null_versus_empty_list() {
    let mut client = Client::shared();
    client.create("listed", 1, &[]);
    let none = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    let all = MetadataRequest { topics: None, ..Default::default() };
    assert!(!client.call(&none, 0).topics.is_empty(), "version 0: empty means all");
    for version in 1..=13 {
        assert!(client.call(&none, version).topics.is_empty(), "version {version}");
        assert!(!client.call(&all, version).topics.is_empty(), "version {version}");
    }
}

#[test]
fn trap_2_topic_id_lookup_by_id() {
    let mut client = Client::shared();
    let topic = client.create("by-id", 1, &[]);
    let by_id = |id, name| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { topic_id: id, name, ..Default::default() }]),
        ..Default::default()
    };
    let found = client.call(&by_id(topic.id, None), 12);
    assert_eq!(one(&found).name, Some(topic.name.clone()));
    assert_eq!(one(&found).topic_id, topic.id);
    let unknown = client.call(&by_id(TopicId([9; 16]), None), 12);
    assert_eq!(one(&unknown).error_code, ErrorCode::UnknownTopicId);
    assert_eq!(one(&unknown).name, None);
    for version in [10, 11] {
        let too_early = client.call(&by_id(topic.id, Some(topic.name.clone())), version);
        assert_eq!(one(&too_early).error_code, ErrorCode::InvalidRequest, "version {version}");
        let nameless = client.call(&by_id(TopicId::ZERO, None), version);
        assert_eq!(one(&nameless).error_code, ErrorCode::InvalidRequest, "version {version}");
    }
}

#[test]
fn trap_2_recreate_delete_and_recreate_under_same_name() {
    let mut client = Client::shared();
    let old = client.create("again", 1, &[]);
    let id = client.producer_id();
    client.produce(&old, crate::harness::idempotent(id, 0, 0, 5));
    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState { topic_id: old.id, ..Default::default() }],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let deleted = client.call(&delete, 6);
    assert_eq!(deleted.responses[0].error_code, ErrorCode::None, "{deleted:?}");
    assert_eq!(deleted.responses[0].name, Some(old.name.clone()));
    let new = client.create_named(&old.name, 1, &[]);
    assert_ne!(new.id, old.id);

    // The old id is nobody's, whatever the name says.
    let stale = client.call(&produce_request(&old, Some(batch(&["x"])), -1), 13);
    let row = &stale.responses[0].partition_responses[0];
    assert_eq!(row.error_code, ErrorCode::UnknownTopicId);
    assert_eq!(
        row_of(&client.call(&fetch_request(&old, 0), 13)).error_code,
        ErrorCode::UnknownTopicId
    );
    // No offset and no sequence is left of the old one.
    let fresh = client.produce(&new, crate::harness::idempotent(id, 0, 0, 1));
    assert_eq!((fresh.error_code, fresh.base_offset.0), (ErrorCode::None, 0));
    let row = row_of(&client.call(&fetch_request(&new, 0), 13));
    assert_eq!(row.high_watermark.0, 1);
}

#[test]
fn trap_2_partial_error_one_bad_topic_fails_the_response() {
    let mut client = Client::shared();
    let topic = client.create("good", 1, &[]);
    let request = MetadataRequest {
        allow_auto_topic_creation: false,
        ..named(&["no-such", &topic.name, "/"])
    };
    let response = client.call(&request, 12);
    let codes: Vec<ErrorCode> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(
        codes,
        [ErrorCode::UnknownTopicOrPartition, ErrorCode::None, ErrorCode::InvalidTopicException]
    );
}

#[test]
fn trap_2_fields_small_defaults() {
    let mut client = Client::shared();
    let topic = client.create("fields", 1, &[]);
    let response = client.call(&named(&[&topic.name]), 10);
    assert_eq!(response.brokers[0].rack, None, "null, not an empty text");
    assert!(response.cluster_id.is_some());
    assert_eq!(response.cluster_authorized_operations, i32::MIN);
    assert_eq!(one(&response).topic_authorized_operations, i32::MIN);
    assert!(!one(&response).is_internal);
    let asked = MetadataRequest {
        include_cluster_authorized_operations: true,
        include_topic_authorized_operations: true,
        ..named(&[&topic.name])
    };
    let response = client.call(&asked, 10);
    assert!(response.cluster_authorized_operations > 0);
    assert!(one(&response).topic_authorized_operations > 0);
}

#[test]
fn trap_2_describe_topic_partitions_in_pages() {
    let node = TestNode::start(&[]);
    let mut client = node.client();
    for name in ["c", "a", "b"] {
        client.create_named(name, 3, &[]);
    }
    let more = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: Str::from("b"),
            count: 4,
            ..Default::default()
        }],
        timeout_ms: 30_000,
        ..Default::default()
    };
    assert_eq!(client.call(&more, 3).results[0].error_code, ErrorCode::None);

    let mut cursor = None;
    let mut seen: Vec<(String, i32)> = Vec::new();
    loop {
        let request = DescribeTopicPartitionsRequest {
            response_partition_limit: 4,
            cursor: cursor.take(),
            ..Default::default()
        };
        let response = client.call(&request, 0);
        for topic in &response.topics {
            let name = topic.name.as_deref().expect("named").to_owned();
            seen.extend(topic.partitions.iter().map(|row| (name.clone(), row.partition_index.0)));
        }
        match response.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    let expected: Vec<(String, i32)> = [("a", 3), ("b", 4), ("c", 3)]
        .iter()
        .flat_map(|(name, count)| (0..*count).map(|index| ((*name).to_owned(), index)))
        .collect();
    assert_eq!(seen, expected, "sorted, each once");

    let bad = DescribeTopicPartitionsRequest {
        topics: vec![TopicRequest { name: Str::from("a"), ..Default::default() }],
        cursor: Some(Cursor {
            topic_name: Str::from("z"),
            partition_index: PartitionIndex(0),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(client.call(&bad, 0).topics[0].error_code, ErrorCode::InvalidRequest);
}
