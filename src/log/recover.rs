//! Opening a log, and making whole what a crash left.
//!
//! After a crash every segment from the recovery point on is read, batch by batch, and cut at the
//! first that is not whole, undamaged and next in order; what lies behind is removed. Indexes,
//! epochs, producers and aborted transactions are built anew from the batches. After a clean stop
//! only the end is looked at.
//!
//! A damaged index, snapshot or checkpoint never keeps a log from opening.

use super::config::LogConfig;
use super::core::{Log, OpenHints, RecoveryReport};
use super::epochs::{self, Epochs};
use super::error::Error;
use super::files::{self, FileKind, parse_name};
use super::producers::Producers;
use super::scan::{Scanner, Step};
use super::segment::{Indexed, Segment};
use super::shared::Shared;
use super::tail::Tail;
use super::{checkpoint, records, txn_index};
use crate::env::clock::Clock;
use crate::env::disk::Disk;
use crate::protocol::records::BatchHeader;
use crate::types::Offset;
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Endings of files that an earlier process did not finish with.
const LEFTOVERS: [&str; 4] = [".tmp", ".deleted", ".cleaned", ".swap"];

/// What lies at a batch's place in a segment that is being recovered.
enum Found {
    Whole,
    /// The checksum is wrong, but the batch was flushed and what follows is whole.
    Damaged,
    Broken(String),
}

