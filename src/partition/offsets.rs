//! Positions: the offsets of a partition, look-up by time and by epoch, DeleteRecords.

use super::{Error, Inner, Isolation, Partition};
use crate::env::spawn;
use crate::log::{Log, TimestampedOffset};
use crate::replica::Input;
use crate::types::{LeaderEpoch, Offset, TimestampMs};
use std::sync::Arc;

/// The offsets of one replica at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// The first offset that can be read.
    pub log_start: Offset,
    /// Where `read_committed` consumers stop.
    pub last_stable: Offset,
    /// Where `read_uncommitted` consumers stop.
    pub high_watermark: Offset,
    /// Everything below is on this node's disk.
    pub flushed: Offset,
    /// Where the next record goes.
    pub log_end: Offset,
    /// The newest leader epoch heard of.
    pub leader_epoch: LeaderEpoch,
}

/// What a ListOffsets request looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// -2: the log start offset.
    Earliest,
    /// -1: where the reader would stop.
    Latest,
    /// -3: the record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// -4: the first offset on this node's own disk (KIP-405); the log start, as nothing is
    /// tiered.
    EarliestLocal,
    /// -5: the last offset that was tiered (KIP-1005); nothing is tiered.
    LatestTiered,
    /// -6: the first offset that waits to be tiered (KIP-1023); nothing is tiered.
    EarliestPendingUpload,
    /// The first record with this timestamp or a later one.
    Timestamp(TimestampMs),
}

impl OffsetSpec {
    /// Reads the number on the wire; nothing for negative numbers without a meaning.
    #[must_use]
    pub fn from_wire(timestamp: i64) -> Option<Self> {
        match timestamp {
            -1 => Some(Self::Latest),
            -2 => Some(Self::Earliest),
            -3 => Some(Self::MaxTimestamp),
            -4 => Some(Self::EarliestLocal),
            -5 => Some(Self::LatestTiered),
            -6 => Some(Self::EarliestPendingUpload),
            time if time >= 0 => Some(Self::Timestamp(TimestampMs(time))),
            _ => None,
        }
    }
}

/// A position that was looked up. Nothing found: all three "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset.
    pub offset: Offset,
    /// The timestamp of the record, where one was looked for.
    pub timestamp: TimestampMs,
    /// The epoch of that offset.
    pub leader_epoch: LeaderEpoch,
}

impl ListedOffset {
    /// "There is no such record": all fields -1, which clients know; other negative numbers make
    /// the Java client throw.
    pub const NOTHING: Self = Self {
        offset: Offset::NONE,
        timestamp: TimestampMs::NONE,
        leader_epoch: LeaderEpoch::NONE,
    };
}

impl From<Option<TimestampedOffset>> for ListedOffset {
    fn from(found: Option<TimestampedOffset>) -> Self {
        found.map_or(Self::NOTHING, |found| Self {
            offset: found.offset,
            timestamp: found.timestamp,
            leader_epoch: found.leader_epoch,
        })
    }
}

impl Partition {
    /// The offsets of this replica, leader or not.
    ///
    /// # Errors
    /// [`Error::NotLeader`] once the partition was closed or deleted.
    pub fn offsets(&self) -> Result<Offsets, Error> {
        let inner = self.lock();
        let log = inner.log.as_ref().ok_or(Error::NotLeader)?;
        let high_watermark = inner.replica.high_watermark();
        Ok(Offsets {
            log_start: log.log_start_offset(),
            last_stable: log.last_stable_offset(high_watermark),
            high_watermark,
            flushed: log.flushed_offset(),
            log_end: log.log_end_offset(),
            leader_epoch: inner.replica.leader_epoch(),
        })
    }

    /// Looks up a position for a consumer.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::FencedEpoch`], [`Error::UnknownEpoch`], [`Error::Storage`],
    /// [`Error::Corrupt`]; [`Error::OffsetNotAvailable`] while a new leader does not know the high
    /// watermark yet, because positions must never go back.
    pub async fn list_offset(
        self: &Arc<Self>,
        spec: OffsetSpec,
        isolation: Isolation,
        current_leader_epoch: LeaderEpoch,
    ) -> Result<ListedOffset, Error> {
        match spec {
            OffsetSpec::MaxTimestamp | OffsetSpec::Timestamp(_) => {
                // May read an index and a few batches from the disk.
                let partition = Arc::clone(self);
                let look =
                    move || partition.lock().list_offset(spec, isolation, current_leader_epoch);
                spawn::blocking("offset by time", look).await.unwrap_or(Err(Error::NotLeader))
            }
            _ => self.lock().list_offset(spec, isolation, current_leader_epoch),
        }
    }

