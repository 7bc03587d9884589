//! Apache Kafka's command-line tools, as people call them.

use crate::common::broker::Broker;
use crate::common::shell::run_well;
use crate::common::tools::kcat;
use crate::java::{tool, tool_well};
use std::process::Command;
use std::time::Duration;

pub const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
pub const CONFIGS: &str = "kafka.admin.ConfigCommand";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
pub const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
pub const CLUSTER: &str = "org.apache.kafka.tools.ClusterTool";
pub const VERSIONS: &str = "org.apache.kafka.tools.BrokerApiVersionsCommand";

pub fn has(said: &str, wanted: &str) {
    assert!(said.contains(wanted), "expected `{wanted}` in:\n{said}");
}

pub fn lacks(said: &str, unwanted: &str) {
    assert!(!said.contains(unwanted), "did not expect `{unwanted}` in:\n{said}");
}

/// `kafka-topics`: create, list, describe, alter, delete, and its refusals.
pub fn topics(broker: &Broker) {
    let at = ["--bootstrap-server", broker.bootstrap()];
    let run = |rest: &[&str]| tool_well(TOPICS, &[&at[..], rest].concat());
    let said = run(&[
        "--create",
        "--topic",
        "orders",
        "--partitions",
        "3",
        "--config",
        "retention.ms=86400000",
    ]);
    has(&said, "Created topic orders.");
    has(&run(&["--list"]), "orders");
    let said = run(&["--describe", "--topic", "orders"]);
    has(&said, "PartitionCount: 3");
    has(&said, "ReplicationFactor: 1");
    has(&said, "retention.ms=86400000");
    has(&said, &format!("Leader: {}", broker.node_id()));
    run(&["--alter", "--topic", "orders", "--partitions", "5"]);
    has(&run(&["--describe", "--topic", "orders"]), "PartitionCount: 5");
    lacks(&run(&["--describe", "--under-replicated-partitions"]), "orders");
    lacks(&run(&["--describe", "--unavailable-partitions"]), "orders");

    let refused = |rest: &[&str], why: &str| {
        let output = tool(TOPICS, &[&at[..], rest].concat());
        assert!(!output.success, "kafka-topics {rest:?} should fail:\n{}", output.all());
        has(&output.all(), why);
    };
    refused(&["--create", "--topic", "orders"], "already exists");
    refused(&["--alter", "--topic", "orders", "--partitions", "2"], "partition");
    refused(&["--create", "--topic", "two", "--replication-factor", "7"], "eplication factor");
    refused(&["--create", "--topic", "two", "--config", "retention.mss=1"], "retention.mss");
    refused(&["--describe", "--topic", "nosuch"], "does not exist");

    run(&["--create", "--topic", "brief"]);
    run(&["--delete", "--topic", "brief"]);
    lacks(&run(&["--list"]), "brief");
}

/// `kafka-configs`: describe and alter, of topics and brokers.
pub fn configs(broker: &Broker) {
    let at = ["--bootstrap-server", broker.bootstrap()];
    let run = |rest: &[&str]| tool_well(CONFIGS, &[&at[..], rest].concat());
    let topic = ["--entity-type", "topics", "--entity-name", "orders"];
    let on_topic = |rest: &[&str]| run(&[&topic[..], rest].concat());
    on_topic(&["--alter", "--add-config", "segment.bytes=1048576,cleanup.policy=[compact,delete]"]);
    let said = on_topic(&["--describe"]);
    has(&said, "segment.bytes=1048576");
    has(&said, "cleanup.policy=compact,delete");
    lacks(&said, "min.insync.replicas");
    let said = on_topic(&["--describe", "--all"]);
    has(&said, "min.insync.replicas=1");
    has(&said, "DYNAMIC_TOPIC_CONFIG:segment.bytes=1048576");
    on_topic(&["--alter", "--delete-config", "segment.bytes"]);
    lacks(&on_topic(&["--describe"]), "segment.bytes");
    let node = broker.node_id();
    let said = run(&["--entity-type", "brokers", "--entity-name", &node, "--describe", "--all"]);
    has(&said, "num.partitions=");
    let output = tool(
        CONFIGS,
        &[&at[..], &topic[..], &["--alter", "--add-config", "no.such.key=1"]].concat(),
    );
    assert!(!output.success, "an unknown key must be refused:\n{}", output.all());
    has(&output.all(), "no.such.key");
}

/// `kafka-get-offsets` and `kafka-delete-records`, on records that kcat wrote.
pub fn offsets_and_deletion(broker: &Broker) {
    let at = ["--bootstrap-server", broker.bootstrap()];
    tool_well(TOPICS, &[&at[..], &["--create", "--topic", "visits", "--partitions", "2"]].concat());
    let folder = crate::common::scratch("visits-");
    let input = folder.path().join("visits.tsv");
    let lines: Vec<String> =
        (1..=250).map(|visit| format!("203.0.113.{visit}\tGET /page/{visit}")).collect();
    std::fs::write(&input, lines.join("\n") + "\n").expect("written");
    let mut command = Command::new(kcat().unwrap_or_else(|error| panic!("{error}")));
    command
        .args(["-P", "-q", "-b", broker.bootstrap(), "-t", "visits", "-p", "1", "-K", "\t", "-l"])
        .arg(&input);
    run_well(&mut command, Duration::from_secs(30)).unwrap_or_else(|error| panic!("{error}"));

    let offsets = |time: &str| {
        tool_well(OFFSETS, &[&at[..], &["--topic", "visits", "--time", time]].concat())
    };
    has(&offsets("latest"), "visits:1:250");
    has(&offsets("latest"), "visits:0:0");
    has(&offsets("earliest"), "visits:1:0");
    has(&offsets("max-timestamp"), "visits:1:");
    let file = folder.path().join("delete.json");
    let wish = r#"{"version":1,"partitions":[{"topic":"visits","partition":1,"offset":100}]}"#;
    std::fs::write(&file, wish).expect("written");
    let path = file.display().to_string();
    let said = tool_well(DELETE_RECORDS, &[&at[..], &["--offset-json-file", &path]].concat());
    has(&said, "partition: visits-1\tlow_watermark: 100");
    has(&offsets("earliest"), "visits:1:100");
    has(&offsets("latest"), "visits:1:250");
}

/// `kafka-log-dirs`, `kafka-cluster`, `kafka-broker-api-versions`.
pub fn cluster(broker: &Broker) {
    let at = ["--bootstrap-server", broker.bootstrap()];
    let said =
        tool_well(LOG_DIRS, &[&at[..], &["--describe", "--topic-list", "visits,orders"]].concat());
    has(&said, "\"partition\":\"visits-1\"");
    lacks(&said, "\"error\":\"");
    has(&tool_well(CLUSTER, &["cluster-id", at[0], at[1]]), "Cluster ID: ");
    let said = tool_well(CLUSTER, &["list-endpoints", at[0], at[1]]);
    has(&said, "127.0.0.1");
    let said = tool_well(VERSIONS, &at);
    has(&said, "Produce(0): ");
    lacks(&said, "Produce(0): UNSUPPORTED");
    lacks(&said, "Fetch(1): UNSUPPORTED");
}
