//! Node-to-node calls over tarpc.
//!
//! Floor 1. One versioned service per concern; for now `cluster` with its handshake. A node calls
//! [`connect`], which asks the other side who it is before anything else is sent.
//!
//! Invariants:
//! - No call but `identify` is made on a connection whose other side has not proved to be of the
//!   same cluster.
//! - Every payload begins with a version byte, so that nodes of different versions understand or
//!   refuse each other.
//! - Frames, connections and calls in flight are bounded.
//!
//! Must never: decide anything; it carries calls.

mod envelope;
mod handlers;
mod pool;
pub mod replica;
mod server;
mod service;
mod transport;

pub use envelope::Payload;
pub use handlers::{Caller, ControlHandler, Declined, Handlers, RaftHandler, ReplicaHandler};
pub use pool::{
    Alive, BulkPeer, Class, ControlPeer, Disconnected, Own, Pool, RaftPeer, admit, identify,
};
pub use server::Server;
pub use service::{Cluster, ClusterClient, ClusterServer, Hello, Identity};
pub use transport::{connect, serve};

use crate::types::{ClusterId, NodeId};

/// Why a call to another node failed, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the address: try again later.
    #[error("no node answers at {address}: {reason}")]
    Unreachable {
        /// What was tried.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The other side belongs to another cluster: never try again.
    #[error("the node at {address} belongs to cluster {theirs}, this one to {ours}")]
    OtherCluster {
        /// What was tried.
        address: String,
        /// Its cluster.
        theirs: ClusterId,
        /// Our cluster.
        ours: ClusterId,
    },
    /// Another node than expected answers at the address.
    #[error("node {found} answers at {address}, where node {wanted} was expected")]
    OtherNode {
        /// What was tried.
        address: String,
        /// Who answers.
        found: NodeId,
        /// Who was expected.
        wanted: NodeId,
    },
    /// The other side refuses this process: another one with the same node id lives, or the node was
    /// removed from the cluster. Nothing was sent.
    #[error("the node at {address} refuses this one: {reason}")]
    Refused {
        /// What was tried.
        address: String,
        /// Why.
        reason: String,
    },
    /// The two nodes have no protocol version in common: upgrade the older of the two. Nothing was
    /// sent.
    #[error("the node at {address} speaks protocol versions {theirs}, this one {ours}")]
    ProtocolVersion {
        /// What was tried.
        address: String,
        /// What it speaks.
        theirs: String,
        /// What we speak.
        ours: String,
    },
    /// What answers at the address does not speak the protocol of nodes. Nothing was sent.
    #[error("{address} is not the rpc port of a node: {reason}")]
    NotANode {
        /// What was tried.
        address: String,
        /// What was seen.
        reason: String,
    },
    /// The other side got the call and did nothing with it.
    #[error("the node at {address} declined the call: {reason}")]
    Declined {
        /// Who was called.
        address: String,
        /// Why.
        reason: String,
    },
    /// The call was sent, or may have been, and no answer came: whether it was carried out is not
    /// known.
    #[error("no answer from the node at {address}: {reason}")]
    Unknown {
        /// Who was called.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The payload has a version that this node does not know: upgrade the older of the two.
    #[error("payload has version {found}; this node understands up to {known}")]
    Version {
        /// The version byte.
        found: u8,
        /// The newest version known here.
        known: u8,
    },
    /// The payload is not what its version says.
    #[error("payload is malformed: {0}")]
    Malformed(String),
}

impl Error {
    /// Whether the call certainly had no effect: it was never sent, or the other side said that it
    /// did nothing. Anything else may have happened.
    #[must_use]
    pub fn is_certainly_not_done(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::OtherCluster { .. }
            | Self::OtherNode { .. }
            | Self::Refused { .. }
            | Self::NotANode { .. }
            | Self::ProtocolVersion { .. }
            | Self::Declined { .. } => true,
            // An answer that cannot be read is an answer: the call was carried out.
            Self::Unknown { .. } | Self::Version { .. } | Self::Malformed(_) => false,
        }
    }
}
