//! Checkers of single states.

use super::{Check, Invariant, Violation, check};
use crate::types::{LeaderEpoch, NodeId, Offset};
use std::collections::BTreeSet;
use std::fmt::Debug;

/// One replica's log, one entry per offset.
#[derive(Debug, Clone, Copy)]
pub struct LogImage<'a, R> {
    /// Whose.
    pub node: NodeId,
    /// The log start offset: where `records` begins.
    pub start: Offset,
    /// Leader epoch and content of each record.
    pub records: &'a [(LeaderEpoch, R)],
    /// What the replica believes to be committed.
    pub high_watermark: Offset,
}

impl<R> LogImage<'_, R> {
    /// The log end offset.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.start.plus(i64::try_from(self.records.len()).unwrap_or(i64::MAX))
    }

    /// The record at an offset.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Option<&(LeaderEpoch, R)> {
        self.records.get(usize::try_from(offset.since(self.start)).ok()?)
    }
}

/// What the controller holds of one partition.
#[derive(Debug, Clone, Copy)]
pub struct PartitionImage<'a> {
    /// All replicas.
    pub replicas: &'a [NodeId],
    /// The in-sync ones.
    pub isr: &'a [NodeId],
    /// The eligible leader replicas.
    pub elr: &'a [NodeId],
    /// Who leads.
    pub leader: Option<NodeId>,
    /// In-sync replicas that an acknowledgement needs.
    pub insync_min: usize,
}

/// [`Invariant::OffsetOrder`].
///
/// # Errors
/// The violation.
pub fn offset_order(start: Offset, stable: Offset, high_watermark: Offset, end: Offset) -> Check {
    let holds = start <= stable && stable <= high_watermark && high_watermark <= end;
    check(Invariant::OffsetOrder, holds, || {
        format!("start {start}, last stable {stable}, high watermark {high_watermark}, end {end}")
    })
}

/// [`Invariant::MonotonicHighWatermark`], within one leadership.
///
/// # Errors
/// The violation.
pub fn monotonic_high_watermark(node: NodeId, before: Offset, after: Offset) -> Check {
    check(Invariant::MonotonicHighWatermark, before <= after, || {
        format!("on node {node} the high watermark went from {before} to {after}")
    })
}

/// [`Invariant::ValidHighWatermark`]: `counted` are the true flushed offsets (appended ones, for a
/// topic with `write.caching`) of the maximal ISR.
///
/// # Errors
/// The violation.
pub fn valid_high_watermark(
    leader: NodeId,
    high_watermark: Offset,
    counted: impl IntoIterator<Item = (NodeId, Offset)>,
) -> Check {
    for (node, offset) in counted {
        check(Invariant::ValidHighWatermark, high_watermark <= offset, || {
            format!("leader {leader} is at {high_watermark}, member {node} only at {offset}")
        })?;
    }
    Ok(())
}

/// [`Invariant::ConsistentRead`]: what was read before, and what lies there now.
///
/// # Errors
/// The violation.
pub fn consistent_read<R: PartialEq + Debug>(offset: Offset, before: &R, now: Option<&R>) -> Check {
    check(Invariant::ConsistentRead, now == Some(before), || {
        format!("offset {offset} was read as {before:?}, and is now {now:?}")
    })
}

/// Whether a log holds all of `committed`, which begins at offset zero.
fn holds_all<R: PartialEq + Debug>(
    invariant: Invariant,
    committed: &[R],
    log: &LogImage<'_, R>,
) -> Check {
    for (offset, record) in (0..).map(Offset).zip(committed) {
        if offset < log.start {
            continue;
        }
        let found = log.at(offset).map(|(_, found)| found);
        check(invariant, found == Some(record), || {
            format!("offset {offset} was committed as {record:?}; node {} has {found:?}", log.node)
        })?;
    }
    Ok(())
}

/// [`Invariant::LeaderCompleteness`]: `committed` holds what was committed, from offset zero on.
///
/// # Errors
/// The violation.
pub fn leader_completeness<R: PartialEq + Debug>(
    committed: &[R],
    leader: &LogImage<'_, R>,
) -> Check {
    holds_all(Invariant::LeaderCompleteness, committed, leader)
}

/// [`Invariant::LeaderCandidateCompleteness`], for each running member of ISR and ELR.
///
/// # Errors
/// The violation.
pub fn leader_candidate_completeness<R: PartialEq + Debug>(
    committed: &[R],
    candidate: &LogImage<'_, R>,
) -> Check {
    holds_all(Invariant::LeaderCandidateCompleteness, committed, candidate)
}

