//! Each checker sees what it is for, and nothing else.

use super::*;
use crate::types::{LeaderEpoch, NodeId, Offset, ProducerId};
use std::collections::BTreeSet;

fn log<'a>(node: i32, records: &'a [(LeaderEpoch, u8)], high_watermark: i64) -> LogImage<'a, u8> {
    let high_watermark = Offset(high_watermark);
    LogImage { node: NodeId(node), start: Offset(0), records, high_watermark }
}

fn records(of: &[(i32, u8)]) -> Vec<(LeaderEpoch, u8)> {
    of.iter().map(|(epoch, value)| (LeaderEpoch(*epoch), *value)).collect()
}

fn broken(check: Check) -> Option<Invariant> {
    check.err().map(|violation| violation.invariant)
}

#[test]
fn log_matching_allows_uncommitted_tails_of_different_epochs_only() {
    let base = records(&[(0, 1), (0, 2), (0, 3)]);
    let other_epoch = records(&[(0, 1), (1, 9)]);
    let same_epoch = records(&[(0, 1), (0, 9)]);
    let joined_again = records(&[(0, 1), (1, 9), (0, 3)]);
    assert_eq!(broken(log_matching(&log(1, &base, 1), &log(2, &other_epoch, 1))), None);
    let committed = log_matching(&log(1, &base, 2), &log(2, &other_epoch, 2));
    assert_eq!(broken(committed), Some(Invariant::LogMatching));
    let twice = log_matching(&log(1, &base, 1), &log(2, &same_epoch, 1));
    assert_eq!(broken(twice), Some(Invariant::LogMatching));
    let gap = log_matching(&log(1, &base, 1), &log(2, &joined_again, 1));
    assert_eq!(broken(gap), Some(Invariant::LogMatching));
}

#[test]
fn completeness_wants_every_committed_record_at_its_offset() {
    let full = records(&[(0, 1), (1, 2)]);
    let short = records(&[(0, 1)]);
    assert_eq!(broken(leader_completeness(&[1, 2], &log(1, &full, 0))), None);
    let lost = leader_completeness(&[1, 2], &log(1, &short, 0));
    assert_eq!(broken(lost), Some(Invariant::LeaderCompleteness));
    let candidate = leader_candidate_completeness(&[1, 7], &log(1, &full, 0));
    assert_eq!(broken(candidate), Some(Invariant::LeaderCandidateCompleteness));
    assert_eq!(broken(no_committed_record_lost_globally(&[2], &[log(1, &full, 0)])), None);
    let gone = no_committed_record_lost_globally(&[2], &[log(1, &short, 0)]);
    assert_eq!(broken(gone), Some(Invariant::NoCommittedRecordLostGlobally));
}

#[test]
fn the_controllers_state_has_its_own_rules() {
    let [a, b, c] = [NodeId(1), NodeId(2), NodeId(3)];
    let replicas = [a, b, c];
    let image = |isr: &'static [NodeId], elr: &'static [NodeId], leader| (isr, elr, leader);
    let check = |(isr, elr, leader): (&'static [NodeId], &'static [NodeId], Option<NodeId>)| {
        let partition = PartitionImage { replicas: &replicas, isr, elr, leader, insync_min: 2 };
        broken(valid_controller_state(partition, |id| id == NodeId(3)))
    };
    const A: &[NodeId] = &[NodeId(1)];
    const AB: &[NodeId] = &[NodeId(1), NodeId(2)];
    const B: &[NodeId] = &[NodeId(2)];
    const C: &[NodeId] = &[NodeId(3)];
    const X: &[NodeId] = &[NodeId(4)];
    assert_eq!(check(image(AB, &[], Some(a))), None);
    assert_eq!(check(image(A, B, Some(a))), None);
    for wrong in [
        image(X, &[], None),
        image(A, A, Some(a)),
        image(AB, C, Some(a)),
        image(A, &[], Some(b)),
        image(C, &[], Some(c)),
    ] {
        assert_eq!(check(wrong), Some(Invariant::ValidControllerState), "{wrong:?}");
    }
    let lone =
        PartitionImage { replicas: &replicas, isr: A, elr: &[], leader: Some(a), insync_min: 2 };
    let quorum = min_isr_recovery_quorum(lone);
    assert_eq!(broken(quorum), Some(Invariant::MinIsrRecoveryQuorum));
    let lossy = unclean_exclusion(&BTreeSet::from([a]), lone);
    assert_eq!(broken(lossy), Some(Invariant::UncleanExclusion));
    let isr = BTreeSet::from([a, b]);
    let counts = replication_quorum_superset(b, &isr, &BTreeSet::from([b, c]), lone);
    assert_eq!(broken(counts), Some(Invariant::ReplicationQuorumSuperset));
    assert_eq!(broken(replication_quorum_superset(b, &isr, &isr, lone)), None);
}

#[test]
fn watermarks_reads_and_metadata_are_compared() {
    let ahead = valid_high_watermark(NodeId(1), Offset(3), [(NodeId(2), Offset(2))]);
    assert_eq!(broken(ahead), Some(Invariant::ValidHighWatermark));
    assert_eq!(broken(valid_high_watermark(NodeId(1), Offset(2), [(NodeId(2), Offset(2))])), None);
    let back = monotonic_high_watermark(NodeId(1), Offset(3), Offset(2));
    assert_eq!(broken(back), Some(Invariant::MonotonicHighWatermark));
    let order = offset_order(Offset(0), Offset(3), Offset(2), Offset(4));
    assert_eq!(broken(order), Some(Invariant::OffsetOrder));
    let read = consistent_read(Offset(0), &1, Some(&2));
    assert_eq!(broken(read), Some(Invariant::ConsistentRead));
    assert_eq!(broken(metadata_log_matching(NodeId(1), &[1, 2, 3], &[1, 2])), None);
    for applied in [&[1, 3][..], &[1, 2, 3, 4]] {
        let differs = metadata_log_matching(NodeId(1), &[1, 2, 3], applied);
        assert_eq!(broken(differs), Some(Invariant::MetadataLogMatching));
    }
}

#[test]
fn histories_see_two_leaders_repetition_and_disorder() {
    let mut leaders = EpochLeaders::default();
    assert_eq!(leaders.note(LeaderEpoch(3), NodeId(1)), Ok(()));
    assert_eq!(leaders.note(LeaderEpoch(3), NodeId(1)), Ok(()));
    let second = leaders.note(LeaderEpoch(3), NodeId(2));
    assert_eq!(broken(second), Some(Invariant::OneLeaderPerEpoch));

    let mut producers = ProducerLog::default();
    assert_eq!(producers.note(ProducerId(1), 4), Ok(()));
    assert_eq!(producers.note(ProducerId(1), 9), Ok(()));
    assert_eq!(producers.note(ProducerId(2), 1), Ok(()));
    assert_eq!(broken(producers.note(ProducerId(1), 9)), Some(Invariant::IdempotentAppend));
    assert_eq!(broken(producers.note(ProducerId(1), 5)), Some(Invariant::ProducerOrder));
}

#[test]
fn every_name_is_printed_as_it_is_written() {
    assert_eq!(Invariant::LogMatching.to_string(), "LogMatching");
    let names: BTreeSet<&str> = Invariant::ALL.iter().map(|one| one.name()).collect();
    assert_eq!(names.len(), Invariant::ALL.len());
}
