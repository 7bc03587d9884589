//! The follower's side of replication: what the leader's answers do to the local log.

use super::{Aftermath, Inner, Order, Partition};
use crate::log::{self, AppendError, Appended, Log, Origin};
use crate::protocol::records::BatchIter;
use crate::replica::{Answer, Input, LogView};
use crate::types::{LeaderEpoch, NodeId, Offset};
use bytes::Bytes;

/// Where a follower stands: what it asks its leader from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPosition {
    /// Whom it copies from.
    pub leader: NodeId,
    /// In which leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// Its log end offset.
    pub end: Offset,
    /// The newest leader epoch that its log knows; [`LeaderEpoch::NONE`] if there is none.
    pub last_epoch: LeaderEpoch,
    /// Everything below is on disk.
    pub flushed: Offset,
    /// Its log start offset.
    pub log_start: Offset,
    /// The high watermark that it knows.
    pub high_watermark: Offset,
}

/// What a leader answered about one partition.
#[derive(Debug, Clone)]
pub enum LeaderAnswer {
    /// The next batches, or none.
    Records {
        /// The leader's high watermark.
        high_watermark: Offset,
        /// The leader's log start offset.
        log_start: Offset,
        /// Whole batches, as the leader stores them.
        records: Bytes,
    },
    /// The logs part before the follower's end (KIP-595).
    Diverging {
        /// The leader's largest epoch that is not above the follower's last.
        epoch: LeaderEpoch,
        /// Where it ends at the leader.
        end: Offset,
        /// The leader's log start offset.
        log_start: Offset,
    },
    /// The leader has nothing at the offset that was asked for.
    OutOfRange {
        /// The leader's log start offset.
        start: Offset,
        /// The leader's log end offset.
        end: Offset,
    },
}

/// What an answer did to the local log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Took {
    /// Nothing: the answer is of an older leader epoch, or of a fetch from before the log was cut.
    Stale,
    /// The records were appended, if there were any, and the watermarks taken.
    Records {
        /// Bytes that were appended.
        bytes: usize,
        /// Whether the leader has committed more than this log has: this replica is behind.
        behind: bool,
    },
    /// The log or its epochs were cut: fetch again from where it ends now.
    Cut,
}

/// Why an answer was not taken, by what the follower does next.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The disk is full: stop fetching, and try again when there may be room.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// The bytes are damaged, or do not continue this log: fetch them again.
    #[error("what the leader sent cannot be appended: {0}")]
    Refused(String),
    /// The local storage failed, or the partition was closed: stop for good.
    #[error("the replica is stopped: {0}")]
    Stopped(String),
}

impl Partition {
    /// Where this replica stands, if it follows and can append.
    #[must_use]
    pub fn fetch_position(&self) -> Option<FetchPosition> {
        let inner = self.lock();
        let follower = inner.replica.follower()?;
        if inner.failure.is_some() || inner.ending {
            return None;
        }
        let log = inner.log.as_ref()?;
        let end = inner.trusted_end(log, self.node);
        let last_epoch = if end < log.log_end_offset() {
            log.epoch_for_offset(Offset(end.0 - 1))
        } else {
            log.latest_epoch()
        };
        Some(FetchPosition {
            leader: follower.leader(),
            leader_epoch: follower.epoch(),
            end,
            last_epoch: last_epoch.unwrap_or(LeaderEpoch::NONE),
            flushed: log.flushed_offset().min(end),
            log_start: log.log_start_offset(),
            high_watermark: inner.replica.high_watermark(),
        })
    }

    /// Takes a leader's answer to a fetch that was made in `leader_epoch` from the log end `asked`.
    /// May wait for the disk.
    ///
    /// # Errors
    /// [`FollowError`]. What was appended before the error stays.
    pub fn append_from_leader(
        &self,
        leader_epoch: LeaderEpoch,
        asked: Offset,
        answer: LeaderAnswer,
    ) -> Result<Took, FollowError> {
        let (result, aftermath) = {
            let mut inner = self.lock();
            let before = inner.replica.log().start;
            let (result, aftermath) = inner.take_answer(leader_epoch, asked, answer);
            let start_moved = inner.replica.log().start != before;
            (result.map(|took| (took, start_moved)), aftermath)
        };
        self.finish(aftermath);
        let (took, start_moved) = result?;
        if start_moved {
            self.notices.log_start_moved(&self.name);
        }
        Ok(took)
    }
}

