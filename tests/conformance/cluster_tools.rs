//! Apache Kafka's tools on a cluster, each doing what it is for. Requests go to nodes that are not
//! the controller as well.

use crate::common::cluster::{Cluster, PartitionView};
use crate::common::scratch;
use crate::common::shell::Output;
use crate::java::{tool, tool_well};
use crate::tools::{CLUSTER, CONFIGS, LOG_DIRS, TOPICS, VERSIONS, has, lacks};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ELECTION: &str = "org.apache.kafka.tools.LeaderElectionCommand";
const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";
const QUORUM: &str = "org.apache.kafka.tools.MetadataQuorumCommand";
const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";

/// How long the cluster may take to get where a tool sent it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of records in the topic that is moved: at the slow rate below they take minutes.
const MOVED_BYTES: usize = 4 << 20;

/// Everything on one cluster: three nodes that vote, and a fourth that goes in the end.
pub fn on_a_cluster() {
    let mut cluster = Cluster::start(4);
    topics(&cluster);
    drain(&cluster);
    leader_election(&mut cluster);
    reassignment(&cluster);
    quorum(&cluster);
    describe(&cluster);
    unregister(&mut cluster);
}

/// Runs a tool at one node.
fn at(cluster: &Cluster, node: usize, class: &str, rest: &[&str]) -> String {
    tool_well(class, &[&["--bootstrap-server", cluster.nodes()[node].bootstrap()], rest].concat())
}

fn partition<'a>(
    view: &'a std::collections::BTreeMap<(String, i32), PartitionView>,
    topic: &str,
    index: i32,
) -> Option<&'a PartitionView> {
    view.get(&(topic.to_owned(), index))
}

/// `kafka-topics` and `kafka-configs`, each through another node, seen by all at once.
fn topics(cluster: &Cluster) {
    let create = ["--create", "--topic", "orders", "--partitions", "6"];
    at(cluster, 1, TOPICS, &[&create[..], &["--replication-factor", "3"]].concat());
    for node in 0..4 {
        let said = at(cluster, node, TOPICS, &["--describe", "--topic", "orders"]);
        has(&said, "PartitionCount: 6");
        has(&said, "ReplicationFactor: 3");
        lacks(&said, "Leader: none");
    }
    // Nobody says how many: the number of brokers decides, three at most.
    at(cluster, 3, TOPICS, &["--create", "--topic", "plain", "--partitions", "1"]);
    has(&at(cluster, 0, TOPICS, &["--describe", "--topic", "plain"]), "ReplicationFactor: 3");
    at(cluster, 2, TOPICS, &["--alter", "--topic", "orders", "--partitions", "8"]);
    has(&at(cluster, 3, TOPICS, &["--describe", "--topic", "orders"]), "PartitionCount: 8");
    let on = ["--entity-type", "topics", "--entity-name", "orders"];
    let alter = ["--alter", "--add-config", "retention.ms=3600000,min.insync.replicas=2"];
    at(cluster, 2, CONFIGS, &[&on[..], &alter].concat());
    let said = at(cluster, 1, CONFIGS, &[&on[..], &["--describe"]].concat());
    has(&said, "retention.ms=3600000");
    has(&said, "min.insync.replicas=2");
    lacks(&at(cluster, 1, TOPICS, &["--describe", "--under-min-isr-partitions"]), "orders");
}

/// `purlin.drain` by `kafka-configs`: the broker leads nothing that another can lead.
fn drain(cluster: &Cluster) {
    let ids = cluster.ids();
    let id = ids[1].to_string();
    let on = ["--entity-type", "brokers", "--entity-name", id.as_str()];
    at(cluster, 0, CONFIGS, &[&on[..], &["--alter", "--add-config", "purlin.drain=true"]].concat());
    cluster.wait_until("the drained node leads nothing", PATIENCE, |view| {
        view.values().all(|partition| partition.leader.is_some_and(|leader| leader != ids[1]))
    });
    has(&at(cluster, 2, CONFIGS, &[&on[..], &["--describe"]].concat()), "purlin.drain=true");
    at(cluster, 0, CONFIGS, &[&on[..], &["--alter", "--delete-config", "purlin.drain"]].concat());
}

