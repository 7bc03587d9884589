//! The value that counts, and where it comes from.

use super::super::model::ConfigMap;
use super::{ConfigKind, Dynamic};
use std::collections::BTreeMap;

/// The settings of this process that stand behind the dynamic ones: broker config name to value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StaticConfigs(pub BTreeMap<String, String>);

/// Where a value comes from. The numbers are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic = 1,
    /// Set on this broker, while running.
    Broker = 2,
    /// Set for all brokers, while running.
    BrokerDefault = 3,
    /// In the settings that the process started with.
    StaticBroker = 4,
    /// Nowhere.
    Default = 5,
}

/// One config as DescribeConfigs and CreateTopics report it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: &'static str,
    /// The value that counts; `None` for null and for secrets.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Its type.
    pub kind: ConfigKind,
    /// Whether it can't be changed through the protocol.
    pub read_only: bool,
    /// Whether the value is a secret, and left out.
    pub sensitive: bool,
    /// What it does.
    pub doc: &'static str,
    /// Every value that is set somewhere, the one that counts first.
    pub synonyms: Vec<ConfigSynonymValue>,
}

/// One value behind a [`ConfigEntry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonymValue {
    /// The config that it is set as; a broker config's name differs from the topic's.
    pub name: &'static str,
    /// The value, as set.
    pub value: Option<String>,
    /// Where.
    pub source: ConfigSource,
}

/// All that may decide a value, most important first.
#[derive(Debug, Clone, Copy)]
pub struct ConfigLayers<'a> {
    /// What is set on the topic, for topic configs.
    pub topic: Option<&'a ConfigMap>,
    /// What is set on the broker.
    pub broker: Option<&'a ConfigMap>,
    /// What is set for all brokers.
    pub broker_default: Option<&'a ConfigMap>,
    /// The settings of the process.
    pub statics: &'a StaticConfigs,
}

impl ConfigLayers<'_> {
    /// Every topic config with the value that counts, sorted by name.
    #[must_use]
    pub fn describe_topic(&self) -> Vec<ConfigEntry> {
        todo!()
    }

    /// Every broker config with the value that counts, sorted by name.
    #[must_use]
    pub fn describe_broker(&self) -> Vec<ConfigEntry> {
        todo!()
    }

    /// The value of one broker config: `num.partitions`, `default.replication.factor`,
    /// `auto.create.topics.enable` and the like.
    #[must_use]
    pub fn broker_value(&self, name: &str) -> Option<String> {
        let _ = (name, Dynamic::ReadOnly);
        todo!()
    }
}
