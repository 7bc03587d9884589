//! The traps of metadata, leadership and administration that take several nodes.

use crate::cluster::TestCluster;
use crate::harness::{Client, Topic, batch, eventually, fetch_request, produce_request, row_of};
use purlin::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use purlin::protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use purlin::protocol::messages::describe_cluster::DescribeClusterRequest;
use purlin::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use purlin::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, PartitionData as QuorumPartition, TopicData,
};
use purlin::protocol::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use purlin::protocol::messages::fetch::FetchRequest;
use purlin::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use purlin::protocol::messages::init_producer_id::InitProducerIdRequest;
use purlin::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use purlin::protocol::messages::list_partition_reassignments::ListPartitionReassignmentsRequest;
use purlin::protocol::messages::metadata::MetadataRequest;
use purlin::protocol::messages::produce::ProduceRequest;
use purlin::protocol::messages::unregister_broker::UnregisterBrokerRequest;
use purlin::protocol::{ErrorCode, Str};
use purlin::types::{LeaderEpoch, NodeId, Offset, PartitionIndex};
use std::collections::BTreeSet;

/// A node that does not lead.
fn other(leader: i32) -> i32 {
    leader % 3 + 1
}

fn elect(client: &mut Client, topic: &Topic, kind: i8) -> ErrorCode {
    let request = ElectLeadersRequest {
        election_type: kind,
        topic_partitions: Some(vec![TopicPartitions {
            topic: topic.name.clone(),
            partitions: vec![PartitionIndex(0)],
            ..Default::default()
        }]),
        ..Default::default()
    };
    let response = client.call(&request, 2);
    assert_eq!(response.error_code, ErrorCode::None, "{response:?}");
    response.replica_election_results[0].partition_result[0].error_code
}

