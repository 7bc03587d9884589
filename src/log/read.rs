//! Reading whole batches: from the tail cache, or with one `pread` and every checksum checked.

use super::column::find_written;
use super::config::AbortedTransaction;
use super::core::Log;
use super::error::Error;
use super::files::FileKind;
use super::index::PositionEntry;
use super::segment::Segment;
use super::segment_files::SegmentFiles;
use super::txn_index;
use crate::env::disk::DiskFile;
use crate::protocol::records::BatchHeader;
use crate::types::Offset;
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One segment as it was when the plan was made.
#[derive(Debug)]
struct View {
    files: Arc<SegmentFiles>,
    size: u64,
    /// An index entry that is not in a file yet.
    hint: Option<PositionEntry>,
}

#[derive(Debug)]
enum Source {
    Cached(Vec<Bytes>),
    /// At most two: when the first has nothing left behind the offset, the second begins behind it.
    Disk(Vec<View>),
}

/// Where the batches of one read are; made under the log's lock, executed without it.
#[derive(Debug)]
pub struct ReadPlan {
    source: Source,
    from: Offset,
    upto: Offset,
    bytes_max: usize,
    at_least_one: bool,
    moves: Arc<AtomicU64>,
    moves_before: u64,
}

/// Read beyond what was asked for, so that batches before the offset cost no second read.
const SLACK_BYTES: usize = 8 * 1024;

impl Log {
    /// Plans to read whole batches: from the one that holds `from` on, as long as they end before
    /// `upto` and fit into `bytes_max` together. The first is read whatever its size if
    /// `at_least_one_batch`. The first may begin before `from`: readers skip.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when `from` is below the log start or above the log end.
    pub fn read(
        &self,
        from: Offset,
        upto: Offset,
        bytes_max: usize,
        at_least_one_batch: bool,
    ) -> Result<ReadPlan, Error> {
        if from < self.start || from > self.end {
            return Err(Error::OutOfRange { asked: from, start: self.start, end: self.end });
        }
        let upto = upto.min(self.end);
        let cached = if from >= upto {
            Some(Vec::new())
        } else {
            self.tail.read(from, upto, bytes_max, at_least_one_batch)
        };
        let source = match cached {
            Some(chunks) => Source::Cached(chunks),
            None => Source::Disk(self.views(from)),
        };
        Ok(ReadPlan {
            source,
            from,
            upto,
            bytes_max,
            at_least_one: at_least_one_batch,
            moves: Arc::clone(&self.moves),
            moves_before: self.moves.load(Ordering::Acquire),
        })
    }

    fn views(&self, from: Offset) -> Vec<View> {
        let view = |segment: &Segment| View {
            files: Arc::clone(&segment.files),
            size: segment.size,
            hint: segment.positions.last_waiting(|entry| entry.offset <= from),
        };
        let segments = self.segments.iter().skip(self.segment_at(from));
        segments.filter(|segment| segment.size > 0).take(2).map(view).collect()
    }

