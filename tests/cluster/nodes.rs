//! Nodes come and go: joins and their faults, drains, removals, and what the cluster says of itself
//! meanwhile.

#[path = "../common/mod.rs"]
mod common;

use common::cluster::{Cluster, metric};
use common::shell::run;
use common::{Node, Place, purlin, scratch};
use purlin::rpc::Identity;
use purlin::rpc::handshake::{Reason, Refusal, answer_bytes};
use purlin::types::{ClusterId, IncarnationId, NodeId};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ANY: [&str; 6] = ["--kafka", "127.0.0.1:0", "--rpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

/// How long something may take before a test gives up.
const LIMIT: Duration = Duration::from_secs(60);

/// A start that is to fail: its exit code and what it said.
fn refused(words: &[&str], data: &Path) -> (i32, String) {
    let mut command = purlin();
    command.arg("node").args(words).arg("--data-dir").arg(data).args(ANY);
    let output = run(&mut command, LIMIT).expect("ends by itself");
    assert!(!output.text().contains("ready "), "no ready line from a start that fails");
    (output.code, output.all())
}

/// A join as a bare process, to be killed at any moment.
fn join(seed: &str, data: &Path) -> Child {
    let mut command = purlin();
    command.args(["node", "join", "--seed", seed, "--data-dir"]).arg(data).args(ANY);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the binary starts")
}

fn json(cluster: &Cluster, words: &[&str]) -> Value {
    let text = cluster.command(words).expect("the command works");
    serde_json::from_str(&text).expect("JSON")
}

/// Waits until `look` finds something.
fn wait_for<T>(what: &str, cluster: &Cluster, look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "never came: {what}\n{}", cluster.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn copy_dir(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("`cp` runs");
    assert!(done.success(), "{} could not be copied", from.display());
}

fn node_row(cluster: &Cluster, id: i64) -> Value {
    let list = json(cluster, &["node", "list", "-o", "json"]);
    let rows = list.as_array().expect("an array");
    rows.iter().find(|row| row["node"] == id).unwrap_or(&Value::Null).clone()
}

#[test]
fn three_nodes_become_a_cluster_that_says_what_a_kill_costs() {
    let mut cluster = Cluster::start(3);
    assert_eq!(cluster.ids(), [1, 2, 3], "ids are given in turn");
    let list = wait_for("three voters", &cluster, || {
        let list = json(&cluster, &["node", "list", "-o", "json"]);
        let voters = list.as_array()?.iter().filter(|row| row["role"] == "voter").count();
        (voters == 3).then_some(list)
    });
    let rows = list.as_array().expect("an array");
    let controllers = rows.iter().filter(|row| row["controller"] == true).count();
    assert_eq!(controllers, 1, "{list}");
    assert!(rows.iter().all(|row| row["state"] == "active"), "{list}");
    assert!(rows.iter().all(|row| row["version"] == env!("CARGO_PKG_VERSION")), "{list}");

    cluster.create_topic("orders", 12, 3, &[]);
    let health = json(&cluster, &["cluster", "health", "-o", "json"]);
    assert_eq!(health["healthy"], true, "{health}");
    assert_eq!(health["quorum"]["may_fail"], 1, "{health}");
    for node in cluster.nodes() {
        assert_eq!(node.admin_get("/readyz").0, 200);
    }

    cluster.node(3).kill_nine();
    let text = wait_for("node 3 fenced, its leaderships moved", &cluster, || {
        let failed = cluster.command(&["cluster", "health"]).expect_err("not healthy");
        let moved = failed.contains("acks=all: 12 of 12") && failed.contains("node 3 is down");
        (moved && failed.contains("12 of 12 partitions are under-replicated")).then_some(failed)
    });
    for part in ["degraded", "reads: 12 of 12", "0 more may fail"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    cluster.restart(3);
    cluster.wait_in_sync(LIMIT);
    wait_for("health", &cluster, || cluster.command(&["cluster", "health"]).ok());
}

#[test]
fn a_join_that_is_killed_at_any_moment_goes_on_as_the_same_node() {
    let first = Node::init(&[]);
    let seed = first.ready().rpc.clone();
    let folder = scratch("join-");
    let data = folder.path().join("data");
    let mut directory = None;
    for pause_ms in [1_u64, 20, 50, 80, 110, 140, 170, 200, 250, 300, 400] {
        let mut process = join(&seed, &data);
        std::thread::sleep(Duration::from_millis(pause_ms));
        process.kill().expect("can be killed");
        process.wait().expect("can be waited for");
        // What the cluster knows the directory by stays from the first moment on.
        let mark = std::fs::read_to_string(data.join("joining")).unwrap_or_default();
        let line = mark.lines().find(|line| line.starts_with("directory.id=")).map(str::to_owned);
        if let (Some(before), Some(now)) = (&directory, &line) {
            assert_eq!(before, now);
        }
        directory = line.or(directory);
    }
    let whole = data.join("meta.properties").exists() && !data.join("joining").exists();
    let how: &[&str] = if whole { &["start"] } else { &["join", "--seed", &seed] };
    let joined = Node::start_at(Place::loopback(&data), how, Vec::new());
    assert_eq!(joined.ready().node, "2", "one directory, one id");
    drop(joined);
    let next = Node::start_at(
        Place::loopback(&folder.path().join("next")),
        &["join", "--seed", &seed],
        Vec::new(),
    );
    assert_eq!(next.ready().node, "3", "no id was lost on the way");
}

#[test]
fn seeds_that_are_none_are_named_with_what_is_wrong() {
    let node = Node::init(&[]);
    let folder = scratch("seeds-");
    let try_seed =
        |seed: &str, name: &str| refused(&["join", "--seed", seed], &folder.path().join(name));
    // The wrong port of the right machine.
    for (port, name) in [(&node.ready().kafka, "kafka"), (&node.ready().admin, "admin")] {
        let (code, text) = try_seed(port, name);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("is not the rpc port of a node"), "{text}");
        assert!(text.contains(port.as_str()) && text.contains("--seed"), "{text}");
    }
    // Nobody there.
    let unused = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound").to_string()
    };
    let (code, text) = try_seed(&unused, "nobody");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&unused) && text.contains("9192"), "{text}");
    // No seed at all, and one that is no address.
    let (code, text) = refused(&["join"], &folder.path().join("none"));
    assert!(code == 2 && text.contains("--seed HOST:PORT"), "{code}: {text}");
    let (code, text) = try_seed("somewhere", "word");
    assert!(code == 2 && text.contains("HOST:PORT"), "{code}: {text}");
    // The next try with the right one works in the same directory.
    let data = folder.path().join("nobody");
    let joined =
        Node::start_at(Place::loopback(&data), &["join", "--seed", &node.ready().rpc], Vec::new());
    assert_eq!(joined.ready().cluster, node.ready().cluster);
}

