//! What a log remembers of the idempotent and transactional producers that write to it (KIP-98).
//!
//! Invariants:
//! - The state is a function of the batches on the log, from the last snapshot on: whatever is
//!   truncated leaves it too.
//! - The last five batches of each producer are recognised when they come again.
//! - Producers are forgotten by the time that they were last heard, never by the timestamps that
//!   they send.

mod snapshot;

pub(super) use snapshot::{decode, encode};

use super::config::{ActiveProducer, Origin};
use super::error::AppendError;
use crate::limits;
use crate::protocol::records::{BatchHeader, ControlKind, ControlRecord};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use std::collections::{BTreeMap, VecDeque};

/// One batch of a producer, as its retry would be recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) first_sequence: Sequence,
    pub(super) last_sequence: Sequence,
    pub(super) first_offset: Offset,
    pub(super) last_offset: Offset,
    pub(super) timestamp: TimestampMs,
}

/// One producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Producer {
    pub(super) epoch: ProducerEpoch,
    pub(super) coordinator_epoch: i32,
    /// Of its last batch or marker.
    pub(super) timestamp: TimestampMs,
    pub(super) transaction_start: Option<Offset>,
    /// The last batches of this epoch, oldest first.
    pub(super) batches: VecDeque<Seen>,
    /// What lies below was aborted: never answer a retry with it.
    pub(super) aborted_upto: Offset,
    /// When it was last heard, by our clock.
    heard: TimestampMs,
}

impl Producer {
    fn new(epoch: ProducerEpoch, now: TimestampMs) -> Self {
        Self {
            epoch,
            coordinator_epoch: -1,
            timestamp: TimestampMs::NONE,
            transaction_start: None,
            batches: VecDeque::new(),
            aborted_upto: Offset::ZERO,
            heard: now,
        }
    }

    fn set_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }

    fn last_sequence(&self) -> Sequence {
        self.batches.back().map_or(Sequence::NONE, |seen| seen.last_sequence)
    }

    fn continues(&self, header: &BatchHeader) -> bool {
        let last = self.last_sequence();
        let expected = if last == Sequence::NONE { Sequence(0) } else { last.plus(1) };
        let all_aborted =
            self.batches.back().is_none_or(|seen| seen.last_offset < self.aborted_upto);
        header.base_sequence == expected || (header.base_sequence == Sequence(0) && all_aborted)
    }
}

/// A transaction that a marker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Completed {
    pub(super) producer_id: ProducerId,
    pub(super) first_offset: Offset,
    /// Of the marker.
    pub(super) last_offset: Offset,
    pub(super) aborted: bool,
    /// The last stable offset once the marker is committed.
    pub(super) last_stable_offset: Offset,
}

/// All producers of one log.
#[derive(Debug, Clone, Default)]
pub(super) struct Producers {
    by_id: BTreeMap<ProducerId, Producer>,
    /// Open transactions by first offset.
    open: BTreeMap<Offset, ProducerId>,
    /// Ended transactions, first offset by marker, until the high watermark has passed the marker.
    ended: BTreeMap<Offset, Offset>,
}

impl Producers {
    /// Whether the batch may be appended. `Ok` has the earlier batch that it repeats, if it does.
    pub(super) fn check(
        &self,
        header: &BatchHeader,
        marker: Option<ControlRecord>,
        origin: Origin,
    ) -> Result<Option<Seen>, AppendError> {
        let id = header.producer_id;
        let Some(producer) = self.by_id.get(&id).filter(|_| header.has_producer()) else {
            return Ok(None);
        };
        let same_epoch = header.producer_epoch == producer.epoch;
        if origin == Origin::Client && same_epoch {
            let repeated = producer.batches.iter().find(|seen| {
                seen.first_sequence == header.base_sequence
                    && seen.last_sequence == header.last_sequence()
                    && seen.last_offset >= producer.aborted_upto
            });
            if let Some(seen) = repeated {
                return Ok(Some(*seen));
            }
        }
        if header.producer_epoch < producer.epoch {
            return Err(AppendError::InvalidProducerEpoch(format!(
                "producer {id} sent epoch {}, but epoch {} has written here",
                header.producer_epoch, producer.epoch
            )));
        }
        if let Some(marker) = marker {
            return match producer.coordinator_epoch > marker.coordinator_epoch {
                false => Ok(None),
                true => Err(AppendError::CoordinatorFenced(format!(
                    "marker for producer {id} has coordinator epoch {}, but epoch {} has \
                     written here",
                    marker.coordinator_epoch, producer.coordinator_epoch
                ))),
            };
        }
        if origin == Origin::Client && !same_epoch && header.base_sequence != Sequence(0) {
            return Err(AppendError::OutOfOrderSequence(format!(
                "producer {id} begins epoch {} with sequence {}, not with 0",
                header.producer_epoch, header.base_sequence
            )));
        }
        if origin == Origin::Client && same_epoch && !producer.continues(header) {
            return Err(AppendError::OutOfOrderSequence(format!(
                "producer {id} sent sequence {}, but its last one here is {}",
                header.base_sequence,
                producer.last_sequence()
            )));
        }
        if producer.transaction_start.is_some() && !header.is_transactional() {
            return Err(AppendError::InvalidTransactionState(format!(
                "producer {id} has an open transaction here, but the batch is not part of it"
            )));
        }
        Ok(None)
    }

