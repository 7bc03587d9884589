//! The checks of the cluster tests, checked: each fault that a history may have is planted once,
//! and has to be found; and one node under load without any fault gives a history without fault.

#[path = "../common/mod.rs"]
mod common;

use common::cluster::Cluster;
use common::history::{
    Fault, History, Id, Outcome, Reading, Sent, Watermark, latencies_us, longest_gap_us, percentile,
};
use common::load::{Plan, Run};
use std::time::Duration;

const ID: Id = Id { producer: 0, number: 0 };

fn id(number: u64) -> Id {
    Id { producer: 0, number }
}

/// Six records of one producer over two partitions, all well, with a reader and a watcher.
fn sound() -> History {
    let sent = |number: u64| Sent {
        id: id(number),
        partition: i32::try_from(number % 2).expect("small"),
        intended_us: number * 1000,
        answered_us: number * 1000 + 500,
        outcome: Outcome::Acknowledged(i64::try_from(number / 2).expect("small")),
    };
    let mut reading = Reading { reader: "reader".to_owned(), ..Reading::default() };
    for number in 0..6 {
        let sent: Sent = sent(number);
        let Outcome::Acknowledged(offset) = sent.outcome else { unreachable!("made above") };
        reading.seen.entry(sent.partition).or_default().push((offset, sent.id));
    }
    let mark = |at: u64, node: i32, offset: i64| Watermark {
        node,
        partition: 0,
        asked_us: at,
        answered_us: at + 10,
        offset,
    };
    History {
        sent: (0..6).map(sent).collect(),
        readings: vec![reading.clone()],
        end: reading,
        watermarks: vec![mark(0, 1, 1), mark(100, 1, 2), mark(200, 2, 2), mark(300, 2, 3)],
        no_zombies: true,
        ..History::default()
    }
}

/// The faults of a sound history after one change.
fn after(change: impl FnOnce(&mut History)) -> Vec<Fault> {
    let mut history = sound();
    assert_eq!(history.faults(), [], "the history is sound before it is changed");
    change(&mut history);
    history.faults()
}

/// Fails unless one of the faults is of the kind.
fn finds(faults: &[Fault], what: &str, kind: fn(&Fault) -> bool) {
    assert!(faults.iter().any(kind), "{what} is not among {faults:?}");
}

fn rows(reading: &mut Reading, partition: i32) -> &mut Vec<(i64, Id)> {
    reading.seen.get_mut(&partition).expect("a partition")
}

#[test]
fn a_lost_record_is_found() {
    let faults = after(|history| {
        rows(&mut history.end, 0).pop();
    });
    finds(&faults, "the loss", |fault| matches!(fault, Fault::Lost { offset: 2, .. }));
    // And so is what only a reader has seen: somebody was shown what was never committed.
    finds(&faults, "the reader's record", |fault| {
        matches!(fault, Fault::Inconsistent { other: None, .. })
    });
}

#[test]
fn a_record_at_another_offset_is_found() {
    let faults = after(|history| history.sent[0].outcome = Outcome::Acknowledged(7));
    finds(&faults, "the move", |fault| matches!(fault, Fault::Moved { .. }));
}

#[test]
fn a_record_that_failed_and_is_there_is_found() {
    let faults = after(|history| history.sent[3].outcome = Outcome::Failed);
    finds(&faults, "the failed record", |fault| matches!(fault, Fault::Aborted { .. }));
    let faults = after(|history| history.sent[3].outcome = Outcome::Unknown);
    assert_eq!(faults, [], "what is unknown may be there");
}

#[test]
fn a_record_that_nobody_sent_is_found() {
    let faults = after(|history| {
        history.sent.remove(5);
    });
    finds(&faults, "the foreign record", |fault| matches!(fault, Fault::Foreign { .. }));
}

#[test]
fn a_record_that_is_there_twice_is_found() {
    let faults = after(|history| rows(&mut history.end, 0).push((3, id(4))));
    finds(&faults, "the repetition", |fault| matches!(fault, Fault::Twice { .. }));
    let faults = after(|history| {
        rows(&mut history.end, 0).push((3, id(4)));
        history.careless.insert(ID.producer);
    });
    assert_eq!(faults, [], "a producer that is not idempotent may repeat itself");
}

