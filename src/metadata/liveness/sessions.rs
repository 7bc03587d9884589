//! The sessions themselves.

use super::{BeatAnswer, Input, LivenessConfig, Output};
use crate::types::{BrokerEpoch, NodeId};

/// The sessions of all brokers. Does nothing outside of a term.
#[derive(Debug, Clone)]
pub struct Liveness {
    #[expect(dead_code, reason = "used by `step`")]
    config: LivenessConfig,
}

impl Liveness {
    /// Nobody known yet.
    #[must_use]
    pub fn new(config: LivenessConfig) -> Self {
        Self { config }
    }

    /// Takes one input at a time that never goes back, and says what is to be done.
    pub fn step(&mut self, _now_ms: u64, _input: Input) -> Vec<Output> {
        todo!()
    }

    /// What to answer to a heartbeat, after [`Self::step`] took it.
    #[must_use]
    pub fn answer(&self, _node_id: NodeId, _broker_epoch: BrokerEpoch) -> BeatAnswer {
        todo!()
    }

    /// When the next session ends, at the earliest; nothing outside of a term or without brokers.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        todo!()
    }

    /// Milliseconds since the last heartbeat of each broker, for status pages.
    pub fn ages_ms(&self, _now_ms: u64) -> Vec<(NodeId, u64)> {
        todo!()
    }
}
