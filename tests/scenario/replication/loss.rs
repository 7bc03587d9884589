//! What must survive when nodes go down, and what must not come back.

use crate::trio::{ONE, THREE, TWO, Trio};
use purlin::partition::Error;
use purlin::types::{LeaderEpoch, Offset};

/// KIP-101's first case: a restarted follower keeps what lies above its high watermark.
#[test]
fn scenario_01_a_restart_does_not_cut_to_the_own_high_watermark() {
    let mut trio = Trio::led();
    let appended = trio.produce(ONE, "a").expect("taken");
    for id in [TWO, THREE] {
        trio.fetch(id);
        trio.flush(id);
        trio.report(id);
    }
    trio.flush(ONE);
    assert!(trio.is_acknowledged(ONE, &appended));
    assert_eq!(trio.offsets(TWO).high_watermark, Offset(0), "it has not heard yet");
    trio.crash(TWO);
    trio.start(TWO);
    assert_eq!(trio.offsets(TWO).log_end, Offset(1));
    // The leader dies before the follower could ask it.
    trio.crash(ONE);
    trio.elect(TWO, 2, &[TWO, THREE]);
    trio.settle();
    assert_eq!(trio.values(TWO), ["a"]);
}

/// KIP-101's second case: both lose power at different ends, and the shorter one leads.
#[test]
fn scenario_02_the_longer_log_is_cut_by_epoch_and_no_offset_differs() {
    let mut trio = Trio::led();
    trio.produce(ONE, "a").expect("taken");
    trio.settle();
    trio.produce(ONE, "only here").expect("taken");
    trio.flush(ONE);
    for id in [ONE, TWO] {
        trio.crash(id);
        trio.start(id);
    }
    assert_eq!(trio.offsets(ONE).log_end, Offset(2));
    trio.elect(TWO, 2, &[TWO, THREE]);
    trio.produce(TWO, "b").expect("taken");
    trio.settle();
    for id in [ONE, TWO, THREE] {
        assert_eq!(trio.values(id), ["a", "b"], "node {id}");
    }
}

/// All nodes lose power at once, and what was acknowledged was on disk before.
#[test]
fn scenario_19_a_power_cut_of_everybody_loses_nothing_acknowledged() {
    let mut trio = Trio::led();
    let promised = trio.produce(ONE, "promised").expect("taken");
    trio.settle();
    assert!(trio.is_acknowledged(ONE, &promised));
    let open = trio.produce(ONE, "open").expect("taken");
    assert!(!trio.is_acknowledged(ONE, &open));
    for id in [ONE, TWO, THREE] {
        trio.crash(id);
        trio.start(id);
    }
    trio.elect(THREE, 2, &[THREE]);
    trio.elect(THREE, 2, &[ONE, TWO, THREE]);
    trio.settle();
    for id in [ONE, TWO, THREE] {
        assert_eq!(trio.values(id).first().map(String::as_str), Some("promised"), "node {id}");
        assert_eq!(trio.values(id), trio.values(ONE));
    }
}

#[test]
fn scenario_20_an_old_leader_with_more_than_the_new_one_cuts_what_was_never_committed() {
    let mut trio = Trio::led();
    trio.produce(ONE, "a").expect("taken");
    trio.settle();
    for value in ["x", "y", "z"] {
        trio.produce(ONE, value).expect("taken");
    }
    trio.flush(ONE);
    trio.elect(TWO, 2, &[TWO, THREE]);
    trio.produce(TWO, "b").expect("taken");
    trio.settle();
    assert_eq!(trio.values(ONE), ["a", "b"]);
    assert!(trio.partition(ONE).failure().is_none());
    // It never went below what was committed.
    assert!(trio.offsets(ONE).high_watermark >= Offset(1));
}

