//! The commands from outside: the real binary, against the broker that `common::broker` starts
//! (`PURLIN_TEST_AGAINST=kafka` takes Apache Kafka, to know that the commands are good).

#[path = "../common/mod.rs"]
mod common;

mod dump;
mod errors;
mod listings;
mod offsets;
mod records;
mod streams;

use common::broker::Broker;
use common::data::Chance;
use common::shell::{Output, run};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// More than any command here takes.
const LIMIT: Duration = Duration::from_secs(120);

/// `purlin WORDS`, against a broker.
pub fn purlin(broker: &Broker, words: &[&str]) -> Command {
    purlin_at(broker.bootstrap(), words)
}

/// `purlin WORDS`, against an address.
pub fn purlin_at(bootstrap: &str, words: &[&str]) -> Command {
    let mut command = Command::new(common::binary());
    command.args(words).env("PURLIN_BOOTSTRAP", bootstrap).stdin(Stdio::null());
    command
}

/// Runs a command that may fail.
pub fn finish(command: &mut Command) -> Output {
    run(command, LIMIT).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a command that must end with 0, and gives its output.
pub fn well(command: &mut Command) -> Vec<u8> {
    let output = finish(command);
    assert_eq!(output.code, 0, "{command:?}\n{}", output.all());
    output.stdout
}

/// The same, as text.
pub fn well_text(command: &mut Command) -> String {
    String::from_utf8(well(command)).expect("the output is UTF-8")
}

/// Runs a command that reads `input`, and must end with 0.
pub fn fed(mut command: Command, input: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch file");
    file.write_all(input).expect("written");
    std::io::Seek::rewind(&mut file).expect("rewound");
    well(command.stdin(file))
}

/// Makes a topic with so many partitions.
pub fn create(broker: &Broker, topic: &str, partitions: u32) {
    let partitions = partitions.to_string();
    well(&mut purlin(broker, &["topic", "create", topic, "-p", &partitions]));
}

/// Lines of a web server's log, with an empty line, bytes that are not UTF-8, and a NUL.
pub fn web_log(lines: u64) -> Vec<u8> {
    let mut chance = Chance::new(lines);
    let mut log = Vec::new();
    for number in 0..lines {
        let (client, bytes) = (chance.below(250), chance.below(90_000));
        writeln!(
            log,
            "203.0.113.{client} - - [22/Nov/2026:10:{:02}:{:02} +0000] \"GET /item/{number} \
             HTTP/1.1\" 200 {bytes}",
            number / 60 % 60,
            number % 60
        )
        .expect("to memory");
        if number % 1000 == 7 {
            log.extend_from_slice(b"\n\xff\xfe\x00 not text\n");
        }
    }
    log
}

/// A file below the test's scratch directory.
pub fn written(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("written");
    path.to_str().expect("paths of tests are UTF-8").to_owned()
}

/// JSON documents, one per line.
pub fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}
