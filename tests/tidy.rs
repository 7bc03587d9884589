//! Keeps the house in order: floors, pure rooms, doors to the world, documentation, links.
//!
//! Reads the sources as text and tokens; nothing has to compile for it to speak. Every complaint
//! is `file:line: what is wrong and what to do`. The sizes of the largest files and functions are
//! printed (`cargo test --test tidy -- --nocapture`), to be looked at, never to be failed.

#[path = "tidy/scan.rs"]
mod scan;

use scan::{Source, sources};
use std::path::{Path, PathBuf};

/// Which rooms each room may import. A room is a directory (or file) directly under `src/`, or a
/// listed part of one. What is not in its row is forbidden, so a new arrow is a decision made here.
const ARROWS: &[(&str, &[&str])] = &[
    // Floor 0.
    ("types", &[]),
    ("limits", &[]),
    ("env", &["types", "limits"]),
    ("protocol", &["types", "limits"]),
    ("config", &["types", "limits", "env"]),
    // Floor 1.
    ("log", &["types", "limits", "env", "protocol"]),
    ("rpc", &["types", "limits", "env", "protocol"]),
    // Floor 2.
    ("replica", &["types", "limits"]),
    ("partition", &["types", "limits", "env", "protocol", "config", "log", "rpc", "replica"]),
    // Floor 3.
    ("metadata", &["types", "limits", "env", "protocol", "config", "log", "rpc"]),
    ("metadata::state", &["types", "limits", "protocol"]),
    // Floor 4.
    (
        "coordinator",
        &["types", "limits", "env", "protocol", "config", "log", "rpc", "partition", "metadata"],
    ),
    // Floor 5.
    (
        "kafka",
        &[
            "types",
            "limits",
            "env",
            "protocol",
            "config",
            "log",
            "partition",
            "metadata",
            "coordinator",
        ],
    ),
    ("client", &["types", "limits", "env", "protocol"]),
    // Floor 6.
    (
        "node",
        &[
            "types",
            "limits",
            "env",
            "protocol",
            "config",
            "log",
            "rpc",
            "replica",
            "partition",
            "metadata",
            "coordinator",
            "kafka",
            "client",
        ],
    ),
    ("bench", &["types", "limits", "env", "protocol", "config", "client"]),
    ("torture", &["types", "limits", "env", "protocol", "config", "client"]),
    (
        "cli",
        &[
            "types", "limits", "env", "protocol", "config", "log", "metadata", "client", "node",
            "bench", "torture",
        ],
    ),
    ("main", &["cli"]),
    (
        "lib",
        &[
            "types",
            "limits",
            "env",
            "protocol",
            "config",
            "log",
            "rpc",
            "replica",
            "partition",
            "metadata",
            "coordinator",
            "kafka",
            "client",
            "node",
            "bench",
            "torture",
            "cli",
        ],
    ),
];

/// Rooms that decide and never act: no runtime, clock, chance, files, or order of a hash map.
const PURE: &[&str] = &[
    "types",
    "replica",
    "metadata::state",
    "metadata::liveness",
    "coordinator::group",
    "coordinator::txn",
];

/// Paths that only `env` may name, and who else may, with the reason.
const DOORS: &[(&[&str], &[&str])] = &[
    // The settings file is read before there is a node; the commands read and write users' files.
    (&["std", "fs"], &["env", "config", "cli"]),
    (&["tokio", "fs"], &["env", "config", "cli"]),
    (&["std", "time", "SystemTime"], &["env"]),
    (&["tokio", "spawn"], &["env"]),
    (&["tokio", "task", "spawn"], &["env"]),
    (&["std", "thread", "spawn"], &["env"]),
    (&["rand"], &["env"]),
];

/// Paths that a pure room may not name.
const IMPURE: &[&[&str]] = &[
    &["tokio"],
    &["rand"],
    &["std", "time"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "thread"],
    &["std", "env"],
    &["rustix"],
    &["sled"],
];

/// All that may lie in the top directory, besides dot files and what `.gitignore` names.
const TOP: &[&str] =
    &["Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "src", "tests", "deploy", "docs"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn report(complaints: &[String], rule: &str) {
    assert!(complaints.is_empty(), "{rule}\n  {}\n", complaints.join("\n  "));
}

