//! `purlin produce` and `purlin consume` in pipes: a million records and a gigabyte go through,
//! come back byte for byte, and neither command grows.
//!
//! `PURLIN_PIPE_RECORDS` changes the number of records, which have about a kilobyte each.

mod common;

use common::data::Chance;
use common::{Node, purlin, rss_bytes, setting};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Resident memory that either command may reach, whatever passes through it.
const RSS_BYTES_MAX: u64 = 160 * 1024 * 1024;

/// How much more than after a tenth of the way either command may hold at its end.
const GROWTH_BYTES_MAX: u64 = 48 * 1024 * 1024;

fn line(index: u64) -> String {
    let mut chance = Chance::new(index);
    let mut line =
        format!("203.0.113.{} - - \"GET /report/{index} HTTP/1.1\" 200 ", chance.below(250));
    while line.len() < 1040 {
        line.push_str(&format!("{:016x} ", chance.next()));
    }
    line
}

/// Memory over time, sampled along the way.
#[derive(Default)]
struct Samples {
    early: u64,
    most: u64,
}

impl Samples {
    fn take(&mut self, child: &Child, done: u64, all: u64) {
        let now = rss_bytes(child.id());
        if done * 10 <= all {
            self.early = self.early.max(now);
        }
        self.most = self.most.max(now);
    }

    fn check(&self, what: &str) {
        println!(
            "{what}: at most {} MiB resident, {} MiB early on",
            self.most >> 20,
            self.early >> 20
        );
        assert!(self.most > 0, "{what}: no memory was seen: the process ended too soon");
        assert!(self.most < RSS_BYTES_MAX, "{what} reached {} MiB", self.most >> 20);
        assert!(
            self.most < self.early + GROWTH_BYTES_MAX,
            "{what} grows with what passes through it"
        );
    }
}

fn command(node: &Node, words: &[&str]) -> Command {
    let mut command = purlin();
    command.args(words).args(["--bootstrap", node.bootstrap()]);
    command
}

fn finish(mut child: Child, what: &str) {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            assert!(status.success(), "{what} ended with {status}");
            return;
        }
        if started.elapsed() > Duration::from_secs(120) {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{what} does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_million_records_and_a_gigabyte_pass_in_constant_memory() {
    let count = setting("PURLIN_PIPE_RECORDS", 1_000_000);
    let node = Node::init(&[]);
    let created = command(&node, &["topic", "create", "reports", "--partitions", "1"])
        .output()
        .expect("it runs");
    assert!(created.status.success(), "topic create: {}", String::from_utf8_lossy(&created.stderr));

    let started = Instant::now();
    let mut produce = command(&node, &["produce", "reports"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("purlin produce starts");
    let mut samples = Samples::default();
    let mut input =
        BufWriter::with_capacity(1 << 16, produce.stdin.take().expect("stdin is piped"));
    for index in 0..count {
        writeln!(input, "{}", line(index)).expect("purlin produce takes its input");
        if index % 2000 == 1999 {
            samples.take(&produce, index, count);
        }
    }
    input.flush().expect("purlin produce takes its input");
    drop(input);
    finish(produce, "purlin produce");
    println!("purlin produce: {count} records in {:.1} s", started.elapsed().as_secs_f64());
    samples.check("purlin produce");

    let started = Instant::now();
    let mut consume =
        command(&node, &["consume", "reports", "--offset", "earliest", "--exit-at-end"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("purlin consume starts");
    let mut samples = Samples::default();
    let output = BufReader::with_capacity(1 << 16, consume.stdout.take().expect("stdout is piped"));
    let (mut index, mut bytes) = (0, 0);
    for read in output.lines() {
        let read = read.expect("text");
        assert_eq!(read, line(index), "record {index} came back changed");
        bytes += read.len() + 1;
        index += 1;
        if index % 2000 == 0 {
            samples.take(&consume, index, count);
        }
    }
    assert_eq!(index, count, "records that came back");
    finish(consume, "purlin consume");
    println!("purlin consume: {bytes} bytes in {:.1} s", started.elapsed().as_secs_f64());
    samples.check("purlin consume");
}

/// A pipe that is closed by its reader ends the command quietly, as `head` expects.
#[test]
fn a_reader_that_leaves_ends_consume_without_a_complaint() {
    let node = Node::init(&[]);
    let created = command(&node, &["topic", "create", "brief"]).output().expect("it runs");
    assert!(created.status.success(), "topic create: {}", String::from_utf8_lossy(&created.stderr));
    let mut produce =
        command(&node, &["produce", "brief"]).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut input = produce.stdin.take().expect("stdin is piped");
    for index in 0..5000 {
        writeln!(input, "{}", line(index)).expect("purlin produce takes its input");
    }
    drop(input);
    finish(produce, "purlin produce");
    let mut consume = command(&node, &["consume", "brief", "--from-beginning"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut first = String::new();
    let mut output = BufReader::new(consume.stdout.take().expect("stdout is piped"));
    output.read_line(&mut first).expect("a line");
    drop(output);
    assert!(first.contains("/report/"), "{first}");
    let left = consume.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&left.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
}

/// `topic list -o json` is JSON, whole and with the topic in it.
#[test]
fn topic_list_is_json() {
    let node = Node::init(&[]);
    let created = command(&node, &["topic", "create", "orders", "--partitions", "3"])
        .output()
        .expect("it runs");
    assert!(created.status.success(), "topic create: {}", String::from_utf8_lossy(&created.stderr));
    let listed = command(&node, &["topic", "list", "-o", "json"]).output().expect("it runs");
    assert!(listed.status.success(), "topic list: {}", String::from_utf8_lossy(&listed.stderr));
    let value: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let shown = value.to_string();
    assert!(shown.contains("orders"), "{shown}");
}
