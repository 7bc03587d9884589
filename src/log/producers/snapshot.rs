//! The layout of `.snapshot`: the producers of a log at an offset.
//!
//! ```text
//! version i16 = 1 | CRC-32C of all that follows it  u32 | count  i32 | rows
//! row: producer id i64 | epoch i16 | last sequence i32 | last offset i64 | offset delta i32
//!      | timestamp i64 | coordinator epoch i32 | transaction start i64
//! ```
//!
//! Only the last batch of each producer is kept; -1 stands for none.

use super::{Producers, Seen};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

const VERSION: i16 = 1;
const HEAD_BYTES: usize = 6;
const ROW_BYTES: usize = 46;

/// One producer of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::log) struct Row {
    pub(in crate::log) id: ProducerId,
    pub(in crate::log) epoch: ProducerEpoch,
    pub(in crate::log) coordinator_epoch: i32,
    pub(in crate::log) timestamp: TimestampMs,
    pub(in crate::log) transaction_start: Option<Offset>,
    pub(in crate::log) last: Option<Seen>,
}

/// The file's bytes.
pub(in crate::log) fn encode(producers: &Producers) -> Vec<u8> {
    let mut rows = Vec::new();
    let mut count: i32 = 0;
    for (id, producer) in producers.iter() {
        count += 1;
        let last = producer.batches.back();
        let sequence = last.map_or(Sequence::NONE, |seen| seen.last_sequence);
        let offset = last.map_or(Offset::NONE, |seen| seen.last_offset);
        let delta = last.map_or(0, |seen| seen.last_offset.since(seen.first_offset));
        // A batch spans fewer than 2^31 offsets.
        let delta = i32::try_from(delta).unwrap_or(0);
        let start = producer.transaction_start.unwrap_or(Offset::NONE);
        rows.extend_from_slice(&id.0.to_be_bytes());
        rows.extend_from_slice(&producer.epoch.0.to_be_bytes());
        rows.extend_from_slice(&sequence.0.to_be_bytes());
        rows.extend_from_slice(&offset.0.to_be_bytes());
        rows.extend_from_slice(&delta.to_be_bytes());
        rows.extend_from_slice(&producer.timestamp.0.to_be_bytes());
        rows.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
        rows.extend_from_slice(&start.0.to_be_bytes());
    }
    let mut bytes = VERSION.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.append(&mut rows);
    let crc = crc32c::crc32c(&bytes[HEAD_BYTES..]);
    bytes[2..HEAD_BYTES].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*field)
}

/// Reads the file's bytes. `None` when they are damaged or of another version.
pub(in crate::log) fn decode(bytes: &[u8]) -> Option<Vec<Row>> {
    let mut rest = bytes;
    if i16::from_be_bytes(take(&mut rest)?) != VERSION {
        return None;
    }
    let crc = u32::from_be_bytes(take(&mut rest)?);
    if crc32c::crc32c(rest) != crc {
        return None;
    }
    let count = usize::try_from(i32::from_be_bytes(take(&mut rest)?)).ok()?;
    if rest.len() != count.checked_mul(ROW_BYTES)? {
        return None;
    }
    (0..count).map(|_| decode_row(&mut rest)).collect()
}

fn decode_row(rest: &mut &[u8]) -> Option<Row> {
    let id = ProducerId(i64::from_be_bytes(take(rest)?));
    let epoch = ProducerEpoch(i16::from_be_bytes(take(rest)?));
    let last_sequence = i32::from_be_bytes(take(rest)?);
    let last_offset = Offset(i64::from_be_bytes(take(rest)?));
    let delta = i32::from_be_bytes(take(rest)?);
    let timestamp = TimestampMs(i64::from_be_bytes(take(rest)?));
    let coordinator_epoch = i32::from_be_bytes(take(rest)?);
    let start = Offset(i64::from_be_bytes(take(rest)?));
    let last = (last_offset >= Offset::ZERO).then(|| {
        // Sequences wrap from the largest to 0, and back.
        let first = i64::from(last_sequence) - i64::from(delta);
        let wrapped = if first < 0 { first + i64::from(i32::MAX) + 1 } else { first };
        Seen {
            first_sequence: Sequence(i32::try_from(wrapped).unwrap_or(last_sequence)),
            last_sequence: Sequence(last_sequence),
            first_offset: last_offset.plus(-i64::from(delta)),
            last_offset,
            timestamp,
        }
    });
    Some(Row {
        id,
        epoch,
        coordinator_epoch,
        timestamp,
        transaction_start: (start >= Offset::ZERO).then_some(start),
        last,
    })
}
