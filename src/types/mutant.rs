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
    /// An open shrink counts at once: the high watermark moves over the smaller ISR alone.
    HighWatermarkOverShrunkIsr,
    /// An open expansion does not count: the high watermark moves over the decided ISR alone.
    HighWatermarkOverDecidedIsr,
    /// The high watermark moves while the ISR is smaller than `min.insync.replicas` (KIP-966).
    MinIsrNotChecked,
    /// A member that has not reported in this epoch holds nothing back (KIP-966 CHECK: the
    /// follower's state is Nil).
    UnreportedMemberCounted,
    /// A fetch of another leader epoch counts.
    OldEpochFetchCounted,
    /// A fetch with another broker epoch than the registered one counts.
    BrokerEpochNotCheckedOnFetch,
    // Who joins the ISR.
    /// A follower joins below the high watermark (KIP-966 CHECK).
    JoinBelowHighWatermark,
    /// A follower joins below the start of the leader's epoch (KIP-966 CHECK).
    JoinBelowEpochStart,
    /// A follower joins without a fetch in this epoch (KIP-966 CHECK).
    JoinWithoutFetch,
    /// What was known of a follower outlives its registration (KIP-903).
    ProgressKeptOverRegistration,
    /// An open proposal is forgotten by metadata that does not answer it.
    ProposalForgottenUnanswered,
    // Elections seen from the replica.
    /// An epoch without a write leaves no trace in the log (KAFKA-7415).
    EpochNotRecordedAtElection,
    /// A decision of an older leader epoch is taken.
    OldEpochDecisionTaken,
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
