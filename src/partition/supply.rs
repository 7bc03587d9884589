//! The leader's side of replication: what followers fetch and report.

use super::{Aftermath, Error, Inner, Partition};
use crate::log::{self, ReadPlan};
use crate::replica::{FetchClaim, Input, Verdict};
use crate::rpc::replica::{ReplicaError, ReportPartition};
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset};
use bytes::Bytes;

/// One follower's fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaFetch {
    /// Who asks, and where its log stands.
    pub claim: FetchClaim,
    /// Everything below is on the follower's disk.
    pub flushed: Offset,
    /// Where the follower's log starts.
    pub log_start: Offset,
    /// Bytes wanted at most.
    pub bytes_max: usize,
    /// Return the first batch even if it is larger than `bytes_max`.
    pub at_least_one: bool,
    /// Whether the follower says so now. If not, its session remembers it of an earlier request,
    /// which has been counted; it is not counted again.
    pub fresh: bool,
}

/// What a leader has for a follower.
#[derive(Debug)]
pub enum ReplicaAnswer {
    /// The next batches, up to the log end; none when the follower has everything.
    Records {
        /// The high watermark.
        high_watermark: Offset,
        /// The log start offset.
        log_start: Offset,
        /// The log end offset.
        log_end: Offset,
        /// See [`Fetched::spared_above`](crate::rpc::replica::Fetched::spared_above).
        spared_above: Option<Offset>,
        /// The batches.
        records: ReplicaRecords,
    },
    /// The logs part before the follower's end.
    Diverging {
        /// The high watermark.
        high_watermark: Offset,
        /// The log start offset.
        log_start: Offset,
        /// This log's largest epoch that is not above the follower's last.
        epoch: LeaderEpoch,
        /// Where it ends here.
        end: Offset,
    },
}

/// The batches of a follower's read.
#[derive(Debug)]
pub enum ReplicaRecords {
    /// From the tail cache, as they were appended, not joined.
    Ready(Vec<Bytes>),
    /// They lie on disk: [`ReadPlan::execute`] fetches them.
    Cold(ReadPlan),
}

impl Partition {
    /// Answers one follower's fetch, and counts what it says of itself if its log agrees with
    /// this one. Never waits for the disk's contents.
    ///
    /// # Errors
    /// What the follower is told; nothing was counted then.
    pub fn fetch_as_replica(&self, fetch: &ReplicaFetch) -> Result<ReplicaAnswer, ReplicaError> {
        let now_ms = self.monotonic_ms();
        let (result, aftermath) = {
            let mut inner = self.lock();
            let (result, mut aftermath) = inner.fetch_as_replica(fetch, now_ms);
            if result.is_ok() && fetch.fresh {
                let told = (fetch.claim.leader_epoch, fetch.log_start);
                let before = inner.follower_starts.insert(fetch.claim.follower, told);
                aftermath.wake |= before != Some(told);
            }
            (result, aftermath)
        };
        self.finish(aftermath);
        result
    }

