//! The task behind a controller: it acts for as long as this node leads the group.
//!
//! What brokers say goes into `metadata::liveness`, which decides; what comes out is proposed, or
//! probed, from here. Everything that takes time runs beside the loop, so that heartbeats are
//! answered whatever else goes on.
//!
//! Invariants: nothing is done in a term before the log of all terms before is applied here; what
//! is not answered in one term is refused, not kept for the next.
//!
//! Must never: decide by the wall clock.

use super::super::liveness::{
    Beat, BrokerView, Input, Liveness, LivenessConfig, Output, ProbeOutcome,
};
use super::super::peers::Peers;
use super::super::proposer::Proposer;
use super::super::state::plan::plan_preferred_leaders;
use super::super::state::{
    Broker, ChangeFencing, Command, ElectLeaders, ElectionKind, FencingChange, Refusal,
    RefusalKind, RegisterBroker, Response,
};
use super::super::{ControllerOptions, Delta, Error, Image};
use super::membership;
use super::messages::{Heartbeat, HeartbeatAnswer};
use crate::env::spawn;
use crate::limits::{
    CONTROL_CALL_MS_MAX, CONTROL_RETRY_MS, CONTROLLER_QUEUE_MAX, LEADER_REBALANCE_PARTITIONS_MAX,
    METADATA_QUORUM_LOOK_MS,
};
use crate::rpc::Alive;
use crate::types::{BrokerEpoch, IncarnationId, NodeId};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use openraft::error::RaftError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// The outcome of a registration, and how many entries were applied with it.
pub(super) type Registered = (Result<BrokerEpoch, Refusal>, u64);

/// What the task is asked.
#[derive(Debug)]
pub(super) enum Message {
    Heartbeat(Heartbeat, Reply<HeartbeatAnswer>),
    Register(Box<RegisterBroker>, Reply<Registered>),
    /// The connections of this process were closed or reset.
    Suspected(NodeId, IncarnationId),
}

/// What the task goes by.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) proposer: Arc<Proposer>,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) options: ControllerOptions,
    pub(super) messages: mpsc::Receiver<Message>,
}

/// Why a term's work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Another leads, or nobody.
    Term,
    /// The engine has stopped.
    Engine,
}

/// What ran beside the loop, once it is done.
enum Done {
    Probed { node_id: NodeId, broker_epoch: BrokerEpoch, outcome: ProbeOutcome },
    Fenced,
    Other,
}

