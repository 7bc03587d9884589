//! What can happen to a replica.

use super::{LogView, Settings};
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};
use std::collections::BTreeSet;

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
        /// Who may be elected once the ISR is empty (KIP-966).
        elr: BTreeSet<NodeId>,
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
    /// A follower asked for more, and `State::judge` found that its log agrees with this one.
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
    /// The controller refused an ISR proposal for certain, and it will never be applied. A time-out
    /// is no refusal, nor is "the partition epoch is old": that may be the second copy of a
    /// proposal whose first copy was applied. Without this input the leader keeps counting with the
    /// union, until the metadata shows a newer partition epoch (scenario 9).
    IsrRefused {
        /// The partition epoch that the proposal was made against.
        partition_epoch: PartitionEpoch,
    },
    /// Time passes: followers that fell behind leave the ISR, those that caught up join it.
    Tick {
        /// Milliseconds on the shell's monotonic clock.
        now_ms: i64,
    },
    /// A follower reports a flush outside of a fetch. It counts only once the leader has seen, by a
    /// fetch in this epoch, that the follower's log agrees with its own.
    Reported {
        /// Who.
        follower: NodeId,
        /// The leader epoch that it believes in.
        leader_epoch: LeaderEpoch,
        /// Its registration.
        broker_epoch: BrokerEpoch,
        /// Its log end offset.
        end: Offset,
        /// Everything below is on its disk.
        flushed: Offset,
        /// Milliseconds on the shell's monotonic clock.
        now_ms: i64,
    },
    /// The leader answered a fetch of this follower. Changes nothing unless it is of the current
    /// leader epoch and the log still ends where the fetch asked from.
    Answered {
        /// The epoch that the fetch was made in.
        leader_epoch: LeaderEpoch,
        /// The log end offset that the fetch asked from.
        asked: Offset,
        /// What the leader said.
        answer: Answer,
    },
    /// The shell has cut the local log, as an `Effect::Truncate` or `Effect::Restart` told it
    /// to, and this is what is left.
    Cut(LogView),
    /// The topic's settings changed.
    Configured(Settings),
    /// The local log cannot be trusted any more.
    StorageFailed,
}

/// A leader's answer to a follower's fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The follower's log is a prefix of the leader's, and these are the next records, or none.
    Records {
        /// The leader's high watermark.
        high_watermark: Offset,
        /// The leader's log start offset.
        log_start: Offset,
    },
    /// The logs part before the follower's end (KIP-595).
    Diverging {
        /// The leader's largest epoch that is not above the follower's last.
        epoch: LeaderEpoch,
        /// Where that epoch ends in the leader's log.
        end: Offset,
        /// The leader's log start offset. It cannot vouch for anything below.
        log_start: Offset,
        /// The follower's own largest epoch that is not above `epoch`, and where it ends in the
        /// local log; both "none" when the local log knows no epochs.
        local: (LeaderEpoch, Offset),
    },
    /// The leader has nothing at the offset that was asked for.
    OutOfRange {
        /// The leader's log start offset.
        start: Offset,
        /// The leader's log end offset.
        end: Offset,
    },
}
