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
mod service;
mod transport;

pub use envelope::Payload;
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
    /// The other side speaks a version that this one does not: upgrade the older of the two.
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
