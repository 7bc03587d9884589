//! Listings for people and for programs, and what changes them.

use crate::common::broker::Broker;
use crate::{create, finish, json_lines, purlin, purlin_at, well, well_text};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[test]
fn topics_are_created_listed_described_altered_and_deleted() {
    let broker = Broker::start();
    let list = || json(&well_text(&mut purlin(&broker, &["topic", "list", "-o", "json"])));
    assert_eq!(list(), Value::Array(vec![]), "an empty list is a list");
    create(&broker, "orders", 3);
    create(&broker, "returns", 1);
    let topics = list();
    assert_eq!(topics[0]["topic"], "orders");
    assert_eq!(topics[0]["partitions"], 3);
    assert_eq!(topics[1]["topic"], "returns");
    let lines = json_lines(&well_text(&mut purlin(&broker, &["topic", "list", "-o", "jsonl"])));
    assert_eq!(Value::Array(lines), topics);
    let table = well_text(&mut purlin(&broker, &["topic", "list"]));
    assert!(table.starts_with("TOPIC") && table.contains("orders"), "{table}");

    let words = [
        "topic",
        "alter",
        "orders",
        "-p",
        "5",
        "-c",
        "retention.ms=3600000",
        "-c",
        "max.message.bytes=2000000",
    ];
    well(&mut purlin(&broker, &words));
    let describe = |topic: &str| {
        json(&well_text(&mut purlin(&broker, &["topic", "describe", topic, "-o", "json"])))[0]
            .clone()
    };
    let orders = describe("orders");
    assert_eq!(orders["partitions"].as_array().map(Vec::len), Some(5));
    assert_eq!(orders["partitions"][4]["log_end_offset"], 0);
    let config = |orders: &Value, key: &str| {
        let configs = orders["configs"].as_array().expect("a list").clone();
        configs.iter().find(|one| one["key"] == key).map(|one| one["value"].clone())
    };
    assert_eq!(config(&orders, "retention.ms"), Some("3600000".into()));
    well(&mut purlin(&broker, &["topic", "alter", "orders", "-d", "retention.ms"]));
    let orders = describe("orders");
    assert_eq!(config(&orders, "retention.ms"), None, "back to the default");
    assert_eq!(config(&orders, "max.message.bytes"), Some("2000000".into()));
    assert_eq!(finish(&mut purlin(&broker, &["topic", "alter", "orders"])).code, 2);
    let fewer = finish(&mut purlin(&broker, &["topic", "alter", "orders", "-p", "2"]));
    assert_eq!(fewer.code, 1, "{}", fewer.all());

    let again = finish(&mut purlin(&broker, &["topic", "create", "orders", "--if-not-exists"]));
    assert_eq!(again.code, 0, "{}", again.all());
    well(&mut purlin(&broker, &["topic", "create", "checked", "--dry-run"]));
    well(&mut purlin(&broker, &["topic", "delete", "orders"]));
    well(&mut purlin(&broker, &["topic", "delete", "orders", "--if-exists"]));
    assert_eq!(list().as_array().map(Vec::len), Some(1));
}

#[test]
fn nodes_and_cluster_have_one_controller() {
    let broker = Broker::start();
    create(&broker, "some", 2);
    let nodes = json(&well_text(&mut purlin(&broker, &["node", "list", "-o", "json"])));
    let nodes = nodes.as_array().expect("a list");
    let controllers = nodes.iter().filter(|node| node["controller"] == true).count();
    assert_eq!((nodes.len(), controllers), (1, 1), "{nodes:?}");
    assert_eq!(nodes[0]["node"].to_string(), broker.node_id());
    assert_eq!(nodes[0]["address"], broker.bootstrap());
    let cluster = json(&well_text(&mut purlin(&broker, &["cluster", "describe", "-o", "json"])));
    assert_eq!(cluster["brokers"][0]["leaders"], 2);
    let health = json(&well_text(&mut purlin(&broker, &["cluster", "health", "-o", "json"])));
    assert_eq!(health["healthy"], true);
    assert_eq!(health["cluster"], cluster["cluster"]);
}

#[test]
fn help_and_completion_need_no_broker() {
    for shell in ["bash", "zsh", "fish"] {
        let script = well_text(&mut purlin_at("127.0.0.1:1", &["completion", shell]));
        assert!(script.contains("produce"), "{shell}");
    }
    for words in [&["--help"][..], &["--version"], &["topic", "--help"], &["consume", "--help"]] {
        let text = well_text(&mut purlin_at("127.0.0.1:1", words));
        assert!(text.contains("purlin"), "{text}");
    }
    assert_eq!(finish(&mut purlin_at("127.0.0.1:1", &[])).code, 2, "no command is wrong usage");
}
