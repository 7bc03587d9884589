//! `purlin log dump` on every file of a data directory that was written by real work.

use crate::common::broker::Broker;
use crate::{create, fed, finish, json_lines, purlin, web_log, well_text};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a directory") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            all.extend(files_below(&path));
        } else {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// The directory of a partition, wherever the broker keeps it.
fn partition(broker: &Broker, name: &str) -> PathBuf {
    let files = files_below(&broker.data());
    let found = files.iter().filter_map(|file| file.parent()).find(|folder| folder.ends_with(name));
    found.unwrap_or_else(|| panic!("no directory {name} in {files:?}")).to_path_buf()
}

#[test]
fn every_kind_of_file_can_be_dumped() {
    let mut broker = Broker::start();
    create(&broker, "dumped", 1);
    fed(purlin(&broker, &["produce", "dumped", "-z", "zstd", "-K", " "]), &web_log(5_000));
    broker.stop();
    let folder = partition(&broker, "dumped-0");
    let mut kinds = BTreeSet::new();
    let mut records = 0;
    for file in files_below(&folder) {
        let path = file.to_str().expect("UTF-8");
        let output = finish(&mut purlin(&broker, &["log", "dump", path, "--deep", "-o", "jsonl"]));
        assert_eq!(output.code, 0, "{path}: {}", output.all());
        let entries = json_lines(&output.text());
        records += entries.iter().filter(|entry| entry["entry"] == "record").count();
        for entry in &entries {
            kinds.insert(entry["entry"].as_str().expect("a kind").to_owned());
        }
        let table = well_text(&mut purlin(&broker, &["log", "dump", path, "--deep"]));
        assert_eq!(table.lines().count(), entries.len(), "{path}: as many lines as entries");
    }
    assert_eq!(records, 5_010, "{kinds:?}");
    for kind in ["batch", "record", "position", "time", "producer", "property", "epoch"] {
        assert!(kinds.contains(kind), "no {kind} in {kinds:?}");
    }
    for file in files_below(&broker.data()) {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        if name == "meta.properties" || name.ends_with("-offset-checkpoint") {
            let path = file.to_str().expect("UTF-8");
            well_text(&mut purlin(&broker, &["log", "dump", path]));
        }
    }
    if let Broker::Purlin(_) = &broker {
        dump_the_metadata_group(&broker);
    }
}

fn dump_the_metadata_group(broker: &Broker) {
    let below_raft = |file: &PathBuf| file.iter().any(|part| part == "raft");
    let mut text = String::new();
    for file in files_below(&broker.data()).into_iter().filter(below_raft) {
        let path = file.to_str().expect("UTF-8");
        text.push_str(&well_text(&mut purlin(broker, &["log", "dump", path, "--metadata"])));
    }
    for part in ["\nterm ", "committed true", "flushed_below", "CreateTopic", "dumped"] {
        assert!(text.contains(part), "'{part}' is not in:\n{text}");
    }
}

#[test]
fn damage_is_shown_and_is_a_failure() {
    let mut broker = Broker::start();
    create(&broker, "damaged", 1);
    fed(purlin(&broker, &["produce", "damaged"]), b"one\n");
    fed(purlin(&broker, &["produce", "damaged"]), b"two\n");
    broker.stop();
    let file = partition(&broker, "damaged-0").join("00000000000000000000.log");
    let mut bytes = std::fs::read(&file).expect("the segment");
    let path = file.to_str().expect("UTF-8");
    // Within the first batch's records: the second is still found.
    bytes[65] ^= 0x10;
    std::fs::write(&file, &bytes).expect("written");
    let output = finish(&mut purlin(&broker, &["log", "dump", path, "--deep"]));
    let text = output.all();
    assert_eq!(output.code, 1, "{text}");
    assert!(text.contains("DAMAGED") && text.contains("PROBLEM at 0"), "{text}");
    assert!(text.contains("value \"two\""), "{text}");
}