impl Inner {
    fn take_answer(
        &mut self,
        leader_epoch: LeaderEpoch,
        asked: Offset,
        answer: LeaderAnswer,
    ) -> (Result<Took, FollowError>, Aftermath) {
        let log = match (&self.failure, &self.log) {
            (Some(reason), _) => return stopped(reason),
            (None, Some(log)) if !self.ending => log,
            _ => return stopped("the partition is closed"),
        };
        let (answer, records) = match answer {
            LeaderAnswer::Records { high_watermark, log_start, records } => {
                (Answer::Records { high_watermark, log_start }, records)
            }
            LeaderAnswer::Diverging { epoch, end, log_start } => {
                let local = log.epoch_end_offset(epoch);
                (Answer::Diverging { epoch, end, log_start, local }, Bytes::new())
            }
            LeaderAnswer::OutOfRange { start, end } => {
                (Answer::OutOfRange { start, end }, Bytes::new())
            }
        };
        let mut aftermath = self.step(Input::Answered { leader_epoch, asked, answer });
        let mut result = Ok(Took::Stale);
        for order in std::mem::take(&mut aftermath.orders) {
            let (done, more) = self.obey(order, leader_epoch, &records);
            aftermath.merge(more);
            match (done, &result) {
                (Ok(Took::Stale), _) => {}
                (done, _) => result = done,
            }
            if result.is_err() {
                break;
            }
        }
        if let Ok(Took::Records { behind, .. }) = &mut result {
            *behind = self.replica.follower().is_some_and(|f| f.told() > self.replica.log().end);
        }
        (result, aftermath)
    }

    fn obey(
        &mut self,
        order: Order,
        leader_epoch: LeaderEpoch,
        records: &Bytes,
    ) -> (Result<Took, FollowError>, Aftermath) {
        let Some(log) = self.log.as_mut() else { return stopped("the partition is closed") };
        let cut = match order {
            Order::Append => return self.append_answered(leader_epoch, records),
            Order::RaiseStart(start) => {
                return match log.raise_log_start(start) {
                    Ok(_) => {
                        let start = log.log_start_offset();
                        let mut aftermath = self.step(Input::StartRaised { start });
                        aftermath.wake = true;
                        // Says nothing new about the records.
                        (Ok(Took::Stale), aftermath)
                    }
                    Err(error) => self.stop(&error.to_string()),
                };
            }
            Order::Truncate { to, unclean } => {
                tell_cut(log, to, unclean);
                log.truncate_to(to)
            }
            Order::Restart { at, unclean } => {
                tell_cut(log, at, unclean);
                log.reset_to(at)
            }
        };
        if let Err(error) = cut {
            return self.stop(&error.to_string());
        }
        let view = view_of(log);
        (Ok(Took::Cut), self.was_cut(view))
    }

    /// The log was cut, and this is what is left.
    pub(super) fn was_cut(&mut self, view: LogView) -> Aftermath {
        let lowered = self.recovery_point() < self.checkpointed;
        let mut aftermath = self.step(Input::Cut(view));
        aftermath.recovery_point_lowered = lowered;
        aftermath.wake = true;
        aftermath
    }

    fn recovery_point(&self) -> Offset {
        self.log.as_ref().map_or(self.checkpointed, Log::recovery_point)
    }