#[test]
fn a_seed_of_a_newer_release_is_refused_by_name_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let seed = listener.local_addr().expect("bound").to_string();
    let asked = std::thread::spawn(move || {
        let identity = Identity {
            cluster_id: ClusterId([1; 16]),
            node_id: NodeId(1),
            incarnation: IncarnationId([1; 16]),
            version: "99.1.0".to_owned(),
        };
        let mut refusal = Refusal::new(identity, Reason::Version, "other protocol versions");
        refusal.versions = (7, 9);
        let answer = answer_bytes(&Err(refusal));
        for _ in 0..2 {
            let (mut socket, _) = listener.accept().expect("a caller");
            let mut preamble = [0; 8];
            socket.read_exact(&mut preamble).expect("a hello");
            let mut hello = vec![0; usize::from(u16::from_be_bytes([preamble[6], preamble[7]]))];
            socket.read_exact(&mut hello).expect("the whole hello");
            socket.write_all(&answer).expect("answered");
        }
    });
    let folder = scratch("newer-");
    for how in ["join", "init"] {
        let (code, text) = refused(&[how, "--seed", &seed], &folder.path().join(how));
        assert_eq!(code, 2, "{text}");
        for part in [seed.as_str(), "7 to 9", "99.1.0", "upgrade purlin on this machine"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("rpc address"), "not a matter of ports: {text}");
    }
    // One call each: nothing was tried again.
    asked.join().expect("two callers");
}

