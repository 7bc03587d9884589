//! Keys, headers, timestamps, tombstones, partitions, and their forms.

use crate::common::broker::Broker;
use crate::{create, fed, finish, json_lines, purlin, well_text};
use serde_json::json;

#[test]
fn every_field_goes_in_and_comes_out() {
    let broker = Broker::start();
    create(&broker, "fields", 1);
    let words = [
        "produce",
        "fields",
        "-K",
        ":",
        "-Z",
        "-H",
        "h=1",
        "-H",
        "h=2",
        "-H",
        "none",
        "--timestamp",
        "2026-11-20T10:00:00.250Z",
    ];
    fed(purlin(&broker, &words), b"a:1\nno key\nc:\nd:x:y\n");
    let template = "%t/%p/%o %k(%K)=%s(%S) %T %h%%\\n";
    let text = well_text(&mut purlin(&broker, &["consume", "fields", "-e", "-Z", "-f", template]));
    let rest = "1795168800250 h=1,h=2,none=NULL%\n";
    let expected = format!(
        "fields/0/0 a(1)=1(1) {rest}fields/0/1 NULL(-1)=no key(6) {rest}\
         fields/0/2 c(1)=NULL(-1) {rest}fields/0/3 d(1)=x:y(3) {rest}"
    );
    assert_eq!(text, expected);
    let records =
        json_lines(&well_text(&mut purlin(&broker, &["consume", "fields", "-e", "-o", "jsonl"])));
    assert_eq!(
        records[2],
        json!({
            "topic": "fields", "partition": 0, "offset": 2, "timestamp": 1_795_168_800_250_i64,
            "key": "c", "value": null,
            "headers": [
                {"key": "h", "value": "1"}, {"key": "h", "value": "2"}, {"key": "none", "value": null}
            ]
        })
    );
    let list = well_text(&mut purlin(&broker, &["consume", "fields", "-e", "-o", "json"]));
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).expect("one JSON list");
    assert_eq!(list, records);
    let keyed = well_text(&mut purlin(&broker, &["consume", "fields", "-e", "-K", "="]));
    assert_eq!(keyed, "a=1\n=no key\nc=\nd=x:y\n");
}

#[test]
fn json_lines_can_be_fed_back() {
    let broker = Broker::start();
    create(&broker, "first", 3);
    create(&broker, "second", 3);
    let words = ["produce", "first", "--framing", "keyed-length", "-H", "source=test"];
    let mut input = Vec::new();
    for number in 0..500_u32 {
        let key =
            if number % 7 == 0 { vec![0xff, 0, number as u8] } else { format!("k{number}").into() };
        let value = if number % 5 == 0 { None } else { Some(vec![b'v', 0x80 | (number as u8)]) };
        input.extend((key.len() as u32).to_be_bytes());
        input.extend(&key);
        input.extend(value.as_ref().map_or(u32::MAX, |value| value.len() as u32).to_be_bytes());
        input.extend(value.unwrap_or_default());
    }
    fed(purlin(&broker, &words), &input);
    let out = well_text(&mut purlin(&broker, &["consume", "first", "-e", "-o", "jsonl"]));
    assert!(out.contains(r#""value_encoding":"base64""#), "bytes that are no text are marked");
    fed(purlin(&broker, &["produce", "second", "-i", "jsonl"]), out.as_bytes());
    let back = well_text(&mut purlin(&broker, &["consume", "second", "-e", "-o", "jsonl"]));
    let sorted = |text: &str| {
        let mut lines: Vec<String> =
            text.lines().map(|line| line.replace("\"second\"", "\"first\"")).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&back), sorted(&out));
}

#[test]
fn keys_go_where_javas_client_puts_them() {
    let broker = Broker::start();
    create(&broker, "keyed", 12);
    fed(purlin(&broker, &["produce", "keyed", "-K", ","]), b"21,a\nfoobar,b\nabc,c\n");
    let text = well_text(&mut purlin(&broker, &["consume", "keyed", "-e", "-f", "%k=%p\\n"]));
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    // (murmur2(key) & 0x7fffffff) % 12, with the hashes of Kafka's own vectors.
    let expected = |hash: i64| (hash & 0x7fff_ffff) % 12;
    let want = [
        format!("21={}", expected(-973_932_308)),
        format!("abc={}", expected(479_470_107)),
        format!("foobar={}", expected(-790_332_482)),
    ];
    assert_eq!(lines, want);
    fed(purlin(&broker, &["produce", "keyed", "-p", "11"]), b"here\n");
    let there = well_text(&mut purlin(&broker, &["consume", "keyed", "-e", "-p", "11"]));
    assert!(there.ends_with("here\n"), "{there}");
}

#[test]
fn acknowledgements_can_be_had_in_every_way() {
    let broker = Broker::start();
    create(&broker, "acks", 1);
    for acks in ["0", "1", "all"] {
        fed(purlin(&broker, &["produce", "acks", "-a", acks]), b"x\ny\n");
    }
    let words = ["produce", "acks", "--idempotence", "false", "--max-in-flight", "1"];
    fed(purlin(&broker, &words), b"x\ny\n");
    assert_eq!(
        well_text(&mut purlin(&broker, &["consume", "acks", "-n", "8", "--from-beginning"])),
        "x\ny\n".repeat(4)
    );
    let output = finish(&mut purlin(&broker, &["produce", "acks", "-a", "1", "--idempotence"]));
    assert_eq!(output.code, 2, "{}", output.all());
}
