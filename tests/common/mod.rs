//! What the heavier tests share: the real binary as a child process, tools, and data.

#![allow(dead_code, reason = "each test target uses its own part of this")]

pub mod broker;
pub mod cluster;
pub mod data;
pub mod direct;
pub mod history;
pub mod load;
pub mod network;
pub mod shell;
pub mod tools;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a node may take to become ready before a test gives up.
const READY_MS_MAX: u64 = 180_000;

/// How long a node may take to stop after SIGTERM before a test gives up.
const STOP_MS_MAX: u64 = 30_000;

/// Lines of a node's log that are kept for a failure's report.
const LOG_LINES_KEPT: usize = 400;

/// The path of the binary under test: the one that was built with the tests, or another that
/// `PURLIN_TEST_BINARY` names, such as a release build.
pub fn binary() -> PathBuf {
    let other = std::env::var_os("PURLIN_TEST_BINARY").map(PathBuf::from);
    other.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_purlin")))
}

/// A number from the environment, or the default.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Now, in milliseconds since 1970 UTC, as the clients that are not ours see it.
#[expect(clippy::disallowed_methods, reason = "the clients of others take the machine's time too")]
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_millis()).expect("in range")
}

/// The binary under test as a command, without the settings of the tests themselves: it takes an
/// unknown `PURLIN_*` variable for a mistake. `PURLIN_LOG` passes.
pub fn purlin() -> Command {
    purlin_within(&[])
}

/// As [`purlin`], started by the words that come before it, such as `ip netns exec NAME`.
pub fn purlin_within(within: &[String]) -> Command {
    let mut command = match within.split_first() {
        Some((program, words)) => {
            let mut command = Command::new(program);
            command.args(words).arg(binary());
            command
        }
        None => Command::new(binary()),
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PURLIN_") && name != "PURLIN_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// A fresh directory below `target/`, removed with its owner unless a test is failing.
pub fn scratch(name: &str) -> tempfile::TempDir {
    let below = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&below).expect("target/tmp can be made");
    tempfile::Builder::new().prefix(name).tempdir_in(below).expect("a scratch directory")
}

/// What a node says once it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// `HOST:PORT` of the client port.
    pub kafka: String,
    /// `HOST:PORT` of the node-to-node port.
    pub rpc: String,
    /// `HOST:PORT` of the admin port.
    pub admin: String,
    /// The node id.
    pub node: String,
    /// The cluster id.
    pub cluster: String,
}

impl Ready {
    /// Reads a `ready kafka=… rpc=… admin=… node=… cluster=…` line.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        if words.next()? != "ready" {
            return None;
        }
        let fields: std::collections::BTreeMap<&str, &str> =
            words.filter_map(|word| word.split_once('=')).collect();
        let field = |name: &str| fields.get(name).map(|value| (*value).to_owned());
        Some(Self {
            kafka: field("kafka")?,
            rpc: field("rpc")?,
            admin: field("admin")?,
            node: field("node")?,
            cluster: field("cluster")?,
        })
    }
}

/// Where a node runs.
#[derive(Debug, Clone)]
pub struct Place {
    /// The data directory.
    pub data: PathBuf,
    /// The address that its three ports are bound to.
    pub ip: String,
    /// What comes before the binary's name, such as `ip netns exec NAME`; mostly nothing. It has to
    /// become the binary (`exec`), so that signals reach that.
    pub within: Vec<String>,
}

impl Place {
    /// On the loopback, with this data directory.
    pub fn loopback(data: &Path) -> Self {
        Self { data: data.to_owned(), ip: "127.0.0.1".to_owned(), within: Vec::new() }
    }
}

/// A running node. Dropping it kills the process and, unless a test is failing, removes its data.
pub struct Node {
    child: Child,
    ready: Ready,
    place: Place,
    log: Arc<Mutex<Vec<String>>>,
    extra: Vec<String>,
    scratch: Option<tempfile::TempDir>,
}

impl Node {
    /// `purlin node init` in a fresh directory, on free ports, with `extra` arguments.
    pub fn init(extra: &[&str]) -> Self {
        let scratch = scratch("node-");
        let place = Place::loopback(&scratch.path().join("data"));
        let extra: Vec<String> = extra.iter().map(|word| (*word).to_owned()).collect();
        let mut node = Self::start_at(place, &["init"], extra);
        node.scratch = Some(scratch);
        node
    }

    /// `purlin node init` in a directory of the caller's, on free ports.
    pub fn init_in(data: &Path) -> Self {
        Self::start_at(Place::loopback(data), &["init"], Vec::new())
    }

