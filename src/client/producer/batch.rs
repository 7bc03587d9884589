//! One batch of a producer, from its first record to its end.

use super::ProducerRecord;
use super::accumulator::Identity;
use super::outcome::Outcome;
use crate::client::Error;
use crate::limits;
use crate::protocol::ErrorCode;
use crate::protocol::records::{BatchBuilder, BatchHeader, Compression, Record, decode_records};
use crate::types::{ProducerEpoch, ProducerId, Sequence, TimestampMs};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use tokio::time::Instant;

/// A batch's place among those of its partition: its number, and the first of its records when it
/// was split.
pub(super) type Order = (u64, u32);

/// Under which producer id and sequence a batch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) identity: Identity,
    pub(super) sequence: Sequence,
}

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    /// Where its records begin in the batch that the deliveries were given for.
    pub(super) first_index: u32,
    pub(super) created: Instant,
    pub(super) outcome: Arc<Outcome>,
    /// Permits to give back.
    pub(super) memory: usize,
    pub(super) attempts: u32,
    pub(super) stamp: Option<Stamp>,
    pub(super) last_error: Option<String>,
    compression: Compression,
    count: u32,
    records: Records,
}

#[derive(Debug)]
enum Records {
    Open(BatchBuilder),
    Closed(BatchBuilder),
    /// Packed, with the stamp that is written in it.
    Packed(Bytes, Option<Stamp>),
}

impl Batch {
    pub(super) fn open(number: u64, compression: Compression) -> Self {
        Self {
            number,
            first_index: 0,
            created: Instant::now(),
            outcome: Arc::default(),
            memory: 0,
            attempts: 0,
            stamp: None,
            last_error: None,
            compression,
            count: 0,
            records: Records::Open(BatchBuilder::new(compression)),
        }
    }

    pub(super) fn order(&self) -> Order {
        (self.number, self.first_index)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.records, Records::Open(_))
    }

    /// Whether a record of so many bytes still belongs in it.
    pub(super) fn fits(&self, record_bytes: usize, batch_bytes: usize) -> bool {
        self.count == 0 || self.bytes() + record_bytes <= batch_bytes
    }

    /// Adds a record and says its place.
    ///
    /// # Panics
    /// When the batch is closed.
    pub(super) fn append(
        &mut self,
        record: &ProducerRecord,
        timestamp_ms: i64,
        memory: usize,
    ) -> u32 {
        let Records::Open(builder) = &mut self.records else {
            panic!("only an open batch takes records");
        };
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.append(TimestampMs(timestamp_ms), key, value, &record.headers);
        self.memory += memory;
        self.count += 1;
        self.count - 1
    }

    pub(super) fn close(&mut self) {
        let empty = Records::Packed(Bytes::new(), None);
        self.records = match std::mem::replace(&mut self.records, empty) {
            Records::Open(builder) => Records::Closed(builder),
            other => other,
        };
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes as far as known: before packing a bound from above.
    pub(super) fn bytes(&self) -> usize {
        match &self.records {
            Records::Open(builder) | Records::Closed(builder) => builder.estimated_bytes(),
            Records::Packed(bytes, _) => bytes.len(),
        }
    }

    /// The bytes to send, packed at the first call, under the current stamp.
    pub(super) fn pack(&mut self) -> Bytes {
        let nothing = Records::Packed(Bytes::new(), None);
        let packed = match std::mem::replace(&mut self.records, nothing) {
            Records::Open(mut builder) | Records::Closed(mut builder) => {
                if let Some(stamp) = self.stamp {
                    let identity = stamp.identity;
                    builder.set_producer(identity.id, identity.epoch, stamp.sequence);
                }
                builder.build()
            }
            Records::Packed(bytes, stamp) if stamp == self.stamp => bytes,
            Records::Packed(bytes, _) => restamp(bytes, self.stamp),
        };
        self.records = Records::Packed(packed.clone(), self.stamp);
        packed
    }

    /// Two batches of half the records each, with the sequences of the whole.
    ///
    /// # Errors
    /// The batch as it was, when it has one record alone, and what to tell about it.
    pub(super) fn split(mut self) -> Result<(Self, Self), Box<(Self, Error)>> {
        let bytes = self.pack();
        let records = BatchHeader::parse(&bytes).and_then(|header| {
            let records = decode_records(&bytes, limits::DECOMPRESSED_BYTES_MAX)?;
            Ok((header, records.collect::<Result<Vec<Record>, _>>()?))
        });
        let (header, records) = match records {
            Ok((header, records)) if records.len() > 1 => (header, records),
            _ => {
                let what = "a record is too large for its topic".to_owned();
                let code = ErrorCode::MessageTooLarge;
                return Err(Box::new((self, Error::Refused { what, code, message: None })));
            }
        };
        let (front, back) = records.split_at(records.len() / 2);
        let memory_front = self.memory / 2;
        let first = self.part(&header, front, 0, memory_front);
        let second = self.part(&header, back, front.len() as u32, self.memory - memory_front);
        Ok((first, second))
    }

    fn part(&self, header: &BatchHeader, records: &[Record], skip: u32, memory: usize) -> Self {
        let mut builder = BatchBuilder::new(self.compression);
        for record in records {
            let timestamp = header.record_timestamp(record.timestamp_delta);
            builder.append(
                timestamp,
                record.key.as_deref(),
                record.value.as_deref(),
                &record.headers,
            );
        }
        let stamp =
            self.stamp.map(|stamp| Stamp { sequence: stamp.sequence.plus(skip as i32), ..stamp });
        Self {
            number: self.number,
            first_index: self.first_index + skip,
            created: self.created,
            outcome: self.outcome.clone(),
            memory,
            attempts: self.attempts,
            stamp,
            last_error: None,
            compression: self.compression,
            count: records.len() as u32,
            records: Records::Closed(builder),
        }
    }
}

