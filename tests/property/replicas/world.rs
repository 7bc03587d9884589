//! The nodes, the network between them, the clients, and what must hold.

use crate::controller::{Answer, Controller};
use crate::node::{ISR_MIN, LAG_MS_MAX, Node, TOPIC};
use bytes::Bytes;
use purlin::env::clock::{Clock, ManualClock};
use purlin::env::rng::Seeded;
use purlin::partition::{Acks, Appended, Error, Isolation, Partition, ReadRequest};
use purlin::protocol::records::{BatchBuilder, BatchIter, Compression, decode_records};
use purlin::replica::IsrProposal;
use purlin::rpc::replica::{FetchRequest, FetchResponse, Report, ReportResponse};
use purlin::types::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence,
    TimestampMs,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const PARTITIONS: usize = 2;

/// How much happened.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub acknowledged: u64,
    pub elections: u64,
    pub crashes: u64,
    pub stops: u64,
    pub retries: u64,
    pub cuts: u64,
    pub lost_connections: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.elections += other.elections;
        self.crashes += other.crashes;
        self.stops += other.stops;
        self.retries += other.retries;
        self.cuts += other.cuts;
        self.lost_connections += other.lost_connections;
    }
}

#[derive(Debug)]
enum Message {
    Fetch(u64, FetchRequest),
    Fetched(u64, FetchResponse),
    Report(Report),
    Reported(Report, ReportResponse),
}

/// A producer with one batch under way, which it sends again until it is acknowledged.
#[derive(Debug)]
struct Producer {
    id: i64,
    sequence: i32,
    open: Option<OpenBatch>,
}

#[derive(Debug)]
struct OpenBatch {
    batch: Bytes,
    values: Vec<String>,
    /// Where it was appended, and waits.
    at: Option<(NodeId, Appended)>,
}

/// What clients know of one partition.
#[derive(Debug, Default)]
struct Known {
    /// Every record that anybody was ever shown, by offset.
    shown: BTreeMap<i64, String>,
    /// Acknowledged records.
    acknowledged: BTreeMap<i64, String>,
    /// The highest log start that was asked for.
    deleted_to: i64,
}

