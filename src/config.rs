//! Settings of a node: flags, then `PURLIN_*` environment, then a TOML file, then what `node init`
//! kept in the data directory.
//!
//! Floor 0. Reads text, gives values. The addresses and the identity are settings of our own; all
//! else goes by Kafka's broker config names (`num.partitions`, `log.retention.ms` …), which the
//! caller brings along as a list.
//!
//! Invariant: a key that nobody knows is an error with a suggestion, in every source alike.
//!
//! Must never: bind, create or look at anything but the settings file.

mod broker;
mod sources;

pub use broker::BrokerConfig;
pub use sources::{KnownBrokerKeys, NodeFlags};

use crate::types::NodeId;
use std::fmt;
use std::path::PathBuf;

/// Where Kafka clients connect unless told otherwise.
pub const KAFKA_ADDRESS_DEFAULT: &str = "127.0.0.1:9092";
/// Where other nodes connect unless told otherwise.
pub const RPC_ADDRESS_DEFAULT: &str = "127.0.0.1:9192";
/// Where probes and metrics are served unless told otherwise.
pub const ADMIN_ADDRESS_DEFAULT: &str = "127.0.0.1:9644";
/// The node id of a cluster's first node unless told otherwise.
pub const NODE_ID_DEFAULT: NodeId = NodeId(1);
/// Name of the settings that `node init` keeps in the data directory.
pub const KEPT_SETTINGS_FILE: &str = "node.toml";

/// Why settings were not understood. Every text names the source and the next step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key that does not exist.
    #[error("unknown setting '{key}' in {source_name}{}", suggestion_text(.suggestion.as_deref()))]
    UnknownKey {
        /// The key as it was written.
        key: String,
        /// The flag, variable or file.
        source_name: String,
        /// The nearest key that exists.
        suggestion: Option<String>,
    },
    /// A key that exists, with a value that does not fit.
    #[error("setting '{key}' in {source_name} has the value '{value}': {reason}")]
    BadValue {
        /// The key.
        key: String,
        /// The value as it was written.
        value: String,
        /// The flag, variable or file.
        source_name: String,
        /// What was expected.
        reason: String,
    },
    /// The settings file could not be read.
    #[error("settings file {} cannot be read: {error}; check the path given with --config", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// The settings file is not TOML.
    #[error("settings file {} is not valid TOML: {reason}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and cause.
        reason: String,
    },
    /// No data directory in any source.
    #[error("no data directory given; add --data-dir DIR (or set PURLIN_DATA_DIR)")]
    NoDataDir,
    /// `node join` without anyone to ask.
    #[error(
        "no seed given; add --seed HOST:PORT (or set PURLIN_SEED) with the rpc address of a node \
         that is in the cluster: its `ready` line names it"
    )]
    NoSeed,
}

fn suggestion_text(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}

/// What to do with the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartMode {
    /// Make a new cluster with this node as its first; the directory must hold no node yet.
    Init,
    /// Become another node of the cluster that the seeds belong to; the directory must hold no node
    /// yet, or one whose join did not come to its end.
    Join,
    /// Start the node that the directory holds.
    Start,
}

/// A host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A DNS name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The port; 0 means "the one that the listener got".
    pub port: u16,
}

impl HostPort {
    /// Reads `host:port`, with brackets around an IPv6 address. Nothing for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        if bare.is_empty() || bare.contains(|c: char| c.is_whitespace() || c == '/') {
            return None;
        }
        Some(Self { host: bare.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// All that a node needs to know before it starts.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// New or existing.
    pub mode: StartMode,
    /// Where everything of the node lies.
    pub data_dir: PathBuf,
    /// The wanted node id. `None`: the kept one, [`NODE_ID_DEFAULT`] for a new cluster's first node, or
    /// the next free one for a node that joins.
    pub node_id: Option<NodeId>,
    /// Listener for Kafka clients. Port 0 takes any free one.
    pub kafka: HostPort,
    /// Listener for other nodes.
    pub rpc: HostPort,
    /// Listener for probes and metrics.
    pub admin: HostPort,
    /// What clients are told to connect to. `None`: the bound address of `kafka`.
    pub advertise: Option<HostPort>,
    /// The failure domain that this node is in.
    pub rack: Option<String>,
    /// Nodes of the cluster to join, by their rpc addresses; for `init`, nodes that must not be in a
    /// cluster yet.
    pub seeds: Vec<HostPort>,
    /// Settings under Kafka's broker config names.
    pub broker: BrokerConfig,
}

impl NodeConfig {
    /// A node in `data_dir` with every setting at its default; tests and embedders start here.
    #[must_use]
    pub fn new(mode: StartMode, data_dir: PathBuf) -> Self {
        let address = |text: &str| {
            HostPort::parse(text).expect("invariant: the default addresses are well-formed")
        };
        Self {
            mode,
            data_dir,
            node_id: None,
            kafka: address(KAFKA_ADDRESS_DEFAULT),
            rpc: address(RPC_ADDRESS_DEFAULT),
            admin: address(ADMIN_ADDRESS_DEFAULT),
            advertise: None,
            rack: None,
            seeds: Vec::new(),
            broker: BrokerConfig::default(),
        }
    }
}
