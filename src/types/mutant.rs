//! Known bugs that tests put back, one at a time, to see that they are caught.
//!
//! A guard that matters asks `Mutant::X.is_active()` and is left out when it is. In a release
//! build without the feature `mutants` the answer is `false` at compile time.
//!
//! Must never: be active unless a test (or `--features mutants`) asked for it by name.

use std::fmt;

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One guard that can be taken away.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutant {
            $($(#[$doc])* $name,)*
        }

        impl Mutant {
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

mutants! {
    // What the leader counts.
    /// The leader counts its own records before they are on disk.
    AckBeforeFlush,
    /// The leader counts what a follower appended, not what it flushed.
    FollowerCountedBeforeFlush,
    /// While a proposal is open, the proposed ISR alone counts: a shrink lets the high watermark
    /// move over the smaller set (case 8).
    HighWatermarkOverProposedIsr,
    /// While a proposal is open, the decided ISR alone counts (case 7).
    HighWatermarkOverDecidedIsr,
    /// The high watermark moves while the ISR is smaller than `min.insync.replicas` (case 16).
    MinIsrNotChecked,
    /// A member that has not reported in this epoch holds nothing back.
    UnreportedMemberCounted,
    /// A fetch of an older leader epoch counts (case 6).
    OldEpochFetchCounted,
    /// A fetch with another broker epoch than the registered one counts (case 12).
    BrokerEpochNotCheckedOnFetch,
    /// A report counts before a fetch has shown that the logs agree.
    ReportBeforeFetchCounted,
    /// What was known of a follower outlives its registration (KIP-903).
    ProgressKeptOverRegistration,
    /// What was known of followers outlives the leader epoch.
    ProgressKeptOverEpochs,
    // Who joins the ISR.
    /// A follower joins below the high watermark (KIP-966 CHECK).
    JoinBelowHighWatermark,
    /// A follower joins below the start of the leader's epoch (KIP-966 CHECK, case 13).
    JoinBelowEpochStart,
    /// A follower joins without a fetch in this epoch (KIP-966 CHECK).
    JoinWithoutFetch,
    /// An open proposal is forgotten by metadata that does not answer it (case 9).
    ProposalForgottenUnanswered,
    /// Any refusal of an ISR change counts as certain, also one for an old epoch (KIP-497).
    AnyRefusalSettles,
    // What a follower does to its log.
    /// A follower truncates to its high watermark (KIP-101, case 1).
    TruncateToHighWatermark,
    /// A follower truncates to where the leader says, though its own epoch ends earlier (KIP-279).
    TruncateToLeaderEndAlone,
    /// A leader does not look whether the follower's log agrees (case 2).
    DivergenceNotTold,
    /// An epoch without a write leaves no trace in the log (KAFKA-7415, case 4).
    EpochNotRecordedAtElection,
    /// An answer of an older leader epoch is taken (KIP-966 CHECK, case 5).
    AnswerOfOldEpochTaken,
    /// News of an older leadership is taken (KIP-966 CHECK, case 5).
    OlderLeadershipTaken,
    /// An answer to a fetch from another offset than the log's end is taken (KIP-966 CHECK).
    AnswerFromElsewhereTaken,
    /// A follower vouches for records before the leader has found that the logs agree.
    ReportBeforeMatch,
    // What the controller accepts.
    /// A change against an older partition epoch is taken (KIP-966 CHECK, case 10).
    StaleAlterPartitionAccepted,
    /// A change by a leader of an older epoch is taken.
    OldLeaderAltersIsr,
    /// A change by a process that registered anew since is taken.
    AskersBrokerEpochNotChecked,
    /// A member that registered anew since the leader saw it is taken (KIP-966 CHECK, case 12).
    MembersBrokerEpochNotChecked,
    /// A fenced broker leads, stays in the ISR and joins it (case 11).
    FencedBrokerCounts,
    /// A broker that registers anew is unfenced at once, and stays where it was.
    RegistrationKeepsIsr,
    /// A lossy stop leaves a replica eligible where nothing waited for its disk (cases 17, 18).
    LossyStopKeepsEligible,
    // Elections.
    /// The ELR is kept though the ISR is large enough (KIP-966).
    ElrNotCleared,
    /// Whoever leaves the ISR is forgotten (KIP-966).
    ElrNotKept,
    /// Anybody leads where nobody eligible can, though the topic forbids it.
    UncleanReplicaElected,
    /// Who led last leads before the members of the ELR are back.
    LastLeaderBeforeElr,
    /// A new leader gets the old one's epoch.
    LeaderEpochNotRaised,
    /// A replica is removed within the leader epoch, so that the leader may take it for the same
    /// when it comes back (KIP-966 CHECK, case 14).
    RemovalKeepsLeaderEpoch,
    /// A change does not count the partition epoch up.
    PartitionEpochNotRaised,
    /// A reassignment ends before the new replicas are in sync (case 35).
    ReassignmentCompletesEarly,
    /// A reassignment ends with too few in-sync replicas (case 35).
    ReassignmentDropsBelowMin,
    // The log and its shell.
    /// A failed sync counts as done (case 31).
    SyncErrorIgnored,
    /// Truncation leaves what is known of producers (case 37).
    ProducersNotRolledBack,
    /// Truncation leaves the leader epochs (case 4).
    EpochsNotRolledBack,
    /// A repeated batch is appended again (case 36).
    DuplicateAppended,
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Mutant {
    /// Whether this guard is to be left out, on this thread.
    #[must_use]
    #[inline]
    pub fn is_active(self) -> bool {
        #[cfg(any(debug_assertions, feature = "mutants"))]
        {
            active::get() == Some(self)
        }
        #[cfg(not(any(debug_assertions, feature = "mutants")))]
        {
            false
        }
    }

    /// Runs `work` with this guard left out, on this thread alone.
    #[cfg(any(debug_assertions, feature = "mutants"))]
    pub fn with<T>(self, work: impl FnOnce() -> T) -> T {
        let _until_the_end = active::Set::new(self);
        work()
    }
}

#[cfg(any(debug_assertions, feature = "mutants"))]
mod active {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    pub(super) fn get() -> Option<Mutant> {
        ACTIVE.get()
    }

    /// Puts back what was before when it is dropped, by a panic too.
    pub(super) struct Set(Option<Mutant>);

    impl Set {
        pub(super) fn new(mutant: Mutant) -> Self {
            Self(ACTIVE.replace(Some(mutant)))
        }
    }

    impl Drop for Set {
        fn drop(&mut self) {
            ACTIVE.set(self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_is_active_only_where_it_was_asked_for() {
        assert!(!Mutant::AckBeforeFlush.is_active());
        Mutant::AckBeforeFlush.with(|| {
            assert!(Mutant::AckBeforeFlush.is_active());
            let elsewhere = std::thread::scope(|scope| {
                scope.spawn(|| Mutant::AckBeforeFlush.is_active()).join().expect("no panic")
            });
            assert!(!elsewhere);
        });
        assert!(!Mutant::AckBeforeFlush.is_active());
    }
}
