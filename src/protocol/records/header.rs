//! The 61 bytes in front of every record batch.
//!
//! ```text
//!  0  base offset            i64   stamped by the leader, outside the CRC
//!  8  batch length           i32   bytes after this field
//! 12  partition leader epoch i32   stamped by the leader, outside the CRC
//! 16  magic                  i8    always 2
//! 17  crc                    u32   CRC-32C of everything from 21 to the end
//! 21  attributes             i16   0-2 codec, 3 timestamp type, 4 transactional, 5 control,
//!                                  6 base timestamp is a delete horizon (KIP-534)
//! 23  last offset delta      i32
//! 27  base timestamp         i64
//! 35  max timestamp          i64
//! 43  producer id            i64
//! 51  producer epoch         i16
//! 53  base sequence          i32
//! 57  record count           i32
//! 61  records
//! ```

use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Why bytes are not a record batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the header or its length field asks for.
    #[error("record batch is cut short: {have} bytes of {need}")]
    Truncated {
        /// Bytes that the batch needs.
        need: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// The format is older (or newer) than version 2.
    #[error("record batch has magic {0}; only version 2 is supported")]
    Magic(i8),
    /// The length field cannot be right.
    #[error("record batch claims a length of {0} bytes")]
    Length(i32),
    /// The bytes changed since the producer computed the checksum.
    #[error("record batch checksum is {computed:#010x}, but its header says {stored:#010x}")]
    Crc {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The codec bits have no meaning.
    #[error("record batch names compression codec {0}, which does not exist")]
    Codec(u8),
    /// Fields that contradict one another, or records that do not parse.
    #[error("record batch is malformed: {0}")]
    Malformed(&'static str),
    /// The records would unpack to more than the limit.
    #[error("record batch unpacks to more than {0} bytes")]
    TooLarge(usize),
}

/// How the records of a batch are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, in Xerial's framing or raw.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Compression {
    /// The codec that the low bits of a batch's attributes name.
    ///
    /// # Errors
    /// [`BatchError::Codec`] for 5, 6 and 7.
    pub fn from_bits(bits: u8) -> Result<Self, BatchError> {
        match bits {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            other => Err(BatchError::Codec(other)),
        }
    }

    /// The codec that Kafka's settings call `name`; nothing for any other text.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd]
            .into_iter()
            .find(|codec| codec.name() == name)
    }

    /// What Kafka's settings call the codec.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The bits for a batch's attributes.
    #[must_use]
    pub fn bits(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }
}

/// Whose clock a batch's timestamps come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampKind {
    /// The producer's.
    #[default]
    CreateTime,
    /// The leader's, at the append.
    LogAppendTime,
}

/// The decoded header of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record that the batch ever held.
    pub base_offset: Offset,
    /// Bytes after the length field; the whole batch is 12 more.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch.
    pub leader_epoch: LeaderEpoch,
    /// Stored CRC-32C.
    pub crc: u32,
    /// The attribute bits, unparsed.
    pub attributes: i16,
    /// Offset of the last record, less the base offset. Kept by compaction.
    pub last_offset_delta: i32,
    /// Timestamp that the records' deltas count from, or the delete horizon.
    pub base_timestamp: TimestampMs,
    /// Largest timestamp, as the producer said or as the leader stamped.
    pub max_timestamp: TimestampMs,
    /// The idempotent producer, or [`ProducerId::NONE`].
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record, or [`Sequence::NONE`].
    pub base_sequence: Sequence,
    /// Records in the batch; fewer than the offsets it spans after compaction.
    pub record_count: i32,
}

impl BatchHeader {
    /// Attribute bit: the timestamps are the leader's.
    pub const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
    /// Attribute bit: part of a transaction.
    pub const TRANSACTIONAL_BIT: i16 = 1 << 4;
    /// Attribute bit: markers rather than records.
    pub const CONTROL_BIT: i16 = 1 << 5;
    /// Attribute bit: the base timestamp is a delete horizon (KIP-534).
    pub const DELETE_HORIZON_BIT: i16 = 1 << 6;
    /// Bytes of the header.
    pub const SIZE: usize = 61;
    /// Bytes of base offset and length, which the length field does not count.
    pub const LENGTH_PREFIX: usize = 12;
    /// Where the bytes covered by the CRC begin.
    pub const CRC_COVERS_FROM: usize = 21;