    /// Where `asked_epoch` ends in this log: the largest epoch not above it, and the offset at
    /// which the next one begins (KIP-101, KIP-279). "None" for both when undefined.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::FencedEpoch`], [`Error::UnknownEpoch`], [`Error::Storage`].
    pub fn epoch_end_offset(
        &self,
        current_leader_epoch: LeaderEpoch,
        asked_epoch: LeaderEpoch,
    ) -> Result<(LeaderEpoch, Offset), Error> {
        let inner = self.lock();
        let log = inner.led_log(current_leader_epoch)?;
        let ours = inner.replica.leader_epoch();
        if asked_epoch == ours {
            return Ok((ours, log.log_end_offset()));
        }
        Ok(log.epoch_end_offset(asked_epoch))
    }

    /// Moves the log start offset up to `upto`; [`Offset::NONE`] (-1) means the high watermark.
    /// At or below the log start it succeeds and does nothing. Returns the log start offset.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::Storage`]; [`Error::OffsetOutOfRange`] above the high
    /// watermark.
    pub async fn delete_records(self: &Arc<Self>, upto: Offset) -> Result<Offset, Error> {
        let partition = Arc::clone(self);
        let delete = move || partition.delete_records_now(upto);
        spawn::blocking("delete records", delete).await.unwrap_or(Err(Error::NotLeader))
    }

    fn delete_records_now(&self, upto: Offset) -> Result<Offset, Error> {
        let (result, aftermath) = {
            let mut inner = self.lock();
            inner.check_leader(LeaderEpoch::NONE)?;
            let high_watermark = inner.replica.high_watermark();
            let log = inner.log.as_mut().ok_or(Error::NotLeader)?;
            let start = log.log_start_offset();
            let wanted = if upto == Offset::NONE { high_watermark } else { upto };
            if wanted > high_watermark || wanted < Offset::ZERO {
                return Err(Error::OffsetOutOfRange { asked: upto, start, end: high_watermark });
            }
            if wanted <= start {
                return Ok(start);
            }
            match log.raise_log_start(wanted) {
                Ok(_) => {
                    let start = log.log_start_offset();
                    let mut aftermath = inner.step(Input::StartRaised { start });
                    aftermath.wake = true;
                    (Ok(start), aftermath)
                }
                Err(error) => {
                    let aftermath = inner.fail(&error.to_string());
                    (Err(error.into()), aftermath)
                }
            }
        };
        self.finish(aftermath);
        if result.is_ok() {
            self.notices.log_start_moved(&self.name);
        }
        result
    }
}

impl Inner {
    fn list_offset(
        &self,
        spec: OffsetSpec,
        isolation: Isolation,
        current_leader_epoch: LeaderEpoch,
    ) -> Result<ListedOffset, Error> {
        let log = self.led_log(current_leader_epoch)?;
        let high_watermark = self.replica.high_watermark();
        let readable_to = match isolation {
            Isolation::ReadUncommitted => high_watermark,
            Isolation::ReadCommitted => log.last_stable_offset(high_watermark),
        };
        if matches!(spec, OffsetSpec::Latest | OffsetSpec::MaxTimestamp | OffsetSpec::Timestamp(_))
            && !self.replica.knows_high_watermark()
        {
            return Err(Error::OffsetNotAvailable);
        }
        match spec {
            OffsetSpec::Earliest | OffsetSpec::EarliestLocal => {
                Ok(self.at(log, log.log_start_offset()))
            }
            OffsetSpec::Latest => Ok(self.at(log, readable_to)),
            OffsetSpec::LatestTiered | OffsetSpec::EarliestPendingUpload => {
                Ok(ListedOffset::NOTHING)
            }
            OffsetSpec::MaxTimestamp => Ok(log.max_timestamp(readable_to)?.into()),
            OffsetSpec::Timestamp(target) => {
                Ok(log.offset_for_timestamp(target, readable_to)?.into())
            }
        }
    }

    /// A bare position: without a timestamp, with its own epoch. The offset after the last record
    /// belongs to the current epoch.
    fn at(&self, log: &Log, offset: Offset) -> ListedOffset {
        let own = if offset < log.log_end_offset() { log.epoch_for_offset(offset) } else { None };
        ListedOffset {
            offset,
            timestamp: TimestampMs::NONE,
            leader_epoch: own.unwrap_or_else(|| self.replica.leader_epoch()),
        }
    }
}