impl Log {
    /// Opens the log in `dir`, which is made if it is missing, and recovers what a crash left.
    ///
    /// # Errors
    /// When the disk refuses, or `dir` belongs to another topic id.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: LogConfig,
        clock: Arc<dyn Clock>,
        hints: OpenHints,
    ) -> Result<(Self, RecoveryReport), Error> {
        let parent = dir.parent().unwrap_or(Path::new("."));
        if !disk.exists(dir).map_err(Error::io(dir))? {
            disk.create_dir_all(dir).map_err(Error::io(dir))?;
            disk.sync_dir(parent).map_err(Error::io(parent))?;
        }
        let shared = hints.shared.clone().unwrap_or_else(|| Shared::new(Arc::clone(&disk), parent));
        let mut log = Self {
            disk,
            dir: dir.to_owned(),
            config,
            clock,
            shared,
            segments: VecDeque::new(),
            start: Offset::ZERO,
            end: Offset::ZERO,
            flushed: Offset::ZERO,
            epochs: Epochs::default(),
            producers: Producers::default(),
            tail: Arc::new(Tail::default()),
            moves: Arc::new(AtomicU64::new(0)),
            unsynced_files: Vec::new(),
            names_changed: false,
            writing_epochs: false,
            flush_limit: None,
            failure: None,
            damaged_from: None,
        };
        let mut report = RecoveryReport::default();
        log.check_identity(&hints)?;
        log.load_segments(&hints, &mut report)?;
        log.load_epochs(&mut report)?;
        log.recover(&hints, &mut report)?;
        log.settle_start(&hints)?;
        log.active().load_for_writing()?;
        log.remove_stray_snapshots()?;
        log.flush_now()?;
        log.flushed = log.end;
        // Or the recovery point would go back, and what lies above it could be lost unnoticed.
        if let Err(error) = log.checkpoint() {
            tracing::warn!(%error, dir = %log.dir.display(), "epochs not written; the next recovery takes longer");
        }
        log.load_damage()?;
        if let Some(offset) = report.damaged_from
            && let Err(error) = log.mark_damaged(offset)
        {
            tracing::warn!(%error, dir = %log.dir.display(), "damage is not remembered");
        }
        log.settle_damage()?;
        report.damaged_from = log.damaged_from;
        if report.cut_bytes > 0 || report.removed_segments > 0 || report.damaged_batches > 0 {
            tracing::warn!(dir = %log.dir.display(), ?report, "recovered a log");
        }
        Ok((log, report))
    }

    fn check_identity(&self, hints: &OpenHints) -> Result<(), Error> {
        let Some(wanted) = hints.topic_id else {
            return Ok(());
        };
        match checkpoint::read_topic_id(&self.disk, &self.dir) {
            Ok(Some(found)) if found == wanted => Ok(()),
            Ok(Some(found)) => Err(Error::Malformed {
                path: self.dir.join(checkpoint::PARTITION_METADATA),
                what: format!("topic id {found} is there, {wanted} was expected"),
            }),
            // Missing, or torn by a crash while it was new: the metadata knows.
            Ok(None) | Err(Error::Malformed { .. }) => {
                checkpoint::write_topic_id(&*self.disk, &self.dir, wanted)
            }
            Err(error) => Err(error),
        }
    }

    fn load_segments(
        &mut self,
        hints: &OpenHints,
        report: &mut RecoveryReport,
    ) -> Result<(), Error> {
        let names = self.disk.list(&self.dir).map_err(Error::io(&self.dir))?;
        let names: BTreeSet<String> =
            names.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).collect();
        let mut bases = Vec::new();
        for name in &names {
            match parse_name(name) {
                Some((base, FileKind::Log)) => bases.push(base),
                Some((_, FileKind::Snapshot)) => {}
                Some((base, _)) if !names.contains(&log_name(base)) => self.remove_name(name)?,
                Some(_) => {}
                None if LEFTOVERS.iter().any(|end| name.ends_with(end)) => {
                    self.remove_name(name)?
                }
                None => {}
            }
        }
        bases.sort_unstable();
        let now = self.clock.now();
        let interval = u64::from(self.config.index_interval_bytes);
        for base in bases {
            let segment = Segment::existing(&self.disk, &self.shared, &self.dir, base, now)?;
            self.segments.push_back(segment);
        }
        for segment in &mut self.segments {
            let has = |kind| names.contains(&index_name(segment.base(), kind));
            if !has(FileKind::Index) || !has(FileKind::TimeIndex) {
                report.rebuilt_files += 2;
                self.names_changed = true;
                if let Err(error) = segment.rebuild_indexes(interval) {
                    segment.files.distrust(&error.to_string());
                }
            }
        }
        if self.segments.is_empty() {
            let base = hints.log_start_checkpoint.unwrap_or(Offset::ZERO).max(Offset::ZERO);
            let first = Segment::create(&self.disk, &self.shared, &self.dir, base, now);
            self.segments.push_back(first.map_err(Error::io(&self.dir))?);
            self.names_changed = true;
        }
        Ok(())
    }

    fn remove_name(&mut self, name: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        self.names_changed = true;
        self.disk.remove_file(&path).map_err(Error::io(&path))
    }

    fn load_epochs(&mut self, report: &mut RecoveryReport) -> Result<(), Error> {
        let path = self.dir.join(epochs::FILE);
        let text = files::read_small(&*self.disk, &path)?.map(String::from_utf8);
        let parsed = text.and_then(Result::ok).and_then(|text| Epochs::parse(&text));
        // Missing, damaged, of a log without batches, or written when the log started later than
        // it does after the crash: look at the batches in front of what it says.
        let parsed = parsed.unwrap_or_default();
        let known_from = parsed.first_start().unwrap_or(Offset(i64::MAX));
        let mut epochs = Epochs::default();
        for segment in &self.segments {
            if segment.base() >= known_from {
                break;
            }
            let file = segment.files.log().map_err(segment.io())?;
            let mut scanner = Scanner::new(&*file, 0, segment.size);
            while let Step::Batch { header, .. } = scanner.step().map_err(segment.io())? {
                if header.base_offset >= known_from {
                    break;
                }
                epochs.assign(header.leader_epoch, header.base_offset);
            }
        }
        if !epochs.is_empty() {
            report.rebuilt_files += 1;
        }
        epochs.continue_with(&parsed);
        self.epochs = epochs;
        Ok(())
    }

    /// The first segment that has to be read as a whole; `None` when the end can be believed.
    fn scan_from(&self, hints: &OpenHints) -> Result<Option<usize>, Error> {
        let damaged_txn_index = self.segments.iter().position(|segment| {
            segment.has_txn_index && !matches!(txn_index::read(&segment.files), Ok(Some(_)))
        });
        let last = self.segments.len() - 1;
        let unclean = if hints.clean_shutdown && self.clean_end()?.is_some() {
            None
        } else {
            Some(hints.flushed_checkpoint.map_or(0, |offset| self.segment_at(offset)).min(last))
        };
        Ok(unclean.into_iter().chain(damaged_txn_index).min())
    }

    /// Where the last segment ends, if the batches behind its last index entry line up with the
    /// end of the file.
    fn clean_end(&self) -> Result<Option<Offset>, Error> {
        let Some(last) = self.segments.back() else {
            return Ok(None);
        };
        let file = last.files.log().map_err(last.io())?;
        let start = last.scan_start(Offset(i64::MAX)).map_err(last.io())?;
        let mut scanner = Scanner::new(&*file, start, last.size);
        let mut end = last.base();
        loop {
            match scanner.step().map_err(last.io())? {
                Step::End => return Ok(Some(end)),
                Step::Bad { .. } => return Ok(None),
                Step::Batch { header, .. } => {
                    let whole = BatchHeader::parse_checked(scanner.batch().map_err(last.io())?);
                    if header.base_offset < end || whole.is_err() {
                        return Ok(None);
                    }
                    end = header.next_offset();
                }
            }
        }
    }

    fn recover(&mut self, hints: &OpenHints, report: &mut RecoveryReport) -> Result<(), Error> {
        let Some(first) = self.scan_from(hints)? else {
            self.end = self.clean_end()?.unwrap_or(self.end);
            self.rebuild_producers(self.end)?;
            self.epochs.truncate_from_end(self.end);
            report.lost_flushed =
                hints.flushed_checkpoint.is_some_and(|flushed| self.end < flushed);
            return Ok(());
        };
        let flushed = hints.flushed_checkpoint.unwrap_or(Offset::ZERO);
        // What the file says of batches that are read now may be older than they are.
        let in_file = self.epochs.clone();
        self.epochs.truncate_from_end(self.segments[first].base());
        let mut expected = None;
        let mut place = first;
        while place < self.segments.len() {
            let base = self.segments[place].base();
            if expected.is_some_and(|expected| expected != base) {
                // Bytes between the two were lost, so what follows was never acknowledged.
                report.cut_bytes += self.segments.range(place..).map(|gone| gone.size).sum::<u64>();
                report.removed_segments += self.remove_back_to(place)?;
                break;
            }
            let (end, cut) = self.recover_segment(place, flushed, report)?;
            expected = Some(end);
            place += 1;
            if cut && place < self.segments.len() {
                report.cut_bytes += self.segments.range(place..).map(|gone| gone.size).sum::<u64>();
                report.removed_segments += self.remove_back_to(place)?;
            }
        }
        self.end = expected.unwrap_or(self.end);
        report.lost_flushed = self.end < flushed
            || (hints.flushed_checkpoint.is_none() && report.removed_segments > 0);
        self.names_changed = true;
        self.epochs.truncate_from_end(self.end);
        self.epochs.spare_the_file(&in_file);
        let rescanned = self.segments[first].base();
        self.remove_snapshots(|offset| offset > rescanned)?;
        for place in first..self.segments.len() {
            let segment = &self.segments[place];
            if segment.has_txn_index {
                let path = segment.files.path(FileKind::TxnIndex);
                txn_index::replace(&segment.files, &[]).map_err(Error::io(&path))?;
            }
        }
        self.rebuild_producers_and_aborted(rescanned, first)
    }

    /// Reads all batches of a segment. Gives where it ends now, and whether it was cut.
    fn recover_segment(
        &mut self,
        place: usize,
        flushed: Offset,
        report: &mut RecoveryReport,
    ) -> Result<(Offset, bool), Error> {
        let interval = u64::from(self.config.index_interval_bytes);
        let segment = &mut self.segments[place];
        let io = segment.io();
        let file = match segment.files.log() {
            Ok(file) => file,
            Err(error) => return Err(io(error)),
        };
        let mut scanner = Scanner::new(&*file, 0, segment.size);
        let mut indexed = Indexed::default();
        let mut end = segment.base();
        let mut cut_at = None;
        loop {
            let (position, header) = match scanner.step().map_err(segment.io())? {
                Step::End => break,
                Step::Bad { position, error } => {
                    cut_at = Some((position, error.to_string()));
                    break;
                }
                Step::Batch { position, header } => (position, header),
            };
            let batch = scanner.batch().map_err(segment.io())?;
            match judge(segment, position, &header, batch, (end, flushed))? {
                Found::Whole => {
                    let timestamp = records::max_timestamp(&header, batch);
                    indexed.add(position, &header, timestamp, interval);
                    self.epochs.assign(header.leader_epoch, header.base_offset);
                }
                Found::Damaged => {
                    report.damaged_batches += 1;
                    report.damaged_from.get_or_insert(header.base_offset);
                }
                Found::Broken(why) => {
                    cut_at = Some((position, why));
                    break;
                }
            }
            report.scanned_bytes += header.total_bytes() as u64;
            end = header.next_offset();
        }
        let cut = cut_at.is_some();
        if let Some((position, why)) = cut_at {
            let path = segment.files.path(FileKind::Log);
            tracing::warn!(path = %path.display(), position, why, "cutting a log");
            report.cut_bytes += segment.size - position;
            let writable = segment.files.log_for_writing().map_err(segment.io())?;
            writable.set_len(position).map_err(segment.io())?;
            segment.size = position;
        }
        segment.dirty = true;
        report.rebuilt_files += 2;
        if let Err(error) = segment.replace_indexes(indexed) {
            segment.files.distrust(&error.to_string());
        }
        Ok((end, cut))
    }

    /// Earlier stops left snapshots in the middle of segments; only the newest of them is of use.
    fn remove_stray_snapshots(&self) -> Result<(), Error> {
        let newest = self.snapshot_offsets()?.last().copied();
        let bases: BTreeSet<Offset> = self.segments.iter().map(Segment::base).collect();
        self.remove_snapshots(|offset| Some(offset) != newest && !bases.contains(&offset))
    }

    fn settle_start(&mut self, hints: &OpenHints) -> Result<(), Error> {
        let first = self.segments.front().map_or(Offset::ZERO, Segment::base);
        self.start = first.max(hints.log_start_checkpoint.unwrap_or(first));
        if self.start > self.end {
            let start = self.start;
            self.reset_to(start)?;
        }
        self.epochs.truncate_from_start(self.start);
        Ok(())
    }
}

