//! Networks that fall apart: a leader without its followers, a leader without the controller, packets
//! that pass one way only, and majorities that overlap. At most one epoch commits, and after healing
//! every partition takes writes again within 10 s.
//!
//! Beside librdkafka's load, a writer at each node tries every partition there, whoever leads: a
//! node that leads on its own side of the network and commits would be seen by that.
//!
//! `PURLIN_SPLIT_MS` is how long each split lasts, `PURLIN_SPLIT_ROUNDS` how often all of them are
//! gone through.

#[path = "../common/mod.rs"]
mod common;

use common::cluster::{Cluster, Plan, View};
use common::load::{Plan as LoadPlan, Run, write_everywhere};
use common::network::{Network, in_own_network};
use common::{Node, http_get, scratch, setting, try_http_get};
use std::time::{Duration, Instant};

const TOPIC: &str = "ledger";
const PARTITIONS: i32 = 15;
const NODES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(90);

/// What the issue allows from healing to writes on every partition.
const WRITES_WITHIN: Duration = Duration::from_secs(10);

/// Who is who when the network is split.
#[derive(Debug)]
struct Roles {
    controller: usize,
    leader: usize,
    followers: Vec<usize>,
}

type Split = (&'static str, fn(&Network, &Roles));

const SPLITS: [Split; 8] = [
    ("a leader from its followers", |network, roles| {
        roles.followers.iter().for_each(|follower| network.cut(roles.leader, *follower));
    }),
    ("a leader from the controller only", |network, roles| {
        network.cut(roles.leader, roles.controller);
    }),
    ("one way: followers cannot reach their leader", |network, roles| {
        roles.followers.iter().for_each(|follower| network.drop_packets(*follower, roles.leader));
    }),
    ("one way: a leader cannot reach its followers", |network, roles| {
        roles.followers.iter().for_each(|follower| network.drop_packets(roles.leader, *follower));
    }),
    ("one way: a leader cannot reach the controller", |network, roles| {
        network.drop_packets(roles.leader, roles.controller);
    }),
    ("the controller from all others", |network, roles| {
        others(roles.controller).for_each(|other| network.cut(roles.controller, other));
    }),
    ("a ring: each sees its two neighbours", |network, _| {
        for one in 1..=NODES {
            network.cut(one, (one + 1) % NODES + 1);
        }
    }),
    ("a bridge: two pairs that see the fifth only", |network, roles| {
        let sides: Vec<usize> = others(roles.controller).collect();
        for one in &sides[..2] {
            sides[2..].iter().for_each(|other| network.cut(*one, *other));
        }
    }),
];

fn others(node: usize) -> impl Iterator<Item = usize> {
    (1..=NODES).filter(move |other| *other != node)
}

/// A partition that neither is led nor followed by the controller, if there is one; else any that it
/// does not lead.
fn roles(cluster: &Cluster, view: &View) -> Roles {
    let begin = Instant::now();
    let controller = loop {
        if let Some(id) = cluster.controller() {
            break id;
        }
        assert!(begin.elapsed() < PATIENCE, "nobody is the controller:\n{}", cluster.logs());
        std::thread::sleep(Duration::from_millis(50));
    };
    let led_by_others = view.values().filter(|one| one.leader != Some(controller));
    let partition =
        led_by_others.min_by_key(|one| one.replicas.contains(&controller)).expect("partitions");
    let ids = cluster.ids();
    let number = |id: i32| ids.iter().position(|found| *found == id).expect("a node") + 1;
    let leader = partition.leader.expect("led");
    let followers = partition.replicas.iter().filter(|id| **id != leader && **id != controller);
    Roles {
        controller: number(controller),
        leader: number(leader),
        followers: followers.map(|id| number(*id)).collect(),
    }
}

#[test]
fn no_two_epochs_commit_whatever_the_network_does() {
    in_own_network("no_two_epochs_commit_whatever_the_network_does", splits);
}

fn splits() {
    let rounds = setting("PURLIN_SPLIT_ROUNDS", 1);
    let lasting = Duration::from_millis(setting("PURLIN_SPLIT_MS", 5000));
    let folder = scratch("network-");
    let network = Network::new(NODES);
    let place = |node: usize| network.place(node, &folder.path().join(format!("node-{node}")));
    let plan = Plan {
        places: (1..=NODES).map(place).collect(),
        extra: ["--set", "purlin.metadata.voters=5"].map(str::to_owned).to_vec(),
    };
    let mut cluster = Cluster::start_plan(plan);
    cluster.create_topic(TOPIC, PARTITIONS, 3, &[("min.insync.replicas", "2")]);
    let load = LoadPlan { rate: 500, ..LoadPlan::new(TOPIC, PARTITIONS).impatient() };
    let run = Run::start(&cluster.clients(), load);
    let writers = write_everywhere(cluster.clients(), TOPIC, PARTITIONS, run.start, 100);
    run.load.wait_for_more(1000, PATIENCE);
    println!(
        "split                                         | writes after healing | in sync after"
    );
    for _ in 0..rounds {
        for (name, split) in SPLITS {
            cluster.wait_in_sync(PATIENCE);
            let roles = roles(&cluster, &cluster.view().expect("answers"));
            split(&network, &roles);
            std::thread::sleep(lasting);
            network.heal();
            let (healed, healed_us) = (Instant::now(), run.start.us());
            run.load.wait_for_each(healed_us, PATIENCE);
            let writes = healed.elapsed();
            cluster.wait_in_sync(PATIENCE);
            println!(
                "{name:45} | {:17} ms | {:10} ms",
                writes.as_millis(),
                healed.elapsed().as_millis()
            );
            assert!(writes < WRITES_WITHIN, "{name}: {writes:?} without writes; {roles:?}");
        }
    }
    let errors = run.load.errors();
    let direct = writers.stop();
    let mut history = run.finish(false);
    history.careless.extend(direct.iter().map(|sent| sent.id.producer));
    history.sent.extend(direct);
    history.assert_faultless("splits");
    assert!(errors.is_empty(), "librdkafka gave up on records: {errors:?}");
    cluster.assert_alive();
}

/// The network does what the test above believes: what is dropped is dropped, one way, and heals.
#[test]
fn packets_are_dropped_as_told() {
    in_own_network("packets_are_dropped_as_told", || {
        let folder = scratch("network-");
        let network = Network::new(2);
        let data = folder.path().join("data");
        let node = Node::start_at(network.place(1, &data), &["init"], Vec::new());
        let admin = node.ready().admin.clone();
        assert_eq!(http_get(&admin, "/livez").0, 200, "the test reaches the node");
        // From the other namespace, by the binary itself.
        let list = || {
            let mut command = common::purlin_within(&network.place(2, &data).within);
            command.args(["topic", "list", "-b", node.bootstrap()]);
            common::shell::run(&mut command, Duration::from_secs(2)).is_ok_and(|out| out.success)
        };
        assert!(list(), "node 2 reaches node 1");
        network.drop_packets(1, 2);
        assert!(!list(), "no answer comes back");
        assert_eq!(http_get(&admin, "/livez").0, 200, "others are not touched");
        network.heal();
        assert!(list(), "healed");
        network.drop_packets_of_test(1);
        assert!(try_http_get(&admin, "/livez").is_err(), "the test is cut off");
        network.heal();
        assert_eq!(http_get(&admin, "/livez").0, 200, "healed");
    });
}
