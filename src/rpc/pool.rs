//! Connections to other nodes, made when they are used.

use super::dial::{self, Alive, dial, hello_of_nobody, name_the_port};
use super::handshake::{Class, Identity};
use super::live::{Disconnected, Live};
use super::peer::{BulkPeer, ControlPeer, RaftPeer, Slot, call_over, fits, start};
use super::service::{
    ClusterRequest, ClusterResponse, RaftRequest, RaftResponse, ReplicaRequest, ReplicaResponse,
    WireRequest, WireResponse,
};
use super::transport::End;
use super::{Error, Payload};
use crate::types::{ClusterId, IncarnationId, NodeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// Who this process is to other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its number.
    pub node_id: NodeId,
    /// This start of its process.
    pub incarnation: IncarnationId,
    /// Where other nodes reach it, as `host:port`.
    pub rpc: String,
}

/// Connections to other nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pool {
    own: Arc<Own>,
    pub(super) live: Arc<Live>,
    slots: Arc<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    raft: SlotsOf<RaftRequest, RaftResponse>,
    control: SlotsOf<ClusterRequest, ClusterResponse>,
    bulk: SlotsOf<ReplicaRequest, ReplicaResponse>,
}

#[derive(Debug)]
struct SlotsOf<Req, Resp>(Mutex<BTreeMap<NodeId, Arc<Slot<Req, Resp>>>>);

impl<Req, Resp> Default for SlotsOf<Req, Resp> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Req: WireRequest, Resp: WireResponse> SlotsOf<Req, Resp> {
    /// The node's slot. One for another address takes the place of the old one, whose connection is
    /// closed.
    fn of(&self, node: NodeId, address: &str, class: Class, pool: &Pool) -> Arc<Slot<Req, Resp>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&node) {
            if slot.address == address {
                return Arc::clone(slot);
            }
            slot.close();
        }
        let (own, live) = (Arc::clone(&pool.own), Arc::clone(&pool.live));
        let slot = Slot::new(node, address, class, own, live);
        slots.insert(node, Arc::clone(&slot));
        slot
    }

    fn encourage(&self, node: NodeId) {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&node) {
            slot.encourage();
        }
    }

    fn forget(&self, node: NodeId) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.remove(&node) {
            slot.close();
        }
    }
}

impl Pool {
    /// A pool without connections.
    #[must_use]
    pub fn new(own: Own) -> Self {
        Self { own: Arc::new(own), live: Live::new(), slots: Arc::default() }
    }

    /// Who this process is.
    #[must_use]
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// Who this process is, as it tells others.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            cluster_id: self.own.cluster_id,
            node_id: self.own.node_id,
            incarnation: self.own.incarnation,
            version: dial::release(),
        }
    }

    /// Raft calls to `node`, which is reached at `address` (`host:port`). Nothing is connected until
    /// the first call; a lost connection is made again by the next one.
    #[must_use]
    pub fn raft(&self, node: NodeId, address: &str) -> RaftPeer {
        RaftPeer(self.slots.raft.of(node, address, Class::Raft, self))
    }

    /// Control calls to `node`, as [`Pool::raft`].
    #[must_use]
    pub fn control(&self, node: NodeId, address: &str) -> ControlPeer {
        ControlPeer(self.slots.control.of(node, address, Class::Control, self))
    }

    /// Replica calls to `node`, as [`Pool::raft`]. The connection's work is done on the runtime that
    /// its first call is made on.
    #[must_use]
    pub fn bulk(&self, node: NodeId, address: &str) -> BulkPeer {
        BulkPeer(self.slots.bulk.of(node, address, Class::Bulk, self))
    }

    /// News of connections that ended. A reader that falls behind loses the oldest news.
    #[must_use]
    pub fn disconnections(&self) -> broadcast::Receiver<Disconnected> {
        self.live.events()
    }

    /// Who is at `address`, within `RPC_PROBE_MS`.
    pub async fn probe(&self, address: &str) -> Alive {
        dial::probe(address).await
    }

    /// Closes all connections with a node, in both directions. Nobody is told.
    pub fn forget(&self, node: NodeId) {
        self.slots.raft.forget(node);
        self.slots.control.forget(node);
        self.slots.bulk.forget(node);
        self.live.evict(node, None);
    }

    #[cfg(test)]
    pub(super) fn live_incarnations(&self) -> Vec<(NodeId, IncarnationId)> {
        self.live.all()
    }

    /// A node that just connected can be connected to again, whatever failed before.
    pub(super) fn encourage(&self, node: NodeId) {
        self.slots.raft.encourage(node);
        self.slots.control.encourage(node);
        self.slots.bulk.encourage(node);
    }
}

/// Asks the node at `seed` to be let into its cluster: for a process that has no number (and knows
/// no cluster id) yet. Gives the seed's identity and the answer of its
/// [`ControlHandler::admit`](super::ControlHandler::admit).
///
/// # Errors
/// See [`Error`].
pub async fn admit(
    seed: &str,
    incarnation: IncarnationId,
    rpc: &str,
    request: Payload,
    deadline: Duration,
) -> Result<(Identity, Payload), Error> {
    fits(&request, Class::Control)?;
    let until = Instant::now() + deadline;
    let hello = hello_of_nobody(incarnation, rpc);
    let (socket, welcome) = match dial(seed, Class::Control, &hello).await {
        Ok(dialled) => dialled,
        Err(error) => return Err(name_the_port(seed, error).await),
    };
    let channel = start(socket, Class::Control, End::default(), None);
    let answer = call_over(
        &channel,
        seed,
        &request,
        until,
        |call| ClusterRequest::Admit { call },
        |response| match response {
            ClusterResponse::Admit(answer) => Some(answer),
            _ => None,
        },
    );
    Ok((welcome.identity, answer.await?))
}
