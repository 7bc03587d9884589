//! Writing: append in request order, then wait for the high watermark.

use super::waiters::WaiterKey;
use super::{Aftermath, Error, Inner, Partition};
use crate::log::{self, AppendError, Origin};
use crate::replica::Input;
use crate::types::{LeaderEpoch, Offset, TimestampMs};
use bytes::Bytes;
use tokio::time::Instant;

/// When a produce counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// 0: nobody waits for an answer.
    None,
    /// 1: once the leader has appended.
    Leader,
    /// -1: once the high watermark passed it.
    All,
}

impl Acks {
    /// Reads the number on the wire; nothing for numbers without a meaning.
    #[must_use]
    pub fn from_wire(acks: i16) -> Option<Self> {
        match acks {
            0 => Some(Self::None),
            1 => Some(Self::Leader),
            -1 => Some(Self::All),
            _ => None,
        }
    }
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record; of the original batch, for a duplicate.
    pub base_offset: Offset,
    /// Offset of the last record; of the original batch, for a duplicate.
    pub last_offset: Offset,
    /// The leader's time, if the topic stamps it.
    pub append_time: Option<TimestampMs>,
    /// Where the log starts.
    pub log_start_offset: Offset,
    /// Whether the producer had sent this batch before; then nothing was written.
    pub duplicate: bool,
    /// The leadership that took it. Once that is over, nothing is known about the write.
    pub leader_epoch: LeaderEpoch,
}

impl Partition {
    /// Appends one record batch of a client. Appends of one connection must be called in the
    /// order of its requests.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::NotEnoughReplicas`] (with [`Acks::All`]), [`Error::Storage`]
    /// and [`Error::Append`]. Nothing was written in any of these.
    pub fn append(&self, batch: Bytes, acks: Acks) -> Result<Appended, Error> {
        self.append_from(batch, acks, Origin::Client)
    }

    /// As [`Self::append`], for any origin.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_from(&self, batch: Bytes, acks: Acks, origin: Origin) -> Result<Appended, Error> {
        let (result, aftermath) = {
            let mut inner = self.lock();
            inner.append(batch, acks, origin)
        };
        self.finish(aftermath);
        result
    }

    /// Waits until the high watermark passed the append, that is, until it is on the disks of all
    /// in-sync replicas.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `deadline`; [`Error::NotLeader`] when the leadership that took the
    /// append is over; [`Error::Storage`]; [`Error::NotEnoughReplicasAfterAppend`]. What became of
    /// the write is then unknown.
    pub async fn committed(&self, appended: &Appended, deadline: Instant) -> Result<(), Error> {
        let needed = appended.last_offset.next();
        let (key, receiver) = {
            let mut inner = self.lock();
            inner.check_leader(LeaderEpoch::NONE)?;
            if inner.replica.leader_epoch() != appended.leader_epoch {
                return Err(Error::NotLeader);
            }
            if inner.replica.high_watermark() >= needed {
                return if inner.replica.has_enough_replicas() {
                    Ok(())
                } else {
                    Err(Error::NotEnoughReplicasAfterAppend)
                };
            }
            // "Timed out" is what a client may retry without knowing what happened.
            inner.waiters.add(needed).ok_or(Error::Timeout)?
        };
        let _registration = Registration { partition: self, key };
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(outcome)) => outcome.into_result(),
            // The partition was closed or deleted.
            Ok(Err(_)) => Err(Error::NotLeader),
            Err(_) => Err(Error::Timeout),
        }
    }

    /// How many produces wait for the high watermark.
    #[cfg(test)]
    pub(super) fn waiter_count(&self) -> usize {
        self.lock().waiters.len()
    }
}

/// Forgets the waiter when its future is dropped or times out.
struct Registration<'a> {
    partition: &'a Partition,
    key: WaiterKey,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.partition.lock().waiters.remove(self.key);
    }
}

impl Inner {
    fn append(
        &mut self,
        batch: Bytes,
        acks: Acks,
        origin: Origin,
    ) -> (Result<Appended, Error>, Aftermath) {
        if let Err(error) = self.check_leader(LeaderEpoch::NONE) {
            return (Err(error), Aftermath::default());
        }
        if acks == Acks::All && !self.replica.has_enough_replicas() {
            return (Err(Error::NotEnoughReplicas), Aftermath::default());
        }
        let leader_epoch = self.replica.leader_epoch();
        let Some(log) = self.log.as_mut() else {
            return (Err(Error::NotLeader), Aftermath::default());
        };
        match log.append_as_leader(batch, leader_epoch, origin) {
            Ok(done) => {
                let end = log.log_end_offset();
                let aftermath = if done.duplicate {
                    Aftermath::default()
                } else {
                    let aftermath = self.step(Input::Appended { end });
                    Aftermath { followers: true, ..aftermath }
                };
                (Ok(answer(&done, leader_epoch)), aftermath)
            }
            Err(AppendError::Failed(reason)) => {
                let aftermath = self.fail(&reason);
                (Err(Error::Storage(reason)), aftermath)
            }
            Err(error) => (Err(error.into()), Aftermath::default()),
        }
    }
}

fn answer(done: &log::Appended, leader_epoch: LeaderEpoch) -> Appended {
    Appended {
        base_offset: done.base_offset,
        last_offset: done.last_offset,
        append_time: done.append_time,
        log_start_offset: done.log_start_offset,
        duplicate: done.duplicate,
        leader_epoch,
    }
}
