//! The metadata group: a replicated log with terms, as seen from outside.
//!
//! An entry is committed when its controller still leads its term and reaches a majority of the
//! voters; what was proposed to any other is lost, and the proposer does not know it. Nodes apply
//! committed entries later, each in its own time. The state machine and the sessions are the real
//! ones.

use super::plan::Plan;
use super::{Event, Message, Sim, TOPIC, TOPIC_NAME};
use purlin::metadata::liveness::{
    Beat, BrokerView, Input, Liveness, LivenessConfig, Output, ProbeOutcome,
};
use purlin::metadata::state::{
    self, ChangeFencing, Command, CreateTopics, Delta, Endpoint, FencingChange, NewTopic,
    RegisterBroker, State,
};
use purlin::types::{BrokerEpoch, DirectoryId, IncarnationId, NodeId, PartitionIndex, TimestampMs};

const TICK_MS: i64 = 25;
/// A proposal that nobody waits for.
pub const NO_CALL: u64 = u64::MAX;

/// One committed entry: the state after it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub state: State,
}

/// The group.
pub struct Group {
    pub log: Vec<Entry>,
    pub controller: Option<NodeId>,
    pub term: u64,
    liveness: Liveness,
    voters: Vec<NodeId>,
    elect_at_ms: Option<i64>,
}

fn sessions() -> Liveness {
    Liveness::new(LivenessConfig { session_ms: 1_000, heartbeat_ms: 100, repeat_ms: 200 })
}

/// What a process sends to announce itself.
pub fn registration(id: NodeId, incarnation: IncarnationId, clean_shutdown: bool) -> Command {
    Command::RegisterBroker(RegisterBroker {
        node_id: id,
        incarnation,
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".into(),
            host: "h".into(),
            port: 9092,
            security_protocol: 0,
        }],
        rpc: format!("n{id}:9192"),
        rack: None,
        directories: vec![directory(id)],
        clean_shutdown,
        features: Vec::new(),
        now: TimestampMs(0),
    })
}

fn directory(id: NodeId) -> DirectoryId {
    DirectoryId([u8::try_from(id.0).expect("few"); 16])
}

fn assignment(plan: &Plan, partition: i32) -> Vec<NodeId> {
    (0..3).map(|replica| NodeId(1 + (partition + replica) % plan.nodes)).collect()
}

impl Group {
    pub fn new(plan: &Plan) -> Self {
        let voters = if plan.nodes >= 5 { 5 } else { 3 };
        Self {
            log: vec![Entry { state: State::default() }],
            controller: Some(NodeId(1)),
            term: 1,
            liveness: sessions(),
            voters: (1..=voters).map(NodeId).collect(),
            elect_at_ms: None,
        }
    }

    pub fn newest(&self) -> &State {
        &self.log.last().expect("never empty").state
    }

    fn views(&self) -> Vec<BrokerView> {
        self.newest().brokers().map(|broker| self.view(broker.id)).collect()
    }

    fn view(&self, id: NodeId) -> BrokerView {
        let broker = self.newest().broker(id).expect("registered");
        BrokerView {
            node_id: id,
            broker_epoch: broker.epoch,
            incarnation: broker.incarnation,
            fenced: broker.fenced,
            in_controlled_shutdown: broker.in_controlled_shutdown,
            index: (self.log.len() - 1) as u64,
        }
    }
}

