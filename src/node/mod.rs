//! A process of the cluster: start, lifecycle, reconciliation, admin port.
//!
//! Floor 6. The one place that joins the rooms: metadata decides which partitions this node
//! holds, `reconcile` makes them so, and the listeners serve them.
//!
//! Invariant: the line `ready …` is printed only when clients are served, and the clean-shutdown
//! mark is written only when every log was flushed and closed.
//!
//! Must never: decide about replication or metadata itself.

mod error;

pub use error::Error;

use crate::config::{self, NodeConfig, NodeFlags, StartMode};
use crate::types::{ClusterId, NodeId};
use std::net::SocketAddr;

/// Puts the settings of a node together from flags, the process's environment and files.
///
/// # Errors
/// The first key or value that does not fit, with a suggestion.
pub fn load_config(mode: StartMode, flags: &NodeFlags) -> Result<NodeConfig, config::Error> {
    let check = |_: &str, _: &str| Ok(());
    let known = config::KnownBrokerKeys { names: &["num.partitions"], check: &check };
    NodeConfig::load(mode, flags, std::env::vars(), known)
}

/// A node that serves. Dropping it without [`RunningNode::stop`] is like a kill.
#[derive(Debug)]
pub struct RunningNode {
    node_id: NodeId,
    cluster_id: ClusterId,
    kafka: SocketAddr,
    rpc: SocketAddr,
    admin: SocketAddr,
}

/// Starts a node, and returns once it serves clients. The `ready` line is left to the caller
/// ([`RunningNode::ready_line`]), so that tests and `purlin dev` can start several in a process.
///
/// Must not be called from within an async task: it builds the node's own runtimes.
///
/// # Errors
/// Everything that people meet at a start, each with its cause and the next step.
pub fn start(config: NodeConfig) -> Result<RunningNode, Error> {
    let _ = config;
    todo!("node::start")
}

impl RunningNode {
    /// The line for stdout: `ready kafka=… rpc=… admin=… node=… cluster=…`, with the addresses
    /// that were really bound.
    #[must_use]
    pub fn ready_line(&self) -> String {
        format!(
            "ready kafka={} rpc={} admin={} node={} cluster={}",
            self.kafka, self.rpc, self.admin, self.node_id, self.cluster_id
        )
    }

    /// The bound address for Kafka clients.
    #[must_use]
    pub fn kafka_address(&self) -> SocketAddr {
        self.kafka
    }

    /// The bound address for other nodes.
    #[must_use]
    pub fn rpc_address(&self) -> SocketAddr {
        self.rpc
    }

    /// The bound address for probes and metrics.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Blocks until SIGTERM or SIGINT (or a failure that ends the node), then stops cleanly.
    ///
    /// # Errors
    /// When something could not be flushed or closed; the next start then recovers.
    pub fn wait(self) -> Result<(), Error> {
        todo!("node::wait")
    }

    /// Drains connections, flushes and closes every log, and writes the clean-shutdown mark.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn stop(self) -> Result<(), Error> {
        todo!("node::stop")
    }
}
