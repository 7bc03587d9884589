//! The replicated metadata: a Raft group, its state machine, and the image that others read.
//!
//! Floor 3. `state` is pure and decides; `raft` keeps the log, the votes and the snapshots;
//! `image` and `Handle` are what other modules see.
//!
//! Invariants: the applied state is a function of the committed prefix of the Raft log alone; a
//! vote or an entry is answered only when it is durable; the log is cut only behind a durable
//! snapshot.
//!
//! Must never: import `partition` (`node::reconcile` joins the two), or trust the state store with
//! the only copy of anything.

mod handle;
mod image;
mod publisher;
mod raft;
pub mod state;

pub use handle::{Handle, Status, start};
pub use image::Image;
pub use publisher::Subscription;
pub use raft::dump::{describe_entry, describe_file};
pub use state::{Command, Delta, Response};

use crate::env::clock::Clock;
use crate::env::disk::Disk;
use crate::types::{ClusterId, NodeId};
use std::path::PathBuf;
use std::sync::Arc;

/// What goes wrong between a proposal and its answer, or at the start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Ask that node, or anyone later when none is known. The command was not taken.
    #[error("node {} is not the controller{}", .here, match .controller {
        Some(node) => format!("; node {node} is"),
        None => "; nobody is known to be".to_owned(),
    })]
    NotController {
        /// This node.
        here: NodeId,
        /// Who is the controller, if known.
        controller: Option<NodeId>,
    },
    /// Too much is waiting already. The command was not taken; try again.
    #[error("too many metadata changes are waiting; try again")]
    Overloaded,
    /// The command is larger than an entry may be. It was not taken; split it.
    #[error("the metadata change takes {bytes} bytes; at most {bytes_max} fit into one")]
    TooLarge {
        /// What it takes.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// No answer in time. The command may still be applied later.
    #[error("no answer from the metadata group in {0} ms; the change may still happen")]
    Timeout(u64),
    /// This node's part of the group has been shut down.
    #[error("the metadata group has been shut down")]
    Stopped,
    /// This node's part of the group can't go on; the node must be restarted, after the cause is
    /// removed.
    #[error("the metadata group failed: {0}")]
    Failed(String),
}

/// How to start this node's part of the metadata group.
#[derive(Debug, Clone)]
pub struct MetadataOptions {
    /// Where the Raft log, votes and snapshots go.
    pub disk: Arc<dyn Disk>,
    /// Directory on that disk; made, durably, if it is missing.
    pub dir: PathBuf,
    /// Directory for the state store, on the machine's own file system whatever `disk` is: the
    /// store can be rebuilt at any time.
    pub state_dir: PathBuf,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This node.
    pub node_id: NodeId,
    /// Where other nodes reach this one, as `host:port`.
    pub rpc: String,
    /// Whether to form a group of one if the directory is empty (`node init`).
    pub bootstrap: bool,
    /// Wall-clock time, for the log's timestamps.
    pub clock: Arc<dyn Clock>,
}