    /// The least log start offset of this leader and of these followers, as far as they told it in
    /// this epoch: what lies below is gone from all of them (the low watermark of KIP-107).
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::Storage`].
    pub fn low_watermark(&self, replicas: &[NodeId]) -> Result<Offset, Error> {
        let inner = self.lock();
        let own = inner.led_log(LeaderEpoch::NONE)?.log_start_offset();
        let epoch = inner.replica.leader_epoch();
        let others = replicas.iter().filter(|id| **id != self.node);
        let starts = others.map(|id| match inner.follower_starts.get(id) {
            Some((told_in, start)) if *told_in == epoch => *start,
            _ => Offset::ZERO,
        });
        Ok(starts.fold(own, Offset::min))
    }

    /// Takes a follower's word that more of its log is on its disk.
    ///
    /// # Errors
    /// When the word is of another leadership, or of a registration that is not current.
    pub fn report_from_replica(
        &self,
        follower: NodeId,
        broker_epoch: BrokerEpoch,
        report: &ReportPartition,
    ) -> Result<(), ReplicaError> {
        let now_ms = self.monotonic_ms();
        let leader_epoch = report.leader_epoch;
        let (end, flushed) = (report.end, report.flushed);
        let (result, aftermath) = {
            let mut inner = self.lock();
            let known = inner.check_replica(follower, broker_epoch, leader_epoch);
            let input =
                Input::Reported { follower, leader_epoch, broker_epoch, end, flushed, now_ms };
            let progress =
                inner.replica.leader().and_then(|leader| leader.progress(follower).copied());
            match known {
                // Nothing is known of its log in this epoch: the rules would not count it.
                Ok(()) if progress.is_none_or(|progress| progress.end.is_none()) => {
                    (Err(ReplicaError::NameAgain), Aftermath::default())
                }
                Ok(()) => (Ok(()), inner.step(input)),
                Err(error) => (Err(error), Aftermath::default()),
            }
        };
        self.finish(aftermath);
        result
    }

    /// Whether the partition's high watermark waits for this follower: it is in the ISR, or about
    /// to be. Its fetches go before those of followers that are behind.
    #[must_use]
    pub fn counts_replica(&self, follower: NodeId) -> bool {
        let inner = self.lock();
        inner.replica.leader().is_some_and(|leader| leader.isr_maximal().contains(&follower))
    }
}

impl Inner {
    fn check_replica(
        &self,
        follower: NodeId,
        broker_epoch: BrokerEpoch,
        leader_epoch: LeaderEpoch,
    ) -> Result<(), ReplicaError> {
        let end = self.replica.log().end;
        let claim =
            FetchClaim { follower, broker_epoch, leader_epoch, end, last_epoch: LeaderEpoch::NONE };
        match self.judge(&claim)? {
            Verdict::Serve | Verdict::Diverging { .. } | Verdict::OutOfRange => Ok(()),
            refused => Err(refusal(refused)),
        }
    }

    fn judge(&self, claim: &FetchClaim) -> Result<Verdict, ReplicaError> {
        if self.failure.is_some() {
            return Err(ReplicaError::Storage);
        }
        let log = self.log.as_ref().filter(|_| !self.ending).ok_or(ReplicaError::NotLeader)?;
        Ok(self.replica.judge(claim, log.epoch_end_offset(claim.last_epoch)))
    }

    fn fetch_as_replica(
        &mut self,
        fetch: &ReplicaFetch,
        now_ms: i64,
    ) -> (Result<ReplicaAnswer, ReplicaError>, Aftermath) {
        let claim = &fetch.claim;
        let verdict = match self.judge(claim) {
            Ok(verdict) => verdict,
            Err(error) => return (Err(error), Aftermath::default()),
        };
        let log = self.replica.log();
        let aftermath = match verdict {
            Verdict::Serve if !fetch.fresh => {
                let leader = self.replica.leader();
                let progress = leader.and_then(|leader| leader.progress(claim.follower));
                if progress.is_none_or(|progress| progress.end.is_none()) {
                    // What was counted then was forgotten since, with reason.
                    return (Err(ReplicaError::NameAgain), Aftermath::default());
                }
                Aftermath::default()
            }
            Verdict::Serve => self.step(Input::Fetched {
                follower: claim.follower,
                leader_epoch: claim.leader_epoch,
                broker_epoch: claim.broker_epoch,
                end: claim.end,
                flushed: fetch.flushed,
                now_ms,
            }),
            Verdict::Diverging { epoch, end } => {
                let high_watermark = self.replica.high_watermark();
                let answer =
                    ReplicaAnswer::Diverging { high_watermark, log_start: log.start, epoch, end };
                return (Ok(answer), Aftermath::default());
            }
            Verdict::OutOfRange => {
                let error = ReplicaError::OffsetOutOfRange { start: log.start, end: log.end };
                return (Err(error), Aftermath::default());
            }
            refused => return (Err(refusal(refused)), Aftermath::default()),
        };
        (self.supply(fetch), aftermath)
    }

    fn supply(&self, fetch: &ReplicaFetch) -> Result<ReplicaAnswer, ReplicaError> {
        let log = self.log.as_ref().ok_or(ReplicaError::NotLeader)?;
        let end = log.log_end_offset();
        let plan = log.read(fetch.claim.end, end, fetch.bytes_max, fetch.at_least_one);
        let plan = plan.map_err(|error| match error {
            log::Error::OutOfRange { start, end, .. } => {
                ReplicaError::OffsetOutOfRange { start, end }
            }
            log::Error::Moved => ReplicaError::Busy,
            _ => ReplicaError::Storage,
        })?;
        let records = match plan.chunks_if_cached() {
            Some(chunks) => ReplicaRecords::Ready(chunks),
            None => ReplicaRecords::Cold(plan),
        };
        let leader = self.replica.leader();
        Ok(ReplicaAnswer::Records {
            high_watermark: self.replica.high_watermark(),
            log_start: log.log_start_offset(),
            log_end: end,
            spared_above: leader.and_then(|leader| leader.spares_above(fetch.claim.follower)),
            records,
        })
    }
}

fn refusal(verdict: Verdict) -> ReplicaError {
    match verdict {
        Verdict::FencedEpoch => ReplicaError::FencedLeaderEpoch,
        Verdict::UnknownEpoch => ReplicaError::UnknownLeaderEpoch,
        Verdict::StaleBroker => ReplicaError::StaleBrokerEpoch,
        Verdict::NotReplica => ReplicaError::NotReplica,
        _ => ReplicaError::NotLeader,
    }
}
