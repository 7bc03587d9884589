//! Topic and broker configs: their definitions, their checks, and the value that counts.

mod broker;
mod definition;
mod effective;
mod topic;

pub use broker::BROKER_CONFIGS;
pub use definition::{ConfigDef, ConfigKind, Dynamic, Synonym, Valid};
pub use effective::{ConfigEntry, ConfigLayers, ConfigSource, ConfigSynonymValue, StaticConfigs};
pub use topic::{TOPIC_CONFIGS, TopicConfig};

use crate::types::{NodeId, TopicName};
use serde::{Deserialize, Serialize};

/// Whose configs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConfigResource {
    /// One topic.
    Topic(TopicName),
    /// One broker.
    Broker(NodeId),
    /// Every broker that has no value of its own: Kafka's broker resource with the empty name.
    BrokerDefault,
}