/// The row of the table for a module path: the longest one that fits.
fn room<'a>(module: &[String], rooms: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let path = module.join("::");
    rooms
        .filter(|name| path == **name || path.starts_with(&format!("{name}::")))
        .max_by_key(|name| name.len())
}

fn starts_with(path: &[String], prefix: &[&str]) -> bool {
    path.len() >= prefix.len() && path.iter().zip(prefix).all(|(have, want)| have == want)
}

fn arrows_against_the_floors(source: &Source) -> Vec<String> {
    let rooms = || ARROWS.iter().map(|(name, _)| *name);
    let Some(from) = room(&source.module, rooms()) else {
        return vec![format!(
            "{}:1: this room is not in the table of tests/tidy.rs: decide its floor there",
            source.name
        )];
    };
    let allowed = ARROWS.iter().find(|(name, _)| *name == from).expect("found above").1;
    let mut complaints = Vec::new();
    for path in source.paths.iter().filter(|path| path.segments[0] == "crate") {
        let target = &path.segments[1..];
        let Some(first) = target.first() else { continue };
        // Items of `lib.rs` itself (macros) belong to no room.
        if !rooms().any(|name| name == first) {
            continue;
        }
        let to = room(target, rooms()).unwrap_or(first);
        let own = to == from || to.starts_with(&format!("{from}::"));
        if !own && !allowed.contains(&to) && !allowed.contains(&first.as_str()) {
            complaints.push(format!(
                "{}:{}: `{from}` must not import `{}`",
                source.name,
                path.line,
                path.segments.join("::")
            ));
        }
    }
    complaints
}

#[test]
fn imports_go_down_only() {
    let mut complaints = Vec::new();
    for source in sources(&root().join("src"), &root()) {
        complaints.extend(arrows_against_the_floors(&source));
    }
    report(
        &complaints,
        "Imports go down only; the allowed arrows are in the table of tests/tidy.rs.",
    );
}

#[test]
fn partition_and_metadata_never_meet_below_node() {
    for (from, to) in
        [("partition", "metadata"), ("metadata", "partition"), ("metadata", "replica")]
    {
        let row = ARROWS.iter().find(|(name, _)| *name == from).expect("in the table").1;
        assert!(!row.contains(&to), "`{from}` may not import `{to}`: `node::reconcile` joins them");
    }
}

fn impurities(source: &Source) -> Vec<String> {
    if room(&source.module, PURE.iter().copied()).is_none() || source.test_only {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for path in source.paths.iter().filter(|path| !path.in_test) {
        if IMPURE.iter().any(|prefix| starts_with(&path.segments, prefix)) {
            complaints.push(format!(
                "{}:{}: a pure room names `{}`; take it as an input instead",
                source.name,
                path.line,
                path.segments.join("::")
            ));
        }
    }
    for (ident, line) in source.idents.iter().filter(|(_, line)| !source.is_test_line(*line)) {
        if matches!(ident.as_str(), "HashMap" | "HashSet" | "async" | "await" | "Instant") {
            complaints.push(format!(
                "{}:{line}: a pure room uses `{ident}`; BTreeMap and plain functions keep it repeatable",
                source.name
            ));
        }
    }
    complaints
}

#[test]
fn pure_rooms_are_pure() {
    let mut complaints = Vec::new();
    for source in sources(&root().join("src"), &root()) {
        complaints.extend(impurities(&source));
    }
    report(&complaints, "Pure rooms know no runtime, clock, chance, file, or order of a hash map.");
}

fn doors(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let here = source.module.first().map_or("lib", String::as_str);
    for path in source.paths.iter().filter(|path| !path.in_test && !source.test_only) {
        for (forbidden, keepers) in DOORS {
            let hit = starts_with(&path.segments, forbidden) && !keepers.contains(&here);
            if hit {
                complaints.push(format!(
                    "{}:{}: `{}` is named outside {}; go through `env`",
                    source.name,
                    path.line,
                    path.segments.join("::"),
                    keepers.join(", ")
                ));
            }
        }
    }
    complaints
}

#[test]
fn the_world_is_reached_through_env_only() {
    let mut complaints = Vec::new();
    for source in sources(&root().join("src"), &root()) {
        complaints.extend(doors(&source));
    }
    report(&complaints, "Files, wall time, tasks and chance are reached through `env` only.");
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut complaints = Vec::new();
    for folder in ["src", "tests"] {
        for source in sources(&root().join(folder), &root()) {
            if !source.text.starts_with("//!") {
                complaints.push(format!("{}:1: open with `//!`: what it is for", source.name));
            }
        }
    }
    report(&complaints, "Every source file opens with a `//!` comment.");
}

#[test]
fn every_public_item_is_documented() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs is there");
    assert!(
        lib.contains("#![warn(missing_docs") || lib.contains("#![deny(missing_docs"),
        "src/lib.rs must have the missing_docs lint on"
    );
    let ci = std::fs::read_to_string(root().join(".ci/run")).expect(".ci/run is there");
    assert!(
        ci.lines().any(|line| line.contains("cargo clippy") && line.contains("-D warnings")),
        ".ci/run must run clippy with -D warnings, which makes missing_docs an error"
    );
    let mut complaints = Vec::new();
    for source in sources(&root().join("src"), &root()) {
        if !source.test_only {
            complaints.extend(source.undocumented());
        }
        for line in source.attributes_with("missing_docs") {
            if !matches!(source.name.as_str(), "src/lib.rs") {
                complaints
                    .push(format!("{}:{line}: the missing_docs lint is changed here", source.name));
            }
        }
    }
    report(
        &complaints,
        "Every public item says what it is, also where rustc's lint cannot see it.",
    );
}

