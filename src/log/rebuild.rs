//! Producers and aborted transactions, from the newest producer snapshot and the batches behind it.

use super::append::aborted;
use super::config::AbortedTransaction;
use super::core::Log;
use super::error::Error;
use super::files::{self, FileKind, parse_name, path_of};
use super::producers::{self, Producers};
use super::scan::{Scanner, Step};
use super::segment::Segment;
use super::{records, txn_index};
use crate::limits;
use crate::protocol::records::BatchHeader;
use crate::types::{Offset, TimestampMs};

impl Log {
    /// The offsets of the producer snapshots that are there, in order.
    pub(super) fn snapshot_offsets(&self) -> Result<Vec<Offset>, Error> {
        let names = self.disk.list(&self.dir).map_err(Error::io(&self.dir))?;
        let snapshot = |name: &str| match parse_name(name) {
            Some((offset, FileKind::Snapshot)) => Some(offset),
            _ => None,
        };
        Ok(names.iter().filter_map(|entry| snapshot(&entry.name)).collect())
    }

    /// Makes the producers what they were when the log ended at `end`. Snapshots beyond go.
    pub(super) fn rebuild_producers(&mut self, end: Offset) -> Result<(), Error> {
        self.remove_snapshots(|offset| offset > end)?;
        self.replay(None)
    }

    /// Makes the producers what the batches say, and fills the transaction indexes from the
    /// segment at a place on. No snapshot may be newer than `from`, where that segment begins.
    pub(super) fn rebuild_producers_and_aborted(
        &mut self,
        from: Offset,
        place: usize,
    ) -> Result<(), Error> {
        self.remove_snapshots(|offset| offset > from)?;
        self.replay(Some(place))
    }

    fn replay(&mut self, index_from: Option<usize>) -> Result<(), Error> {
        let now = self.clock.now();
        let first = self.segments.front().map_or(self.start, Segment::base);
        self.producers = Producers::default();
        let mut from = first;
        // What lies between an older one and the first segment is gone: the state would be wrong.
        let usable = self.snapshot_offsets()?.into_iter().filter(|offset| *offset >= first);
        for offset in usable.rev() {
            let path = path_of(&self.dir, offset, FileKind::Snapshot);
            let bytes = files::read_small(&*self.disk, &path)?.unwrap_or_default();
            if let Some(rows) = producers::decode(&bytes) {
                for row in rows {
                    self.producers.restore(row, now);
                }
                from = offset;
                break;
            }
            tracing::warn!(path = %path.display(), "a damaged producer snapshot is left out");
            self.disk.remove_file(&path).map_err(Error::io(&path))?;
            self.names_changed = true;
        }
        if !self.producers.is_empty() {
            self.fill_windows(from)?;
        }
        for place in self.segment_at(from)..self.segments.len() {
            let index = index_from.is_some_and(|index_from| place >= index_from);
            self.replay_segment(place, from, index, now)?;
        }
        Ok(())
    }

    fn replay_segment(
        &mut self,
        place: usize,
        from: Offset,
        index: bool,
        now: TimestampMs,
    ) -> Result<(), Error> {
        let Some(segment) = self.segments.get(place) else {
            return Ok(());
        };
        let start = if from <= segment.base() { Some(0) } else { position(segment, from)? };
        let Some(start) = start else {
            return Ok(());
        };
        let file = segment.files.log().map_err(segment.io())?;
        let mut scanner = Scanner::new(&*file, start, segment.size);
        let mut found: Vec<AbortedTransaction> = Vec::new();
        while let Step::Batch { header, .. } = scanner.step().map_err(segment.io())? {
            if !header.has_producer() {
                continue;
            }
            let mut marker = None;
            if header.is_control() {
                let batch = scanner.batch().map_err(segment.io())?;
                // One that cannot be read was no marker when it was appended either.
                marker = records::marker(&header, batch).ok().flatten();
            }
            let timestamp = if header.max_timestamp > TimestampMs::NONE {
                header.max_timestamp
            } else {
                records::max_timestamp(&header, scanner.batch().map_err(segment.io())?)
            };
            let completed = self.producers.apply(&header, marker, timestamp, now);
            found.extend(completed.filter(|done| done.aborted).as_ref().map(aborted));
        }
        if index && !found.is_empty() {
            let path = segment.files.path(FileKind::TxnIndex);
            let written = txn_index::replace(&segment.files, &found).map_err(Error::io(&path))?;
            self.unsynced_files.push(written);
            self.names_changed = true;
            if let Some(segment) = self.segments.get_mut(place) {
                segment.has_txn_index = true;
            }
        }
        Ok(())
    }

    /// A snapshot keeps one batch per producer. The others of each window lie shortly before it.
    fn fill_windows(&mut self, upto: Offset) -> Result<(), Error> {
        let mut left = limits::PRODUCER_WINDOW_SCAN_BYTES;
        let mut place = self.segments.partition_point(|segment| segment.base() < upto);
        while left > 0 && place > 0 {
            place -= 1;
            let headers = match self.segments.get(place) {
                Some(segment) => idempotent_before(segment, upto, &mut left)?,
                None => Vec::new(),
            };
            for header in headers.iter().rev() {
                self.producers.recall(header, header.max_timestamp);
            }
        }
        Ok(())
    }
}

/// The headers of the last idempotent batches of a segment that begin before an offset, from at
/// most `left` bytes, which are used up.
fn idempotent_before(
    segment: &Segment,
    upto: Offset,
    left: &mut u64,
) -> Result<Vec<BatchHeader>, Error> {
    let end = position(segment, upto)?.unwrap_or(segment.size);
    let reach = end.saturating_sub(*left);
    let mut start = 0;
    if reach > 0 {
        let entry = segment.positions.find(&segment.files, |entry| entry.position <= reach);
        let fitting = entry.map(|entry| segment.scan_start(entry.offset));
        start = fitting.transpose().map_err(segment.io())?.unwrap_or(0);
    }
    *left = left.saturating_sub(end - start);
    let file = segment.files.log().map_err(segment.io())?;
    let mut scanner = Scanner::new(&*file, start, end);
    let mut headers = Vec::new();
    while let Step::Batch { header, .. } = scanner.step().map_err(segment.io())? {
        if header.has_producer() && !header.is_control() {
            headers.push(header);
        }
    }
    Ok(headers)
}

/// Where the first batch at or behind an offset begins; `None` when there is none.
fn position(segment: &Segment, offset: Offset) -> Result<Option<u64>, Error> {
    Ok(segment.locate(offset)?.map(|(position, _)| position))
}
