//! The replication rules of one partition, pure: inputs in, effects out.
//!
//! Floor 2. [`step`] is the only thing that changes a [`State`]. The same code runs in production,
//! in scripts, in the simulator and in the model.
//!
//! Invariants:
//! - The high watermark never goes back (`MonotonicHighWatermark`).
//! - It only passes an offset that every member of the maximal ISR (ISR and open proposal
//!   together) has reported in this leader epoch as flushed; with `write.caching`, as appended.
//! - It stands still while the ISR is smaller than `min.insync.replicas` (KIP-966).
//! - An input of an older leader epoch changes nothing, nor does an answer to a fetch that was
//!   made before the log was cut.
//! - A follower cuts its log by epochs alone, as its leader says, never by its high watermark; and
//!   it reports to a leader only after that leader has found their logs to agree.
//!
//! Must never: read a clock, draw a random number, touch a file, start a task, or walk a hash map.

mod effect;
mod follower;
mod input;
mod isr;
mod judge;
mod leader;
mod watermark;

pub use effect::{Effect, FlushReport};
pub use follower::Follower;
pub use input::{Answer, Input};
pub use isr::IsrProposal;
pub use judge::{FetchClaim, Verdict};
pub use leader::{Leader, Progress};

use crate::types::invariant::{Invariant, ensure};
use crate::types::{LeaderEpoch, NodeId, Offset};

/// Settings of the topic that the rules depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settings {
    /// `min.insync.replicas`, before it is capped by the number of replicas.
    pub min_insync_replicas: usize,
    /// `write.caching`: count what is appended, not what is flushed.
    pub write_caching: bool,
    /// `replica.lag.time.max.ms`: how long a follower may stay behind the leader's end.
    pub lag_ms_max: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { min_insync_replicas: 1, write_caching: false, lag_ms_max: 30_000 }
    }
}

/// The offsets of the local log that the rules look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogView {
    /// Log start offset.
    pub start: Offset,
    /// Log end offset.
    pub end: Offset,
    /// Everything below is on disk.
    pub flushed: Offset,
}

/// What this node is to the partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Role {
    /// Nobody told yet, or the partition has no leader.
    Idle {
        /// The newest leader epoch heard of.
        epoch: LeaderEpoch,
    },
    /// This node leads.
    Leader(Leader),
    /// This node copies from another.
    Follower(Follower),
    /// The local storage failed: this replica is stopped for good.
    Failed {
        /// The epoch in which it happened.
        epoch: LeaderEpoch,
    },
}

/// The replica's state. Made by [`State::new`], changed by [`step`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    node: NodeId,
    settings: Settings,
    log: LogView,
    high_watermark: Offset,
    role: Role,
}

impl State {
    /// The replica of `node` over a log as it was found. `checkpointed` is the high watermark of
    /// the last checkpoint, a lower bound of the true one.
    #[must_use]
    pub fn new(node: NodeId, settings: Settings, log: LogView, checkpointed: Offset) -> Self {
        ensure(Invariant::OffsetOrder, log.start <= log.end && log.flushed <= log.end, || {
            format!("log opened with {log:?}")
        });
        let high_watermark = checkpointed.min(log.end).max(log.start);
        let role = Role::Idle { epoch: LeaderEpoch::NONE };
        Self { node, settings, log, high_watermark, role }
    }

    /// The best known high watermark.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// What this node is to the partition.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The local log, as far as the inputs told.
    #[must_use]
    pub fn log(&self) -> LogView {
        self.log
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// The leadership, if this node leads.
    #[must_use]
    pub fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    /// Whom this node copies from, if it follows.
    #[must_use]
    pub fn follower(&self) -> Option<&Follower> {
        match &self.role {
            Role::Follower(follower) => Some(follower),
            _ => None,
        }
    }

    /// The newest leader epoch heard of.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        match &self.role {
            Role::Leader(leader) => leader.epoch(),
            Role::Follower(follower) => follower.epoch(),
            Role::Idle { epoch } | Role::Failed { epoch } => *epoch,
        }
    }

    /// Whether a write with `acks=all` may be taken: this node leads with an ISR that is large
    /// enough (KIP-966 caps the wanted number by the replicas there are).
    #[must_use]
    pub fn has_enough_replicas(&self) -> bool {
        self.leader().is_some_and(|leader| leader.isr().len() >= self.isr_needed(leader))
    }

    /// Whether the leader knows the high watermark of the epochs before its own. Until then a
    /// client could see it go back, so positions are "not available" (KAFKA-8071's rule).
    #[must_use]
    pub fn knows_high_watermark(&self) -> bool {
        self.leader().is_some_and(|leader| self.high_watermark >= leader.epoch_start())
    }

    fn isr_needed(&self, leader: &Leader) -> usize {
        self.settings.min_insync_replicas.min(leader.replica_count()).max(1)
    }
}

