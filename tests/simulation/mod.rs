//! Whole clusters in one thread and one queue of events, by seed.
//!
//! Real: `purlin::partition` (log, replica rules, waiters, fetcher core, fetch sessions) on
//! `env::disk_memory`, `purlin::metadata::state` and `purlin::metadata::liveness`. Simulated: the
//! network, the clocks, the flusher's moments, and the metadata group as a replicated log with
//! terms (openraft runs on a runtime of its own and cannot be made to do the same thing twice; it
//! is tested in `src/metadata/raft/tests`). What joins them here does what `purlin::node` does.
//!
//! Everything follows from the seed: one generator, ordered maps, no thread, no clock.

mod clients;
mod faults;
mod finish;
mod group;
mod node;
pub mod plan;

use clients::{Producer, Reader};
use group::Group;
use node::Node;
use plan::{Mode, Plan};
use purlin::env::rng::Seeded;
use purlin::metadata::liveness::{Beat, BeatAnswer};
use purlin::metadata::state::{Command, Response};
use purlin::rpc::replica::{FetchRequest, FetchResponse, Report, ReportResponse};
use purlin::types::invariant::{EpochLeaders, Violation};
use purlin::types::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::pin::Pin;
use std::rc::Rc;

pub const TOPIC: TopicId = TopicId([9; 16]);
pub const TOPIC_NAME: &str = "t";
/// However long it takes to heal, a run ends here.
const END_MS: i64 = 40_000;
/// No run of this size has more; one that does is in a circle.
const EVENTS_MAX: u64 = 400_000;

/// A record, by who sent it and which of theirs it is.
pub type Id = (u32, u64);

/// What travels.
#[derive(Debug, Clone)]
pub enum Message {
    Fetch {
        core: (u32, i32),
        id: u64,
        request: FetchRequest,
    },
    Fetched {
        core: (u32, i32),
        id: u64,
        response: FetchResponse,
    },
    Report {
        core: (u32, i32),
        report: Report,
    },
    Reported {
        core: (u32, i32),
        report: Report,
        response: ReportResponse,
    },
    Heartbeat(Beat),
    HeartbeatAnswer {
        boot: u32,
        answer: BeatAnswer,
    },
    Propose {
        boot: u32,
        id: u64,
        command: Box<Command>,
    },
    /// The answer, once the entry at this index is applied; nothing when it is not known.
    Proposed {
        boot: u32,
        id: u64,
        outcome: Option<(usize, Box<Response>)>,
    },
}

/// What is going to happen.
#[derive(Debug)]
pub enum Event {
    Arrive {
        from: NodeId,
        to: NodeId,
        message: Message,
    },
    /// The fetch was not answered in time.
    FetchLost {
        node: NodeId,
        core: (u32, i32),
        id: u64,
    },
    ReportLost {
        node: NodeId,
        core: (u32, i32),
        report: Report,
    },
    ProposalLost {
        node: NodeId,
        boot: u32,
        id: u64,
    },
    Flush {
        node: NodeId,
        boot: u32,
    },
    Wake {
        node: NodeId,
        boot: u32,
    },
    Beat {
        node: NodeId,
        boot: u32,
    },
    Tick {
        node: NodeId,
        boot: u32,
    },
    Boot {
        node: NodeId,
    },
    Learn {
        node: NodeId,
        upto: usize,
    },
    Commit {
        controller: NodeId,
        term: u64,
        from: NodeId,
        boot: u32,
        id: u64,
        command: Box<Command>,
    },
    GroupTick,
    Probe {
        controller: NodeId,
        term: u64,
        node: NodeId,
        epoch: purlin::types::BrokerEpoch,
    },
    Suspect {
        node: NodeId,
    },
    Produce {
        producer: usize,
        node: NodeId,
        partition: i32,
        number: u64,
        attempt: u64,
    },
    Produced {
        producer: usize,
        partition: i32,
        number: u64,
        attempt: u64,
        answer: Result<i64, ()>,
    },
    ProducerTick {
        producer: usize,
    },
    ReaderTick {
        reader: usize,
    },
    Fault(usize),
    Heal(Box<plan::FaultKind>),
    Calm,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub violation: Option<Violation>,
    pub acknowledged: usize,
    pub events: u64,
    pub simulated_ms: i64,
    /// Every event as a line, where that was asked for.
    pub trace: String,
}

