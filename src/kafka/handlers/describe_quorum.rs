//! DescribeQuorum: the Raft group behind the metadata, as its leader sees it (KIP-595, KIP-836,
//! KIP-853). Asked of the controller when this node is not it.

use super::common::CLUSTER_METADATA_TOPIC;
use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::metadata::{Image, Quorum, QuorumReplica};
use crate::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, PartitionDescription,
    ReplicaState, TopicDescription,
};
use crate::protocol::{ErrorCode, Str};
use crate::types::{DirectoryId, NodeId, Offset, PartitionIndex};

/// Name of the endpoint at which the members reach each other.
const LISTENER: &str = "RPC";
/// The one partition of the log.
const PARTITION: PartitionIndex = PartitionIndex(0);

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    if !names_the_log(&request) {
        return refuse(request);
    }
    match broker.context.metadata.quorum().await {
        Ok(quorum) => describe(&broker.context.metadata.image(), &quorum),
        Err(error) => DescribeQuorumResponse {
            error_code: errors::metadata_code(&error),
            error_message: Some(Str::from(error.to_string())),
            ..Default::default()
        },
    }
}

/// Whether exactly the metadata log is asked for.
fn names_the_log(request: &DescribeQuorumRequest) -> bool {
    let [topic] = &request.topics[..] else { return false };
    let [partition] = &topic.partitions[..] else { return false };
    &*topic.topic_name == CLUSTER_METADATA_TOPIC && partition.partition_index == PARTITION
}

/// Everything else is unknown, each partition on its own row.
fn refuse(request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let topics = request.topics.into_iter().map(|topic| TopicDescription {
        partitions: topic
            .partitions
            .iter()
            .map(|partition| PartitionDescription {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition,
                leader_id: NodeId::NONE,
                ..Default::default()
            })
            .collect(),
        topic_name: topic.topic_name,
        ..Default::default()
    });
    DescribeQuorumResponse { topics: topics.collect(), ..Default::default() }
}

fn describe(image: &Image, quorum: &Quorum) -> DescribeQuorumResponse {
    let members = |replicas: &[QuorumReplica]| {
        replicas.iter().map(|replica| member(image, replica)).collect::<Vec<_>>()
    };
    let partition = PartitionDescription {
        partition_index: PARTITION,
        leader_id: quorum.leader,
        leader_epoch: i32::try_from(quorum.term).unwrap_or(i32::MAX),
        high_watermark: offset(Some(quorum.high_watermark)),
        current_voters: members(&quorum.voters),
        observers: members(&quorum.learners),
        ..Default::default()
    };
    let topic = TopicDescription {
        topic_name: Str::from_static(CLUSTER_METADATA_TOPIC),
        partitions: vec![partition],
        ..Default::default()
    };
    let everybody = quorum.voters.iter().chain(&quorum.learners);
    DescribeQuorumResponse {
        topics: vec![topic],
        nodes: everybody.filter_map(|replica| node(image, replica.node_id)).collect(),
        ..Default::default()
    }
}

fn offset(count: Option<u64>) -> Offset {
    count.map_or(Offset::NONE, |count| Offset(i64::try_from(count).unwrap_or(i64::MAX)))
}

fn member(image: &Image, replica: &QuorumReplica) -> ReplicaState {
    let directory = image.state().node(replica.node_id).map(|node| node.directory);
    ReplicaState {
        replica_id: replica.node_id,
        replica_directory_id: directory.unwrap_or(DirectoryId::ZERO),
        log_end_offset: offset(replica.log_end_offset),
        last_fetch_timestamp: replica.last_fetch_ms,
        last_caught_up_timestamp: replica.last_caught_up_ms,
        ..Default::default()
    }
}

/// Where the other members reach one of them.
fn node(image: &Image, node_id: NodeId) -> Option<Node> {
    let address = match (image.broker(node_id), image.state().node(node_id)) {
        (Some(broker), _) => &broker.rpc,
        (None, node) => &node?.rpc,
    };
    let (host, port) = address.rsplit_once(':')?;
    let listener = Listener {
        name: Str::from_static(LISTENER),
        host: Str::from(host.trim_start_matches('[').trim_end_matches(']')),
        port: port.parse().ok()?,
        ..Default::default()
    };
    Some(Node { node_id, listeners: vec![listener], ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::testing::Cluster;
    use crate::protocol::messages::describe_quorum::{PartitionData, TopicData};

    #[test]
    fn the_group_is_described_with_ends_times_and_endpoints() {
        let cluster = Cluster::with_brokers(3);
        let replica = |id, end| QuorumReplica {
            node_id: NodeId(id),
            log_end_offset: end,
            last_fetch_ms: 5,
            last_caught_up_ms: 4,
        };
        let quorum = Quorum {
            leader: NodeId(2),
            term: 7,
            high_watermark: 40,
            voters: vec![replica(1, Some(40)), replica(2, Some(41))],
            learners: vec![replica(3, None)],
        };
        let response = describe(&cluster.image(), &quorum);
        let row = &response.topics[0].partitions[0];
        assert_eq!((row.leader_id.0, row.leader_epoch, row.high_watermark.0), (2, 7, 40));
        let ends = |rows: &[ReplicaState]| {
            rows.iter().map(|row| (row.replica_id.0, row.log_end_offset.0)).collect::<Vec<_>>()
        };
        assert_eq!(ends(&row.current_voters), [(1, 40), (2, 41)]);
        assert_eq!(ends(&row.observers), [(3, -1)]);
        assert_eq!(row.observers[0].last_fetch_timestamp, 5);
        assert_eq!(row.observers[0].last_caught_up_timestamp, 4);
        let endpoints: Vec<_> = response
            .nodes
            .iter()
            .map(|node| (node.node_id.0, &*node.listeners[0].host, node.listeners[0].port))
            .collect();
        assert_eq!(endpoints, [(1, "host-1", 9192), (2, "host-2", 9192), (3, "host-3", 9192)]);
    }

    #[test]
    fn only_the_metadata_log_has_a_quorum() {
        let asked = |name: &str, index| DescribeQuorumRequest {
            topics: vec![TopicData {
                topic_name: Str::from(name),
                partitions: vec![PartitionData {
                    partition_index: PartitionIndex(index),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        assert!(names_the_log(&asked("__cluster_metadata", 0)));
        for (name, index) in [("__cluster_metadata", 1), ("orders", 0)] {
            let request = asked(name, index);
            assert!(!names_the_log(&request));
            let row = refuse(request).topics[0].partitions[0].clone();
            assert_eq!(row.error_code, ErrorCode::UnknownTopicOrPartition);
        }
        assert!(!names_the_log(&DescribeQuorumRequest::default()));
    }
}
