//! Three nodes in this process, and what clients are told by each of them.

use std::net::SocketAddr;

use purlin::config::{HostPort, NodeConfig, StartMode};
use purlin::node::{self, RunningNode};
use purlin::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponsePartition,
};
use purlin::protocol::{ErrorCode, Str};
use purlin::types::NodeId;

use crate::harness::{Client, Topic, create_request, eventually, fresh_name};

/// Nodes 1, 2 and 3, in racks `rack-1`, `rack-2` and `rack-3`.
pub(crate) struct TestCluster {
    nodes: Vec<Option<RunningNode>>,
    addresses: Vec<SocketAddr>,
    _directories: Vec<tempfile::TempDir>,
}

impl TestCluster {
    pub(crate) fn start() -> Self {
        let mut cluster =
            Self { nodes: Vec::new(), addresses: Vec::new(), _directories: Vec::new() };
        let mut seeds = Vec::new();
        for id in 1..=3 {
            let directory = tempfile::tempdir().expect("a directory");
            let mode = if seeds.is_empty() { StartMode::Init } else { StartMode::Join };
            let mut config = NodeConfig::new(mode, directory.path().to_owned());
            let any_port = || HostPort { host: "127.0.0.1".to_owned(), port: 0 };
            (config.kafka, config.rpc, config.admin) = (any_port(), any_port(), any_port());
            config.rack = Some(format!("rack-{id}"));
            config.seeds.clone_from(&seeds);
            let running = node::start(config).expect("the node starts");
            if seeds.is_empty() {
                let rpc = running.rpc_address();
                seeds.push(HostPort { host: rpc.ip().to_string(), port: rpc.port() });
            }
            cluster.addresses.push(running.kafka_address());
            cluster.nodes.push(Some(running));
            cluster._directories.push(directory);
        }
        cluster
    }

    /// A client of node `id`.
    pub(crate) fn client(&self, id: i32) -> Client {
        Client::connect(self.addresses[usize::try_from(id - 1).expect("from 1")])
    }

    /// Stops a node, as SIGTERM does.
    pub(crate) fn stop(&mut self, id: i32) {
        let place = usize::try_from(id - 1).expect("from 1");
        self.nodes[place].take().expect("running").stop().expect("a clean stop");
    }

    /// A topic of three replicas, led by node 1 first; made through node `by`.
    pub(crate) fn topic(&self, by: i32, stem: &str, partitions: i32) -> Topic {
        let name = fresh_name(stem);
        let mut request = create_request(&name, partitions, &[]);
        request.topics[0].replication_factor = 3;
        let response = self.client(by).call(&request, 7);
        let row = &response.topics[0];
        assert_eq!(row.error_code, ErrorCode::None, "{row:?}");
        Topic { name: Str::from(name), id: row.topic_id }
    }

    /// As [`Self::topic`], with one partition, once every node knows of it.
    pub(crate) fn known_topic(&self, by: i32, stem: &str) -> Topic {
        let topic = self.topic(by, stem, 1);
        for id in 1..=3 {
            eventually(|| {
                (self.metadata(id, &topic).topics[0].error_code == ErrorCode::None).then_some(())
            });
        }
        topic
    }

    /// What node `by` tells of a topic.
    pub(crate) fn metadata(&self, by: i32, topic: &Topic) -> MetadataResponse {
        let topic = MetadataRequestTopic { name: Some(topic.name.clone()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        self.client(by).call(&request, 12)
    }

    /// Partition 0 as node `by` tells of it.
    pub(crate) fn partition(&self, by: i32, topic: &Topic) -> MetadataResponsePartition {
        self.metadata(by, topic).topics[0].partitions[0].clone()
    }

    /// The leader of partition 0, once all replicas are in sync.
    pub(crate) fn leader_in_sync(&self, by: i32, topic: &Topic) -> i32 {
        eventually(|| {
            let row = self.partition(by, topic);
            (row.leader_id != NodeId::NONE && row.isr_nodes.len() == 3).then_some(row.leader_id.0)
        })
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        // Those that go first may need the others.
        for node in self.nodes.iter_mut().rev().filter_map(Option::take) {
            let _ = node.stop();
        }
    }
}
