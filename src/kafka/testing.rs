//! A cluster's metadata to ask handlers about, without a cluster.

use super::view::View;
use crate::metadata::Image;
use crate::metadata::state::{
    AdmitNode, ChangeFencing, Command, CreateTopics, Delta, Endpoint, FencingChange, NewTopic,
    RegisterBroker, Response, State, apply,
};
use crate::types::{
    BrokerEpoch, ClusterId, DirectoryId, IncarnationId, NodeId, PartitionIndex, TimestampMs,
    TopicId, TopicPartition,
};

/// The listener of the made-up brokers.
pub(super) const LISTENER: &str = "PLAINTEXT";

/// Brokers 1, 2 … on `host-N:9092`, in rack `rack-N`, and topics with chosen replicas.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    state: State,
    index: u64,
    controller: Option<NodeId>,
}

impl Cluster {
    /// Active brokers 1 to `count`.
    pub(super) fn with_brokers(count: i32) -> Self {
        let mut cluster = Self::default();
        for id in 1..=count {
            cluster.register(id);
            cluster.change(id, false);
        }
        cluster
    }

    pub(super) fn apply(&mut self, command: Command) -> Response {
        self.index += 1;
        apply(&mut self.state, self.index, command, &mut Delta::default())
    }

    fn register(&mut self, id: i32) {
        let unique = [u8::try_from(id).expect("a small id"); 16];
        let admitted = self.apply(Command::AdmitNode(AdmitNode {
            directory: DirectoryId(unique),
            wanted: Some(NodeId(id)),
            rpc: format!("host-{id}:9192"),
            now: TimestampMs(1),
        }));
        assert!(matches!(admitted, Response::AdmitNode(Ok(_))), "{admitted:?}");
        let registered = self.apply(Command::RegisterBroker(RegisterBroker {
            node_id: NodeId(id),
            incarnation: IncarnationId(unique),
            endpoints: vec![Endpoint {
                listener: LISTENER.to_owned(),
                host: format!("host-{id}"),
                port: 9092,
                security_protocol: 0,
            }],
            rpc: format!("host-{id}:9192"),
            rack: Some(format!("rack-{id}")),
            directories: vec![DirectoryId(unique)],
            clean_shutdown: true,
            features: Vec::new(),
            now: TimestampMs(1),
        }));
        assert!(matches!(registered, Response::RegisterBroker(Ok(_))), "{registered:?}");
    }

    fn change(&mut self, id: i32, fenced: bool) {
        let broker_epoch = self.state.broker(NodeId(id)).map_or(BrokerEpoch(-1), |b| b.epoch);
        let change = FencingChange {
            node_id: NodeId(id),
            broker_epoch,
            fenced,
            in_controlled_shutdown: false,
        };
        let changed = self.apply(Command::ChangeFencing(ChangeFencing { changes: vec![change] }));
        assert_eq!(changed, Response::ChangeFencing(vec![Ok(())]));
    }

    /// The broker is not heard of any more.
    pub(super) fn fence(&mut self, id: i32) {
        self.change(id, true);
    }

    /// The broker is back.
    pub(super) fn unfence(&mut self, id: i32) {
        self.change(id, false);
    }

    /// A topic whose partitions have these replicas.
    pub(super) fn topic(&mut self, name: &str, assignments: &[&[i32]]) {
        let rows = (0..).map(PartitionIndex).zip(assignments);
        let unique = u8::try_from(self.index).expect("few commands");
        let created = self.apply(Command::CreateTopics(CreateTopics {
            topics: vec![NewTopic {
                name: name.to_owned(),
                id: TopicId([unique; 16]),
                partitions: -1,
                replication_factor: -1,
                assignments: rows
                    .map(|(index, ids)| (index, ids.iter().copied().map(NodeId).collect()))
                    .collect(),
                configs: Vec::new(),
            }],
            partitions_default: 1,
            replication_factor_default: 1,
            validate_only: false,
            now: TimestampMs(1),
        }));
        let Response::CreateTopics(results) = created else { panic!("{created:?}") };
        assert!(results.iter().all(|result| result.outcome.is_ok()), "{results:?}");
    }

    /// Says who leads the metadata group.
    pub(super) fn set_controller(&mut self, id: Option<i32>) {
        self.controller = id.map(NodeId);
    }

    pub(super) fn image(&self) -> Image {
        Image::of(ClusterId([7; 16]), self.state.clone(), self.index + 1, self.controller)
    }

    /// What broker `here` tells.
    pub(super) fn view<'a>(&self, image: &'a Image, here: i32) -> View<'a> {
        View { image, here: NodeId(here), listener: LISTENER, isolated: false }
    }
}

/// A partition by name and number.
pub(super) fn partition(name: &str, index: i32) -> TopicPartition {
    let topic = crate::types::TopicName::new(name).expect("a valid name");
    TopicPartition::new(topic, PartitionIndex(index))
}
