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
//! - An input of an older leader epoch changes nothing.
//!
//! Must never: read a clock, draw a random number, touch a file, start a task, or walk a hash map.

mod isr;
mod leader;
mod watermark;

pub use isr::IsrProposal;
pub use leader::{Leader, Progress};

use crate::types::invariant::{Invariant, ensure};
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};
use std::collections::BTreeSet;

/// Settings of the topic that the rules depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogView {
    /// Log start offset.
    pub start: Offset,
    /// Log end offset.
    pub end: Offset,
    /// Everything below is on disk.
    pub flushed: Offset,
}

/// What this node is to the partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Nobody told yet, or the partition has no leader.
    Idle {
        /// The newest leader epoch heard of.
        epoch: LeaderEpoch,
    },
    /// This node leads.
    Leader(Leader),
    /// This node copies from another.
    Follower {
        /// Whom it copies from.
        leader: NodeId,
        /// In which epoch.
        epoch: LeaderEpoch,
    },
    /// The local storage failed: this replica is stopped for good.
    Failed {
        /// The epoch in which it happened.
        epoch: LeaderEpoch,
    },
}

/// The replica's state. Made by [`State::new`], changed by [`step`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    node: NodeId,
    settings: Settings,
    log: LogView,
    high_watermark: Offset,
    role: Role,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The metadata says that this node leads. The same epoch again only brings new replicas
    /// and ISR.
    Lead {
        /// The epoch of this leadership.
        epoch: LeaderEpoch,
        /// Version of replicas and ISR.
        partition_epoch: PartitionEpoch,
        /// All replicas, this node included, with the epoch of their registration; `None` for a
        /// broker that is fenced or unknown.
        replicas: Vec<(NodeId, Option<BrokerEpoch>)>,
        /// The ISR that the controller decided on.
        isr: BTreeSet<NodeId>,
        /// Milliseconds on the shell's monotonic clock.
        now_ms: i64,
    },
    /// The metadata says that another node leads.
    Follow {
        /// The leader.
        leader: NodeId,
        /// Its epoch.
        epoch: LeaderEpoch,
    },
    /// The metadata says that nobody leads, or that this node is no replica any more.
    Stand {
        /// The epoch in which that was decided.
        epoch: LeaderEpoch,
    },
    /// The local log grew.
    Appended {
        /// Its new end.
        end: Offset,
    },
    /// A flush of the local log is done.
    Flushed {
        /// Everything below is on disk.
        upto: Offset,
    },
    /// The start of the local log moved up (DeleteRecords, retention).
    StartRaised {
        /// The new log start offset.
        start: Offset,
    },
    /// A follower asked for more, or reported a flush.
    Fetched {
        /// Who.
        follower: NodeId,
        /// The leader epoch that it believes in.
        leader_epoch: LeaderEpoch,
        /// Its registration.
        broker_epoch: BrokerEpoch,
        /// Its log end offset: what it asks for.
        end: Offset,
        /// Everything below is on its disk.
        flushed: Offset,
        /// Milliseconds on the shell's monotonic clock.
        now_ms: i64,
    },
    /// The controller refused an ISR proposal for certain. (A time-out is no refusal: without
    /// this input the leader keeps counting with the union.)
    IsrRefused {
        /// The partition epoch that the proposal was made against.
        partition_epoch: PartitionEpoch,
    },
    /// Time passes: followers that fell behind leave the ISR.
    Tick {
        /// Milliseconds on the shell's monotonic clock.
        now_ms: i64,
    },
    /// The leader told a follower how far the partition is committed.
    HighWatermarkTold {
        /// The leader's epoch.
        leader_epoch: LeaderEpoch,
        /// Its high watermark.
        high_watermark: Offset,
    },
    /// The topic's settings changed.
    Configured(Settings),
    /// The local log cannot be trusted any more.
    StorageFailed,
}

/// Something that the shell has to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Note in the log that `epoch` begins at `start`, even if nothing is ever written in it.
    RecordEpoch {
        /// The new epoch.
        epoch: LeaderEpoch,
        /// The log end offset at the election.
        start: Offset,
    },
    /// Ask for a flush of everything appended so far.
    RequestFlush,
    /// Show readers and waiters the new high watermark.
    AdvanceHighWatermark(Offset),
    /// Ask the controller for another ISR.
    ProposeIsr(IsrProposal),
    /// Tell everyone who waits that this node does not lead (any more, or in this epoch).
    LeadershipLost,
    /// Tell the controller that this replica cannot lead.
    GiveUpLeadership,
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

    /// The newest leader epoch heard of.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        match &self.role {
            Role::Leader(leader) => leader.epoch(),
            Role::Idle { epoch } | Role::Follower { epoch, .. } | Role::Failed { epoch } => *epoch,
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
    if !matches!(state.role, Role::Failed { .. }) {
        dispatch(state, input, &mut effects);
    }
    ensure(Invariant::MonotonicHighWatermark, state.high_watermark >= before, || {
        format!("high watermark went from {before} to {}", state.high_watermark)
    });
    effects
}

fn dispatch(state: &mut State, input: Input, effects: &mut Vec<Effect>) {
    match input {
        Input::Lead { epoch, partition_epoch, replicas, isr, now_ms } => {
            leader::lead(state, epoch, partition_epoch, &replicas, isr, now_ms, effects);
        }
        Input::Follow { leader, epoch } => {
            if epoch >= state.leader_epoch() {
                lose_leadership(state, Role::Follower { leader, epoch }, effects);
            }
        }
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
        }
        Input::Flushed { upto } => {
            state.log.flushed = state.log.flushed.max(upto).min(state.log.end);
            watermark::advance(state, effects);
        }
        Input::StartRaised { start } => watermark::raise_start(state, start, effects),
        Input::Fetched { follower, leader_epoch, broker_epoch, end, flushed, now_ms } => {
            let report = leader::Report { broker_epoch, end, flushed, now_ms };
            leader::fetched(state, follower, leader_epoch, report, effects);
        }
        Input::IsrRefused { partition_epoch } => isr::refused(state, partition_epoch, effects),
        Input::Tick { now_ms } => isr::drop_laggards(state, now_ms, effects),
        Input::HighWatermarkTold { leader_epoch, high_watermark } => {
            watermark::told(state, leader_epoch, high_watermark, effects);
        }
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
