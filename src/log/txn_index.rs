//! `.txnindex`: the aborted transactions whose markers lie in a segment.
//!
//! ```text
//! version i16 = 0 | producer id i64 | first offset i64 | last offset i64 | last stable offset i64
//! ```

use super::config::AbortedTransaction;
use super::files::FileKind;
use super::segment_files::SegmentFiles;
use crate::env::disk::DiskFile;
use crate::types::{Offset, ProducerId};
use std::io;
use std::sync::Arc;

/// Bytes of an entry.
pub(super) const ENTRY_BYTES: usize = 34;

pub(super) fn encode(entry: &AbortedTransaction) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    bytes[2..10].copy_from_slice(&entry.producer_id.0.to_be_bytes());
    bytes[10..18].copy_from_slice(&entry.first_offset.0.to_be_bytes());
    bytes[18..26].copy_from_slice(&entry.last_offset.0.to_be_bytes());
    bytes[26..34].copy_from_slice(&entry.last_stable_offset.0.to_be_bytes());
    bytes
}

/// Reads a file's bytes. `None` when they cannot be an index of a segment that begins at `base`.
pub(super) fn decode_all(bytes: &[u8], base: Offset) -> Option<Vec<AbortedTransaction>> {
    let (rows, rest) = bytes.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return None;
    }
    let number = |row: &[u8; ENTRY_BYTES], at: usize| {
        let mut field = [0; 8];
        field.copy_from_slice(&row[at..at + 8]);
        i64::from_be_bytes(field)
    };
    let mut entries: Vec<AbortedTransaction> = Vec::with_capacity(rows.len());
    for row in rows {
        let entry = AbortedTransaction {
            producer_id: ProducerId(number(row, 2)),
            first_offset: Offset(number(row, 10)),
            last_offset: Offset(number(row, 18)),
            last_stable_offset: Offset(number(row, 26)),
        };
        let ordered = entry.first_offset <= entry.last_offset
            && entry.last_offset >= base
            && entry.producer_id.0 >= 0
            && entries.last().is_none_or(|before| before.last_offset < entry.last_offset);
        if row[..2] != [0, 0] || !ordered {
            return None;
        }
        entries.push(entry);
    }
    Some(entries)
}

/// All entries of a segment; `None` when they are damaged.
pub(super) fn read(files: &SegmentFiles) -> io::Result<Option<Vec<AbortedTransaction>>> {
    let file = files.index(FileKind::TxnIndex)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
    let read = file.read_at(&mut bytes, 0)?;
    Ok(decode_all(&bytes[..read], files.base))
}

/// Adds an entry. Gives the file, which has to be synced: unlike the others, this index cannot be
/// checked against the batch it points at.
pub(super) fn append(
    files: &SegmentFiles,
    entry: &AbortedTransaction,
) -> io::Result<Arc<dyn DiskFile>> {
    let file = files.index_for_writing(FileKind::TxnIndex)?;
    file.write_all_at(&encode(entry), file.len()?)?;
    Ok(file)
}

/// Replaces all entries. Gives the file, which has to be synced.
pub(super) fn replace(
    files: &SegmentFiles,
    entries: &[AbortedTransaction],
) -> io::Result<Arc<dyn DiskFile>> {
    let file = files.index_for_writing(FileKind::TxnIndex)?;
    file.set_len(0)?;
    let bytes: Vec<u8> = entries.iter().flat_map(encode).collect();
    if !bytes.is_empty() {
        file.write_all_at(&bytes, 0)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_12_txnindex_layout() {
        let entry = AbortedTransaction {
            producer_id: ProducerId(1),
            first_offset: Offset(2),
            last_offset: Offset(3),
            last_stable_offset: Offset(4),
        };
        let bytes = encode(&entry);
        let mut expected = vec![0, 0];
        for number in 1i64..=4 {
            expected.extend(number.to_be_bytes());
        }
        assert_eq!(bytes.as_slice(), expected);
        assert_eq!(decode_all(&bytes, Offset(0)), Some(vec![entry]));
        assert_eq!(decode_all(&bytes[..33], Offset(0)), None);
        assert_eq!(decode_all(&bytes, Offset(9)), None, "a marker before the segment");
    }
}
