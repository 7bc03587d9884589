//! Looking up offsets by time.

use super::config::TimestampedOffset;
use super::core::Log;
use super::error::Error;
use super::records;
use super::scan::{Scanner, Step};
use super::segment::Segment;
use crate::protocol::records::BatchHeader;
use crate::types::{Offset, TimestampMs};

impl Log {
    /// The first record before `upto` whose timestamp is `target` or later.
    ///
    /// # Errors
    /// [`Error::Corrupt`], and those of the disk.
    pub fn offset_for_timestamp(
        &self,
        target: TimestampMs,
        upto: Offset,
    ) -> Result<Option<TimestampedOffset>, Error> {
        for segment in self.segments.iter().skip(self.segment_at(self.start)) {
            if segment.base() >= upto {
                break;
            }
            if segment.size == 0 || segment.max()?.timestamp < target {
                continue;
            }
            // Before this batch every record is older than the entry, so older than the target.
            let entry = segment.time_entry(|entry| entry.timestamp <= target)?;
            let start = entry.map_or(0, |(_, position)| position);
            let found = self.first_record(segment, start, upto, |time| time >= target)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first record before `upto` that has the largest timestamp of all before `upto`.
    ///
    /// # Errors
    /// [`Error::Corrupt`], and those of the disk.
    pub fn max_timestamp(&self, upto: Offset) -> Result<Option<TimestampedOffset>, Error> {
        let mut best: Option<(TimestampMs, &Segment)> = None;
        for segment in self.segments.iter().skip(self.segment_at(self.start)) {
            if segment.base() >= upto || segment.size == 0 {
                continue;
            }
            let mut max = segment.max()?.timestamp;
            if segment.base() < self.start {
                // The largest may lie below the log start: look at what is left.
                max = self.max_from_start(segment, upto)?;
            } else if segment.max()?.offset >= upto {
                max = segment.max_before(upto)?.timestamp;
            }
            if best.is_none_or(|(timestamp, _)| max > timestamp) {
                best = Some((max, segment));
            }
        }
        match best {
            Some((timestamp, segment)) if timestamp > TimestampMs::NONE => {
                let entry = segment.time_entry(|entry| entry.timestamp <= timestamp)?;
                let start = entry.map_or(0, |(_, position)| position);
                self.first_record(segment, start, upto, |time| time >= timestamp)
            }
            _ => Ok(None),
        }
    }

    fn max_from_start(&self, segment: &Segment, upto: Offset) -> Result<TimestampMs, Error> {
        let mut max = TimestampMs::NONE;
        self.each_batch(segment, 0, upto, |header, batch| {
            while let Some((_, time)) =
                records::find(header, batch, self.start, upto, |time| time > max)
                    .map_err(|error| segment.corrupt(header.base_offset, error.to_string()))?
            {
                max = time;
            }
            Ok(None::<()>)
        })?;
        Ok(max)
    }

    fn first_record(
        &self,
        segment: &Segment,
        start: u64,
        upto: Offset,
        fits: impl Fn(TimestampMs) -> bool,
    ) -> Result<Option<TimestampedOffset>, Error> {
        self.each_batch(segment, start, upto, |header, batch| {
            if header.is_control() {
                return Ok(None);
            }
            let found = records::find(header, batch, self.start, upto, &fits)
                .map_err(|error| segment.corrupt(header.base_offset, error.to_string()))?;
            Ok(found.map(|(offset, timestamp)| TimestampedOffset {
                offset,
                timestamp,
                leader_epoch: header.leader_epoch,
            }))
        })
    }

    /// Goes through the batches that reach beyond the log start and begin before `upto`, until
    /// `look` finds something. Checksums are checked.
    fn each_batch<T>(
        &self,
        segment: &Segment,
        start: u64,
        upto: Offset,
        mut look: impl FnMut(&BatchHeader, &[u8]) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let file = segment.files.log().map_err(segment.io())?;
        let mut scanner = Scanner::new(&*file, start, segment.size);
        loop {
            match scanner.step().map_err(segment.io())? {
                Step::Batch { header, .. } if header.base_offset < upto => {
                    if header.last_offset() < self.start {
                        continue;
                    }
                    let batch = scanner.batch().map_err(segment.io())?;
                    BatchHeader::parse_checked(batch)
                        .map_err(|error| segment.corrupt(header.base_offset, error.to_string()))?;
                    if let Some(found) = look(&header, batch)? {
                        return Ok(Some(found));
                    }
                }
                Step::Batch { .. } | Step::End => return Ok(None),
                Step::Bad { error, .. } => {
                    return Err(segment.corrupt(segment.base(), error.to_string()));
                }
            }
        }
    }
}
