//! Which brokers are alive, as the controller sees it: heartbeats, sessions, suspicions and probes
//! in; fencing, unfencing and probes out.
//!
//! Pure: time is a number of milliseconds on a clock that never goes back, given with each input.
//! The controller's shell carries outputs out, and reports what was applied with
//! [`Input::Registered`]. Outputs are repeated until it does, so a lost proposal costs time only.
//!
//! Invariants: every broker has a whole session from the start of a term, and after a stall of the
//! controller itself; nobody is unfenced that has not seen its own registration; what a process of
//! another registration says changes nothing.
//!
//! Must never: read a clock, or decide anything about safety. A wrong guess here costs
//! availability, never data.

mod sessions;

use crate::types::{BrokerEpoch, IncarnationId, NodeId};

pub use sessions::Liveness;

/// How patient the controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessConfig {
    /// Milliseconds without a heartbeat after which a broker is fenced
    /// (`broker.session.timeout.ms`).
    pub session_ms: u64,
    /// Milliseconds between two heartbeats of a broker (`broker.heartbeat.interval.ms`).
    pub heartbeat_ms: u64,
    /// Milliseconds before an output that had no effect yet is repeated.
    pub repeat_ms: u64,
}

/// A registered broker, as the applied state has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerView {
    /// Who.
    pub node_id: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// The process that registered.
    pub incarnation: IncarnationId,
    /// Whether it is fenced.
    pub fenced: bool,
    /// Whether it hands over and is about to stop.
    pub in_controlled_shutdown: bool,
    /// The Raft index of the state that says so, or of a later one. A broker is not unfenced
    /// before it has applied this much.
    pub index: u64,
}

/// What a broker says of itself, every [`LivenessConfig::heartbeat_ms`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Who.
    pub node_id: NodeId,
    /// The registration that it knows of.
    pub broker_epoch: BrokerEpoch,
    /// Its process.
    pub incarnation: IncarnationId,
    /// The Raft index that it has applied.
    pub applied_index: u64,
    /// Whether it holds what it should and can serve.
    pub ready: bool,
    /// Whether it wants to stop.
    pub wants_shutdown: bool,
}

/// What a probe of a broker's rpc address found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Nobody listens there: the process is gone.
    Refused,
    /// This process answers.
    Alive(IncarnationId),
    /// No answer in time, or none that tells.
    Unknown,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// This node is the controller from now on; these brokers are registered.
    TermStarted(Vec<BrokerView>),
    /// It is not the controller any more.
    TermEnded,
    /// A broker registered, or was fenced, unfenced or let go: what the applied state says now.
    Registered(BrokerView),
    /// A broker was unregistered.
    Unregistered(NodeId),
    /// A heartbeat.
    Heartbeat(Beat),
    /// Something says that the process may be gone: its connections were reset or closed.
    Suspected(NodeId),
    /// What a probe that was asked for has found.
    Probed {
        /// Who was probed.
        node_id: NodeId,
        /// The registration that the probe was for.
        broker_epoch: BrokerEpoch,
        /// What it found.
        outcome: ProbeOutcome,
    },
    /// Time has passed. Comes at least every [`LivenessConfig::heartbeat_ms`].
    Tick,
}

/// Why a broker is fenced, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceReason {
    /// No heartbeat for a whole session.
    SessionExpired,
    /// Its address refuses connections.
    Refused,
    /// Another process answers at its address.
    Replaced,
}

/// What the controller is to do. All that come out of one step fit into one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Propose to fence it.
    Fence {
        /// Who.
        node_id: NodeId,
        /// The registration that is meant.
        broker_epoch: BrokerEpoch,
        /// Why.
        reason: FenceReason,
    },
    /// Propose to unfence it.
    Unfence {
        /// Who.
        node_id: NodeId,
        /// The registration that is meant.
        broker_epoch: BrokerEpoch,
    },
    /// Connect to its rpc address, and report with [`Input::Probed`].
    Probe {
        /// Whom.
        node_id: NodeId,
        /// The registration that is meant.
        broker_epoch: BrokerEpoch,
    },
    /// Propose `in_controlled_shutdown`: leaderships move away. Once that is applied, and reported
    /// with [`Input::Registered`], its heartbeats are answered with
    /// [`BeatAnswer::shutdown_granted`].
    GrantShutdown {
        /// Who.
        node_id: NodeId,
        /// The registration that is meant.
        broker_epoch: BrokerEpoch,
    },
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeatAnswer {
    /// Whether the broker is fenced.
    pub fenced: bool,
    /// Whether it may stop now: its partitions are in other hands, as far as there are any.
    pub shutdown_granted: bool,
    /// Whether the registration is not the current one: it has to register again.
    pub unknown: bool,
}

#[cfg(test)]
mod tests;
