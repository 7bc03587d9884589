//! Deleting from the front: retention, DeleteRecords, Raft purge.
//!
//! Segments go oldest first, each removal durable before the next, so a crash never leaves a hole.

use super::core::{Log, Removed};
use super::error::Error;
use super::files::FileKind;
use super::segment::Segment;
use crate::types::{Offset, TimestampMs};
use std::sync::atomic::Ordering;

impl Log {
    /// Moves the log start offset up to `offset`, at most to the log end, and removes the segments
    /// that lie wholly below it. A lower `offset` changes nothing. After a crash the log start is
    /// what the log start checkpoint says, or the first segment that is left.
    ///
    /// # Errors
    /// Those of the disk, which fail the log.
    pub fn raise_log_start(&mut self, offset: Offset) -> Result<Vec<Removed>, Error> {
        self.check_failure()?;
        let offset = offset.min(self.end);
        if offset <= self.start {
            return Ok(Vec::new());
        }
        self.set_start(offset);
        let count = self.segments_below_start();
        self.remove_front(count)
    }

    /// Removes what `retention.ms` and `retention.bytes` ask for, never above the high watermark,
    /// and forgets producers that were not heard for long. Also repairs indexes that reads found
    /// damaged.
    ///
    /// # Errors
    /// Those of the disk; a failed removal fails the log.
    pub fn apply_retention(
        &mut self,
        now: TimestampMs,
        high_watermark: Offset,
    ) -> Result<Vec<Removed>, Error> {
        self.check_failure()?;
        self.producers.expire(now, self.config.producer_expiration_ms, high_watermark);
        self.repair_indexes()?;
        let mut count = self.segments_below_start();
        if self.config.delete {
            count = count.max(self.segments_too_old(now, high_watermark)?);
            count = count.max(self.segments_too_many(high_watermark));
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        if count == self.segments.len() {
            // All of it goes: what is appended next needs a segment.
            let rolled = self.roll(self.end);
            let path = self.dir.clone();
            let rolled = rolled.map_err(Error::io(&path));
            self.or_fail(rolled)?;
        }
        if let Some(first) = self.segments.get(count) {
            self.set_start(first.base().max(self.start));
        }
        self.remove_front(count)
    }

    fn set_start(&mut self, start: Offset) {
        self.start = start;
        self.epochs.truncate_from_start(start);
        self.tail.drop_before(start);
    }

    /// Segments at the front that end at or before the log start; the last is kept.
    fn segments_below_start(&self) -> usize {
        let last = self.segments.len().saturating_sub(1);
        (0..last).take_while(|place| self.segment_end(*place) <= self.start).count()
    }

    fn may_go(&self, place: usize, high_watermark: Offset) -> bool {
        self.segment_end(place) <= high_watermark
    }

    fn segments_too_old(&self, now: TimestampMs, high_watermark: Offset) -> Result<usize, Error> {
        let mut count = 0;
        if self.config.retention_ms < 0 {
            return Ok(count);
        }
        for (place, segment) in self.segments.iter().enumerate() {
            if segment.size == 0 && place + 1 == self.segments.len() {
                break;
            }
            let newest = segment.max()?.timestamp;
            // Without timestamps, the time since the segment was made or the log was opened.
            let newest = if newest > TimestampMs::NONE { newest } else { segment.created };
            let old = now.since(newest).0 > self.config.retention_ms;
            if !old || !self.may_go(place, high_watermark) {
                break;
            }
            count += 1;
        }
        Ok(count)
    }

    fn segments_too_many(&self, high_watermark: Offset) -> usize {
        let Ok(bytes_max) = u64::try_from(self.config.retention_bytes) else {
            return 0;
        };
        let mut beyond = self.size_bytes().saturating_sub(bytes_max);
        let mut count = 0;
        for (place, segment) in self.segments.iter().enumerate() {
            let goes = segment.size > 0 && beyond >= segment.size;
            if !goes || !self.may_go(place, high_watermark) {
                break;
            }
            beyond -= segment.size;
            count += 1;
        }
        count
    }

    /// Removes segments at the front, and their producer snapshots.
    fn remove_front(&mut self, count: usize) -> Result<Vec<Removed>, Error> {
        let mut removed = Vec::new();
        if count > 0 && self.names_changed {
            // Or a power cut could take what is left with it: names that were never synced.
            let synced = self.disk.sync_dir(&self.dir).map_err(Error::io(&self.dir));
            self.or_fail(synced)?;
        }
        for _ in 0..count {
            let Some(segment) = self.segments.pop_front() else {
                break;
            };
            let gone = remove_segment(&segment);
            self.names_changed = true;
            removed.push(self.or_fail(gone)?);
        }
        if let Some(first) = self.segments.front().map(Segment::base)
            && !removed.is_empty()
        {
            self.remove_snapshots(|offset| offset < first)?;
            self.settle_damage()?;
        }
        Ok(removed)
    }

    /// Builds anew the indexes that were found damaged.
    pub(super) fn repair_indexes(&mut self) -> Result<(), Error> {
        let interval = u64::from(self.config.index_interval_bytes);
        for segment in &mut self.segments {
            if segment.files.suspect.load(Ordering::Relaxed) {
                segment.rebuild_indexes(interval)?;
            }
        }
        Ok(())
    }
}

/// Removes a segment's files, durably.
pub(super) fn remove_segment(segment: &Segment) -> Result<Removed, Error> {
    let path = segment.files.path(FileKind::Log);
    segment.files.remove().map_err(Error::io(&path))?;
    Ok(Removed { base_offset: segment.base(), bytes: segment.size, path })
}
