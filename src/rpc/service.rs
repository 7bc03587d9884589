//! The services, as tarpc knows them, and the numbers of their calls on the wire.
//!
//! tarpc keeps track of calls, deadlines and cancellations. What is on the wire is ours
//! ([`super::frame`]): tarpc's own encoding of deadlines would let a peer panic the receiver, and
//! its encoding of bytes copies them.

use super::frame::{Frame, FrameError, Kind};
use super::handlers::Declined;
use super::{Caller, ControlHandler, Identity, Payload, RaftHandler, ReplicaHandler, replica};
use crate::limits::RPC_DEADLINE_MS_MAX;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tarpc::context::{self, Context};
use tarpc::{ClientMessage, Request, Response};

/// Whether a call was handed to the connection. The side that waits and the side that writes agree
/// on it, so that "never sent" is certain when it is said.
#[derive(Debug, Clone, Default)]
pub(super) struct Ticket(Arc<AtomicU8>);

const WAITING: u8 = 0;
const SENT: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Ticket {
    fn change(&self, to: u8) -> bool {
        self.0.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Takes the call back. True when it was not handed over, and never will be.
    pub(super) fn withdraw(&self) -> bool {
        self.change(WITHDRAWN)
    }
}

/// A call: its payload, and whether it was sent.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) payload: Payload,
    pub(super) ticket: Ticket,
}

/// What comes back.
pub(super) type Answer = Result<Payload, Declined>;

/// Between any two nodes.
#[tarpc::service(derive = [])]
pub(super) trait Cluster {
    /// Who are you?
    async fn identify(call: Call) -> Answer;
    /// Registration, heartbeats, forwarded proposals.
    async fn control(call: Call) -> Answer;
    /// Admission of a process without a number.
    async fn admit(call: Call) -> Answer;
}

/// Between members of the Raft group.
#[tarpc::service(derive = [])]
pub(super) trait Raft {
    /// Entries, or a heartbeat.
    async fn append_entries(call: Call) -> Answer;
    /// A vote.
    async fn vote(call: Call) -> Answer;
    /// A piece of a snapshot.
    async fn install_snapshot(call: Call) -> Answer;
}

/// From followers to leaders of partitions.
#[tarpc::service(derive = [])]
pub(super) trait Replica {
    /// Records, please.
    async fn fetch(call: Call) -> Answer;
    /// This much is flushed.
    async fn report(call: Call) -> Answer;
}

/// A service's requests on the wire.
pub(super) trait WireRequest: tarpc::RequestName + Sized + Send + 'static {
    fn into_parts(self) -> (u8, Call);
    fn from_parts(number: u8, call: Call) -> Option<Self>;
}

/// A service's answers on the wire.
pub(super) trait WireResponse: Sized + Send + 'static {
    fn into_parts(self) -> (u8, Answer);
    fn from_parts(number: u8, answer: Answer) -> Option<Self>;
}

macro_rules! numbered {
    ($request:ident, $response:ident, { $($number:literal => $call:ident,)* }) => {
        impl WireRequest for $request {
            fn into_parts(self) -> (u8, Call) {
                match self { $(Self::$call { call } => ($number, call),)* }
            }
            fn from_parts(number: u8, call: Call) -> Option<Self> {
                match number { $($number => Some(Self::$call { call }),)* _ => None }
            }
        }
        impl WireResponse for $response {
            fn into_parts(self) -> (u8, Answer) {
                match self { $(Self::$call(answer) => ($number, answer),)* }
            }
            fn from_parts(number: u8, answer: Answer) -> Option<Self> {
                match number { $($number => Some(Self::$call(answer)),)* _ => None }
            }
        }
    };
}

numbered!(ClusterRequest, ClusterResponse, { 1 => Identify, 2 => Control, 3 => Admit, });
numbered!(RaftRequest, RaftResponse, { 1 => AppendEntries, 2 => Vote, 3 => InstallSnapshot, });
numbered!(ReplicaRequest, ReplicaResponse, { 1 => Fetch, 2 => Report, });

/// What a connection writes.
pub(super) trait Outgoing {
    /// Nothing when the call was withdrawn.
    fn into_frame(self) -> Option<Frame>;
}

/// What a connection reads.
pub(super) trait Incoming: Sized {
    fn from_frame(frame: Frame) -> Result<Self, FrameError>;
}

impl<R: WireRequest> Outgoing for ClientMessage<R> {
    fn into_frame(self) -> Option<Frame> {
        match self {
            Self::Request(Request { context, id, message }) => {
                let (call, Call { payload, ticket }) = message.into_parts();
                if !ticket.change(SENT) {
                    return None;
                }
                let left = context.deadline.saturating_duration_since(Instant::now());
                let deadline_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
                let (head, raw) = payload.into_parts();
                Some(Frame { kind: Kind::Request, call, id, deadline_ms, head, raw })
            }
            Self::Cancel { request_id, .. } => Some(Frame {
                kind: Kind::Cancel,
                call: 0,
                id: request_id,
                deadline_ms: 0,
                head: Bytes::new(),
                raw: Vec::new(),
            }),
            // tarpc has no other messages.
            _ => None,
        }
    }
}

