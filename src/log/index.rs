//! The layouts of `.index` and `.timeindex`, and look-ups in them.
//!
//! ```text
//! .index      relative last offset of a batch  u32 | position of that batch in the log  u32
//! .timeindex  largest timestamp so far         i64 | relative last offset of its batch   u32
//! ```
//!
//! Entries grow strictly in both columns. A time index closes with an entry for the segment's
//! largest timestamp.
//!
//! Invariant: an index is a hint. Whoever uses an entry checks it against the batch it points at.

use crate::env::disk::DiskFile;
use crate::types::{Offset, TimestampMs};
use std::io;

/// An entry of a fixed size.
pub(super) trait Entry: Copy {
    /// Bytes on disk.
    const SIZE: usize;
    /// Reads the entry at the start of `bytes`, which has at least [`Self::SIZE`].
    fn decode(bytes: &[u8], base: Offset) -> Self;
    /// Appends the entry to `out`.
    fn encode(self, base: Offset, out: &mut Vec<u8>);
}

/// An entry of the offset index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PositionEntry {
    /// Last offset of the batch.
    pub(super) offset: Offset,
    /// Where the batch begins in the log file.
    pub(super) position: u64,
}

/// An entry of the time index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeEntry {
    /// No record up to the batch has a larger one.
    pub(super) timestamp: TimestampMs,
    /// Last offset of the batch that has it.
    pub(super) offset: Offset,
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn relative(offset: Offset, base: Offset) -> u32 {
    u32::try_from(offset.since(base)).expect("invariant: a segment is rolled before it overflows")
}

impl Entry for PositionEntry {
    const SIZE: usize = 8;

    fn decode(bytes: &[u8], base: Offset) -> Self {
        let relative = u32::from_be_bytes(bytes_at(bytes, 0));
        let position = u32::from_be_bytes(bytes_at(bytes, 4));
        Self { offset: base.plus(i64::from(relative)), position: u64::from(position) }
    }

    fn encode(self, base: Offset, out: &mut Vec<u8>) {
        out.extend_from_slice(&relative(self.offset, base).to_be_bytes());
        let position = u32::try_from(self.position);
        let position = position.expect("invariant: a segment is rolled before it overflows");
        out.extend_from_slice(&position.to_be_bytes());
    }
}

impl Entry for TimeEntry {
    const SIZE: usize = 12;

    fn decode(bytes: &[u8], base: Offset) -> Self {
        let timestamp = i64::from_be_bytes(bytes_at(bytes, 0));
        let relative = u32::from_be_bytes(bytes_at(bytes, 8));
        Self { timestamp: TimestampMs(timestamp), offset: base.plus(i64::from(relative)) }
    }

    fn encode(self, base: Offset, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.0.to_be_bytes());
        out.extend_from_slice(&relative(self.offset, base).to_be_bytes());
    }
}

/// How many entries are read at once when the search has come close.
const BLOCK_ENTRIES: u64 = 256;

/// The last of `count` entries in `file` for which `fits` holds, where `fits` holds for a prefix.
pub(super) fn last_where<E: Entry>(
    file: &dyn DiskFile,
    base: Offset,
    count: u64,
    fits: impl Fn(E) -> bool,
) -> io::Result<Option<E>> {
    let (mut low, mut high) = (0, count);
    let mut one = [0u8; 16];
    while high - low > BLOCK_ENTRIES {
        let middle = low + (high - low) / 2;
        let bytes = &mut one[..E::SIZE];
        if file.read_at(bytes, middle * E::SIZE as u64)? < E::SIZE {
            high = middle;
        } else if fits(E::decode(bytes, base)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    // `low` may itself be the answer, so it is in the block.
    let mut block = vec![0; usize::try_from(high - low).unwrap_or(0) * E::SIZE];
    let read = file.read_at(&mut block, low * E::SIZE as u64)?;
    let entries = block[..read].chunks_exact(E::SIZE).map(|bytes| E::decode(bytes, base));
    Ok(entries.take_while(|entry| fits(*entry)).last())
}

/// All entries of a file's bytes. A rest that is no whole entry is left out.
pub(super) fn decode_all<E: Entry>(bytes: &[u8], base: Offset) -> Vec<E> {
    bytes.chunks_exact(E::SIZE).map(|entry| E::decode(entry, base)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk::{Disk as _, OpenMode};
    use crate::env::disk_memory::MemoryDisk;
    use std::path::Path;

    #[test]
    fn look_ups_find_the_last_entry_that_fits() {
        let file = MemoryDisk::new().open(Path::new("/i"), OpenMode::CreateNew).expect("open");
        let base = Offset(1000);
        let mut bytes = Vec::new();
        for number in 0..3000 {
            let entry = PositionEntry { offset: base.plus(number * 10 + 9), position: 7 };
            entry.encode(base, &mut bytes);
        }
        file.write_all_at(&bytes, 0).expect("write");
        for target in [0, 8, 9, 10, 18, 19, 15_000, 29_998, 29_999, 90_000] {
            let target = base.plus(target);
            let found =
                last_where(&*file, base, 3000, |entry: PositionEntry| entry.offset <= target);
            let expected = decode_all::<PositionEntry>(&bytes, base)
                .into_iter()
                .rfind(|entry| entry.offset <= target);
            assert_eq!(found.expect("read"), expected, "{target}");
        }
    }

    #[test]
    fn layouts_are_kafkas() {
        let mut bytes = Vec::new();
        PositionEntry { offset: Offset(105), position: 4097 }.encode(Offset(100), &mut bytes);
        assert_eq!(bytes, [0, 0, 0, 5, 0, 0, 16, 1]);
        bytes.clear();
        TimeEntry { timestamp: TimestampMs(258), offset: Offset(105) }
            .encode(Offset(100), &mut bytes);
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 5]);
    }
}
