//! A process of the cluster: start, lifecycle, reconciliation, admin port.
//!
//! Floor 6. The one place that joins the rooms: metadata decides which partitions this node
//! holds, `reconcile` makes them so, and the listeners serve them.
//!
//! Invariant: the line `ready …` is printed only when clients are served, and the clean-shutdown
//! mark is written only when every log was flushed and closed.
//!
//! Must never: decide about replication or metadata itself.

mod admin;
mod advertise;
mod broker;
mod counts;
mod data_dir;
mod error;
mod founding;
mod join;
mod lifecycle;
mod maintenance;
mod metrics;
mod peers;
mod petitions;
mod reconcile;
mod services;
mod start;

pub use error::Error;
pub use lifecycle::{RunningNode, Signals};
pub use start::start;

use crate::config::{self, KnownBrokerKeys, NodeConfig, NodeFlags, StartMode};
use crate::metadata::state::configs::{BROKER_CONFIGS, VERSION};

/// The one listener for Kafka clients.
mod kafka_listener {
    /// Its name, in Kafka's sense.
    pub(super) const NAME: &str = "PLAINTEXT";
    /// Kafka's number of its security protocol.
    pub(super) const PLAINTEXT: i16 = 0;
}

/// Broker configs that follow from flags of our own, and are not taken as settings.
const DERIVED: [&str; 9] = [
    "advertised.listeners",
    "broker.id",
    "cluster.id",
    "listeners",
    "log.dir",
    "log.dirs",
    "node.id",
    "process.roles",
    VERSION,
];

/// Puts the settings of a node together from flags, the process's environment and files.
///
/// # Errors
/// The first key or value that does not fit, with a suggestion.
pub fn load_config(mode: StartMode, flags: &NodeFlags) -> Result<NodeConfig, config::Error> {
    let names: Vec<&str> = BROKER_CONFIGS
        .iter()
        .map(|definition| definition.name)
        .filter(|name| !DERIVED.contains(name))
        .collect();
    let check = |name: &str, value: &str| {
        let definition = BROKER_CONFIGS.iter().find(|definition| definition.name == name);
        definition.map_or(Ok(()), |definition| definition.check_setting(value))
    };
    let known = KnownBrokerKeys { names: &names, check: &check };
    NodeConfig::load(mode, flags, std::env::vars(), known)
}

/// Whether a data directory holds a node that `node start` can start.
///
/// # Errors
/// When the directory cannot be looked at.
pub fn holds_node(data_dir: &std::path::Path) -> Result<bool, Error> {
    data_dir::holds_node(data_dir)
}

/// Starts a node, says `ready …` on stdout once it serves, and blocks until SIGTERM or SIGINT; then
/// stops cleanly. What `purlin node init` and `purlin node start` do.
///
/// # Errors
/// As [`start`] and [`RunningNode::wait`].
pub fn run(config: NodeConfig) -> Result<(), Error> {
    let node = start(config)?;
    let signals = node.listen_for_signals()?;
    // Whoever waits for this line may be gone; the node serves all the same.
    let mut stdout = std::io::stdout().lock();
    let _ = std::io::Write::write_all(&mut stdout, format!("{}\n", node.ready_line()).as_bytes());
    let _ = std::io::Write::flush(&mut stdout);
    drop(stdout);
    node.wait(signals)
}