fn log_name(base: Offset) -> String {
    index_name(base, FileKind::Log)
}

fn index_name(base: Offset, kind: FileKind) -> String {
    format!("{:020}{}", base.0, kind.suffix())
}

fn judge(
    segment: &Segment,
    position: u64,
    header: &BatchHeader,
    batch: &[u8],
    (expected, flushed): (Offset, Offset),
) -> Result<Found, Error> {
    let in_order = header.base_offset >= expected && header.last_offset_delta >= 0;
    let in_reach = header.last_offset().since(segment.base()) <= i64::from(i32::MAX);
    if !in_order || !in_reach {
        return Ok(Found::Broken(format!("offset {} does not follow", header.base_offset)));
    }
    let Err(error) = BatchHeader::parse_checked(batch) else {
        return Ok(Found::Whole);
    };
    if header.next_offset() > flushed {
        return Ok(Found::Broken(error.to_string()));
    }
    // It was durable once. If the next one is whole and follows, only this one is lost, and what
    // lies behind must not go with it.
    let file = segment.files.log().map_err(segment.io())?;
    let mut ahead = Scanner::new(&*file, position + header.total_bytes() as u64, segment.size);
    if let Step::Batch { header: next, .. } = ahead.step().map_err(segment.io())?
        && next.base_offset == header.next_offset()
        && BatchHeader::parse_checked(ahead.batch().map_err(segment.io())?).is_ok()
    {
        return Ok(Found::Damaged);
    }
    Ok(Found::Broken(error.to_string()))
}