#[test]
fn nothing_is_left_unfinished_or_skipped() {
    let mut complaints = Vec::new();
    for folder in ["src", "tests"] {
        for source in sources(&root().join(folder), &root()) {
            for (ident, line) in &source.idents {
                if matches!(ident.as_str(), "todo" | "unimplemented" | "dbg")
                    && source.is_macro_call(ident, *line)
                {
                    complaints.push(format!("{}:{line}: `{ident}!` is left", source.name));
                }
            }
            for line in source.attribute_lines("ignore") {
                complaints.push(format!("{}:{line}: a test is switched off", source.name));
            }
        }
    }
    report(&complaints, "No stub, no skipped test.");
}

#[test]
fn the_top_directory_holds_what_belongs_there() {
    let ignored = std::fs::read_to_string(root().join(".gitignore")).unwrap_or_default();
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim().trim_matches('/')).collect();
    let mut complaints = Vec::new();
    for entry in std::fs::read_dir(root()).expect("the top directory can be read") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if !name.starts_with('.')
            && !TOP.contains(&name.as_str())
            && !ignored.contains(&name.as_str())
        {
            complaints.push(format!("{name}:1: does not belong in the top directory"));
        }
    }
    report(&complaints, "The top directory holds sources, tests, deploy, docs and their papers.");
}

/// The targets of `[text](target)` in Markdown, outside fenced code, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let mut rest = line;
        while let Some(start) = rest.find("](") {
            rest = &rest[start + 2..];
            let Some(end) = rest.find(')') else { break };
            found.push((number + 1, rest[..end].trim().to_owned()));
            rest = &rest[end..];
        }
    }
    found
}

/// The anchor that a Markdown heading gets.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

fn markdown_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.')
                && name != "target"
                && name != "data"
                && name != "node_modules"
            {
                markdown_files(&path, found);
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

#[test]
fn no_link_in_the_papers_is_dead() {
    let mut files = Vec::new();
    markdown_files(&root(), &mut files);
    let mut complaints = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable paper");
        let shown = file.strip_prefix(root()).expect("below the root").display().to_string();
        for (line, target) in links(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, fragment) = target.split_once('#').unwrap_or((&target, ""));
            let goal = if path.is_empty() {
                file.clone()
            } else {
                file.parent().expect("a file has a folder").join(path)
            };
            if !goal.exists() {
                complaints.push(format!("{shown}:{line}: `{target}` leads nowhere"));
            } else if !fragment.is_empty() && goal.extension().is_some_and(|kind| kind == "md") {
                let aim = std::fs::read_to_string(&goal).expect("a readable paper");
                let known = aim
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| anchor(line) == fragment);
                if !known {
                    complaints.push(format!(
                        "{shown}:{line}: no heading `#{fragment}` in {}",
                        goal.display()
                    ));
                }
            }
        }
    }
    report(&complaints, "Links in README.md and docs/ lead somewhere.");
}

