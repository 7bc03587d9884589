//! One index of one segment: its file, and the entries that wait to be written to it.

use super::files::FileKind;
use super::index::{Entry, last_where};
use super::segment_files::SegmentFiles;
use crate::env::disk::DiskFile;
use crate::limits;
use std::io;
use std::sync::Arc;

/// The entries of an index. Those in the file come before those that wait.
#[derive(Debug)]
pub(super) struct Column<E> {
    kind: FileKind,
    /// Entries in the file; only kept up for the segment that is written to.
    written: u64,
    waiting: Vec<E>,
    last: Option<E>,
}

impl<E: Entry> Column<E> {
    pub(super) fn new(kind: FileKind) -> Self {
        Self { kind, written: 0, waiting: Vec::new(), last: None }
    }

    pub(super) fn last(&self) -> Option<E> {
        self.last
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.written + self.waiting.len() as u64) * E::SIZE as u64
    }

    /// Takes up where an earlier process left: counts what is in the file.
    pub(super) fn load(&mut self, files: &SegmentFiles) -> io::Result<()> {
        let file = files.index_for_writing(self.kind)?;
        self.waiting.clear();
        self.written = file.len()? / E::SIZE as u64;
        self.last = last_where(&*file, files.base, self.written, |_| true)?;
        Ok(())
    }

    /// Adds an entry; now and then writes those that wait.
    pub(super) fn append(&mut self, files: &SegmentFiles, entry: E) {
        self.last = Some(entry);
        self.waiting.push(entry);
        if self.waiting.len() >= limits::INDEX_PENDING_ENTRIES_MAX {
            self.write_waiting(files);
        }
    }

    /// Writes the entries that wait. An index is a hint, so trouble is noted and no more: the
    /// entries are dropped, and the index is rebuilt when there is time.
    pub(super) fn write_waiting(&mut self, files: &SegmentFiles) -> Option<Arc<dyn DiskFile>> {
        let mut bytes = Vec::with_capacity(self.waiting.len() * E::SIZE);
        for entry in self.waiting.drain(..) {
            entry.encode(files.base, &mut bytes);
        }
        let written = files.index_for_writing(self.kind).and_then(|file| {
            if !bytes.is_empty() {
                file.write_all_at(&bytes, self.written * E::SIZE as u64)?;
            }
            Ok(file)
        });
        match written {
            Ok(file) => {
                self.written += (bytes.len() / E::SIZE) as u64;
                Some(file)
            }
            Err(error) => {
                files.distrust(&error.to_string());
                None
            }
        }
    }

    /// The last waiting entry that fits.
    pub(super) fn last_waiting(&self, fits: impl Fn(E) -> bool) -> Option<E> {
        self.waiting.iter().copied().rfind(|entry| fits(*entry))
    }

    /// The last entry that fits, where those that fit are a prefix. Trouble means "none".
    pub(super) fn find(&self, files: &SegmentFiles, fits: impl Fn(E) -> bool) -> Option<E> {
        self.last_waiting(&fits).or_else(|| find_written(files, self.kind, fits))
    }

    /// Replaces the file and what waits.
    pub(super) fn replace(&mut self, files: &SegmentFiles, entries: &[E]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(entries.len() * E::SIZE);
        for entry in entries {
            entry.encode(files.base, &mut bytes);
        }
        let file = files.index_for_writing(self.kind)?;
        file.set_len(0)?;
        if !bytes.is_empty() {
            file.write_all_at(&bytes, 0)?;
        }
        self.waiting.clear();
        self.written = entries.len() as u64;
        self.last = entries.last().copied();
        Ok(())
    }

    /// Drops the entries that do not fit, where those that fit are a prefix.
    pub(super) fn truncate(
        &mut self,
        files: &SegmentFiles,
        fits: impl Fn(E) -> bool,
    ) -> io::Result<()> {
        let file = files.index_for_writing(self.kind)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
        let read = file.read_at(&mut bytes, 0)?;
        let mut kept = super::index::decode_all::<E>(&bytes[..read], files.base);
        kept.append(&mut self.waiting);
        kept.truncate(kept.iter().take_while(|entry| fits(**entry)).count());
        self.replace(files, &kept)
    }
}

/// The last entry in an index's file that fits, where those that fit are a prefix. Trouble means
/// "none": an index is a hint.
pub(super) fn find_written<E: Entry>(
    files: &SegmentFiles,
    kind: FileKind,
    fits: impl Fn(E) -> bool,
) -> Option<E> {
    let found = files.index(kind).and_then(|file| {
        let count = file.len()? / E::SIZE as u64;
        last_where(&*file, files.base, count, fits)
    });
    match found {
        Ok(entry) => entry,
        Err(error) => {
            files.distrust(&error.to_string());
            None
        }
    }
}