/// The world of one seed.
pub struct Sim {
    pub plan: Plan,
    pub rng: Seeded,
    pub now_ms: i64,
    queue: BTreeMap<(i64, u64), Event>,
    next_event: u64,
    events: u64,
    pub nodes: Vec<Node>,
    pub group: Group,
    pub producers: Vec<Producer>,
    pub readers: Vec<Reader>,
    /// One-way cuts, counted, since they may overlap.
    pub cuts: BTreeMap<(i32, i32), u32>,
    pub calm: bool,
    /// Records that were ever shown to a reader or acknowledged, by partition and offset.
    pub shown: BTreeMap<(i32, i64), Id>,
    /// Offsets that acknowledged records were said to have.
    pub acknowledged: BTreeMap<Id, (i32, i64)>,
    pub leaders: BTreeMap<i32, EpochLeaders>,
    /// The highest watermark of each leadership.
    pub watermarks: BTreeMap<(i32, NodeId, LeaderEpoch), Offset>,
    pub violation: Option<Violation>,
    trace: Option<String>,
    pub runtime: Rc<tokio::runtime::Runtime>,
}

/// One produce that waits for the high watermark.
pub struct Waiting {
    pub producer: usize,
    pub partition: PartitionIndex,
    pub number: u64,
    pub attempt: u64,
    pub base_offset: Offset,
    /// `Partition::committed`.
    pub committed: Pin<Box<dyn Future<Output = Result<(), purlin::partition::Error>>>>,
}

/// Runs one seed. `skip` names faults to leave out.
pub fn run(seed: u64, mode: Mode, skip: &BTreeSet<usize>, traced: bool) -> Outcome {
    let mut sim = Sim::new(Plan::draw(seed, mode), traced);
    for (at, fault) in sim.plan.faults.clone().into_iter().enumerate() {
        if !skip.contains(&at) {
            sim.at(fault.at_ms, Event::Fault(at));
        }
    }
    sim.go();
    Outcome {
        violation: sim.violation,
        acknowledged: sim.acknowledged.len(),
        events: sim.events,
        simulated_ms: sim.now_ms,
        trace: sim.trace.unwrap_or_default(),
    }
}

impl Sim {
    fn new(plan: Plan, traced: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .max_blocking_threads(1)
            .build()
            .expect("a runtime");
        let runtime = Rc::new(runtime);
        let rng = Seeded::new(plan.seed ^ 0x5eed);
        let mut sim = Self {
            rng,
            now_ms: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            events: 0,
            nodes: Vec::new(),
            group: Group::new(&plan),
            producers: Vec::new(),
            readers: Vec::new(),
            cuts: BTreeMap::new(),
            calm: false,
            shown: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            leaders: BTreeMap::new(),
            watermarks: BTreeMap::new(),
            violation: None,
            trace: traced.then(String::new),
            runtime,
            plan,
        };
        for id in 1..=sim.plan.nodes {
            sim.nodes.push(Node::new(NodeId(id)));
        }
        sim.found();
        for producer in 0..sim.plan.producers {
            sim.producers.push(Producer::new(producer, sim.plan.partitions));
            let at_ms = i64::from(producer);
            sim.at(at_ms, Event::ProducerTick { producer: producer as usize });
        }
        for partition in 0..sim.plan.partitions {
            sim.readers.push(Reader::new(partition));
            sim.at(5, Event::ReaderTick { reader: partition as usize });
        }
        sim.at(20, Event::GroupTick);
        sim.at(sim.plan.calm_from_ms, Event::Calm);
        sim
    }

    fn go(&mut self) {
        while let Some(((at_ms, _), event)) = self.queue.pop_first() {
            self.now_ms = at_ms;
            self.events += 1;
            self.tell(|| format!("{event:?}"));
            self.happen(event);
            if self.violation.is_some() {
                break;
            }
            if self.is_done() {
                self.finish();
                break;
            }
            if self.now_ms > END_MS || self.events > EVENTS_MAX {
                self.stuck();
                break;
            }
        }
    }

    pub fn at(&mut self, at_ms: i64, event: Event) {
        self.next_event += 1;
        self.queue.insert((at_ms, self.next_event), event);
    }

    pub fn after(&mut self, delay_ms: i64, event: Event) {
        self.at(self.now_ms + delay_ms, event);
    }

    pub fn below(&mut self, bound: u64) -> i64 {
        i64::try_from(self.rng.below(bound)).expect("small")
    }

