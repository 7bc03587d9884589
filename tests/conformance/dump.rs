//! Apache Kafka's `kafka-dump-log` over every file that a run left behind.

use crate::common::broker::Broker;
use crate::common::shell::run;
use crate::java::java;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one call over all files of a kind may take.
const DUMP_LIMIT: Duration = Duration::from_secs(180);

/// What the tool says when it does not like a file.
const COMPLAINTS: [&str; 7] = [
    "Mismatches in",
    "Found ",
    "Exception",
    "is not sane",
    "isvalid: false",
    "Corrupt",
    "Could not",
];

fn files(folder: &Path, kind: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            files(&path, kind, found);
        } else if path.extension().is_some_and(|extension| extension == kind)
            && path.metadata().is_ok_and(|data| data.len() > 0)
            && path.parent().is_some_and(|parent| parent.to_string_lossy().contains("access-log"))
        {
            found.push(path);
        }
    }
}

fn dump(kind: &str, options: &[&str], found: &[PathBuf]) -> String {
    let list: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
    let mut command =
        java("org.apache.kafka.tools.DumpLogSegments").unwrap_or_else(|error| panic!("{error}"));
    command.args(["--files", &list.join(",")]).args(options);
    let output = run(&mut command, DUMP_LIMIT).unwrap_or_else(|error| panic!("{error}"));
    let said = output.all();
    assert!(
        output.success,
        "kafka-dump-log ends with {} over .{kind} {options:?}:\n{}",
        output.code,
        tail(&said)
    );
    for line in said.lines() {
        // A record's own text may hold any word; only what the tool says itself counts.
        let own = !line.starts_with('|') && !line.starts_with("Dumping ");
        let bad = COMPLAINTS.iter().any(|complaint| line.contains(complaint));
        assert!(
            !own || !bad,
            "kafka-dump-log complains over .{kind} {options:?}: {line}\n{}",
            tail(&said)
        );
    }
    said
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Show 3 of the issue.
pub fn kafka_dump_log_reads_every_file(broker: &Broker) {
    eprintln!("kafka-dump-log:");
    let kinds: [(&str, &[&[&str]]); 4] = [
        ("log", &[&["--deep-iteration"], &[]]),
        ("index", &[&[], &["--index-sanity-check"], &["--verify-index-only"]]),
        ("timeindex", &[&[], &["--index-sanity-check"], &["--verify-index-only"]]),
        ("snapshot", &[&[]]),
    ];
    for (kind, ways) in kinds {
        let mut found = Vec::new();
        files(&broker.data(), kind, &mut found);
        found.sort();
        assert!(
            !found.is_empty() || kind == "snapshot",
            "no .{kind} file below {}",
            broker.data().display()
        );
        for options in ways {
            if found.is_empty() {
                continue;
            }
            let said = dump(kind, options, &found);
            eprintln!(
                "  {:3} .{kind} files {options:?}: {} lines, no complaint",
                found.len(),
                said.lines().count()
            );
        }
    }
}
