//! The invariant catalogue: one name for each thing that must always hold, and the pure checkers
//! of those that can be seen from outside. Production assertions, the property tests, the model,
//! the simulation and the torture checker share both.
//!
//! Names are those of the KIP-966 TLA+ specification where it has one.
//!
//! Invariant: a checker never changes what it looks at, and builds text only for a broken one.
//!
//! Must never: forgive. Whoever has a reason to look away does not call the checker.

mod checks;
mod history;

pub use checks::{
    LogImage, PartitionImage, consistent_read, leader_candidate_completeness, leader_completeness,
    log_matching, metadata_log_matching, min_isr_recovery_quorum, monotonic_high_watermark,
    no_committed_record_lost_globally, offset_order, replication_quorum_superset,
    unclean_exclusion, valid_controller_state, valid_high_watermark,
};
pub use history::{EpochLeaders, ProducerLog};

use std::fmt;

macro_rules! catalogue {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A thing that must hold in every reachable state.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Invariant {
            $($(#[$doc])* $name,)*
        }

        impl Invariant {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name, as it is printed.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

catalogue! {
    /// `log_start_offset <= last_stable_offset <= high_watermark <= log_end_offset` in one log.
    OffsetOrder,
    /// The high watermark of a partition never goes back while its leader lives.
    MonotonicHighWatermark,
    /// The high watermark is no higher than the least counted offset over the maximal ISR, each
    /// counted in the leader's own epoch.
    ValidHighWatermark,
    /// A record that a consumer read at an offset is the only one ever read there.
    ConsistentRead,
    /// What was acknowledged with `acks=all` is in the log of every later leader.
    LeaderCompleteness,
    /// Every running member of ISR and ELR holds everything that was ever committed.
    LeaderCandidateCompleteness,
    /// Two logs that have a batch of the same epoch at the same offset are equal up to it; below
    /// both high watermarks they are equal in any case.
    LogMatching,
    /// While a leader of the current epoch may commit, its maximal ISR holds the controller's ISR
    /// and ELR.
    ReplicationQuorumSuperset,
    /// A replica that may have lost what it had counted as committed is in neither ISR nor ELR
    /// until it caught up again.
    UncleanExclusion,
    /// A committed record is on some replica's disk, whoever leads.
    NoCommittedRecordLostGlobally,
    /// Without unclean elections and lossy stops, ISR and ELR together never have fewer members
    /// than an acknowledgement needs.
    MinIsrRecoveryQuorum,
    /// ISR and ELR are disjoint parts of the replicas, the leader is in the ISR, nobody fenced is,
    /// and the ELR is empty while the ISR is large enough.
    ValidControllerState,
    /// No two nodes lead the same partition in the same leader epoch.
    OneLeaderPerEpoch,
    /// A record is acknowledged only once its bytes and its file's name are synced.
    DurableAcknowledgement,
    /// A producer's batch is stored once, however often it is sent.
    IdempotentAppend,
    /// The batches of one producer stand in the log in the order in which they were sent.
    ProducerOrder,
    /// The applied metadata is a function of the Raft log's committed prefix alone.
    MetadataLogMatching,
    /// Once every fault is healed, every partition has a leader and takes writes, every broker is
    /// unfenced, and every reassignment ends.
    EventuallyWritable,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An invariant that does not hold, and what shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {} is broken: {}", self.invariant, self.what)
    }
}

impl std::error::Error for Violation {}

/// What a checker answers.
pub type Check = Result<(), Violation>;

/// The one way to make a [`Check`]: `what` is only called for a broken invariant.
///
/// # Errors
/// The violation, when `holds` is false.
pub fn check(invariant: Invariant, holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}

/// Stops the task when an invariant is broken: going on would spread the damage.
///
/// # Panics
/// When `holds` is false.
#[track_caller]
pub fn ensure(invariant: Invariant, holds: bool, what: impl FnOnce() -> String) {
    assert!(holds, "invariant {invariant} is broken: {}", what());
}

#[cfg(test)]
mod tests;