#[test]
fn init_founds_no_second_cluster_beside_its_seeds() {
    let first = Node::init(&[]);
    let seed = first.ready().rpc.clone();
    let unused = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound").to_string()
    };
    let folder = scratch("second-");
    let data = folder.path().join("data");
    let (code, text) = refused(&["init", "--or-start", "--seed", &unused, "--seed", &seed], &data);
    assert_eq!(code, 2, "{text}");
    let way_out = format!("purlin node join --seed {seed}");
    for part in [&way_out, &first.ready().cluster] {
        assert!(text.contains(part.as_str()), "{part} in {text}");
    }
    // Nothing was left that would be in the way of it.
    let joined = Node::start_at(Place::loopback(&data), &["join", "--seed", &seed], Vec::new());
    assert_eq!(joined.ready().cluster, first.ready().cluster);
    // Who does not answer is no obstacle.
    let alone = Place::loopback(&folder.path().join("alone"));
    let founder = Node::start_at(alone, &["init", "--seed", &unused], Vec::new());
    assert_ne!(founder.ready().cluster, first.ready().cluster);
}

#[test]
fn seeds_of_another_cluster_do_not_take_over_a_node() {
    let mut ours = Node::init(&[]);
    let theirs = Node::init(&[]);
    let folder = scratch("other-");
    // A join that came as far as its identity.
    let data = folder.path().join("half");
    std::fs::create_dir_all(&data).expect("made");
    let directory = "AAAAAAAAQACAAAAAAAAAAA";
    let mark = format!("version=1\ndirectory.id={directory}\nseeds={}\n", ours.ready().rpc);
    std::fs::write(data.join("joining"), mark).expect("written");
    let identity = format!(
        "node.id=2\nversion=1\ndirectory.id={directory}\ncluster.id={}\n",
        ours.ready().cluster
    );
    std::fs::write(data.join("meta.properties"), identity).expect("written");
    let (code, text) = refused(&["join", "--seed", &theirs.ready().rpc], &data);
    assert_eq!(code, 2, "{text}");
    for part in [&ours.ready().cluster, &theirs.ready().cluster, &theirs.ready().rpc] {
        assert!(text.contains(part.as_str()), "{part} in {text}");
    }
    // A whole node is started, not joined.
    assert!(ours.terminate().success());
    let (code, text) = refused(&["join", "--seed", &theirs.ready().rpc], ours.data());
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("purlin node start"), "{text}");
}

#[test]
fn a_node_that_lost_its_disk_gets_a_new_id_or_is_refused_with_the_way_out() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("orders", 3, 3, &[]);
    let seed = cluster.nodes()[0].ready().rpc.clone();
    let data = cluster.node(3).data().to_owned();
    assert!(cluster.node(3).terminate().success());

    // All but the identity is gone: it promised things as a voter that it does not know any more.
    std::fs::rename(data.join("metadata"), data.join("../metadata-aside")).expect("moved");
    let (code, text) = refused(&["start"], &data);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("metadata directory is gone") && text.contains("--data-dir"), "{text}");

    // The whole disk is gone.
    std::fs::remove_dir_all(&data).expect("removed");
    let (code, text) = refused(&["start"], &data);
    assert!(code == 2 && text.contains("purlin node join"), "{code}: {text}");
    let (code, text) = refused(&["join", "--seed", &seed, "--node-id", "3"], &data);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("--node-id") && text.contains("purlin node remove 3"), "{text}");
    std::fs::remove_dir_all(&data).expect("removed");
    let fresh = Node::start_at(Place::loopback(&data), &["join", "--seed", &seed], Vec::new());
    assert_eq!(fresh.ready().node, "4", "a new disk is a new node");
}