/// Takes one input. Total: every input is fine in every state, an old one changes nothing.
pub fn step(state: &mut State, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    let before = state.high_watermark;
    let cuts = matches!(input, Input::Cut(_));
    if !matches!(state.role, Role::Failed { .. }) {
        dispatch(state, input, &mut effects);
    }
    // After an unclean election a follower loses what it knew as committed: loudly, by a cut.
    ensure(Invariant::MonotonicHighWatermark, cuts || state.high_watermark >= before, || {
        format!("high watermark went from {before} to {}", state.high_watermark)
    });
    effects
}

fn dispatch(state: &mut State, input: Input, effects: &mut Vec<Effect>) {
    match input {
        Input::Lead { epoch, partition_epoch, replicas, isr, elr, now_ms } => {
            let isr = isr::Isr::decided(isr, elr, partition_epoch);
            leader::lead(state, epoch, &replicas, isr, now_ms, effects);
        }
        Input::Follow { leader, epoch } => follower::follow(state, leader, epoch, effects),
        Input::Stand { epoch } => {
            if epoch >= state.leader_epoch() {
                lose_leadership(state, Role::Idle { epoch }, effects);
            }
        }
        Input::Appended { end } => {
            state.log.end = state.log.end.max(end);
            if !state.settings.write_caching {
                effects.push(Effect::RequestFlush);
            }
            watermark::advance(state, effects);
            watermark::follow(state, effects);
        }
        Input::Flushed { upto } => {
            let before = state.log.flushed;
            state.log.flushed = state.log.flushed.max(upto).min(state.log.end);
            watermark::advance(state, effects);
            if state.log.flushed > before {
                follower::report(state, effects);
            }
        }
        Input::StartRaised { start } => watermark::raise_start(state, start, effects),
        Input::Fetched { follower, leader_epoch, broker_epoch, end, flushed, now_ms } => {
            let report = leader::Report { broker_epoch, end, flushed, now_ms, fetch: true };
            leader::heard(state, follower, leader_epoch, report, effects);
        }
        Input::Reported { follower, leader_epoch, broker_epoch, end, flushed, now_ms } => {
            let report = leader::Report { broker_epoch, end, flushed, now_ms, fetch: false };
            leader::heard(state, follower, leader_epoch, report, effects);
        }
        Input::Answered { leader_epoch, asked, answer } => {
            follower::answered(state, leader_epoch, asked, answer, effects);
        }
        Input::Cut(log) => follower::cut(state, log, effects),
        Input::IsrRefused { partition_epoch } => isr::refused(state, partition_epoch, effects),
        Input::Tick { now_ms } => isr::tick(state, now_ms, effects),
        Input::Configured(settings) => {
            state.settings = settings;
            if !settings.write_caching && state.log.flushed < state.log.end {
                effects.push(Effect::RequestFlush);
            }
            watermark::advance(state, effects);
        }
        Input::StorageFailed => {
            let epoch = state.leader_epoch();
            let led = state.leader().is_some();
            lose_leadership(state, Role::Failed { epoch }, effects);
            if led {
                effects.push(Effect::GiveUpLeadership);
            }
        }
    }
}

fn lose_leadership(state: &mut State, role: Role, effects: &mut Vec<Effect>) {
    let led = state.leader().is_some();
    state.role = role;
    if led {
        effects.push(Effect::LeadershipLost);
    }
}

#[cfg(test)]
mod tests;
