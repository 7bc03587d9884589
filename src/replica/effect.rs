//! What a replica wants to be done.

use super::IsrProposal;
use crate::types::{LeaderEpoch, NodeId, Offset};

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
    /// The log was cut below the high watermark, which went back with it.
    LowerHighWatermark(Offset),
    /// Ask the controller for another ISR.
    ProposeIsr(IsrProposal),
    /// Tell everyone who waits that this node does not lead (any more, or in this epoch).
    LeadershipLost,
    /// Tell the controller that this replica cannot lead.
    GiveUpLeadership,
    /// Append the records that came with the answer to the local log, then say
    /// [`super::Input::Appended`].
    AppendAnswered,
    /// Tell the leader at once how much is on disk here.
    ReportFlushed(FlushReport),
    /// As [`Effect::ReportFlushed`], but by a fetch, which the leader checks: it has not said yet
    /// that the logs agree.
    FetchAgain(FlushReport),
    /// Cut the local log and its epochs at `to` (at the log's end, only the epochs), then say
    /// [`super::Input::Cut`].
    Truncate {
        /// Where the log is to end.
        to: Offset,
        /// Whether records that were known as committed go: only an unclean election does that.
        unclean: bool,
    },
    /// Drop the local log and begin anew at `at`, then say [`super::Input::Cut`].
    Restart {
        /// Where the log is to start.
        at: Offset,
        /// As for [`Effect::Truncate`].
        unclean: bool,
    },
    /// Move the log start up with the leader's, then say [`super::Input::StartRaised`].
    RaiseStart(Offset),
}

/// What a follower has, for its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushReport {
    /// To whom.
    pub leader: NodeId,
    /// In which leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// The follower's log end offset.
    pub end: Offset,
    /// Everything below is on its disk.
    pub flushed: Offset,
    /// Whether the leader has said, in this epoch, that the logs agree. If not, a report could
    /// vouch for records that are about to be cut: only a fetch may say it.
    pub agreed: bool,
}