#[test]
fn two_processes_with_one_id_never_both_serve() {
    let mut cluster = Cluster::start(2);
    let folder = scratch("copy-");
    let copy = folder.path().join("copy");
    copy_dir(cluster.node(2).data(), &copy);
    let (code, text) = refused(&["start"], &copy);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("another process with that id"), "{text}");
    cluster.assert_alive();
    assert_eq!(node_row(&cluster, 2)["state"], "active");
    // Once the first has gone, its directory can move.
    assert!(cluster.node(2).terminate().success());
    std::fs::remove_dir_all(&copy).expect("removed");
    copy_dir(cluster.node(2).data(), &copy);
    let moved = Node::start_at(Place::loopback(&copy), &["start"], Vec::new());
    assert_eq!(moved.ready().node, "2");
}

#[test]
fn sigterm_hands_leaderships_over_and_ends_with_zero() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("orders", 12, 3, &[]);
    let status = cluster.node(2).terminate();
    assert!(status.success(), "{status}:\n{}", cluster.logs());
    let led = |view: &common::cluster::View| view.values().all(|one| one.leader != Some(2));
    let view = cluster.view().expect("an answer");
    assert!(led(&view), "leadership moved before the process ended: {view:?}");
    cluster.restart(2);
    cluster.wait_in_sync(LIMIT);
    assert!(cluster.node(2).log().contains("clean_shutdown=true"));
    let back = |view: &common::cluster::View| view.values().any(|one| one.leader == Some(2));
    // What it is preferred for comes back by an election that anybody may ask for.
    cluster.command(&["node", "drain", "2", "--undo"]).expect("elects");
    cluster.wait_until("node 2 leads again", LIMIT, back);
}

#[test]
fn a_drained_node_leads_nothing_until_the_drain_is_undone() {
    let cluster = Cluster::start(3);
    cluster.create_topic("orders", 12, 3, &[]);
    cluster.command(&["node", "drain", "2"]).expect("drains");
    let view = cluster.view().expect("an answer");
    assert!(view.values().all(|one| one.leader != Some(2)), "{view:?}");
    assert!(view.values().all(|one| one.isr.contains(&2)), "its replicas stay: {view:?}");
    assert_eq!(node_row(&cluster, 2)["state"], "draining");
    let health = json(&cluster, &["cluster", "health", "-o", "json"]);
    assert_eq!(health["healthy"], true, "a drain is no trouble: {health}");

    cluster.command(&["node", "drain", "2", "--undo"]).expect("undone");
    cluster.wait_until("node 2 leads again", LIMIT, |view| {
        view.values().any(|one| one.leader == Some(2))
    });
    let error = cluster.command(&["node", "drain", "9"]).expect_err("there is none");
    assert!(error.contains("no node 9") && error.contains("purlin node list"), "{error}");
}

#[test]
fn a_node_is_removed_once_its_replicas_are_elsewhere() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("orders", 6, 2, &[]);
    cluster.create_topic("whole", 2, 3, &[]);
    // Three replicas have nowhere else to go.
    let error = cluster.command(&["node", "remove", "3"]).expect_err("refused");
    assert!(error.contains("cannot be removed") && error.contains("whole"), "{error}");
    let view = cluster.view().expect("an answer");
    assert!(view.values().any(|one| one.replicas.contains(&3)), "nothing was changed");

    cluster.command(&["topic", "alter", "whole", "-r", "2"]).expect("lowered");
    let plan = cluster.command(&["node", "remove", "3", "--dry-run"]).expect("a plan");
    assert!(plan.contains("orders-"), "{plan}");
    cluster.command(&["node", "remove", "3"]).expect("removed");
    let view = cluster.view().expect("an answer");
    assert!(view.values().all(|one| !one.replicas.contains(&3) && one.is_whole()), "{view:?}");
    assert_eq!(node_row(&cluster, 3), Value::Null);

    // Its process ends by itself and says why, also when it is started again.
    let gone = cluster.node(3);
    let begun = Instant::now();
    while gone.runs() {
        assert!(begun.elapsed() < LIMIT, "a removed node goes on:\n{}", gone.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(gone.log().contains("removed from the cluster"), "{}", gone.log());
    assert_eq!(gone.exit_code(), Some(2), "a restart would not help:\n{}", gone.log());
    let data = gone.data().to_owned();
    let (code, text) = refused(&["start"], &data);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("removed"), "{text}");
}

