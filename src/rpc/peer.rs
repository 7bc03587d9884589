//! Calls to one node over one connection, which is made again when it is lost.

use super::dial::{dial, hello_of, probe};
use super::handshake::{Class, Identity};
use super::live::{Live, OURS, Place};
use super::service::{
    Answer, Call, ClusterRequest, ClusterResponse, RaftRequest, RaftResponse, ReplicaRequest,
    ReplicaResponse, Ticket, WireRequest, WireResponse, context_until,
};
use super::transport::{End, Transport};
use super::{Alive, Error, Own, Payload, frame_bytes_max, replica};
use crate::env::{rng, spawn};
use crate::limits::{
    RPC_BACKOFF_MS_MAX, RPC_BACKOFF_MS_MIN, RPC_BULK_CALLS_PER_CONNECTION_MAX,
    RPC_CALLS_PER_CONNECTION_MAX, RPC_DEADLINE_MS_MAX,
};
use crate::types::{IncarnationId, NodeId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tarpc::client::{Channel, RpcError};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

/// An open connection.
#[derive(Debug)]
struct Link<Req, Resp> {
    channel: Channel<Req, Resp>,
    end: End,
    since: Instant,
}

type Dialled<Req, Resp> = Result<Arc<Link<Req, Resp>>, Error>;

/// A place for one connection.
#[derive(Debug)]
pub(super) struct Slot<Req, Resp> {
    pub(super) node: NodeId,
    pub(super) address: String,
    class: Class,
    own: Arc<Own>,
    live: Arc<Live>,
    state: Mutex<State<Req, Resp>>,
    /// Wakes calls that wait for the next attempt to connect.
    sooner: Notify,
}

#[derive(Debug)]
struct State<Req, Resp> {
    phase: Phase<Req, Resp>,
    failures: u32,
    not_before: Instant,
}

#[derive(Debug)]
enum Phase<Req, Resp> {
    Idle,
    Dialling(watch::Receiver<Option<Dialled<Req, Resp>>>),
    Open(Arc<Link<Req, Resp>>),
}

/// What a call does to get its connection.
enum Step<Req, Resp> {
    Use(Arc<Link<Req, Resp>>),
    Await(watch::Receiver<Option<Dialled<Req, Resp>>>),
    Pause(Instant),
}

impl<Req: WireRequest, Resp: WireResponse> Slot<Req, Resp> {
    pub(super) fn new(
        node: NodeId,
        address: &str,
        class: Class,
        own: Arc<Own>,
        live: Arc<Live>,
    ) -> Arc<Self> {
        let state = State { phase: Phase::Idle, failures: 0, not_before: Instant::now() };
        Arc::new(Self {
            node,
            address: address.to_owned(),
            class,
            own,
            live,
            state: Mutex::new(state),
            sooner: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State<Req, Resp>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connection, if there is one.
    pub(super) fn close(&self) {
        if let Phase::Open(link) = &self.state().phase {
            link.end.set(OURS.to_owned());
        }
    }

    /// The node is there: what waits for the next attempt need not wait any longer.
    pub(super) fn encourage(&self) {
        let mut state = self.state();
        state.failures = 0;
        state.not_before = Instant::now();
        drop(state);
        self.sooner.notify_waiters();
    }

    /// The open connection, or a new one.
    async fn link(self: &Arc<Self>) -> Dialled<Req, Resp> {
        loop {
            let sooner = self.sooner.notified();
            match self.step() {
                Step::Use(link) => return Ok(link),
                Step::Await(mut outcome) => {
                    // One attempt serves all who wait.
                    return match outcome.wait_for(Option::is_some).await.map(|o| o.clone()) {
                        Ok(Some(dialled)) => dialled,
                        _ => Err(self.unreachable("the attempt to connect was given up")),
                    };
                }
                Step::Pause(until) => tokio::select! {
                    () = sleep_until(until) => {}
                    () = sooner => {}
                },
            }
        }
    }

    fn step(self: &Arc<Self>) -> Step<Req, Resp> {
        let mut state = self.state();
        match &state.phase {
            Phase::Open(link) if link.end.reason().is_none() => {
                return Step::Use(Arc::clone(link));
            }
            Phase::Open(link) => {
                // One that never lasts must not become a storm of attempts.
                let lasted = link.since.elapsed() >= Duration::from_millis(RPC_BACKOFF_MS_MAX);
                state.phase = Phase::Idle;
                if lasted {
                    state.failures = 0;
                    state.not_before = Instant::now();
                } else {
                    state.fail();
                }
            }
            Phase::Dialling(outcome) => return Step::Await(outcome.clone()),
            Phase::Idle => {}
        }
        if state.not_before > Instant::now() {
            return Step::Pause(state.not_before);
        }
        let (sender, outcome) = watch::channel(None);
        state.phase = Phase::Dialling(outcome.clone());
        drop(state);
        // A task of its own, so that the attempt goes on when the call that began it gives up.
        let slot = Arc::clone(self);
        spawn::spawn("rpc connect", async move {
            let dialled = slot.open().await;
            slot.settle(&dialled);
            sender.send_replace(Some(dialled));
        });
        Step::Await(outcome)
    }

    fn settle(&self, dialled: &Dialled<Req, Resp>) {
        let mut state = self.state();
        match dialled {
            Ok(link) => state.phase = Phase::Open(Arc::clone(link)),
            Err(error) => {
                tracing::debug!(node = %self.node, class = ?self.class, %error, "cannot connect");
                state.phase = Phase::Idle;
                state.fail();
            }
        }
    }

    async fn open(&self) -> Dialled<Req, Resp> {
        let hello = hello_of(&self.own, Some(self.node));
        let (socket, welcome) = dial(&self.address, self.class, &hello).await?;
        let end = End::default();
        let incarnation = welcome.identity.incarnation;
        let place =
            claim(&self.live, self.node, incarnation, &self.address, self.class, &end).await;
        let place = place.map_err(|reason| Error::Refused {
            address: self.address.clone(),
            reason: format!("two processes are node {}: {reason}", self.node),
        })?;
        let channel = start(socket, self.class, end.clone(), Some(place));
        Ok(Arc::new(Link { channel, end, since: Instant::now() }))
    }

    fn unreachable(&self, reason: &str) -> Error {
        Error::Unreachable { address: self.address.clone(), reason: reason.to_owned() }
    }

    /// Makes a call.
    async fn call(
        self: &Arc<Self>,
        payload: Payload,
        deadline: Duration,
        make: fn(Call) -> Req,
        take: fn(Resp) -> Option<Answer>,
    ) -> Result<Payload, Error> {
        fits(&payload, self.class)?;
        let until = Instant::now() + deadline.min(Duration::from_millis(RPC_DEADLINE_MS_MAX));
        let mut retried = false;
        loop {
            let link = match timeout_at(until, self.link()).await {
                Ok(link) => link?,
                Err(_) => return Err(self.unreachable("no connection before the deadline")),
            };
            let outcome =
                call_over(&link.channel, &self.address, &payload, until, make, take).await;
            match outcome {
                // It was lost unnoticed since the last call, and this one was never sent.
                Err(Error::Unreachable { .. }) if !retried && Instant::now() < until => {
                    link.end.set("its calls go nowhere".to_owned());
                    retried = true;
                }
                outcome => return outcome,
            }
        }
    }
}

impl<Req, Resp> State<Req, Resp> {
    fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
        let doubled = RPC_BACKOFF_MS_MIN << (self.failures - 1).min(16);
        let pause_ms = doubled.min(RPC_BACKOFF_MS_MAX);
        // A quarter of chance, so that many nodes do not knock at once.
        let jitter_ms = rng::positive_i32().unsigned_abs() as u64 % (pause_ms / 4 + 1);
        self.not_before = Instant::now() + Duration::from_millis(pause_ms - jitter_ms);
    }
}

/// Refuses what the other side would refuse to read.
pub(super) fn fits(payload: &Payload, class: Class) -> Result<(), Error> {
    // A little is left for the frame around it.
    let (bytes, bytes_max) = (payload.length(), frame_bytes_max(class) - 1024);
    if bytes > bytes_max { Err(Error::TooLarge { bytes, bytes_max }) } else { Ok(()) }
}

/// Enters a connection into the table of live incarnations. Where another incarnation is in the way
/// it is asked whether it lives.
pub(super) async fn claim(
    live: &Arc<Live>,
    node: NodeId,
    incarnation: IncarnationId,
    rpc: &str,
    class: Class,
    end: &End,
) -> Result<Place, String> {
    // Once for the rival, and once more for one that came meanwhile.
    for _ in 0..3 {
        let rival = match live.claim(node, incarnation, rpc, class, end.clone()) {
            Ok(place) => return Ok(place),
            Err(rival) => rival,
        };
        match probe(&rival.rpc).await {
            Alive::Answers(found)
                if found.incarnation == rival.incarnation && found.node_id == node =>
            {
                return Err(format!("another process with that id answers at {}", rival.rpc));
            }
            _ => live.evict(node, Some(rival.incarnation)),
        }
    }
    Err("several processes claim that id at once".to_owned())
}

/// Starts the client side of a connection on the current runtime.
pub(super) fn start<Req: WireRequest, Resp: WireResponse>(
    socket: TcpStream,
    class: Class,
    end: End,
    place: Option<Place>,
) -> Channel<Req, Resp> {
    let transport = Transport::new(socket, frame_bytes_max(class), end.clone());
    let calls = calls_max(class);
    let mut config = tarpc::client::Config::default();
    config.max_in_flight_requests = calls;
    config.pending_request_buffer = calls;
    let tarpc::client::NewClient { client, dispatch } = tarpc::client::new(config, transport);
    spawn::spawn("rpc connection", async move {
        tokio::select! {
            // The transport never fails: a broken connection is one that ended.
            _ = dispatch => {}
            () = end.wait() => {}
        }
        // Nobody calls any more, if nothing else was said.
        end.set(OURS.to_owned());
        tracing::debug!(?class, reason = end.reason(), "a connection to a node ended");
        if let Some(place) = place {
            place.vacate(&end);
        }
    });
    client
}

/// Calls that may be open on a connection of a class.
pub(super) fn calls_max(class: Class) -> usize {
    match class {
        Class::Bulk => RPC_BULK_CALLS_PER_CONNECTION_MAX,
        Class::Raft | Class::Control | Class::Probe => RPC_CALLS_PER_CONNECTION_MAX,
    }
}

/// One attempt at a call.
pub(super) async fn call_over<Req: WireRequest, Resp: WireResponse>(
    channel: &Channel<Req, Resp>,
    address: &str,
    payload: &Payload,
    until: Instant,
    make: fn(Call) -> Req,
    take: fn(Resp) -> Option<Answer>,
) -> Result<Payload, Error> {
    let ticket = Ticket::default();
    let call = make(Call { payload: payload.clone(), ticket: ticket.clone() });
    let context = context_until(until.into_std());
    let lost = |ticket: &Ticket, reason: &str| {
        let (address, reason) = (address.to_owned(), reason.to_owned());
        if ticket.withdraw() {
            Error::Unreachable { address, reason }
        } else {
            Error::Unknown { address, reason }
        }
    };
    match timeout_at(until, channel.call(context, call)).await {
        Ok(Ok(response)) => match take(response) {
            Some(Ok(payload)) => Ok(payload),
            Some(Err(declined)) => {
                Err(Error::Declined { address: address.to_owned(), reason: declined.0 })
            }
            None => Err(lost(&ticket, "it answered another call")),
        },
        Ok(Err(RpcError::Server(error))) => {
            Err(Error::Declined { address: address.to_owned(), reason: error.detail })
        }
        Ok(Err(RpcError::DeadlineExceeded)) | Err(_) => Err(lost(&ticket, "the deadline passed")),
        Ok(Err(_)) => Err(lost(&ticket, "the connection was lost")),
    }
}

/// Raft calls to one node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RaftPeer(pub(super) Arc<Slot<RaftRequest, RaftResponse>>);

/// Control calls to one node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ControlPeer(pub(super) Arc<Slot<ClusterRequest, ClusterResponse>>);

/// Replica calls to one node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BulkPeer(pub(super) Arc<Slot<ReplicaRequest, ReplicaResponse>>);

/// Makes a call and takes its own kind of answer.
macro_rules! call {
    ($slot:expr, $payload:expr, $deadline:expr, $request:ident, $response:ident, $call:ident) => {
        $slot
            .call(
                $payload,
                $deadline,
                |call| $request::$call { call },
                |response| match response {
                    $response::$call(answer) => Some(answer),
                    _ => None,
                },
            )
            .await
    };
}

impl RaftPeer {
    /// Sends entries or a heartbeat.
    ///
    /// # Errors
    /// See [`Error`]; a deadline that passed after the call was sent is [`Error::Unknown`].
    pub async fn append_entries(
        &self,
        request: Payload,
        deadline: Duration,
    ) -> Result<Payload, Error> {
        call!(self.0, request, deadline, RaftRequest, RaftResponse, AppendEntries)
    }

    /// Asks for a vote.
    ///
    /// # Errors
    /// As [`RaftPeer::append_entries`].
    pub async fn vote(&self, request: Payload, deadline: Duration) -> Result<Payload, Error> {
        call!(self.0, request, deadline, RaftRequest, RaftResponse, Vote)
    }

    /// Sends a piece of a snapshot.
    ///
    /// # Errors
    /// As [`RaftPeer::append_entries`].
    pub async fn install_snapshot(
        &self,
        request: Payload,
        deadline: Duration,
    ) -> Result<Payload, Error> {
        call!(self.0, request, deadline, RaftRequest, RaftResponse, InstallSnapshot)
    }
}

impl ControlPeer {
    /// Waits for a connection, without sending anything: a caller that cannot take back what it
    /// sends can still turn elsewhere while it waits here.
    ///
    /// # Errors
    /// As [`RaftPeer::append_entries`], and never [`Error::Unknown`].
    pub async fn connect(&self, deadline: Duration) -> Result<(), Error> {
        match timeout_at(Instant::now() + deadline, self.0.link()).await {
            Ok(link) => link.map(|_| ()),
            Err(_) => Err(self.0.unreachable("no connection before the deadline")),
        }
    }

    /// Makes a control call.
    ///
    /// # Errors
    /// As [`RaftPeer::append_entries`].
    pub async fn control(&self, request: Payload, deadline: Duration) -> Result<Payload, Error> {
        call!(self.0, request, deadline, ClusterRequest, ClusterResponse, Control)
    }

    /// Asks the node who it is: a round trip through all of it, unlike a probe.
    ///
    /// # Errors
    /// As [`RaftPeer::append_entries`].
    pub async fn identify(&self, deadline: Duration) -> Result<Identity, Error> {
        let nothing = Payload::encode(&());
        call!(self.0, nothing, deadline, ClusterRequest, ClusterResponse, Identify)?.decode()
    }

    /// Asks to be let in again, as a member that may have lost its registration.
    ///
    /// # Errors
    /// As [`RaftPeer::append_entries`].
    pub async fn admit(&self, request: Payload, deadline: Duration) -> Result<Payload, Error> {
        call!(self.0, request, deadline, ClusterRequest, ClusterResponse, Admit)
    }
}

impl BulkPeer {
    /// Fetches records.
    ///
    /// # Errors
    /// As [`RaftPeer::append_entries`].
    pub async fn fetch(
        &self,
        request: &replica::FetchRequest,
        deadline: Duration,
    ) -> Result<replica::FetchResponse, Error> {
        let answer =
            call!(self.0, request.encode(), deadline, ReplicaRequest, ReplicaResponse, Fetch)?;
        replica::FetchResponse::decode(answer)
    }

    /// Reports what was flushed.
    ///
    /// # Errors
    /// As [`RaftPeer::append_entries`].
    pub async fn report(
        &self,
        report: &replica::Report,
        deadline: Duration,
    ) -> Result<replica::ReportResponse, Error> {
        let report = Payload::encode(report);
        call!(self.0, report, deadline, ReplicaRequest, ReplicaResponse, Report)?.decode()
    }
}
