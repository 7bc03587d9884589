//! Who counts, and when.

use crate::trio::{ONE, THREE, TWO, Trio};
use purlin::partition::{Error, Isolation, OffsetSpec};
use purlin::types::{BrokerEpoch, LeaderEpoch, Offset, PartitionEpoch};

/// A follower that is about to join counts before the controller has answered.
#[test]
fn scenario_07_whoever_leads_after_an_open_expansion_has_everything() {
    let mut trio = Trio::new();
    trio.elect(ONE, 1, &[ONE, TWO]);
    trio.settle();
    assert_eq!(trio.proposals(ONE), [vec![ONE, TWO, THREE]], "it has caught up");
    let appended = trio.produce(ONE, "a").expect("taken");
    trio.flush(ONE);
    trio.fetch(TWO);
    trio.flush(TWO);
    trio.report(TWO);
    assert!(!trio.is_acknowledged(ONE, &appended), "the joiner has not got it");
    trio.settle();
    assert!(trio.is_acknowledged(ONE, &appended));
    // The controller took the proposal, and the leader dies: the joiner may lead.
    trio.crash(ONE);
    trio.elect(THREE, 2, &[TWO, THREE]);
    trio.settle();
    assert_eq!(trio.values(THREE), ["a"]);
}

#[test]
fn scenario_08_a_leader_that_is_cut_off_from_the_controller_cannot_shrink_its_isr() {
    let mut trio = Trio::led();
    trio.node(THREE).running = None;
    let appended = trio.produce(ONE, "a").expect("taken");
    trio.settle();
    trio.clock.advance(20_000);
    trio.partition(ONE).tick();
    assert_eq!(trio.proposals(ONE), [vec![ONE, TWO]]);
    trio.settle();
    assert!(!trio.is_acknowledged(ONE, &appended), "the shrink is only proposed");
    trio.elect(ONE, 1, &[ONE, TWO]);
    assert!(trio.is_acknowledged(ONE, &appended));
}

#[test]
fn scenario_09_after_a_time_out_the_union_counts_until_a_newer_partition_epoch() {
    let mut trio = Trio::new();
    trio.elect(ONE, 1, &[ONE, TWO]);
    trio.settle();
    assert_eq!(trio.proposals(ONE).len(), 1);
    trio.node(THREE).running = None;
    let appended = trio.produce(ONE, "a").expect("taken");
    trio.settle();
    trio.clock.advance(60_000);
    trio.partition(ONE).tick();
    trio.settle();
    assert!(!trio.is_acknowledged(ONE, &appended), "the joiner may be in the ISR for all we know");
    assert!(trio.proposals(ONE).is_empty(), "one proposal at a time");
    // A refusal of another version says nothing about this one.
    trio.partition(ONE).isr_refused(PartitionEpoch(0));
    assert!(!trio.is_acknowledged(ONE, &appended));
    trio.partition(ONE).isr_refused(PartitionEpoch(1));
    assert!(trio.is_acknowledged(ONE, &appended));
}

/// The new leader's high watermark is below the start of its epoch.
#[test]
fn scenario_13_who_is_only_at_the_high_watermark_may_not_join_yet() {
    let mut trio = Trio::led();
    for value in ["a", "b"] {
        trio.produce(ONE, value).expect("taken");
    }
    trio.flush(ONE);
    trio.fetch(TWO);
    trio.flush(TWO);
    assert_eq!(trio.offsets(TWO).high_watermark, Offset(0));
    trio.crash(ONE);
    trio.elect(TWO, 2, &[TWO]);
    trio.flush(TWO);
    assert_eq!(trio.offsets(TWO).high_watermark, Offset(0), "the ISR is too small");
    // The third has nothing: it is at the high watermark, and below the start of the epoch.
    trio.fetch(THREE);
    assert!(trio.proposals(TWO).is_empty());
    trio.settle();
    assert_eq!(trio.proposals(TWO), [vec![TWO, THREE]]);
}

/// Between two decisions that the leader hears of, a replica was removed and added again, its log
/// deleted. The removal raised the leader epoch, and nothing is known across one.
#[test]
fn scenario_14_a_replica_that_was_added_again_has_to_prove_itself() {
    let mut trio = Trio::led();
    trio.produce(ONE, "a").expect("taken");
    trio.settle();
    trio.elect(ONE, 1, &[ONE, TWO]);
    trio.settle();
    assert_eq!(trio.proposals(ONE), [vec![ONE, TWO, THREE]]);
    // It lost its log meanwhile, under the same registration.
    trio.crash(THREE);
    trio.node(THREE).disk = purlin::env::disk_memory::MemoryDisk::new();
    trio.node(THREE).broker_epoch = BrokerEpoch(30);
    trio.start(THREE);
    trio.elect(ONE, 2, &[ONE, TWO]);
    trio.partition(ONE).tick();
    assert!(trio.proposals(ONE).is_empty(), "what was known of it is forgotten");
    trio.fetch(THREE);
    assert!(trio.proposals(ONE).is_empty(), "it has nothing");
    trio.settle();
    assert_eq!(trio.proposals(ONE), [vec![ONE, TWO, THREE]]);
}

#[test]
fn scenario_15_a_new_leader_says_not_available_rather_than_a_lower_offset() {
    let mut trio = Trio::led();
    trio.produce(ONE, "a").expect("taken");
    for id in [TWO, THREE] {
        trio.fetch(id);
        trio.flush(id);
        trio.report(id);
    }
    trio.flush(ONE);
    assert_eq!(trio.offsets(ONE).high_watermark, Offset(1));
    assert_eq!(trio.offsets(TWO).high_watermark, Offset(0), "it has not heard");
    trio.tell(ONE, TWO, 2, &[ONE, TWO, THREE]);
    trio.elect(TWO, 2, &[TWO, THREE]);
    let latest = |trio: &Trio| {
        let partition = trio.partition(TWO);
        trio.block_on(partition.list_offset(
            OffsetSpec::Latest,
            Isolation::ReadUncommitted,
            LeaderEpoch(2),
        ))
        .map(|listed| listed.offset)
    };
    assert!(matches!(latest(&trio), Err(Error::OffsetNotAvailable)));
    trio.settle();
    assert_eq!(latest(&trio).expect("known now"), Offset(1));
}

#[test]
fn scenario_16_below_min_isr_nothing_is_taken_and_nothing_is_committed() {
    let mut trio = Trio::led();
    let appended = trio.produce(ONE, "a").expect("taken");
    trio.elect(ONE, 1, &[ONE]);
    trio.flush(ONE);
    assert_eq!(trio.offsets(ONE).high_watermark, Offset(0), "frozen");
    assert!(matches!(trio.produce(ONE, "b"), Err(Error::NotEnoughReplicas)));
    assert!(!trio.is_acknowledged(ONE, &appended));
    trio.elect(ONE, 1, &[ONE, TWO]);
    trio.settle();
    assert!(trio.is_acknowledged(ONE, &appended));
}
