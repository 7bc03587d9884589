//! The invariant catalogue: one name for each thing that must always hold, used alike by
//! production assertions, the property tests, the simulation, the model and the torture checker.
//!
//! Names are those of the KIP-966 TLA+ specification where it has one.

use std::fmt;

/// A thing that must hold in every reachable state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// `log_start_offset <= last_stable_offset <= high_watermark <= log_end_offset` in one log.
    OffsetOrder,
    /// The high watermark of a partition never goes back while its leader lives.
    MonotonicHighWatermark,
    /// A record that a consumer read at an offset is the only one ever read there.
    ConsistentRead,
    /// What was acknowledged with `acks=all` is in the log of every later leader.
    LeaderCompleteness,
    /// Two logs that have a batch of the same epoch at the same offset are equal up to it.
    LogMatching,
    /// A record is acknowledged only once its bytes and its file's name are synced.
    DurableAcknowledgement,
    /// A producer's batch is stored once, however often it is sent.
    IdempotentAppend,
    /// The applied metadata is a function of the Raft log's committed prefix alone.
    MetadataLogMatching,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Stops the task when an invariant is broken: going on would spread the damage.
///
/// # Panics
/// When `holds` is false.
#[track_caller]
pub fn ensure(invariant: Invariant, holds: bool, what: impl FnOnce() -> String) {
    assert!(holds, "invariant {invariant} is broken: {}", what());
}
