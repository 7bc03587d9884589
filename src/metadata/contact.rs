//! When the controller last vouched for this node.
//!
//! Invariant: a node counts as isolated once the controller may have given what it leads to others
//! without its having heard of it. It is judged by the time at which it asked, not by that of the
//! answer: the controller counts its session from the question at the earliest.

use std::sync::atomic::{AtomicI64, Ordering};

/// Nothing was heard yet.
const NEVER: i64 = -1;

/// The last question that the controller answered with "you are not fenced".
#[derive(Debug)]
pub(super) struct Contact {
    asked_ms: AtomicI64,
    patience_ms: i64,
}

impl Contact {
    /// Nothing heard, with sessions of so many milliseconds.
    pub(super) fn new(session_timeout_ms: u64) -> Self {
        // The session and as much again: on a busy machine heartbeats are late without harm.
        let patience_ms = i64::try_from(session_timeout_ms.saturating_mul(2)).unwrap_or(i64::MAX);
        Self { asked_ms: AtomicI64::new(NEVER), patience_ms }
    }

    /// The controller answered a heartbeat that was sent at that time (monotonic milliseconds).
    pub(super) fn heard(&self, asked_ms: i64, fenced: bool) {
        if fenced {
            self.asked_ms.store(NEVER, Ordering::Release);
        } else {
            self.asked_ms.fetch_max(asked_ms, Ordering::AcqRel);
        }
    }

    /// Whether others may have taken over what this node leads.
    pub(super) fn is_lost(&self, now_ms: i64) -> bool {
        let asked_ms = self.asked_ms.load(Ordering::Acquire);
        asked_ms == NEVER || now_ms.saturating_sub(asked_ms) > self.patience_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contact_is_lost_with_time_and_by_fencing_and_comes_back() {
        let contact = Contact::new(1_000);
        assert!(contact.is_lost(0), "nothing was heard yet");
        contact.heard(5_000, false);
        assert!(!contact.is_lost(7_000));
        assert!(contact.is_lost(7_001));
        contact.heard(6_500, false);
        assert!(!contact.is_lost(8_000));
        contact.heard(6_000, false);
        assert!(!contact.is_lost(8_500), "an answer that comes late takes nothing back");
        contact.heard(8_500, true);
        assert!(contact.is_lost(8_500), "fenced");
        contact.heard(9_000, false);
        assert!(!contact.is_lost(9_000));
    }
}