/// A leader that was stopped for a while does not know that it was replaced.
#[test]
fn scenario_21_a_zombie_commits_nothing() {
    let mut trio = Trio::led();
    trio.produce(ONE, "a").expect("taken");
    trio.settle();
    // The others hear of the election; the zombie does not.
    trio.tell(TWO, TWO, 2, &[TWO, THREE]);
    trio.tell(THREE, TWO, 2, &[TWO, THREE]);
    let lost = trio.produce(ONE, "lost").expect("it believes that it leads");
    trio.flush(ONE);
    trio.produce(TWO, "b").expect("taken");
    trio.settle();
    assert!(!trio.is_acknowledged(ONE, &lost));
    assert_eq!(trio.offsets(ONE).high_watermark, Offset(1));
    // Time alone gives it nothing: it may ask for a smaller ISR, and that stays open.
    trio.clock.advance(60_000);
    trio.partition(ONE).tick();
    assert!(!trio.proposals(ONE).is_empty());
    assert_eq!(trio.offsets(ONE).high_watermark, Offset(1));
    assert!(!trio.is_acknowledged(ONE, &lost));
    // It hears, is told that it does not lead, cuts, and follows.
    trio.tell(ONE, TWO, 2, &[TWO, THREE]);
    assert!(matches!(trio.produce(ONE, "more"), Err(Error::NotLeader)));
    trio.settle();
    assert_eq!(trio.values(ONE), ["a", "b"]);
}

/// An hour forth or back changes nothing that leads, follows or is kept.
#[test]
fn scenario_34_a_wrong_clock_moves_no_leader_and_no_isr() {
    let mut trio = Trio::led();
    for jump_ms in [3_600_000, -7_200_000, 3_600_000] {
        trio.clock.jump(jump_ms);
        trio.produce(ONE, "a").expect("taken");
        trio.settle();
        trio.partition(ONE).tick();
        assert!(trio.proposals(ONE).is_empty(), "nobody leaves the ISR");
        for id in [ONE, TWO, THREE] {
            assert!(trio.partition(id).apply_retention().expect("works").is_empty());
        }
    }
    assert_eq!(trio.values(THREE).len(), 3);
}

#[test]
fn scenario_36_a_retry_after_a_failover_gets_its_first_offset() {
    let mut trio = Trio::led();
    let batches: Vec<_> = (0..5).map(|sequence| Trio::batch(Some((7, sequence)), &["v"])).collect();
    for batch in &batches {
        trio.partition(ONE).append(batch.clone(), purlin::partition::Acks::All).expect("taken");
    }
    trio.settle();
    trio.crash(ONE);
    trio.elect(TWO, 2, &[TWO, THREE]);
    trio.settle();
    // The last five of a producer are known to every replica (KIP-98).
    for (base, batch) in (0..).zip(&batches) {
        let again = trio.partition(TWO).append(batch.clone(), purlin::partition::Acks::All);
        let again = again.expect("taken");
        assert!(again.duplicate);
        assert_eq!(again.base_offset, Offset(base));
    }
    assert_eq!(trio.offsets(TWO).log_end, Offset(5));
}

#[test]
fn scenario_37_cutting_the_log_takes_the_producers_state_back_with_it() {
    let mut trio = Trio::led();
    let first = Trio::batch(Some((7, 0)), &["first"]);
    let second = Trio::batch(Some((7, 1)), &["second"]);
    trio.partition(ONE).append(first, purlin::partition::Acks::All).expect("taken");
    trio.settle();
    trio.partition(ONE).append(second.clone(), purlin::partition::Acks::All).expect("taken");
    trio.flush(ONE);
    trio.elect(TWO, 2, &[TWO, THREE]);
    trio.produce(TWO, "other").expect("taken");
    trio.settle();
    assert_eq!(trio.values(ONE), ["first", "other"]);
    // Back at the first leader the batch is new: what it knew of it was cut.
    trio.elect(ONE, 3, &[ONE, TWO, THREE]);
    trio.settle();
    let again = trio.partition(ONE).append(second, purlin::partition::Acks::All).expect("taken");
    assert!(!again.duplicate);
    assert_eq!((again.base_offset, again.leader_epoch), (Offset(2), LeaderEpoch(3)));
}
