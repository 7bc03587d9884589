//! Scripts through [`apply`](super::apply), readable from top to bottom.

mod brokers;
mod config_changes;
mod elections;
mod encoding;
mod invariants;
mod isr;
mod nodes;
mod reassignments;
mod records;
mod topics;

use super::*;
use crate::types::{
    BrokerEpoch, DirectoryId, IncarnationId, NodeId, PartitionIndex, TimestampMs, TopicId,
};

/// A cluster's metadata, with short words for commands.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) state: State,
    pub(crate) index: u64,
    /// What changed with the last command.
    pub(crate) delta: Delta,
    ids: u8,
}

impl Script {
    /// Active brokers 1 to `count`.
    pub(crate) fn with_brokers(count: i32) -> Self {
        let mut script = Self::default();
        for id in 1..=count {
            script.start_broker(id, 1, true);
        }
        script
    }

    pub(crate) fn apply(&mut self, command: Command) -> Response {
        self.delta = Delta::default();
        self.index += 1;
        let response = apply(&mut self.state, self.index, command, &mut self.delta);
        invariants::check(&self.state);
        response
    }

    /// Admits a node, where needed: not counted as a command of the script.
    fn admit(&mut self, id: i32) {
        if self.state.node(NodeId(id)).is_none() {
            let command = Command::AdmitNode(admission(id));
            apply(&mut self.state, self.index, command, &mut Delta::default());
        }
    }

