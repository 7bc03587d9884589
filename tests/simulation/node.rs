//! One node: what `purlin::node` does with partitions, metadata and calls, without its tasks.

use super::{Event, Message, Sim, TOPIC, TOPIC_NAME, Waiting};
use purlin::env::clock::{Clock, ManualClock};
use purlin::env::disk::Disk;
use purlin::env::disk_memory::MemoryDisk;
use purlin::log::flush::Flusher;
use purlin::log::{LogConfig, OpenHints, Shared};
use purlin::metadata::liveness::Beat;
use purlin::metadata::state::{
    AlterPartitions, Command, IsrChange, LeaderRecoveryState, ReplicasFailed, Response,
};
use purlin::partition::fetcher::{Core, Options, Throttle};
use purlin::partition::serve::{Fetching, ReplicaServer};
use purlin::partition::{Assignment, Checkpoint, Notices, OpenOptions, Partition, Table};
use purlin::replica::{FlushReport, IsrProposal, Settings};
use purlin::rpc::replica::{FetchResponse, Report, ReportResponse};
use purlin::types::invariant::{self as catalogue, Invariant};
use purlin::types::{
    BrokerEpoch, IncarnationId, NodeId, Offset, PartitionIndex, TimestampMs, TopicId, TopicName,
    TopicPartition,
};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const DATA: &str = "/d";
const BEAT_MS: i64 = 100;
const TICK_MS: i64 = 250;
const LAG_MS_MAX: i64 = 600;
const CALL_MS: i64 = 400;
const FETCH_WAIT_MS: u32 = 250;
const WALL_MS: i64 = 1_700_000_000_000;

/// What partitions said, until the node has looked.
#[derive(Debug, Default)]
struct Board(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    isr: BTreeMap<PartitionIndex, IsrProposal>,
    failed: Vec<PartitionIndex>,
    flushed: Vec<(PartitionIndex, FlushReport)>,
    lowered: Vec<PartitionIndex>,
}

impl Board {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notices for Board {
    fn isr_wanted(&self, name: &TopicPartition, _: TopicId, proposal: IsrProposal) {
        self.notes().isr.insert(name.partition, proposal);
    }

    fn storage_failed(&self, name: &TopicPartition, _: TopicId, _: &str) {
        self.notes().failed.push(name.partition);
    }

    fn log_start_moved(&self, _: &TopicPartition) {}

    fn flushed_as_follower(&self, name: &TopicPartition, _: TopicId, report: FlushReport) {
        self.notes().flushed.push((name.partition, report));
    }

    fn recovery_point_lowered(&self, name: &TopicPartition) {
        self.notes().lowered.push(name.partition);
    }
}

/// A proposal that is under way.
#[derive(Debug, Clone)]
pub enum Asked {
    Register,
    Isr(Vec<(PartitionIndex, IsrProposal)>),
    Failed(Vec<PartitionIndex>),
}

/// One node.
pub struct Node {
    pub id: NodeId,
    pub disk: MemoryDisk,
    pub clock: ManualClock,
    clock_at_ms: i64,
    pub flusher: Flusher,
    shared: Arc<Shared>,
    pub table: Arc<Table>,
    server: Arc<ReplicaServer>,
    board: Arc<Board>,
    cores: BTreeMap<NodeId, Core>,
    throttle: Arc<Mutex<Throttle>>,
    fetching: Vec<(NodeId, (u32, i32), u64, Fetching)>,
    /// The report that waits for its answer, by leader.
    reporting: BTreeMap<NodeId, Report>,
    pub up: bool,
    pub paused_until_ms: i64,
    pub boot: u32,
    pub broker_epoch: Option<BrokerEpoch>,
    pub clean: bool,
    /// How much of the metadata it has applied; durable.
    pub applied: usize,
    pub slow_until_ms: i64,
    checkpoints: BTreeMap<PartitionIndex, Checkpoint>,
    pub waiting: Vec<Waiting>,
    isr: BTreeMap<PartitionIndex, IsrProposal>,
    failed: Vec<PartitionIndex>,
    /// Partitions that did not open, and why.
    pub unopened: BTreeMap<PartitionIndex, String>,
    asked: BTreeMap<u64, Asked>,
    answered: Vec<(u64, usize, Response)>,
    next_call: u64,
    pub wakes_at_ms: Option<i64>,
    flush_due: bool,
    /// From this change of its disk on the power is off.
    pub power_ends: Option<i64>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.id)
    }
}

