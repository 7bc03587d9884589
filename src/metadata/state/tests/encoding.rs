//! Commands and answers as bytes: what stands in the Raft log and travels between nodes.

use super::super::codec;
use super::super::configs::ConfigResource;
use super::*;
use crate::types::{LeaderEpoch, PartitionEpoch, ProducerId};

/// One of each kind, in the order of their numbers.
fn commands() -> Vec<Command> {
    let node_id = NodeId(3);
    let broker_epoch = BrokerEpoch(9);
    let now = TimestampMs(5);
    let partition = PartitionIndex(4);
    let topic_id = TopicId([7; 16]);
    let mut script = Script::default();
    vec![
        Command::RegisterBroker(registration(1, 2, true)),
        Command::ChangeFencing(ChangeFencing {
            changes: vec![FencingChange {
                node_id,
                broker_epoch,
                fenced: true,
                in_controlled_shutdown: false,
            }],
        }),
        Command::CreateTopics(create_topics(vec![script.new_topic("t", -1, 2)], true)),
        Command::DeleteTopics(DeleteTopics {
            topics: vec![TopicSelector::Name("t".into()), TopicSelector::Id(topic_id)],
        }),
        Command::CreatePartitions(CreatePartitions {
            topics: vec![MorePartitions {
                name: "t".into(),
                count: 6,
                assignments: Some(vec![vec![node_id]]),
            }],
            validate_only: false,
        }),
        Command::AlterConfigs(AlterConfigs {
            resources: vec![
                ConfigAlteration {
                    resource: ConfigResource::Broker(node_id),
                    change: ConfigChange::Incremental(vec![ConfigOp {
                        name: "k".into(),
                        kind: ConfigOpKind::Append,
                        value: Some("v".into()),
                    }]),
                },
                ConfigAlteration {
                    resource: ConfigResource::BrokerDefault,
                    change: ConfigChange::Replace(vec![("k".into(), None)]),
                },
            ],
            validate_only: false,
        }),
        Command::AllocateProducerIds(AllocateProducerIds { node_id, broker_epoch }),
        Command::UpdateFeatures(UpdateFeatures {
            levels: vec![("f".into(), 1)],
            validate_only: false,
        }),
        Command::AdmitNode(AdmitNode {
            directory: directory(1),
            wanted: Some(node_id),
            rpc: "h:1".into(),
            now,
        }),
        Command::UnregisterBroker(UnregisterBroker { node_id }),
        Command::AlterPartitions(AlterPartitions {
            node_id,
            broker_epoch,
            changes: vec![IsrChange {
                topic_id,
                partition,
                leader_epoch: LeaderEpoch(1),
                partition_epoch: PartitionEpoch(2),
                isr: vec![(node_id, broker_epoch)],
                lost: vec![NodeId(3)],
                recovery: LeaderRecoveryState::Recovering,
            }],
        }),
        Command::ElectLeaders(ElectLeaders {
            kind: ElectionKind::Unclean,
            partitions: Some(vec![("t".into(), partition)]),
        }),
        Command::AlterReassignments(AlterReassignments {
            partitions: vec![Reassignment {
                topic: "t".into(),
                partition,
                replicas: Some(vec![node_id]),
            }],
            allow_replication_factor_change: true,
        }),
        Command::ReplicasFailed(ReplicasFailed {
            node_id,
            broker_epoch,
            partitions: vec![(topic_id, partition)],
            usable: false,
        }),
    ]
}

/// One of each kind, in the order of their numbers.
fn responses() -> Vec<Response> {
    let refusal = || Refusal::new(RefusalKind::NotAttempted, "no");
    let partition = PartitionIndex(4);
    let mut script = Script::with_brokers(1);
    script.by_hand("t", &[&[1]], &[]);
    let created = CreatedTopic {
        id: TopicId([7; 16]),
        partitions: 1,
        replication_factor: 1,
        configs: vec![("k".into(), "v".into())],
    };
    vec![
        Response::Nothing,
        Response::RegisterBroker(Ok(BrokerEpoch(9))),
        Response::ChangeFencing(vec![Ok(()), Err(refusal())]),
        Response::CreateTopics(vec![TopicResult { name: "t".into(), outcome: Ok(created) }]),
        Response::DeleteTopics(vec![DeletedTopic {
            name: None,
            id: TopicId([7; 16]),
            outcome: Ok(()),
        }]),
        Response::CreatePartitions(vec![TopicResult { name: "t".into(), outcome: Ok(()) }]),
        Response::AlterConfigs(vec![Ok(())]),
        Response::AllocateProducerIds(Ok(ProducerIdBlock { first: ProducerId(1), count: 2 })),
        Response::UpdateFeatures(vec![Ok(())]),
        Response::AdmitNode(Ok(NodeId(3))),
        Response::UnregisterBroker(Ok(())),
        Response::AlterPartitions(vec![Ok(script.partition("t", 0))]),
        Response::ElectLeaders(vec![ElectionResult {
            topic: "t".into(),
            partition,
            outcome: Err(refusal()),
        }]),
        Response::AlterReassignments(vec![Ok(())]),
        Response::ReplicasFailed(vec![Ok(())]),
    ]
}

