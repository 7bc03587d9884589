//! Reading: from the tail cache at once, or from the disk away from the async workers.

use super::{Error, Partition};
use crate::env::spawn;
use crate::log::{self, ReadPlan};
use crate::types::{LeaderEpoch, Offset, ProducerId};
use bytes::Bytes;

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
        let high_watermark = inner.replica.high_watermark();
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
            log_start_offset: start,
            aborted,
            leader_epoch: inner.replica.leader_epoch(),
        })
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
                tracing::error!(partition = %self.name, %error, "damaged bytes are not served");
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
