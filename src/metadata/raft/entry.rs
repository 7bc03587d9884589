//! Raft entries as record batches: one entry, one batch of one record.
//!
//! The batch's offset is the entry's index, its leader epoch is the term, and the record's value
//! is a version byte and the whole entry, log id included.

use super::super::state::codec;
use super::types::Entry;
use crate::limits::METADATA_ENTRY_BYTES_MAX;
use crate::protocol::records::{BatchBuilder, BatchHeader, Compression, decode_records};
use crate::types::{LeaderEpoch, Offset, TimestampMs};
use bytes::Bytes;

/// Version of the record's value.
pub(super) const VERSION: u8 = 2;

/// Bytes that a batch may unpack to: an entry, and what the record around it takes.
const RECORD_BYTES_MAX: usize = 2 * METADATA_ENTRY_BYTES_MAX;

/// The offset of the entry with this index.
///
/// # Panics
/// When the index is not below 2^63, which no history reaches.
pub(super) fn offset(index: u64) -> Offset {
    Offset(i64::try_from(index).expect("invariant: indexes count real entries"))
}

/// The index of the entry at this offset.
pub(super) fn index(offset: Offset) -> u64 {
    u64::try_from(offset.0).expect("invariant: offsets in a log are not negative")
}

/// The batch for an entry. Terms beyond 2^31 are an error: leader epochs count no further.
pub(super) fn encode(entry: &Entry, now: TimestampMs) -> Result<Bytes, String> {
    let value = codec::encode(VERSION, entry);
    let term = entry.log_id.leader_id.term;
    let epoch = i32::try_from(term).map_err(|_| format!("term {term} is used up"))?;
    let mut batch = BatchBuilder::with_capacity(Compression::None, value.len() + 32);
    batch.set_position(offset(entry.log_id.index), LeaderEpoch(epoch));
    batch.append(now, None, Some(&value), &[]);
    Ok(batch.build())
}

/// Reads the entries out of batches that follow one another.
pub(super) fn decode_all(batches: &Bytes) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut rest = batches.clone();
    while !rest.is_empty() {
        let header = BatchHeader::parse(&rest).map_err(|error| error.to_string())?;
        if header.total_bytes() > rest.len() {
            return Err(format!("the batch at offset {} is cut short", header.base_offset));
        }
        let batch = rest.split_to(header.total_bytes());
        entries.push(decode_one(&header, &batch)?);
    }
    Ok(entries)
}

fn decode_one(header: &BatchHeader, batch: &Bytes) -> Result<Entry, String> {
    let at = header.base_offset;
    let wrong = |what: String| format!("the entry at offset {at}: {what}");
    let mut records =
        decode_records(batch, RECORD_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
    let record = records.next().ok_or_else(|| wrong("its batch is empty".to_owned()))?;
    let record = record.map_err(|error| wrong(error.to_string()))?;
    let value = record.value.ok_or_else(|| wrong("its record has no value".to_owned()))?;
    let entry: Entry = codec::decode(VERSION, &value).map_err(|error| wrong(error.to_string()))?;
    let epoch = i64::from(header.leader_epoch.0);
    let fits = offset(entry.log_id.index) == at
        && i64::try_from(entry.log_id.leader_id.term) == Ok(epoch)
        && records.next().is_none();
    if !fits {
        return Err(wrong(format!("it says that it is {}", entry.log_id)));
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::super::super::state::{AllocateProducerIds, Command};
    use super::*;
    use crate::types::{BrokerEpoch, NodeId};
    use openraft::{CommittedLeaderId, EntryPayload, LogId, Membership};

    fn entry(index: u64, payload: EntryPayload<super::super::types::TypeConfig>) -> Entry {
        Entry { log_id: LogId::new(CommittedLeaderId::new(7, 3), index), payload }
    }

    fn command() -> Command {
        let node_id = NodeId(3);
        Command::AllocateProducerIds(AllocateProducerIds { node_id, broker_epoch: BrokerEpoch(9) })
    }

    #[test]
    fn entries_come_back_from_their_batches() {
        let members = Membership::new(vec![[1u64, 2].into()], None);
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(command()),
            EntryPayload::Membership(members),
        ];
        let entries: Vec<Entry> =
            (40..).zip(payloads).map(|(index, payload)| entry(index, payload)).collect();
        let batches: Vec<Bytes> =
            entries.iter().map(|entry| encode(entry, TimestampMs(5)).expect("fits")).collect();
        for (batch, entry) in batches.iter().zip(&entries) {
            let header = BatchHeader::parse_checked(batch).expect("a batch");
            assert_eq!(header.base_offset, offset(entry.log_id.index));
            assert_eq!(header.leader_epoch, LeaderEpoch(7));
            assert_eq!((header.record_count, header.last_offset_delta), (1, 0));
        }
        let all = Bytes::from(batches.concat());
        assert_eq!(decode_all(&all), Ok(entries));
        assert!(decode_all(&all.slice(..all.len() - 1)).is_err());
        let mut moved = batches[0].to_vec();
        BatchHeader::stamp(&mut moved, offset(41), LeaderEpoch(7));
        assert!(decode_all(&Bytes::from(moved)).is_err(), "an entry at a wrong offset");
    }

    #[test]
    fn a_term_that_no_leader_epoch_can_count_is_an_error() {
        let mut entry = entry(1, EntryPayload::Blank);
        entry.log_id = LogId::new(CommittedLeaderId::new(1 << 31, 3), 1);
        assert!(encode(&entry, TimestampMs(5)).is_err());
    }

    /// The format of version 2. If this fails, old data directories can no longer be read.
    #[test]
    fn golden_bytes_of_an_entry() {
        let batch = encode(&entry(2, EntryPayload::Normal(command())), TimestampMs(5));
        let batch = batch.expect("fits");
        assert_eq!(
            batch[BatchHeader::SIZE..].escape_ascii().to_string(),
            r"\x1c\x00\x00\x00\x01\x10\x02\x07\x03\x02\x01\x06\x06\x12\x00"
        );
    }
}