fn on_disk(
    disk: &MemoryDisk,
    clock: &ManualClock,
) -> (Flusher, Arc<Shared>, Arc<Table>, Arc<ReplicaServer>) {
    let shared_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let flusher = Flusher::manual(Arc::clone(&shared_disk), Path::new(DATA));
    let shared = Shared::new(shared_disk, Path::new(DATA));
    let table = Arc::new(Table::new());
    let server = ReplicaServer::new(Arc::clone(&table), Arc::new(clock.clone()));
    (flusher, shared, table, server)
}

impl Node {
    pub fn new(id: NodeId) -> Self {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new(DATA)).expect("an empty disk");
        disk.sync_dir(Path::new("/")).expect("an empty disk");
        let clock = ManualClock::at(TimestampMs(WALL_MS));
        let (flusher, shared, table, server) = on_disk(&disk, &clock);
        Self {
            id,
            disk,
            clock,
            clock_at_ms: 0,
            flusher,
            shared,
            table,
            server,
            board: Arc::default(),
            cores: BTreeMap::new(),
            throttle: Arc::new(Mutex::new(Throttle::new(u64::MAX / 2_000, 0))),
            fetching: Vec::new(),
            reporting: BTreeMap::new(),
            up: true,
            paused_until_ms: 0,
            boot: 0,
            broker_epoch: None,
            clean: true,
            applied: 0,
            slow_until_ms: 0,
            checkpoints: BTreeMap::new(),
            waiting: Vec::new(),
            isr: BTreeMap::new(),
            failed: Vec::new(),
            unopened: BTreeMap::new(),
            asked: BTreeMap::new(),
            answered: Vec::new(),
            next_call: 0,
            wakes_at_ms: None,
            flush_due: false,
            power_ends: None,
        }
    }

    pub fn incarnation(&self) -> IncarnationId {
        let mut bytes = [1; 16];
        bytes[..4].copy_from_slice(&self.id.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.boot.to_be_bytes());
        IncarnationId(bytes)
    }

    pub fn partition(&self, index: PartitionIndex) -> Option<Arc<Partition>> {
        self.table.by_id(TOPIC, index)
    }

    fn set_time(&mut self, now_ms: i64) {
        if now_ms > self.clock_at_ms {
            self.clock.advance(now_ms - self.clock_at_ms);
            self.clock_at_ms = now_ms;
        }
    }

    fn open(&mut self, index: PartitionIndex, insync_min: i32) -> Option<Arc<Partition>> {
        let checkpoint = self.checkpoints.get(&index).copied();
        let options = OpenOptions {
            name: name_of(index),
            topic_id: TOPIC,
            node: self.id,
            dir: dir_of(index),
            disk: Arc::new(self.disk.clone()),
            config: LogConfig { segment_bytes: 1_500, ..LogConfig::default() },
            settings: Settings {
                min_insync_replicas: usize::try_from(insync_min).expect("small"),
                write_caching: false,
                lag_ms_max: LAG_MS_MAX,
            },
            hints: OpenHints {
                topic_id: Some(TOPIC),
                flushed_checkpoint: checkpoint.map(|c| c.flushed),
                log_start_checkpoint: checkpoint.map(|c| c.log_start),
                shared: Some(Arc::clone(&self.shared)),
                ..OpenHints::default()
            },
            high_watermark: checkpoint.map_or(Offset::ZERO, |c| c.high_watermark),
            clock: Arc::new(self.clock.clone()) as Arc<dyn Clock>,
            flusher: self.flusher.clone(),
            notices: Arc::clone(&self.board) as Arc<dyn Notices>,
        };
        match Partition::open(options) {
            Ok((partition, _)) => {
                self.table.insert(Arc::clone(&partition));
                Some(partition)
            }
            // Reported as failed, and tried again at the next start.
            Err(error) => {
                self.unopened.insert(index, error.to_string());
                self.failed.push(index);
                None
            }
        }
    }

    fn write_checkpoints(&mut self) {
        for partition in self.table.all() {
            partition.advance_recovery_point();
            if let Some(checkpoint) = partition.checkpoint() {
                self.checkpoints.insert(partition.topic_partition().partition, checkpoint);
            }
        }
    }
}

fn name_of(index: PartitionIndex) -> TopicPartition {
    TopicPartition::new(TopicName::new(TOPIC_NAME).expect("valid"), index)
}

pub fn dir_of(index: PartitionIndex) -> PathBuf {
    PathBuf::from(format!("{DATA}/{TOPIC_NAME}-{index}"))
}

