//! Elections that are asked for.

use super::command::ElectLeaders;
use super::delta::Delta;
use super::model::State;
use super::response::ElectionResult;

pub(super) fn elect(
    _state: &mut State,
    _command: &ElectLeaders,
    _delta: &mut Delta,
) -> Vec<ElectionResult> {
    todo!()
}
