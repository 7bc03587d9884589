//! How the rest of the node talks to the metadata group.

use super::contact::Contact;
use super::controller::{
    self, Admission, Admitted, Asker, ControlAnswer, ControlCall, Heartbeat, HeartbeatAnswer,
    Quorum,
};
use super::doubt::Doubts;
use super::image::Image;
use super::peers::RaftCall;
use super::proposer::{self, Proposer};
use super::publisher::{Publisher, Subscription};
use super::raft::{self, Chances, Haste, Peer, Running};
use super::state::{Command, Refusal, RegisterBroker, Response};
use super::{Error, MetadataOptions, StartAs, wire};
use crate::env::clock::Clock;
use crate::env::{rng, spawn};
use crate::limits::{
    CONTROL_CALL_MS_MAX, METADATA_PROPOSAL_TIMEOUT_MS, METADATA_PROPOSALS_MAX,
    METADATA_QUORUM_LOOK_MS, RAFT_DUEL_MS_MIN, RAFT_DUEL_SPREAD_MS, REGISTRATION_MS_MAX,
};
use crate::rpc::{Caller, ControlHandler, Declined, Disconnected, Payload, RaftHandler};
use crate::types::{BrokerEpoch, NodeId};
use openraft::ServerState;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, broadcast};
use tokio::time::Instant;

/// The metadata group, as seen from this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    proposer: Arc<Proposer>,
    asker: Asker,
    raft_service: raft::Service,
    control_service: Arc<controller::Service>,
    contacts: Arc<raft::Contacts>,
    /// Calls to the controller that may be open at once.
    calls: Semaphore,
    contact: Contact,
    doubts: Arc<Doubts>,
    clock: Arc<dyn Clock>,
    /// What has to be taken down in the end.
    running: Mutex<Option<Running>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata").field("node_id", &self.proposer.node_id).finish_non_exhaustive()
    }
}

/// How the metadata group is doing, for health checks and tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node_id: NodeId,
    /// Who leads the group, if known.
    pub controller: Option<NodeId>,
    /// Raft's term.
    pub term: u64,
    /// The nodes that vote.
    pub voters: Vec<NodeId>,
    /// The nodes that only follow.
    pub learners: Vec<NodeId>,
    /// Index of the last entry in the log here.
    pub last_log_index: Option<u64>,
    /// Index of the last entry applied here.
    pub last_applied_index: Option<u64>,
    /// Index that the newest snapshot reaches.
    pub snapshot_index: Option<u64>,
    /// Whether this node's part of the group still works; if not, why.
    pub failure: Option<String>,
}

