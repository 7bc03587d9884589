//! Topic and broker configs: their definitions, their checks, and the value that counts.

mod broker;
mod change;
mod definition;
mod effective;
mod effects;
mod shared;
mod topic;
mod value;

pub(super) use change::{alter, changed};

pub use broker::BROKER_CONFIGS;
pub use definition::{ConfigDef, ConfigKind, Dynamic, Synonym, Valid};
pub use effective::{ConfigEntry, ConfigLayers, ConfigSource, ConfigSynonymValue, StaticConfigs};
pub use shared::SharedConfig;
pub use topic::{TOPIC_CONFIGS, TopicConfig};

use crate::types::{NodeId, TopicName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The broker config that moves leadership away from a broker.
pub const DRAIN: &str = "purlin.drain";

/// The broker config that says which release a broker runs; set by the broker itself.
pub const VERSION: &str = "purlin.version";

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

impl fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Broker(id) => write!(f, "broker {id}"),
            Self::BrokerDefault => f.write_str("the brokers' defaults"),
        }
    }
}
