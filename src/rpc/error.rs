//! Why a call to another node failed.

use crate::types::{ClusterId, NodeId};

/// Why a call to another node failed, by what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the address, or the call could not be handed over in time. Nothing was
    /// sent: try again later.
    #[error("no node answers at {address}: {reason}")]
    Unreachable {
        /// What was tried.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The other side belongs to another cluster. Nothing was sent: never try again.
    #[error("the node at {address} belongs to cluster {theirs}, this one to {ours}")]
    OtherCluster {
        /// What was tried.
        address: String,
        /// Its cluster.
        theirs: ClusterId,
        /// Our cluster.
        ours: ClusterId,
    },
    /// Another node than expected answers at the address. Nothing was sent: wait for metadata that
    /// knows the right address.
    #[error("node {found} answers at {address}, where node {wanted} was expected")]
    OtherNode {
        /// What was tried.
        address: String,
        /// Who answers.
        found: NodeId,
        /// Who was expected.
        wanted: NodeId,
    },
    /// The other side refuses this process: another one with the same node id lives, or there are too
    /// many connections. Nothing was sent.
    #[error("the node at {address} refuses this one: {reason}")]
    Refused {
        /// What was tried.
        address: String,
        /// Why.
        reason: String,
    },
    /// The node was removed from the cluster. Nothing was sent: never try again.
    #[error("the node at {address} refuses this one: {reason}")]
    Removed {
        /// What was tried.
        address: String,
        /// Its words.
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
        /// Whether this side is the older of the two.
        ours_is_older: bool,
    },
    /// What answers at the address does not speak the protocol of nodes. Nothing was sent.
    #[error("{address} is not the rpc port of a node: {reason}")]
    NotANode {
        /// What was tried.
        address: String,
        /// What was seen.
        reason: String,
    },
    /// The call is larger than the other side would accept. Nothing was sent.
    #[error("a call of {bytes} bytes is larger than the {bytes_max} that nodes accept")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound for its class of connection.
        bytes_max: usize,
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
            | Self::Removed { .. }
            | Self::NotANode { .. }
            | Self::ProtocolVersion { .. }
            | Self::TooLarge { .. }
            | Self::Declined { .. } => true,
            // An answer that cannot be read is an answer: the call was carried out.
            Self::Unknown { .. } | Self::Version { .. } | Self::Malformed(_) => false,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "see that the node runs and that its rpc port (9192 by default) can be reached"
            }
            Self::OtherCluster { .. } => {
                "give the rpc address of a node of this cluster, or join with an empty --data-dir"
            }
            Self::OtherNode { .. } => {
                "see which node has the address: `purlin node list` shows what the cluster knows"
            }
            Self::Refused { .. } => {
                "stop the other process, or join with an empty --data-dir and without --node-id"
            }
            Self::Removed { .. } => "join with an empty --data-dir and without --node-id",
            Self::ProtocolVersion { .. } | Self::Version { .. } => {
                "upgrade the older of the two nodes"
            }
            Self::NotANode { .. } => {
                "give a node's rpc address (port 9192 by default), which `purlin node list` shows"
            }
            Self::TooLarge { .. } => "split the request",
            Self::Declined { .. } => "mend what the reason names, and try again",
            Self::Unknown { .. } => "look whether it took effect before you try again",
            Self::Malformed(_) => "see that both nodes run releases that are meant for each other",
        }
    }
}