fn reassign(client: &mut Client, topic: &Topic, replicas: Option<&[i32]>) -> ErrorCode {
    let partition = ReassignablePartition {
        partition_index: PartitionIndex(0),
        replicas: replicas.map(|ids| ids.iter().copied().map(NodeId).collect()),
        ..Default::default()
    };
    let request = AlterPartitionReassignmentsRequest {
        topics: vec![ReassignableTopic {
            name: topic.name.clone(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(&request, 1);
    assert_eq!(response.error_code, ErrorCode::None, "{response:?}");
    response.responses[0].partitions[0].error_code
}

/// One cluster for all that leaves it whole: three nodes are not free.
#[test]
fn three_nodes_tell_and_do_what_one_would() {
    let cluster = TestCluster::start();
    trap_2_create_succeeds_before_brokers_can_serve(&cluster);
    trap_2_controller_and_brokers_are_the_same_on_every_node(&cluster);
    trap_2_kip_951_hints_name_the_leader_and_its_endpoint(&cluster);
    trap_3_leader_any_broker_accepts_writes(&cluster);
    trap_4_ids_init_producer_id_from_any_broker(&cluster);
    trap_5_rack_preferred_replica_and_reads_from_it(&cluster);
    trap_6_linear_list_offsets_is_leader_only(&cluster);
    trap_9_create_minus_one_follows_the_number_of_brokers(&cluster);
    trap_9_delete_records_from_every_replica(&cluster);
    trap_9_routing_any_node_takes_administration(&cluster);
    trap_9_tools_elections_and_reassignments(&cluster);
}

fn trap_2_create_succeeds_before_brokers_can_serve(cluster: &TestCluster) {
    for by in [1, 2, 3, 1, 2, 3] {
        let topic = cluster.topic(by, "at-once", 3);
        let metadata = cluster.metadata(by, &topic);
        for row in &metadata.topics[0].partitions {
            assert_eq!(row.error_code, ErrorCode::None, "{row:?}");
            let mut request = produce_request(&topic, Some(batch(&["x"])), 1);
            request.topic_data[0].partition_data[0].index = row.partition_index;
            let response = cluster.client(row.leader_id.0).call(&request, 9);
            let taken = &response.responses[0].partition_responses[0];
            assert_eq!(taken.error_code, ErrorCode::None, "made by {by}: {taken:?}");
        }
    }
}

fn trap_2_controller_and_brokers_are_the_same_on_every_node(cluster: &TestCluster) {
    let mut controllers = BTreeSet::new();
    for by in 1..=3 {
        let response = cluster.client(by).call(&MetadataRequest::default(), 12);
        let rows = response.brokers.iter().map(|row| (row.node_id.0, row.rack.as_deref()));
        let expected = [(1, Some("rack-1")), (2, Some("rack-2")), (3, Some("rack-3"))];
        assert_eq!(rows.collect::<Vec<_>>(), expected);
        controllers.insert(response.controller_id);
        let described = cluster.client(by).call(&DescribeClusterRequest::default(), 2);
        assert_eq!(described.controller_id, response.controller_id);
        assert_eq!(described.brokers.len(), 3);
        let asked = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
        let voters = cluster.client(by).call(&asked, 2);
        assert_eq!((voters.error_code, voters.brokers.len()), (ErrorCode::None, 3));
    }
    assert_eq!(controllers.len(), 1, "{controllers:?}");
}

fn trap_2_kip_951_hints_name_the_leader_and_its_endpoint(cluster: &TestCluster) {
    let topic = cluster.known_topic(1, "hints");
    let row = cluster.partition(1, &topic);
    let leader = row.leader_id;
    let mut wrong = cluster.client(other(leader.0));
    let produced = wrong.call(&produce_request(&topic, Some(batch(&["x"])), -1), 10);
    let refused = &produced.responses[0].partition_responses[0];
    assert_eq!(refused.error_code, ErrorCode::NotLeaderOrFollower);
    let hint = &refused.current_leader;
    assert_eq!((hint.leader_id, hint.leader_epoch), (leader, row.leader_epoch));
    let [endpoint] = &produced.node_endpoints[..] else { panic!("one endpoint: {produced:?}") };
    assert_eq!(endpoint.node_id, leader);
    assert!(endpoint.port > 0);
    let before = wrong.call(&produce_request(&topic, Some(batch(&["x"])), -1), 9);
    assert!(before.node_endpoints.is_empty(), "version 9 has no hints");

    // A fetch in an older epoch is told the newer one.
    let mut fetch = fetch_request(&topic, 0);
    fetch.topics[0].partitions[0].current_leader_epoch = LeaderEpoch(row.leader_epoch.0 - 1);
    if row.leader_epoch.0 > 0 {
        let response = cluster.client(leader.0).call(&fetch, 16);
        let fenced = row_of(&response);
        assert_eq!(fenced.error_code, ErrorCode::FencedLeaderEpoch);
        assert_eq!(fenced.current_leader.leader_epoch, row.leader_epoch);
        assert_eq!(response.node_endpoints[0].node_id, leader);
    }
    fetch.topics[0].partitions[0].current_leader_epoch = LeaderEpoch(row.leader_epoch.0 + 1);
    let newer = row_of(&cluster.client(leader.0).call(&fetch, 16));
    assert_eq!(newer.error_code, ErrorCode::UnknownLeaderEpoch);
}

fn trap_3_leader_any_broker_accepts_writes(cluster: &TestCluster) {
    let topic = cluster.known_topic(2, "writes");
    let leader = cluster.leader_in_sync(2, &topic);
    for by in 1..=3 {
        for acks in [1, -1] {
            let request: ProduceRequest = produce_request(&topic, Some(batch(&["x"])), acks);
            let response = cluster.client(by).call(&request, 9);
            let code = response.responses[0].partition_responses[0].error_code;
            let expected =
                if by == leader { ErrorCode::None } else { ErrorCode::NotLeaderOrFollower };
            assert_eq!(code, expected, "node {by}, acks {acks}");
        }
    }
}

fn trap_4_ids_init_producer_id_from_any_broker(cluster: &TestCluster) {
    let mut seen = BTreeSet::new();
    for by in [1, 2, 3, 1, 2, 3] {
        let response = cluster.client(by).call(&InitProducerIdRequest::default(), 4);
        assert_eq!(response.error_code, ErrorCode::None, "node {by}: {response:?}");
        assert!(seen.insert(response.producer_id), "{:?} was given twice", response.producer_id);
    }
}

fn trap_5_rack_preferred_replica_and_reads_from_it(cluster: &TestCluster) {
    let topic = cluster.known_topic(1, "racks");
    let leader = cluster.leader_in_sync(1, &topic);
    let near = other(leader);
    let produced = cluster.client(leader).produce(&topic, batch(&["near"]));
    assert_eq!(produced.error_code, ErrorCode::None, "{produced:?}");
    let from = |rack: &str| FetchRequest { rack_id: Str::from(rack), ..fetch_request(&topic, 0) };

    let sent_away = eventually(|| {
        let row = row_of(&cluster.client(leader).call(&from(&format!("rack-{near}")), 12));
        assert_eq!(row.error_code, ErrorCode::None);
        (row.preferred_read_replica == NodeId(near)).then_some(row)
    });
    assert_eq!(sent_away.records.map(|records| records.len()), Some(0), "empty, never null");
    for rack in [format!("rack-{leader}"), "rack-9".to_owned(), String::new()] {
        let row = row_of(&cluster.client(leader).call(&from(&rack), 12));
        assert_eq!(row.preferred_read_replica, NodeId::NONE, "{rack}");
        assert!(row.records.is_some_and(|records| !records.is_empty()));
    }
    // The follower serves what it knows to be committed.
    let mut follower = cluster.client(near);
    let records = eventually(|| {
        let row = row_of(&follower.call(&fetch_request(&topic, 0), 12));
        assert_eq!(row.error_code, ErrorCode::None, "{row:?}");
        row.records.filter(|records| !records.is_empty())
    });
    assert!(records.windows(4).any(|bytes| bytes == b"near"));
    let ahead = row_of(&follower.call(&fetch_request(&topic, 9), 12));
    assert_eq!(ahead.error_code, ErrorCode::OffsetNotAvailable, "never out of range");
    let old = row_of(&follower.call(&fetch_request(&topic, 0), 10));
    assert_eq!(old.error_code, ErrorCode::NotLeaderOrFollower, "version 10 reads from leaders");
}

fn trap_6_linear_list_offsets_is_leader_only(cluster: &TestCluster) {
    let topic = cluster.known_topic(3, "positions");
    let leader = cluster.leader_in_sync(3, &topic);
    let request = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: topic.name.clone(),
            partitions: vec![ListOffsetsPartition { timestamp: -1, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    };
    for by in 1..=3 {
        let response = cluster.client(by).call(&request, 5);
        let code = response.topics[0].partitions[0].error_code;
        let expected = if by == leader { ErrorCode::None } else { ErrorCode::NotLeaderOrFollower };
        assert_eq!(code, expected, "node {by}");
    }
}

fn trap_9_create_minus_one_follows_the_number_of_brokers(cluster: &TestCluster) {
    let name = crate::harness::fresh_name("defaults");
    let mut request = crate::harness::create_request(&name, -1, &[]);
    request.topics[0].replication_factor = -1;
    let response = cluster.client(2).call(&request, 7);
    let row = &response.topics[0];
    assert_eq!((row.error_code, row.replication_factor), (ErrorCode::None, 3), "{row:?}");
    let configs = row.configs.as_ref().expect("told");
    let min_isr = configs.iter().find(|config| &*config.name == "min.insync.replicas");
    assert_eq!(min_isr.and_then(|config| config.value.as_deref()), Some("2"));
}

fn trap_9_delete_records_from_every_replica(cluster: &TestCluster) {
    let topic = cluster.known_topic(1, "deleted");
    let leader = cluster.leader_in_sync(1, &topic);
    let produced = cluster.client(leader).produce(&topic, batch(&["a", "b", "c"]));
    assert_eq!(produced.error_code, ErrorCode::None);
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: topic.name.clone(),
            partitions: vec![DeleteRecordsPartition { offset: Offset(2), ..Default::default() }],
            ..Default::default()
        }],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let wrong = cluster.client(other(leader)).call(&request, 2);
    assert_eq!(wrong.topics[0].partitions[0].error_code, ErrorCode::NotLeaderOrFollower);
    let done = cluster.client(leader).call(&request, 2);
    let row = &done.topics[0].partitions[0];
    assert_eq!((row.error_code, row.low_watermark), (ErrorCode::None, Offset(2)), "{row:?}");
    // It is gone from the followers too by then.
    for by in (1..=3).filter(|id| *id != leader) {
        let row = row_of(&cluster.client(by).call(&fetch_request(&topic, 1), 12));
        assert_eq!(row.error_code, ErrorCode::OffsetOutOfRange, "node {by}: {row:?}");
        assert_eq!(
            row_of(&cluster.client(by).call(&fetch_request(&topic, 2), 12)).log_start_offset,
            Offset(2)
        );
    }
}

/// Requests that change the metadata work on each node, whoever is the controller.
fn trap_9_routing_any_node_takes_administration(cluster: &TestCluster) {
    let broker = |id: i32| (4, Str::from(id.to_string()));
    for by in 1..=3 {
        let (resource_type, resource_name) = broker(other(by));
        let alter = |operation, value: Option<&str>| IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type,
                resource_name: resource_name.clone(),
                configs: vec![AlterableConfig {
                    name: Str::from_static("purlin.drain"),
                    config_operation: operation,
                    value: value.map(Str::from),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut client = cluster.client(by);
        let set = client.call(&alter(0, Some("true")), 1);
        assert_eq!(set.responses[0].error_code, ErrorCode::None, "{set:?}");
        let describe = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type,
                resource_name: resource_name.clone(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let elsewhere = client.call(&describe, 4);
        assert_eq!(elsewhere.results[0].error_code, ErrorCode::InvalidRequest, "ask it itself");
        eventually(|| {
            let itself = cluster.client(other(by)).call(&describe, 4);
            let drain = itself.results[0].configs.iter().find(|row| &*row.name == "purlin.drain");
            (drain.expect("listed").value.as_deref() == Some("true")).then_some(())
        });
        let reset = client.call(&alter(1, None), 1);
        assert_eq!(reset.responses[0].error_code, ErrorCode::None, "{reset:?}");

        let quorum = DescribeQuorumRequest {
            topics: vec![TopicData {
                topic_name: Str::from_static("__cluster_metadata"),
                partitions: vec![QuorumPartition::default()],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = client.call(&quorum, 2);
        assert_eq!(response.error_code, ErrorCode::None, "node {by}: {response:?}");
        let row = &response.topics[0].partitions[0];
        assert_eq!(row.current_voters.len(), 3);
        assert!(row.current_voters.iter().any(|voter| voter.replica_id == row.leader_id));

        let still_needed = UnregisterBrokerRequest { broker_id: NodeId(by), ..Default::default() };
        let refused = client.call(&still_needed, 0);
        assert_ne!(refused.error_code, ErrorCode::None, "it holds replicas");
        assert!(refused.error_message.is_some());
        let nobody = UnregisterBrokerRequest { broker_id: NodeId(77), ..Default::default() };
        assert_eq!(client.call(&nobody, 0).error_code, ErrorCode::BrokerIdNotRegistered);
    }
}

fn trap_9_tools_elections_and_reassignments(cluster: &TestCluster) {
    let topic = cluster.known_topic(1, "moves");
    let leader = cluster.leader_in_sync(1, &topic);
    let mut client = cluster.client(other(leader));
    assert_eq!(elect(&mut client, &topic, 0), ErrorCode::ElectionNotNeeded);
    assert_eq!(elect(&mut client, &topic, 1), ErrorCode::ElectionNotNeeded);
    assert_eq!(reassign(&mut client, &topic, None), ErrorCode::NoReassignmentInProgress);
    let bad = reassign(&mut client, &topic, Some(&[leader, 77]));
    assert_eq!(bad, ErrorCode::InvalidReplicaAssignment);
    let gone = Topic { name: Str::from_static("no-such"), id: topic.id };
    assert_eq!(reassign(&mut client, &gone, Some(&[1])), ErrorCode::UnknownTopicOrPartition);

    // Another order is another preferred leader; it leads once it is asked to.
    let wanted = other(leader);
    let order = [wanted, other(wanted), leader];
    assert_eq!(reassign(&mut client, &topic, Some(&order)), ErrorCode::None);
    eventually(|| {
        let response = client.call(&ListPartitionReassignmentsRequest::default(), 0);
        let moving = response.topics.iter().any(|row| row.name == topic.name);
        let replicas = cluster.partition(leader, &topic).replica_nodes;
        (!moving && replicas == order.map(NodeId)).then_some(())
    });
    let code = elect(&mut client, &topic, 0);
    assert!([ErrorCode::None, ErrorCode::ElectionNotNeeded].contains(&code), "{code}");
    let before = cluster.partition(wanted, &topic);
    assert_eq!(before.leader_id, NodeId(wanted), "the answering node shows it at once");
}

/// Epochs grow with each leader, on every node; a broker that left is no longer told of.
#[test]
fn trap_2_epoch_and_brokers_after_a_leader_stopped() {
    let mut cluster = TestCluster::start();
    let topic = cluster.known_topic(1, "stops");
    let leader = cluster.leader_in_sync(1, &topic);
    let produced = cluster.client(leader).produce(&topic, batch(&["kept"]));
    assert_eq!(produced.error_code, ErrorCode::None);
    let before = cluster.partition(other(leader), &topic);
    cluster.stop(leader);
    for by in (1..=3).filter(|id| *id != leader) {
        let row = eventually(|| {
            let row = cluster.partition(by, &topic);
            let led = row.leader_id != NodeId::NONE && row.leader_id != NodeId(leader);
            led.then_some(row)
        });
        assert!(row.leader_epoch > before.leader_epoch, "{row:?} after {before:?}");
        eventually(|| {
            let metadata = cluster.metadata(by, &topic);
            let row = &metadata.topics[0].partitions[0];
            let left = metadata.brokers.iter().all(|broker| broker.node_id != NodeId(leader));
            (left && row.offline_replicas == [NodeId(leader)]).then_some(())
        });
        let controller = cluster.metadata(by, &topic).controller_id;
        assert_ne!(controller, NodeId(leader));
        assert_ne!(controller, NodeId::NONE);
    }
    let survivor = other(leader);
    let code = elect(&mut cluster.client(survivor), &topic, 0);
    let preferred = cluster.partition(survivor, &topic).replica_nodes[0];
    if preferred == NodeId(leader) {
        assert_eq!(code, ErrorCode::PreferredLeaderNotAvailable);
    }
    let now = cluster.partition(survivor, &topic).leader_id.0;
    let row = eventually(|| {
        let row = row_of(&cluster.client(now).call(&fetch_request(&topic, 0), 12));
        (row.error_code == ErrorCode::None && row.high_watermark.0 == 1).then_some(row)
    });
    assert!(row.records.is_some_and(|records| records.windows(4).any(|part| part == b"kept")));
}
