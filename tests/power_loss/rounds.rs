//! The power of all nodes cut at once, under load.

use crate::common::cluster::{Cluster, Plan};
use crate::common::data::Chance;
use crate::common::history::History;
use crate::common::load::{Load, Plan as LoadPlan, Run, Start, read_all};
use crate::common::{Node, Place, scratch, setting};
use crate::disk::{Cut, Losses, PowerDisk};
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 12;
const PATIENCE: Duration = Duration::from_secs(60);

/// Nodes on disks that forget. The processes end before the disks are unmounted.
struct Bench {
    cluster: Cluster,
    disks: Vec<PowerDisk>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn start(nodes: usize) -> Self {
        let folder = scratch("power-");
        let disk = |number: usize| {
            let below = |name: &str| {
                let path = folder.path().join(format!("{name}-{number}"));
                std::fs::create_dir(&path).expect("made");
                path
            };
            PowerDisk::mount(&below("store"), &below("disk")).unwrap_or_else(|e| panic!("{e}"))
        };
        let disks: Vec<PowerDisk> = (1..=nodes).map(disk).collect();
        let place = |disk: &PowerDisk| Place::loopback(&disk.path().join("data"));
        let plan = Plan { places: disks.iter().map(place).collect(), extra: Vec::new() };
        let cluster = Cluster::start_plan(plan);
        Self { cluster, disks, _folder: folder }
    }

    fn replicas(&self) -> i32 {
        i32::try_from(self.disks.len().min(3)).expect("at most three")
    }

    fn create_topic(&self, name: &str, configs: &[(&str, &str)]) {
        self.cluster.create_topic(name, PARTITIONS, self.replicas(), configs);
    }

    /// Kills all nodes at the same time, drops what the cut takes, and starts them again.
    fn power_cycle(&mut self, cut: impl Fn(u64) -> Cut) -> Losses {
        let nodes = self.cluster.nodes_mut();
        nodes.iter_mut().for_each(Node::kill_soon);
        nodes.iter_mut().for_each(Node::kill_nine);
        let mut all = Losses::default();
        for (disk, number) in self.disks.iter_mut().zip(0..) {
            let losses = disk.power_cycle(cut(number)).expect("cut and mounted again");
            all.writes += losses.writes;
            all.writes_open += losses.writes_open;
            all.names += losses.names;
            all.names_open += losses.names_open;
        }
        self.cluster.restart_all();
        all
    }
}

fn nodes() -> usize {
    usize::try_from(setting("PURLIN_POWER_NODES", 1)).expect("a small number")
}

#[test]
fn nothing_acknowledged_is_lost_when_all_nodes_lose_power_at_once() {
    let rounds = setting("PURLIN_POWER_ROUNDS", 3);
    let seed = setting("PURLIN_SEED", u64::from(std::process::id()));
    println!("PURLIN_SEED={seed} PURLIN_POWER_ROUNDS={rounds} cargo test --test power_loss");
    let mut chance = Chance::new(seed);
    let mut bench = Bench::start(nodes());
    bench.create_topic("payments", &[]);
    let run = Run::start(&bench.cluster.clients(), LoadPlan::new("payments", PARTITIONS));
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
    let load = Load::start(&bootstrap, LoadPlan::new(topic, PARTITIONS), Start::now());
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
    let mut bench = Bench::start(nodes());
    bench.create_topic("cached", &[("write.caching", "true")]);
    let history = one_cut(&mut bench, "cached", |_| {});
    println!("write.caching=true: {}; lost: {}", history.summary(), history.lost());
    assert!(history.lost() > 0, "unsynced records survived: the disk is not what it seems");
}

/// And so are they on a device that says that it synced what it did not.
#[test]
fn a_device_that_lies_does_lose_records() {
    let mut bench = Bench::start(nodes());
    bench.create_topic("payments", &[]);
    let history = one_cut(&mut bench, "payments", |disk| disk.ignore_syncs(true));
    println!("a disk that lies: {}; lost: {}", history.summary(), history.lost());
    assert!(history.lost() > 0, "nothing was lost on a disk that keeps nothing");
}
