//! The controller: what the leader of the Raft group does besides committing entries.

mod messages;

pub use messages::{
    Admission, Admitted, Heartbeat, HeartbeatAnswer, Quorum, Replica as QuorumReplica,
};

pub(super) use messages::{ControlAnswer, ControlCall, Failure};

use super::Error;
use super::state::Refusal;
use crate::rpc::Payload;
use crate::types::NodeId;

/// The control call by which a node that is not in the cluster yet asks to be let in, for any
/// member's `serve_control`.
#[must_use]
pub fn admission_call(admission: &Admission) -> Payload {
    Payload::encode(&ControlCall::Admit(admission.clone()))
}

/// What was answered to [`admission_call`].
///
/// # Errors
/// See [`Error`]; the inner result is the cluster's refusal, with the way out.
pub fn admission_answer(answer: &Payload) -> Result<Result<Admitted, Refusal>, Error> {
    match answer.decode() {
        Ok(ControlAnswer::Admitted(outcome)) => Ok(outcome),
        Ok(ControlAnswer::Failed(failure)) => Err(failure.into_error(NodeId::NONE)),
        Ok(other) => Err(Error::Unknown(format!("an answer to another question: {other:?}"))),
        Err(error) => Err(Error::Unknown(error.to_string())),
    }
}
