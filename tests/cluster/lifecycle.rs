//! The life of a node as a process: made once, started again, stopped, and the errors that people
//! meet on the way.

#[path = "../common/mod.rs"]
mod common;

use common::{Node, binary, scratch};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Runs the binary to its end, for starts that are to fail.
fn purlin(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().expect("the binary runs")
}

/// Exit code and stderr of a start that is to fail.
fn refused(verb: &str, dir: &Path, more: &[&str]) -> (i32, String) {
    let dir = dir.to_string_lossy();
    let mut arguments = vec!["node", verb, "--data-dir", &dir];
    let any = ["--kafka", "127.0.0.1:0", "--rpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    if !more.contains(&"--kafka") {
        arguments.extend(any);
    }
    arguments.extend(more);
    let output = purlin(&arguments);
    assert!(output.stdout.is_empty(), "no ready line from a start that fails");
    let code = output.status.code().expect("an exit code");
    (code, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits until the node's log has the text: it comes through a pipe of its own, a little later.
fn says(node: &Node, text: &str) {
    let patience = Instant::now();
    while !node.log().contains(text) {
        assert!(patience.elapsed() < Duration::from_secs(20), "no {text:?} in:\n{}", node.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn entries(dir: &Path) -> Vec<String> {
    let list = std::fs::read_dir(dir).expect("can be listed");
    let mut names: Vec<String> = list
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn logs(node: &Node) -> PathBuf {
    node.data().join("logs")
}

fn topic(node: &Node, verb: &str, name: &str, more: &[&str]) {
    let mut arguments = vec!["topic", verb, name, "-b", node.bootstrap()];
    arguments.extend(more);
    let output = purlin(&arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "topic {verb} {name}: {stderr}\n{}", node.log());
}

/// Produces one record for each line.
fn produce(node: &Node, name: &str, lines: &str) {
    let mut command = Command::new(binary());
    command.args(["produce", name, "-q", "-b", node.bootstrap()]).stdin(Stdio::piped());
    let mut producer = command.spawn().expect("the binary runs");
    let mut stdin = producer.stdin.take().expect("piped");
    stdin.write_all(lines.as_bytes()).expect("taken");
    drop(stdin);
    assert!(producer.wait().expect("ends").success(), "produce: {}", node.log());
}

/// Every record, one a line.
fn consume(node: &Node, name: &str) -> String {
    let output =
        purlin(&["consume", name, "--offset", "earliest", "-e", "-q", "-b", node.bootstrap()]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "consume {name}: {stderr}\n{}", node.log());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_node_is_made_once_and_started_again_as_itself() {
    let mut node = Node::init(&[]);
    topic(&node, "create", "orders", &["--partitions", "3"]);
    assert!(node.data().join("meta.properties").exists());
    let (code, error) = refused("start", node.data(), &[]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("in use by process"), "{error}");

    assert!(node.terminate().success(), "SIGTERM ends with 0: {}", node.log());
    let (code, error) = refused("init", node.data(), &[]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("purlin node start --data-dir"), "{error}");
    let (code, error) = refused("start", node.data(), &["--node-id", "9"]);
    assert_eq!(code, 2, "{error}");

    node.restart();
    let names = entries(&logs(&node));
    for partition in ["orders-0", "orders-1", "orders-2"] {
        assert!(names.contains(&partition.to_owned()), "{names:?}");
    }
    says(&node, "clean_shutdown=true");
    node.kill_nine();
    node.restart();
    says(&node, "clean_shutdown=false");
    node.assert_alive();
}

#[test]
fn a_bare_start_keeps_what_init_was_told() {
    let mut node = Node::init(&["--set", "num.partitions=4", "--rack", "north"]);
    assert!(node.terminate().success());
    let kept = std::fs::read_to_string(node.data().join("node.toml")).expect("kept settings");
    assert!(kept.contains("num.partitions") && kept.contains("north"), "{kept}");
    let (code, error) = refused("start", node.data(), &["--set", "num.partitoins=1"]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("did you mean 'num.partitions'"), "{error}");
}

#[test]
fn starts_that_cannot_work_say_why_and_what_next() {
    let folder = scratch("lifecycle-");
    let missing = folder.path().join("missing");
    let (code, error) = refused("start", &missing, &[]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("purlin node init"), "{error}");
    assert!(!missing.exists(), "a start that fails leaves nothing behind");

    let foreign = folder.path().join("foreign");
    std::fs::create_dir(&foreign).expect("made");
    std::fs::write(foreign.join("thesis.tex"), "x").expect("written");
    let (code, error) = refused("init", &foreign, &[]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("thesis.tex"), "{error}");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let any = "127.0.0.1:0";
    let fresh = folder.path().join("fresh");
    let flags = ["--kafka", &address, "--rpc", any, "--admin", any];
    let (code, error) = refused("init", &fresh, &flags);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains(&address) && error.contains("--kafka"), "{error}");

    let (code, error) = refused("init", &folder.path().join("x"), &["--kafak", "1"]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("--kafka"), "a suggestion: {error}");

    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("written");
    let (code, error) = refused("init", &file.join("data"), &[]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("--data-dir"), "{error}");
}

#[test]
fn an_init_that_stopped_half_way_is_taken_up_again() {
    let folder = scratch("lifecycle-");
    let dir = folder.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let any = "127.0.0.1:0";
    let (code, _) = refused("init", &dir, &["--kafka", &address, "--rpc", any, "--admin", any]);
    assert_eq!(code, 1);
    drop(taken);
    // The error named the port, so that is what people mend; then they do the same again.
    let node = Node::init_in(&dir);
    topic(&node, "create", "orders", &[]);
}

#[test]
fn strays_are_set_aside_and_deleted_topics_stay_deleted() {
    let mut node = Node::init(&[]);
    topic(&node, "create", "kept", &[]);
    topic(&node, "create", "gone", &["--partitions", "2"]);
    topic(&node, "delete", "gone", &[]);
    assert!(node.terminate().success());
    let ghost = logs(&node).join("ghost-0");
    std::fs::create_dir(&ghost).expect("made");
    std::fs::write(
        ghost.join("partition.metadata"),
        "version: 0\ntopic_id: TVoLEP_uQQKAAAECAwQFBg\n",
    )
    .expect("written");
    // What a deletion leaves when the process is killed in the middle of it.
    std::fs::create_dir(logs(&node).join("half-0.TVoLEP_uQQKAAAECAwQFBg.deleted")).expect("made");
    node.restart();
    let names = entries(&logs(&node));
    let partitions: Vec<&String> = names.iter().filter(|name| name.contains("-0")).collect();
    assert_eq!(partitions, ["ghost-0.TVoLEP_uQQKAAAECAwQFBg.stray", "kept-0"]);
    says(&node, "set aside");
}

#[test]
fn a_topic_made_anew_under_an_old_name_is_empty_and_served() {
    let mut node = Node::init(&[]);
    for _ in 0..5 {
        topic(&node, "create", "again", &["--partitions", "2"]);
        topic(&node, "delete", "again", &[]);
    }
    topic(&node, "create", "again", &["--partitions", "2"]);
    node.kill_nine();
    node.restart();
    let names = entries(&logs(&node));
    let partitions: Vec<&String> = names.iter().filter(|name| name.starts_with("again")).collect();
    assert_eq!(partitions, ["again-0", "again-1"]);
}

/// Checkpoints know partitions by name alone. What they said of a deleted topic must not count for
/// a new one of that name: its log would begin at the old one's start, and what was acknowledged
/// below would be gone.
#[test]
fn checkpoints_of_a_deleted_topic_do_not_count_for_a_new_one_of_its_name() {
    let mut node = Node::init(&[]);
    topic(&node, "create", "orders", &[]);
    produce(&node, "orders", "one\ntwo\nthree\n");
    assert!(node.terminate().success(), "{}", node.log());
    // As DeleteRecords leaves it.
    let checkpoint = logs(&node).join("log-start-offset-checkpoint");
    std::fs::write(&checkpoint, "0\n1\norders 0 3\n").expect("written");
    node.restart();
    assert_eq!(consume(&node, "orders"), "", "all were deleted");

    topic(&node, "delete", "orders", &[]);
    topic(&node, "create", "orders", &[]);
    produce(&node, "orders", "four\nfive\n");
    node.kill_nine();
    node.restart();
    assert_eq!(consume(&node, "orders"), "four\nfive\n");
}

/// A log start above the high watermark is damage: to believe it would delete every record.
#[test]
fn a_log_start_checkpoint_that_cannot_be_right_costs_no_record() {
    let mut node = Node::init(&[]);
    topic(&node, "create", "orders", &[]);
    produce(&node, "orders", "one\ntwo\n");
    assert!(node.terminate().success(), "{}", node.log());
    let checkpoint = logs(&node).join("log-start-offset-checkpoint");
    std::fs::write(&checkpoint, "0\n1\norders 0 99999999\n").expect("written");
    node.restart();
    says(&node, "lies above the high watermark");
    assert_eq!(consume(&node, "orders"), "one\ntwo\n");
}

/// A directory whose identity file names another cluster is refused, as is one without the vote
/// that its Raft log shows to have been given.
#[test]
fn a_changed_identity_and_a_missing_vote_are_refused() {
    let mut node = Node::init(&[]);
    assert!(node.terminate().success(), "{}", node.log());
    let identity = node.data().join("meta.properties");
    let kept = std::fs::read_to_string(&identity).expect("there");
    let other: String = kept
        .lines()
        .map(|line| {
            if line.starts_with("cluster.id=") { "cluster.id=AAAAAAAAQACAAAAAAAAAAA" } else { line }
        })
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&identity, other).expect("written");
    let (code, text) = refused("start", node.data(), &[]);
    assert!(code == 1 && text.contains("meta.properties"), "{code}: {text}");

    std::fs::write(&identity, kept).expect("written");
    std::fs::remove_file(node.data().join("metadata/raft/vote")).expect("there");
    let (code, text) = refused("start", node.data(), &[]);
    assert!(code == 1 && text.contains("the vote is missing"), "{code}: {text}");
}

/// Logs often share the disk that is full: they get lost then, and the node goes on.
#[test]
fn a_stderr_that_takes_nothing_does_not_end_the_node() {
    let dir = scratch("full-stderr");
    let data = dir.path().join("data").to_string_lossy().into_owned();
    let any = ["--kafka", "127.0.0.1:0", "--rpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut process = Command::new(binary())
        .args(["node", "init", "--data-dir", &data])
        .args(any)
        .stdout(Stdio::piped())
        .stderr(full)
        .spawn()
        .expect("the binary runs");
    let mut line = String::new();
    let stdout = process.stdout.take().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("read");
    process.kill().expect("can be killed");
    process.wait().expect("can be waited for");
    assert!(line.starts_with("ready "), "{line:?}");
}

#[test]
fn the_admin_port_answers_probes_and_shows_numbers() {
    let node = Node::init(&[]);
    topic(&node, "create", "orders", &["--partitions", "3"]);
    assert_eq!(node.admin_get("/livez").0, 200);
    assert_eq!(node.admin_get("/readyz").0, 200);
    let (status, metrics) = node.admin_get("/metrics");
    assert_eq!(status, 200);
    for line in [
        "purlin_ready 1",
        "purlin_partitions 3",
        "purlin_partitions_led 3",
        "purlin_partitions_under_replicated 0",
        "purlin_panics_caught_total 0",
        "purlin_metadata_is_controller 1",
        "purlin_log_size_bytes{topic=\"orders\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in:\n{metrics}");
    }
    assert_eq!(node.admin_get("/nothing").0, 404);
}

#[test]
fn an_advertised_address_that_leads_nowhere_is_said_at_the_start() {
    // A port that was free a moment ago, and that nobody listens on.
    let unused = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound").to_string()
    };
    let node = Node::init(&["--advertise", &unused]);
    says(&node, "--advertise");
    assert!(node.log().contains(&unused), "{}", node.log());
}
