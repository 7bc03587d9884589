//! The state as records: pairs of key and value, for snapshots and for the state store.
//!
//! ```text
//! key                                value
//! 'b' node id u32                    broker
//! 'c' 0 name | 1 node id u32 | 2     configs of a topic, of a broker, of all brokers
//! 'f' name                           level of a feature
//! 'i'                                next producer id
//! 'n' node id u32                    node: its directory, whether it was removed
//! 'p' topic id 16, partition u32     partition
//! 't' topic id 16                    name, creation time, number of partitions
//! ```
//!
//! Numbers in keys are big-endian, so that keys sort as numbers do. Values are in the form of
//! [`super::codec`].
//!
//! Invariants: [`visit`] and [`Loader`] are each other's inverse; [`changes`] between two states
//! turns the records of the one into those of the other.

use super::codec::{self, CodecError};
use super::configs::ConfigResource;
use super::delta::{Delta, TopicChange};
use super::model::{Broker, ConfigMap, Node, Partition, State, Topic};
use super::topics;
use crate::types::{NodeId, PartitionIndex, ProducerId, TimestampMs, TopicId, TopicName};
use rpds::VectorSync;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Version of all values below.
const VERSION: u8 = 2;

/// Why records are not a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The key has none of the known forms.
    #[error("record key {0:02x?} is not known")]
    Key(Vec<u8>),
    /// The value under the key is damaged, or too new.
    #[error("record {key:02x?}: {error}")]
    Value {
        /// The key.
        key: Vec<u8>,
        /// What is wrong.
        error: CodecError,
    },
    /// Records that contradict each other, or lack each other.
    #[error("records do not fit together: {0}")]
    Mismatch(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TopicRecord {
    name: TopicName,
    created_at: TimestampMs,
    partition_count: u32,
}

impl TopicRecord {
    fn of(topic: &Topic) -> Self {
        Self {
            name: topic.name.clone(),
            created_at: topic.created_at,
            partition_count: u32::try_from(topic.partition_count()).unwrap_or(u32::MAX),
        }
    }
}

fn broker_key(id: NodeId) -> Vec<u8> {
    [&b"b"[..], &id.0.to_be_bytes()].concat()
}

fn config_key(resource: &ConfigResource) -> Vec<u8> {
    match resource {
        ConfigResource::Topic(name) => [b"c\0", name.as_str().as_bytes()].concat(),
        ConfigResource::Broker(id) => [&b"c\x01"[..], &id.0.to_be_bytes()].concat(),
        ConfigResource::BrokerDefault => b"c\x02".to_vec(),
    }
}

fn feature_key(name: &str) -> Vec<u8> {
    [b"f", name.as_bytes()].concat()
}

fn producer_ids_key() -> Vec<u8> {
    b"i".to_vec()
}

fn node_key(id: NodeId) -> Vec<u8> {
    [&b"n"[..], &id.0.to_be_bytes()].concat()
}

fn partition_key(topic: TopicId, index: PartitionIndex) -> Vec<u8> {
    [&b"p"[..], &topic.0, &index.0.to_be_bytes()].concat()
}

fn topic_key(topic: TopicId) -> Vec<u8> {
    [&b"t"[..], &topic.0].concat()
}

/// Shows every record of a state, always in the same order.
pub fn visit(state: &State, mut each: impl FnMut(Vec<u8>, Vec<u8>)) {
    for broker in state.brokers() {
        each(broker_key(broker.id), codec::encode(VERSION, &**broker));
    }
    for (resource, configs) in state.all_configs() {
        each(config_key(resource), codec::encode(VERSION, configs));
    }
    for (name, level) in state.features() {
        each(feature_key(name), codec::encode(VERSION, &level));
    }
    each(producer_ids_key(), codec::encode(VERSION, &state.producer_id_next));
    for node in state.nodes() {
        each(node_key(node.id), codec::encode(VERSION, &**node));
    }
    for topic in state.topics() {
        each(topic_key(topic.id), codec::encode(VERSION, &TopicRecord::of(topic)));
        for (index, partition) in topic.partitions() {
            each(partition_key(topic.id, index), codec::encode(VERSION, partition));
        }
    }
}

/// One record that differs between two states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChange {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value in the earlier state, if it has one there.
    pub before: Option<Vec<u8>>,
    /// Its value in the later state, if it has one there.
    pub after: Option<Vec<u8>>,
}

