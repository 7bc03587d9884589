//! Appending: check, stamp, roll if need be, one `pwrite`, then the books.
//!
//! Nothing is written before every check has passed, and a write that stops half-way is cut off
//! again, so a batch is on the log as a whole or not at all.

use super::config::{Appended, Origin};
use super::core::Log;
use super::error::{AppendError, Error};
use super::files::FileKind;
use super::producers;
use super::segment::Segment;
use super::validate::{self, Checked};
use super::{records, txn_index};
use crate::protocol::records::{BatchHeader, BatchIter, ControlRecord, TimestampKind};
use crate::types::mutant::Mutant;
use crate::types::{LeaderEpoch, Offset, TimestampMs};
use bytes::{Bytes, BytesMut};
use std::io;
use std::ops::Range;

/// A batch that is about to be written.
struct Planned {
    header: BatchHeader,
    max_timestamp: TimestampMs,
    marker: Option<(ControlRecord, TimestampMs)>,
    /// Where it lies in the bytes to be written.
    at: Range<usize>,
}

/// A segment's positions and relative offsets must fit Kafka's signed 32 bits.
const SEGMENT_SPAN_MAX: i64 = i32::MAX as i64;

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Log {
    /// Appends exactly one batch as leader: checks it, gives it the next offset, stamps it. A batch
    /// that an idempotent producer sent before is not appended again but answered with where it is.
    ///
    /// Nothing is synced. The caller flushes, and waits if it promised to.
    ///
    /// # Errors
    /// By what the caller answers; nothing was appended.
    ///
    /// # Panics
    /// When the epoch is older than the log's newest: the caller was to check its leadership.
    pub fn append_as_leader(
        &mut self,
        batch: Bytes,
        epoch: LeaderEpoch,
        origin: Origin,
    ) -> Result<Appended, AppendError> {
        self.check_open()?;
        assert!(
            self.epochs.latest().is_none_or(|latest| latest <= epoch),
            "appending in epoch {epoch} after {:?}",
            self.epochs.latest()
        );
        let now = self.clock.now();
        let Checked { mut header, mut max_timestamp } =
            validate::check(&batch, &self.config, origin, now)?;
        let mut marker = self.marker_of(&header, &batch)?;
        if let Some(seen) = self.producers.check(&header, marker.map(|found| found.0), origin)?
            && !Mutant::DuplicateAppended.is_active()
        {
            return Ok(self.duplicate(seen));
        }
        let segment_bytes = self.config.segment_bytes as usize;
        if batch.len() > segment_bytes {
            let bytes = batch.len();
            return Err(AppendError::LargerThanSegment { bytes, bytes_max: segment_bytes });
        }
        self.shared.space.admit(batch.len(), origin).map_err(AppendError::DiskFull)?;

        // The bytes are the producer's own where nobody else holds them; else they are copied once.
        let mut bytes = batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        BatchHeader::stamp(&mut bytes, self.end, epoch);
        header.base_offset = self.end;
        header.leader_epoch = epoch;
        let stamps_time = self.config.timestamp_kind == TimestampKind::LogAppendTime;
        if stamps_time {
            BatchHeader::stamp_append_time(&mut bytes, now);
            header.attributes |= 1 << 3;
            header.max_timestamp = now;
            max_timestamp = now;
            marker = marker.map(|(control, _)| (control, now));
        }
        let bytes = bytes.freeze();
        let at = 0..bytes.len();
        let (base_offset, last_offset) = (header.base_offset, header.last_offset());
        self.write(&bytes, &[Planned { header, max_timestamp, marker, at }])?;
        Ok(Appended {
            base_offset,
            last_offset,
            append_time: stamps_time.then_some(now),
            log_start_offset: self.start,
            duplicate: false,
            bytes,
        })
    }

    /// Appends batches that a leader has stamped: copied from it by a follower, or Raft entries.
    /// They must begin at the log's end or later (compaction leaves gaps).
    ///
    /// # Errors
    /// [`AppendError::Corrupt`] and [`AppendError::UnexpectedOffset`] before anything is appended.
    /// A full or failed disk may come when some of the batches are on the log; its end says which.
    pub fn append_as_follower(
        &mut self,
        batches: Bytes,
        origin: Origin,
    ) -> Result<Appended, AppendError> {
        self.check_open()?;
        let planned = self.plan_replicated(&batches)?;
        let (Some(first), Some(last)) = (planned.first(), planned.last()) else {
            return Err(AppendError::Corrupt("there is no record batch".to_owned()));
        };
        let (base_offset, last_offset) = (first.header.base_offset, last.header.last_offset());
        self.shared.space.admit(batches.len(), origin).map_err(AppendError::DiskFull)?;
        let mut from = 0;
        while from < planned.len() {
            let run = self.run_length(&planned[from..]);
            let until = from + run;
            let bytes = batches.slice(planned[from].at.start..planned[until - 1].at.end);
            let shift = planned[from].at.start;
            let run: Vec<Planned> = planned[from..until]
                .iter()
                .map(|batch| Planned {
                    header: batch.header.clone(),
                    at: batch.at.start - shift..batch.at.end - shift,
                    ..*batch
                })
                .collect();
            self.write(&bytes, &run)?;
            from = until;
        }
        Ok(Appended {
            base_offset,
            last_offset,
            append_time: None,
            log_start_offset: self.start,
            duplicate: false,
            bytes: batches,
        })
    }

    fn check_open(&self) -> Result<(), AppendError> {
        self.failure.as_ref().map_or(Ok(()), |why| Err(AppendError::Failed(why.clone())))
    }

    fn duplicate(&self, seen: producers::Seen) -> Appended {
        let stamped = self.config.timestamp_kind == TimestampKind::LogAppendTime;
        Appended {
            base_offset: seen.first_offset,
            last_offset: seen.last_offset,
            append_time: stamped.then_some(seen.timestamp),
            log_start_offset: self.start,
            duplicate: true,
            bytes: Bytes::new(),
        }
    }

    fn marker_of(
        &self,
        header: &BatchHeader,
        batch: &[u8],
    ) -> Result<Option<(ControlRecord, TimestampMs)>, AppendError> {
        if !header.is_control() || !header.has_producer() {
            return Ok(None);
        }
        records::marker(header, batch).map_err(|error| AppendError::InvalidRecord {
            message: error.to_string(),
            records: Vec::new(),
        })
    }

    fn plan_replicated(&self, batches: &Bytes) -> Result<Vec<Planned>, AppendError> {
        let mut planned = Vec::new();
        let mut next = self.end;
        let mut at = 0;
        for batch in BatchIter::new(batches) {
            let corrupt = |error: &dyn std::fmt::Display| AppendError::Corrupt(error.to_string());
            let (_, bytes) = batch.map_err(|error| corrupt(&error))?;
            let header = BatchHeader::parse_checked(bytes).map_err(|error| corrupt(&error))?;
            if header.last_offset_delta < 0 {
                return Err(corrupt(&"the batch has a negative offset range"));
            }
            if header.base_offset < next {
                return Err(AppendError::UnexpectedOffset { end: next, got: header.base_offset });
            }
            next = header.next_offset();
            let marker = self.marker_of(&header, bytes).unwrap_or_else(|error| {
                // Its leader took it, so the replica has to.
                tracing::warn!(%error, "a control batch without a readable marker");
                None
            });
            let max_timestamp = records::max_timestamp(&header, bytes);
            let end = at + bytes.len();
            planned.push(Planned { header, max_timestamp, marker, at: at..end });
            at = end;
        }
        Ok(planned)
    }

    /// How many of the batches go into one segment with one write.
    fn run_length(&self, planned: &[Planned]) -> usize {
        let Some(first) = planned.first() else {
            return 0;
        };
        let limit = u64::from(self.config.segment_bytes).min(SEGMENT_SPAN_MAX.unsigned_abs());
        // The rest of this segment, if the first fits there; else a new one.
        let active = self.segments.back();
        let (size, base) = match active {
            Some(active) if !self.must_roll(active, first, first.at.len()) => {
                (active.size, active.base())
            }
            _ => (0, self.end),
        };
        let mut bytes = size;
        let mut count = 0;
        for batch in planned {
            bytes += batch.at.len() as u64;
            let fits = bytes <= limit && batch.header.last_offset().since(base) <= SEGMENT_SPAN_MAX;
            if count > 0 && !fits {
                break;
            }
            count += 1;
        }
        count
    }

    fn must_roll(&self, active: &Segment, first: &Planned, bytes: usize) -> bool {
        if active.size == 0 {
            // Only a jump of two thousand million offsets asks for another empty segment.
            return first.header.last_offset().since(active.base()) > SEGMENT_SPAN_MAX;
        }
        let limit = u64::from(self.config.segment_bytes).min(SEGMENT_SPAN_MAX.unsigned_abs());
        let index_max = u64::from(self.config.index_bytes_max).saturating_sub(24);
        let waited = match active.first_timestamp() {
            Ok(Some(start)) if start > TimestampMs::NONE => first.max_timestamp.since(start).0,
            _ => self.clock.now().since(active.created).0,
        };
        active.size + bytes as u64 > limit
            || first.header.last_offset().since(active.base()) > SEGMENT_SPAN_MAX
            || active.positions.bytes() > index_max
            || active.times.bytes() > index_max
            || waited > self.config.segment_roll_ms
    }

    /// Writes a run of batches with one `pwrite`, and keeps the books.
    fn write(&mut self, bytes: &Bytes, run: &[Planned]) -> Result<(), AppendError> {
        let Some(first) = run.first() else {
            return Ok(());
        };
        let roll =
            self.segments.back().is_none_or(|active| self.must_roll(active, first, bytes.len()));
        if roll {
            let span = first.header.last_offset().since(self.end);
            let base = if span > SEGMENT_SPAN_MAX { first.header.base_offset } else { self.end };
            self.roll(base).map_err(|error| self.refused("rolling a segment", error))?;
        }
        self.write_bytes(bytes)?;
        let interval = u64::from(self.config.index_interval_bytes);
        let now = self.clock.now();
        for batch in run {
            let header = &batch.header;
            self.active().note(header, batch.max_timestamp, interval);
            self.epochs.assign(header.leader_epoch, header.base_offset);
            self.end = header.next_offset();
            let completed = self.producers.apply(header, batch.marker, batch.max_timestamp, now);
            if let Some(completed) = completed.filter(|completed| completed.aborted) {
                self.note_aborted(&completed)?;
            }
            let stored = bytes.slice(batch.at.clone());
            let (base, last) = (header.base_offset, header.last_offset());
            self.shared.tails.push(&self.tail, base, last, stored);
        }
        Ok(())
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let active = self.active();
        let size = active.size;
        let file = active.files.log_for_writing();
        let written = file.and_then(|file| {
            file.write_all_at(bytes, size).map_err(|error| {
                // What was written in part must not stay in the way of the next append.
                match file.set_len(size) {
                    Ok(()) => error,
                    Err(second) => io::Error::other(format!("{error}, then {second}")),
                }
            })
        });
        written.map_err(|error| self.refused("appending", error))
    }

    fn refused(&mut self, doing: &str, error: io::Error) -> AppendError {
        if is_full(&error) {
            return AppendError::DiskFull(format!("{doing}: {error}"));
        }
        let why = format!("{doing}: {error}");
        self.fail(&why);
        AppendError::Failed(why)
    }

    fn note_aborted(&mut self, completed: &producers::Completed) -> Result<(), AppendError> {
        let active = self.active();
        if !active.has_txn_index {
            active.has_txn_index = true;
            self.names_changed = true;
        }
        match txn_index::append(&self.active().files, &aborted(completed)) {
            Ok(file) => {
                self.unsynced_files.push(file);
                Ok(())
            }
            // The marker is on the log already, so this cannot be refused any more.
            Err(error) => {
                let why = format!("writing the transaction index: {error}");
                self.fail(&why);
                Err(AppendError::Failed(why))
            }
        }
    }

    /// Seals the segment that is written to, and begins the next at `base`.
    pub(super) fn roll(&mut self, base: Offset) -> io::Result<()> {
        let next = Segment::create(&self.disk, &self.shared, &self.dir, base, self.clock.now())?;
        self.names_changed = true;
        let old = self.segments.back_mut();
        if let Some(old) = old {
            let files = old.finish_indexes();
            self.unsynced_files.extend(files);
        }
        self.segments.push_back(next);
        // A hint, guarded by a checksum: without it the next open reads more.
        if let Err(error) = self.write_snapshot() {
            tracing::warn!(%error, dir = %self.dir.display(), "no producer snapshot was written");
        }
        Ok(())
    }

    /// Writes the producers as they are at the log's end, even if there are none: that spares
    /// the next open from looking for some.
    pub(super) fn write_snapshot(&mut self) -> Result<(), Error> {
        let path = super::files::path_of(&self.dir, self.end, FileKind::Snapshot);
        let bytes = producers::encode(&self.producers);
        let written = self
            .disk
            .open(&path, crate::env::disk::OpenMode::CreateOrTruncate)
            .and_then(|file| file.write_all_at(&bytes, 0).map(|()| file));
        self.unsynced_files.push(written.map_err(Error::io(&path))?);
        self.names_changed = true;
        Ok(())
    }
}

pub(super) fn aborted(completed: &producers::Completed) -> super::config::AbortedTransaction {
    super::config::AbortedTransaction {
        first_offset: completed.first_offset,
        producer_id: completed.producer_id,
        last_offset: completed.last_offset,
        last_stable_offset: completed.last_stable_offset,
    }
}