impl Handle {
    /// The newest applied metadata.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.0.proposer.publisher.image()
    }

    /// Follows the changes.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.0.proposer.publisher.subscribe()
    }

    /// Proposes a command, on whichever node, and waits until it is committed and applied on this
    /// one, so that [`Self::image`] shows it.
    ///
    /// # Errors
    /// See [`Error`]: the command has certainly not been applied, or its fate is unknown.
    /// Refusals of single items are part of the response.
    pub async fn propose(&self, command: Command) -> Result<Response, Error> {
        self.propose_within(command, Duration::from_millis(METADATA_PROPOSAL_TIMEOUT_MS)).await
    }

    /// As [`Self::propose`], with another patience.
    ///
    /// # Errors
    /// As [`Self::propose`].
    pub async fn propose_within(
        &self,
        command: Command,
        within: Duration,
    ) -> Result<Response, Error> {
        let deadline = Instant::now() + within;
        proposer::check_size(&command)?;
        match self.ask(ControlCall::Propose(command), within).await? {
            ControlAnswer::Proposed { response, applied_count } => {
                self.wait_applied(applied_count, deadline).await?;
                Ok(response)
            }
            other => Err(out_of_kind(&other)),
        }
    }

    async fn ask(&self, call: ControlCall, within: Duration) -> Result<ControlAnswer, Error> {
        // Heartbeats come one at a time, and must come whatever else waits.
        let counts = !matches!(call, ControlCall::Heartbeat(_));
        let permit = counts.then(|| self.0.calls.try_acquire()).transpose();
        let _permit = permit.map_err(|_| Error::Overloaded)?;
        self.0.asker.ask(call, within).await
    }

    /// Says that the node's partitions are what an image says that so many entries went into.
    pub fn set_taken_up(&self, applied_count: u64) {
        self.0.proposer.publisher.set_taken_up(applied_count);
    }

    /// Waits until the partitions of another node follow so many entries, as far as that node can
    /// be asked; whether they do.
    pub async fn wait_taken_up(&self, node: NodeId, applied_count: u64, within: Duration) -> bool {
        let Ok(_permit) = self.0.calls.try_acquire() else { return false };
        self.0.asker.ask_taken_up(node, applied_count, within).await
    }

    /// Waits until so many entries are applied here.
    async fn wait_applied(&self, applied_count: u64, deadline: Instant) -> Result<(), Error> {
        let began = Instant::now();
        let applied = self.0.proposer.publisher.wait_applied(applied_count);
        tokio::time::timeout_at(deadline, applied).await.map_err(|_| {
            let waited_ms = began.elapsed().as_millis();
            Error::Timeout(u64::try_from(waited_ms).unwrap_or(u64::MAX))
        })
    }

    /// How the group is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let metrics = self.0.proposer.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        Status {
            node_id: self.0.proposer.node_id,
            controller: self.0.proposer.controller(),
            term: metrics.current_term,
            voters: membership.voter_ids().map(raft::node_id).collect(),
            learners: membership.learner_ids().map(raft::node_id).collect(),
            last_log_index: metrics.last_log_index,
            last_applied_index: metrics.last_applied.map(|log_id| log_id.index),
            snapshot_index: metrics.snapshot.map(|log_id| log_id.index),
            failure: metrics.running_state.err().map(|error| error.to_string()),
        }
    }

    /// The group as the controller sees it; asked of it when this node isn't.
    ///
    /// # Errors
    /// See [`Error`]; nothing is changed by it.
    pub async fn quorum(&self) -> Result<Quorum, Error> {
        match self.ask(ControlCall::Quorum, Duration::from_millis(CONTROL_CALL_MS_MAX)).await? {
            ControlAnswer::Quorum(quorum) => Ok(quorum),
            other => Err(out_of_kind(&other)),
        }
    }

    /// Tells the controller that the broker of this node lives, and hears whether it is fenced.
    ///
    /// # Errors
    /// See [`Error`]; the next heartbeat comes anyway.
    pub async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatAnswer, Error> {
        let within = Duration::from_millis(CONTROL_CALL_MS_MAX);
        let asked_ms = self.0.clock.monotonic_ms();
        let proposer = &self.0.proposer;
        let asks_itself = proposer.controller() == Some(proposer.node_id);
        match self.ask(ControlCall::Heartbeat(heartbeat), within).await? {
            ControlAnswer::Heartbeat(answer) => {
                let fenced = !matches!(answer, HeartbeatAnswer::Known { fenced: false, .. });
                // A controller that stood still and goes on does not know yet that there is another,
                // which has fenced it: it must not vouch for itself.
                if !fenced && asks_itself {
                    proposer.confirm_leadership(within).await?;
                }
                self.0.contact.heard(asked_ms, fenced);
                Ok(answer)
            }
            other => Err(out_of_kind(&other)),
        }
    }

    /// Nodes whose connections just broke. The controller is looking; what the image says that
    /// they lead may be others' in a moment.
    #[must_use]
    pub fn in_doubt(&self) -> BTreeSet<NodeId> {
        self.0.doubts.of(self.0.clock.monotonic_ms())
    }

    /// Waits until more than so many entries are applied; false when that takes longer than
    /// `within`.
    pub async fn wait_beyond(&self, applied_count: u64, within: Duration) -> bool {
        let applied = self.0.proposer.publisher.wait_applied(applied_count + 1);
        tokio::time::timeout(within, applied).await.is_ok()
    }

    /// Whether this node has not heard for so long that it is not fenced that others may lead by
    /// now what its own metadata says it leads. Clients must not be told of that then.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.0.contact.is_lost(self.0.clock.monotonic_ms())
    }

    /// Registers a broker with the controller, which refuses a second process with the id of one
    /// that lives; returns once the registration is applied on this node. May be done again after
    /// any error: the same incarnation keeps its epoch.
    ///
    /// # Errors
    /// See [`Error`]; the inner result is the controller's own refusal.
    pub async fn register(
        &self,
        registration: RegisterBroker,
    ) -> Result<Result<BrokerEpoch, Refusal>, Error> {
        let within = Duration::from_millis(REGISTRATION_MS_MAX);
        let deadline = Instant::now() + within;
        match self.ask(ControlCall::Register(registration), within).await? {
            ControlAnswer::Registered { outcome, applied_count } => {
                self.wait_applied(applied_count, deadline).await?;
                Ok(outcome)
            }
            other => Err(out_of_kind(&other)),
        }
    }

    /// Lets a node into the cluster on behalf of whoever asked; it gets an id, and the controller
    /// adds it to the group. May be done again after any error: the same directory keeps its id.
    ///
    /// # Errors
    /// See [`Error`]; the inner result is the refusal, with the way out.
    pub async fn admit(&self, admission: Admission) -> Result<Result<Admitted, Refusal>, Error> {
        let within = Duration::from_millis(REGISTRATION_MS_MAX);
        match self.ask(ControlCall::Admit(admission), within).await? {
            ControlAnswer::Admitted(outcome) => Ok(outcome),
            other => Err(out_of_kind(&other)),
        }
    }

    /// Whether this node belongs to the group: its log, which is durable, names it as voter or
    /// learner. A joiner becomes one when the controller has reached it; from then on its
    /// directory must not be begun anew ([`StartAs::Member`]).
    #[must_use]
    pub fn is_member(&self) -> bool {
        // The very metrics that `wait_member` waits for: the engine reports several kinds, one
        // after the other.
        let metrics = self.0.proposer.raft.server_metrics().borrow().clone();
        let me = raft::raft_id(self.0.proposer.node_id);
        metrics.membership_config.membership().get_node(&me).is_some()
    }

    /// Waits until [`Self::is_member`].
    ///
    /// # Errors
    /// [`Error::Timeout`], and [`Error::Stopped`] when the engine ended meanwhile.
    pub async fn wait_member(&self, within: Duration) -> Result<(), Error> {
        let mut metrics = self.0.proposer.raft.server_metrics();
        let member = async {
            while !self.is_member() {
                metrics.changed().await.map_err(|_| Error::Stopped)?;
            }
            Ok(())
        };
        let late = || Error::Timeout(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        tokio::time::timeout(within, member).await.map_err(|_| late())?
    }

    /// A node called; its handshake said who it is and where it is reached.
    pub(super) fn heard_from(&self, caller: &Caller) {
        if let Some(node) = caller.node.filter(|node| node.0 >= 0) {
            self.0.contacts.heard_from(raft::raft_id(node), &caller.rpc);
        }
    }

    /// Answers a Raft call of another member. An error means that nothing was done.
    ///
    /// # Errors
    /// Why nothing was done.
    pub async fn serve_raft(&self, call: RaftCall) -> Result<Payload, Declined> {
        self.0.raft_service.serve(call).await
    }

    /// Answers a control call of another node. The payloads of both are the business of
    /// `metadata::controller`.
    ///
    /// # Errors
    /// Why nothing was done.
    pub async fn serve_control(&self, call: &Payload) -> Result<Payload, Declined> {
        let call: ControlCall = wire::unpack(call)?;
        Ok(wire::pack(&self.0.control_service.answer(call).await))
    }

    /// Answers the admission call of a process that has no id yet: any member asks the controller
    /// on its behalf. Nothing else can be asked for in this way.
    ///
    /// # Errors
    /// Why nothing was done.
    pub async fn serve_admission(&self, call: &Payload) -> Result<Payload, Declined> {
        let call: ControlCall = wire::unpack(call)?;
        let ControlCall::Admit(admission) = call else {
            return Err(Declined("only admission can be asked for without an id".to_owned()));
        };
        let answer = match self.admit(admission).await {
            Ok(outcome) => ControlAnswer::Admitted(outcome),
            Err(error) => ControlAnswer::failed(&error),
        };
        Ok(wire::pack(&answer))
    }

    /// Makes a snapshot now, rather than when the log has grown; returns once it has begun.
    ///
    /// # Errors
    /// [`Error::Failed`] when the group does not work any more.
    pub async fn trigger_snapshot(&self) -> Result<(), Error> {
        let asked = self.0.proposer.raft.trigger().snapshot().await;
        asked.map_err(|error| Error::Failed(error.to_string()))
    }

    /// Stops this node's part of the group, with everything written down for a fast start. Doing
    /// it twice is harmless.
    ///
    /// # Errors
    /// [`Error::Failed`] when something could not be written; the next start then takes longer.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.0.proposer.stop();
        let Some(running) = self.0.running.lock().await.take() else { return Ok(()) };
        let written = running.checkpoint().await;
        let stopped = self.0.proposer.raft.shutdown().await;
        let threads = running.threads.clone();
        drop(running);
        self.0.proposer.publisher.close();
        // The engine has ended, and with it the other ends of the threads' queues.
        let joined = tokio::task::spawn_blocking(move || threads.join()).await;
        written.map_err(|error| Error::Failed(error.to_string()))?;
        stopped.map_err(|error| Error::Failed(error.to_string()))?;
        joined.map_err(|error| Error::Failed(error.to_string()))
    }
}

