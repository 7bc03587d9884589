//! What the tests run against: the binary under test or, to know the tests good, Apache Kafka.

use super::shell::{Guard, run_well};
use super::{Node, scratch, tools};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A running broker.
pub enum Broker {
    /// Ours.
    Purlin(Node),
    /// Apache Kafka, from the jars that also hold the clients.
    Kafka {
        /// The Java process.
        process: Guard,
        /// `HOST:PORT`.
        bootstrap: String,
        /// How to start it again.
        start: Box<Command>,
        /// Its files.
        folder: tempfile::TempDir,
    },
}

impl Broker {
    /// Starts the one that `PURLIN_TEST_AGAINST` names.
    pub fn start() -> Self {
        match std::env::var("PURLIN_TEST_AGAINST").as_deref() {
            Ok("kafka") => apache_kafka(),
            Ok(other) => panic!("PURLIN_TEST_AGAINST is `{other}`; it can be `kafka`"),
            Err(_) => Self::Purlin(Node::init(&[])),
        }
    }

    /// Stops it cleanly; its files stay until it is dropped.
    pub fn stop(&mut self) {
        match self {
            Self::Purlin(node) => {
                let status = node.terminate();
                assert!(status.success(), "SIGTERM must end with 0, not {status}:\n{}", node.log());
            }
            Self::Kafka { process, .. } => {
                let pid = process.0.id().to_string();
                let sent =
                    Command::new("kill").args(["-TERM", &pid]).status().expect("`kill` runs");
                assert!(sent.success(), "could not send SIGTERM to {pid}");
                process.0.wait().expect("Apache Kafka can be waited for");
            }
        }
    }

    /// SIGKILL, and wait until the process is gone.
    pub fn kill_nine(&mut self) {
        match self {
            Self::Purlin(node) => node.kill_nine(),
            Self::Kafka { process, .. } => {
                process.0.kill().expect("Apache Kafka can be killed");
                process.0.wait().expect("Apache Kafka can be waited for");
            }
        }
    }

    /// Starts the stopped broker again, on the same data and ports.
    pub fn restart(&mut self) {
        match self {
            Self::Purlin(node) => node.restart(),
            Self::Kafka { process, bootstrap, start, .. } => {
                *process = start_kafka(start, bootstrap)
            }
        }
    }

    /// `HOST:PORT` for clients.
    pub fn bootstrap(&self) -> &str {
        match self {
            Self::Purlin(node) => node.bootstrap(),
            Self::Kafka { bootstrap, .. } => bootstrap,
        }
    }

    /// Resident memory in bytes, of ours only: a Java machine takes what it is given.
    pub fn rss_bytes(&self) -> Option<u64> {
        match self {
            Self::Purlin(node) => Some(node.rss_bytes()),
            Self::Kafka { .. } => None,
        }
    }

    /// Fails unless the process still runs.
    pub fn assert_alive(&mut self) {
        match self {
            Self::Purlin(node) => node.assert_alive(),
            Self::Kafka { process, .. } => {
                let ended = process.0.try_wait().expect("Apache Kafka can be waited for");
                assert!(ended.is_none(), "Apache Kafka ended by itself: {ended:?}");
            }
        }
    }

    /// The last lines of what ours logged.
    pub fn log(&self) -> String {
        match self {
            Self::Purlin(node) => node.log(),
            Self::Kafka { .. } => String::new(),
        }
    }

    /// The directory below which the partitions' directories lie.
    pub fn data(&self) -> PathBuf {
        match self {
            Self::Purlin(node) => node.data().to_path_buf(),
            Self::Kafka { folder, .. } => folder.path().join("data"),
        }
    }

    /// The broker's id.
    pub fn node_id(&self) -> String {
        match self {
            Self::Purlin(node) => node.ready().node.clone(),
            Self::Kafka { .. } => "1".to_owned(),
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn write_properties(path: &Path, port: u16, controller: u16, data: &Path) {
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\nlog.dirs={}\n",
        data.display()
    );
    std::fs::write(path, text).expect("the properties can be written");
}

fn apache_kafka() -> Broker {
    let jars = tools::kafka_jars().unwrap_or_else(|error| panic!("{error}"));
    let folder = scratch("apache-kafka-");
    let properties = folder.path().join("server.properties");
    let port = free_port();
    write_properties(&properties, port, free_port(), &folder.path().join("data"));
    let mut format = Command::new("java");
    format.args([
        "-cp",
        &jars,
        "kafka.tools.StorageTool",
        "format",
        "-t",
        "cGxhbmtzLWFuZC1iZWFtcw",
        "-c",
    ]);
    run_well(format.arg(&properties), Duration::from_secs(60))
        .unwrap_or_else(|error| panic!("{error}"));
    let mut start = Command::new("java");
    start.args(["-Xmx1g", "-cp", &jars, "kafka.Kafka"]).arg(&properties);
    start.stdout(Stdio::null()).stderr(Stdio::null());
    let bootstrap = format!("127.0.0.1:{port}");
    let process = start_kafka(&mut start, &bootstrap);
    // The port opens a little before a new broker is unfenced.
    std::thread::sleep(Duration::from_secs(2));
    Broker::Kafka { process, bootstrap, start: Box::new(start), folder }
}

fn start_kafka(start: &mut Command, bootstrap: &str) -> Guard {
    let process = Guard(start.spawn().expect("java starts"));
    let started = Instant::now();
    while TcpStream::connect(bootstrap).is_err() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "Apache Kafka did not open {bootstrap}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    process
}
