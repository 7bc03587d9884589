//! The value that counts, and where it comes from.

use super::super::election::insync_min_of;
use super::super::model::ConfigMap;
use super::broker::BROKER_CONFIGS;
use super::definition::{ConfigDef, ConfigKind, Dynamic};
use super::shared::{MIN_ISR, SHARED};
use super::topic::TOPIC_CONFIGS;
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
    /// Replicas of the topic's partitions (of no topic: of new ones), which
    /// `min.insync.replicas` follows where it is not set.
    pub replicas: usize,
    /// Registered brokers, which `default.replication.factor` follows where it is not set.
    pub brokers: usize,
}

/// The definition of a topic config.
pub(super) fn topic_definition(name: &str) -> Option<&'static ConfigDef> {
    find(TOPIC_CONFIGS, name)
}

/// The definition of a broker config.
pub(super) fn broker_definition(name: &str) -> Option<&'static ConfigDef> {
    find(BROKER_CONFIGS, name)
}

fn find(definitions: &'static [ConfigDef], name: &str) -> Option<&'static ConfigDef> {
    let at = definitions.binary_search_by(|definition| definition.name.cmp(name)).ok()?;
    definitions.get(at)
}

impl<'a> ConfigLayers<'a> {
    /// Every topic config with the value that counts, sorted by name.
    #[must_use]
    pub fn describe_topic(&self) -> Vec<ConfigEntry> {
        TOPIC_CONFIGS
            .iter()
            .map(|definition| {
                let mut synonyms = Vec::new();
                let own = self.topic.and_then(|map| map.get(definition.name));
                if let Some(value) = own {
                    synonyms.push(ConfigSynonymValue {
                        name: definition.name,
                        value: Some(value.clone()),
                        source: ConfigSource::Topic,
                    });
                }
                // Values of a more general layer count only where the more special ones are
                // silent about every synonym; within a layer the first synonym wins.
                let behind = definition.synonyms.iter();
                for (map, source) in self.broker_layers(definition.name) {
                    synonyms.extend(behind.clone().filter_map(|synonym| {
                        let name = broker_definition(synonym.name)?.name;
                        let value = Some(map?.get(name)?.clone());
                        Some(ConfigSynonymValue { name, value, source })
                    }));
                }
                synonyms.extend(behind.filter_map(|synonym| {
                    let broker = broker_definition(synonym.name)?;
                    let value = Some(self.default_of(broker, self.replicas)?);
                    Some(ConfigSynonymValue {
                        name: broker.name,
                        value,
                        source: ConfigSource::Default,
                    })
                }));
                let (value, source) = self.topic_value_and_source(definition);
                entry(definition, value, source, false, synonyms)
            })
            .collect()
    }

    /// Every broker config with the value that counts, sorted by name.
    #[must_use]
    pub fn describe_broker(&self) -> Vec<ConfigEntry> {
        BROKER_CONFIGS
            .iter()
            .map(|definition| {
                let mut synonyms: Vec<ConfigSynonymValue> = self
                    .broker_layers(definition.name)
                    .into_iter()
                    .filter_map(|(map, source)| {
                        let value = Some(map?.get(definition.name)?.clone());
                        Some(ConfigSynonymValue { name: definition.name, value, source })
                    })
                    .collect();
                let default = self.default_of(definition, self.brokers);
                synonyms.extend(default.map(|default| ConfigSynonymValue {
                    name: definition.name,
                    value: Some(default),
                    source: ConfigSource::Default,
                }));
                let (value, source) = self.broker_value_and_source(definition);
                let read_only = definition.dynamic == Dynamic::ReadOnly;
                entry(definition, value, source, read_only, synonyms)
            })
            .collect()
    }

    /// The value of one broker config: `num.partitions`, `default.replication.factor`,
    /// `auto.create.topics.enable` and the like. Nothing for a config that has none, or that is
    /// not known.
    #[must_use]
    pub fn broker_value(&self, name: &str) -> Option<String> {
        self.broker_value_and_source(broker_definition(name)?).0
    }

    /// A broker config that counts something.
    #[must_use]
    pub fn broker_number(&self, name: &str) -> Option<i64> {
        self.broker_value(name)?.trim().parse().ok()
    }

    /// A broker config that is on or off.
    #[must_use]
    pub fn broker_flag(&self, name: &str) -> Option<bool> {
        Some(self.broker_value(name)?.trim().eq_ignore_ascii_case("true"))
    }

    /// The value of one topic config; empty for one that is not known, which no caller asks for.
    pub(super) fn topic_value(&self, name: &str) -> String {
        let value =
            topic_definition(name).and_then(|definition| self.topic_value_and_source(definition).0);
        debug_assert!(value.is_some(), "{name} is a topic config with a value");
        value.unwrap_or_default()
    }

    /// The layers of broker configs that count for a config of this name: what all nodes must
    /// agree on is not taken from one of them.
    fn broker_layers(&self, name: &str) -> [(Option<&'a ConfigMap>, ConfigSource); 3] {
        let own = !SHARED.contains(&name);
        [
            (self.broker.filter(|_| own), ConfigSource::Broker),
            (self.broker_default, ConfigSource::BrokerDefault),
            (Some(&self.statics.0).filter(|_| own), ConfigSource::StaticBroker),
        ]
    }

    /// The value of a config that is set nowhere. Two follow the size of the cluster.
    fn default_of(&self, definition: &ConfigDef, replicas: usize) -> Option<String> {
        match definition.name {
            MIN_ISR => Some(insync_min_of(None, replicas).to_string()),
            "default.replication.factor" => Some(self.brokers.clamp(1, 3).to_string()),
            _ => definition.default.map(str::to_owned),
        }
    }

    fn topic_value_and_source(&self, definition: &ConfigDef) -> (Option<String>, ConfigSource) {
        if let Some(value) = self.topic.and_then(|map| map.get(definition.name)) {
            return (Some(value.clone()), ConfigSource::Topic);
        }
        for (map, source) in self.broker_layers(definition.name) {
            for synonym in definition.synonyms {
                let Some(value) = map.and_then(|map| map.get(synonym.name)) else { continue };
                if synonym.scale == 1 {
                    return (Some(value.clone()), source);
                }
                // Hours or minutes; a negative number means "no limit" in every unit.
                if let Ok(count) = value.trim().parse::<i64>() {
                    let scaled =
                        if count < 0 { count } else { count.saturating_mul(synonym.scale) };
                    return (Some(scaled.to_string()), source);
                }
            }
        }
        (self.default_of(definition, self.replicas), ConfigSource::Default)
    }

    fn broker_value_and_source(&self, definition: &ConfigDef) -> (Option<String>, ConfigSource) {
        for (map, source) in self.broker_layers(definition.name) {
            if let Some(value) = map.and_then(|map| map.get(definition.name)) {
                return (Some(value.clone()), source);
            }
        }
        (self.default_of(definition, self.brokers), ConfigSource::Default)
    }
}

fn entry(
    definition: &ConfigDef,
    value: Option<String>,
    source: ConfigSource,
    read_only: bool,
    mut synonyms: Vec<ConfigSynonymValue>,
) -> ConfigEntry {
    let sensitive = definition.kind == ConfigKind::Password;
    if sensitive {
        synonyms.iter_mut().for_each(|synonym| synonym.value = None);
    }
    ConfigEntry {
        name: definition.name,
        value: if sensitive { None } else { value },
        source,
        kind: definition.kind,
        read_only,
        sensitive,
        doc: definition.doc,
        synonyms,
    }
}