    /// Reads the header at the start of `bytes`, which may hold more. Checks the format version
    /// and that the length is possible, not that the whole batch is there.
    ///
    /// # Errors
    /// [`BatchError::Truncated`], [`BatchError::Magic`] or [`BatchError::Length`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // A batch of an older format is shorter than our header, so look at the magic first.
        if let Some(magic) = bytes.get(16)
            && *magic != 2
        {
            return Err(BatchError::Magic(i8::from_be_bytes([*magic])));
        }
        let Some(header) = bytes.first_chunk::<{ Self::SIZE }>() else {
            return Err(BatchError::Truncated { need: Self::SIZE, have: bytes.len() });
        };
        let parsed = Self {
            base_offset: Offset(i64::from_be_bytes(field(header, 0))),
            batch_length: i32::from_be_bytes(field(header, 8)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(header, 12))),
            crc: u32::from_be_bytes(field(header, 17)),
            attributes: i16::from_be_bytes(field(header, 21)),
            last_offset_delta: i32::from_be_bytes(field(header, 23)),
            base_timestamp: TimestampMs(i64::from_be_bytes(field(header, 27))),
            max_timestamp: TimestampMs(i64::from_be_bytes(field(header, 35))),
            producer_id: ProducerId(i64::from_be_bytes(field(header, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(header, 51))),
            base_sequence: Sequence(i32::from_be_bytes(field(header, 53))),
            record_count: i32::from_be_bytes(field(header, 57)),
        };
        if parsed.batch_length < (Self::SIZE - Self::LENGTH_PREFIX) as i32 {
            return Err(BatchError::Length(parsed.batch_length));
        }
        Ok(parsed)
    }

    /// Reads the header of the batch at the start of `bytes`, and checks that all of the batch is
    /// there and that its checksum is right.
    ///
    /// # Errors
    /// Those of [`Self::parse`], and [`BatchError::Crc`].
    pub fn parse_checked(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::parse(bytes)?;
        let Some(batch) = bytes.get(..header.total_bytes()) else {
            return Err(BatchError::Truncated { need: header.total_bytes(), have: bytes.len() });
        };
        let computed = crc32c::crc32c(&batch[Self::CRC_COVERS_FROM..]);
        if computed != header.crc {
            return Err(BatchError::Crc { stored: header.crc, computed });
        }
        Ok(header)
    }

    /// Bytes of the whole batch, this header included.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        // `parse` refuses negative lengths.
        self.batch_length.max(0) as usize + Self::LENGTH_PREFIX
    }

    /// Offset of the last record that the batch ever held.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta)))
    }

    /// Offset after the batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// Sequence of the last record.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        if self.base_sequence == Sequence::NONE {
            Sequence::NONE
        } else {
            self.base_sequence.plus(self.last_offset_delta)
        }
    }

    /// The codec.
    ///
    /// # Errors
    /// [`BatchError::Codec`].
    pub fn compression(&self) -> Result<Compression, BatchError> {
        Compression::from_bits((self.attributes & 0x07) as u8)
    }

    /// Whose clock the timestamps come from.
    #[must_use]
    pub fn timestamp_kind(&self) -> TimestampKind {
        if self.attributes & Self::LOG_APPEND_TIME_BIT == 0 {
            TimestampKind::CreateTime
        } else {
            TimestampKind::LogAppendTime
        }
    }

    /// The timestamp of a record with this delta: its own, or the leader's where the leader
    /// stamped the batch.
    #[must_use]
    pub fn record_timestamp(&self, timestamp_delta: i64) -> TimestampMs {
        match self.timestamp_kind() {
            TimestampKind::CreateTime => {
                TimestampMs(self.base_timestamp.0.wrapping_add(timestamp_delta))
            }
            TimestampKind::LogAppendTime => self.max_timestamp,
        }
    }

    /// Whether the batch is part of a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & Self::TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds markers rather than records.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & Self::CONTROL_BIT != 0
    }

    /// Whether the base timestamp is in fact a delete horizon.
    #[must_use]
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & Self::DELETE_HORIZON_BIT != 0
    }

    /// Whether an idempotent producer sent the batch.
    #[must_use]
    pub fn has_producer(&self) -> bool {
        self.producer_id.0 >= 0
    }

    /// Overwrites base offset and leader epoch, the two fields that a leader stamps and that the
    /// CRC leaves out.
    ///
    /// # Panics
    /// When `batch` is shorter than a header: the caller has parsed it before.
    pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
        batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
        batch[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
    }

    /// Marks the batch as stamped by the leader's clock and computes its checksum anew.
    ///
    /// # Panics
    /// When `batch` is not exactly one batch: the caller has parsed it before.
    pub fn stamp_append_time(batch: &mut [u8], now: TimestampMs) {
        let attributes = i16::from_be_bytes([batch[21], batch[22]]) | Self::LOG_APPEND_TIME_BIT;
        batch[21..23].copy_from_slice(&attributes.to_be_bytes());
        batch[35..43].copy_from_slice(&now.0.to_be_bytes());
        let crc = crc32c::crc32c(&batch[Self::CRC_COVERS_FROM..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }

    /// Writes the header, with its CRC field as it stands here.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0u8; Self::SIZE];
        out[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        out[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        out[16] = 2;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.0.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.0.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.0.to_be_bytes());
        out[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        out
    }
}

/// The `N` bytes at `at`. In range for every field of the table above.
fn field<const N: usize>(header: &[u8; BatchHeader::SIZE], at: usize) -> [u8; N] {
    let mut out = [0u8; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut header = BatchHeader {
            base_offset: Offset(77),
            batch_length: 49 + 5,
            leader_epoch: LeaderEpoch(3),
            crc: 0,
            attributes: 0x0c,
            last_offset_delta: 4,
            base_timestamp: TimestampMs(1000),
            max_timestamp: TimestampMs(2000),
            producer_id: ProducerId(9),
            producer_epoch: ProducerEpoch(1),
            base_sequence: Sequence(i32::MAX),
            record_count: 5,
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(b"hello");
        header.crc = crc32c::crc32c(&bytes[BatchHeader::CRC_COVERS_FROM..]);
        bytes[17..21].copy_from_slice(&header.crc.to_be_bytes());
        bytes
    }

    #[test]
    fn a_header_survives_the_round_trip() {
        let bytes = sample();
        let header = BatchHeader::parse_checked(&bytes).expect("valid");
        assert_eq!(header.encode(), bytes[..61]);
        assert_eq!(header.last_offset(), Offset(81));
        assert_eq!(header.last_sequence(), Sequence(3));
        assert_eq!(header.timestamp_kind(), TimestampKind::LogAppendTime);
        assert!(BatchHeader::parse_checked(&bytes[..65]).is_err());
    }

    #[test]
    fn stamping_leaves_the_checksum_right_and_a_flipped_bit_is_found() {
        let mut bytes = sample();
        BatchHeader::stamp(&mut bytes, Offset(1_000_000), LeaderEpoch(12));
        let header = BatchHeader::parse_checked(&bytes).expect("CRC does not cover the stamp");
        assert_eq!((header.base_offset, header.leader_epoch), (Offset(1_000_000), LeaderEpoch(12)));
        BatchHeader::stamp_append_time(&mut bytes, TimestampMs(5));
        assert_eq!(
            BatchHeader::parse_checked(&bytes).expect("valid").max_timestamp,
            TimestampMs(5)
        );
        bytes[63] ^= 1;
        assert!(matches!(BatchHeader::parse_checked(&bytes), Err(BatchError::Crc { .. })));
    }

    #[test]
    fn older_formats_and_impossible_lengths_are_refused() {
        let mut bytes = sample();
        bytes[16] = 1;
        assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::Magic(1)));
        bytes[16] = 2;
        bytes[8..12].copy_from_slice(&(-5i32).to_be_bytes());
        assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::Length(-5)));
    }
}
