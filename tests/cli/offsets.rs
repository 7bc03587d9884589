//! Where reading begins and ends.

use crate::common::broker::Broker;
use crate::{create, fed, finish, purlin, well_text};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

#[test]
fn reading_begins_where_it_is_told() {
    let broker = Broker::start();
    create(&broker, "numbers", 1);
    for (hour, lines) in [(10, "0\n1\n2\n"), (11, "3\n4\n"), (12, "5\n6\n")] {
        let time = format!("2026-11-20T{hour}:00:00Z");
        fed(purlin(&broker, &["produce", "numbers", "--timestamp", &time]), lines.as_bytes());
    }
    let read = |offset: &str| {
        let words = ["consume", "numbers", "-e", "--offset", offset];
        well_text(&mut purlin(&broker, &words)).replace('\n', "")
    };
    assert_eq!(read("earliest"), "0123456");
    assert_eq!(read("latest"), "");
    assert_eq!(read("4"), "456");
    assert_eq!(read("7"), "", "the end itself is in range");
    assert_eq!(read("-2"), "56");
    assert_eq!(read("-100"), "0123456");
    assert_eq!(read("@2026-11-20T10:30:00Z"), "3456");
    assert_eq!(read("@1795172400000"), "3456", "milliseconds are the same point");
    assert_eq!(read("@2036-01-01"), "");
    let words = ["consume", "numbers", "--from-beginning", "-n", "3"];
    assert_eq!(well_text(&mut purlin(&broker, &words)), "0\n1\n2\n");
    assert_eq!(well_text(&mut purlin(&broker, &["consume", "numbers", "-n", "0"])), "");
    for (offset, code) in [("8", 1), ("nowhere", 2), ("@nowhen", 2)] {
        let words = ["consume", "numbers", "-e", "--offset", offset];
        let output = finish(&mut purlin(&broker, &words));
        assert_eq!(output.code, code, "{}", output.all());
        assert!(output.all().contains("earliest") || output.all().contains("point in time"));
    }
}

#[test]
fn reading_waits_for_what_comes_and_shows_it_at_once() {
    let broker = Broker::start();
    create(&broker, "live", 2);
    fed(purlin(&broker, &["produce", "live", "-p", "0"]), b"before\n");
    let mut command = purlin(&broker, &["consume", "live", "--offset", "-1", "-n", "3"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("purlin starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    // The line that is there shows that the reader has found its place.
    assert_eq!(next(), "before");
    fed(purlin(&broker, &["produce", "live", "-p", "1"]), b"now\n");
    assert_eq!(next(), "now");
    fed(purlin(&broker, &["produce", "live", "-p", "0"]), b"last\n");
    assert_eq!(next(), "last");
    assert!(child.wait().expect("it ends").success());
}