/// Starts this node's part of the group on the current runtime. In a group of one it returns once
/// the node is its controller, with everything that was ever acknowledged applied.
///
/// # Errors
/// [`Error::Failed`] when what is on disk can't be read, or belongs to another cluster.
pub async fn start(options: MetadataOptions) -> Result<Handle, Error> {
    let failed = |error: String| Error::Failed(error);
    let publisher = Publisher::new(options.cluster_id);
    let node = raft::raft_id(options.node_id);
    let options = Arc::new(options);
    let opening = {
        let (options, publisher) = (Arc::clone(&options), Arc::clone(&publisher));
        tokio::task::spawn_blocking(move || raft::open(&options, publisher))
    };
    let member = opening.await.map_err(|error| failed(error.to_string()))?;
    let running = member.map_err(|error| failed(error.to_string()))?.run(&options).await;
    let running = running.map_err(failed)?;
    let raft = running.raft.clone();
    let founder = options.start_as == StartAs::Founder;
    if founder && !raft.is_initialized().await.map_err(|error| failed(error.to_string()))? {
        let members = BTreeMap::from([(node, Peer { rpc: options.rpc.clone() })]);
        raft.initialize(members).await.map_err(|error| failed(error.to_string()))?;
    }
    let handle = Handle::new(&options, running, publisher);
    follow_controller(&handle.0.proposer);
    end_duels(&raft, handle.chances());
    handle.follow_disconnections(&options);
    handle.lead_if_alone().await?;
    Ok(handle)
}