impl Shell {
    /// Runs until the engine stops.
    pub(super) async fn run(mut self) {
        let mut metrics = self.proposer.raft.server_metrics();
        loop {
            let term = self.term();
            if let Some(term) = term {
                if self.lead(term).await == End::Engine {
                    return;
                }
                continue;
            }
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { return },
                message = self.messages.recv() => match message {
                    Some(message) => self.refuse(message),
                    None => return,
                },
                // A quorum that answers again changes nothing that anybody is told.
                () = tokio::time::sleep(Duration::from_millis(METADATA_QUORUM_LOOK_MS)) => {}
            }
        }
    }

    /// The term that this node leads, if it does.
    fn term(&self) -> Option<u64> {
        let leads = self.proposer.leads();
        leads.then(|| self.proposer.raft.server_metrics().borrow().vote.leader_id().term)
    }

    fn refuse(&self, message: Message) {
        let error = || self.proposer.not_controller();
        // Whoever asked may have gone meanwhile.
        match message {
            Message::Heartbeat(_, reply) => drop(reply.send(Err(error()))),
            Message::Register(_, reply) => drop(reply.send(Err(error()))),
            Message::Suspected(..) => {}
        }
    }

    /// Does the controller's work for one term.
    async fn lead(&mut self, term: u64) -> End {
        let mut metrics = self.proposer.raft.server_metrics();
        if let Some(end) = self.catch_up(term).await {
            return end;
        }
        tracing::info!(term, node = %self.proposer.node_id, "this node is the controller");
        let proposer = Arc::clone(&self.proposer);
        let target = self.options.voters;
        let members = AbortOnDrop(spawn::spawn("metadata members", async move {
            membership::keep(&proposer, target).await;
        }));
        let mut changes = self.proposer.publisher.subscribe();
        let Some((image, _)) = changes.next().await else { return End::Engine };
        let mut work = Work::new(self, &image);
        let mut ticks = tokio::time::interval(Duration::from_millis(self.options.heartbeat_ms));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Without a way to others, silence means nothing.
        let hears = self.peers.disconnections().is_some();
        let every = Duration::from_secs(self.options.rebalance_interval_s.max(1));
        let mut rebalance = tokio::time::interval_at(Instant::now() + every, every);
        rebalance.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            tokio::select! {
                // In this order: a broker that hears of its registration sends heartbeats at once,
                // and they must not be taken before the registration.
                biased;
                changed = metrics.changed() => match changed {
                    Err(_) => break End::Engine,
                    Ok(()) if self.term() != Some(term) => break End::Term,
                    Ok(()) => {}
                },
                change = changes.next() => match change {
                    None => break End::Engine,
                    Some((image, delta)) => work.applied(&image, &delta),
                },
                Some(done) = work.beside.next() => work.done(done),
                _ = ticks.tick() => {
                    if self.term() != Some(term) {
                        break End::Term;
                    }
                    if hears {
                        work.step(Input::Tick);
                    }
                }
                _ = rebalance.tick(), if self.options.auto_leader_rebalance => work.rebalance(),
                message = self.messages.recv() => match message {
                    None => break End::Engine,
                    Some(message) => work.take(message),
                },
            }
        };
        drop(members);
        tracing::info!(term, node = %self.proposer.node_id, "this node is not the controller any more");
        end
    }

    /// Waits until everything that was committed before this term is applied here.
    async fn catch_up(&self, term: u64) -> Option<End> {
        loop {
            match self.proposer.raft.ensure_linearizable().await {
                Ok(_) => return None,
                Err(RaftError::Fatal(_)) => return Some(End::Engine),
                // The members may not have heard of this leader yet.
                Err(RaftError::APIError(error)) => {
                    tracing::debug!(%error, term, "the controller waits for a quorum");
                }
            }
            if self.term() != Some(term) {
                return Some(End::Term);
            }
            tokio::time::sleep(Duration::from_millis(CONTROL_RETRY_MS)).await;
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<Option<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The work of one term.
struct Work {
    proposer: Arc<Proposer>,
    peers: Arc<dyn Peers>,
    session_ms: u64,
    /// Zero of the time that `liveness` is told.
    began: Instant,
    liveness: Liveness,
    image: Arc<Image>,
    /// What is to be proposed next, and whether a proposal is under way.
    fencing: BTreeMap<NodeId, FencingChange>,
    proposing: bool,
    beside: FuturesUnordered<BoxFuture<'static, Done>>,
}

fn broker_view(broker: &Broker, image: &Image) -> BrokerView {
    BrokerView {
        node_id: broker.id,
        broker_epoch: broker.epoch,
        incarnation: broker.incarnation,
        fenced: broker.fenced,
        in_controlled_shutdown: broker.in_controlled_shutdown,
        index: image.applied_count().saturating_sub(1),
    }
}

impl Work {
    fn new(shell: &Shell, image: &Arc<Image>) -> Self {
        let options = &shell.options;
        let config = LivenessConfig {
            session_ms: options.session_timeout_ms,
            heartbeat_ms: options.heartbeat_ms,
            repeat_ms: CONTROL_CALL_MS_MAX,
        };
        let mut this = Self {
            proposer: Arc::clone(&shell.proposer),
            peers: Arc::clone(&shell.peers),
            session_ms: options.session_timeout_ms,
            began: Instant::now(),
            liveness: Liveness::new(config),
            image: Arc::clone(image),
            fencing: BTreeMap::new(),
            proposing: false,
            beside: FuturesUnordered::new(),
        };
        let brokers = image.brokers().map(|broker| broker_view(broker, image)).collect();
        this.step(Input::TermStarted(brokers));
        // Whoever died together with the last controller has a fresh session like all others; not
        // to wait for its end, everybody is looked up once.
        let own = this.proposer.node_id;
        for broker in image.brokers_alive().filter(|broker| broker.id != own) {
            this.step(Input::Suspected(broker.id));
        }
        this
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets `liveness` take an input, and does what it says.
    fn step(&mut self, input: Input) {
        for output in self.liveness.step(self.now_ms(), input) {
            match output {
                Output::Fence { node_id, broker_epoch, reason } => {
                    tracing::info!(node = %node_id, ?reason, "fencing a broker");
                    self.fence(node_id, broker_epoch, |change| change.fenced = true);
                }
                Output::Unfence { node_id, broker_epoch } => {
                    self.fence(node_id, broker_epoch, |change| change.fenced = false);
                }
                Output::GrantShutdown { node_id, broker_epoch } => {
                    self.fence(node_id, broker_epoch, |change| {
                        change.in_controlled_shutdown = true;
                    });
                }
                Output::Probe { node_id, broker_epoch } => self.probe(node_id, broker_epoch),
            }
        }
        self.propose_fencing();
    }

    fn fence(
        &mut self,
        node_id: NodeId,
        broker_epoch: BrokerEpoch,
        change: impl FnOnce(&mut FencingChange),
    ) {
        let Some(broker) = self.image.broker(node_id) else { return };
        let now = FencingChange {
            node_id,
            broker_epoch,
            fenced: broker.fenced,
            in_controlled_shutdown: broker.in_controlled_shutdown,
        };
        let pending = self.fencing.entry(node_id).or_insert_with(|| now.clone());
        if pending.broker_epoch != broker_epoch {
            *pending = now;
        }
        change(pending);
    }

    /// One proposal at a time; what comes up meanwhile goes into the next.
    fn propose_fencing(&mut self) {
        if self.proposing || self.fencing.is_empty() {
            return;
        }
        self.proposing = true;
        let changes = std::mem::take(&mut self.fencing).into_values().collect();
        let proposer = Arc::clone(&self.proposer);
        self.beside.push(Box::pin(async move {
            let command = Command::ChangeFencing(ChangeFencing { changes });
            let within = Duration::from_millis(CONTROL_CALL_MS_MAX);
            match proposer.write(command, within).await {
                Ok(written) => {
                    if let Response::ChangeFencing(results) = written.response {
                        // A broker that registered anew in the meantime, most likely.
                        for refusal in results.into_iter().filter_map(Result::err) {
                            tracing::debug!(%refusal, "a fencing change was refused");
                        }
                    }
                }
                Err(error) => tracing::info!(%error, "brokers were not fenced or unfenced yet"),
            }
            Done::Fenced
        }));
    }

    fn probe(&mut self, node_id: NodeId, broker_epoch: BrokerEpoch) {
        let Some(broker) = self.image.broker(node_id) else { return };
        let probing = self.peers.probe(&broker.rpc);
        self.beside.push(Box::pin(async move {
            let outcome = match probing.await {
                Alive::Answers(found) => ProbeOutcome::Alive(found.incarnation),
                Alive::Refused => ProbeOutcome::Refused,
                Alive::Unknown => ProbeOutcome::Unknown,
            };
            Done::Probed { node_id, broker_epoch, outcome }
        }));
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Probed { node_id, broker_epoch, outcome } => {
                self.step(Input::Probed { node_id, broker_epoch, outcome });
            }
            Done::Fenced => {
                self.proposing = false;
                self.propose_fencing();
            }
            Done::Other => {}
        }
    }

    fn applied(&mut self, image: &Arc<Image>, delta: &Delta) {
        self.image = Arc::clone(image);
        for id in &delta.brokers {
            match image.broker(*id) {
                Some(broker) => self.step(Input::Registered(broker_view(broker, image))),
                None => self.step(Input::Unregistered(*id)),
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Heartbeat(heartbeat, reply) => {
                // Whoever asked may have gone meanwhile.
                drop(reply.send(Ok(self.heartbeat(heartbeat))));
            }
            Message::Suspected(node_id, incarnation) => {
                // News of an earlier process says nothing of this one.
                if self.image.broker(node_id).is_some_and(|b| b.incarnation == incarnation) {
                    self.step(Input::Suspected(node_id));
                }
            }
            Message::Register(command, reply) => self.register(*command, reply),
        }
    }

    fn heartbeat(&mut self, heartbeat: Heartbeat) -> HeartbeatAnswer {
        let (node_id, broker_epoch) = (heartbeat.node_id, heartbeat.broker_epoch);
        self.step(Input::Heartbeat(Beat {
            node_id,
            broker_epoch,
            incarnation: heartbeat.incarnation,
            applied_index: heartbeat.applied_count.saturating_sub(1),
            ready: heartbeat.ready,
            wants_shutdown: heartbeat.wants_shutdown,
        }));
        let answer = self.liveness.answer(node_id, broker_epoch);
        if answer.unknown {
            return HeartbeatAnswer::RegisterAgain;
        }
        HeartbeatAnswer::Known { fenced: answer.fenced, may_stop: answer.shutdown_granted }
    }

    /// Registers a broker, unless another process with its id lives.
    fn register(&mut self, command: RegisterBroker, reply: Reply<Registered>) {
        if self.beside.len() >= CONTROLLER_QUEUE_MAX {
            drop(reply.send(Err(Error::Overloaded)));
            return;
        }
        let ages = self.liveness.ages_ms(self.now_ms());
        let lives = ages
            .iter()
            .any(|(node_id, age_ms)| *node_id == command.node_id && *age_ms < self.session_ms);
        let rival = self.image.broker(command.node_id);
        let rival = rival.filter(|rival| lives && rival.incarnation != command.incarnation);
        let rival = rival.map(|rival| (rival.incarnation, rival.rpc.clone()));
        let (proposer, peers) = (Arc::clone(&self.proposer), Arc::clone(&self.peers));
        self.beside.push(Box::pin(async move {
            let answer = match rival {
                Some((incarnation, rpc)) if answers(&*peers, &rpc, incarnation).await => {
                    let applied_count = proposer.publisher.image().applied_count();
                    Ok((Err(duplicate(command.node_id, &rpc)), applied_count))
                }
                _ => write_registration(&proposer, command).await,
            };
            drop(reply.send(answer));
            Done::Other
        }));
    }

    /// Lets preferred replicas lead again where they can.
    fn rebalance(&mut self) {
        let partitions = plan_preferred_leaders(
            self.image.state(),
            LEADER_IMBALANCE_PERCENT,
            LEADER_REBALANCE_PARTITIONS_MAX,
        );
        if partitions.is_empty() {
            return;
        }
        tracing::info!(partitions = partitions.len(), "preferred replicas lead again");
        let proposer = Arc::clone(&self.proposer);
        self.beside.push(Box::pin(async move {
            let elect =
                ElectLeaders { kind: ElectionKind::Preferred, partitions: Some(partitions) };
            let within = Duration::from_millis(CONTROL_CALL_MS_MAX);
            if let Err(error) = proposer.write(Command::ElectLeaders(elect), within).await {
                tracing::info!(%error, "preferred leaders were not elected; trying again later");
            }
            Done::Other
        }));
    }
}

/// Share of a broker's preferred partitions that others may lead before it gets them back
/// (`leader.imbalance.per.broker.percentage`).
const LEADER_IMBALANCE_PERCENT: u32 = 10;

/// Whether this very process still answers there.
async fn answers(peers: &dyn Peers, rpc: &str, incarnation: IncarnationId) -> bool {
    match peers.probe(rpc).await {
        Alive::Answers(found) => found.incarnation == incarnation,
        Alive::Refused | Alive::Unknown => false,
    }
}

fn duplicate(node_id: NodeId, rpc: &str) -> Refusal {
    Refusal::new(
        RefusalKind::DuplicateBroker,
        format!(
            "another process serves as node {node_id} at {rpc}; stop it first, or give this one a \
             data directory and an id of its own (purlin node join)"
        ),
    )
}

async fn write_registration(
    proposer: &Proposer,
    command: RegisterBroker,
) -> Result<Registered, Error> {
    let within = Duration::from_millis(CONTROL_CALL_MS_MAX);
    let written = proposer.write(Command::RegisterBroker(command), within).await?;
    match written.response {
        Response::RegisterBroker(outcome) => Ok((outcome, written.applied_count)),
        other => unreachable!("invariant: RegisterBroker is answered in kind, not {other:?}"),
    }
}