    fn append_answered(
        &mut self,
        leader_epoch: LeaderEpoch,
        records: &Bytes,
    ) -> (Result<Took, FollowError>, Aftermath) {
        let nothing = Took::Records { bytes: 0, behind: false };
        let Some(log) = self.log.as_mut() else { return stopped("the partition is closed") };
        if records.is_empty() {
            return (Ok(nothing), Aftermath::default());
        }
        if let Err(error) = check_epochs(log, leader_epoch, records) {
            return (Err(error), Aftermath::default());
        }
        let before = log.log_end_offset();
        let appended = append(log, records);
        let end = log.log_end_offset();
        let lowered = log.recovery_point() < self.checkpointed;
        let mut aftermath =
            if end > before { self.step(Input::Appended { end }) } else { Aftermath::default() };
        aftermath.recovery_point_lowered = lowered;
        match appended {
            Ok(_) => (Ok(Took::Records { bytes: records.len(), behind: false }), aftermath),
            Err(AppendError::Failed(reason)) => {
                let (result, mut failed) = self.stop(&reason);
                failed.merge(aftermath);
                (result, failed)
            }
            Err(AppendError::DiskFull(reason)) => (Err(FollowError::DiskFull(reason)), aftermath),
            Err(error) => (Err(FollowError::Refused(error.to_string())), aftermath),
        }
    }

    fn stop(&mut self, reason: &str) -> (Result<Took, FollowError>, Aftermath) {
        let aftermath = self.fail(reason);
        (Err(FollowError::Stopped(reason.to_owned())), aftermath)
    }
}

/// Appends what the leader sent. A follower that begins at the leader's log start may get a batch
/// that reaches back beyond it, because DeleteRecords went to the middle of it: the empty log then
/// begins with the whole batch, and starts where it did.
fn append(log: &mut Log, records: &Bytes) -> Result<Appended, AppendError> {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let first = BatchIter::new(records).next().and_then(Result::ok).map(|(header, _)| header);
    let reaches_back = first
        .filter(|first| start == end && first.base_offset < start && first.last_offset() >= start);
    let Some(first) = reaches_back else {
        return log.append_as_follower(records.clone(), Origin::Replica);
    };
    let failed = |error: log::Error| AppendError::Failed(error.to_string());
    log.reset_to(first.base_offset).map_err(failed)?;
    let appended = log.append_as_follower(records.clone(), Origin::Replica);
    if appended.is_err() && log.log_end_offset() < start {
        log.reset_to(start).map_err(failed)?;
    } else {
        log.raise_log_start(start).map_err(failed)?;
    }
    appended
}

/// The offsets of a log that the rules look at.
pub(super) fn view_of(log: &Log) -> LogView {
    LogView {
        start: log.log_start_offset(),
        end: log.log_end_offset(),
        flushed: log.flushed_offset(),
    }
}

fn stopped(reason: &str) -> (Result<Took, FollowError>, Aftermath) {
    (Err(FollowError::Stopped(reason.to_owned())), Aftermath::default())
}

/// Batches carry the epochs of the leaders that took them: never older than the log's newest, and
/// never newer than the leader that sends them.
fn check_epochs(log: &Log, leader_epoch: LeaderEpoch, records: &Bytes) -> Result<(), FollowError> {
    let mut newest = log.latest_epoch().unwrap_or(LeaderEpoch::NONE);
    for batch in BatchIter::new(records) {
        let (header, _) = batch.map_err(|error| FollowError::Refused(error.to_string()))?;
        if header.leader_epoch < newest || header.leader_epoch > leader_epoch {
            return Err(FollowError::Refused(format!(
                "a batch at {} has epoch {}, between {newest} and {leader_epoch} was expected",
                header.base_offset, header.leader_epoch
            )));
        }
        newest = header.leader_epoch;
    }
    Ok(())
}

fn tell_cut(log: &Log, to: Offset, unclean: bool) {
    let (dir, end) = (log.dir().display(), log.log_end_offset());
    if unclean {
        tracing::error!(
            %dir, %to, %end,
            "cutting records that were committed: the leader does not have them, so its election \
             was unclean, or its disk lost them"
        );
    } else if to < end {
        tracing::info!(%dir, %to, %end, "cutting what the leader does not have");
    }
}