impl Sim {
    /// The process begins.
    pub fn boot(&mut self, id: NodeId) {
        let now_ms = self.now_ms;
        let node = self.node_mut(id);
        if node.up && node.boot > 0 {
            return;
        }
        node.up = true;
        node.boot += 1;
        node.set_time(now_ms);
        (node.flusher, node.shared, node.table, node.server) = on_disk(&node.disk, &node.clock);
        node.board = Arc::default();
        node.broker_epoch = None;
        self.begin(id);
        self.register(id);
        self.settle(id);
    }

    fn begin(&mut self, id: NodeId) {
        let boot = self.node(id).boot;
        let delay = 1 + self.below(100);
        self.after(delay, Event::Beat { node: id, boot });
        self.after(delay + TICK_MS, Event::Tick { node: id, boot });
    }

    /// The process runs and is registered already.
    pub fn boot_founded(&mut self, id: NodeId, epoch: Option<BrokerEpoch>) {
        let node = self.node_mut(id);
        node.boot = 1;
        node.broker_epoch = epoch;
        self.begin(id);
        self.reconcile(id);
        self.settle(id);
    }

    /// The process is gone: what it held in memory with it.
    pub fn stop(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.up = false;
        node.paused_until_ms = 0;
        node.cores.clear();
        node.fetching.clear();
        node.reporting.clear();
        node.waiting.clear();
        node.isr.clear();
        node.failed.clear();
        node.unopened.clear();
        node.asked.clear();
        node.answered.clear();
        node.wakes_at_ms = None;
        node.flush_due = false;
        node.power_ends = None;
        node.broker_epoch = None;
        node.table = Arc::new(Table::new());
        let delay = 1 + self.below(10);
        self.after(delay, Event::Suspect { node: id });
    }

    fn register(&mut self, id: NodeId) {
        let node = self.node(id);
        let waits = node.asked.values().any(|asked| matches!(asked, Asked::Register));
        if waits || !node.up {
            return;
        }
        let command = super::group::registration(node.id, node.incarnation(), node.clean);
        self.propose(id, command, Asked::Register);
    }

    fn propose(&mut self, id: NodeId, command: Command, asked: Asked) {
        let node = self.node_mut(id);
        node.next_call += 1;
        let (call, boot) = (node.next_call, node.boot);
        node.asked.insert(call, asked);
        if let Some(controller) = self.group.controller {
            let message = Message::Propose { boot, id: call, command: Box::new(command) };
            self.send(id, controller, message);
        }
        self.after(CALL_MS, Event::ProposalLost { node: id, boot, id: call });
    }

    pub fn proposal_lost(&mut self, id: NodeId, boot: u32, call: u64) {
        let node = self.node_mut(id);
        if !node.up || node.boot != boot {
            return;
        }
        match node.asked.remove(&call) {
            // Whether it happened is not known: asked again, as it was.
            Some(Asked::Isr(wishes)) => {
                for (index, proposal) in wishes {
                    node.isr.entry(index).or_insert(proposal);
                }
            }
            Some(Asked::Failed(failed)) => node.failed.extend(failed),
            Some(Asked::Register) => self.register(id),
            None => return,
        }
        self.settle(id);
    }

    fn proposed(&mut self, id: NodeId, call: u64, response: Response) {
        let node = self.node_mut(id);
        match (node.asked.remove(&call), response) {
            (Some(Asked::Register), Response::RegisterBroker(Ok(epoch))) => {
                node.broker_epoch = Some(epoch);
                for core in node.cores.values_mut() {
                    core.set_broker_epoch(epoch);
                }
                self.reconcile(id);
            }
            (Some(Asked::Isr(wishes)), Response::AlterPartitions(results)) => {
                for ((index, wish), result) in wishes.into_iter().zip(results) {
                    let Err(refusal) = result else { continue };
                    if refusal.kind.settles_isr_change()
                        && let Some(partition) = node.partition(index)
                    {
                        partition.isr_refused(wish.partition_epoch);
                    }
                }
            }
            _ => {}
        }
    }

