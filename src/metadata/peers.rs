//! The way to other nodes, as the metadata group needs it.
//!
//! In production this is `rpc::Pool`; tests put faults in between. Calls carry [`Payload`]s, whose
//! content is decided in `raft::network` (Raft) and `controller::messages` (control).
//!
//! Invariant: a [`CallError::NotSent`] means that the other side can't have seen the call.

use crate::rpc::Payload;
use crate::types::{IncarnationId, NodeId};
use futures::future::BoxFuture;
use std::fmt;
use std::time::Duration;

/// One call between members of the Raft group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RaftCall {
    /// Entries, or a heartbeat.
    Append(Payload),
    /// A candidate asks for a vote.
    Vote(Payload),
    /// A piece of a snapshot.
    Snapshot(Payload),
}

/// Why a call has no answer, by what the caller may do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It never left: it can be made again, also elsewhere.
    #[error("{0}")]
    NotSent(String),
    /// It was sent; whether it took effect is unknown.
    #[error("{0}")]
    Unknown(String),
}

/// What came of asking an address whether its node lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// A node answers there.
    Alive {
        /// Which.
        node_id: NodeId,
        /// Which start of it.
        incarnation: IncarnationId,
    },
    /// The system says that nobody listens there: the process has ended.
    Refused,
    /// No answer in time: nothing is known.
    Unknown,
}

/// Calls to other nodes.
pub trait Peers: Send + Sync + fmt::Debug + 'static {
    /// Makes a Raft call to a node, on the connection that is kept for Raft, and waits up to
    /// `within` for the answer.
    fn raft(
        &self,
        node: NodeId,
        address: &str,
        call: RaftCall,
        within: Duration,
    ) -> BoxFuture<'static, Result<Payload, CallError>>;

    /// Makes a control call to a node.
    fn control(
        &self,
        node: NodeId,
        address: &str,
        call: Payload,
        within: Duration,
    ) -> BoxFuture<'static, Result<Payload, CallError>>;

    /// Asks who answers at an address, with little patience.
    fn probe(&self, address: &str) -> BoxFuture<'static, Probed>;
}

/// The peers of a node that has none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPeers;

impl Peers for NoPeers {
    fn raft(
        &self,
        node: NodeId,
        address: &str,
        _: RaftCall,
        _: Duration,
    ) -> BoxFuture<'static, Result<Payload, CallError>> {
        not_sent(node, address)
    }

    fn control(
        &self,
        node: NodeId,
        address: &str,
        _: Payload,
        _: Duration,
    ) -> BoxFuture<'static, Result<Payload, CallError>> {
        not_sent(node, address)
    }

    fn probe(&self, _: &str) -> BoxFuture<'static, Probed> {
        Box::pin(async { Probed::Unknown })
    }
}

fn not_sent<T>(node: NodeId, address: &str) -> BoxFuture<'static, Result<T, CallError>> {
    let error = CallError::NotSent(format!("no connection to node {node} at {address}"));
    Box::pin(async { Err(error) })
}