    fn register(&mut self, id: i32, incarnation: u8, clean: bool) -> Result<BrokerEpoch, Refusal> {
        self.admit(id);
        let command = Command::RegisterBroker(registration(id, incarnation, clean));
        match self.apply(command) {
            Response::RegisterBroker(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn change(&mut self, id: i32, fenced: bool, stopping: bool) -> Result<(), Refusal> {
        let broker_epoch = self.state.broker(NodeId(id)).map_or(BrokerEpoch(-1), |b| b.epoch);
        let change = FencingChange {
            node_id: NodeId(id),
            broker_epoch,
            fenced,
            in_controlled_shutdown: stopping,
        };
        match self.apply(Command::ChangeFencing(ChangeFencing { changes: vec![change] })) {
            Response::ChangeFencing(results) => results.into_iter().next().expect("one"),
            other => panic!("{other:?}"),
        }
    }

    /// Registers and unfences.
    fn start_broker(&mut self, id: i32, incarnation: u8, clean: bool) {
        self.register(id, incarnation, clean).expect("registers");
        self.change(id, false, false).expect("unfences");
    }

    fn by_hand(&mut self, name: &str, replicas: &[&[i32]], configs: &[(&str, &str)]) {
        let mut new = self.new_topic(name, -1, -1);
        let nodes = |ids: &&[i32]| ids.iter().copied().map(NodeId).collect();
        new.assignments = (0..).map(PartitionIndex).zip(replicas.iter().map(nodes)).collect();
        new.configs =
            configs.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect();
        self.create(vec![new]).remove(0).expect("created");
    }

    fn partition(&self, topic: &str, partition: i32) -> Partition {
        let topic = self.state.topic_by_name(topic).expect("there");
        topic.partition(PartitionIndex(partition)).expect("there").clone()
    }

    pub(crate) fn epoch(&self, id: i32) -> BrokerEpoch {
        self.state.broker(NodeId(id)).map_or(BrokerEpoch(-1), |broker| broker.epoch)
    }

    /// What an up-to-date leader would ask for.
    fn isr_change(&self, topic: &str, partition: i32, isr: &[i32]) -> IsrChange {
        let now = self.partition(topic, partition);
        IsrChange {
            topic_id: self.state.topic_by_name(topic).expect("there").id,
            partition: PartitionIndex(partition),
            leader_epoch: now.leader_epoch,
            partition_epoch: now.partition_epoch,
            isr: isr.iter().map(|id| (NodeId(*id), self.epoch(*id))).collect(),
            lost: Vec::new(),
            recovery: LeaderRecoveryState::Recovered,
        }
    }

    fn ask(&mut self, asker: i32, change: IsrChange) -> Result<Partition, RefusalKind> {
        let broker_epoch = self.epoch(asker);
        let node_id = NodeId(asker);
        let changes = vec![change];
        match self.apply(Command::AlterPartitions(AlterPartitions {
            node_id,
            broker_epoch,
            changes,
        })) {
            Response::AlterPartitions(mut results) => results.remove(0).map_err(|r| r.kind),
            other => panic!("{other:?}"),
        }
    }

    /// The leader changes the ISR, and must be let.
    fn isr(&mut self, topic: &str, partition: i32, isr: &[i32]) {
        let leader = self.partition(topic, partition).leader.expect("a leader");
        let change = self.isr_change(topic, partition, isr);
        self.ask(leader.0, change).expect("changed");
    }

    fn reassign(
        &mut self,
        topic: &str,
        partition: i32,
        replicas: Option<&[i32]>,
    ) -> Result<(), RefusalKind> {
        let command = AlterReassignments {
            partitions: vec![Reassignment {
                topic: topic.to_owned(),
                partition: PartitionIndex(partition),
                replicas: replicas.map(|ids| ids.iter().copied().map(NodeId).collect()),
            }],
            allow_replication_factor_change: true,
        };
        match self.apply(Command::AlterReassignments(command)) {
            Response::AlterReassignments(mut results) => results.remove(0).map_err(|r| r.kind),
            other => panic!("{other:?}"),
        }
    }

    fn set(&mut self, resource: configs::ConfigResource, name: &str, value: &str) {
        let kind = if value.is_empty() { ConfigOpKind::Delete } else { ConfigOpKind::Set };
        let op = ConfigOp { name: name.to_owned(), kind, value: Some(value.to_owned()) };
        let change = ConfigChange::Incremental(vec![op]);
        let resources = vec![ConfigAlteration { resource, change }];
        match self.apply(Command::AlterConfigs(AlterConfigs { resources, validate_only: false })) {
            Response::AlterConfigs(mut results) => results.remove(0).expect("set"),
            other => panic!("{other:?}"),
        }
    }

    fn drain(&mut self, id: i32, on: bool) {
        let value = if on { "true" } else { "" };
        self.set(configs::ConfigResource::Broker(NodeId(id)), configs::DRAIN, value);
    }

    fn fence(&mut self, id: i32) {
        self.change(id, true, false).expect("fences");
    }

    pub(crate) fn new_topic(&mut self, name: &str, partitions: i32, factor: i16) -> NewTopic {
        self.ids += 1;
        NewTopic {
            name: name.to_owned(),
            id: TopicId([self.ids; 16]),
            partitions,
            replication_factor: factor,
            assignments: Vec::new(),
            configs: Vec::new(),
        }
    }

    fn create(&mut self, topics: Vec<NewTopic>) -> Vec<Result<CreatedTopic, Refusal>> {
        self.create_or_validate(topics, false)
    }

    fn create_or_validate(
        &mut self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Vec<Result<CreatedTopic, Refusal>> {
        match self.apply(Command::CreateTopics(create_topics(topics, validate_only))) {
            Response::CreateTopics(results) => results.into_iter().map(|r| r.outcome).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Creates one topic that must come into being.
    fn topic(&mut self, name: &str, partitions: i32, factor: i16, configs: &[(&str, &str)]) {
        let mut new = self.new_topic(name, partitions, factor);
        new.configs =
            configs.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect();
        self.create(vec![new]).remove(0).expect("created");
    }

    /// Creates one topic that must be refused.
    fn refused(&mut self, change: impl FnOnce(&mut NewTopic)) -> Refusal {
        let before = self.state.clone();
        let mut new = self.new_topic("refused", 1, 1);
        change(&mut new);
        let validated = self.create_or_validate(vec![new.clone()], true).remove(0);
        let refusal = self.create(vec![new]).remove(0).expect_err("refused");
        assert_eq!(validated, Err(refusal.clone()), "validating says the same");
        assert_eq!(self.state, before, "nothing changed");
        assert!(self.delta.is_empty());
        refusal
    }

    /// `replicas / isr / elr / leader @ leader epoch . partition epoch`
    fn show(&self, topic: &str, partition: i32) -> String {
        let topic = self.state.topic_by_name(topic).expect("there");
        let partition = topic.partition(PartitionIndex(partition)).expect("there");
        let list =
            |ids: &[NodeId]| ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",");
        format!(
            "{} / {} / {} / {} @ {}.{}",
            list(&partition.replicas),
            list(&partition.isr),
            list(&partition.elr),
            partition.leader.map_or("-".to_owned(), |id| id.0.to_string()),
            partition.leader_epoch,
            partition.partition_epoch
        )
    }
}

pub(crate) fn admission(id: i32) -> AdmitNode {
    AdmitNode {
        directory: directory(id),
        wanted: Some(NodeId(id)),
        rpc: format!("host-{id}:9192"),
        now: TimestampMs(500),
    }
}

/// The data directory of a node of these tests.
pub(crate) fn directory(id: i32) -> DirectoryId {
    DirectoryId([u8::try_from(id).expect("a small id"); 16])
}

pub(crate) fn registration(id: i32, incarnation: u8, clean: bool) -> RegisterBroker {
    RegisterBroker {
        node_id: NodeId(id),
        incarnation: IncarnationId([incarnation; 16]),
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".to_owned(),
            host: format!("host-{id}"),
            port: 9092,
            security_protocol: 0,
        }],
        rpc: format!("host-{id}:9192"),
        rack: None,
        directories: vec![directory(id)],
        clean_shutdown: clean,
        features: vec![("metadata.version".to_owned(), 2)],
        now: TimestampMs(1_000),
    }
}

pub(crate) fn create_topics(topics: Vec<NewTopic>, validate_only: bool) -> CreateTopics {
    CreateTopics {
        topics,
        partitions_default: 4,
        replication_factor_default: 1,
        validate_only,
        now: TimestampMs(2_000),
    }
}
