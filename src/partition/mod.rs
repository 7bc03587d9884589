//! The shell around one partition: its log, its replica state, its waiters.
//!
//! Floor 2. Carries inputs to [`crate::replica`] and its effects to the log, the flusher and those
//! who wait.
//!
//! Invariants:
//! - Leadership is checked under the same lock as the append or read that it allows.
//! - The lock is never held across an await, and every change of the high watermark happens
//!   under it.
//! - A produce with `acks=all` is answered only after the high watermark passed it; a duplicate
//!   only after it passed the original (`DurableAcknowledgement`).
//! - After a failed write or sync the replica is stopped: nothing it holds is acknowledged.
//!
//! Must never: decide who leads, or look at the metadata.

mod append;
mod damage;
mod error;
pub mod fetcher;
mod follow;
mod lifecycle;
mod offsets;
mod read;
pub mod serve;
mod supply;
mod table;
mod waiters;

pub use append::{Acks, Appended};
pub use error::Error;
pub use follow::{FetchPosition, FollowError, LeaderAnswer, Took};
pub use lifecycle::{Assignment, Checkpoint, OpenOptions};
pub use offsets::{ListedOffset, OffsetSpec, Offsets};
pub use read::{Isolation, ReadAnswer, ReadRequest, Records};
pub use supply::{ReplicaAnswer, ReplicaFetch, ReplicaRecords};
pub use table::Table;
pub use waiters::WatchGuard;

use crate::env::clock::Clock;
use crate::log::Log;
use crate::log::flush::{FlushTarget, Flusher};
use crate::log::{ActiveProducer, FlushJob};
use crate::replica::{self, Effect, FlushReport, Input, IsrProposal};
use crate::types::{LeaderEpoch, NodeId, Offset, TopicId, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use waiters::{Outcome, Sessions, Waiters, Watchers};

/// What a partition has to say to the node that it lives on. Called without the partition's lock;
/// must not block.
pub trait Notices: Send + Sync + fmt::Debug {
    /// The leader wants another ISR from the controller.
    fn isr_wanted(&self, partition: &TopicPartition, topic_id: TopicId, proposal: IsrProposal);
    /// The local storage failed: the replica is stopped and cannot lead.
    fn storage_failed(&self, partition: &TopicPartition, topic_id: TopicId, reason: &str);
    /// The log start offset moved, and should soon be checkpointed.
    fn log_start_moved(&self, partition: &TopicPartition);
    /// A follower has more on its disk: to be told to its leader at once, by
    /// [`fetcher::Manager::flushed`].
    fn flushed_as_follower(
        &self,
        _partition: &TopicPartition,
        _topic_id: TopicId,
        _report: FlushReport,
    ) {
    }
    /// A log was cut below what its recovery point checkpoint says. The checkpoint must be written
    /// again before this returns, or after a crash it would vouch for bytes that are appended only
    /// now.
    fn recovery_point_lowered(&self, _partition: &TopicPartition) {}
}

/// One replica of one partition, on this node.
#[derive(Debug)]
pub struct Partition {
    name: TopicPartition,
    topic_id: TopicId,
    node: NodeId,
    inner: Mutex<Inner>,
    watchers: Watchers,
    sessions: Sessions,
    flusher: Flusher,
    clock: Arc<dyn Clock>,
    notices: Arc<dyn Notices>,
    myself: Weak<Partition>,
}

#[derive(Debug)]
struct Inner {
    /// `None` once the partition was closed or deleted.
    log: Option<Log>,
    replica: replica::State,
    waiters: Waiters,
    /// Why the storage counts as failed.
    failure: Option<String>,
    /// Whether the log is about to be closed or given up: nothing more is taken or flushed.
    ending: bool,
    /// The ISR of the newest assignment, and how many replicas there are.
    isr: BTreeSet<NodeId>,
    /// The ELR of the same.
    elr: BTreeSet<NodeId>,
    replica_count: usize,
    /// Where the followers' logs start, as told in which leader epoch.
    follower_starts: BTreeMap<NodeId, (LeaderEpoch, Offset)>,
    /// The recovery point that the newest checkpoint file may hold.
    checkpointed: Offset,
}

/// What is left to do once the lock is released.
#[derive(Debug, Default)]
#[must_use]
struct Aftermath {
    flush: bool,
    wake: bool,
    /// There is something that followers wait for: records, another leadership or ISR.
    followers: bool,
    isr: Option<IsrProposal>,
    failed: Option<String>,
    report: Option<FlushReport>,
    /// The log was cut below what the last checkpoint says is on disk.
    recovery_point_lowered: bool,
    /// What a follower has to do to its log; done by whoever gave the input.
    orders: Vec<Order>,
}

impl Aftermath {
    /// Both. Of two proposals or reports the later one counts.
    fn merge(&mut self, later: Self) {
        self.flush |= later.flush;
        self.wake |= later.wake;
        self.followers |= later.followers;
        self.recovery_point_lowered |= later.recovery_point_lowered;
        self.isr = later.isr.or(self.isr.take());
        self.failed = later.failed.or(self.failed.take());
        self.report = later.report.or(self.report.take());
        self.orders.extend(later.orders);
    }
}

/// What the rules tell a follower to do to its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Append,
    Truncate { to: Offset, unclean: bool },
    Restart { at: Offset, unclean: bool },
    RaiseStart(Offset),
}