/// The bodies behind the version byte of a Raft entry. If this fails, old logs can no longer be
/// read: count the version of the entry up, and keep reading this one.
#[test]
fn golden_bytes_of_every_kind_of_command() {
    let shown: Vec<String> = commands()
        .iter()
        .map(|command| {
            let bytes = codec::encode(1, command);
            assert_eq!(codec::decode(1, &bytes).as_ref(), Ok(command));
            bytes[1..].escape_ascii().to_string()
        })
        .collect();
    let (one, two, seven) = (r"\x01".repeat(16), r"\x02".repeat(16), r"\x07".repeat(16));
    assert_eq!(
        shown,
        [
            format!(
                r"\x00\x02{two}\x01\tPLAINTEXT\x06host-1\xfb\x84#\x00\x0bhost-1:9192\x00\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x10metadata.version\x04\xfb\xd0\x07"
            ),
            r"\x01\x01\x06\x12\x01\x00".to_owned(),
            format!(r"\x02\x01\x01t{one}\x01\x04\x00\x00\x08\x02\x01\xfb\xa0\x0f"),
            format!(r"\x03\x02\x00\x01t\x01{seven}"),
            r"\x04\x01\x01t\x0c\x01\x01\x01\x06\x00".to_owned(),
            r"\x05\x02\x01\x06\x00\x01\x01k\x02\x01\x01v\x02\x01\x01\x01k\x00\x00".to_owned(),
            r"\x06\x06\x12".to_owned(),
            r"\x07\x01\x01f\x02\x00".to_owned(),
            format!(r"\x08{one}\x01\x06\x03h:1\n"),
            r"\t\x06".to_owned(),
            format!(r"\n\x06\x12\x01{seven}\x08\x02\x04\x01\x06\x12\x01\x06\x01"),
            r"\x0b\x01\x01\x01\x01t\x08".to_owned(),
            r"\x0c\x01\x01t\x08\x01\x01\x06\x01".to_owned(),
            format!(r"\r\x06\x12\x01{seven}\x08\x00"),
        ]
    );
}

/// What travels to whoever proposed.
#[test]
fn golden_bytes_of_every_kind_of_answer() {
    let shown: Vec<String> = responses()
        .iter()
        .map(|response| {
            let bytes = codec::encode(1, response);
            assert_eq!(codec::decode(1, &bytes).as_ref(), Ok(response));
            bytes[1..].escape_ascii().to_string()
        })
        .collect();
    let seven = r"\x07".repeat(16);
    assert_eq!(
        shown,
        [
            r"\x00".to_owned(),
            r"\x01\x00\x12".to_owned(),
            r"\x02\x02\x00\x01\x17\x02no".to_owned(),
            format!(r"\x03\x01\x01t\x00{seven}\x02\x02\x01\x01k\x01v"),
            format!(r"\x04\x01\x00{seven}\x00"),
            r"\x05\x01\x01t\x00".to_owned(),
            r"\x06\x01\x00".to_owned(),
            r"\x07\x00\x02\x04".to_owned(),
            r"\x08\x01\x00".to_owned(),
            r"\t\x00\x06".to_owned(),
            r"\n\x00".to_owned(),
            r"\x0b\x01\x00\x01\x02\x01\x02\x00\x01\x02\x00\x00\x00\x00\x00\x00\x00".to_owned(),
            r"\x0c\x01\x01t\x08\x01\x17\x02no".to_owned(),
            r"\r\x01\x00".to_owned(),
            r"\x0e\x01\x00".to_owned(),
        ]
    );
}
