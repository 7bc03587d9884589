//! The replicated metadata: a Raft group, its state machine, and the image that others read.
//!
//! Floor 3. `state` is pure and decides; `raft` keeps the log, the votes and the snapshots, and
//! talks to the other members through `peers`; `controller` is what the group's leader does on
//! top; `image` and `Handle` are what other modules see.
//!
//! Invariants: the applied state is a function of the committed prefix of the Raft log alone; a
//! vote or an entry is answered only when it is durable; the log is cut only behind a durable
//! snapshot.
//!
//! Must never: import `partition` (`node::reconcile` joins the two), or trust the state store with
//! the only copy of anything.

mod contact;
pub mod controller;
mod doubt;
mod handle;
mod image;
pub mod liveness;
mod peers;
mod proposer;
mod publisher;
mod raft;
#[cfg(test)]
mod random_lives;
pub mod state;
mod wire;

pub use controller::{
    Admission, Admitted, Heartbeat, HeartbeatAnswer, Quorum, QuorumReplica, admission_answer,
    admission_call,
};
pub use handle::{Handle, Status, start};
pub use image::Image;
pub use peers::{Answer, NoPeers, Peers, RaftCall};
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
    /// The controller was asked and did not answer. The command may have been applied, or may be
    /// later.
    #[error("the controller did not answer, the change may have happened: {0}")]
    Unknown(String),
    /// This node's part of the group has been shut down.
    #[error("the metadata group has been shut down")]
    Stopped,
    /// This node's part of the group can't go on; the node must be restarted, after the cause is
    /// removed.
    #[error("the metadata group failed: {0}")]
    Failed(String),
}

/// How a member begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAs {
    /// Forms a group of one if the directory is empty (`node init`).
    Founder,
    /// Starts with nothing, and waits for the controller to add it (`node join`). What is there
    /// already, from a start that was interrupted, is kept.
    Joiner,
    /// Was a member before. An empty directory means that it lost what it promised to keep, and
    /// is refused.
    Member,
}

/// How fast the Raft group is. Shorter times find a dead leader sooner, and take a slow one for
/// dead more often; neither endangers what is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaftTiming {
    /// Milliseconds between two heartbeats of the leader.
    pub heartbeat_ms: u64,
    /// A follower that hears nothing stands for election after the lease and a time between these
    /// two, at random.
    pub election_ms_min: u64,
    /// The longer of the two, and the lease: for so long after a sign of life of its leader a
    /// member gives no other its vote.
    pub election_ms_max: u64,
}

impl Default for RaftTiming {
    fn default() -> Self {
        Self {
            heartbeat_ms: crate::limits::RAFT_HEARTBEAT_MS,
            election_ms_min: crate::limits::RAFT_ELECTION_MS_MIN,
            election_ms_max: crate::limits::RAFT_ELECTION_MS_MAX,
        }
    }
}

/// When the log gives way to snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// Entries between two snapshots.
    pub every_entries: u64,
    /// Entries that stay in the log behind a snapshot, for members that lag a little.
    pub entries_kept: u64,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self {
            every_entries: crate::limits::METADATA_SNAPSHOT_ENTRIES,
            entries_kept: crate::limits::METADATA_ENTRIES_KEPT,
        }
    }
}

/// What the controller goes by, while this node is it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControllerOptions {
    /// How many members shall vote (`purlin.metadata.voters`): 1, 3 or 5.
    pub voters: usize,
    /// Milliseconds without a heartbeat after which a broker is fenced
    /// (`broker.session.timeout.ms`).
    pub session_timeout_ms: u64,
    /// Milliseconds between two heartbeats of a broker (`broker.heartbeat.interval.ms`).
    pub heartbeat_ms: u64,
    /// Whether leadership goes back to preferred replicas by itself
    /// (`auto.leader.rebalance.enable`).
    pub auto_leader_rebalance: bool,
    /// Seconds between two looks at that (`leader.imbalance.check.interval.seconds`).
    pub rebalance_interval_s: u64,
}

impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            voters: crate::limits::METADATA_VOTERS,
            session_timeout_ms: crate::limits::BROKER_SESSION_TIMEOUT_MS,
            heartbeat_ms: crate::limits::BROKER_HEARTBEAT_MS,
            auto_leader_rebalance: true,
            rebalance_interval_s: crate::limits::LEADER_REBALANCE_INTERVAL_S,
        }
    }
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
    /// How to begin.
    pub start_as: StartAs,
    /// The way to other nodes.
    pub peers: Arc<dyn Peers>,
    /// How fast the group is; the same on every member.
    pub timing: RaftTiming,
    /// When the log gives way to snapshots.
    pub snapshots: SnapshotOptions,
    /// What to go by as controller.
    pub controller: ControllerOptions,
    /// Wall-clock time, for the log's timestamps and for what people read; decides nothing.
    pub clock: Arc<dyn Clock>,
}