/// The records that differ between two states, given the delta between them.
#[must_use]
pub fn changes(before: &State, after: &State, delta: &Delta) -> Vec<RecordChange> {
    fn value<T: Serialize>(value: Option<&T>) -> Option<Vec<u8>> {
        value.map(|value| codec::encode(VERSION, value))
    }
    let mut out = Vec::new();
    let mut push = |key: Vec<u8>, before: Option<Vec<u8>>, after: Option<Vec<u8>>| {
        if before != after {
            out.push(RecordChange { key, before, after });
        }
    };
    for id in &delta.brokers {
        let of = |state: &State| value(state.broker(*id).map(|broker| &**broker));
        push(broker_key(*id), of(before), of(after));
    }
    for resource in &delta.configs {
        let of = |state: &State| value(state.configs(resource));
        push(config_key(resource), of(before), of(after));
    }
    if delta.features {
        let names = before.features().chain(after.features()).map(|(name, _)| name);
        let names: std::collections::BTreeSet<&str> = names.collect();
        for name in names {
            let of = |state: &State| value(state.features.get(name));
            push(feature_key(name), of(before), of(after));
        }
    }
    if delta.producer_ids {
        let of = |state: &State| value(Some(&state.producer_id_next));
        push(producer_ids_key(), of(before), of(after));
    }
    for id in &delta.nodes {
        let of = |state: &State| value(state.node(*id).map(|node| &**node));
        push(node_key(*id), of(before), of(after));
    }
    for (id, change) in &delta.topics {
        let (old, new) = (before.topic_by_id(*id), after.topic_by_id(*id));
        let of = |topic: Option<&Topic>| value(topic.map(TopicRecord::of).as_ref());
        push(topic_key(*id), of(old), of(new));
        let mut push_partition = |index: PartitionIndex| {
            let of = |topic: Option<&Topic>| value(topic.and_then(|topic| topic.partition(index)));
            push(partition_key(*id, index), of(old), of(new));
        };
        match change {
            TopicChange::Changed(indexes) => {
                indexes.iter().copied().for_each(&mut push_partition);
            }
            TopicChange::Created | TopicChange::Deleted(_) => {
                let count = old.into_iter().chain(new).map(Topic::partition_count).max();
                (0..).take(count.unwrap_or(0)).map(PartitionIndex).for_each(&mut push_partition);
            }
        }
    }
    out
}