/// [`Invariant::LogMatching`] of two logs.
///
/// # Errors
/// The violation.
pub fn log_matching<R: PartialEq + Debug>(a: &LogImage<'_, R>, b: &LogImage<'_, R>) -> Check {
    let (from, to) = (a.start.max(b.start), a.end().min(b.end()));
    let both_committed = a.high_watermark.min(b.high_watermark);
    let mut differed: Option<Offset> = None;
    for offset in (from.0..to.0).map(Offset) {
        let (Some(in_a), Some(in_b)) = (a.at(offset), b.at(offset)) else { break };
        let same = in_a == in_b;
        let broken = match differed {
            // One leader writes one batch at an offset, over one past.
            Some(first) if in_a.0 == in_b.0 => Some(first),
            None if !same && in_a.0 == in_b.0 => Some(offset),
            None if !same && offset < both_committed => Some(offset),
            _ => None,
        };
        if let Some(at) = broken {
            return Err(Violation {
                invariant: Invariant::LogMatching,
                what: format!(
                    "nodes {} and {} differ at {at}: {:?} and {:?}; both have epoch {} at {offset}, \
                     and are committed to {both_committed}",
                    a.node,
                    b.node,
                    a.at(at),
                    b.at(at),
                    in_a.0
                ),
            });
        }
        if !same {
            differed.get_or_insert(offset);
        }
    }
    Ok(())
}

/// [`Invariant::ReplicationQuorumSuperset`], for a leader of the current epoch.
///
/// # Errors
/// The violation.
pub fn replication_quorum_superset(
    leader: NodeId,
    leader_isr: &BTreeSet<NodeId>,
    maximal_isr: &BTreeSet<NodeId>,
    controller: PartitionImage<'_>,
) -> Check {
    if leader_isr.len() < controller.insync_min {
        return Ok(());
    }
    let missing = controller.isr.iter().chain(controller.elr).find(|id| !maximal_isr.contains(id));
    check(Invariant::ReplicationQuorumSuperset, missing.is_none(), || {
        format!(
            "leader {leader} counts with {maximal_isr:?}; the controller has ISR {:?}, ELR {:?}",
            controller.isr, controller.elr
        )
    })
}

/// [`Invariant::UncleanExclusion`]: `lossy` replicas may have lost records since they were counted.
///
/// # Errors
/// The violation.
pub fn unclean_exclusion(lossy: &BTreeSet<NodeId>, controller: PartitionImage<'_>) -> Check {
    let found = controller.isr.iter().chain(controller.elr).find(|id| lossy.contains(id));
    check(Invariant::UncleanExclusion, found.is_none(), || {
        format!("{found:?} lost its tail, with ISR {:?}, ELR {:?}", controller.isr, controller.elr)
    })
}

/// [`Invariant::NoCommittedRecordLostGlobally`]: each acknowledged record is in some log.
///
/// # Errors
/// The violation.
pub fn no_committed_record_lost_globally<'a, R: PartialEq + Debug + 'a>(
    acknowledged: impl IntoIterator<Item = &'a R>,
    logs: &[LogImage<'_, R>],
) -> Check {
    for record in acknowledged {
        let held =
            logs.iter().any(|log| log.records.iter().any(|(_, candidate)| candidate == record));
        check(Invariant::NoCommittedRecordLostGlobally, held, || {
            format!("{record:?} was acknowledged, and no replica has it")
        })?;
    }
    Ok(())
}

/// [`Invariant::MinIsrRecoveryQuorum`]. Only where no election was unclean, no stop was lossy, and
/// the partition began with enough replicas.
///
/// # Errors
/// The violation.
pub fn min_isr_recovery_quorum(controller: PartitionImage<'_>) -> Check {
    let members = controller.isr.len() + controller.elr.len();
    check(Invariant::MinIsrRecoveryQuorum, members >= controller.insync_min, || {
        format!("ISR {:?} and ELR {:?} are too few to recover", controller.isr, controller.elr)
    })
}

/// [`Invariant::ValidControllerState`].
///
/// # Errors
/// The violation.
pub fn valid_controller_state(
    controller: PartitionImage<'_>,
    is_fenced: impl Fn(NodeId) -> bool,
) -> Check {
    let PartitionImage { replicas, isr, elr, leader, insync_min } = controller;
    let problem = if isr.iter().chain(elr).any(|id| !replicas.contains(id)) {
        "a member of ISR or ELR is no replica"
    } else if elr.iter().any(|id| isr.contains(id)) {
        "ISR and ELR overlap"
    } else if isr.len() >= insync_min && !elr.is_empty() {
        "the ELR is kept although the ISR is large enough"
    } else if leader.is_some_and(|leader| !isr.contains(&leader)) {
        "the leader is not in the ISR"
    } else if isr.iter().any(|id| is_fenced(*id)) {
        "a fenced broker is in the ISR"
    } else {
        return Ok(());
    };
    Err(Violation {
        invariant: Invariant::ValidControllerState,
        what: format!("{problem}: {controller:?}"),
    })
}

/// [`Invariant::MetadataLogMatching`]: what a node applied is a prefix of what was committed.
///
/// # Errors
/// The violation.
pub fn metadata_log_matching<T: PartialEq>(node: NodeId, committed: &[T], applied: &[T]) -> Check {
    let differs = applied.iter().zip(committed).position(|(a, b)| a != b);
    let ahead = applied.len() > committed.len();
    check(Invariant::MetadataLogMatching, differs.is_none() && !ahead, || {
        format!(
            "node {node} applied {} entries of {}, and differs at {differs:?}",
            applied.len(),
            committed.len()
        )
    })
}
