//! The way to other nodes, as the metadata group needs it.
//!
//! In production this is `rpc::Pool`; tests put faults in between. What the payloads of the calls
//! hold is decided in `raft::network` (Raft) and `controller::messages` (control).
//!
//! Must never: retry, or decide anything. A call is made once.

use crate::rpc::{self, Alive, Disconnected, Payload};
use crate::types::NodeId;
use futures::future::BoxFuture;
use std::fmt;
use std::time::Duration;
use tokio::sync::broadcast;

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

/// What comes of a call.
pub type Answer = BoxFuture<'static, Result<Payload, rpc::Error>>;

/// Calls to other nodes.
pub trait Peers: Send + Sync + fmt::Debug + 'static {
    /// Makes a Raft call to a node, on the connection that is kept for Raft, and waits up to
    /// `within` for the answer.
    fn raft(&self, node: NodeId, address: &str, call: RaftCall, within: Duration) -> Answer;

    /// Waits up to `within` for a connection that control calls to a node can be made on; sends
    /// nothing.
    fn connect(
        &self,
        node: NodeId,
        address: &str,
        within: Duration,
    ) -> BoxFuture<'static, Result<(), rpc::Error>>;

    /// Makes a control call to a node, and waits up to `within` for the answer.
    fn control(&self, node: NodeId, address: &str, call: Payload, within: Duration) -> Answer;

    /// Asks who answers at an address, with little patience.
    fn probe(&self, address: &str) -> BoxFuture<'static, Alive>;

    /// News of connections that others ended. `None` when there are none to be had.
    fn disconnections(&self) -> Option<broadcast::Receiver<Disconnected>>;
}

impl Peers for rpc::Pool {
    fn raft(&self, node: NodeId, address: &str, call: RaftCall, within: Duration) -> Answer {
        let peer = Self::raft(self, node, address);
        Box::pin(async move {
            match call {
                RaftCall::Append(payload) => peer.append_entries(payload, within).await,
                RaftCall::Vote(payload) => peer.vote(payload, within).await,
                RaftCall::Snapshot(payload) => peer.install_snapshot(payload, within).await,
            }
        })
    }

    fn connect(
        &self,
        node: NodeId,
        address: &str,
        within: Duration,
    ) -> BoxFuture<'static, Result<(), rpc::Error>> {
        let peer = Self::control(self, node, address);
        Box::pin(async move { peer.connect(within).await })
    }

    fn control(&self, node: NodeId, address: &str, call: Payload, within: Duration) -> Answer {
        let peer = Self::control(self, node, address);
        Box::pin(async move { peer.control(call, within).await })
    }

    fn probe(&self, address: &str) -> BoxFuture<'static, Alive> {
        let (pool, address) = (self.clone(), address.to_owned());
        Box::pin(async move { Self::probe(&pool, &address).await })
    }

    fn disconnections(&self) -> Option<broadcast::Receiver<Disconnected>> {
        Some(Self::disconnections(self))
    }
}

/// The peers of a node that has none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPeers;

impl Peers for NoPeers {
    fn raft(&self, _: NodeId, address: &str, _: RaftCall, _: Duration) -> Answer {
        nobody(address)
    }

    fn connect(
        &self,
        _: NodeId,
        address: &str,
        _: Duration,
    ) -> BoxFuture<'static, Result<(), rpc::Error>> {
        nobody(address)
    }

    fn control(&self, _: NodeId, address: &str, _: Payload, _: Duration) -> Answer {
        nobody(address)
    }

    fn probe(&self, _: &str) -> BoxFuture<'static, Alive> {
        Box::pin(async { Alive::Unknown })
    }

    fn disconnections(&self) -> Option<broadcast::Receiver<Disconnected>> {
        None
    }
}

fn nobody<T>(address: &str) -> BoxFuture<'static, Result<T, rpc::Error>> {
    let reason = "this node was started without a way to others".to_owned();
    let error = rpc::Error::Unreachable { address: address.to_owned(), reason };
    Box::pin(async { Err(error) })
}
