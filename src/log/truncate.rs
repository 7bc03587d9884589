//! Cutting from the end: a follower that diverged, a Raft log with a conflict, a full resync.
//!
//! Durable on return, and in an order that a crash at any point leaves a log that once was: whole
//! segments go newest first, each removal durable before the next; then the file that remains is
//! cut and synced. Nothing is ever appended over bytes whose cut is not durable.

use super::core::Log;
use super::error::Error;
use super::files::{FileKind, path_of};
use super::retain::remove_segment;
use super::segment::Segment;
use super::txn_index;
use crate::types::Offset;
use crate::types::mutant::Mutant;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Log {
    /// Cuts the log so that it ends at `offset`, or at the start of the batch that `offset` lies
    /// in. Epochs, producers and aborted transactions go back with it. An offset at or beyond the
    /// end only trims the epochs; one below the log start resets the log to it. Durable on return.
    ///
    /// If the recovery point checkpoint on disk says more than [`Self::flushed_offset`] does now,
    /// write it again before the next append.
    ///
    /// # Errors
    /// Those of the disk, which fail the log.
    pub fn truncate_to(&mut self, offset: Offset) -> Result<(), Error> {
        self.check_failure()?;
        if offset < self.start {
            return self.reset_to(offset);
        }
        self.epochs.truncate_from_end(offset);
        if offset >= self.end {
            return Ok(());
        }
        self.moves.fetch_add(1, Ordering::AcqRel);
        let cut = self.cut_from(offset);
        self.or_fail(cut)?;
        if self.end < self.start {
            // The cut batch reached across the log start.
            return self.reset_to(self.start);
        }
        let settled = self.settle_damage();
        self.or_fail(settled)
    }

    fn cut_from(&mut self, offset: Offset) -> Result<(), Error> {
        while self.segments.len() > 1
            && let Some(last) = self.segments.back()
            && last.base() >= offset
        {
            let end = last.base();
            remove_segment(last)?;
            self.segments.pop_back();
            self.end = end;
            self.names_changed = true;
        }
        let found = self.segments.back().map(|last| last.locate(offset)).transpose()?.flatten();
        if let Some((position, header)) = found {
            let end = header.base_offset.min(offset);
            self.active().cut(position, end)?;
            self.end = end;
        } else {
            // The end lies in a gap that compaction left, or at a segment's end.
            self.end = self.end.min(offset);
            self.active().load_for_writing()?;
        }
        let end = self.end;
        self.tail.truncate(end);
        self.flushed = self.flushed.min(end);
        self.flush_limit = self.flush_limit.map(|limit| limit.min(end));
        self.epochs.truncate_from_end(end);
        self.cut_txn_index(end)?;
        if !Mutant::ProducersNotRolledBack.is_active() {
            self.rebuild_producers(end)?;
        }
        Ok(())
    }

    fn cut_txn_index(&mut self, end: Offset) -> Result<(), Error> {
        let active = self.active();
        if !active.has_txn_index {
            return Ok(());
        }
        let files = Arc::clone(&active.files);
        let path = files.path(FileKind::TxnIndex);
        let cut = || -> io::Result<()> {
            let mut entries = txn_index::read(&files)?.unwrap_or_default();
            entries.retain(|entry| entry.last_offset < end);
            txn_index::replace(&files, &entries)?.sync_data()
        };
        cut().map_err(Error::io(&path))
    }

    /// Drops everything; the log then starts and ends at `offset`. Durable on return.
    ///
    /// # Errors
    /// Those of the disk, which fail the log.
    pub fn reset_to(&mut self, offset: Offset) -> Result<(), Error> {
        self.check_failure()?;
        self.moves.fetch_add(1, Ordering::AcqRel);
        let reset = self.drop_all(offset).and_then(|()| self.settle_damage());
        self.or_fail(reset)
    }

    fn drop_all(&mut self, offset: Offset) -> Result<(), Error> {
        // First of all, or a crash in between could leave producers whose batches are gone.
        self.remove_snapshots(|_| true)?;
        self.disk.sync_dir(&self.dir).map_err(Error::io(&self.dir))?;
        let first = self.segments.front().map(Segment::base);
        if offset < self.end && first.is_some_and(|first| offset > first) {
            self.cut_from(offset)?;
        }
        // There is a segment to come back to at every moment: the fresh one is durable before the
        // others go.
        if first == Some(offset) {
            self.remove_back_to(1)?;
            self.active().cut(0, offset)?;
            self.cut_txn_index(offset)?;
        } else {
            let now = self.clock.now();
            let fresh = Segment::create(&self.disk, &self.shared, &self.dir, offset, now)
                .and_then(|fresh| self.disk.sync_dir(&self.dir).map(|()| fresh))
                .map_err(Error::io(&self.dir))?;
            if first.is_some_and(|first| first > offset) {
                self.remove_back_to(0)?;
            }
            while let Some(oldest) = self.segments.front() {
                remove_segment(oldest)?;
                self.segments.pop_front();
            }
            self.segments.push_back(fresh);
        }
        self.unsynced_files.clear();
        self.names_changed = true;
        self.start = offset;
        self.end = offset;
        self.flushed = offset;
        self.flush_limit = self.flush_limit.map(|_| Offset(i64::MIN));
        self.epochs.clear(offset);
        self.producers = super::producers::Producers::default();
        self.tail.truncate(Offset(i64::MIN));
        Ok(())
    }

    /// Removes whole segments, newest first, until so many are left.
    pub(super) fn remove_back_to(&mut self, count: usize) -> Result<usize, Error> {
        let mut removed = 0;
        while self.segments.len() > count
            && let Some(last) = self.segments.back()
        {
            remove_segment(last)?;
            self.segments.pop_back();
            self.names_changed = true;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes the producer snapshots at the offsets that are chosen.
    pub(super) fn remove_snapshots(&self, chosen: impl Fn(Offset) -> bool) -> Result<(), Error> {
        for offset in self.snapshot_offsets()? {
            if chosen(offset) {
                let path = path_of(&self.dir, offset, FileKind::Snapshot);
                match self.disk.remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(Error::io(&path)(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
