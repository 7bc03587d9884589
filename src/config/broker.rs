//! Broker settings under Kafka's names, with Kafka's defaults.

use crate::limits;
use std::collections::BTreeMap;

/// The broker settings that this node was given. What is not in here is at its default.
///
/// Values were checked against their definitions when they were loaded; a value that does not
/// parse all the same (a test wrote it) counts as not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerConfig {
    given: BTreeMap<String, String>,
}

impl BrokerConfig {
    /// The settings of `given`, by Kafka's names.
    #[must_use]
    pub fn new(given: BTreeMap<String, String>) -> Self {
        Self { given }
    }

    /// Sets one value.
    pub fn set(&mut self, name: &str, value: &str) {
        self.given.insert(name.to_owned(), value.to_owned());
    }

    /// What was given, by name. `DescribeConfigs` reports these as static broker configs.
    #[must_use]
    pub fn given(&self) -> &BTreeMap<String, String> {
        &self.given
    }

    /// The value of one setting, if it was given.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> T {
        self.get(name).and_then(|value| value.trim().parse().ok()).unwrap_or(default)
    }

    fn flag(&self, name: &str, default: bool) -> bool {
        match self.get(name).map(str::trim) {
            Some(value) if value.eq_ignore_ascii_case("true") => true,
            Some(value) if value.eq_ignore_ascii_case("false") => false,
            _ => default,
        }
    }

    /// `num.partitions`: partitions of a topic whose creator named no number.
    #[must_use]
    pub fn partitions_default(&self) -> i32 {
        self.number("num.partitions", 1)
    }

    /// `default.replication.factor`: replicas of a topic whose creator named no number; -1 where
    /// nothing is set, and the number of brokers decides.
    #[must_use]
    pub fn replication_factor_default(&self) -> i16 {
        self.number("default.replication.factor", -1)
    }

    /// `auto.create.topics.enable`: whether a metadata request may create the topics it names.
    #[must_use]
    pub fn auto_create_topics(&self) -> bool {
        self.flag("auto.create.topics.enable", true)
    }

    /// `max.connections`: client connections on the whole node.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.number("max.connections", limits::CLIENT_CONNECTIONS_MAX_DEFAULT)
    }

    /// `max.connections.per.ip`: client connections from one address.
    #[must_use]
    pub fn connections_per_address_max(&self) -> usize {
        self.number("max.connections.per.ip", limits::CLIENT_CONNECTIONS_PER_ADDRESS_MAX_DEFAULT)
    }

    /// `socket.request.max.bytes`: bytes of one request frame.
    #[must_use]
    pub fn request_bytes_max(&self) -> usize {
        self.number("socket.request.max.bytes", limits::REQUEST_BYTES_MAX)
            .min(limits::REQUEST_BYTES_MAX)
    }

    /// `fetch.max.bytes`: bytes of one fetch response.
    #[must_use]
    pub fn fetch_bytes_max(&self) -> usize {
        self.number("fetch.max.bytes", limits::FETCH_BYTES_MAX).min(limits::FETCH_BYTES_MAX)
    }

    /// `connections.max.idle.ms`: how long a silent client connection is kept.
    #[must_use]
    pub fn connection_idle_ms_max(&self) -> u64 {
        self.number("connections.max.idle.ms", 600_000)
    }

    /// `producer.id.expiration.ms`: how long the state of an idle producer is kept.
    #[must_use]
    pub fn producer_expiration_ms(&self) -> i64 {
        self.number("producer.id.expiration.ms", 86_400_000)
    }

    /// `replica.lag.time.max.ms`: how long a follower may stay behind before it leaves the ISR.
    #[must_use]
    pub fn replica_lag_ms_max(&self) -> i64 {
        self.number("replica.lag.time.max.ms", 30_000)
    }

    /// `broker.heartbeat.interval.ms`: time between two heartbeats to the controller.
    #[must_use]
    pub fn heartbeat_interval_ms(&self) -> u64 {
        self.number("broker.heartbeat.interval.ms", limits::BROKER_HEARTBEAT_MS).max(1)
    }

    /// `broker.session.timeout.ms`: silence after which a node that is controller fences a broker.
    #[must_use]
    pub fn session_timeout_ms(&self) -> u64 {
        self.number("broker.session.timeout.ms", limits::BROKER_SESSION_TIMEOUT_MS).max(1)
    }

    /// `follower.replication.throttled.rate`: bytes a second that this node copies with, all
    /// together, into replicas that are far behind.
    #[must_use]
    pub fn follower_throttled_rate(&self) -> u64 {
        self.number(
            "follower.replication.throttled.rate",
            limits::REPLICA_CATCH_UP_BYTES_PER_SECOND_DEFAULT,
        )
        .max(1)
    }

    /// `purlin.metadata.voters`: how many nodes vote in the metadata group, once there are so many.
    #[must_use]
    pub fn metadata_voters(&self) -> usize {
        self.number("purlin.metadata.voters", limits::METADATA_VOTERS)
    }

    /// `auto.leader.rebalance.enable`: whether leadership goes back to preferred replicas by itself.
    #[must_use]
    pub fn auto_leader_rebalance(&self) -> bool {
        self.flag("auto.leader.rebalance.enable", true)
    }

    /// `leader.imbalance.check.interval.seconds`: time between two looks at that.
    #[must_use]
    pub fn leader_rebalance_interval_s(&self) -> u64 {
        self.number("leader.imbalance.check.interval.seconds", limits::LEADER_REBALANCE_INTERVAL_S)
    }

    /// `log.retention.check.interval.ms`: time between two looks for segments to delete.
    #[must_use]
    pub fn retention_check_interval_ms(&self) -> u64 {
        self.number("log.retention.check.interval.ms", 300_000).max(1)
    }

    /// `log.flush.offset.checkpoint.interval.ms`: time between two writes of the checkpoints.
    #[must_use]
    pub fn checkpoint_interval_ms(&self) -> u64 {
        self.number("log.flush.offset.checkpoint.interval.ms", 60_000).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_values_win_over_defaults_and_nonsense_counts_as_not_given() {
        let mut config = BrokerConfig::default();
        assert!(config.auto_create_topics());
        assert_eq!(config.partitions_default(), 1);
        config.set("num.partitions", " 6 ");
        config.set("auto.create.topics.enable", "FALSE");
        config.set("max.connections", "many");
        assert_eq!(config.partitions_default(), 6);
        assert!(!config.auto_create_topics());
        assert_eq!(config.connections_max(), limits::CLIENT_CONNECTIONS_MAX_DEFAULT);
    }
}