    pub fn beat(&mut self, id: NodeId, boot: u32) {
        let node = self.node(id);
        if !node.up || node.boot != boot {
            return;
        }
        let ready = node.broker_epoch.is_some_and(|epoch| {
            let state = &self.group.log[node.applied].state;
            state.broker(id).is_some_and(|broker| broker.epoch == epoch)
        });
        let beat = Beat {
            node_id: id,
            broker_epoch: node.broker_epoch.unwrap_or(BrokerEpoch::NONE),
            incarnation: node.incarnation(),
            applied_index: node.applied as u64,
            ready,
            wants_shutdown: false,
        };
        if node.broker_epoch.is_some() {
            if let Some(controller) = self.group.controller {
                self.send(id, controller, Message::Heartbeat(beat));
            }
        } else {
            self.register(id);
        }
        self.after(BEAT_MS, Event::Beat { node: id, boot });
    }

    pub fn tick(&mut self, id: NodeId, boot: u32) {
        if !self.node(id).up || self.node(id).boot != boot {
            return;
        }
        let now_ms = self.now_ms;
        self.node_mut(id).set_time(now_ms);
        for partition in self.node(id).table.all() {
            partition.tick();
        }
        if self.rng.chance(30) {
            self.node_mut(id).write_checkpoints();
        }
        self.after(TICK_MS, Event::Tick { node: id, boot });
        self.settle(id);
    }

    /// The node applies metadata up to an entry.
    pub fn learn(&mut self, id: NodeId, upto: usize) {
        let node = self.node_mut(id);
        if !node.up || upto <= node.applied {
            return;
        }
        node.applied = upto;
        self.reconcile(id);
        let node = self.node_mut(id);
        let ready: Vec<_> = std::mem::take(&mut node.answered);
        for (call, index, response) in ready {
            if index <= self.node(id).applied {
                self.proposed(id, call, response);
            } else {
                self.node_mut(id).answered.push((call, index, response));
            }
        }
        self.settle(id);
    }

    /// Makes the node's partitions what its applied metadata says.
    fn reconcile(&mut self, id: NodeId) {
        let now_ms = self.now_ms;
        let insync_min = self.plan.insync_min;
        let state = self.group.log[self.node(id).applied].state.clone();
        let node = self.node_mut(id);
        node.set_time(now_ms);
        // What was decided before this process registered is not for it.
        let current = state.broker(id).map(|broker| broker.epoch);
        let Some(broker_epoch) = node.broker_epoch.filter(|epoch| Some(*epoch) == current) else {
            return;
        };
        let Some(topic) = state.topic_by_id(TOPIC) else { return };
        for (index, wanted) in topic.partitions() {
            if !wanted.replicas.contains(&id) {
                if let Some(gone) = node.table.remove(TOPIC, index) {
                    gone.retire();
                    let _ = node.disk.remove_dir_all(&dir_of(index));
                    let _ = node.disk.sync_dir(Path::new(DATA));
                    node.checkpoints.remove(&index);
                }
                for core in node.cores.values_mut() {
                    core.remove(TOPIC, index);
                }
                continue;
            }
            let partition = match node.partition(index) {
                Some(partition) => partition,
                None if node.unopened.contains_key(&index) => continue,
                None => match node.open(index, insync_min) {
                    Some(partition) => partition,
                    None => continue,
                },
            };
            let registration = |replica: &NodeId| {
                let broker = state.broker(*replica).filter(|broker| !broker.fenced);
                (*replica, broker.map(|broker| broker.epoch))
            };
            let leader = wanted.leader.unwrap_or(NodeId::NONE);
            let assignment = Assignment {
                leader,
                leader_epoch: wanted.leader_epoch,
                partition_epoch: wanted.partition_epoch,
                replicas: wanted.replicas.iter().map(registration).collect(),
                isr: wanted.isr.iter().copied().collect(),
                elr: wanted.elr.iter().copied().collect(),
            };
            partition.assign(id, assignment);
            for (other, core) in &mut node.cores {
                if *other != leader {
                    core.remove(TOPIC, index);
                }
            }
            if leader != id && leader != NodeId::NONE {
                let throttle = Arc::clone(&node.throttle);
                let core = node.cores.entry(leader).or_insert_with(|| {
                    let mut options = Options::new(id, broker_epoch, leader, throttle);
                    options.wait_ms_max = FETCH_WAIT_MS;
                    Core::new(options)
                });
                core.add(partition, wanted.leader_epoch);
            } else if let Some(core) = node.cores.get_mut(&leader) {
                core.remove(TOPIC, index);
            }
        }
    }

