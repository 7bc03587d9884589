//! How long writing stands still when a node goes: killed or told to stop, as leader, as
//! controller, or as both; and that nothing is lost, repeated or put out of order by it.
//!
//! One round: everything is in sync; the node goes; the other two serve every partition again; the
//! node is started again and has to come back into every ISR. The gap of a round is the longest
//! time that any one partition went without an acknowledgement.
//!
//! `PURLIN_FAILOVER_ROUNDS` is the number of rounds of each kind. With `PURLIN_FAILOVER_BOUNDS=1`
//! the gaps have to be within bounds too: `failover.sh` does that, with a release build. A plain
//! run prints them only.

#[path = "../common/mod.rs"]
mod common;

use common::cluster::{Cluster, View};
use common::history::{longest_gap_us, percentile};
use common::load::{Plan, Run};
use common::setting;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 12;
const PATIENCE: Duration = Duration::from_secs(60);

/// How long everything is quiet before a node goes, and at least watched afterwards.
const AROUND: Duration = Duration::from_millis(1500);

/// What becomes of which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// SIGKILL for one that leads partitions and is not the controller.
    Leader,
    /// SIGKILL for the controller, which leads nothing.
    Controller,
    /// SIGKILL for the controller, which leads partitions.
    Both,
    /// SIGTERM, in turn for a leader and for one that is both.
    Stop,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Leader, Self::Controller, Self::Both, Self::Stop];

    fn name(self) -> &'static str {
        match self {
            Self::Leader => "kill -9, leader",
            Self::Controller => "kill -9, controller",
            Self::Both => "kill -9, both",
            Self::Stop => "SIGTERM",
        }
    }

    /// What the issue allows, in ms: at the 95th percentile, and at worst.
    fn bounds_ms(self) -> (u64, u64) {
        match self {
            Self::Stop => (200, 200),
            _ => (1000, 3000),
        }
    }
}

/// What a round took.
struct Round {
    gap_us: u64,
    back: Duration,
}

fn led_by(view: &View, id: i32) -> usize {
    view.values().filter(|partition| partition.leader == Some(id)).count()
}

/// The one controller, once somebody says that it is.
fn controller(cluster: &Cluster) -> i32 {
    let begin = Instant::now();
    loop {
        if let Some(id) = cluster.controller() {
            return id;
        }
        assert!(begin.elapsed() < PATIENCE, "nobody is the controller:\n{}", cluster.logs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Brings about what the kind asks for, and gives the node that is to go.
fn prepare(cluster: &Cluster, kind: Kind, round: u64) -> i32 {
    cluster.wait_in_sync(PATIENCE);
    cluster.elect_preferred(PATIENCE);
    let head = controller(cluster);
    let mut others = cluster.ids();
    others.retain(|id| *id != head);
    let other = others[usize::try_from(round).expect("small") % others.len()];
    match kind {
        Kind::Leader => other,
        Kind::Stop if round.is_multiple_of(2) => other,
        Kind::Both | Kind::Stop => head,
        Kind::Controller => {
            let words = ["node", "drain", &head.to_string()];
            cluster.command(&words).unwrap_or_else(|error| panic!("{error}"));
            cluster.wait_until("the controller leads nothing", PATIENCE, |view| {
                led_by(view, head) == 0 && view.values().all(|one| one.leader.is_some())
            });
            head
        }
    }
}

fn one_round(cluster: &mut Cluster, run: &Run, kind: Kind, round: u64) -> Round {
    let victim = prepare(cluster, kind, round);
    std::thread::sleep(AROUND);
    let view = cluster.view().expect("answers");
    let led = led_by(&view, victim);
    let is_controller = controller(cluster) == victim;
    match kind {
        Kind::Leader => assert!(led > 0 && !is_controller, "{victim} leads {led}"),
        Kind::Controller => assert!(led == 0 && is_controller, "{victim} leads {led}"),
        Kind::Both => assert!(led > 0 && is_controller, "{victim} leads {led}"),
        Kind::Stop => assert!(led > 0, "{victim} leads nothing"),
    }
    let (from_us, clock) = (run.start.us(), common::now_ms());
    if kind == Kind::Stop {
        let status = cluster.node(victim).terminate();
        assert!(status.success(), "SIGTERM ends with {status}:\n{}", cluster.node(victim).log());
    } else {
        cluster.node(victim).kill_nine();
    }
    std::thread::sleep(AROUND);
    run.load.wait_for_each(from_us, PATIENCE);
    let to_us = run.start.us();
    // What stood still when the node went was to be sent a little before.
    let gap_us = longest_gap_us(&run.load.since(from_us.saturating_sub(5_000_000)), from_us, to_us);

    let begin = Instant::now();
    cluster.restart(victim);
    cluster.wait_in_sync(PATIENCE);
    let back = begin.elapsed();
    if kind == Kind::Controller {
        let words = ["node", "drain", &victim.to_string(), "--undo"];
        cluster.command(&words).unwrap_or_else(|error| panic!("{error}"));
    }
    println!(
        "{:20} | {round:5} | node {victim} led {led:2} | gap {:5} ms | back in sync {:5} ms | at {clock}",
        kind.name(),
        gap_us / 1000,
        back.as_millis()
    );
    Round { gap_us, back }
}

fn print_table(rounds: &BTreeMap<Kind, Vec<Round>>) -> Vec<String> {
    let mut missed = Vec::new();
    println!(
        "\n                     | rounds | gap p50 | p95   | worst | bounds p95, worst | back in sync p50, worst"
    );
    for (kind, rounds) in rounds {
        let ascending = |of: fn(&Round) -> u64| {
            let mut all: Vec<u64> = rounds.iter().map(of).collect();
            all.sort_unstable();
            all
        };
        let gaps = ascending(|round| round.gap_us / 1000);
        let back = ascending(|round| u64::try_from(round.back.as_millis()).unwrap_or(u64::MAX));
        let (p95, worst) = (percentile(&gaps, 95), percentile(&gaps, 100));
        let bounds = kind.bounds_ms();
        println!(
            "{:20} | {:6} | {:4} ms | {p95:5} | {worst:5} | {:8}, {:7} | {:8}, {:7} ms",
            kind.name(),
            rounds.len(),
            percentile(&gaps, 50),
            bounds.0,
            bounds.1,
            percentile(&back, 50),
            percentile(&back, 100),
        );
        if p95 >= bounds.0 || worst >= bounds.1 {
            missed.push(format!("{}: p95 {p95} ms, worst {worst} ms", kind.name()));
        }
    }
    missed
}

#[test]
fn nothing_is_lost_whichever_node_goes() {
    let rounds = setting("PURLIN_FAILOVER_ROUNDS", 3);
    let mut cluster = Cluster::start(3);
    cluster.create_topic(TOPIC, PARTITIONS, 3, &[("min.insync.replicas", "2")]);
    let run = Run::start(&cluster.clients(), Plan::new(TOPIC, PARTITIONS));
    run.load.wait_for_more(1000, PATIENCE);
    let mut table: BTreeMap<Kind, Vec<Round>> = BTreeMap::new();
    for round in 0..rounds {
        for kind in Kind::ALL {
            let took = one_round(&mut cluster, &run, kind, round);
            table.entry(kind).or_default().push(took);
        }
    }
    let errors = run.load.errors();
    let history = run.finish(true);
    let missed = print_table(&table);
    history.assert_faultless("failover");
    assert!(errors.is_empty(), "librdkafka gave up on records: {errors:?}");
    if setting("PURLIN_FAILOVER_BOUNDS", 0) == 1 {
        assert!(missed.is_empty(), "out of bounds: {missed:?}");
    }
}