    /// `purlin node HOW…` at a place, on free ports, with `extra` arguments, which later starts get
    /// too.
    pub fn start_at(place: Place, how: &[&str], extra: Vec<String>) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let any = format!("{}:0", place.ip);
        let (child, ready) = launch(how, &place, [&any, &any, &any], &extra, &log);
        Self { child, ready, place, log, extra, scratch: None }
    }

    /// What the node said when it became ready.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// `HOST:PORT` for clients.
    pub fn bootstrap(&self) -> &str {
        &self.ready.kafka
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.place.data
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines of what the node logged.
    pub fn log(&self) -> String {
        self.log.lock().expect("not poisoned").join("\n")
    }

    /// SIGKILL, and wait until the process is gone.
    pub fn kill_nine(&mut self) {
        self.kill_soon();
        self.child.wait().expect("the node can be waited for");
    }

    /// SIGKILL without waiting, to hit several at once; follow it with [`Self::kill_nine`].
    pub fn kill_soon(&mut self) {
        self.child.kill().expect("the node can be killed");
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), signal).expect("the signal is sent");
    }

    /// SIGTERM, and wait for a clean end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the node can be waited for") {
                return status;
            }
            assert!(
                started.elapsed() < Duration::from_millis(STOP_MS_MAX),
                "the node did not stop within {STOP_MS_MAX} ms of SIGTERM; its log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the stopped node again on the same data and the same ports.
    pub fn restart(&mut self) {
        let ports = [self.ready.kafka.as_str(), &self.ready.rpc, &self.ready.admin];
        let (child, ready) = launch(&["start"], &self.place, ports, &self.extra, &self.log);
        assert_eq!(ready, self.ready, "a restarted node must be the same node on the same ports");
        self.child = child;
    }

    /// Resident memory now, in bytes.
    pub fn rss_bytes(&self) -> u64 {
        rss_bytes(self.pid())
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("the node can be waited for").is_none()
    }

    /// The exit code, once the process has ended by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().expect("the node can be waited for").and_then(|status| status.code())
    }

    /// Fails unless the process still runs.
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("the node can be waited for");
        assert!(ended.is_none(), "the node ended by itself: {ended:?}; its log:\n{}", self.log());
    }

    /// The body of `GET path` on the admin port, and its status code.
    pub fn admin_get(&self, path: &str) -> (u16, String) {
        http_get(&self.ready.admin, path)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Errors mean that it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            if let Some(scratch) = self.scratch.take() {
                eprintln!("the node's data is kept in {}", scratch.keep().display());
            }
            eprintln!("the end of the node's log:\n{}", self.log());
        }
    }
}

fn launch(
    how: &[&str],
    place: &Place,
    ports: [&str; 3],
    extra: &[String],
    log: &Arc<Mutex<Vec<String>>>,
) -> (Child, Ready) {
    let mut child = purlin_within(&place.within)
        .arg("node")
        .args(how)
        .arg("--data-dir")
        .arg(&place.data)
        .args(["--kafka", ports[0], "--rpc", ports[1], "--admin", ports[2]])
        .args(extra)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the purlin binary starts");
    let copy = log_copy(child.id());
    keep_log(child.stderr.take().expect("stderr is piped"), Arc::clone(log), copy);
    let stdout = child.stdout.take().expect("stdout is piped");
    let (line_out, line_in) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines();
        if let Some(Ok(line)) = lines.next() {
            let _ = line_out.send(line);
        }
        // Keep the pipe open and empty, so that the node never meets a full one.
        lines.for_each(drop);
    });
    let answer = line_in.recv_timeout(Duration::from_millis(READY_MS_MAX));
    let ready = answer.ok().as_deref().and_then(Ready::parse);
    let Some(ready) = ready else {
        let _ = child.kill();
        let status = child.wait();
        std::thread::sleep(Duration::from_millis(100));
        let log = log.lock().expect("not poisoned").join("\n");
        panic!("`purlin node {how:?}` said no `ready` line ({status:?}); its log:\n{log}");
    };
    (child, ready)
}

fn keep_log(
    stderr: impl Read + Send + 'static,
    log: Arc<Mutex<Vec<String>>>,
    mut copy: Option<std::fs::File>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(copy) = &mut copy {
                // Only a help for people; the test does not depend on it.
                let _ = writeln!(copy, "{line}");
            }
            let mut log = log.lock().expect("not poisoned");
            if log.len() >= LOG_LINES_KEPT {
                log.remove(0);
            }
            log.push(line);
        }
    });
}

/// With `PURLIN_TEST_LOGS=DIR`, the whole log of each process goes to a file of its own there.
fn log_copy(pid: u32) -> Option<std::fs::File> {
    let folder = PathBuf::from(std::env::var_os("PURLIN_TEST_LOGS")?);
    std::fs::create_dir_all(&folder).expect("PURLIN_TEST_LOGS names a directory");
    Some(std::fs::File::create(folder.join(format!("node-{pid}.log"))).expect("a log file"))
}

/// Resident memory of a process, in bytes.
pub fn rss_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0);
    kib * 1024
}

/// A bare HTTP GET: status code and body.
pub fn http_get(address: &str, path: &str) -> (u16, String) {
    try_http_get(address, path).expect("the admin port answers")
}

/// As [`http_get`], of a node that may be gone.
///
/// # Errors
/// When nobody answers, in time and in UTF-8.
pub fn try_http_get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let address: SocketAddr = address.parse().expect("an address");
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((status, body.to_owned()))
}
