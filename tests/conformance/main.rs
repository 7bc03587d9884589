//! Clients and tools that are not ours, against our port and over our files.
//!
//! Fetches kcat, Apache Kafka's jars, kafka-python and kafkajs (see `tests/common/tools.rs`). What
//! can't be had fails its own test, by name; the round goes on with the others, and fails too.
//!
//! `PURLIN_TEST_AGAINST=kafka` runs the same tests against an Apache Kafka broker started
//! from the same jars: whatever fails there is a fault of the tests. `PURLIN_CONFORMANCE_RECORDS`
//! and `PURLIN_SEED` change the amount and the data.

#[path = "../common/mod.rs"]
mod common;

mod clients;
mod cluster_round;
mod cluster_tools;
mod dump;
mod java;
mod round;
mod tools;

use std::sync::Mutex;

/// One test at a time: each starts Java machines by the dozen, on as few as two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    // A test that failed while holding it says nothing about the next.
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn is_there(client: clients::Client) {
    client.install().unwrap_or_else(|error| panic!("{} can't be had: {error}", client.name()));
}

#[test]
fn kcat_can_be_had() {
    is_there(clients::Client::Kcat);
}

#[test]
fn apache_kafkas_java_tools_can_be_had() {
    is_there(clients::Client::Java);
}

#[test]
fn kafka_python_can_be_had() {
    is_there(clients::Client::Python);
}

#[test]
fn kafkajs_can_be_had() {
    is_there(clients::Client::Node);
}

#[test]
fn every_client_reads_what_every_client_wrote_and_kafka_dump_log_reads_the_files() {
    let _alone = alone();
    let mut broker = common::broker::Broker::start();
    round::every_client_reads_what_every_client_wrote(&broker);
    // The tool reads a running broker's index files past their end, Apache Kafka's own as well.
    broker.stop();
    dump::kafka_dump_log_reads_every_file(&broker);
}

#[test]
fn the_command_line_tools_of_apache_kafka_work() {
    let _alone = alone();
    let broker = common::broker::Broker::start();
    tools::topics(&broker);
    tools::configs(&broker);
    tools::offsets_and_deletion(&broker);
    tools::cluster(&broker);
}

#[test]
fn the_command_line_tools_of_apache_kafka_work_on_a_cluster() {
    let _alone = alone();
    cluster_tools::on_a_cluster();
}

#[test]
fn every_client_goes_on_while_a_node_is_killed() {
    let _alone = alone();
    cluster_round::every_client_goes_on_while_a_node_is_killed();
}
