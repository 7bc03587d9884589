//! Packs records into a batch.

use super::codec::compress;
use super::varint::{long_bytes, write_long};
use super::{BatchHeader, Compression, Header};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use bytes::Bytes;

/// Builds one record batch, record by record, as a producer does. The leader stamps base offset
/// and leader epoch later.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    compression: Compression,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: Sequence,
    flags: i16,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    base_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
    last_offset_delta: i32,
    count: i32,
    /// Room for the header, then the records, not compressed yet.
    bytes: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch of a producer without idempotence.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self::with_capacity(compression, 1024)
    }

    /// The same, with room for this many bytes of records.
    #[must_use]
    pub fn with_capacity(compression: Compression, bytes: usize) -> Self {
        let mut room = Vec::with_capacity(BatchHeader::SIZE + bytes);
        room.resize(BatchHeader::SIZE, 0);
        Self {
            compression,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            flags: 0,
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::NONE,
            base_timestamp: TimestampMs::NONE,
            max_timestamp: TimestampMs::NONE,
            last_offset_delta: -1,
            count: 0,
            bytes: room,
        }
    }

    /// Says which idempotent producer the batch is from. May be called up to [`Self::build`], since
    /// a producer gives out sequences when it sends.
    pub fn set_producer(&mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Sequence) {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
    }

    /// Makes the batch part of a transaction.
    pub fn set_transactional(&mut self, transactional: bool) {
        self.set_flag(BatchHeader::TRANSACTIONAL_BIT, transactional);
    }

    /// Makes the batch one of control records.
    pub fn set_control(&mut self, control: bool) {
        self.set_flag(BatchHeader::CONTROL_BIT, control);
    }

    /// Sets what a leader would stamp, for whoever writes to a log without one.
    pub fn set_position(&mut self, base_offset: Offset, leader_epoch: LeaderEpoch) {
        self.base_offset = base_offset;
        self.leader_epoch = leader_epoch;
    }

    fn set_flag(&mut self, bit: i16, on: bool) {
        self.flags = if on { self.flags | bit } else { self.flags & !bit };
    }

    /// Appends a record at the next offset, and says which that is, less the base offset.
    ///
    /// # Panics
    /// After `i32::MAX` records, or with a key, value or header of 2 GiB: no batch may be nearly
    /// as large, and callers bound theirs by [`Self::estimated_bytes`].
    pub fn append(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> i32 {
        let offset_delta = self.last_offset_delta + 1;
        self.append_at(offset_delta, timestamp, key, value, headers);
        offset_delta
    }

    /// Appends a record at an offset of its own, as compaction leaves gaps. Offsets ascend.
    ///
    /// # Panics
    /// When the offset does not ascend, and as [`Self::append`].
    pub fn append_at(
        &mut self,
        offset_delta: i32,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) {
        assert!(offset_delta > self.last_offset_delta, "offsets in a batch ascend");
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.last_offset_delta = offset_delta;
        self.count += 1;
        let timestamp_delta = timestamp.0.wrapping_sub(self.base_timestamp.0);
        let length = body_bytes(offset_delta, timestamp_delta, key, value, headers);
        let out = &mut self.bytes;
        out.reserve(length + 5);
        write_long(out, length_number(length));
        out.push(0);
        write_long(out, timestamp_delta);
        write_long(out, i64::from(offset_delta));
        write_bytes(out, key);
        write_bytes(out, value);
        write_long(out, length_number(headers.len()));
        for header in headers {
            write_bytes(out, Some(&header.key));
            write_bytes(out, header.value.as_deref());
        }
    }

    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch as it stands, header included, before compression.
    #[must_use]
    pub fn estimated_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Compresses, and computes the checksum.
    #[must_use]
    pub fn build(self) -> Bytes {
        let mut bytes = self.bytes;
        if self.compression != Compression::None {
            let packed = compress(self.compression, &bytes[BatchHeader::SIZE..]);
            bytes.truncate(BatchHeader::SIZE);
            bytes.extend_from_slice(&packed);
        }
        let batch_length = i32::try_from(bytes.len() - BatchHeader::LENGTH_PREFIX)
            .expect("invariant: callers bound batches far below 2 GiB");
        let header = BatchHeader {
            base_offset: self.base_offset,
            batch_length,
            leader_epoch: self.leader_epoch,
            crc: 0,
            attributes: self.compression.bits() | self.flags,
            last_offset_delta: self.last_offset_delta.max(0),
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: self.count,
        };
        bytes[..BatchHeader::SIZE].copy_from_slice(&header.encode());
        let crc = crc32c::crc32c(&bytes[BatchHeader::CRC_COVERS_FROM..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(bytes)
    }
}

/// Most bytes that a record can add to a batch, whatever its offset and time.
#[must_use]
pub fn record_bytes(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) -> usize {
    let length = body_bytes(i32::MAX, i64::MIN, key, value, headers);
    long_bytes(length_number(length)) + length
}

/// Bytes of a record after its length.
fn body_bytes(
    offset_delta: i32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header],
) -> usize {
    let headers_bytes: usize = headers
        .iter()
        .map(|header| field_bytes(Some(&header.key)) + field_bytes(header.value.as_deref()))
        .sum();
    1 + long_bytes(timestamp_delta)
        + long_bytes(i64::from(offset_delta))
        + field_bytes(key)
        + field_bytes(value)
        + long_bytes(length_number(headers.len()))
        + headers_bytes
}

fn field_bytes(bytes: Option<&[u8]>) -> usize {
    match bytes {
        None => 1,
        Some(bytes) => long_bytes(length_number(bytes.len())) + bytes.len(),
    }
}

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => write_long(out, -1),
        Some(bytes) => {
            write_long(out, length_number(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}

fn length_number(length: usize) -> i64 {
    i64::from(i32::try_from(length).expect("invariant: callers bound batches far below 2 GiB"))
}
