//! Reading: from the tail cache at once, or from the disk away from the async workers.

use super::{Error, Inner, Partition};
use crate::env::spawn;
use crate::log::{self, Log, ReadPlan};
use crate::types::{LeaderEpoch, NodeId, Offset, ProducerId};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What a consumer may see of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Everything below the high watermark.
    ReadUncommitted,
    /// Everything below the last stable offset, with the list of aborted transactions.
    ReadCommitted,
}

impl Isolation {
    /// Reads the byte on the wire. Anything but 1 reads uncommitted, as in Kafka.
    #[must_use]
    pub fn from_wire(level: i8) -> Self {
        if level == 1 { Self::ReadCommitted } else { Self::ReadUncommitted }
    }
}

/// One consumer's read.
#[derive(Debug, Clone, Copy)]
pub struct ReadRequest {
    /// The first offset wanted. The whole batch that holds it is returned.
    pub offset: Offset,
    /// Bytes wanted at most.
    pub bytes_max: usize,
    /// Return the first batch even if it is larger than `bytes_max`.
    pub at_least_one: bool,
    /// Where to stop.
    pub isolation: Isolation,
    /// The leader epoch that the reader believes in; negative asks for no check.
    pub current_leader_epoch: LeaderEpoch,
}

/// The records of a read.
#[derive(Debug)]
pub enum Records {
    /// Here they are (or there are none).
    Ready(Bytes),
    /// They lie on disk: [`Partition::load`] fetches them.
    Cold(ReadPlan),
}

impl Records {
    /// Whether there is nothing to read for certain.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Ready(bytes) if bytes.is_empty())
    }
}

/// What a read found.
#[derive(Debug)]
pub struct ReadAnswer {
    /// The batches; empty when nothing is readable at the offset yet.
    pub records: Records,
    /// The high watermark.
    pub high_watermark: Offset,
    /// The last stable offset.
    pub last_stable_offset: Offset,
    /// The log start offset.
    pub log_start_offset: Offset,
    /// For [`Isolation::ReadCommitted`]: aborted transactions that overlap what is returned, by
    /// their first offset. `None` for [`Isolation::ReadUncommitted`].
    pub aborted: Option<Vec<(ProducerId, Offset)>>,
    /// The epoch in which this node leads.
    pub leader_epoch: LeaderEpoch,
}

impl Partition {
    /// As [`Self::read`], from a leader or from a follower (KIP-392). A follower serves what it
    /// knows to be committed.
    ///
    /// # Errors
    /// As [`Self::read`]; on a follower, [`Error::OffsetNotAvailable`] above its high watermark:
    /// the leader may well have that offset, so it is not out of range.
    pub fn read_from_any(&self, request: ReadRequest) -> Result<ReadAnswer, Error> {
        let inner = self.lock();
        if inner.replica.follower().is_none() {
            drop(inner);
            return self.read(request);
        }
        let log = inner.copied_log(request.current_leader_epoch)?;
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        if request.offset < start {
            return Err(Error::OffsetOutOfRange { asked: request.offset, start, end });
        }
        if request.offset > inner.replica.high_watermark() {
            return Err(Error::OffsetNotAvailable);
        }
        inner.read(log, request)
    }

    /// As [`Self::epoch_end_offset`], of this replica's own log, leader or not (KIP-392).
    ///
    /// # Errors
    /// As [`Self::epoch_end_offset`].
    pub fn epoch_end_offset_from_any(
        &self,
        current_leader_epoch: LeaderEpoch,
        asked_epoch: LeaderEpoch,
    ) -> Result<(LeaderEpoch, Offset), Error> {
        let inner = self.lock();
        if inner.replica.follower().is_none() {
            drop(inner);
            return self.epoch_end_offset(current_leader_epoch, asked_epoch);
        }
        Ok(inner.copied_log(current_leader_epoch)?.epoch_end_offset(asked_epoch))
    }