    pub fn arrive(&mut self, from: NodeId, to: NodeId, message: Message) {
        if !self.node(to).up {
            return;
        }
        let now_ms = self.now_ms;
        let node = self.node_mut(to);
        node.set_time(now_ms);
        match message {
            Message::Fetch { core, id, request } => match node.server.begin(from, request) {
                Ok(fetching) => node.fetching.push((from, core, id, fetching)),
                Err(error) => {
                    let response = FetchResponse::refused(error);
                    self.send(to, from, Message::Fetched { core, id, response });
                }
            },
            Message::Fetched { core, id, response } => {
                if node.boot == core.0
                    && let Some(core) = node.cores.get_mut(&from)
                {
                    core.on_response(now_ms, id, response);
                }
            }
            Message::Report { core, report } => {
                let response = node.server.report(from, &report);
                self.send(to, from, Message::Reported { core, report, response });
            }
            Message::Reported { core, report, response } => {
                self.reported(to, core, &report, Some(&response));
            }
            Message::Heartbeat(beat) => self.heartbeat(to, from, beat),
            Message::HeartbeatAnswer { boot, answer } => {
                if node.boot == boot && answer.unknown && node.asked.is_empty() {
                    node.broker_epoch = None;
                }
            }
            Message::Propose { boot, id, command } => self.asked_of(to, from, boot, id, command),
            Message::Proposed { boot, id, outcome } => {
                if node.boot == boot
                    && let Some((index, response)) = outcome
                {
                    if index <= node.applied {
                        self.proposed(to, id, *response);
                    } else {
                        node.answered.push((id, index, *response));
                    }
                }
            }
        }
        self.settle(to);
    }

    pub fn fetch_lost(&mut self, id: NodeId, (boot, leader): (u32, i32), sent: u64) {
        let now_ms = self.now_ms;
        let node = self.node_mut(id);
        if node.up
            && node.boot == boot
            && let Some(core) = node.cores.get_mut(&NodeId(leader))
        {
            core.on_failure(now_ms, sent);
            self.settle(id);
        }
    }

    pub fn reported(
        &mut self,
        id: NodeId,
        (boot, leader): (u32, i32),
        report: &Report,
        response: Option<&ReportResponse>,
    ) {
        let node = self.node_mut(id);
        let leader = NodeId(leader);
        if !node.up || node.boot != boot || node.reporting.get(&leader) != Some(report) {
            return;
        }
        node.reporting.remove(&leader);
        if let Some(core) = node.cores.get_mut(&leader) {
            core.on_report(report, response);
        }
        self.settle(id);
    }

    pub fn flush(&mut self, id: NodeId, boot: u32) {
        let now_ms = self.now_ms;
        let node = self.node_mut(id);
        if !node.up || node.boot != boot {
            return;
        }
        node.set_time(now_ms);
        node.flush_due = false;
        node.flusher.flush_waiting();
        self.settle(id);
    }

    /// After anything that happened on a node: what its partitions said is carried on.
    pub fn settle(&mut self, id: NodeId) {
        if !self.node(id).up {
            return;
        }
        let now_ms = self.now_ms;
        self.node_mut(id).set_time(now_ms);
        if self.power_is_out(id) {
            return;
        }
        self.carry_notes(id);
        self.answer_producers(id);
        self.serve(id);
        self.fetch(id);
        self.watch(id);
        let node = self.node_mut(id);
        if node.flusher.waiting_count() > 0 && !node.flush_due {
            node.flush_due = true;
            let boot = node.boot;
            let delay = self.below(self.plan.flush_ms_max);
            self.after(delay, Event::Flush { node: id, boot });
        }
    }

    fn carry_notes(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        let notes = std::mem::take(&mut *node.board.notes());
        node.isr.extend(notes.isr);
        node.failed.extend(notes.failed);
        for (index, report) in notes.flushed {
            if let Some(core) = node.cores.get_mut(&report.leader) {
                core.flushed(TOPIC, index, report);
            }
        }
        if !notes.lowered.is_empty() {
            node.write_checkpoints();
        }
        let Some(broker_epoch) = node.broker_epoch else { return };
        let busy = node.asked.values().any(|asked| !matches!(asked, Asked::Register));
        if busy {
            return;
        }
        if !node.failed.is_empty() {
            let failed = std::mem::take(&mut node.failed);
            let command = Command::ReplicasFailed(ReplicasFailed {
                node_id: id,
                broker_epoch,
                partitions: failed.iter().map(|index| (TOPIC, *index)).collect(),
                usable: false,
            });
            self.propose(id, command, Asked::Failed(failed));
        } else if !node.isr.is_empty() {
            let wishes: Vec<_> = std::mem::take(&mut node.isr).into_iter().collect();
            let member = |(replica, epoch): &(NodeId, Option<BrokerEpoch>)| {
                let own = (*replica == id).then_some(broker_epoch);
                (*replica, own.or(*epoch).unwrap_or(BrokerEpoch::NONE))
            };
            let change = |(index, wish): &(PartitionIndex, IsrProposal)| IsrChange {
                topic_id: TOPIC,
                partition: *index,
                leader_epoch: wish.leader_epoch,
                partition_epoch: wish.partition_epoch,
                isr: wish.isr.iter().map(member).collect(),
                lost: wish.lost.clone(),
                recovery: LeaderRecoveryState::Recovered,
            };
            let changes = wishes.iter().map(change).collect();
            let command =
                Command::AlterPartitions(AlterPartitions { node_id: id, broker_epoch, changes });
            self.propose(id, command, Asked::Isr(wishes));
        }
    }

