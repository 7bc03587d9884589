//! Files of entries of a fixed size: the indexes and the producer snapshot.

use super::{Entry, ProducerEntry, problem};
use crate::env::disk::DiskFile;
use crate::limits;
use crate::log::error::Error;
use crate::log::index::{Entry as _, PositionEntry, TimeEntry};
use crate::log::txn_index;
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use std::path::Path;
use std::sync::Arc;

/// Reads a file entry by entry; `decode` sees the entry before it, and may complain.
struct Rows<E, D> {
    file: Arc<dyn DiskFile>,
    path: Arc<Path>,
    position: u64,
    size: usize,
    before: Option<E>,
    decode: D,
    waiting: Option<Entry>,
    ended: bool,
}

impl<E: Copy, D: FnMut(&[u8], Option<E>) -> (E, Entry, Option<&'static str>)> Rows<E, D> {
    fn new(file: Arc<dyn DiskFile>, path: Arc<Path>, size: usize, decode: D) -> Self {
        let (position, before, waiting, ended) = (0, None, None, false);
        Self { file, path, position, size, before, decode, waiting, ended }
    }

    fn row(&mut self) -> Result<Option<Entry>, Error> {
        let mut bytes = [0u8; 64];
        let bytes = &mut bytes[..self.size];
        let read = self.file.read_at(bytes, self.position).map_err(Error::io(&self.path))?;
        if read < self.size {
            self.ended = true;
            let what = format!("{read} bytes are left, and an entry has {}", self.size);
            return Ok((read > 0).then(|| problem(self.position, what)));
        }
        if bytes.iter().all(|byte| *byte == 0) {
            // A running Kafka keeps room for entries to come.
            self.ended = true;
            let length = self.file.len().map_err(Error::io(&self.path))?;
            let left = length.saturating_sub(self.position);
            let what = format!("the last {left} bytes begin with an entry of zeros: unused room");
            return Ok(Some(problem(self.position, what)));
        }
        let (entry, shown, complaint) = (self.decode)(bytes, self.before);
        self.before = Some(entry);
        self.waiting = complaint.map(|complaint| problem(self.position, complaint));
        self.position += self.size as u64;
        Ok(Some(shown))
    }
}

impl<E: Copy, D: FnMut(&[u8], Option<E>) -> (E, Entry, Option<&'static str>)> Iterator
    for Rows<E, D>
{
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(waiting) = self.waiting.take() {
            return Some(Ok(waiting));
        }
        if self.ended {
            return None;
        }
        let next = self.row();
        self.ended |= next.is_err();
        next.transpose()
    }
}

const NOT_ASCENDING: &str = "the entry does not ascend";

pub(super) fn positions(
    file: Arc<dyn DiskFile>,
    path: Arc<Path>,
    base: Offset,
) -> impl Iterator<Item = Result<Entry, Error>> {
    Rows::new(file, path, PositionEntry::SIZE, move |bytes, before: Option<PositionEntry>| {
        let entry = PositionEntry::decode(bytes, base);
        let shown = Entry::Position { offset: entry.offset, position: entry.position };
        let ascends = before
            .is_none_or(|before| before.offset < entry.offset && before.position < entry.position);
        (entry, shown, (!ascends).then_some(NOT_ASCENDING))
    })
}

pub(super) fn times(
    file: Arc<dyn DiskFile>,
    path: Arc<Path>,
    base: Offset,
) -> impl Iterator<Item = Result<Entry, Error>> {
    Rows::new(file, path, TimeEntry::SIZE, move |bytes, before: Option<TimeEntry>| {
        let entry = TimeEntry::decode(bytes, base);
        let shown = Entry::Time { timestamp: entry.timestamp, offset: entry.offset };
        let ascends = before.is_none_or(|before| {
            before.timestamp < entry.timestamp && before.offset < entry.offset
        });
        (entry, shown, (!ascends).then_some(NOT_ASCENDING))
    })
}

pub(super) fn aborted(
    file: Arc<dyn DiskFile>,
    path: Arc<Path>,
    base: Offset,
) -> impl Iterator<Item = Result<Entry, Error>> {
    Rows::new(file, path, txn_index::ENTRY_BYTES, move |bytes, before: Option<Offset>| {
        let last_offset = Offset(number(bytes, 18));
        let shown = Entry::Aborted {
            producer_id: ProducerId(number(bytes, 2)),
            first_offset: Offset(number(bytes, 10)),
            last_offset,
            last_stable_offset: Offset(number(bytes, 26)),
        };
        let complaint = if bytes[..2] != [0, 0] {
            Some("the entry's version is not 0")
        } else if last_offset < base || before.is_some_and(|before| before >= last_offset) {
            Some(NOT_ASCENDING)
        } else {
            None
        };
        (last_offset, shown, complaint)
    })
}

/// The eight bytes at `at`, which every caller's entry has.
fn number(bytes: &[u8], at: usize) -> i64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(field)
}

/// Version, checksum and count, then rows of this many bytes (see `producers::snapshot`).
const SNAPSHOT_HEAD_BYTES: usize = 10;
const SNAPSHOT_ROW_BYTES: usize = 46;

pub(super) fn producers(file: &dyn DiskFile, path: &Path) -> Result<Vec<Entry>, Error> {
    let length = file.len().map_err(Error::io(path))?;
    if length > limits::DUMP_SMALL_FILE_BYTES_MAX {
        return Ok(vec![problem(0, format!("{length} bytes are too many for a snapshot"))]);
    }
    // The bound was checked above.
    let mut bytes = vec![0; length as usize];
    let read = file.read_at(&mut bytes, 0).map_err(Error::io(path))?;
    bytes.truncate(read);
    let Some((head, rows)) = bytes.split_at_checked(SNAPSHOT_HEAD_BYTES) else {
        return Ok(vec![problem(0, "the file is shorter than its head")]);
    };
    let mut entries = Vec::new();
    if head[..2] != [0, 1] {
        entries.push(problem(0, "the version is not 1"));
    }
    let stored = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
    if crc32c::crc32c(&bytes[6..]) != stored {
        entries.push(problem(2, "the checksum does not fit the bytes"));
    }
    let (rows, rest) = rows.as_chunks::<SNAPSHOT_ROW_BYTES>();
    let count = i32::from_be_bytes([head[6], head[7], head[8], head[9]]);
    if usize::try_from(count) != Ok(rows.len()) || !rest.is_empty() {
        let what = format!("the head counts {count} producers, and there are {}", rows.len());
        entries.push(problem(6, what));
    }
    for row in rows {
        let four = |at: usize| i32::from_be_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
        entries.push(Entry::Producer(ProducerEntry {
            producer_id: ProducerId(number(row, 0)),
            producer_epoch: ProducerEpoch(i16::from_be_bytes([row[8], row[9]])),
            last_sequence: Sequence(four(10)),
            last_offset: Offset(number(row, 14)),
            offset_delta: four(22),
            timestamp: TimestampMs(number(row, 26)),
            coordinator_epoch: four(34),
            transaction_first_offset: Offset(number(row, 38)),
        }));
    }
    Ok(entries)
}
