//! One segment: a run of batches in one file, and the indexes over it.

use super::column::{Column, find_written};
use super::error::Error;
use super::files::FileKind;
use super::index::{PositionEntry, TimeEntry};
use super::records;
use super::scan::{Scanner, Step};
use super::segment_files::SegmentFiles;
use super::shared::Shared;
use crate::env::disk::{Disk, DiskFile, OpenMode};
use crate::protocol::records::BatchHeader;
use crate::types::{Offset, TimestampMs};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// One segment of a log. The last one of a log is written to; the others are sealed.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) files: Arc<SegmentFiles>,
    /// Bytes of whole batches.
    pub(super) size: u64,
    /// Whether bytes were written that no flush has begun to sync.
    pub(super) dirty: bool,
    pub(super) has_txn_index: bool,
    pub(super) created: TimestampMs,
    /// Largest timestamp of the first batch, from which time-based rolls count.
    first_timestamp: OnceLock<TimestampMs>,
    /// Largest timestamp, and the last offset of its batch.
    max: OnceLock<TimeEntry>,
    pub(super) positions: Column<PositionEntry>,
    pub(super) times: Column<TimeEntry>,
    bytes_since_entry: u64,
}

/// What a look through the batches of a segment found.
#[derive(Debug, Default)]
pub(super) struct Indexed {
    pub(super) positions: Vec<PositionEntry>,
    pub(super) times: Vec<TimeEntry>,
    pub(super) max: Option<TimeEntry>,
    pub(super) first_timestamp: Option<TimestampMs>,
    since_entry: u64,
}

impl Indexed {
    /// Takes note of one batch, front to back.
    pub(super) fn add(
        &mut self,
        position: u64,
        header: &BatchHeader,
        timestamp: TimestampMs,
        interval: u64,
    ) {
        let last = header.last_offset();
        self.first_timestamp.get_or_insert(timestamp);
        if self.max.is_none_or(|max| timestamp > max.timestamp) {
            self.max = Some(TimeEntry { timestamp, offset: last });
        }
        if self.since_entry > interval {
            self.positions.push(PositionEntry { offset: last, position });
            self.add_time();
            self.since_entry = 0;
        }
        self.since_entry += header.total_bytes() as u64;
    }

    /// Adds the entry for the largest timestamp so far, if there is a new one.
    pub(super) fn add_time(&mut self) {
        let newest = self.times.last().map_or(TimestampMs::NONE, |entry| entry.timestamp);
        if let Some(max) = self.max.filter(|max| max.timestamp > newest) {
            self.times.push(max);
        }
    }
}

impl Segment {
    fn with_files(files: SegmentFiles, size: u64, created: TimestampMs) -> Self {
        Self {
            files: Arc::new(files),
            size,
            dirty: false,
            has_txn_index: false,
            created,
            first_timestamp: OnceLock::new(),
            max: OnceLock::new(),
            positions: Column::new(FileKind::Index),
            times: Column::new(FileKind::TimeIndex),
            bytes_since_entry: 0,
        }
    }

    /// Makes an empty segment. Its names have to be synced.
    pub(super) fn create(
        disk: &Arc<dyn Disk>,
        shared: &Arc<Shared>,
        dir: &Path,
        base: Offset,
        now: TimestampMs,
    ) -> io::Result<Self> {
        let files = SegmentFiles::new(Arc::clone(disk), Arc::clone(shared), dir, base);
        // Leftovers of a log that reached further before a crash must not shine through.
        for kind in [FileKind::Index, FileKind::TimeIndex] {
            disk.open(&files.path(kind), OpenMode::CreateOrTruncate)?;
        }
        for kind in [FileKind::TxnIndex, FileKind::Snapshot] {
            if disk.exists(&files.path(kind))? {
                disk.remove_file(&files.path(kind))?;
            }
        }
        let log = disk.open(&files.path(FileKind::Log), OpenMode::CreateOrTruncate)?;
        files.pin(log);
        Ok(Self::with_files(files, 0, now))
    }

    /// A segment whose log file is there.
    pub(super) fn existing(
        disk: &Arc<dyn Disk>,
        shared: &Arc<Shared>,
        dir: &Path,
        base: Offset,
        now: TimestampMs,
    ) -> Result<Self, Error> {
        let files = SegmentFiles::new(Arc::clone(disk), Arc::clone(shared), dir, base);
        let path = files.path(FileKind::Log);
        // Not through the cache: most of these are not read again for a long time.
        let length = disk.open(&path, OpenMode::Read).and_then(|file| file.len());
        let size = length.map_err(Error::io(&path))?;
        let mut segment = Self::with_files(files, size, now);
        let index = segment.files.path(FileKind::TxnIndex);
        segment.has_txn_index = disk.exists(&index).map_err(Error::io(&index))?;
        Ok(segment)
    }

