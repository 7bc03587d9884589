//! Why a node does not start or did not stop well, in words for people: the cause, then the next
//! step.

use crate::config;
use crate::types::ClusterId;
use std::io;
use std::path::PathBuf;

/// Why a node does not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `node init` on a directory that holds a node already.
    #[error(
        "{} holds node {node_id} of cluster {cluster_id} already; \
         start it with: purlin node start --data-dir {}",
        .dir.display(), .dir.display()
    )]
    AlreadyInitialised {
        /// The directory.
        dir: PathBuf,
        /// The node in it.
        node_id: String,
        /// Its cluster.
        cluster_id: String,
    },
    /// `node init` on a directory with files that are not ours.
    #[error(
        "{} is not empty, and holds no node ({found} is in the way); \
         choose another --data-dir, or empty this one", .dir.display()
    )]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// One of the entries.
        found: String,
    },
    /// `node start` where no node is.
    #[error(
        "{} holds no node; make a new cluster with: purlin node init --data-dir {}; or let this \
         machine join one: purlin node join --seed HOST:PORT --data-dir {}",
        .dir.display(), .dir.display(), .dir.display()
    )]
    NotInitialised {
        /// The directory.
        dir: PathBuf,
    },
    /// `node start` where a join did not come to its end.
    #[error(
        "the join of {} did not come to its end; go on with: purlin node join --seed HOST:PORT \
         --data-dir {}", .dir.display(), .dir.display()
    )]
    JoinUnfinished {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory belongs to another node or cluster than asked for.
    #[error("{} belongs to {found}, not to {wanted}; check --data-dir and --node-id", .dir.display())]
    WrongIdentity {
        /// The directory.
        dir: PathBuf,
        /// What its `meta.properties` says.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// `meta.properties` cannot be understood.
    #[error("{} is damaged: {reason}; restore it from a backup of this node", .path.display())]
    BadIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The identity is there, but the metadata is gone.
    #[error(
        "{} holds a node's identity, but its metadata directory is gone; restore it from a \
         backup, or take the node out of its cluster and begin with an empty --data-dir",
        .dir.display()
    )]
    NoMetadata {
        /// The directory.
        dir: PathBuf,
    },
    /// Another process serves this directory.
    #[error(
        "{} is in use by {holder}; stop that process first, or choose another --data-dir",
        .dir.display()
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The other process, as its lock file names it.
        holder: String,
    },
    /// The directory cannot be made or written.
    #[error(
        "data directory {} cannot be used: {error}; make it writable for this user, \
         or choose another --data-dir", .dir.display()
    )]
    DirNotUsable {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A listener's address is taken.
    #[error(
        "port taken: {address} is in use by another process; stop it, or choose another \
         address with --{flag}"
    )]
    PortTaken {
        /// The address.
        address: String,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// A listener's address cannot be bound for another reason.
    #[error("cannot listen on {address}: {error}; choose another address with --{flag}")]
    CannotListen {
        /// The address.
        address: String,
        /// The flag that sets it.
        flag: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Settings that do not fit together.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// Nobody among the seeds let the node in.
    #[error(
        "no node let this one in within {waited_s} s ({tried}); seeds are the rpc addresses of \
         running nodes, port 9192 unless told otherwise: the `ready` line of each names it"
    )]
    NoSeedAnswers {
        /// Each seed with what came of it.
        tried: String,
        /// How long it was tried.
        waited_s: u64,
    },
    /// What answers at a seed's address is no node.
    #[error("{0}; --seed takes the rpc address of a running node, as its `ready` line names it")]
    BadSeed(String),
    /// The seed's release and this one have no protocol in common.
    #[error("{cause}; {advice}")]
    OtherProtocol {
        /// Who speaks what.
        cause: String,
        /// Which of the two to upgrade.
        advice: &'static str,
    },
    /// `node init` where a seed belongs to a cluster.
    #[error(
        "the node at {seed} belongs to cluster {cluster_id} already, and a second cluster would be \
         made beside it; let this machine join: purlin node join --seed {seed} --data-dir {}; if a \
         second cluster is meant, leave that node out of --seed (PURLIN_SEED)", .dir.display()
    )]
    ClusterExists {
        /// Who answered.
        seed: String,
        /// Its cluster.
        cluster_id: ClusterId,
        /// The directory that was to be the new cluster's first node.
        dir: PathBuf,
    },
    /// The cluster refuses the node.
    #[error("the cluster at {seed} does not let this node in: {reason}")]
    NotAdmitted {
        /// Who said it.
        seed: String,
        /// Its reason, with the way out.
        reason: String,
    },
    /// The directory belongs to another cluster than its seeds.
    #[error(
        "{} has begun to join cluster {ours}, but the seed {seed} belongs to cluster {theirs}; \
         name a seed of the first, or begin anew with an empty --data-dir", .dir.display()
    )]
    OtherClusterSeed {
        /// The directory.
        dir: PathBuf,
        /// Who answered.
        seed: String,
        /// The directory's cluster.
        ours: ClusterId,
        /// The seed's.
        theirs: ClusterId,
    },
    /// No controller was found.
    #[error(
        "no controller answered for {waited_s} s: {tried}; a majority of the voting nodes must run: \
         start them, and check that their rpc addresses can be reached from here"
    )]
    NoController {
        /// Whom it tried, and what came of it.
        tried: String,
        /// How long it waited.
        waited_s: u64,
    },
    /// The cluster does not have this node (any more), and will not have it again.
    #[error("the cluster does not take this node: {0}")]
    NotAMember(String),
    /// The cluster does not take this node as a broker now: another process has its id.
    #[error("the cluster does not take this node: {0}")]
    NotRegistered(String),
    /// The metadata group does not come up.
    #[error("the metadata of this node does not start: {0}")]
    Metadata(String),
    /// A file of the node cannot be read.
    #[error("the data directory is damaged: {0}")]
    Damaged(String),
    /// The machine refuses a thread, a runtime or a signal handler.
    #[error("the system refuses {what}: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Something did not close cleanly: the next start recovers.
    #[error("the node stopped, but not cleanly: {0}; the next start checks its logs")]
    Unclean(String),
}

impl Error {
    /// The exit code for the command: 2 for what another start would not change (used wrongly, or
    /// refused by the cluster for good), 1 for what failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::AlreadyInitialised { .. }
            | Self::NotEmpty { .. }
            | Self::NotInitialised { .. }
            | Self::JoinUnfinished { .. }
            | Self::WrongIdentity { .. }
            | Self::OtherProtocol { .. }
            | Self::ClusterExists { .. }
            | Self::NotAdmitted { .. }
            | Self::OtherClusterSeed { .. }
            | Self::NotAMember(_)
            | Self::Config(_) => 2,
            _ => 1,
        }
    }
}