impl Sim {
    /// The cluster as it is after its nodes were started in peace.
    pub fn found(&mut self) {
        let (nodes, partitions) = (self.plan.nodes, self.plan.partitions);
        let mut commands = Vec::new();
        for id in (1..=nodes).map(NodeId) {
            self.node_mut(id).boot = 1;
            let incarnation = self.node(id).incarnation();
            commands.push(Command::AdmitNode(state::AdmitNode {
                directory: directory(id),
                wanted: Some(id),
                rpc: format!("n{id}:9192"),
                now: TimestampMs(0),
            }));
            commands.push(registration(id, incarnation, true));
        }
        for command in commands {
            self.apply(command);
        }
        let changes = self.group.newest().brokers().map(|broker| FencingChange {
            node_id: broker.id,
            broker_epoch: broker.epoch,
            fenced: false,
            in_controlled_shutdown: false,
        });
        let changes = changes.collect();
        self.apply(Command::ChangeFencing(ChangeFencing { changes }));
        let assignments =
            (0..partitions).map(|at| (PartitionIndex(at), assignment(&self.plan, at))).collect();
        self.apply(Command::CreateTopics(CreateTopics {
            topics: vec![NewTopic {
                name: TOPIC_NAME.into(),
                id: TOPIC,
                partitions: -1,
                replication_factor: -1,
                assignments,
                configs: vec![(
                    "min.insync.replicas".into(),
                    Some(self.plan.insync_min.to_string()),
                )],
            }],
            partitions_default: 1,
            replication_factor_default: 3,
            validate_only: false,
            now: TimestampMs(0),
        }));
        assert!(self.group.newest().topic_by_id(TOPIC).is_some(), "the topic was not made");
        let views = self.group.views();
        self.group.liveness.step(0, Input::TermStarted(views));
        for id in (1..=nodes).map(NodeId) {
            let epoch = self.group.newest().broker(id).map(|broker| broker.epoch);
            let newest = self.group.log.len() - 1;
            let node = self.node_mut(id);
            node.applied = newest;
            self.boot_founded(id, epoch);
        }
    }

    fn apply(&mut self, command: Command) -> (state::Response, Delta) {
        let mut next = self.group.newest().clone();
        let mut delta = Delta::default();
        let index = self.group.log.len() as u64;
        let response = state::apply(&mut next, index, command, &mut delta);
        self.group.log.push(Entry { state: next });
        (response, delta)
    }

    fn has_quorum(&self, id: NodeId) -> bool {
        let alive = |id: NodeId| {
            let node = self.node(id);
            node.up && node.paused_until_ms <= self.now_ms
        };
        let reached =
            self.group.voters.iter().filter(|voter| {
                alive(**voter) && self.passes(id, **voter) && self.passes(**voter, id)
            });
        alive(id) && reached.count() * 2 > self.group.voters.len()
    }

    /// A call of a node reaches the node that it takes for the controller.
    pub fn asked_of(
        &mut self,
        to: NodeId,
        from: NodeId,
        boot: u32,
        id: u64,
        command: Box<Command>,
    ) {
        if self.group.controller != Some(to) {
            return;
        }
        let delay = 1 + self.below(self.plan.delay_ms_max);
        let term = self.group.term;
        self.after(delay, Event::Commit { controller: to, term, from, boot, id, command });
    }

    /// What the controller, or an administrator at it, proposes.
    pub fn administer(&mut self, command: Command) {
        let Some(controller) = self.group.controller else { return };
        self.asked_of(controller, controller, 0, NO_CALL, Box::new(command));
    }

    pub fn commit(
        &mut self,
        controller: NodeId,
        term: u64,
        from: NodeId,
        boot: u32,
        id: u64,
        command: Command,
    ) {
        if self.group.controller != Some(controller)
            || self.group.term != term
            || !self.has_quorum(controller)
        {
            return;
        }
        let (response, delta) = self.apply(command);
        let index = self.group.log.len() - 1;
        self.tell(|| format!("  entry {index}: {response:?}"));
        for node in (1..=self.plan.nodes).map(NodeId) {
            if self.passes(controller, node) {
                let delay = 1 + self.below(self.plan.delay_ms_max * 2);
                self.after(delay, Event::Learn { node, upto: index });
            }
        }
        for broker in delta.brokers {
            let view = self.group.view(broker);
            self.feed(Input::Registered(view));
        }
        if id != NO_CALL {
            let outcome = Some((index, Box::new(response)));
            self.send(controller, from, Message::Proposed { boot, id, outcome });
        }
    }

