//! What the higher floors implement to answer calls.

use super::replica::{FetchRequest, FetchResponse, Report, ReportResponse};
use super::{Error, Payload};
use crate::types::{IncarnationId, NodeId};
use std::future::Future;
use std::sync::Arc;

/// Who calls: what its handshake said, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The calling node. Nothing for a process that has no number yet: it may only ask for admission.
    pub node: Option<NodeId>,
    /// This start of its process.
    pub incarnation: IncarnationId,
    /// Where it says that other nodes reach it, as `host:port`.
    pub rpc: String,
}

/// A handler's word that it did nothing with a call, and why. The caller gets it as
/// [`Error::Declined`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declined(pub String);

impl From<Error> for Declined {
    /// A payload that could not be read.
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// Answers the members of the Raft group.
pub trait RaftHandler: Send + Sync + 'static {
    /// Entries of the leader, or its heartbeat.
    fn append_entries(
        &self,
        caller: Caller,
        request: Payload,
    ) -> impl Future<Output = Result<Payload, Declined>> + Send;

    /// A candidate asks for this node's vote.
    fn vote(
        &self,
        caller: Caller,
        request: Payload,
    ) -> impl Future<Output = Result<Payload, Declined>> + Send;

    /// A piece of the leader's snapshot.
    fn install_snapshot(
        &self,
        caller: Caller,
        request: Payload,
    ) -> impl Future<Output = Result<Payload, Declined>> + Send;
}

/// Answers control calls: registration, heartbeats, forwarded proposals, admission.
pub trait ControlHandler: Send + Sync + 'static {
    /// A call of a node of this cluster.
    fn control(
        &self,
        caller: Caller,
        request: Payload,
    ) -> impl Future<Output = Result<Payload, Declined>> + Send;

    /// A process without a number asks to be let into the cluster.
    fn admit(
        &self,
        caller: Caller,
        request: Payload,
    ) -> impl Future<Output = Result<Payload, Declined>> + Send;

    /// Why a node may not talk to this one at all: it was removed from the cluster. Asked at every
    /// handshake, so it must be quick. A node that is merely not known (yet) must be let in: this
    /// node may be the one that lags.
    fn refuses(&self, _node: NodeId) -> Option<String> {
        None
    }
}

/// Answers followers.
pub trait ReplicaHandler: Send + Sync + 'static {
    /// A follower wants records. `caller.node` is the proven sender; the handler compares it with
    /// the replica that the request names.
    fn fetch(
        &self,
        caller: Caller,
        request: FetchRequest,
    ) -> impl Future<Output = FetchResponse> + Send;

    /// A follower flushed.
    fn report(&self, caller: Caller, report: Report)
    -> impl Future<Output = ReportResponse> + Send;
}

/// The handlers of a node.
#[derive(Debug)]
pub struct Handlers<R, C, P> {
    /// Raft.
    pub raft: Arc<R>,
    /// Control.
    pub control: Arc<C>,
    /// Replicas.
    pub replica: Arc<P>,
}

impl<R, C, P> Clone for Handlers<R, C, P> {
    fn clone(&self) -> Self {
        Self {
            raft: Arc::clone(&self.raft),
            control: Arc::clone(&self.control),
            replica: Arc::clone(&self.replica),
        }
    }
}