#[test]
fn more_replicas_come_with_one_command_once_nodes_have_joined() {
    let first = Node::init(&[]);
    let bootstrap = first.bootstrap().to_owned();
    let on_first = |words: &[&str]| {
        let output = run(purlin().args(words).args(["-b", &bootstrap]), LIMIT).expect("ends");
        assert!(output.success, "{words:?}: {}", output.all());
        output.text()
    };
    on_first(&["topic", "create", "orders", "-p", "4"]);
    let folder = scratch("grow-");
    let seed = first.ready().rpc.clone();
    let place = |name: &str| Place::loopback(&folder.path().join(name));
    let _second = Node::start_at(place("2"), &["join", "--seed", &seed], Vec::new());
    let _third = Node::start_at(place("3"), &["join", "--seed", &seed], Vec::new());
    on_first(&["topic", "alter", "--all", "--replication-factor", "3"]);
    let described = on_first(&["topic", "describe", "orders", "-o", "json"]);
    let described: Value = serde_json::from_str(&described).expect("JSON");
    for partition in described[0]["partitions"].as_array().expect("an array") {
        for list in ["replicas", "isr"] {
            assert_eq!(partition[list].as_array().map(Vec::len), Some(3), "{partition}");
        }
    }
    // New topics get three by themselves.
    on_first(&["topic", "create", "later"]);
    let later = on_first(&["topic", "list", "-o", "json"]);
    let later: Value = serde_json::from_str(&later).expect("JSON");
    let row = later.as_array().expect("an array").iter().find(|row| row["topic"] == "later");
    assert_eq!(row.expect("listed")["replication_factor"], 3);
}

#[test]
fn a_leader_whose_disk_dies_while_its_heartbeats_live_is_replaced() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("orders", 1, 3, &[("segment.bytes", "1048576")]);
    let leader = cluster.view().expect("an answer")[&("orders".to_owned(), 0)].leader;
    let leader = leader.expect("a leader");
    // The next segment cannot be made where a file stands in the directory's place.
    let logs = cluster.node(leader).data().join("logs");
    std::fs::rename(logs.join("orders-0"), logs.join("elsewhere")).expect("moved");
    std::fs::write(logs.join("orders-0"), "in the way").expect("written");
    let mut command = purlin();
    command.args(["produce", "orders", "-q", "-b", &cluster.bootstrap()]);
    let mut producer = command.stdin(Stdio::piped()).spawn().expect("starts");
    let line = "x".repeat(1000) + "\n";
    let mut stdin = producer.stdin.take().expect("piped");
    for _ in 0..3000 {
        std::io::Write::write_all(&mut stdin, line.as_bytes()).expect("taken");
    }
    drop(stdin);
    assert!(producer.wait().expect("ends").success(), "{}", cluster.logs());
    cluster.wait_until("another leader", LIMIT, |view| {
        view[&("orders".to_owned(), 0)].leader.is_some_and(|now| now != leader)
    });
    cluster.assert_alive();
    let read = cluster.command(&["consume", "orders", "--from-beginning", "-e", "-q"]);
    assert_eq!(read.expect("reads").lines().count(), 3000, "nothing lost, nothing twice");
    assert_eq!(node_row(&cluster, leader.into())["state"], "active", "its heartbeats go on");
    let log = cluster.node(leader).log();
    assert!(log.contains("orders-0") && log.contains("check the disk"), "{log}");
}