    pub(super) fn base(&self) -> Offset {
        self.files.base
    }

    pub(super) fn io(&self) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = self.files.path(FileKind::Log);
        move |source| Error::Io { path, source }
    }

    /// Makes the segment ready to be written to after an open or a truncation.
    pub(super) fn load_for_writing(&mut self) -> Result<(), Error> {
        for loaded in [self.positions.load(&self.files), self.times.load(&self.files)] {
            if let Err(error) = loaded {
                self.files.distrust(&error.to_string());
            }
        }
        self.max = OnceLock::new();
        self.first_timestamp = OnceLock::new();
        self.max()?;
        Ok(())
    }

    /// Takes note of a batch that was written at the end.
    pub(super) fn note(&mut self, header: &BatchHeader, timestamp: TimestampMs, interval: u64) {
        let position = self.size;
        let last = header.last_offset();
        if position == 0 {
            self.first_timestamp = OnceLock::from(timestamp);
        }
        let max = self.max.get().copied().filter(|max| max.timestamp >= timestamp);
        let max = max.unwrap_or(TimeEntry { timestamp, offset: last });
        self.max = OnceLock::from(max);
        if self.bytes_since_entry > interval {
            self.positions.append(&self.files, PositionEntry { offset: last, position });
            self.note_time(max);
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += header.total_bytes() as u64;
        self.size += header.total_bytes() as u64;
        self.dirty = true;
    }

    fn note_time(&mut self, max: TimeEntry) {
        let newest = self.times.last().map_or(TimestampMs::NONE, |entry| entry.timestamp);
        if max.timestamp > newest {
            self.times.append(&self.files, max);
        }
    }

    /// Writes what the indexes held back, and the last entry of the time index. Gives the files,
    /// to be synced.
    pub(super) fn finish_indexes(&mut self) -> Vec<Arc<dyn DiskFile>> {
        if let Some(max) = self.max.get().copied().filter(|_| self.size > 0) {
            self.note_time(max);
        }
        self.write_waiting()
    }

    /// Writes what the indexes held back.
    pub(super) fn write_waiting(&mut self) -> Vec<Arc<dyn DiskFile>> {
        let positions = self.positions.write_waiting(&self.files);
        let times = self.times.write_waiting(&self.files);
        positions.into_iter().chain(times).collect()
    }

    /// Replaces the indexes by what a look through all batches found.
    pub(super) fn replace_indexes(&mut self, mut found: Indexed) -> io::Result<()> {
        found.add_time();
        self.positions.replace(&self.files, &found.positions)?;
        self.times.replace(&self.files, &found.times)?;
        self.bytes_since_entry = found.since_entry;
        self.max = OnceLock::new();
        if let Some(max) = found.max {
            self.max = OnceLock::from(max);
        }
        self.first_timestamp = OnceLock::new();
        if let Some(first) = found.first_timestamp {
            self.first_timestamp = OnceLock::from(first);
        }
        self.files.suspect.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Builds the indexes anew from the batches, whose checksums are left to the reads.
    pub(super) fn rebuild_indexes(&mut self, interval: u64) -> Result<(), Error> {
        let file = self.files.log().map_err(self.io())?;
        let mut scanner = Scanner::new(&*file, 0, self.size);
        let mut found = Indexed::default();
        while let Step::Batch { position, header } = scanner.step().map_err(self.io())? {
            let timestamp = records::max_timestamp(&header, scanner.batch().map_err(self.io())?);
            found.add(position, &header, timestamp, interval);
        }
        self.replace_indexes(found).map_err(self.io())
    }

    /// Where a scan for `target` may begin, by the index: the start of a batch at or before the
    /// one that holds it.
    pub(super) fn scan_start(&self, target: Offset) -> io::Result<u64> {
        let Some(entry) = self.positions.find(&self.files, |entry| entry.offset <= target) else {
            return Ok(0);
        };
        let file = self.files.log()?;
        match Scanner::new(&*file, entry.position, self.size).step()? {
            Step::Batch { header, .. } if header.last_offset() == entry.offset => {
                Ok(entry.position)
            }
            _ => {
                self.files.distrust("an offset entry does not fit the log");
                Ok(0)
            }
        }
    }

    /// The first batch that ends at `target` or later: where it begins, and its header.
    pub(super) fn locate(&self, target: Offset) -> Result<Option<(u64, BatchHeader)>, Error> {
        let file = self.files.log().map_err(self.io())?;
        let start = self.scan_start(target).map_err(self.io())?;
        let mut scanner = Scanner::new(&*file, start, self.size);
        loop {
            match scanner.step().map_err(self.io())? {
                Step::End => return Ok(None),
                Step::Batch { position, header } if header.last_offset() >= target => {
                    return Ok(Some((position, header)));
                }
                Step::Batch { .. } => {}
                Step::Bad { error, .. } => {
                    return Err(self.corrupt(target, error.to_string()));
                }
            }
        }
    }

    pub(super) fn corrupt(&self, offset: Offset, what: String) -> Error {
        Error::Corrupt { offset, path: self.files.path(FileKind::Log), what }
    }

    /// The time entry that fits, and where its batch begins; checked against that batch.
    pub(super) fn time_entry(
        &self,
        fits: impl Fn(TimeEntry) -> bool,
    ) -> Result<Option<(TimeEntry, u64)>, Error> {
        let waiting = self.times.last_waiting(&fits);
        let found = waiting.or_else(|| find_written(&self.files, FileKind::TimeIndex, &fits));
        let Some(entry) = found else {
            return Ok(None);
        };
        if let Some((position, header)) = self.locate(entry.offset)?
            && header.last_offset() == entry.offset
        {
            let file = self.files.log().map_err(self.io())?;
            let mut scanner = Scanner::new(&*file, position, self.size);
            scanner.step().map_err(self.io())?;
            let batch = scanner.batch().map_err(self.io())?;
            if records::max_timestamp(&header, batch) == entry.timestamp {
                return Ok(Some((entry, position)));
            }
        }
        self.files.distrust("a time entry does not fit the log");
        Ok(None)
    }

    /// The largest timestamp, and the last offset of its batch; -1 for an empty segment.
    pub(super) fn max(&self) -> Result<TimeEntry, Error> {
        if let Some(max) = self.max.get() {
            return Ok(*max);
        }
        // The index ends with the largest, unless its end was lost: look at what follows.
        let max = self.max_before(Offset(i64::MAX))?;
        Ok(*self.max.get_or_init(|| max))
    }

    /// The largest timestamp of the batches that end before `upto`, and the last offset of its
    /// batch.
    pub(super) fn max_before(&self, upto: Offset) -> Result<TimeEntry, Error> {
        let known = self.time_entry(|entry| entry.offset < upto)?;
        let mut max = TimeEntry { timestamp: TimestampMs::NONE, offset: self.base() };
        let mut start = 0;
        if let Some((entry, position)) = known {
            max = entry;
            start = position;
        }
        let file = self.files.log().map_err(self.io())?;
        let mut scanner = Scanner::new(&*file, start, self.size);
        while let Step::Batch { header, .. } = scanner.step().map_err(self.io())? {
            if header.last_offset() >= upto {
                break;
            }
            if known.is_some_and(|(entry, _)| header.last_offset() <= entry.offset) {
                continue;
            }
            let batch = scanner.batch().map_err(self.io())?;
            let timestamp = records::max_timestamp(&header, batch);
            if timestamp > max.timestamp {
                max = TimeEntry { timestamp, offset: header.last_offset() };
            }
        }
        Ok(max)
    }

    /// The largest timestamp of the first batch; nothing for an empty segment.
    pub(super) fn first_timestamp(&self) -> Result<Option<TimestampMs>, Error> {
        if let Some(first) = self.first_timestamp.get() {
            return Ok(Some(*first));
        }
        if self.size == 0 {
            return Ok(None);
        }
        let file = self.files.log().map_err(self.io())?;
        let mut scanner = Scanner::new(&*file, 0, self.size);
        let Step::Batch { header, .. } = scanner.step().map_err(self.io())? else {
            return Ok(None);
        };
        let first = records::max_timestamp(&header, scanner.batch().map_err(self.io())?);
        Ok(Some(*self.first_timestamp.get_or_init(|| first)))
    }

    /// Cuts the log file at a position, durably, and the offset and time indexes with it.
    pub(super) fn cut(&mut self, position: u64, end: Offset) -> Result<(), Error> {
        let file = self.files.log_for_writing().map_err(self.io())?;
        file.set_len(position).map_err(self.io())?;
        // Not left to the next flush: what is appended next would lie where old bytes lay, and a
        // power cut could then leave a mixture that never was.
        file.sync_data().map_err(self.io())?;
        self.size = position;
        self.dirty = false;
        let files = Arc::clone(&self.files);
        let positions = self.positions.truncate(&files, |entry| entry.offset < end);
        let times = self.times.truncate(&files, |entry| entry.offset < end);
        if let Err(error) = positions.and(times) {
            self.files.distrust(&error.to_string());
        }
        self.bytes_since_entry = 0;
        self.max = OnceLock::new();
        self.first_timestamp = OnceLock::new();
        self.max()?;
        Ok(())
    }
}
