//! Section 9: admin and configs.

use crate::harness::{Client, TestNode, Topic, batch, create_request, fresh_name};
use purlin::protocol::messages::alter_configs::{self, AlterConfigsRequest};
use purlin::protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use purlin::protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopicResult, CreateTopicsRequest,
};
use purlin::protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use purlin::protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use purlin::protocol::messages::describe_cluster::DescribeClusterRequest;
use purlin::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResult,
};
use purlin::protocol::messages::describe_log_dirs::DescribeLogDirsRequest;
use purlin::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use purlin::protocol::messages::metadata::MetadataRequest;
use purlin::protocol::{ErrorCode, Str};
use purlin::types::{NodeId, Offset, PartitionIndex, TopicId};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn create(client: &mut Client, request: &CreateTopicsRequest) -> CreatableTopicResult {
    let response = client.call(request, 7);
    let [row] = &response.topics[..] else { panic!("one row: {response:?}") };
    row.clone()
}

fn describe(
    client: &mut Client,
    kind: i8,
    name: &str,
    keys: Option<&[&str]>,
) -> DescribeConfigsResult {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: Str::from(name),
            configuration_keys: keys.map(|keys| keys.iter().map(|key| Str::from(*key)).collect()),
            ..Default::default()
        }],
        include_synonyms: true,
        include_documentation: true,
        ..Default::default()
    };
    client.call(&request, 4).results[0].clone()
}

/// Value and source of one config of a topic.
fn value_of(client: &mut Client, topic: &Topic, key: &str) -> (Option<String>, i8) {
    let result = describe(client, TOPIC, &topic.name, Some(&[key]));
    assert_eq!(result.error_code, ErrorCode::None, "{result:?}");
    let [row] = &result.configs[..] else { panic!("one config: {result:?}") };
    (row.value.as_deref().map(str::to_owned), row.config_source)
}