pub struct World {
    dice: Seeded,
    clock: ManualClock,
    runtime: tokio::runtime::Runtime,
    controller: Controller,
    nodes: Vec<Node>,
    links: BTreeMap<(NodeId, NodeId), VecDeque<Message>>,
    /// ISR changes on their way to the controller.
    proposals: VecDeque<(NodeId, BrokerEpoch, usize, IsrProposal)>,
    producers: Vec<Vec<Producer>>,
    known: Vec<Known>,
    sent: u64,
    pub tally: Tally,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let clock = ManualClock::at(TimestampMs(1_700_000_000_000));
        let mut controller = Controller::new(&NODES, PARTITIONS, ISR_MIN);
        let mut nodes: Vec<Node> =
            NODES.iter().map(|id| Node::new(*id, PARTITIONS, clock.clone())).collect();
        for node in &mut nodes {
            let epoch = controller.register(node.id);
            node.start(epoch, controller.log.len() - 1, false);
        }
        for id in NODES {
            controller.unfence(id);
        }
        let producers = |partition: usize| {
            (0..2)
                .map(|n| Producer {
                    id: i64::try_from(partition * 2 + n).expect("small"),
                    sequence: 0,
                    open: None,
                })
                .collect()
        };
        Self {
            dice: Seeded::new(seed),
            clock,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime"),
            controller,
            nodes,
            links: BTreeMap::new(),
            proposals: VecDeque::new(),
            producers: (0..PARTITIONS).map(producers).collect(),
            known: (0..PARTITIONS).map(|_| Known::default()).collect(),
            sent: 0,
            tally: Tally::default(),
        }
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.dice.below(count as u64)).expect("small")
    }

    pub fn step(&mut self) {
        let place = self.pick(NODES.len());
        match self.dice.below(500) {
            0..=79 => self.produce(),
            80..=159 => self.flush(place),
            160..=259 => {
                self.ask(place);
                self.ask((place + 1) % NODES.len());
            }
            260..=359 => {
                for _ in 0..8 {
                    self.deliver();
                }
            }
            360..=389 => self.answer_waiting(place),
            390..=424 => {
                for place in 0..NODES.len() {
                    if self.dice.chance(70) {
                        self.learn(place);
                    }
                }
            }
            425..=449 => {
                self.decide();
                self.decide();
            }
            450..=464 => self.pass_time(),
            465..=468 => self.checkpoint(place),
            469..=471 => self.delete_records(),
            472..=474 => self.lose_connection(),
            475..=477 => self.begin_crash(place),
            478 => self.stop_cleanly(place),
            479..=480 => self.controller.fence(NODES[place]),
            481..=482 => {
                let index = self.pick(PARTITIONS);
                self.controller.elect(index, NODES[place]);
            }
            _ => self.revive(place),
        }
        self.end_crashes();
        self.hear();
        if std::env::var_os("PURLIN_REPLICAS_TRACE").is_some() {
            eprintln!("{}", self.describe_shortly());
        }
        self.look();
    }

    /// One line a step, for people.
    fn describe_shortly(&self) -> String {
        let mut text = String::new();
        for index in 0..PARTITIONS {
            let decided = self.controller.partition(index);
            let isr: Vec<_> = decided.isr.iter().map(|n| n.0).collect();
            let elr: Vec<_> = decided.elr.iter().map(|n| n.0).collect();
            text += &format!(
                "| {index}: leader {} in {}.{} isr {isr:?} elr {elr:?} ",
                decided.leader, decided.leader_epoch, decided.partition_epoch
            );
            for id in NODES {
                match self.partition(id, index).map(|p| (p.offsets(), p.is_leader())) {
                    Some((Ok(o), leads)) => {
                        let role = if leads { "L" } else { "f" };
                        text += &format!(
                            "{id}{role}{}:{}..{}/{}/{} ",
                            o.leader_epoch, o.log_start, o.high_watermark, o.flushed, o.log_end
                        );
                    }
                    _ => text += &format!("{id}- "),
                }
            }
        }
        text
    }

    fn partition(&self, node: NodeId, index: usize) -> Option<&Arc<Partition>> {
        let node = self.nodes.iter().find(|candidate| candidate.id == node)?;
        node.up.as_ref().map(|running| &running.partitions[index])
    }

    // ---- clients ----

    fn produce(&mut self) {
        let index = self.pick(PARTITIONS);
        // Any node that believes that it leads will do: the metadata of clients is old, too.
        let leaders: Vec<NodeId> = NODES
            .into_iter()
            .filter(|id| self.partition(*id, index).is_some_and(|p| p.is_leader()))
            .collect();
        self.settle(index);
        if leaders.is_empty() {
            return;
        }
        let leader = leaders[self.pick(leaders.len())];
        let pick = self.pick(2);
        let partition = Arc::clone(self.partition(leader, index).expect("it leads"));
        let producer = &mut self.producers[index][pick];
        let retry = producer.open.is_some();
        if producer.open.is_none() {
            let mut values = Vec::new();
            let mut builder = BatchBuilder::new(Compression::None);
            let id = ProducerId(producer.id);
            builder.set_producer(id, ProducerEpoch(0), Sequence(producer.sequence));
            for _ in 0..1 + self.sent % 3 {
                self.sent += 1;
                let value = format!("value {}", self.sent);
                let time = self.clock.now();
                builder.append(time, None, Some(value.as_bytes()), &[]);
                values.push(value);
            }
            producer.open = Some(OpenBatch { batch: builder.build(), values, at: None });
        }
        let open = producer.open.as_mut().expect("just filled");
        if open.at.is_some() {
            return;
        }
        match partition.append(open.batch.clone(), Acks::All) {
            Ok(appended) => {
                self.tally.retries += u64::from(retry && appended.duplicate);
                open.at = Some((leader, appended));
            }
            Err(Error::NotLeader | Error::NotEnoughReplicas | Error::Storage(_)) => {}
            // A former leader that has not heard yet lacks what the producer wrote since.
            Err(Error::Append(purlin::log::AppendError::OutOfOrderSequence(_)))
                if leader != self.controller.partition(index).leader => {}
            Err(error) => panic!("{} refused its producer: {error}", partition.topic_partition()),
        }
    }

    /// Learns which batches are committed, and which have to be sent again.
    fn settle(&mut self, index: usize) {
        for at in 0..self.producers[index].len() {
            let Some((leader, appended)) =
                self.producers[index][at].open.as_ref().and_then(|open| open.at)
            else {
                continue;
            };
            let waited = match self.partition(leader, index) {
                Some(partition) => self.runtime.block_on(
                    partition.committed(&appended, tokio::time::Instant::now() + Duration::ZERO),
                ),
                None => Err(Error::NotLeader),
            };
            match waited {
                Ok(()) => self.acknowledge(index, at),
                // A client that has waited long enough sends it again.
                Err(Error::Timeout) if !self.dice.chance(10) => {}
                Err(_) => {
                    self.producers[index][at].open.as_mut().expect("open").at = None;
                }
            }
        }
    }

    fn acknowledge(&mut self, index: usize, at: usize) {
        let open = self.producers[index][at].open.take().expect("open");
        let (leader, appended) = open.at.expect("appended");
        self.check_durable(index, leader, &appended);
        let producer = &mut self.producers[index][at];
        let count = i32::try_from(open.values.len()).expect("few");
        producer.sequence += count;
        for (offset, value) in (appended.base_offset.0..).zip(open.values) {
            self.tally.acknowledged += 1;
            let before = self.known[index].acknowledged.insert(offset, value);
            assert!(before.is_none(), "offset {offset} was given twice");
        }
    }

    /// What is acknowledged is on the disk of its leader, and of everybody who may be elected
    /// (`DurableAcknowledgement`, `LeaderCandidateCompleteness`).
    fn check_durable(&self, index: usize, leader: NodeId, appended: &Appended) {
        let decided = self.controller.partition(index);
        let candidates = decided.isr.iter().chain(&decided.elr).chain([&leader]);
        for id in candidates {
            let Some(Ok(offsets)) = self.partition(*id, index).map(|p| p.offsets()) else {
                continue;
            };
            assert!(
                offsets.flushed > appended.last_offset,
                "{appended:?} of node {leader} is acknowledged, node {id} has {offsets:?}"
            );
        }
    }

    fn delete_records(&mut self) {
        let index = self.pick(PARTITIONS);
        let leader = self.controller.partition(index).leader;
        let Some(partition) = self.partition(leader, index).cloned() else { return };
        let Ok(offsets) = partition.offsets() else { return };
        let span = offsets.high_watermark.since(offsets.log_start).max(0).unsigned_abs();
        let upto = offsets.log_start.plus(i64::try_from(self.dice.below(span + 1)).expect("small"));
        // On its own thread pool in production; here the future is driven to its end.
        let deleted = self.runtime.block_on(partition.delete_records(upto));
        if deleted.is_ok() {
            let known = &mut self.known[index];
            known.deleted_to = known.deleted_to.max(upto.0);
        }
    }

    // ---- nodes ----

    fn flush(&mut self, place: usize) {
        if let Some(running) = &self.nodes[place].up {
            running.flusher.flush_waiting();
        }
    }

    fn checkpoint(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        let Some(running) = &node.up else { return };
        for (index, partition) in running.partitions.iter().enumerate() {
            partition.advance_recovery_point();
            node.checkpoints[index] = partition.checkpoint().or(node.checkpoints[index]);
        }
    }

    fn pass_time(&mut self) {
        let span_ms = i64::try_from(self.dice.below(LAG_MS_MAX.unsigned_abs())).expect("small");
        self.clock.advance(span_ms);
        if self.dice.chance(10) {
            // Somebody sets the wall clock by an hour (scenario 34).
            self.clock.jump(if self.dice.chance(50) { 3_600_000 } else { -3_600_000 });
        }
        for node in &self.nodes {
            for partition in node.up.iter().flat_map(|running| &running.partitions) {
                partition.tick();
            }
        }
    }

    fn learn(&mut self, place: usize) {
        let now_ms = self.clock.monotonic_ms();
        let skip = self.pick(3);
        let node = &mut self.nodes[place];
        let Some(running) = &mut node.up else { return };
        let next = (running.applied + skip).min(self.controller.log.len().saturating_sub(1));
        if running.applied < self.controller.log.len() {
            running.apply(node.id, &self.controller.log[next], now_ms);
            running.applied = next + 1;
        }
        node.write_lowered();
    }

    fn decide(&mut self) {
        let Some((from, broker_epoch, index, proposal)) = self.proposals.pop_front() else {
            return;
        };
        match self.controller.alter(from, broker_epoch, index, &proposal) {
            Answer::Refused => {
                let boot = self.nodes.iter().find(|n| n.id == from).and_then(|n| n.up.as_ref());
                if let Some(running) = boot.filter(|running| running.broker_epoch == broker_epoch) {
                    running.partitions[index].isr_refused(proposal.partition_epoch);
                }
            }
            Answer::Accepted | Answer::Outdated => {}
        }
    }

    /// Cuts the power at one of the next changes of the disk; the machine is gone soon after.
    fn begin_crash(&mut self, place: usize) {
        let soon = self.dice.below(8);
        let steps = self.dice.below(20);
        let node = &mut self.nodes[place];
        if node.up.is_some() && node.doomed.is_none() {
            node.disk.cut_power_at(node.disk.changes() + soon);
            node.doomed = Some(steps);
        }
    }

    fn end_crashes(&mut self) {
        for place in 0..self.nodes.len() {
            match self.nodes[place].doomed {
                Some(0) => self.crash(place),
                Some(steps) => self.nodes[place].doomed = Some(steps - 1),
                None => {}
            }
        }
    }

    fn crash(&mut self, place: usize) {
        // What was answered before the power went is promised.
        for index in 0..PARTITIONS {
            self.settle(index);
        }
        self.tally.crashes += 1;
        let seed = self.dice.next_u64();
        let node = &mut self.nodes[place];
        node.up = None;
        node.doomed = None;
        node.disk.crash(seed);
        let id = node.id;
        self.cut_off(id);
    }

    fn stop_cleanly(&mut self, place: usize) {
        if self.nodes[place].doomed.is_some() || self.nodes[place].up.is_none() {
            return;
        }
        for index in 0..PARTITIONS {
            self.settle(index);
        }
        self.tally.stops += 1;
        let node = &mut self.nodes[place];
        let running = node.up.take().expect("runs");
        for (index, partition) in running.partitions.iter().enumerate() {
            let closed = partition.close().expect("a sound disk");
            node.checkpoints[index] = closed.or(node.checkpoints[index]);
        }
        let id = node.id;
        self.cut_off(id);
        let epoch = self.controller.register(id);
        self.nodes[place].start(epoch, self.controller.log.len() - 1, true);
    }

    fn revive(&mut self, place: usize) {
        let id = self.nodes[place].id;
        if self.nodes[place].up.is_none() {
            let epoch = self.controller.register(id);
            self.nodes[place].start(epoch, self.controller.log.len() - 1, false);
        } else if self.nodes[place].doomed.is_none() {
            self.controller.unfence(id);
        }
    }

    // ---- network ----

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.links.entry((from, to)).or_default().push_back(message);
    }

    fn running(&mut self, id: NodeId) -> Option<&mut crate::node::Running> {
        self.nodes.iter_mut().find(|node| node.id == id)?.up.as_mut()
    }

    fn ask(&mut self, place: usize) {
        let now_ms = self.clock.monotonic_ms();
        let me = self.nodes[place].id;
        let Some(running) = self.nodes[place].up.as_mut() else { return };
        let mut out = Vec::new();
        for (leader, core) in &mut running.cores {
            while let Some(sent) = core.next_request(now_ms) {
                running.asked.entry(*leader).or_default().insert(sent.id);
                out.push((*leader, Message::Fetch(sent.id, sent.request)));
            }
            if let Some(report) = core.flush_report() {
                out.push((*leader, Message::Report(report)));
            }
        }
        for (leader, message) in out {
            self.send(me, leader, message);
        }
    }

    fn deliver(&mut self) {
        let busy: Vec<(NodeId, NodeId)> = self
            .links
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(link, _)| *link)
            .collect();
        if busy.is_empty() {
            return;
        }
        let link = busy[self.pick(busy.len())];
        let message = self.links.get_mut(&link).and_then(VecDeque::pop_front).expect("not empty");
        self.take(link.0, link.1, message);
    }

    fn take(&mut self, from: NodeId, to: NodeId, message: Message) {
        let now_ms = self.clock.monotonic_ms();
        if self.running(to).is_none() {
            // Nobody listens there: the connection is refused or reset.
            self.links.entry((from, to)).or_default().push_front(message);
            return self.reset(from, to);
        }
        let Some(running) = self.running(to) else { return };
        match message {
            Message::Fetch(id, request) => match running.server.begin(from, request) {
                Ok(fetching) => {
                    running.waiting.push((from, id, fetching));
                    let place = self.nodes.iter().position(|n| n.id == to).expect("known");
                    self.answer_waiting(place);
                }
                Err(error) => {
                    self.send(to, from, Message::Fetched(id, FetchResponse::refused(error)));
                }
            },
            Message::Fetched(id, response) => {
                let known = running.asked.entry(from).or_default().remove(&id);
                let before: Vec<_> = running.partitions.iter().map(end_of).collect();
                if known && let Some(core) = running.cores.get_mut(&from) {
                    core.on_response(now_ms, id, response);
                }
                let after: Vec<_> = running.partitions.iter().map(end_of).collect();
                let cut = before.iter().zip(&after).any(|(before, after)| after < before);
                self.tally.cuts += u64::from(cut);
                let node = self.nodes.iter_mut().find(|node| node.id == to).expect("known");
                node.write_lowered();
            }
            Message::Report(report) => {
                let answer = running.server.report(from, &report);
                self.send(to, from, Message::Reported(report, answer));
            }
            Message::Reported(report, answer) => {
                if let Some(core) = running.cores.get_mut(&from) {
                    core.on_report(&report, Some(&answer));
                }
            }
        }
    }

    fn answer_waiting(&mut self, place: usize) {
        let me = self.nodes[place].id;
        let Some(running) = self.nodes[place].up.as_mut() else { return };
        let server = Arc::clone(&running.server);
        let mut answers = Vec::new();
        running.waiting.retain(|(follower, id, fetching)| match server.poll(fetching) {
            Some(response) => {
                answers.push((*follower, *id, response));
                false
            }
            None => true,
        });
        for (follower, id, response) in answers {
            self.send(me, follower, Message::Fetched(id, response));
        }
    }

    /// A connection is lost, with all that was on it.
    fn lose_connection(&mut self) {
        self.tally.lost_connections += 1;
        let (one, two) = (self.pick(3), self.pick(3));
        self.reset(NODES[one], NODES[two]);
    }

    fn cut_off(&mut self, id: NodeId) {
        for other in NODES {
            self.reset(id, other);
        }
    }

    fn reset(&mut self, one: NodeId, two: NodeId) {
        let now_ms = self.clock.monotonic_ms();
        for (from, to) in [(one, two), (two, one)] {
            // What a follower asked on it is answered by nobody; the leader's side is gone, too.
            let lost = self.links.remove(&(from, to)).unwrap_or_default();
            if let Some(running) = self.running(from) {
                for id in running.asked.remove(&to).unwrap_or_default() {
                    if let Some(core) = running.cores.get_mut(&to) {
                        core.on_failure(now_ms, id);
                    }
                }
                for message in lost {
                    if let (Message::Report(report), Some(core)) =
                        (message, running.cores.get_mut(&to))
                    {
                        core.on_report(&report, None);
                    }
                }
                running.waiting.retain(|(follower, ..)| *follower != to);
            }
        }
    }

    /// Carries on what the partitions said.
    fn hear(&mut self) {
        for place in 0..self.nodes.len() {
            let node = &mut self.nodes[place];
            let Some(running) = node.up.as_mut() else { continue };
            let (proposals, reports, failed) = {
                let mut said = running.ears.0.lock().expect("whole");
                let proposals = std::mem::take(&mut said.proposals);
                (proposals, std::mem::take(&mut said.reports), said.failed)
            };
            assert!(!failed || node.doomed.is_some(), "storage failed on a sound disk");
            for (index, report) in reports {
                let number = PartitionIndex(i32::try_from(index).expect("small"));
                if let Some(core) = running.cores.get_mut(&report.leader) {
                    core.flushed(TOPIC, number, report);
                }
            }
            for (index, proposal) in proposals {
                self.proposals.push_back((node.id, running.broker_epoch, index, proposal));
            }
        }
    }

    // ---- what must hold ----

    /// Everything below a high watermark is committed: nobody may ever see it change.
    fn look(&mut self) {
        for node in &self.nodes {
            for (index, partition) in node.up.iter().flat_map(|r| r.partitions.iter().enumerate()) {
                if node.doomed.is_some() {
                    continue;
                }
                let Ok(offsets) = partition.offsets() else { continue };
                assert!(
                    offsets.log_start <= offsets.high_watermark
                        && offsets.high_watermark <= offsets.log_end
                        && offsets.flushed <= offsets.log_end,
                    "{offsets:?}"
                );
                let found = read_all(&self.runtime, partition, offsets.log_start);
                let known = &mut self.known[index];
                for (offset, value) in found {
                    assert!(offset < offsets.high_watermark.0, "shown above the high watermark");
                    let before = known.shown.entry(offset).or_insert_with(|| value.clone());
                    assert_eq!(*before, value, "node {} at {offset} of {index}", node.id);
                }
            }
        }
        for known in &self.known {
            for (offset, value) in &known.acknowledged {
                if let Some(shown) = known.shown.get(offset) {
                    assert_eq!(shown, value, "acknowledged at {offset}");
                }
            }
        }
    }

    /// Everybody comes back and catches up; then the logs are equal, and hold what was promised.
    pub fn heal_and_compare(&mut self) {
        for place in 0..NODES.len() {
            if self.nodes[place].doomed.is_some() {
                self.crash(place);
            }
        }
        let mut rounds = 0;
        while !self.is_whole() {
            rounds += 1;
            assert!(rounds < 400, "not whole: {}", self.describe());
            self.clock.advance(60);
            for place in 0..NODES.len() {
                self.revive(place);
                for _ in 0..3 {
                    self.learn(place);
                }
                self.flush(place);
                self.ask(place);
                self.answer_waiting(place);
            }
            while self.links.values().any(|queue| !queue.is_empty()) {
                self.deliver();
            }
            if rounds % 3 == 0 {
                for node in &self.nodes {
                    for partition in node.up.iter().flat_map(|running| &running.partitions) {
                        partition.tick();
                    }
                }
            }
            self.hear();
            while !self.proposals.is_empty() {
                self.decide();
            }
            self.look();
        }
        self.tally.elections = self.controller.elections;
        for index in 0..PARTITIONS {
            self.settle(index);
            self.compare(index);
        }
    }

    /// Where everybody stands, for people.
    fn describe(&self) -> String {
        let mut text = format!("{}\n", self.describe_shortly());
        for node in &self.nodes {
            if let Some(running) = &node.up {
                text += &format!(
                    "node {} applied {} of {}, asked {:?}, {} wait\n",
                    node.id,
                    running.applied,
                    self.controller.log.len(),
                    running.asked,
                    running.waiting.len()
                );
                for partition in &running.partitions {
                    let (offsets, position) = (partition.offsets(), partition.fetch_position());
                    text += &format!("  {offsets:?} {position:?} {:?}\n", partition.failure());
                }
            }
        }
        text
    }

    fn is_whole(&self) -> bool {
        (0..PARTITIONS).all(|index| {
            let decided = self.controller.partition(index);
            let ends: Vec<_> = NODES
                .into_iter()
                .map(|id| {
                    let offsets = self.partition(id, index)?.offsets().ok()?;
                    Some((offsets.log_end, offsets.high_watermark))
                })
                .collect();
            decided.isr.len() == NODES.len()
                && ends.iter().all(|end| *end == ends[0] && end.is_some_and(|(e, hw)| e == hw))
        })
    }

    fn compare(&self, index: usize) {
        let known = &self.known[index];
        let logs: Vec<BTreeMap<i64, String>> = NODES
            .into_iter()
            .map(|id| {
                let partition = self.partition(id, index).expect("up");
                let start = partition.offsets().expect("open").log_start;
                read_all(&self.runtime, partition, start)
            })
            .collect();
        for log in &logs {
            let first = log.keys().next().copied().unwrap_or(i64::MAX);
            assert!(first == i64::MAX || first <= known.deleted_to.max(0), "starts at {first}");
            for (offset, value) in known.acknowledged.range(known.deleted_to..) {
                assert_eq!(log.get(offset), Some(value), "acknowledged at {offset} of {index}");
            }
            for (offset, value) in log {
                assert_eq!(logs[0].get(offset).unwrap_or(value), value, "logs differ at {offset}");
            }
            let mut values: Vec<&String> = log.values().collect();
            values.sort();
            let count = values.len();
            values.dedup();
            assert_eq!(values.len(), count, "a batch that was sent again is there twice");
        }
    }
}