    /// The aborted transactions that overlap `from` (inclusive) to `upto` (exclusive), by first
    /// offset.
    ///
    /// # Errors
    /// Those of the disk, and [`Error::Corrupt`] for a damaged transaction index, which the next
    /// open rebuilds.
    pub fn aborted_transactions(
        &self,
        from: Offset,
        upto: Offset,
    ) -> Result<Vec<AbortedTransaction>, Error> {
        let mut found = Vec::new();
        for segment in self.segments.iter().skip(self.segment_at(from)) {
            if !segment.has_txn_index {
                continue;
            }
            let entries = txn_index::read(&segment.files).map_err(segment.io())?;
            let damaged = "the transaction index is damaged".to_owned();
            let entries = entries.ok_or_else(|| segment.corrupt(segment.base(), damaged))?;
            let overlaps = |entry: &&AbortedTransaction| {
                entry.last_offset >= from && entry.first_offset < upto
            };
            found.extend(entries.iter().filter(overlaps));
            if entries.last().is_some_and(|last| last.last_stable_offset >= upto) {
                break;
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

impl ReadPlan {
    /// The batches, if the tail cache holds them: as they were sent, joined if there are several.
    #[must_use]
    pub fn bytes_if_cached(&self) -> Option<Bytes> {
        match &self.source {
            Source::Cached(chunks) => Some(join(chunks)),
            Source::Disk(_) => None,
        }
    }

    /// The batches, if the tail cache holds them, without joining them.
    #[must_use]
    pub fn chunks_if_cached(&self) -> Option<Vec<Bytes>> {
        match &self.source {
            Source::Cached(chunks) => Some(chunks.clone()),
            Source::Disk(_) => None,
        }
    }

    /// The batches, from the cache or from the disk, where every checksum is verified. Empty when
    /// nothing fits or nothing is there. May block on the disk.
    ///
    /// # Errors
    /// [`Error::Moved`], [`Error::Corrupt`], and those of the disk.
    pub fn execute(&self) -> Result<Bytes, Error> {
        let views = match &self.source {
            Source::Cached(chunks) => return Ok(join(chunks)),
            Source::Disk(views) => views,
        };
        let result = self.read_views(views);
        if self.moves.load(Ordering::Acquire) != self.moves_before {
            return Err(Error::Moved);
        }
        match result {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(Error::Moved)
            }
            other => other,
        }
    }

    fn read_views(&self, views: &[View]) -> Result<Bytes, Error> {
        for view in views {
            let entry = view.hint.or_else(|| {
                find_written(&view.files, FileKind::Index, |entry: PositionEntry| {
                    entry.offset <= self.from
                })
            });
            if let Some(bytes) = self.read_view(view, entry)? {
                return Ok(bytes);
            }
        }
        Ok(Bytes::new())
    }

    /// The batches of one segment; `None` when all of it lies before the offset.
    fn read_view(&self, view: &View, entry: Option<PositionEntry>) -> Result<Option<Bytes>, Error> {
        let path = || view.files.path(FileKind::Log);
        let io = |source| Error::Io { path: path(), source };
        let file = view.files.log().map_err(io)?;
        let mut window = Window::new(&*file, view.size);
        let mut at = entry.map_or(0, |entry| entry.position);
        if let Some(entry) = entry {
            let bytes = window.at_least(at, BatchHeader::SIZE, self.window_bytes()).map_err(io)?;
            let header = BatchHeader::parse(bytes);
            if header.is_ok_and(|header| header.last_offset() != entry.offset) || at >= view.size {
                view.files.distrust("an offset entry does not fit the log");
                return self.read_view(view, None);
            }
        }
        let first = loop {
            if at >= view.size {
                return Ok(None);
            }
            let bytes = window.at_least(at, BatchHeader::SIZE, self.window_bytes()).map_err(io)?;
            match BatchHeader::parse(bytes) {
                Ok(header) if header.last_offset() >= self.from => break header,
                Ok(header) => at += header.total_bytes() as u64,
                Err(_) if entry.is_some() => {
                    view.files.distrust("an offset entry does not fit the log");
                    return self.read_view(view, None);
                }
                Err(error) => {
                    let (offset, what) = (self.from, error.to_string());
                    return Err(Error::Corrupt { offset, path: path(), what });
                }
            }
        };
        let need = first.total_bytes();
        if need > self.bytes_max && !self.at_least_one {
            return Ok(Some(Bytes::new()));
        }
        let want = need.max(self.bytes_max);
        let (from, mut have) = window.range(at, need, want).map_err(io)?;
        have.truncate(from + want);
        let whole = self.whole_batches(&have[from..], &first, &path)?;
        Ok(Some(Bytes::from(have).slice(from..from + whole)))
    }

    fn window_bytes(&self) -> usize {
        self.bytes_max.saturating_add(SLACK_BYTES)
    }

    /// Bytes of the batches that end before the bound, every checksum checked.
    fn whole_batches(
        &self,
        bytes: &[u8],
        first: &BatchHeader,
        path: &dyn Fn() -> std::path::PathBuf,
    ) -> Result<usize, Error> {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let header = match BatchHeader::parse_checked(rest) {
                Ok(header) => header,
                Err(error) if taken == 0 => {
                    let (offset, what) = (first.base_offset, error.to_string());
                    return Err(Error::Corrupt { offset, path: path(), what });
                }
                // Cut short by the bound, or damaged: the next read begins here and will tell.
                Err(_) => break,
            };
            if header.last_offset() >= self.upto {
                break;
            }
            taken += header.total_bytes();
        }
        Ok(taken)
    }
}

fn join(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [] => Bytes::new(),
        [one] => one.clone(),
        many => Bytes::from(many.concat()),
    }
}

/// A piece of a file, read once and again only when it does not reach.
struct Window<'a> {
    file: &'a dyn DiskFile,
    end: u64,
    bytes: Vec<u8>,
    at: u64,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn DiskFile, end: u64) -> Self {
        Self { file, end, bytes: Vec::new(), at: 0 }
    }

    fn load(&mut self, at: u64, need: usize, want: usize) -> io::Result<()> {
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let need = need.min(left);
        let covered = at >= self.at && at + need as u64 <= self.at + self.bytes.len() as u64;
        if !covered || self.bytes.is_empty() {
            self.bytes = vec![0; want.max(need).min(left)];
            let read = self.file.read_at(&mut self.bytes, at)?;
            self.bytes.truncate(read);
            self.at = at;
        }
        Ok(())
    }

    fn index(&self, at: u64) -> usize {
        usize::try_from(at - self.at).unwrap_or(usize::MAX).min(self.bytes.len())
    }

    /// The bytes from a position on: at least `need` of them, where the file has them.
    fn at_least(&mut self, at: u64, need: usize, want: usize) -> io::Result<&[u8]> {
        self.load(at, need, want)?;
        Ok(&self.bytes[self.index(at)..])
    }

    /// The whole buffer, and where in it the position is.
    fn range(mut self, at: u64, need: usize, want: usize) -> io::Result<(usize, Vec<u8>)> {
        self.load(at, need, want)?;
        Ok((self.index(at), self.bytes))
    }
}
