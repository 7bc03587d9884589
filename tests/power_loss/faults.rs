//! One disk of three that fails or is full, while its node goes on talking.

use crate::bench::{Bench, PATIENCE};
use crate::common::cluster::View;
use crate::common::load::{Plan, Run};
use crate::disk::{Cut, Fault, On};

const TOPIC: &str = "ledger";

/// Followers that do not keep up leave the ISR after this long.
const LAG: [&str; 2] = ["--set", "replica.lag.time.max.ms=3000"];

/// A leader whose syncs fail hands its partitions over, though its heartbeats go on. Started again
/// on a disk that works, without what was never synced, it follows.
#[test]
fn scenario_33_a_leader_whose_disk_fails_hands_over() {
    let mut bench = Bench::start(3, &LAG);
    bench.create_topic(TOPIC, 6, &[("min.insync.replicas", "2")]);
    let run = Run::start(&bench.cluster.clients(), Plan::new(TOPIC, 6));
    run.load.wait_for_more(1000, PATIENCE);
    let view = bench.cluster.view().expect("answers");
    let victim = view.values().find_map(|partition| partition.leader).expect("a leader");
    let path_part = format!("logs/{TOPIC}-");
    let fault = Fault { on: On::Sync, path_part, skip: 0, times: u64::MAX, errno: 5 };
    bench.disk_of(victim).inject(fault);
    let from_us = run.start.us();
    let took = bench.cluster.wait_until("others lead", PATIENCE, |view| {
        view.values().all(|one| one.leader.is_some_and(|leader| leader != victim))
    });
    run.load.wait_for_each(from_us, PATIENCE);
    println!("leadership moved {} ms after the disk began to fail", took.as_millis());
    bench.cluster.assert_alive();

    bench.cluster.node(victim).kill_nine();
    let disk = bench.disk_of(victim);
    disk.lift_faults();
    disk.power_cycle(Cut::Everything).expect("cut and mounted again");
    bench.cluster.restart(victim);
    bench.cluster.wait_in_sync(PATIENCE);
    run.load.wait_for_more(500, PATIENCE);
    let errors = run.load.errors();
    run.finish(false).assert_faultless("a disk that fails");
    assert!(errors.is_empty(), "librdkafka gave up on records: {errors:?}");
}

/// A follower without room leaves the ISR and holds nobody up; with room again it comes back by
/// itself.
#[test]
fn scenario_32_a_follower_without_room_comes_back_by_itself() {
    let mut bench = Bench::start(3, &LAG);
    bench.create_topic(TOPIC, 1, &[("min.insync.replicas", "2")]);
    let run = Run::start(&bench.cluster.clients(), Plan::new(TOPIC, 1));
    run.load.wait_for_more(1000, PATIENCE);
    let view = bench.cluster.view().expect("answers");
    let partition = view.values().next().expect("a partition");
    let follower =
        *partition.replicas.iter().find(|id| Some(**id) != partition.leader).expect("one");
    bench.disk_of(follower).set_capacity(Some(1));
    // Asked of the others: whoever can't write its metadata does not hear of it either.
    let others = bench.cluster.bootstrap_without(&[follower]);
    let is_out = |view: &View| view.values().all(|one| !one.isr.contains(&follower));
    bench.cluster.wait_until_at(&others, "the follower is out", PATIENCE, is_out);
    run.load.wait_for_more(1000, PATIENCE);
    bench.disk_of(follower).set_capacity(None);
    let took = bench.cluster.wait_in_sync(PATIENCE);
    println!("in sync {} ms after there was room again", took.as_millis());
    run.load.wait_for_more(500, PATIENCE);
    run.finish(true).assert_faultless("a full disk");
    bench.cluster.assert_alive();
}