/// `kafka-leader-election`, after a node was killed and came back.
fn leader_election(cluster: &mut Cluster) {
    cluster.create_topic("led", 3, 3, &[]);
    let view = cluster.view().expect("an answer");
    let wanted = partition(&view, "led", 0).expect("there").replicas[0];
    let survivor = cluster.ids().iter().position(|id| *id != wanted).expect("another node");
    cluster.node(wanted).kill_nine();
    cluster.wait_until("another node leads", PATIENCE, |view| {
        let leader = partition(view, "led", 0).and_then(|partition| partition.leader);
        leader.is_some_and(|leader| leader != wanted)
    });
    let elect = ["--election-type", "PREFERRED", "--topic", "led", "--partition", "0"];
    let bootstrap = ["--bootstrap-server", cluster.nodes()[survivor].bootstrap()];
    let refused = tool(ELECTION, &[&bootstrap[..], &elect].concat());
    has(&refused.all(), "PreferredLeaderNotAvailable");

    cluster.restart(wanted);
    cluster.wait_in_sync(PATIENCE);
    let said = at(cluster, survivor, ELECTION, &elect);
    has(&said, "Successfully completed leader election (PREFERRED) for partitions led-0");
    let leads = |view: &crate::common::cluster::View| {
        partition(view, "led", 0).is_some_and(|partition| partition.leader == Some(wanted))
    };
    cluster.wait_until("the preferred replica leads", PATIENCE, leads);
    has(&at(cluster, survivor, ELECTION, &elect), "Valid replica already elected");
    let all = ["--election-type", "PREFERRED", "--all-topic-partitions"];
    at(cluster, survivor, ELECTION, &all);
    cluster.wait_until("every preferred replica leads", PATIENCE, |view| {
        view.values().all(|partition| partition.leader == partition.replicas.first().copied())
    });
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

/// `kafka-reassign-partitions`: generate, execute with a throttle, list, cancel, verify.
fn reassignment(cluster: &Cluster) {
    let ids = cluster.ids();
    let (from, to) = ([ids[0], ids[1]], [ids[0], ids[2]]);
    let assignment = format!("{}:{}", from[0], from[1]);
    at(cluster, 0, TOPICS, &["--create", "--topic", "moved", "--replica-assignment", &assignment]);
    fill(cluster, "moved", MOVED_BYTES);

    let folder = scratch("reassign-");
    let wish = write(folder.path(), "topics.json", r#"{"version":1,"topics":[{"topic":"moved"}]}"#);
    let brokers = format!("{},{}", to[0], to[1]);
    let generate = ["--generate", "--broker-list", &brokers, "--topics-to-move-json-file"];
    let wish = wish.display().to_string();
    let said = at(cluster, 1, REASSIGN, &[&generate[..], &[&wish]].concat());
    let proposed = said.lines().rfind(|line| line.starts_with('{')).expect("a plan in JSON");
    has(proposed, r#""topic":"moved""#);
    let plan = format!(
        r#"{{"version":1,"partitions":[{{"topic":"moved","partition":0,"replicas":[{brokers}]}}]}}"#
    );
    let plan = write(folder.path(), "plan.json", &plan).display().to_string();
    let with_plan = |action: &[&str]| {
        at(cluster, 2, REASSIGN, &[action, &["--reassignment-json-file", &plan]].concat())
    };

    // So slowly that it is still under way when it is looked at, and given up.
    let said = with_plan(&["--execute", "--throttle", "1000"]);
    has(&said, "Successfully started partition reassignment for moved-0");
    let said = at(cluster, 0, REASSIGN, &["--list"]);
    has(&said, "moved-0: replicas: ");
    has(&said, &format!("adding: {}.", to[1]));
    has(&with_plan(&["--verify"]), "Reassignment of partition moved-0 is still in progress.");
    has(&with_plan(&["--cancel"]), "Successfully cancelled partition reassignment for: moved-0");
    has(&at(cluster, 1, REASSIGN, &["--list"]), "No partition reassignments found.");
    let view = cluster.view().expect("an answer");
    assert_eq!(partition(&view, "moved", 0).expect("there").replicas, from);

    has(
        &with_plan(&["--execute", "--throttle", "100000000"]),
        "Successfully started partition reassignment for moved-0",
    );
    let started = Instant::now();
    let done = "Reassignment of partition moved-0 is completed.";
    loop {
        let said = with_plan(&["--verify"]);
        if said.contains(done) {
            has(&said, "Clearing broker-level throttles");
            has(&said, "Clearing topic-level throttles");
            break;
        }
        assert!(started.elapsed() < PATIENCE, "not moved in {PATIENCE:?}:\n{said}");
    }
    let view = cluster.view().expect("an answer");
    assert_eq!(partition(&view, "moved", 0).expect("there").replicas, to);
    let on = ["--entity-type", "brokers", "--entity-name", &ids[2].to_string()].map(str::to_owned);
    let on: Vec<&str> = on.iter().map(String::as_str).collect();
    lacks(&at(cluster, 1, CONFIGS, &[&on[..], &["--describe"]].concat()), "throttled.rate");
}

/// Writes records of 1 KiB until there are so many bytes.
fn fill(cluster: &Cluster, topic: &str, bytes: usize) {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap())
        .set("acks", "all")
        .create()
        .expect("a producer");
    let value = [b'x'; 1024];
    for _ in 0..bytes / value.len() {
        let record = BaseRecord::<(), [u8]>::to(topic).payload(&value[..]);
        producer.send(record).unwrap_or_else(|(error, _)| panic!("{error}"));
    }
    producer.flush(PATIENCE).expect("written");
}

/// `kafka-metadata-quorum describe`, at the controller and elsewhere.
fn quorum(cluster: &Cluster) {
    let controller = cluster.controller().expect("one of them leads").to_string();
    for node in 0..4 {
        let said = at(cluster, node, QUORUM, &["describe", "--status"]);
        let line = |name: &str| {
            let found = said.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no `{name}` in:\n{said}")).trim().to_owned()
        };
        assert_eq!(line("LeaderId:"), controller, "{said}");
        assert!(line("HighWatermark:").parse::<u64>().is_ok_and(|end| end > 0), "{said}");
        assert_eq!(line("CurrentVoters:").matches("\"id\"").count(), 3, "{said}");
        assert_eq!(line("CurrentObservers:").matches("\"id\"").count(), 1, "{said}");
    }
    let said = at(cluster, 2, QUORUM, &["describe", "--replication", "--human-readable"]);
    let count = |role: &str| said.lines().filter(|line| line.trim_end().ends_with(role)).count();
    assert_eq!((count("Leader"), count("Follower"), count("Observer")), (1, 2, 1), "{said}");
}

/// `kafka-log-dirs`, `kafka-cluster`, `kafka-features`, `kafka-broker-api-versions`.
fn describe(cluster: &Cluster) {
    let ids = cluster.ids();
    let said = at(cluster, 1, LOG_DIRS, &["--describe", "--topic-list", "orders,moved"]);
    for id in &ids {
        has(&said, &format!("\"broker\":{id}"));
    }
    assert_eq!(said.matches("\"partition\":\"moved-0\"").count(), 2, "two replicas:\n{said}");
    assert_eq!(said.matches("\"partition\":\"orders-").count(), 3 * 8, "{said}");
    lacks(&said, "\"isFuture\":true");

    let mut cluster_ids: Vec<String> = (0..4)
        .map(|node| {
            let at = ["cluster-id", "--bootstrap-server", cluster.nodes()[node].bootstrap()];
            tool_well(CLUSTER, &at).trim().to_owned()
        })
        .collect();
    cluster_ids.dedup();
    assert_eq!(cluster_ids.len(), 1, "{cluster_ids:?}");
    let said = endpoints(cluster);
    for node in cluster.nodes() {
        has(&said, node.bootstrap().rsplit_once(':').expect("a port").1);
    }
    // A client that was given controllers to begin with is served too.
    let begin = ["list-endpoints", "--bootstrap-controller", cluster.nodes()[0].bootstrap()];
    has(&tool_well(CLUSTER, &begin), "controller");
    at(cluster, 1, FEATURES, &["describe"]);
    let said = at(cluster, 3, VERSIONS, &[]);
    for node in cluster.nodes() {
        has(&said, node.bootstrap());
    }
    for api in ["ElectLeaders", "AlterPartitionReassignments", "DescribeQuorum"] {
        assert_eq!(said.matches(&format!("{api}(")).count(), 4, "{said}");
        lacks(&said, &format!("{api}: UNSUPPORTED"));
    }
}

fn endpoints(cluster: &Cluster) -> String {
    let at = cluster.nodes()[0].bootstrap();
    tool_well(CLUSTER, &["list-endpoints", "--bootstrap-server", at, "--include-fenced-brokers"])
}

/// `kafka-cluster unregister`: refused while the node holds replicas, done when it holds none.
fn unregister(cluster: &mut Cluster) {
    let ids = cluster.ids();
    let last = ids[3].to_string();
    let try_it = |cluster: &Cluster| -> Output {
        let at = cluster.nodes()[0].bootstrap();
        tool(CLUSTER, &["unregister", "--bootstrap-server", at, "--id", &last])
    };
    let refused = try_it(cluster);
    has(&refused.all(), "replica");
    lacks(&refused.all(), "is no longer registered");

    // Off with everything that it holds.
    let view = cluster.view().expect("an answer");
    let others: Vec<i32> = ids[..3].to_vec();
    let rows: Vec<String> = view
        .iter()
        .filter(|(_, partition)| partition.replicas.contains(&ids[3]))
        .map(|((topic, index), partition)| {
            let mut replicas: Vec<i32> =
                partition.replicas.iter().copied().filter(|id| *id != ids[3]).collect();
            let free = others.iter().find(|id| !replicas.contains(id));
            replicas.extend(free);
            format!(r#"{{"topic":"{topic}","partition":{index},"replicas":{replicas:?}}}"#)
        })
        .collect();
    assert!(!rows.is_empty(), "the fourth node holds something: {view:?}");
    let folder = scratch("leave-");
    let plan = format!(r#"{{"version":1,"partitions":[{}]}}"#, rows.join(","));
    let plan = write(folder.path(), "plan.json", &plan).display().to_string();
    at(cluster, 1, REASSIGN, &["--execute", "--reassignment-json-file", &plan]);
    cluster.wait_until("nothing is left on the fourth node", PATIENCE, |view| {
        view.values().all(|partition| !partition.replicas.contains(&ids[3]))
    });

    let status = cluster.node(ids[3]).terminate();
    assert!(status.success(), "{status}");
    has(&endpoints(cluster), &last);
    let done = try_it(cluster);
    has(&done.all(), &format!("Broker {last} is no longer registered."));
    let left = endpoints(cluster);
    assert!(!left.lines().any(|line| line.split_whitespace().next() == Some(&*last)), "{left}");
    cluster.nodes_mut()[..3].iter_mut().for_each(crate::common::Node::assert_alive);
}
