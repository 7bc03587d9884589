//! Partitions that move to other replicas (KIP-455).

use super::command::AlterReassignments;
use super::delta::Delta;
use super::model::State;
use super::response::Refusal;

pub(super) fn alter(
    _state: &mut State,
    _command: AlterReassignments,
    _delta: &mut Delta,
) -> Vec<Result<(), Refusal>> {
    todo!()
}
