//! In-sync replicas: changes that leaders ask for, and replicas that lost their storage.

use super::command::{AlterPartitions, ReplicasFailed};
use super::delta::Delta;
use super::model::{Partition, State};
use super::response::Refusal;

pub(super) fn alter(
    _state: &mut State,
    _command: &AlterPartitions,
    _delta: &mut Delta,
) -> Vec<Result<Partition, Refusal>> {
    todo!()
}

pub(super) fn replicas_failed(
    _state: &mut State,
    _command: &ReplicasFailed,
    _delta: &mut Delta,
) -> Vec<Result<(), Refusal>> {
    todo!()
}
