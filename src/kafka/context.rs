//! What the client port needs of the rest of the node.

use std::path::PathBuf;
use std::sync::Arc;

use super::metrics::Metrics;
use crate::config::BrokerConfig;
use crate::env::clock::Clock;
use crate::env::disk::Disk;
use crate::metadata::state::configs::StaticConfigs;
use crate::metadata::{self};
use crate::partition;
use crate::types::NodeId;

/// The rooms below, as the client port reaches them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// This node.
    pub node_id: NodeId,
    /// Name of the listener that these connections came in on (`PLAINTEXT`): clients are told the
    /// brokers' endpoints of the same name.
    pub listener_name: Arc<str>,
    /// The metadata group.
    pub metadata: metadata::Handle,
    /// The partitions that this node holds.
    pub partitions: Arc<partition::Table>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// The settings of this process, by Kafka's names.
    pub config: Arc<BrokerConfig>,
    /// The same settings, as the layer that topic configs fall back to.
    pub static_configs: Arc<StaticConfigs>,
    /// Where the partitions lie, for DescribeLogDirs.
    pub data_dir: PathBuf,
    /// The file system of the data directory.
    pub disk: Arc<dyn Disk>,
    /// Counters, shared with whoever prints them.
    pub metrics: Arc<Metrics>,
}
