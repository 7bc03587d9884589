//! Bytes in, the same bytes out.

use crate::common::broker::Broker;
use crate::common::scratch;
use crate::{create, fed, finish, purlin, web_log, well, written};
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

#[test]
fn a_log_comes_back_byte_for_byte_in_every_codec() {
    let broker = Broker::start();
    let folder = scratch("cli-streams-");
    let log = web_log(20_000);
    let file = written(folder.path(), "web.log", &log);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("web-{codec}");
        create(&broker, &topic, 1);
        let output = finish(&mut purlin(&broker, &["produce", &topic, &file, "-z", codec]));
        assert_eq!(output.code, 0, "{}", output.all());
        assert_eq!(output.stdout, b"", "results only");
        let summary = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(summary.contains("records") && summary.contains(&topic), "{summary}");
        let back = well(&mut purlin(&broker, &["consume", &topic, "--exit-at-end"]));
        assert!(back == log, "{codec}: {} bytes became {}", log.len(), back.len());
    }
}

#[test]
fn framings_carry_any_bytes() {
    let broker = Broker::start();
    let log = web_log(3_000);
    for (number, framing) in
        [&["-D", "\\n"][..], &["-0"], &["--framing", "length"]].iter().enumerate()
    {
        let topic = format!("framed-{number}");
        create(&broker, &topic, 1);
        // The log holds newlines and NULs, so only its own delimiters and lengths bring it back.
        let framed: Vec<u8> = match *framing {
            ["--framing", _] => log
                .chunks(700)
                .flat_map(|chunk| {
                    let length = u32::try_from(chunk.len()).expect("small").to_be_bytes();
                    length.into_iter().chain(chunk.iter().copied()).collect::<Vec<u8>>()
                })
                .collect(),
            ["-0"] => [log.clone(), vec![0]].concat(),
            _ => log.clone(),
        };
        let mut words = vec!["produce", topic.as_str()];
        words.extend_from_slice(framing);
        fed(purlin(&broker, &words), &framed);
        words[0] = "consume";
        words.extend_from_slice(&["--exit-at-end", "-q"]);
        let back = well(&mut purlin(&broker, &words));
        assert!(back == framed, "{framing:?}: {} bytes became {}", framed.len(), back.len());
    }
    create(&broker, "pairs", 1);
    let pairs = b"\0\0\0\x01k\0\0\0\x02v\n\xff\xff\xff\xff\0\0\0\0\0\0\0\x01x\xff\xff\xff\xff";
    fed(purlin(&broker, &["produce", "pairs", "--framing", "keyed-length"]), pairs);
    let words = ["consume", "pairs", "--framing", "keyed-length", "--exit-at-end"];
    assert_eq!(well(&mut purlin(&broker, &words)), pairs);
}

#[test]
fn a_pipe_that_is_closed_early_is_no_failure() {
    let broker = Broker::start();
    create(&broker, "early", 1);
    fed(purlin(&broker, &["produce", "early", "-q"]), &web_log(20_000));
    for words in [&["consume", "early", "--from-beginning"][..], &["topic", "describe", "early"]] {
        let mut command = purlin(&broker, words);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("purlin starts");
        let mut byte = [0];
        let mut stdout = child.stdout.take().expect("piped");
        stdout.read_exact(&mut byte).expect("something is printed");
        drop(stdout);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}: quietly");
    }
}

#[test]
fn produce_goes_on_through_a_kill_of_the_broker_once_and_in_order() {
    let mut broker = Broker::start();
    create(&broker, "steady", 1);
    let mut command = purlin(&broker, &["produce", "steady", "--linger", "2", "-q"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("purlin starts");
    let mut input = child.stdin.take().expect("piped");
    let mut expected = Vec::new();
    for number in 0..6_000_u32 {
        let line = format!("line {number} {}\n", "x".repeat(100));
        input.write_all(line.as_bytes()).expect("purlin takes its input");
        expected.extend_from_slice(line.as_bytes());
        if number % 10 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        if number == 2_000 || number == 4_000 {
            broker.kill_nine();
            std::thread::sleep(Duration::from_millis(300));
            broker.restart();
        }
    }
    drop(input);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let back = well(&mut purlin(&broker, &["consume", "steady", "--exit-at-end", "-q"]));
    assert!(back == expected, "{} bytes became {}", expected.len(), back.len());
}

#[test]
fn an_interrupt_delivers_what_was_read() {
    let broker = Broker::start();
    create(&broker, "typed", 1);
    let mut command = purlin(&broker, &["produce", "typed", "--linger", "60000"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("purlin starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"first\nsecond\nhalf a li").expect("written");
    input.flush().expect("written");
    // Nothing says when the lines were taken: the end of them all is what counts.
    std::thread::sleep(Duration::from_millis(1_500));
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .expect("kill runs")
            .success()
    );
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let back = well(&mut purlin(&broker, &["consume", "typed", "--exit-at-end"]));
    assert_eq!(String::from_utf8_lossy(&back), "first\nsecond\n");
}
