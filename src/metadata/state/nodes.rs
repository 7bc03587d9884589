//! Which data directory is which node, and nodes that leave for good.

use super::command::{AdmitNode, UnregisterBroker};
use super::delta::Delta;
use super::model::State;
use super::response::Refusal;
use crate::types::NodeId;

pub(super) fn admit(
    _state: &mut State,
    _command: AdmitNode,
    _delta: &mut Delta,
) -> Result<NodeId, Refusal> {
    todo!()
}

pub(super) fn unregister(
    _state: &mut State,
    _command: &UnregisterBroker,
    _delta: &mut Delta,
) -> Result<(), Refusal> {
    todo!()
}