    /// Adds to the trace, where there is one: writing it takes longer than the run itself.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{} {}", self.now_ms, line());
        }
    }

    pub fn broken(&mut self, check: purlin::types::invariant::Check) {
        if let Err(violation) = check
            && self.violation.is_none()
        {
            self.tell(|| violation.to_string());
            self.violation = Some(violation);
        }
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[usize::try_from(id.0 - 1).expect("ids begin at 1")]
    }

    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[usize::try_from(id.0 - 1).expect("ids begin at 1")]
    }

    pub fn passes(&self, from: NodeId, to: NodeId) -> bool {
        from == to || self.cuts.get(&(from.0, to.0)).is_none_or(|cuts| *cuts == 0)
    }

    /// Sends over the network, which may delay, lose or repeat.
    pub fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        if !self.passes(from, to) || (!self.calm && self.rng.chance(self.plan.loss_percent)) {
            return;
        }
        let delay = 1 + self.below(self.plan.delay_ms_max);
        // A connection answers once; what asks may be sent again by who gets no answer.
        let asks = matches!(
            message,
            Message::Fetch { .. } | Message::Report { .. } | Message::Heartbeat(_)
        );
        if asks && !self.calm && self.rng.chance(self.plan.repeat_percent) {
            let later = delay + self.below(self.plan.delay_ms_max * 4 + 1);
            self.after(later, Event::Arrive { from, to, message: message.clone() });
        }
        self.after(delay, Event::Arrive { from, to, message });
    }

    fn happen(&mut self, event: Event) {
        // A paused process does nothing; what reaches it waits.
        if let Some(id) = node_of(&event)
            && self.node(id).paused_until_ms > self.now_ms
        {
            let until = self.node(id).paused_until_ms;
            self.at(until, event);
            return;
        }
        if let Event::Learn { node, .. } = &event
            && self.node(*node).slow_until_ms > self.now_ms
        {
            let until = self.node(*node).slow_until_ms;
            self.at(until, event);
            return;
        }
        match event {
            Event::Arrive { from, to, message } => self.arrive(from, to, message),
            Event::FetchLost { node, core, id } => self.fetch_lost(node, core, id),
            Event::ReportLost { node, core, report } => self.reported(node, core, &report, None),
            Event::ProposalLost { node, boot, id } => self.proposal_lost(node, boot, id),
            Event::Flush { node, boot } => self.flush(node, boot),
            Event::Wake { node, boot } => {
                // One that an earlier moment has replaced is not due.
                let due = self.node(node).wakes_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
                if self.node(node).boot == boot && due {
                    self.node_mut(node).wakes_at_ms = None;
                    self.settle(node);
                }
            }
            Event::Beat { node, boot } => self.beat(node, boot),
            Event::Tick { node, boot } => self.tick(node, boot),
            Event::Boot { node } => self.boot(node),
            Event::Learn { node, upto } => self.learn(node, upto),
            Event::Commit { controller, term, from, boot, id, command } => {
                self.commit(controller, term, from, boot, id, *command);
            }
            Event::GroupTick => self.group_tick(),
            Event::Probe { controller, term, node, epoch } => {
                self.probed(controller, term, node, epoch);
            }
            Event::Suspect { node } => self.suspect(node),
            Event::Produce { producer, node, partition, number, attempt } => {
                self.produce(producer, node, partition, number, attempt);
            }
            Event::Produced { producer, partition, number, attempt, answer } => {
                self.produced(producer, partition, number, attempt, answer);
            }
            Event::ProducerTick { producer } => self.producer_tick(producer),
            Event::ReaderTick { reader } => self.reader_tick(reader),
            Event::Fault(at) => self.fault(at),
            Event::Heal(kind) => self.heal(&kind),
            Event::Calm => self.calm_down(),
        }
    }
}

/// Whose process has to run for this to happen.
fn node_of(event: &Event) -> Option<NodeId> {
    match event {
        Event::Arrive { to, .. } => Some(*to),
        Event::FetchLost { node, .. }
        | Event::ReportLost { node, .. }
        | Event::ProposalLost { node, .. }
        | Event::Flush { node, .. }
        | Event::Wake { node, .. }
        | Event::Beat { node, .. }
        | Event::Tick { node, .. }
        | Event::Learn { node, .. }
        | Event::Produce { node, .. } => Some(*node),
        Event::Commit { controller, .. } | Event::Probe { controller, .. } => Some(*controller),
        _ => None,
    }
}