/// Writes another producer id, epoch and sequence into a packed batch.
fn restamp(bytes: Bytes, stamp: Option<Stamp>) -> Bytes {
    let Ok(mut header) = BatchHeader::parse(&bytes) else { return bytes };
    let (id, epoch, sequence) = match stamp {
        Some(stamp) => (stamp.identity.id, stamp.identity.epoch, stamp.sequence),
        None => (ProducerId::NONE, ProducerEpoch::NONE, Sequence::NONE),
    };
    header.producer_id = id;
    header.producer_epoch = epoch;
    header.base_sequence = sequence;
    // Nobody else holds the bytes once their request is done; if somebody does, they are copied.
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    bytes[..BatchHeader::SIZE].copy_from_slice(&header.encode());
    let crc = crc32c::crc32c(&bytes[BatchHeader::CRC_COVERS_FROM..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(id: i64, sequence: i32) -> Stamp {
        let identity = Identity { id: ProducerId(id), epoch: ProducerEpoch(0) };
        Stamp { identity, sequence: Sequence(sequence) }
    }

    fn batch(records: u32, compression: Compression) -> Batch {
        let mut batch = Batch::open(7, compression);
        for number in 0..records {
            let record = ProducerRecord::new(Arc::from("t"), number.to_string());
            assert_eq!(batch.append(&record, 1_000 + i64::from(number), 10), number);
        }
        batch
    }

    #[test]
    fn a_batch_keeps_its_records_under_another_stamp() {
        let mut batch = batch(3, Compression::Zstd);
        batch.stamp = Some(stamp(5, 40));
        let first = batch.pack();
        let header = BatchHeader::parse_checked(&first).expect("valid");
        assert_eq!((header.producer_id, header.base_sequence), (ProducerId(5), Sequence(40)));
        batch.stamp = Some(stamp(6, 0));
        let second = batch.pack();
        let header = BatchHeader::parse_checked(&second).expect("valid");
        assert_eq!((header.producer_id, header.base_sequence), (ProducerId(6), Sequence(0)));
        assert_eq!(first[BatchHeader::SIZE..], second[BatchHeader::SIZE..]);
    }

    #[test]
    fn halves_carry_on_the_sequences_times_and_places_of_the_whole() {
        let mut whole = batch(5, Compression::Lz4);
        whole.stamp = Some(stamp(5, i32::MAX));
        let (mut first, mut second) = whole.split().expect("five records");
        assert_eq!((first.count(), second.count()), (2, 3));
        assert_eq!((first.first_index, second.first_index), (0, 2));
        assert_eq!(first.memory + second.memory, 50);
        assert!(first.order() < second.order());
        let header = BatchHeader::parse_checked(&first.pack()).expect("valid");
        assert_eq!(header.base_sequence, Sequence(i32::MAX));
        let bytes = second.pack();
        let header = BatchHeader::parse_checked(&bytes).expect("valid");
        assert_eq!(header.base_sequence, Sequence(1), "sequences wrap");
        assert_eq!(header.base_timestamp, TimestampMs(1_002));
        let values: Vec<_> = decode_records(&bytes, 1_000)
            .expect("valid")
            .map(|record| record.expect("valid").value.expect("has one"))
            .collect();
        assert_eq!(values, ["2", "3", "4"]);
    }

    #[test]
    fn a_single_record_is_not_split() {
        assert!(batch(1, Compression::None).split().is_err());
    }
}