fn change(client: &mut Client, topic: &Topic, op: i8, key: &str, value: Option<&str>) -> ErrorCode {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: topic.name.clone(),
            configs: vec![AlterableConfig {
                name: Str::from(key),
                config_operation: op,
                value: value.map(Str::from),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    client.call(&request, 1).responses[0].error_code
}

#[test]
fn trap_9_create_minus_one_defaults() {
    let node = TestNode::start(&[("num.partitions", "3")]);
    let mut client = node.client();
    let mut request = create_request("defaults", -1, &[]);
    request.topics[0].replication_factor = -1;
    let row = create(&mut client, &request);
    assert_eq!((row.num_partitions, row.replication_factor), (3, 1), "{row:?}");
}

#[test]
fn trap_9_create_reported_configs() {
    let mut client = Client::shared();
    let request = create_request(&fresh_name("reported"), 2, &[("retention.ms", "1234567")]);
    let row = create(&mut client, &request);
    assert_eq!((row.num_partitions, row.replication_factor), (2, 1));
    assert_ne!(row.topic_id, TopicId::ZERO);
    let configs = row.configs.expect("never null");
    let of = |name: &str| configs.iter().find(|config| &*config.name == name).expect("listed");
    assert_eq!(of("retention.ms").value.as_deref(), Some("1234567"));
    assert_eq!(of("retention.ms").config_source, 1);
    assert_eq!(of("segment.bytes").value.as_deref(), Some("1073741824"));
    assert_eq!(of("segment.bytes").config_source, 5);
    // Older versions have fields of their own, and no nulls where those had none.
    for version in 2..=6 {
        let request = create_request(&fresh_name("older"), 1, &[]);
        assert_eq!(client.call(&request, version).topics[0].error_code, ErrorCode::None);
    }
}

#[test]
fn trap_9_create_validate_only() {
    let mut client = Client::shared();
    let name = fresh_name("dry");
    let dry = |request: CreateTopicsRequest| CreateTopicsRequest { validate_only: true, ..request };
    let row = create(&mut client, &dry(create_request(&name, 2, &[])));
    assert_eq!((row.error_code, row.num_partitions), (ErrorCode::None, 2));
    let real = create(&mut client, &create_request(&name, 2, &[]));
    assert_eq!(real.error_code, ErrorCode::None, "the dry run had created nothing");
    let again = create(&mut client, &dry(create_request(&name, 2, &[])));
    assert_eq!(again.error_code, ErrorCode::TopicAlreadyExists);
    let bad = create(&mut client, &dry(create_request(&fresh_name("dry"), 1, &[("no.such", "1")])));
    assert_eq!(bad.error_code, ErrorCode::InvalidConfig);
}

#[test]
fn trap_9_create_codes() {
    let mut client = Client::shared();
    let existing = client.create("co.des", 1, &[]);
    let name = || fresh_name("codes");
    let assigned = |partitions: i32, rows: &[(i32, &[i32])]| {
        let mut request = create_request(&name(), partitions, &[]);
        request.topics[0].replication_factor = -1;
        request.topics[0].assignments = rows
            .iter()
            .map(|(index, brokers)| CreatableReplicaAssignment {
                partition_index: PartitionIndex(*index),
                broker_ids: brokers.iter().map(|id| NodeId(*id)).collect(),
                ..Default::default()
            })
            .collect();
        request
    };
    let here = client.call(&MetadataRequest::default(), 1).controller_id.0;
    let mut two_replicas = create_request(&name(), 1, &[]);
    two_replicas.topics[0].replication_factor = 2;
    let mut null_value = create_request(&name(), 1, &[("retention.ms", "1")]);
    null_value.topics[0].configs[0].value = None;
    let collision = existing.name.replace('.', "_");
    let cases = [
        ("exists", create_request(&existing.name, 1, &[]), ErrorCode::TopicAlreadyExists),
        ("no partitions", create_request(&name(), 0, &[]), ErrorCode::InvalidPartitions),
        ("-2 partitions", create_request(&name(), -2, &[]), ErrorCode::InvalidPartitions),
        ("two replicas", two_replicas, ErrorCode::InvalidReplicationFactor),
        ("assigned and counted", assigned(1, &[(0, &[here])]), ErrorCode::InvalidRequest),
        ("a gap", assigned(-1, &[(0, &[here]), (2, &[here])]), ErrorCode::InvalidReplicaAssignment),
        ("unknown broker", assigned(-1, &[(0, &[77])]), ErrorCode::InvalidReplicaAssignment),
        ("broker twice", assigned(-1, &[(0, &[here, here])]), ErrorCode::InvalidReplicaAssignment),
        ("null value", null_value, ErrorCode::InvalidConfig),
        ("unknown config", create_request(&name(), 1, &[("x", "1")]), ErrorCode::InvalidConfig),
        ("collision", create_request(&collision, 1, &[]), ErrorCode::InvalidTopicException),
        ("bad name", create_request("a b", 1, &[]), ErrorCode::InvalidTopicException),
    ];
    for (what, request, expected) in cases {
        let row = create(&mut client, &request);
        assert_eq!(row.error_code, expected, "{what}: {row:?}");
        assert!(row.error_message.is_some(), "{what}: says why");
    }
    let fine = create(&mut client, &assigned(-1, &[(1, &[here]), (0, &[here])]));
    assert_eq!((fine.error_code, fine.num_partitions), (ErrorCode::None, 2), "{fine:?}");
    let mut twice = create_request(&name(), 1, &[]);
    twice.topics.push(twice.topics[0].clone());
    assert_eq!(create(&mut client, &twice).error_code, ErrorCode::InvalidRequest);
}

#[test]
fn trap_9_create_rejecting_valid_values() {
    let mut client = Client::shared();
    let good = fresh_name("valid");
    let mut request = create_request(&fresh_name("bad"), 1, &[("retention.ms", "soon")]);
    let full = [
        ("flush.messages", "9223372036854775807"),
        ("flush.ms", "9223372036854775807"),
        ("retention.ms", "-1"),
    ];
    request.topics.extend(create_request(&good, 1, &full).topics);
    let response = client.call(&request, 7);
    let code = |name: &str| {
        let row = response.topics.iter().find(|row| &*row.name == name).expect("a row each");
        row.error_code
    };
    assert_eq!(code(&good), ErrorCode::None, "{response:?}");
    assert_eq!(code(&request.topics[0].name), ErrorCode::InvalidConfig);
}

#[test]
fn trap_9_describe_no_or_partial_configs() {
    let mut client = Client::shared();
    let topic = client.create("described", 1, &[("retention.ms", "1000")]);
    let all = describe(&mut client, TOPIC, &topic.name, None);
    assert_eq!(all.error_code, ErrorCode::None);
    assert!(all.configs.len() >= 25, "{} configs", all.configs.len());
    assert!(all.configs.iter().all(|config| config.config_type > 0));
    assert!(all.configs.iter().all(|config| config.documentation.is_some()));
    let names: Vec<&str> = all.configs.iter().map(|config| &*config.name).collect();
    assert!(!names.contains(&"partitions") && !names.contains(&"replication.factor"));
    assert_eq!(value_of(&mut client, &topic, "retention.ms"), (Some("1000".to_owned()), 1));
    assert_eq!(value_of(&mut client, &topic, "cleanup.policy"), (Some("delete".to_owned()), 5));
    let set = describe(&mut client, TOPIC, &topic.name, Some(&["retention.ms"]));
    let sources: Vec<i8> = set.configs[0].synonyms.iter().map(|synonym| synonym.source).collect();
    assert_eq!(sources.first(), Some(&1), "the value that counts comes first: {sources:?}");
    let unknown = describe(&mut client, TOPIC, "no-such-topic", None);
    assert_eq!(unknown.error_code, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn trap_9_describe_broker_resource_on_the_wire() {
    let node = TestNode::start(&[("num.partitions", "6")]);
    let mut client = node.client();
    let here = client.call(&MetadataRequest::default(), 1).controller_id.to_string();
    let ours = describe(&mut client, BROKER, &here, None);
    assert_eq!(ours.error_code, ErrorCode::None, "{ours:?}");
    let of = |name: &str| ours.configs.iter().find(|config| &*config.name == name).expect("listed");
    assert_eq!(of("num.partitions").value.as_deref(), Some("6"));
    assert_eq!(of("num.partitions").config_source, 4);
    assert_eq!(of("default.replication.factor").value.as_deref(), Some("1"));
    let defaults = describe(&mut client, BROKER, "", None);
    assert_eq!((defaults.error_code, defaults.configs.len()), (ErrorCode::None, 0));
    for other in ["77", "me"] {
        let refused = describe(&mut client, BROKER, other, None);
        assert_eq!(refused.error_code, ErrorCode::InvalidRequest, "{other}");
    }
}

#[test]
fn trap_9_alter_incremental_ops() {
    let (set, delete, append, subtract) = (0, 1, 2, 3);
    let mut client = Client::shared();
    let topic = client.create("altered", 1, &[]);
    let policy = |client: &mut Client| value_of(client, &topic, "cleanup.policy").0.expect("set");
    assert_eq!(
        change(&mut client, &topic, append, "cleanup.policy", Some("compact")),
        ErrorCode::None
    );
    assert_eq!(policy(&mut client), "delete,compact", "starting from the default");
    assert_eq!(
        change(&mut client, &topic, append, "cleanup.policy", Some("compact")),
        ErrorCode::None
    );
    assert_eq!(policy(&mut client), "delete,compact", "once is enough");
    assert_eq!(
        change(&mut client, &topic, subtract, "cleanup.policy", Some("delete")),
        ErrorCode::None
    );
    assert_eq!(policy(&mut client), "compact");
    assert_eq!(change(&mut client, &topic, delete, "cleanup.policy", None), ErrorCode::None);
    assert_eq!(policy(&mut client), "delete");
    for (op, key, value) in [
        (append, "retention.ms", Some("1")),
        (subtract, "retention.ms", Some("1")),
        (set, "retention.ms", Some("soon")),
        (set, "no.such.config", Some("1")),
    ] {
        let code = change(&mut client, &topic, op, key, value);
        assert_eq!(code, ErrorCode::InvalidConfig, "{op} {key} {value:?}");
    }
    assert_eq!(
        change(&mut client, &topic, 9, "retention.ms", Some("1")),
        ErrorCode::InvalidRequest
    );
    // After all that it still works.
    assert_eq!(change(&mut client, &topic, set, "retention.ms", Some("77")), ErrorCode::None);
    assert_eq!(value_of(&mut client, &topic, "retention.ms").0.as_deref(), Some("77"));
}

#[test]
fn trap_9_alter_legacy_alter_configs() {
    let mut client = Client::shared();
    let topic = client.create("legacy", 1, &[("retention.ms", "1000"), ("flush.ms", "5")]);
    let mut replace = |configs: &[(&str, &str)]| {
        let config = |(name, value): &(&str, &str)| alter_configs::AlterableConfig {
            name: Str::from(*name),
            value: Some(Str::from(*value)),
            ..Default::default()
        };
        let request = AlterConfigsRequest {
            resources: vec![alter_configs::AlterConfigsResource {
                resource_type: TOPIC,
                resource_name: topic.name.clone(),
                configs: configs.iter().map(config).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        client.call(&request, 2).responses[0].error_code
    };
    assert_eq!(replace(&[("no.such", "1")]), ErrorCode::InvalidConfig);
    assert_eq!(replace(&[("retention.ms", "2000")]), ErrorCode::None);
    assert_eq!(value_of(&mut client, &topic, "retention.ms").0.as_deref(), Some("2000"));
    assert_eq!(value_of(&mut client, &topic, "flush.ms").1, 5, "not named: back to the default");
}

#[test]
fn trap_9_partitions_create_partitions() {
    let mut client = Client::shared();
    let topic = client.create("grow", 2, &[]);
    let row = |name: &str, count| CreatePartitionsTopic {
        name: Str::from(name),
        count,
        ..Default::default()
    };
    let request = CreatePartitionsRequest {
        topics: vec![row(&topic.name, 2), row("no-such-topic", 4)],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let response = client.call(&request, 3);
    assert_eq!(response.results.len(), 2, "a row per topic");
    let code = |name: &str| {
        response.results.iter().find(|row| &*row.name == name).expect("a row").error_code
    };
    assert_eq!(code(&topic.name), ErrorCode::InvalidPartitions, "not more than there are");
    assert_eq!(code("no-such-topic"), ErrorCode::UnknownTopicOrPartition);
    let more = CreatePartitionsRequest {
        topics: vec![row(&topic.name, 5)],
        timeout_ms: 30_000,
        ..Default::default()
    };
    assert_eq!(client.call(&more, 0).results[0].error_code, ErrorCode::None);
    // The new ones can be written to at once.
    let mut produce = crate::harness::produce_request(&topic, Some(batch(&["x"])), -1);
    produce.topic_data[0].partition_data[0].index = PartitionIndex(4);
    let row = client.call(&produce, 9).responses[0].partition_responses[0].clone();
    assert_eq!(row.error_code, ErrorCode::None);
}

#[test]
fn trap_9_delete_topics_v6_on_the_wire() {
    let mut client = Client::shared();
    let topic = client.create("gone", 1, &[]);
    let state = |name: Option<&Str>, topic_id| DeleteTopicState {
        name: name.cloned(),
        topic_id,
        ..Default::default()
    };
    let mut delete = |topics: Vec<DeleteTopicState>| {
        let request = DeleteTopicsRequest { topics, timeout_ms: 30_000, ..Default::default() };
        client.call(&request, 6).responses
    };
    let both = delete(vec![state(Some(&topic.name), topic.id)]);
    assert_eq!(both[0].error_code, ErrorCode::InvalidRequest);
    let neither = delete(vec![state(None, TopicId::ZERO)]);
    assert_eq!(neither[0].error_code, ErrorCode::InvalidRequest);
    let unknown = delete(vec![state(None, TopicId([3; 16]))]);
    assert_eq!(unknown[0].error_code, ErrorCode::UnknownTopicId);
    let twice = delete(vec![state(Some(&topic.name), TopicId::ZERO); 2]);
    assert_eq!(twice.len(), 1);
    assert_eq!(twice[0].error_code, ErrorCode::InvalidRequest);
    let done = delete(vec![state(Some(&topic.name), TopicId::ZERO)]);
    assert_eq!(
        (done[0].error_code, done[0].name.as_deref(), done[0].topic_id),
        (ErrorCode::None, Some(&*topic.name), topic.id),
        "the reply carries both"
    );
    let again = delete(vec![state(Some(&topic.name), TopicId::ZERO)]);
    assert_eq!(again[0].error_code, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn trap_9_delete_records() {
    let mut client = Client::shared();
    let topic = client.create("trim", 1, &[]);
    for _ in 0..4 {
        client.produce(&topic, batch(&["x"]));
    }
    let mut delete = |offset: i64| {
        let request = DeleteRecordsRequest {
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
        let row = client.call(&request, 2).topics[0].partitions[0].clone();
        (row.error_code, row.low_watermark.0)
    };
    assert_eq!(delete(5), (ErrorCode::OffsetOutOfRange, -1), "above the high watermark");
    assert_eq!(delete(2), (ErrorCode::None, 2));
    assert_eq!(delete(1), (ErrorCode::None, 2), "below the start: nothing to do");
    assert_eq!(delete(-1), (ErrorCode::None, 4), "-1 is the high watermark");
    assert_eq!(client.fetch(&topic, 1).error_code, ErrorCode::OffsetOutOfRange);
}

#[test]
fn trap_9_routing_describe_cluster_endpoint_types() {
    let mut client = Client::shared();
    for version in 0..=2 {
        let response = client.call(&DescribeClusterRequest::default(), version);
        assert_eq!(response.error_code, ErrorCode::None);
        assert_eq!(response.brokers.len(), 1);
        assert_eq!(response.controller_id, response.brokers[0].broker_id);
        assert_eq!(response.cluster_authorized_operations, i32::MIN);
    }
    // A node alone votes, so it is a controller too.
    let request = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    let controllers = client.call(&request, 1);
    assert_eq!((controllers.error_code, controllers.brokers.len()), (ErrorCode::None, 1));
    assert_eq!(controllers.controller_id, controllers.brokers[0].broker_id);
    let request = DescribeClusterRequest { endpoint_type: 9, ..Default::default() };
    assert_eq!(client.call(&request, 1).error_code, ErrorCode::UnsupportedEndpointType);
}

#[test]
fn trap_9_ui_describe_log_dirs() {
    let mut client = Client::shared();
    let topic = client.create("sizes", 1, &[]);
    client.produce(&topic, batch(&[&"x".repeat(500)]));
    let response = client.call(&DescribeLogDirsRequest::default(), 4);
    let [dir] = &response.results[..] else { panic!("one directory: {response:?}") };
    assert!(dir.log_dir.starts_with('/'));
    assert!(dir.total_bytes > 0 && dir.usable_bytes > 0);
    let sizes = dir.topics.iter().find(|row| row.name == topic.name).expect("listed");
    assert!(sizes.partitions[0].partition_size > 500);
    assert_eq!(sizes.partitions[0].offset_lag, 0);
}
