//! What nodes ask the controller, and what it answers.
//!
//! Each value travels inside an `rpc::Payload`, behind that payload's version byte; the order of
//! variants and fields is the format (docs/FORMAT.md).

use super::super::Error;
use super::super::state::{Command, Refusal, RegisterBroker, Response};
use crate::types::{BrokerEpoch, ClusterId, DirectoryId, IncarnationId, NodeId};
use serde::{Deserialize, Serialize};

/// A sign of life of a broker. Carries the epoch of its registration, so that one that has been
/// replaced can't keep its successor's session alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who.
    pub node_id: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// This start of its process.
    pub incarnation: IncarnationId,
    /// How many Raft entries it has applied (one more than the last one's index).
    pub applied_count: u64,
    /// Whether it has taken up its partitions and may lead.
    pub ready: bool,
    /// Whether it wants to stop, and waits for others to take over what it leads.
    pub wants_shutdown: bool,
}

/// What the controller says to a [`Heartbeat`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeartbeatAnswer {
    /// The session goes on.
    Known {
        /// Whether the broker is fenced now.
        fenced: bool,
        /// Whether it may stop: it leads nothing that others could lead.
        may_stop: bool,
    },
    /// The registration is unknown or has been replaced: register again.
    RegisterAgain,
}

/// A node asks to be let into the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Its data directory: the same one gets the same id again.
    pub directory: DirectoryId,
    /// The id that it wants, if any.
    pub wanted: Option<NodeId>,
    /// Where other nodes reach it, as `host:port`.
    pub rpc: String,
}

/// The answer to an [`Admission`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// The node's id.
    pub node_id: NodeId,
    /// The cluster.
    pub cluster_id: ClusterId,
}

/// One member, as the controller sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Who.
    pub node_id: NodeId,
    /// One more than the last entry known to be durable there; `None` when nothing is known yet.
    pub log_end_offset: Option<u64>,
    /// When the controller last heard from it, in milliseconds since 1970; -1 for never.
    pub last_fetch_ms: i64,
    /// When it last had everything the controller had, in milliseconds since 1970; -1 for never.
    pub last_caught_up_ms: i64,
}

/// The group as its leader sees it: what DescribeQuorum shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// The controller.
    pub leader: NodeId,
    /// Its term.
    pub term: u64,
    /// One more than the last committed entry.
    pub high_watermark: u64,
    /// The members that vote.
    pub voters: Vec<Replica>,
    /// The members that only follow.
    pub learners: Vec<Replica>,
}

/// A call to the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ControlCall {
    Propose(Command),
    Heartbeat(Heartbeat),
    Register(RegisterBroker),
    Admit(Admission),
    Quorum,
    /// Answered by whoever is asked, once its partitions follow so many entries.
    TakenUp {
        applied_count: u64,
    },
}

/// The answer to a [`ControlCall`], in kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ControlAnswer {
    /// What was applied, and how many entries were applied with it.
    Proposed {
        response: Response,
        applied_count: u64,
    },
    Heartbeat(HeartbeatAnswer),
    Registered {
        outcome: Result<BrokerEpoch, Refusal>,
        applied_count: u64,
    },
    Admitted(Result<Admitted, Refusal>),
    Quorum(Quorum),
    Failed(Failure),
    TakenUp,
}

impl ControlAnswer {
    /// The answer that hands an error on.
    pub(crate) fn failed(error: &Error) -> Self {
        Self::Failed(Failure::of(error))
    }
}

/// An [`Error`] on its way to whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// Who is, and where, as far as the node that was asked knows.
    NotController {
        controller: Option<NodeId>,
        address: Option<String>,
    },
    Overloaded,
    Timeout(u64),
    /// The node that was asked stops; nothing happened.
    Stopped,
    /// Whatever it was, it may have happened.
    Unknown(String),
    TooLarge {
        bytes: u64,
        bytes_max: u64,
    },
    /// The node that was asked can't go on; what it was asked may have happened.
    Broken(String),
}

impl Failure {
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::NotController { controller, .. } => {
                Self::NotController { controller: *controller, address: None }
            }
            Error::Overloaded => Self::Overloaded,
            Error::Timeout(after_ms) => Self::Timeout(*after_ms),
            Error::Stopped => Self::Stopped,
            Error::TooLarge { bytes, bytes_max } => {
                Self::TooLarge { bytes: *bytes as u64, bytes_max: *bytes_max as u64 }
            }
            Error::Failed(what) => Self::Broken(what.clone()),
            Error::Unknown(what) => Self::Unknown(what.clone()),
        }
    }

    /// The error for a caller on node `here`.
    pub(crate) fn into_error(self, here: NodeId) -> Error {
        let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        match self {
            Self::NotController { controller, .. } => Error::NotController { here, controller },
            Self::Overloaded => Error::Overloaded,
            Self::Timeout(after_ms) => Error::Timeout(after_ms),
            Self::Stopped => Error::NotController { here, controller: None },
            Self::Unknown(what) => Error::Unknown(what),
            Self::TooLarge { bytes, bytes_max } => {
                Error::TooLarge { bytes: size(bytes), bytes_max: size(bytes_max) }
            }
            Self::Broken(what) => Error::Failed(what),
        }
    }
}