#[test]
fn the_largest_files_and_functions_are_shown() {
    let all = sources(&root().join("src"), &root());
    let mut files: Vec<_> =
        all.iter().map(|source| (source.text.lines().count(), &source.name)).collect();
    files.sort_unstable_by(|a, b| b.cmp(a));
    println!("largest files (aim: under 600 lines):");
    for (lines, name) in files.iter().take(12) {
        println!("  {lines:6}  {name}");
    }
    let mut functions: Vec<_> = all
        .iter()
        .flat_map(|source| {
            source
                .functions()
                .into_iter()
                .map(move |item| (item.lines, item.name, item.line, &source.name))
        })
        .collect();
    functions.sort_unstable_by_key(|item| std::cmp::Reverse(item.0));
    println!("largest functions (aim: under 70 lines):");
    for (lines, function, line, name) in functions.iter().take(12) {
        println!("  {lines:6}  {function} ({name}:{line})");
    }
    assert!(!files.is_empty(), "no sources found under src/");
}

/// The checks themselves are checked: each is shown a house with the fault in it.
mod faults {
    use super::*;

    fn source(name: &str, text: &str) -> Source {
        Source::parse(name, text.to_owned())
    }

    #[test]
    fn an_arrow_that_goes_up_is_seen_in_every_spelling() {
        for text in [
            "use crate::metadata::Handle;",
            "use crate::{types::Offset, metadata::{Handle}};",
            "fn f() { crate::metadata::start(); }",
            "use super::metadata as m;",
            "mod inner { use super::super::metadata; }",
            "macro_rules! m { () => { $crate::metadata::x() } }",
        ] {
            let found = arrows_against_the_floors(&source("src/partition/mod.rs", text));
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with("src/partition/mod.rs:1: "), "{found:?}");
        }
        let found = arrows_against_the_floors(&source(
            "src/metadata/state/topics.rs",
            "use super::super::image::Image;",
        ));
        assert_eq!(found.len(), 1, "{found:?}");
        for text in [
            "// crate::metadata\nlet s = \"crate::metadata\";",
            "use crate::log::Log;",
            "mod tests { use super::metadata; }",
            "use crate::partition::Table;",
        ] {
            let found = arrows_against_the_floors(&source("src/partition/mod.rs", text));
            assert!(found.is_empty(), "{text}: {found:?}");
        }
    }

    #[test]
    fn an_impure_line_is_seen() {
        for text in [
            "use std::collections::HashMap;",
            "use std::{io, time::Duration};",
            "fn f() { let x = std::fs::read(\"a\"); }",
            "use tokio::sync::Notify;",
            "async fn f() {}",
        ] {
            assert!(!impurities(&source("src/replica/step.rs", text)).is_empty(), "{text}");
            assert!(impurities(&source("src/node/step.rs", text)).is_empty(), "{text}");
        }
        let in_test = "#[cfg(test)]\nmod tests { use std::collections::HashMap; }";
        assert!(impurities(&source("src/replica/step.rs", in_test)).is_empty());
    }

    #[test]
    fn a_second_door_is_seen() {
        for text in [
            "fn f() { tokio::spawn(async {}); }",
            "use std::{fs, io};",
            "use std::time::SystemTime;",
        ] {
            assert_eq!(doors(&source("src/log/segment.rs", text)).len(), 1, "{text}");
            assert_eq!(doors(&source("src/env/disk.rs", text)).len(), 0, "{text}");
        }
    }

    #[test]
    fn an_undocumented_item_is_seen() {
        let found =
            source("src/log/a.rs", "/// Said.\n#[must_use]\npub fn a() {}\n\npub struct B;\n")
                .undocumented();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("src/log/a.rs:5: "), "{found:?}");
    }

    #[test]
    fn links_and_anchors_are_read() {
        assert_eq!(links("a [b](c.md#d) e\n```\n[x](y)\n```"), vec![(1, "c.md#d".to_owned())]);
        assert_eq!(anchor("## 5. Storage, in rules"), "5-storage-in-rules");
    }
}
