//! Connections to other nodes, made when they are used.

use super::replica::{FetchRequest, FetchResponse, Report, ReportResponse};
use super::{Error, Identity, Payload};
use crate::types::{ClusterId, IncarnationId, NodeId};
use std::time::Duration;
use tokio::sync::broadcast;

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

/// What a connection is for. Each class has its own TCP connection, so that bulk never delays a
/// heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The Raft group's calls.
    Raft,
    /// Registration, heartbeats, forwarded proposals, admission.
    Control,
    /// Records and flush reports.
    Bulk,
    /// A question who is there, closed after the answer.
    Probe,
}

/// A connection with another node ended, by its hand or by the network, not by ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnected {
    /// The other node.
    pub node: NodeId,
    /// The start of its process that the connection was with.
    pub incarnation: IncarnationId,
    /// Where it says that it is reached, as `host:port`.
    pub rpc: String,
    /// What the connection was for.
    pub class: Class,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alive {
    /// A node answers, of whatever cluster.
    Answers(Identity),
    /// Nothing listens there: the machine answered that the port is closed.
    Refused,
    /// No answer in time, or one that says nothing about the process.
    Unknown,
}

/// Connections to other nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pool {}

/// Raft calls to one node.
#[derive(Debug, Clone)]
pub struct RaftPeer {}

/// Control calls to one node.
#[derive(Debug, Clone)]
pub struct ControlPeer {}

/// Replica calls to one node.
#[derive(Debug, Clone)]
pub struct BulkPeer {}

impl Pool {
    /// A pool without connections.
    #[must_use]
    pub fn new(_own: Own) -> Self {
        todo!()
    }

    /// Who this process is.
    #[must_use]
    pub fn own(&self) -> &Own {
        todo!()
    }

    /// Raft calls to `node`, which is reached at `address` (`host:port`). Nothing is connected until
    /// the first call; a lost connection is made again by the next one.
    #[must_use]
    pub fn raft(&self, _node: NodeId, _address: &str) -> RaftPeer {
        todo!()
    }

    /// Control calls to `node`, as [`Pool::raft`].
    #[must_use]
    pub fn control(&self, _node: NodeId, _address: &str) -> ControlPeer {
        todo!()
    }

    /// Replica calls to `node`, as [`Pool::raft`]. The connection's work is done on the runtime that
    /// the first call is made on.
    #[must_use]
    pub fn bulk(&self, _node: NodeId, _address: &str) -> BulkPeer {
        todo!()
    }

    /// News of connections that ended. A reader that falls behind loses the oldest news.
    #[must_use]
    pub fn disconnections(&self) -> broadcast::Receiver<Disconnected> {
        todo!()
    }

    /// Who is at `address`, within `RPC_PROBE_MS`.
    pub async fn probe(&self, _address: &str) -> Alive {
        todo!()
    }

    /// Closes all connections with a node, in both directions.
    pub fn forget(&self, _node: NodeId) {
        todo!()
    }
}

impl RaftPeer {
    /// Sends entries or a heartbeat.
    ///
    /// # Errors
    /// See [`Error`]; a deadline that passed is [`Error::Unknown`].
    pub async fn append_entries(
        &self,
        _request: Payload,
        _deadline: Duration,
    ) -> Result<Payload, Error> {
        todo!()
    }

    /// Asks for a vote.
    ///
    /// # Errors
    /// As [`RaftPeer::append_entries`].
    pub async fn vote(&self, _request: Payload, _deadline: Duration) -> Result<Payload, Error> {
        todo!()
    }

    /// Sends a piece of a snapshot.
    ///
    /// # Errors
    /// As [`RaftPeer::append_entries`].
    pub async fn install_snapshot(
        &self,
        _request: Payload,
        _deadline: Duration,
    ) -> Result<Payload, Error> {
        todo!()
    }
}

impl ControlPeer {
    /// Makes a control call.
    ///
    /// # Errors
    /// As [`RaftPeer::append_entries`].
    pub async fn control(&self, _request: Payload, _deadline: Duration) -> Result<Payload, Error> {
        todo!()
    }
}

impl BulkPeer {
    /// Fetches records.
    ///
    /// # Errors
    /// As [`RaftPeer::append_entries`].
    pub async fn fetch(
        &self,
        _request: &FetchRequest,
        _deadline: Duration,
    ) -> Result<FetchResponse, Error> {
        todo!()
    }

    /// Reports what was flushed.
    ///
    /// # Errors
    /// As [`RaftPeer::append_entries`].
    pub async fn report(
        &self,
        _report: &Report,
        _deadline: Duration,
    ) -> Result<ReportResponse, Error> {
        todo!()
    }
}

/// Asks the node at `seed` to be let into its cluster: for a process that has no number (and knows
/// no cluster id) yet. Gives the seed's identity and the answer of its
/// [`ControlHandler::admit`](super::ControlHandler::admit).
///
/// # Errors
/// See [`Error`].
pub async fn admit(
    _seed: &str,
    _incarnation: IncarnationId,
    _rpc: &str,
    _request: Payload,
    _deadline: Duration,
) -> Result<(Identity, Payload), Error> {
    todo!()
}

/// Asks who is at `address`, as a process that belongs to no cluster.
///
/// # Errors
/// See [`Error`].
pub async fn identify(_address: &str) -> Result<Identity, Error> {
    todo!()
}