fn out_of_kind(answer: &ControlAnswer) -> Error {
    Error::Unknown(format!("the controller answered another question: {answer:?}"))
}

impl Handle {
    fn new(options: &MetadataOptions, running: Running, publisher: Arc<Publisher>) -> Self {
        let raft = running.raft.clone();
        let (cluster_id, node_id) = (options.cluster_id, options.node_id);
        // As long as it takes a node that does not hear of the controller to count as isolated.
        let quorum_ms_max = options.controller.session_timeout_ms.saturating_mul(2);
        let (engine, log) = (raft.clone(), running.log());
        let proposer = Proposer::new(cluster_id, node_id, engine, log, publisher, quorum_ms_max);
        let proposer = Arc::new(proposer);
        let control_service = Arc::new(controller::Service::start(
            Arc::clone(&proposer),
            Arc::clone(&running.contacts),
            Arc::clone(&options.clock),
            Arc::clone(&options.peers),
            options.controller,
        ));
        let asker = Asker {
            proposer: Arc::clone(&proposer),
            service: Arc::clone(&control_service),
            peers: Arc::clone(&options.peers),
        };
        Self(Arc::new(Inner {
            proposer,
            asker,
            raft_service: raft::Service::new(raft, cluster_id),
            control_service,
            contacts: Arc::clone(&running.contacts),
            calls: Semaphore::new(METADATA_PROPOSALS_MAX),
            contact: Contact::new(options.controller.session_timeout_ms),
            doubts: Arc::default(),
            clock: Arc::clone(&options.clock),
            running: Mutex::new(Some(running)),
        }))
    }