    /// The replica that a consumer in `rack` should read from `offset` on (KIP-392): in its rack, in
    /// sync, and with the most of the log. `None` for this node, which leads; also when no other
    /// is better, or this node does not lead.
    #[must_use]
    pub fn preferred_read_replica(
        &self,
        rack: &str,
        racks: &BTreeMap<NodeId, String>,
        offset: Offset,
    ) -> Option<NodeId> {
        let inner = self.lock();
        let leader = inner.replica.leader()?;
        let is_near = |node: NodeId| racks.get(&node).is_some_and(|its| its == rack);
        if rack.is_empty() || is_near(self.node) {
            return None;
        }
        let near = leader.followers().filter_map(|(node, progress)| {
            let usable = is_near(node)
                && leader.isr().contains(&node)
                && progress.broker_epoch.is_some()
                && progress.end.is_some_and(|end| end >= offset);
            usable.then_some((progress.end, Reverse(node)))
        });
        near.max().map(|(_, Reverse(node))| node)
    }

    /// Reads whole batches from `request.offset` on. Never waits for the disk's contents: what is
    /// not in the tail cache comes back as [`Records::Cold`].
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::FencedEpoch`], [`Error::UnknownEpoch`], [`Error::Storage`],
    /// and [`Error::OffsetOutOfRange`] only below the log start or above the log end. Between high
    /// watermark and log end the answer is empty.
    pub fn read(&self, request: ReadRequest) -> Result<ReadAnswer, Error> {
        let inner = self.lock();
        let log = inner.led_log(request.current_leader_epoch)?;
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        if request.offset < start || request.offset > end {
            return Err(Error::OffsetOutOfRange { asked: request.offset, start, end });
        }
        inner.read(log, request)
    }

    /// The bytes of a read, from the disk if need be; checksums are verified there. Empty when
    /// the records were deleted meanwhile: the next read finds the log as it is then.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for damaged bytes, which are never served; [`Error::Storage`] when the
    /// disk does not read.
    pub async fn load(&self, records: Records) -> Result<Bytes, Error> {
        let plan = match records {
            Records::Ready(bytes) => return Ok(bytes),
            Records::Cold(plan) => plan,
        };
        match spawn::blocking("cold read", move || plan.execute()).await {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(log::Error::Moved)) => Ok(Bytes::new()),
            Some(Err(error @ log::Error::Corrupt { .. })) => {
                self.found_damage(&error);
                Err(error.into())
            }
            // Nothing is wrong with the disk.
            Some(Err(error)) if error.is_shortage() => Err(error.into()),
            Some(Err(error)) => {
                self.fail(&error.to_string());
                Err(error.into())
            }
            None => Err(Error::NotLeader),
        }
    }
}

impl Inner {
    /// Reads below the high watermark.
    fn read(&self, log: &Log, request: ReadRequest) -> Result<ReadAnswer, Error> {
        let high_watermark = self.replica.high_watermark();
        let last_stable_offset = log.last_stable_offset(high_watermark);
        let upto = match request.isolation {
            Isolation::ReadUncommitted => high_watermark,
            Isolation::ReadCommitted => last_stable_offset,
        };
        let records = if request.offset >= upto {
            Records::Ready(Bytes::new())
        } else {
            let plan = log.read(request.offset, upto, request.bytes_max, request.at_least_one)?;
            match plan.bytes_if_cached() {
                Some(bytes) => Records::Ready(bytes),
                None => Records::Cold(plan),
            }
        };
        let aborted = match request.isolation {
            Isolation::ReadUncommitted => None,
            Isolation::ReadCommitted if records.is_empty() => Some(Vec::new()),
            Isolation::ReadCommitted => Some(
                log.aborted_transactions(request.offset, upto)?
                    .into_iter()
                    .map(|aborted| (aborted.producer_id, aborted.first_offset))
                    .collect(),
            ),
        };
        Ok(ReadAnswer {
            records,
            high_watermark,
            last_stable_offset,
            log_start_offset: log.log_start_offset(),
            aborted,
            leader_epoch: self.replica.leader_epoch(),
        })
    }

    /// The log, if this node follows and agrees with the caller about the epoch (KIP-320).
    fn copied_log(&self, current_leader_epoch: LeaderEpoch) -> Result<&Log, Error> {
        match self.check_leader(current_leader_epoch) {
            Ok(()) | Err(Error::NotLeader) => {}
            Err(error) => return Err(error),
        }
        self.log.as_ref().filter(|_| !self.ending).ok_or(Error::NotLeader)
    }
}