impl Partition {
    /// Topic and partition by name.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.name
    }

    /// The topic's id.
    #[must_use]
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// The newest leader epoch that this replica heard of.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.lock().replica.leader_epoch()
    }

    /// Whether this node leads the partition.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.lock().replica.leader().is_some()
    }

    /// Whether the leader has fewer in-sync replicas than replicas. False on a follower.
    #[must_use]
    pub fn is_under_replicated(&self) -> bool {
        let inner = self.lock();
        inner.replica.leader().is_some_and(|leader| leader.isr().len() < leader.replica_count())
    }

    /// How many offsets each follower is behind the log end, as far as it was heard of in this
    /// leader epoch. Empty on a follower.
    #[must_use]
    pub fn follower_lags(&self) -> Vec<(NodeId, i64)> {
        let inner = self.lock();
        let end = inner.replica.log().end;
        let leader = inner.replica.leader();
        let followers = leader.into_iter().flat_map(replica::Leader::followers);
        let lag = |(node, progress): (NodeId, &replica::Progress)| {
            progress.end.map(|theirs| (node, end.since(theirs).max(0)))
        };
        followers.filter_map(lag).collect()
    }

    /// Why this replica is stopped, if its storage failed.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// Bytes of the log's segment files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.lock().log.as_ref().map_or(0, Log::size_bytes)
    }

    /// The producers that the log remembers; leader only, as Kafka has it.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::Storage`].
    pub fn producers(&self) -> Result<Vec<ActiveProducer>, Error> {
        let inner = self.lock();
        Ok(inner.led_log(LeaderEpoch::NONE)?.producers())
    }

    /// Calls `wake` (`notify_one`) whenever the high watermark or the log start moves, or the
    /// leadership changes, until the guard is dropped. `None` when too many watch already: poll
    /// instead.
    #[must_use]
    pub fn watch(&self, wake: Arc<tokio::sync::Notify>) -> Option<WatchGuard> {
        let id = self.watchers.add(wake)?;
        Some(WatchGuard::new(self.myself.clone(), id))
    }

    /// The lock. After a panic under it the state may be half changed, so the replica is stopped.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        match self.inner.lock() {
            Ok(inner) => inner,
            Err(poisoned) => {
                self.inner.clear_poison();
                let mut inner = poisoned.into_inner();
                let effects = replica::step(&mut inner.replica, Input::StorageFailed);
                let _ = inner.apply(effects);
                inner.failure.get_or_insert_with(|| {
                    "a panic left the partition's state unknown; restart the node".to_owned()
                });
                inner.waiters.fail_all(Outcome::Failed);
                inner
            }
        }
    }

    /// Milliseconds on a clock that never goes back.
    fn monotonic_ms(&self) -> i64 {
        self.clock.monotonic_ms()
    }

    /// Does what must be done without the lock.
    fn finish(&self, aftermath: Aftermath) {
        if aftermath.recovery_point_lowered {
            self.notices.recovery_point_lowered(&self.name);
        }
        if aftermath.flush
            && let Some(myself) = self.myself.upgrade()
        {
            self.flusher.request(myself);
        }
        if aftermath.wake {
            self.watchers.wake_all();
        }
        if aftermath.wake || aftermath.followers {
            let key = (self.topic_id, self.name.partition);
            self.sessions.tell(key, aftermath.followers, self.monotonic_ms());
        }
        if let Some(report) = aftermath.report {
            self.notices.flushed_as_follower(&self.name, self.topic_id, report);
        }
        if let Some(proposal) = aftermath.isr {
            self.notices.isr_wanted(&self.name, self.topic_id, proposal);
        }
        if let Some(reason) = aftermath.failed {
            tracing::error!(partition = %self.name, reason, "storage failed; the replica is stopped");
            self.notices.storage_failed(&self.name, self.topic_id, &reason);
        }
    }

    /// Feeds one input to the rules and carries out what they say.
    fn step(&self, input: Input) {
        let aftermath = {
            let mut inner = self.lock();
            inner.step(input)
        };
        self.finish(aftermath);
    }

    /// Stops the replica because its storage cannot be trusted any more.
    fn fail(&self, reason: &str) {
        let aftermath = self.lock().fail(reason);
        self.finish(aftermath);
    }
}