    fn serve(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        let server = Arc::clone(&node.server);
        let mut answers = Vec::new();
        let mut open = Vec::new();
        for (from, core, sent, fetching) in std::mem::take(&mut node.fetching) {
            match server.poll(&fetching) {
                Some(response) => answers.push((from, core, sent, response)),
                None => open.push((from, core, sent, fetching)),
            }
        }
        let until = open.iter().map(|(.., fetching)| fetching.deadline_ms()).min();
        node.fetching = open;
        for (from, core, sent, response) in answers {
            self.send(id, from, Message::Fetched { core, id: sent, response });
        }
        if let Some(until) = until {
            self.wake(id, until);
        }
    }

    fn fetch(&mut self, id: NodeId) {
        let now_ms = self.now_ms;
        let node = self.node_mut(id);
        let boot = node.boot;
        let (mut requests, mut reports, mut wakes) = (Vec::new(), Vec::new(), Vec::new());
        for (leader, core) in &mut node.cores {
            // One at a time: what is flushed meanwhile goes with the next.
            if !node.reporting.contains_key(leader) {
                reports.extend(core.flush_report().map(|report| (*leader, report)));
            }
            while let Some(sent) = core.next_request(now_ms) {
                requests.push((*leader, sent));
            }
            wakes.extend(core.wakes_at_ms());
        }
        for (leader, report) in reports {
            let core = (boot, leader.0);
            self.node_mut(id).reporting.insert(leader, report.clone());
            self.after(CALL_MS, Event::ReportLost { node: id, core, report: report.clone() });
            self.send(id, leader, Message::Report { core, report });
        }
        for (leader, sent) in requests {
            let core = (boot, leader.0);
            let message = Message::Fetch { core, id: sent.id, request: sent.request };
            self.send(id, leader, message);
            self.after(CALL_MS * 2, Event::FetchLost { node: id, core, id: sent.id });
        }
        if let Some(first) = wakes.into_iter().min() {
            self.wake(id, first);
        }
    }

    fn wake(&mut self, id: NodeId, at_ms: i64) {
        let at_ms = at_ms.max(self.now_ms + 1);
        let node = self.node_mut(id);
        if node.wakes_at_ms.is_none_or(|planned| planned > at_ms) {
            node.wakes_at_ms = Some(at_ms);
            let boot = node.boot;
            self.at(at_ms, Event::Wake { node: id, boot });
        }
    }

    /// Holds what can be seen of a node against the catalogue.
    fn watch(&mut self, id: NodeId) {
        for partition in self.node(id).table.all() {
            let index = partition.topic_partition().partition;
            let Ok(offsets) = partition.offsets() else { continue };
            let order = catalogue::offset_order(
                offsets.log_start,
                offsets.last_stable,
                offsets.high_watermark,
                offsets.log_end,
            );
            self.broken(order);
            if !partition.is_leader() {
                continue;
            }
            let epoch = offsets.leader_epoch;
            let led = self.leaders.entry(index.0).or_default().note(epoch, id);
            self.broken(led);
            let known =
                self.watermarks.entry((index.0, id, epoch)).or_insert(offsets.high_watermark);
            let before = std::mem::replace(known, offsets.high_watermark);
            let monotonic = catalogue::monotonic_high_watermark(id, before, offsets.high_watermark);
            self.broken(monotonic);
            let durable = catalogue::check(
                Invariant::DurableAcknowledgement,
                offsets.high_watermark <= offsets.flushed || before == offsets.high_watermark,
                || format!("leader {id} shows {offsets:?}"),
            );
            self.broken(durable);
        }
    }
}
