//! The power of all nodes cut at once, under load.

use crate::bench::{Bench, PATIENCE};
use crate::common::data::Chance;
use crate::common::history::History;
use crate::common::load::{Load, Plan, Run, Start, read_all};
use crate::common::setting;
use crate::disk::{Cut, PowerDisk};
use std::time::Instant;

const PARTITIONS: i32 = 12;

fn nodes() -> usize {
    usize::try_from(setting("PURLIN_POWER_NODES", 3)).expect("a small number")
}

#[test]
fn nothing_acknowledged_is_lost_when_all_nodes_lose_power_at_once() {
    let rounds = setting("PURLIN_POWER_ROUNDS", 3);
    let seed = setting("PURLIN_SEED", u64::from(std::process::id()));
    println!("PURLIN_SEED={seed} PURLIN_POWER_ROUNDS={rounds} cargo test --test power_loss");
    let mut chance = Chance::new(seed);
    let mut bench = Bench::start(nodes(), &[]);
    bench.create_topic("payments", PARTITIONS, &[]);
    let run = Run::start(&bench.cluster.clients(), Plan::new("payments", PARTITIONS));
    println!("round | acknowledged | lost writes | lost names | ready ms | in sync ms");
    for round in 1..=rounds {
        run.load.wait_for_more(1000 + chance.below(1000), PATIENCE);
        // Every other time all goes that may go; else a part, and what is left may be torn.
        let seed = chance.next();
        let acknowledged = run.load.acknowledged();
        let cut = |disk: u64| match round % 2 {
            1 => Cut::Everything,
            _ => Cut::Seeded(seed.wrapping_add(disk)),
        };
        let begin = Instant::now();
        let losses = bench.power_cycle(cut);
        let ready = begin.elapsed();
        bench.cluster.wait_in_sync(PATIENCE);
        println!(
            "{round:5} | {acknowledged:12} | {:5}/{:5} | {:4}/{:5} | {:8} | {:10}",
            losses.writes,
            losses.writes_open,
            losses.names,
            losses.names_open,
            ready.as_millis(),
            begin.elapsed().as_millis(),
        );
    }
    run.load.wait_for_more(500, PATIENCE);
    let errors = run.load.errors();
    let history = run.finish(true);
    history.assert_faultless("power loss");
    assert!(errors.is_empty(), "librdkafka gave up on records: {errors:?}");
}

/// Acknowledges some records, cuts the power, and gives the history.
fn one_cut(bench: &mut Bench, topic: &str, before: impl Fn(&PowerDisk)) -> History {
    bench.disks.iter().for_each(before);
    let bootstrap = bench.cluster.bootstrap();
    let load = Load::start(&bootstrap, Plan::new(topic, PARTITIONS), Start::now());
    load.wait_for_more(1000, PATIENCE);
    let sent = load.stop();
    bench.power_cycle(|_| Cut::Everything);
    bench.cluster.wait_until("a leader for each", PATIENCE, |view| {
        view.values().all(|partition| partition.leader.is_some())
    });
    History { sent, end: read_all(&bootstrap, topic, PARTITIONS), ..History::default() }
}

/// The test above can fail: records that are acknowledged from memory are gone after the cut, and
/// the checker says so.
#[test]
fn a_topic_that_is_not_synced_does_lose_records() {
    let mut bench = Bench::start(nodes(), &[]);
    bench.create_topic("cached", PARTITIONS, &[("write.caching", "true")]);
    let history = one_cut(&mut bench, "cached", |_| {});
    println!("write.caching=true: {}; lost: {}", history.summary(), history.lost());
    assert!(history.lost() > 0, "unsynced records survived: the disk is not what it seems");
}

/// And so are they on a device that says that it synced what it did not.
#[test]
fn a_device_that_lies_does_lose_records() {
    let mut bench = Bench::start(nodes(), &[]);
    bench.create_topic("payments", PARTITIONS, &[]);
    let history = one_cut(&mut bench, "payments", |disk| disk.ignore_syncs(true));
    println!("a disk that lies: {}; lost: {}", history.summary(), history.lost());
    assert!(history.lost() > 0, "nothing was lost on a disk that keeps nothing");
}