    fn chances(&self) -> Chances {
        Chances {
            contacts: Arc::clone(&self.0.contacts),
            log: self.0.proposer.log.clone(),
            clock: Arc::clone(&self.0.clock),
        }
    }

    /// Lost connections are suspicions: of the group's leader, and of a broker.
    fn follow_disconnections(&self, options: &MetadataOptions) {
        let Some(mut lost) = options.peers.disconnections() else { return };
        let haste = Arc::new(Haste {
            raft: self.0.proposer.raft.clone(),
            peers: Arc::clone(&options.peers),
            timing: options.timing,
            own: options.node_id,
            chances: self.chances(),
            turn: Semaphore::new(1),
        });
        let service = Arc::clone(&self.0.control_service);
        let (doubts, clock) = (Arc::clone(&self.0.doubts), Arc::clone(&self.0.clock));
        let mut metrics = self.0.proposer.raft.server_metrics();
        spawn::spawn("metadata suspicions", async move {
            loop {
                let event = tokio::select! {
                    changed = metrics.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return,
                    },
                    event = lost.recv() => event,
                };
                match event {
                    Ok(Disconnected { node, incarnation, .. }) => {
                        doubts.raise(node, clock.monotonic_ms());
                        service.suspect(node, incarnation);
                        let haste = Arc::clone(&haste);
                        spawn::spawn("metadata haste", async move { haste.suspect(node).await });
                    }
                    // What was missed, sessions and elections find out in time.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
    }
}

impl Handle {
    /// In a group of one there is nobody to wait for: stand for election at once, and wait until
    /// the log is applied up to its end.
    async fn lead_if_alone(&self) -> Result<(), Error> {
        let failed = |error: String| Error::Failed(error);
        let raft = &self.0.proposer.raft;
        let me = raft::raft_id(self.0.proposer.node_id);
        // Asked of the engine itself: metrics may still be those of before it started.
        let voters = raft
            .with_raft_state(|state| {
                state.membership_state.effective().membership().voter_ids().collect::<Vec<u64>>()
            })
            .await
            .map_err(|error| failed(error.to_string()))?;
        if voters != [me] {
            return Ok(());
        }
        // Ignored by a leader: one that was leader before the restart goes on as one.
        raft.trigger().elect().await.map_err(|error| failed(error.to_string()))?;
        let last = self.0.proposer.log.last().map(|log_id| log_id.index);
        let timeout = Duration::from_millis(METADATA_PROPOSAL_TIMEOUT_MS);
        raft.wait(Some(timeout))
            .metrics(
                |metrics| {
                    // An entry of the leader's own term commits all that came before it.
                    let own_term = |id: &openraft::LogId<u64>| {
                        id.leader_id.term == metrics.current_term && Some(id.index) >= last
                    };
                    metrics.current_leader == Some(me)
                        && metrics.last_applied.as_ref().is_some_and(own_term)
                },
                "leading, and everything applied",
            )
            .await
            .map_err(|error| failed(error.to_string()))?;
        // One task alone tells the image who the controller is; wait until it has.
        let mut changes = self.subscribe();
        let told = async {
            while self.image().controller() != Some(self.0.proposer.node_id) {
                if changes.next().await.is_none() {
                    break;
                }
            }
        };
        tokio::time::timeout(timeout, told)
            .await
            .map_err(|_| Error::Timeout(METADATA_PROPOSAL_TIMEOUT_MS))
    }
}

/// Keeps the image's controller up to date until the engine ends.
fn follow_controller(proposer: &Arc<Proposer>) {
    let mut metrics = proposer.raft.server_metrics();
    let proposer = Arc::clone(proposer);
    spawn::spawn("metadata-controller", async move {
        loop {
            metrics.borrow_and_update();
            proposer.publisher.set_controller(proposer.controller());
            // A leader that lost its quorum is told by nobody.
            let look_again = Duration::from_millis(METADATA_QUORUM_LOOK_MS);
            if let Ok(Err(_)) = tokio::time::timeout(look_again, metrics.changed()).await {
                return;
            }
        }
    });
}

/// Lets a candidate that was not elected stand again at a moment of its own.
///
/// The engine draws its election time once, when it starts. Two members that drew nearly the same
/// would go on standing against each other, and neither would win.
///
/// It is left to the engine while another member has the longer log.
fn end_duels(raft: &raft::Raft, chances: Chances) {
    let mut metrics = raft.server_metrics();
    let raft = raft.clone();
    spawn::spawn("metadata duels", async move {
        loop {
            let seen = metrics.borrow_and_update().clone();
            if seen.state != ServerState::Candidate {
                if metrics.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let extra = u64::from(rng::positive_i32().unsigned_abs()) % RAFT_DUEL_SPREAD_MS;
            let pause = Duration::from_millis(RAFT_DUEL_MS_MIN + extra);
            let moves = |now: &openraft::metrics::RaftServerMetrics<_, _>| {
                now.state != seen.state || now.vote != seen.vote
            };
            let moved = async { metrics.wait_for(moves).await.is_ok() };
            let moved = tokio::time::timeout(pause, moved).await;
            match moved {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) if !chances.are_there() => {}
                Err(_) if raft.trigger().elect().await.is_err() => return,
                Err(_) => {}
            }
        }
    });
}

impl RaftHandler for Handle {
    async fn append_entries(&self, caller: Caller, request: Payload) -> Result<Payload, Declined> {
        self.heard_from(&caller);
        self.serve_raft(RaftCall::Append(request)).await
    }

    async fn vote(&self, caller: Caller, request: Payload) -> Result<Payload, Declined> {
        self.heard_from(&caller);
        self.serve_raft(RaftCall::Vote(request)).await
    }

    async fn install_snapshot(&self, _: Caller, request: Payload) -> Result<Payload, Declined> {
        self.serve_raft(RaftCall::Snapshot(request)).await
    }
}

impl ControlHandler for Handle {
    async fn control(&self, caller: Caller, request: Payload) -> Result<Payload, Declined> {
        self.heard_from(&caller);
        self.serve_control(&request).await
    }

    async fn admit(&self, _: Caller, request: Payload) -> Result<Payload, Declined> {
        self.serve_admission(&request).await
    }

    fn refuses(&self, node: NodeId) -> Option<String> {
        let image = self.image();
        let removed = image.state().node(node).is_some_and(|known| known.removed);
        removed.then(|| {
            format!(
                "node {node} was removed from the cluster; empty its data directory and join again \
                 to get a new id"
            )
        })
    }
}
