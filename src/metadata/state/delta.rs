//! What changed between two states.

use super::configs::ConfigResource;
use super::model::State;
use crate::types::{NodeId, PartitionIndex, TopicId, TopicName};
use std::collections::{BTreeMap, BTreeSet};

/// Names everything that differs between two states, not how: the later state says that. Two
/// deltas in a row merge into one, so that a reader who falls behind loses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// By topic id. A topic that was deleted and created again appears under both ids.
    pub topics: BTreeMap<TopicId, TopicChange>,
    /// Resources whose configs changed.
    pub configs: BTreeSet<ConfigResource>,
    /// Brokers that were registered, fenced, unfenced or changed otherwise.
    pub brokers: BTreeSet<NodeId>,
    /// Whether feature levels changed.
    pub features: bool,
    /// Whether producer ids were handed out.
    pub producer_ids: bool,
    /// Whether the controller changed.
    pub controller: bool,
}

/// What happened to one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicChange {
    /// It is new to the reader.
    Created,
    /// These of its partitions are new or changed.
    Changed(BTreeSet<PartitionIndex>),
    /// It is gone; the later state doesn't know its name any more.
    Deleted(TopicName),
}

impl Delta {
    /// The delta from nothing to `state`: every topic created, every broker and config new.
    #[must_use]
    pub fn everything(state: &State) -> Self {
        Self {
            topics: state.topics().map(|topic| (topic.id, TopicChange::Created)).collect(),
            configs: state.all_configs().map(|(resource, _)| resource.clone()).collect(),
            brokers: state.brokers().map(|broker| broker.id).collect(),
            features: true,
            producer_ids: true,
            controller: true,
        }
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
