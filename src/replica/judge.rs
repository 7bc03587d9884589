//! What a leader makes of a follower's fetch, before anything is read or counted.

use super::State;
use crate::types::mutant::Mutant;
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset};

/// What a follower says of itself in a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FetchClaim {
    /// Who.
    pub follower: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// The leader epoch that it believes in.
    pub leader_epoch: LeaderEpoch,
    /// Its log end offset: what it asks for.
    pub end: Offset,
    /// The newest leader epoch that its log knows; [`LeaderEpoch::NONE`] for a log without any.
    pub last_epoch: LeaderEpoch,
}

/// What a leader makes of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The follower's log is a prefix of this one: count it, and serve what comes next.
    Serve,
    /// The logs part: nothing is counted, and the follower is told where (KIP-595).
    Diverging {
        /// This log's largest epoch that is not above the follower's last.
        epoch: LeaderEpoch,
        /// Where it ends here.
        end: Offset,
    },
    /// There is nothing at the offset here.
    OutOfRange,
    /// This node does not lead.
    NotLeader,
    /// The follower's leader epoch is older than this leadership: it has to hear of the new one.
    FencedEpoch,
    /// The follower's leader epoch is newer than what this node has heard of.
    UnknownEpoch,
    /// The follower is no replica, as far as this leader has heard.
    NotReplica,
    /// The follower is fenced, or registered anew since.
    StaleBroker,
}

impl State {
    /// Judges a fetch. `epoch_end` is what the local log's epochs say to the follower's
    /// `last_epoch`: the largest epoch not above it, and where it ends; both "none" when unknown.
    #[must_use]
    pub fn judge(&self, claim: &FetchClaim, epoch_end: (LeaderEpoch, Offset)) -> Verdict {
        let ours = self.leader_epoch();
        if claim.leader_epoch < ours && !Mutant::OldEpochFetchCounted.is_active() {
            return Verdict::FencedEpoch;
        }
        if claim.leader_epoch > ours {
            return Verdict::UnknownEpoch;
        }
        let Some(leader) = self.leader() else { return Verdict::NotLeader };
        let Some(progress) = leader.progress(claim.follower) else { return Verdict::NotReplica };
        let current = progress.broker_epoch == Some(claim.broker_epoch);
        if !current && !Mutant::BrokerEpochNotCheckedOnFetch.is_active() {
            return Verdict::StaleBroker;
        }
        let log = self.log();
        let (epoch, end) = epoch_end;
        if claim.last_epoch.is_known()
            && epoch.is_known()
            && (epoch != claim.last_epoch || end < claim.end)
            && !Mutant::DivergenceNotTold.is_active()
        {
            return Verdict::Diverging { epoch, end };
        }
        if claim.end < log.start || claim.end > log.end {
            return Verdict::OutOfRange;
        }
        Verdict::Serve
    }
}