#[test]
fn a_clock_an_hour_off_costs_nothing_and_is_said() {
    let first = Node::init(&[]);
    common::tools::program("faketime", "faketime").unwrap_or_else(|error| panic!("{error}"));
    let folder = scratch("clock-");
    // Not by the program of that name, which stays as the parent: killed, it leaves the node running.
    let preload = "export LD_PRELOAD=$(find /usr/lib /usr/local/lib -name libfaketime.so.1 -print -quit); \
                   test -n \"$LD_PRELOAD\" && exec \"$@\"";
    let time = ["env", "FAKETIME=+3600s", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    let within = [&time[..], &["sh", "-c", preload, "sh"]].concat();
    let place = Place {
        data: folder.path().join("data"),
        ip: "127.0.0.1".to_owned(),
        within: within.iter().map(|word| (*word).to_owned()).collect(),
    };
    let ahead = Node::start_at(place, &["join", "--seed", &first.ready().rpc], Vec::new());
    let begun = Instant::now();
    let terms = || metric(&first.ready().admin, "purlin_metadata_term");
    let term = terms();
    while begun.elapsed() < Duration::from_secs(3) {
        assert_eq!(ahead.admin_get("/readyz").0, 200, "{}", ahead.log());
        assert_eq!(terms(), term, "no election for a clock");
        std::thread::sleep(Duration::from_millis(200));
    }
    let said = format!("{}{}", first.log(), ahead.log());
    assert!(said.contains("clock"), "one of them warns:\n{said}");
}

/// A follower that has no room leaves the ISR, costs nobody an acknowledgement, and comes back by
/// itself once there is room.
#[test]
fn a_follower_without_disk_space_leaves_the_isr_and_comes_back() {
    let folder = scratch("full-");
    // A file system of its own, seen by that process alone, with a ballast to be taken away.
    let mount = "mount -t tmpfs -o size=160m none \"$0\" && \
                 head -c 70000000 /dev/zero > \"$0/ballast\" && exec \"$@\"";
    let small = folder.path().join("small");
    std::fs::create_dir(&small).expect("made");
    let small_text = small.to_string_lossy().into_owned();
    let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, &small_text];
    let within: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let extra: Vec<String> = ["--set", "replica.lag.time.max.ms=2000"].map(str::to_owned).to_vec();
    let place = |name: &str| Place::loopback(&folder.path().join(name));
    let first = Node::start_at(place("1"), &["init"], extra.clone());
    let seed = first.ready().rpc.clone();
    let second = Node::start_at(place("2"), &["join", "--seed", &seed], extra.clone());
    let tight = Place { data: small.join("data"), ip: "127.0.0.1".to_owned(), within };
    let third = Node::start_at(tight, &["join", "--seed", &seed], extra);
    let cluster = Cluster::of(vec![first, second, third]);
    cluster.create_topic("orders", 1, 3, &[]);
    // Led elsewhere, whatever the placement was.
    let _ = cluster.command(&["node", "drain", "3"]);

    let mut command = purlin();
    command.args(["produce", "orders", "-q", "-b", &cluster.bootstrap()]);
    let mut producer = command.stdin(Stdio::piped()).spawn().expect("starts");
    let line = "x".repeat(9_999) + "\n";
    let mut stdin = producer.stdin.take().expect("piped");
    for _ in 0..4_000 {
        std::io::Write::write_all(&mut stdin, line.as_bytes()).expect("taken");
    }
    drop(stdin);
    assert!(producer.wait().expect("ends").success(), "the others go on\n{}", cluster.logs());
    let place = ("orders".to_owned(), 0);
    cluster.wait_until("the full one out of the ISR", LIMIT, |view| view[&place].isr == [1, 2]);
    let health = cluster.command(&["cluster", "health"]).expect_err("degraded");
    assert!(health.contains("orders-0") && health.contains("acks=all: 1 of 1"), "{health}");
    let log = cluster.nodes()[2].log();
    assert!(log.contains("orders-0") && log.contains("space"), "its log says why:\n{log}");

    let pid = cluster.nodes()[2].pid();
    let inside = format!("/proc/{pid}/root{}/ballast", small.display());
    std::fs::remove_file(inside).expect("room is made");
    cluster.wait_in_sync(LIMIT);
}