fn end_of(partition: &Arc<Partition>) -> Offset {
    partition.offsets().map_or(Offset::ZERO, |offsets| offsets.log_end)
}

fn read_all(
    runtime: &tokio::runtime::Runtime,
    partition: &Partition,
    from: Offset,
) -> BTreeMap<i64, String> {
    let mut found = BTreeMap::new();
    let mut offset = from;
    loop {
        let answer = partition.read_from_any(ReadRequest {
            offset,
            bytes_max: 700,
            at_least_one: true,
            isolation: Isolation::ReadUncommitted,
            current_leader_epoch: LeaderEpoch::NONE,
        });
        let Ok(answer) = answer else { return found };
        let bytes = runtime.block_on(partition.load(answer.records)).expect("loads");
        if bytes.is_empty() {
            return found;
        }
        for batch in BatchIter::new(&bytes) {
            let (header, raw) = batch.expect("whole batches");
            let records = decode_records(&Bytes::copy_from_slice(raw), 1 << 20).expect("ours");
            for record in records {
                let record = record.expect("ours");
                let at = header.base_offset.0 + i64::from(record.offset_delta);
                let value = record.value.expect("every record has a value");
                if at >= from.0 {
                    found.insert(at, String::from_utf8(value.to_vec()).expect("text"));
                }
            }
            offset = header.next_offset();
        }
    }
}
