//! Known bugs that tests put back, one at a time, to see that they are caught.
//!
//! A guard that matters asks `Mutant::X.is_active()` and is left out when it is. In a release
//! build without the feature `mutants` the answer is `false` at compile time.
//!
//! Must never: be active unless a test (or `--features mutants`) asked for it by name.

/// One guard that can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// The leader counts its own records before they are on disk.
    AckBeforeFlush,
}

impl Mutant {
    /// All of them, in the order of their declaration.
    pub const ALL: &'static [Self] = &[Self::AckBeforeFlush];

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