/// What a producer was told is stored is stored once and in order, whichever leaders die meanwhile.
#[test]
fn the_native_producer_goes_on_through_kills_once_and_in_order() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("orders", 1, 3, &[]);
    let mut command = purlin();
    // Flushed often, so that batches are under way whenever a leader dies.
    command.args(["produce", "orders", "-q", "-b", &cluster.bootstrap()]);
    let mut producer = command.stdin(Stdio::piped()).spawn().expect("starts");
    let mut stdin = producer.stdin.take().expect("piped");
    let count = 6_000;
    let feeding = std::thread::spawn(move || {
        for number in 0..count {
            std::io::Write::write_all(&mut stdin, format!("{number}\n").as_bytes()).expect("taken");
            if number % 10 == 0 {
                std::thread::sleep(Duration::from_millis(15));
            }
        }
    });
    let place = ("orders".to_owned(), 0);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(2));
        let leader = cluster.view().expect("an answer")[&place].leader.expect("a leader");
        cluster.node(leader).kill_nine();
        cluster.wait_until("another leader", LIMIT, |view| {
            view[&place].leader.is_some_and(|now| now != leader)
        });
        cluster.restart(leader);
        cluster.wait_in_sync(LIMIT);
    }
    feeding.join().expect("fed");
    assert!(producer.wait().expect("ends").success(), "{}", cluster.logs());
    let read = cluster.command(&["consume", "orders", "--from-beginning", "-e", "-q"]);
    let read = read.expect("reads");
    let numbers: Vec<u32> = read.lines().map(|line| line.parse().expect("a number")).collect();
    let wanted: Vec<u32> = (0..count).collect();
    assert_eq!(numbers.len(), wanted.len(), "nothing lost, nothing twice");
    assert!(numbers == wanted, "in order");
}

#[test]
fn dev_is_a_cluster_that_leaves_nothing_behind() {
    let folder = scratch("dev-");
    let mut process = purlin()
        .args(["dev", "-n", "2"])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let stdout = process.stdout.take().expect("piped");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    let bootstrap = loop {
        let line = lines.next().expect("it says how to connect").expect("text");
        if let Some((_, list)) = line.split_once("PURLIN_BOOTSTRAP=") {
            break list.to_owned();
        }
    };
    let words = ["topic", "create", "hello", "-p", "3", "-r", "2", "-b", &bootstrap];
    let made = run(purlin().args(words), LIMIT).expect("ends");
    assert!(made.success, "{}", made.all());
    let pid = rustix::process::Pid::from_raw(i32::try_from(process.id()).expect("a pid"));
    rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::INT)
        .expect("the signal is sent");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = process.try_wait().expect("can be waited for") {
            break status;
        }
        assert!(begun.elapsed() < LIMIT, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
    let left = std::fs::read_dir(folder.path()).expect("listed").count();
    assert_eq!(left, 0, "the nodes' data goes with them");
}

#[test]
fn or_start_makes_a_node_once_and_starts_it_from_then_on() {
    let folder = scratch("or-start-");
    let place = Place::loopback(&folder.path().join("data"));
    let mut node = Node::start_at(place.clone(), &["init", "--or-start"], Vec::new());
    let cluster = node.ready().cluster.clone();
    assert!(node.terminate().success());
    let again = Node::start_at(place, &["init", "--or-start"], Vec::new());
    assert_eq!(again.ready().cluster, cluster);
}