    /// Takes note of an appended batch. Gives the transaction that it ended, if it is a marker.
    pub(super) fn apply(
        &mut self,
        header: &BatchHeader,
        marker: Option<(ControlRecord, TimestampMs)>,
        timestamp: TimestampMs,
        now: TimestampMs,
    ) -> Option<Completed> {
        if !header.has_producer() {
            return None;
        }
        self.make_room(header.producer_id);
        let producer = self
            .by_id
            .entry(header.producer_id)
            .or_insert_with(|| Producer::new(header.producer_epoch, now));
        producer.set_epoch(header.producer_epoch);
        producer.heard = now;
        if header.is_control() {
            let (marker, timestamp) = marker?;
            let ends = matches!(marker.kind, ControlKind::Abort | ControlKind::Commit);
            if !ends {
                return None;
            }
            producer.coordinator_epoch = marker.coordinator_epoch;
            producer.timestamp = timestamp;
            let aborted = marker.kind == ControlKind::Abort;
            if aborted {
                producer.aborted_upto = header.next_offset();
            }
            let first_offset = producer.transaction_start.take()?;
            return Some(self.complete(header, first_offset, aborted));
        }
        producer.timestamp = timestamp;
        if producer.batches.len() == limits::PRODUCER_BATCHES_KEPT {
            producer.batches.pop_front();
        }
        producer.batches.push_back(seen(header, timestamp));
        if header.is_transactional() && producer.transaction_start.is_none() {
            producer.transaction_start = Some(header.base_offset);
            self.open.insert(header.base_offset, header.producer_id);
        }
        None
    }

    fn complete(&mut self, header: &BatchHeader, first: Offset, aborted: bool) -> Completed {
        let marker = header.last_offset();
        self.open.remove(&first);
        self.ended.insert(marker, first);
        if self.ended.len() > limits::COMPLETED_TRANSACTIONS_MAX {
            self.ended.pop_first();
        }
        Completed {
            producer_id: header.producer_id,
            first_offset: first,
            last_offset: marker,
            aborted,
            last_stable_offset: self
                .open
                .first_key_value()
                .map_or(header.next_offset(), |(first, _)| *first),
        }
    }

    fn make_room(&mut self, id: ProducerId) {
        if self.by_id.len() < limits::PRODUCERS_PER_LOG_MAX || self.by_id.contains_key(&id) {
            return;
        }
        // A sixteenth at once, so that the search is rare.
        let mut quiet: Vec<(TimestampMs, ProducerId)> = self
            .by_id
            .iter()
            .filter(|(_, producer)| producer.transaction_start.is_none())
            .map(|(id, producer)| (producer.heard, *id))
            .collect();
        quiet.sort_unstable();
        for (_, id) in quiet.into_iter().take(limits::PRODUCERS_PER_LOG_MAX / 16) {
            self.by_id.remove(&id);
        }
    }

    /// Puts an older batch in front of a producer's window, which a snapshot cuts to one. Batches
    /// must come newest first. False when that producer's window takes no more.
    pub(super) fn recall(&mut self, header: &BatchHeader, timestamp: TimestampMs) -> bool {
        let Some(producer) = self.by_id.get_mut(&header.producer_id) else {
            return false;
        };
        let fits = producer.epoch == header.producer_epoch
            && producer.batches.len() < limits::PRODUCER_BATCHES_KEPT
            && producer.batches.front().is_some_and(|first| {
                header.last_offset() < first.first_offset
                    && header.last_sequence().plus(1) == first.first_sequence
            });
        if fits {
            producer.batches.push_front(seen(header, timestamp));
        }
        fits
    }

    /// Forgets producers that were not heard for `expiration_ms` and have no open transaction, and
    /// ended transactions that the high watermark has passed.
    pub(super) fn expire(&mut self, now: TimestampMs, expiration_ms: i64, high_watermark: Offset) {
        self.by_id.retain(|_, producer| {
            producer.transaction_start.is_some() || now.since(producer.heard).0 < expiration_ms
        });
        self.ended.retain(|marker, _| *marker >= high_watermark);
    }

    /// Up to where every transaction has ended and its marker is committed.
    pub(super) fn last_stable_offset(&self, high_watermark: Offset) -> Offset {
        let open = self.open.first_key_value().map(|(first, _)| *first);
        let ended = self.ended.range(high_watermark..).map(|(_, first)| *first).min();
        open.into_iter().chain(ended).fold(high_watermark, Offset::min)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn active(&self) -> Vec<ActiveProducer> {
        self.by_id
            .iter()
            .map(|(id, producer)| ActiveProducer {
                producer_id: *id,
                producer_epoch: producer.epoch,
                last_sequence: producer.last_sequence(),
                last_timestamp: producer.timestamp,
                coordinator_epoch: producer.coordinator_epoch,
                transaction_start: producer.transaction_start,
            })
            .collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }

    /// Adds a producer that a snapshot remembers.
    pub(super) fn restore(&mut self, row: snapshot::Row, now: TimestampMs) {
        let mut producer = Producer::new(row.epoch, now);
        producer.coordinator_epoch = row.coordinator_epoch;
        producer.timestamp = row.timestamp;
        producer.transaction_start = row.transaction_start;
        producer.batches.extend(row.last);
        if let Some(first) = row.transaction_start {
            self.open.insert(first, row.id);
        }
        self.by_id.insert(row.id, producer);
    }
}

fn seen(header: &BatchHeader, timestamp: TimestampMs) -> Seen {
    Seen {
        first_sequence: header.base_sequence,
        last_sequence: header.last_sequence(),
        first_offset: header.base_offset,
        last_offset: header.last_offset(),
        timestamp,
    }
}

#[cfg(test)]
mod tests;