impl<R: WireRequest> Incoming for ClientMessage<R> {
    fn from_frame(frame: Frame) -> Result<Self, FrameError> {
        match frame.kind {
            Kind::Request => {
                let payload = Payload::from_parts(frame.head, frame.raw);
                let call = Call { payload, ticket: Ticket::default() };
                let message = R::from_parts(frame.call, call)
                    .ok_or(FrameError::Malformed("its service has no such call"))?;
                let wait_ms = u64::from(frame.deadline_ms).min(RPC_DEADLINE_MS_MAX);
                Ok(Self::Request(Request {
                    context: context_until(Instant::now() + Duration::from_millis(wait_ms)),
                    id: frame.id,
                    message,
                }))
            }
            Kind::Cancel => {
                Ok(Self::Cancel { trace_context: Default::default(), request_id: frame.id })
            }
            _ => Err(FrameError::Malformed("only requests go this way")),
        }
    }
}

impl<R: WireResponse> Outgoing for Response<R> {
    fn into_frame(self) -> Option<Frame> {
        let (call, answer) = match self.message {
            Ok(response) => response.into_parts(),
            // tarpc itself turned the call away: too many at once.
            Err(error) => (0, Err(Declined(error.to_string()))),
        };
        let (kind, (head, raw)) = match answer {
            Ok(payload) => (Kind::Answer, payload.into_parts()),
            Err(Declined(reason)) => (Kind::Declined, (Bytes::from(reason), Vec::new())),
        };
        Some(Frame { kind, call, id: self.request_id, deadline_ms: 0, head, raw })
    }
}

impl<R: WireResponse> Incoming for Response<R> {
    fn from_frame(frame: Frame) -> Result<Self, FrameError> {
        let unknown = FrameError::Malformed("its service has no such call");
        let message = match frame.kind {
            Kind::Answer => {
                let payload = Payload::from_parts(frame.head, frame.raw);
                Ok(R::from_parts(frame.call, Ok(payload)).ok_or(unknown)?)
            }
            Kind::Declined => {
                let detail = String::from_utf8_lossy(&frame.head).into_owned();
                Err(tarpc::ServerError::new(std::io::ErrorKind::Other, detail))
            }
            _ => return Err(FrameError::Malformed("only answers go this way")),
        };
        Ok(Self { request_id: frame.id, message })
    }
}

/// A call's context with its own deadline.
pub(super) fn context_until(deadline: Instant) -> Context {
    let mut context = context::current();
    context.deadline = deadline;
    context
}

/// Hands the calls of one connection to a handler.
#[derive(Debug)]
pub(super) struct Calls<H> {
    pub(super) handler: Arc<H>,
    pub(super) caller: Caller,
    pub(super) own: Arc<Identity>,
}

impl<H> Clone for Calls<H> {
    fn clone(&self) -> Self {
        Self {
            handler: Arc::clone(&self.handler),
            caller: self.caller.clone(),
            own: Arc::clone(&self.own),
        }
    }
}

impl<C: ControlHandler> Cluster for Calls<C> {
    async fn identify(self, _: Context, _: Call) -> Answer {
        Ok(Payload::encode(&*self.own))
    }

    async fn control(self, _: Context, call: Call) -> Answer {
        if self.caller.node.is_none() {
            return Err(Declined("a process without a node id may only ask for one".to_owned()));
        }
        self.handler.control(self.caller, call.payload).await
    }

    async fn admit(self, _: Context, call: Call) -> Answer {
        self.handler.admit(self.caller, call.payload).await
    }
}

impl<R: RaftHandler> Raft for Calls<R> {
    async fn append_entries(self, _: Context, call: Call) -> Answer {
        self.handler.append_entries(self.caller, call.payload).await
    }

    async fn vote(self, _: Context, call: Call) -> Answer {
        self.handler.vote(self.caller, call.payload).await
    }

    async fn install_snapshot(self, _: Context, call: Call) -> Answer {
        self.handler.install_snapshot(self.caller, call.payload).await
    }
}

impl<P: ReplicaHandler> Replica for Calls<P> {
    async fn fetch(self, _: Context, call: Call) -> Answer {
        let request: replica::FetchRequest = call.payload.decode()?;
        Ok(self.handler.fetch(self.caller, request).await.encode())
    }

    async fn report(self, _: Context, call: Call) -> Answer {
        let report: replica::Report = call.payload.decode()?;
        Ok(Payload::encode(&self.handler.report(self.caller, report).await))
    }
}
