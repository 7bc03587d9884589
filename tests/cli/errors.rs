//! Errors that people meet: each has its cause, its next step and its exit code.

use crate::common::broker::Broker;
use crate::common::scratch;
use crate::{create, finish, purlin, purlin_at, written};
use std::net::TcpListener;
use std::process::Command;

fn fails(command: &mut Command, code: i32, parts: &[&str]) {
    let output = finish(command);
    let text = output.all();
    assert_eq!(output.code, code, "{command:?}\n{text}");
    assert_eq!(output.stdout, b"", "errors are no results: {text}");
    for part in parts {
        assert!(text.contains(part), "{command:?}: '{part}' is not in:\n{text}");
    }
}

#[test]
fn a_broker_that_is_not_there_is_named_with_its_address_and_the_time() {
    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port");
    let address = free.to_string();
    let words = ["topic", "list", "--connect-timeout", "0.3"];
    let parts = [&address, "connection refused", "0.3 s", "purlin node init", "--bootstrap"];
    fails(&mut purlin_at(&address, &words), 1, &parts);
    let two = format!("{address},127.0.0.1:1");
    fails(&mut purlin_at(&two, &words), 1, &[&address, "127.0.0.1:1 "]);
    fails(&mut purlin_at("host:notaport", &words), 2, &["host:notaport", "--bootstrap"]);
}

#[test]
fn another_program_on_the_port_is_called_that() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    fails(&mut purlin_at(&address, &["topic", "list"]), 1, &[&address, "Kafka port"]);
}

#[test]
fn wrong_names_get_a_suggestion() {
    let broker = Broker::start();
    create(&broker, "payments", 1);
    let missing =
        ["'paymnets' does not exist", "did you mean 'payments'?", "topic create paymnets"];
    for words in [
        &["consume", "paymnets"][..],
        &["produce", "paymnets"],
        &["topic", "describe", "paymnets"],
        &["topic", "delete", "paymnets"],
        &["topic", "alter", "paymnets", "-p", "2"],
    ] {
        fails(&mut purlin(&broker, words), 1, &missing);
    }
    let words = ["topic", "alter", "payments", "-c", "retention.mss=5"];
    fails(&mut purlin(&broker, &words), 1, &["retention.mss", "did you mean 'retention.ms'?"]);
    let words = ["topic", "alter", "payments", "-d", "retention.mss"];
    fails(&mut purlin(&broker, &words), 1, &["retention.mss", "did you mean 'retention.ms'?"]);
    fails(&mut purlin(&broker, &["topic", "lsit"]), 2, &["lsit", "list"]);
    fails(&mut purlin(&broker, &["topic", "list", "--outptu", "json"]), 2, &["--output"]);
    fails(&mut purlin(&broker, &["produce", "payments", "-z", "gzp"]), 2, &["gzip"]);
    fails(&mut purlin(&broker, &["consume", "payments", "-p", "4"]), 1, &["no partition 4", "1"]);
    fails(&mut purlin(&broker, &["consume", "payments", "-f", "%q"]), 2, &["%q", "%k key"]);
    fails(
        &mut purlin(&broker, &["topic", "create", "payments"]),
        1,
        &["payments", "--if-not-exists"],
    );
    fails(&mut purlin(&broker, &["topic", "create", "a b"]), 1, &["INVALID_TOPIC"]);
    fails(&mut purlin(&broker, &["topic", "create", "x", "-c", "nonsense"]), 2, &["KEY=VALUE"]);
}

#[test]
fn input_that_is_wrong_is_named_by_file_and_record() {
    let broker = Broker::start();
    create(&broker, "input", 1);
    let folder = scratch("cli-errors-");
    let json = written(folder.path(), "records.jsonl", b"{\"value\":\"x\"}\n{\"vlaue\":\"y\"}\n");
    let parts = ["records.jsonl, record 2", "did you mean 'value'?"];
    fails(&mut purlin(&broker, &["produce", "input", "-i", "jsonl", &json]), 1, &parts);
    let cut = written(folder.path(), "cut.bin", b"\0\0\0\x09short");
    let words = ["produce", "input", "--framing", "length", &cut];
    fails(&mut purlin(&broker, &words), 1, &["cut.bin", "ends inside a record"]);
    fails(&mut purlin(&broker, &["produce", "input", "/no/such/file"]), 1, &["/no/such/file"]);
    let far = written(folder.path(), "far.jsonl", b"{\"value\":\"x\",\"partition\":9}\n");
    let words = ["produce", "input", "-i", "jsonl", &far];
    fails(&mut purlin(&broker, &words), 1, &["far.jsonl, record 1", "no partition 9"]);
    fails(&mut purlin(&broker, &["log", "dump", &json]), 2, &["records.jsonl", ".timeindex"]);
}

#[test]
fn a_record_that_is_too_large_for_its_topic_says_which_setting_to_raise() {
    let broker = Broker::start();
    let words = ["topic", "create", "small", "-p", "1", "-c", "max.message.bytes=1000"];
    assert_eq!(finish(&mut purlin(&broker, &words)).code, 0);
    let folder = scratch("cli-large-");
    let large = written(folder.path(), "large", &[b'x'; 5_000]);
    let parts = ["MESSAGE_TOO_LARGE", "max.message.bytes", "0 records acknowledged, 1 not"];
    fails(&mut purlin(&broker, &["produce", "small", &large]), 1, &parts);
    // A batch that is too large only because it has many records is split.
    let many = written(folder.path(), "many", &b"twenty bytes of text\n".repeat(400));
    assert_eq!(finish(&mut purlin(&broker, &["produce", "small", &many])).code, 0);
    let back = finish(&mut purlin(&broker, &["consume", "small", "-e"])).stdout;
    assert!(back == b"twenty bytes of text\n".repeat(400), "{} bytes", back.len());
}