/// A number that sums up one record. The sum over all records tells whether any is missing,
/// changed, or too much, and can be kept up to date record by record.
#[must_use]
pub fn fingerprint(key: &[u8], value: &[u8]) -> u64 {
    let low = crc32c::crc32c_append(crc32c::crc32c(key), value);
    let high = crc32c::crc32c_append(crc32c::crc32c(value), key);
    let mut mixed = (u64::from(high) << 32) | u64::from(low);
    // The finalizer of splitmix64: a sum of bare CRCs would let differences cancel out.
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Puts a state together from records in any order.
#[derive(Debug, Default)]
pub struct Loader {
    state: State,
    topics: BTreeMap<TopicId, TopicRecord>,
    partitions: BTreeMap<TopicId, BTreeMap<PartitionIndex, Partition>>,
}

impl Loader {
    /// Takes one record.
    ///
    /// # Errors
    /// When key or value are not those of a record.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), RecordError> {
        let unknown = || RecordError::Key(key.to_vec());
        let wrong = |error| RecordError::Value { key: key.to_vec(), error };
        let (kind, rest) = key.split_first().ok_or_else(unknown)?;
        match kind {
            b'b' => {
                let id = NodeId(i32::from_be_bytes(rest.try_into().map_err(|_| unknown())?));
                let broker: Broker = codec::decode(VERSION, value).map_err(wrong)?;
                if broker.id != id {
                    return Err(RecordError::Mismatch(format!(
                        "broker {} is under {id}",
                        broker.id
                    )));
                }
                self.state.brokers.insert_mut(id, Arc::new(broker));
            }
            b'c' => {
                let resource = config_resource(rest).ok_or_else(unknown)?;
                let configs: ConfigMap = codec::decode(VERSION, value).map_err(wrong)?;
                self.state.configs.insert_mut(resource, Arc::new(configs));
            }
            b'f' => {
                let name = std::str::from_utf8(rest).map_err(|_| unknown())?;
                let level: i16 = codec::decode(VERSION, value).map_err(wrong)?;
                self.state.features.insert_mut(name.to_owned(), level);
            }
            b'i' if rest.is_empty() => {
                let next: ProducerId = codec::decode(VERSION, value).map_err(wrong)?;
                self.state.producer_id_next = next;
            }
            b'n' => {
                let id = NodeId(i32::from_be_bytes(rest.try_into().map_err(|_| unknown())?));
                let node: Node = codec::decode(VERSION, value).map_err(wrong)?;
                if node.id != id {
                    return Err(RecordError::Mismatch(format!("node {} is under {id}", node.id)));
                }
                if let Some(other) = self.state.directories.get(&node.directory) {
                    let message = format!("nodes {id} and {other} have the same directory");
                    return Err(RecordError::Mismatch(message));
                }
                self.state.directories.insert_mut(node.directory, id);
                self.state.nodes.insert_mut(id, Arc::new(node));
            }
            b'p' => {
                let (id, index) = rest.split_first_chunk::<16>().ok_or_else(unknown)?;
                let index = i32::from_be_bytes(index.try_into().map_err(|_| unknown())?);
                let partition: Partition = codec::decode(VERSION, value).map_err(wrong)?;
                let partitions = self.partitions.entry(TopicId(*id)).or_default();
                partitions.insert(PartitionIndex(index), partition);
            }
            b't' => {
                let id = TopicId(rest.try_into().map_err(|_| unknown())?);
                let topic: TopicRecord = codec::decode(VERSION, value).map_err(wrong)?;
                self.topics.insert(id, topic);
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// The state that all records together make.
    ///
    /// # Errors
    /// When they contradict each other, or some are missing.
    pub fn finish(mut self) -> Result<State, RecordError> {
        for (id, record) in self.topics {
            let partitions = self.partitions.remove(&id).unwrap_or_default();
            let count = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
            let consecutive = partitions.keys().zip(0..).all(|(index, at)| index.0 == at);
            if count != record.partition_count || !consecutive {
                return Err(RecordError::Mismatch(format!(
                    "topic {} has {} partitions, and {count} of them are there",
                    record.name, record.partition_count
                )));
            }
            let topic = Topic {
                name: record.name,
                id,
                created_at: record.created_at,
                partitions: partitions.into_values().map(Arc::new).collect::<VectorSync<_>>(),
            };
            if self.state.topic_by_name(topic.name.as_str()).is_some() {
                return Err(RecordError::Mismatch(format!("topic {} is there twice", topic.name)));
            }
            topics::insert(&mut self.state, topic);
        }
        match self.partitions.keys().next() {
            Some(id) => Err(RecordError::Mismatch(format!("topic {id} has partitions only"))),
            None => Ok(self.state),
        }
    }
}

fn config_resource(key: &[u8]) -> Option<ConfigResource> {
    match key.split_first()? {
        (0, name) => {
            let name = TopicName::new(std::str::from_utf8(name).ok()?).ok()?;
            Some(ConfigResource::Topic(name))
        }
        (1, id) => Some(ConfigResource::Broker(NodeId(i32::from_be_bytes(id.try_into().ok()?)))),
        (2, []) => Some(ConfigResource::BrokerDefault),
        _ => None,
    }
}
