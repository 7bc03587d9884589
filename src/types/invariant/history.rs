//! Checkers that look at a history, not at a state.

use super::{Check, Invariant, check};
use crate::types::{LeaderEpoch, NodeId, ProducerId};
use std::collections::BTreeMap;

/// Who led in which epoch, as seen so far: [`Invariant::OneLeaderPerEpoch`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct EpochLeaders(BTreeMap<LeaderEpoch, NodeId>);

impl EpochLeaders {
    /// Notes that a node leads in an epoch.
    ///
    /// # Errors
    /// The violation, when another led in the same epoch.
    pub fn note(&mut self, epoch: LeaderEpoch, leader: NodeId) -> Check {
        let first = *self.0.entry(epoch).or_insert(leader);
        check(Invariant::OneLeaderPerEpoch, first == leader, || {
            format!("nodes {first} and {leader} both led in epoch {epoch}")
        })
    }
}

/// The batches of idempotent producers as they stand in one log, in the log's order:
/// [`Invariant::IdempotentAppend`] and [`Invariant::ProducerOrder`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ProducerLog(BTreeMap<ProducerId, i64>);

impl ProducerLog {
    /// Notes the next batch of a producer. `number` counts what the producer sent, from any start,
    /// and never wraps.
    ///
    /// # Errors
    /// The violation, when the batch is there already, or a later one stands before it.
    pub fn note(&mut self, producer: ProducerId, number: i64) -> Check {
        let before = self.0.insert(producer, number);
        check(Invariant::IdempotentAppend, before != Some(number), || {
            format!("batch {number} of producer {producer} is in the log twice")
        })?;
        check(Invariant::ProducerOrder, before.is_none_or(|before| before < number), || {
            format!("producer {producer}: batch {number} stands behind {before:?}")
        })
    }
}
