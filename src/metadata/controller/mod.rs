//! The controller: what the leader of the Raft group does besides committing entries.
//!
//! `messages` are the calls; `Asker` makes them from any node, `Service` answers them on the
//! one that leads, and behind it `shell` is the task that acts: sessions and fencing,
//! registrations, preferred leaders. `membership` decides who belongs to the Raft group and who
//! votes; `quorum` describes it.
//!
//! Invariants: all that the controller decides is a proposal, so one that was deposed without
//! knowing it decides nothing; what it keeps in memory (sessions, contacts) may be lost with it.

mod ask;
mod membership;
mod messages;
mod quorum;
mod service;
mod shell;

pub use messages::{
    Admission, Admitted, Heartbeat, HeartbeatAnswer, Quorum, Replica as QuorumReplica,
};

pub(super) use ask::Asker;
pub(super) use messages::{ControlAnswer, ControlCall};
pub(super) use service::Service;

use super::Error;
use super::state::Refusal;
use super::wire;
use crate::rpc::Payload;
use crate::types::NodeId;

/// The control call by which a node that is not in the cluster yet asks to be let in, for any
/// member's `serve_control`.
#[must_use]
pub fn admission_call(admission: &Admission) -> Payload {
    wire::pack(&ControlCall::Admit(admission.clone()))
}

/// What was answered to [`admission_call`].
///
/// # Errors
/// See [`Error`]; the inner result is the cluster's refusal, with the way out.
pub fn admission_answer(answer: &Payload) -> Result<Result<Admitted, Refusal>, Error> {
    match wire::unpack(answer) {
        Ok(ControlAnswer::Admitted(outcome)) => Ok(outcome),
        Ok(ControlAnswer::Failed(failure)) => Err(failure.into_error(NodeId::NONE)),
        Ok(other) => Err(Error::Unknown(format!("an answer to another question: {other:?}"))),
        Err(error) => Err(Error::Unknown(error.to_string())),
    }
}