#[test]
fn disorder_is_found() {
    let faults = after(|history| {
        let swap = |rows: &mut Vec<(i64, Id)>| {
            let (one, two) = (rows[0].1, rows[1].1);
            (rows[0].1, rows[1].1) = (two, one);
        };
        swap(rows(&mut history.end, 0));
        swap(rows(&mut history.readings[0], 0));
        history.sent[0].outcome = Outcome::Acknowledged(1);
        history.sent[2].outcome = Outcome::Acknowledged(0);
    });
    assert!(
        matches!(faults[..], [Fault::Disorder { partition: 0, .. }]),
        "only the order is wrong: {faults:?}"
    );
}

#[test]
fn an_offset_with_two_records_is_found() {
    // Two epochs that both committed: one record was acknowledged, the other is there.
    let faults = after(|history| {
        let extra = Sent { id: id(9), partition: 0, ..history.sent[0] };
        history.sent.push(extra);
    });
    finds(&faults, "the two commits", |fault| {
        matches!(fault, Fault::Inconsistent { other: Some(_), .. })
    });
    let faults = after(|history| rows(&mut history.readings[0], 1)[1].1 = id(1));
    finds(&faults, "what a reader saw", |fault| matches!(fault, Fault::Inconsistent { .. }));
}

#[test]
fn readers_that_skip_or_go_back_are_found() {
    let faults = after(|history| {
        rows(&mut history.readings[0], 0).remove(1);
    });
    finds(&faults, "the gap", |fault| matches!(fault, Fault::Skipped { from: 0, to: 2, .. }));
    let faults = after(|history| {
        let again = rows(&mut history.readings[0], 0)[1];
        rows(&mut history.readings[0], 0).push(again);
    });
    finds(&faults, "the step back", |fault| matches!(fault, Fault::Backwards { .. }));
}

#[test]
fn a_high_watermark_that_goes_back_is_found() {
    let back = |fault: &Fault| matches!(fault, Fault::WatermarkBack { .. });
    finds(&after(|history| history.watermarks[1].offset = 0), "at one node", back);
    finds(&after(|history| history.watermarks[2].offset = 1), "at the next node", back);
    let faults = after(|history| {
        history.watermarks[2].offset = 1;
        history.no_zombies = false;
    });
    assert_eq!(faults, [], "a zombie may be behind");
    let faults = after(|history| {
        history.watermarks[1].asked_us = 5;
        history.watermarks[1].offset = 0;
    });
    assert_eq!(faults, [], "two questions at the same time may be answered in any order");
}

#[test]
fn gaps_count_for_each_partition_and_from_the_windows_edges() {
    let history = sound();
    // Partition 0 is acknowledged at 500, 2,500 and 4,500 µs, partition 1 at 1,500, 3,500, 5,500.
    assert_eq!(longest_gap_us(&history.sent, 0, 6000), 2000);
    assert_eq!(longest_gap_us(&history.sent, 500, 9000), 4500);
    assert_eq!(longest_gap_us(&history.sent, 10_000, 12_000), 2000);
    assert_eq!(latencies_us(&history.sent, 0, 3000), [500; 4]);
    assert_eq!(percentile(&[1, 2, 3, 4], 50), 2);
    assert_eq!(percentile(&[1, 2, 3, 4], 95), 4);
    assert_eq!(percentile(&[], 95), 0);
}

#[test]
fn a_node_under_load_without_faults_gives_a_faultless_history() {
    let cluster = Cluster::start(1);
    cluster.create_topic("calm", 4, 1, &[]);
    let nodes = vec![(cluster.ids()[0], cluster.bootstrap())];
    let run = Run::start(&nodes, Plan::new("calm", 4));
    run.load.wait_for_more(2000, Duration::from_secs(30));
    let history = run.finish(true);
    history.assert_faultless("calm");
    assert!(history.watermarks.len() > 10, "the watcher saw something");
    assert!(history.readings[0].seen.values().map(Vec::len).sum::<usize>() > 1000);
}