impl Inner {
    fn step(&mut self, input: Input) -> Aftermath {
        let effects = replica::step(&mut self.replica, input);
        self.apply(effects)
    }

    fn apply(&mut self, effects: Vec<Effect>) -> Aftermath {
        let mut aftermath = Aftermath::default();
        for effect in effects {
            match effect {
                Effect::RecordEpoch { epoch, start } => {
                    if let Some(log) = &mut self.log {
                        log.assign_epoch(epoch, start);
                    }
                    aftermath.wake = true;
                    aftermath.followers = true;
                }
                Effect::RequestFlush => aftermath.flush = true,
                Effect::AdvanceHighWatermark(high_watermark) => {
                    let outcome = if self.replica.has_enough_replicas() {
                        Outcome::Committed
                    } else {
                        Outcome::TooFewReplicas
                    };
                    self.waiters.reached(high_watermark, outcome);
                    aftermath.wake = true;
                }
                Effect::ProposeIsr(proposal) => aftermath.isr = Some(proposal),
                Effect::LeadershipLost => {
                    self.waiters.fail_all(Outcome::NotLeader);
                    aftermath.wake = true;
                    aftermath.followers = true;
                }
                Effect::LowerHighWatermark(_) => aftermath.wake = true,
                Effect::ReportFlushed(report) | Effect::FetchAgain(report) => {
                    aftermath.report = Some(report);
                }
                Effect::AppendAnswered => aftermath.orders.push(Order::Append),
                Effect::Truncate { to, unclean } => {
                    aftermath.orders.push(Order::Truncate { to, unclean });
                }
                Effect::Restart { at, unclean } => {
                    aftermath.orders.push(Order::Restart { at, unclean });
                }
                Effect::RaiseStart(start) => aftermath.orders.push(Order::RaiseStart(start)),
                Effect::GiveUpLeadership => {
                    aftermath.failed = Some(self.failure.clone().unwrap_or_default());
                }
            }
        }
        aftermath
    }

    fn fail(&mut self, reason: &str) -> Aftermath {
        if self.failure.is_some() {
            return Aftermath::default();
        }
        self.failure = Some(reason.to_owned());
        self.waiters.fail_all(Outcome::Failed);
        let mut aftermath = self.step(Input::StorageFailed);
        aftermath.wake = true;
        aftermath.failed = Some(reason.to_owned());
        aftermath
    }

    /// The log, if this node leads and agrees with the caller about the epoch. An epoch of -1
    /// (and any other negative one) asks for no check.
    ///
    /// Rules of KIP-320: an older epoch than ours is fenced, a newer one means that we have not
    /// heard yet.
    fn led_log(&self, current_leader_epoch: LeaderEpoch) -> Result<&Log, Error> {
        self.check_leader(current_leader_epoch)?;
        self.log.as_ref().ok_or(Error::NotLeader)
    }

    fn check_leader(&self, current_leader_epoch: LeaderEpoch) -> Result<(), Error> {
        if let Some(reason) = &self.failure {
            return Err(Error::Storage(reason.clone()));
        }
        let ours = self.replica.leader_epoch();
        if current_leader_epoch.is_known() && current_leader_epoch != ours {
            return Err(if current_leader_epoch < ours {
                Error::FencedEpoch
            } else {
                Error::UnknownEpoch
            });
        }
        if self.replica.leader().is_none() || self.log.is_none() || self.ending {
            return Err(Error::NotLeader);
        }
        Ok(())
    }
}

impl FlushTarget for Partition {
    fn start_flush(&self) -> Option<FlushJob> {
        let aftermath = {
            let mut inner = self.lock();
            if inner.ending {
                return None;
            }
            let log = inner.log.as_mut()?;
            if let Some(job) = log.start_flush() {
                return Some(job);
            }
            // Nothing to flush, or the log found that it cannot be flushed at all.
            let reason = log.failure()?.to_owned();
            inner.fail(&reason)
        };
        self.finish(aftermath);
        None
    }

    fn finish_flush(&self, job: FlushJob, result: io::Result<()>) {
        let aftermath = {
            let mut inner = self.lock();
            // Closed or deleted meanwhile: nobody waits for this any more.
            let Some(log) = inner.log.as_mut() else { return };
            match log.finish_flush(job, result) {
                Ok(upto) => inner.step(Input::Flushed { upto }),
                Err(error) => inner.fail(&error.to_string()),
            }
        };
        self.finish(aftermath);
    }
}

#[cfg(test)]
mod tests;
