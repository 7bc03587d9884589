//! A thousand topics with three partitions on three nodes: made, described, one node killed and
//! started again among them, and deleted; with the times, and the descriptors and memory that it
//! takes.
//!
//! `PURLIN_TOPICS` is the number of topics.

#[path = "../common/mod.rs"]
mod common;

use common::cluster::{Cluster, PartitionView, block_on, quiet_admin};
use common::load::{Load, Plan, Start};
use common::{Node, setting};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(300);

/// Topics in one request.
const AT_ONCE: usize = 100;

/// What a node may take beside its partitions: connections, the metadata, what an empty node has.
const DESCRIPTORS_BESIDE: u64 = 1000;
const RSS_BESIDE_BYTES: u64 = 256 << 20;

/// What a partition may take: two descriptors, as 10,000 of them have to fit in 20,000, and memory
/// for what is kept of each, debug builds included.
const DESCRIPTORS_EACH: u64 = 2;
const RSS_EACH_BYTES: u64 = 64 << 10;

fn descriptors(node: &Node) -> u64 {
    let list = std::fs::read_dir(format!("/proc/{}/fd", node.pid())).expect("the process runs");
    list.count() as u64
}

fn check_footprint(cluster: &Cluster, replicas: u64, when: &str) {
    for node in cluster.nodes() {
        let (open, rss) = (descriptors(node), node.rss_bytes());
        println!("{when}: node {}: {open} descriptors, {} MiB", node.ready().node, rss >> 20);
        assert!(open <= DESCRIPTORS_BESIDE + replicas * DESCRIPTORS_EACH, "{open} descriptors");
        assert!(rss <= RSS_BESIDE_BYTES + replicas * RSS_EACH_BYTES, "{rss} bytes of memory");
    }
}

fn told(what: &str, begin: Instant) {
    println!("{what}: {} ms", begin.elapsed().as_millis());
}

fn is_whole(cluster: &Cluster, partitions: usize, what: &str) -> Duration {
    cluster.wait_until(what, PATIENCE, |view| {
        view.len() == partitions && view.values().all(PartitionView::is_whole)
    })
}

/// Directories of the test's partitions on a node.
fn directories(node: &Node) -> usize {
    let list = std::fs::read_dir(node.data().join("logs")).expect("listed");
    let names = list.map(|entry| entry.expect("an entry").file_name());
    names.filter(|name| name.to_string_lossy().starts_with("many-")).count()
}

#[test]
fn a_thousand_topics_come_stay_and_go() {
    let topics = usize::try_from(setting("PURLIN_TOPICS", 1000)).expect("a count");
    let partitions = topics * usize::try_from(PARTITIONS).expect("small");
    let names: Vec<String> = (0..topics).map(|number| format!("many-{number:05}")).collect();
    let mut cluster = Cluster::start(3);
    let client = quiet_admin(&cluster.bootstrap());
    let options =
        AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));

    let begin = Instant::now();
    for names in names.chunks(AT_ONCE) {
        let new = |name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(3));
        let new: Vec<NewTopic<'_>> = names.iter().map(|name| new(name)).collect();
        let made = block_on(client.create_topics(&new, &options)).expect("an answer");
        for one in made {
            one.unwrap_or_else(|(topic, error)| panic!("{topic}: {error}"));
        }
    }
    told(&format!("{topics} topics made"), begin);
    is_whole(&cluster, partitions, "all in sync");
    told("all led and in sync", begin);

    let begin = Instant::now();
    let text = cluster.command(&["topic", "describe", &names[topics / 2]]).expect("described");
    assert!(text.contains(&names[topics / 2]), "{text}");
    let view = cluster.view().expect("answers");
    assert_eq!(view.len(), partitions);
    told("one described by the command, all by a client", begin);
    check_footprint(&cluster, partitions as u64, "idle");

    let load = |name: &String| {
        let plan = Plan { rate: 300, ..Plan::new(name, PARTITIONS) };
        Load::start(&cluster.bootstrap(), plan, Start::now())
    };
    let loads: Vec<Load> = names.iter().step_by(topics.div_ceil(5)).map(load).collect();
    loads.iter().for_each(|load| load.wait_for_more(100, PATIENCE));
    let victim = cluster.ids()[1];
    cluster.node(victim).kill_nine();
    loads.iter().for_each(|load| load.wait_for_more(300, PATIENCE));
    let begin = Instant::now();
    cluster.restart(victim);
    told("the killed node is ready again", begin);
    is_whole(&cluster, partitions, "all in sync again");
    told("and back in every ISR", begin);
    for load in loads {
        load.wait_for_more(100, PATIENCE);
        let sent = load.stop();
        assert!(sent.iter().all(|sent| sent.is_acknowledged()), "each record was acknowledged");
    }
    check_footprint(&cluster, partitions as u64, "after the restart");

    let begin = Instant::now();
    for names in names.chunks(AT_ONCE) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let gone = block_on(client.delete_topics(&names, &options)).expect("an answer");
        for one in gone {
            one.unwrap_or_else(|(topic, error)| panic!("{topic}: {error}"));
        }
    }
    told("all deleted", begin);
    cluster.wait_until("no topic is left", PATIENCE, |view| view.is_empty());
    while cluster.nodes().iter().any(|node| directories(node) > 0) {
        assert!(begin.elapsed() < PATIENCE, "directories are left:\n{}", cluster.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
    told("no directory is left", begin);
    cluster.assert_alive();
}
