//! Partitions that move to other replicas (KIP-455).
//!
//! While one moves, its replicas are those of the target, in the target's order, and behind them
//! those that are to go. Each election asks whether it is over
//! ([`Election::settle`](super::election::Election::settle)).
//!
//! Invariant: no phase leaves fewer replicas that hold what was committed than an acknowledgement
//! needs, unless there were fewer before.

use super::command::{AlterReassignments, Reassignment};
use super::delta::Delta;
use super::election::{self, Election, Standings};
use super::model::{Partition, State};
use super::partitions::check_assignment;
use super::response::{Refusal, RefusalKind};
use super::sweep;
use crate::limits::REASSIGNMENTS_MAX;
use crate::types::NodeId;

/// Starts, replaces and cancels reassignments, each on its own.
pub(super) fn alter(
    state: &mut State,
    command: AlterReassignments,
    delta: &mut Delta,
) -> Vec<Result<(), Refusal>> {
    let standings = Standings::of(state);
    let mut under_way = state.reassignments().count();
    let allow = command.allow_replication_factor_change;
    let mut alter = |wanted: Reassignment| {
        let (topic, before) = sweep::by_name(state, &wanted.topic, wanted.partition)?;
        let config = sweep::shared_config(state, &topic.name);
        let election = sweep::election(&config, &standings);
        let mut next = match &wanted.replicas {
            None => cancelled(&before)?,
            Some(replicas) => {
                check_assignment(state, replicas, None)?;
                started(&before, replicas, allow)?
            }
        };
        check_enough(&election, &next, &before)?;
        let changed = election.settle(&mut next, &before, &[]);
        let moves = i8::from(next.is_reassigning()) - i8::from(before.is_reassigning());
        if moves > 0 && under_way >= REASSIGNMENTS_MAX {
            return Err(Refusal::new(
                RefusalKind::PolicyViolation,
                format!("{REASSIGNMENTS_MAX} partitions are moving; let some of them arrive first"),
            ));
        }
        under_way = under_way.saturating_add_signed(moves.into());
        if changed {
            sweep::put(state, delta, &topic, vec![(wanted.partition, next)]);
        }
        Ok(())
    };
    command.partitions.into_iter().map(&mut alter).collect()
}

/// The replicas before any reassignment.
fn original(partition: &Partition) -> Vec<NodeId> {
    let stays = |id: &NodeId| !partition.adding.contains(id);
    partition.replicas.iter().copied().filter(stays).collect()
}

fn cancelled(before: &Partition) -> Result<Partition, Refusal> {
    if !before.is_reassigning() {
        return Err(Refusal::new(
            RefusalKind::NoReassignmentInProgress,
            "the partition is not being moved",
        ));
    }
    let replicas = original(before);
    Ok(with_replicas(before, replicas, Vec::new(), Vec::new()))
}

/// The partition on its way to `target`. A reassignment that is under way is replaced: what it had
/// added and the new one does not want goes at once.
fn started(before: &Partition, target: &[NodeId], allow: bool) -> Result<Partition, Refusal> {
    let original = original(before);
    if !allow && original.len() != target.len() {
        return Err(Refusal::new(
            RefusalKind::InvalidReplicationFactor,
            format!(
                "the partition has {} replicas and would have {}, which the request does not allow",
                original.len(),
                target.len()
            ),
        ));
    }
    let without = |these: &[NodeId], those: &[NodeId]| -> Vec<NodeId> {
        these.iter().copied().filter(|id| !those.contains(id)).collect()
    };
    let adding = without(target, &original);
    let removing = without(&original, target);
    let replicas = [target, &removing].concat();
    Ok(with_replicas(before, replicas, adding, removing))
}

fn with_replicas(
    before: &Partition,
    replicas: Vec<NodeId>,
    adding: Vec<NodeId>,
    removing: Vec<NodeId>,
) -> Partition {
    let isr = election::in_order_of(&replicas, &before.isr);
    let elr = election::in_order_of(&replicas, &before.elr);
    Partition { replicas, adding, removing, isr, elr, ..before.clone() }
}

/// What goes at once must not be what the committed records depend on.
fn check_enough(
    election: &Election<'_>,
    next: &Partition,
    before: &Partition,
) -> Result<(), Refusal> {
    let holders = |partition: &Partition| partition.isr.len() + partition.elr.len();
    let enough = election.insync_min(next).min(holders(before));
    let leaderless = next.isr.is_empty() && !before.isr.is_empty();
    if holders(next) >= enough && !leaderless {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalKind::InvalidReplicaAssignment,
        format!(
            "the replicas that are left would be too few in sync: {} of the {enough} that are \
             needed; wait until others have caught up",
            holders(next)
        ),
    ))
}