    /// Tells the sessions something, and does what they say.
    fn feed(&mut self, input: Input) {
        let now_ms = u64::try_from(self.now_ms).expect("time begins at zero");
        let outputs = self.group.liveness.step(now_ms, input);
        let Some(controller) = self.group.controller else { return };
        let mut changes = Vec::new();
        for output in outputs {
            let change = |node_id, broker_epoch, fenced, in_controlled_shutdown| FencingChange {
                node_id,
                broker_epoch,
                fenced,
                in_controlled_shutdown,
            };
            match output {
                Output::Fence { node_id, broker_epoch, .. } => {
                    changes.push(change(node_id, broker_epoch, true, false));
                }
                Output::Unfence { node_id, broker_epoch } => {
                    changes.push(change(node_id, broker_epoch, false, false));
                }
                Output::GrantShutdown { node_id, broker_epoch } => {
                    changes.push(change(node_id, broker_epoch, false, true));
                }
                Output::Probe { node_id: node, broker_epoch: epoch } => {
                    let delay = 1 + self.below(self.plan.delay_ms_max * 2);
                    let term = self.group.term;
                    self.after(delay, Event::Probe { controller, term, node, epoch });
                }
            }
        }
        if !changes.is_empty() {
            self.administer(Command::ChangeFencing(ChangeFencing { changes }));
        }
    }

    pub fn heartbeat(&mut self, to: NodeId, from: NodeId, beat: Beat) {
        if self.group.controller != Some(to) {
            return;
        }
        let epoch = beat.broker_epoch;
        self.feed(Input::Heartbeat(beat));
        let answer = self.group.liveness.answer(from, epoch);
        let boot = self.node(from).boot;
        self.send(to, from, Message::HeartbeatAnswer { boot, answer });
    }

    /// The controller's connection to a process was reset.
    pub fn suspect(&mut self, id: NodeId) {
        if let Some(controller) = self.group.controller
            && self.node(controller).up
            && self.passes(id, controller)
        {
            self.feed(Input::Suspected(id));
        }
    }

    pub fn probed(&mut self, controller: NodeId, term: u64, id: NodeId, epoch: BrokerEpoch) {
        if self.group.controller != Some(controller) || self.group.term != term {
            return;
        }
        let node = self.node(id);
        let reached = self.passes(controller, id) && self.passes(id, controller);
        let outcome = if !reached || node.paused_until_ms > self.now_ms {
            ProbeOutcome::Unknown
        } else if node.up {
            ProbeOutcome::Alive(node.incarnation())
        } else {
            ProbeOutcome::Refused
        };
        self.feed(Input::Probed { node_id: id, broker_epoch: epoch, outcome });
    }

    pub fn group_tick(&mut self) {
        self.after(TICK_MS, Event::GroupTick);
        if self.calm {
            self.replace_disks();
        }
        let leads = self.group.controller.is_some_and(|id| self.has_quorum(id));
        if leads {
            self.group.elect_at_ms = None;
            self.feed(Input::Tick);
            self.catch_up();
            return;
        }
        match self.group.elect_at_ms {
            None => {
                let delay = 50 + self.below(600);
                self.group.elect_at_ms = Some(self.now_ms + delay);
            }
            Some(at_ms) if at_ms <= self.now_ms => self.elect(),
            Some(_) => {}
        }
    }

    fn elect(&mut self) {
        self.group.elect_at_ms = None;
        let able: Vec<NodeId> =
            self.group.voters.iter().copied().filter(|id| self.has_quorum(*id)).collect();
        if able.is_empty() {
            return;
        }
        let pick = usize::try_from(self.below(able.len() as u64)).expect("few");
        self.group.controller = able.get(pick).copied();
        self.group.term += 1;
        self.group.liveness = sessions();
        let views = self.group.views();
        self.feed(Input::TermStarted(views));
    }

    /// Nodes that missed entries are sent them again.
    fn catch_up(&mut self) {
        let newest = self.group.log.len() - 1;
        let Some(controller) = self.group.controller else { return };
        for id in (1..=self.plan.nodes).map(NodeId) {
            if self.node(id).up && self.node(id).applied < newest && self.passes(controller, id) {
                let delay = 1 + self.below(self.plan.delay_ms_max);
                self.after(delay, Event::Learn { node: id, upto: newest });
            }
        }
    }
}
