//! A log and its model: the same operations on both, and what must then hold.
//!
//! The model is a map of batches by base offset. What was truncated leaves it; what retention or
//! DeleteRecords removed stays, because a crash may bring back what lies below the log start.

#![allow(dead_code, reason = "each of the tests uses its part")]

use bytes::Bytes;
use purlin::env::clock::{Clock, ManualClock};
use purlin::env::disk::Disk;
use purlin::env::disk_memory::MemoryDisk;
use purlin::env::rng::Seeded;
use purlin::log::{
    AppendError, Log, LogConfig, OpenHints, Origin, RecoveryReport, Shared, SharedBounds,
};
use purlin::protocol::records::{BatchBuilder, BatchIter, Compression, decode_records};
use purlin::types::{
    LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs, TopicId,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the clock starts.
pub const START_MS: i64 = 1_700_000_000_000;
const ALL: Offset = Offset(i64::MAX);
const PRODUCERS: i64 = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub last: Offset,
    pub epoch: LeaderEpoch,
    /// Producer id, producer epoch, first sequence.
    pub producer: Option<(i64, i16, i32)>,
    pub records: Vec<(TimestampMs, String)>,
}

/// What an operation that a power cut interrupted may have done.
#[derive(Debug, Clone)]
pub enum Pending {
    Nothing,
    /// These batches may be there, or some of the first.
    Append(Vec<(Offset, Batch)>),
    /// The log may end here, or anywhere between here and where it ended.
    Truncate(Offset),
    /// The log may be empty here, or hold any run of what it held.
    Reset(Offset),
}

#[derive(Debug, Clone, Default)]
struct Next {
    epoch: i16,
    sequence: i32,
}

/// The log, the model, and what the world around them remembers.
pub struct World {
    pub disk: MemoryDisk,
    pub clock: ManualClock,
    pub config: LogConfig,
    pub log: Option<Log>,
    pub history: BTreeMap<Offset, Batch>,
    pub start: Offset,
    pub end: Offset,
    /// What a flush promised to keep.
    pub promised: Offset,
    /// What the data directory's checkpoint files say.
    pub flushed_checkpoint: Option<Offset>,
    pub log_start_checkpoint: Option<Offset>,
    pub pending: Pending,
    /// Leave the flushed checkpoint out, as the Raft log does.
    scan_all: bool,
    epoch: LeaderEpoch,
    next: [Next; PRODUCERS as usize],
    rng: Seeded,
    serial: u64,
    time: i64,
}

fn dir() -> PathBuf {
    PathBuf::from("/data/t-0")
}

impl World {
    /// A fresh log whose sizes and whose life follow from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut rng = Seeded::new(seed);
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("/data")).expect("make");
        disk.sync_dir(Path::new("/")).expect("sync");
        let config = LogConfig {
            segment_bytes: [600, 1_500, 6_000][rng.below(3) as usize],
            index_interval_bytes: [0, 150, 500][rng.below(3) as usize],
            segment_roll_ms: if rng.chance(20) { 3_000 } else { i64::MAX },
            timestamp_after_ms_max: i64::MAX,
            ..LogConfig::default()
        };
        let scan_all = rng.chance(25);
        Self {
            disk,
            clock: ManualClock::at(TimestampMs(START_MS)),
            config,
            log: None,
            history: BTreeMap::new(),
            start: Offset::ZERO,
            end: Offset::ZERO,
            promised: Offset::ZERO,
            flushed_checkpoint: None,
            log_start_checkpoint: None,
            pending: Pending::Nothing,
            scan_all,
            epoch: LeaderEpoch(0),
            next: Default::default(),
            rng,
            serial: 0,
            time: START_MS,
        }
    }

    /// Opens the log. An error can only come from a power cut.
    pub fn open(&mut self, clean: bool) -> Result<RecoveryReport, purlin::log::Error> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        // A tail cache that is now and then too small, and few open files.
        let bounds = SharedBounds { open_files_max: 3, tail_bytes_max: 3_000, reserve_bytes: 0 };
        let hints = OpenHints {
            topic_id: Some(TopicId([9; 16])),
            flushed_checkpoint: self.flushed_checkpoint.filter(|_| !self.scan_all),
            log_start_checkpoint: self.log_start_checkpoint,
            clean_shutdown: clean,
            shared: Some(Shared::with_bounds(Arc::clone(&disk), Path::new("/data"), bounds)),
        };
        let (log, report) = Log::open(disk, &dir(), self.config.clone(), clock, hints)?;
        self.log = Some(log);
        Ok(report)
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("the log is open")
    }

    /// One random operation, on the log and on the model. False when the disk failed.
    pub fn step(&mut self) -> bool {
        self.pending = Pending::Nothing;
        self.clock.advance(self.rng.below(400) as i64);
        let roll = self.rng.below(100);
        if std::env::var_os("PURLIN_TRACE").is_some() {
            eprintln!("{roll}: log {} to {}, {} promised", self.start, self.end, self.promised);
        }
        match roll {
            0..=29 => self.append_plain(),
            30..=49 => self.append_idempotent(),
            50..=59 => self.append_replicated(),
            60..=76 => self.flush(),
            77..=81 => self.truncate(),
            82..=86 => self.raise_start(),
            87..=88 => self.retain(),
            89..=91 => {
                // Written or not, the recovery point is what may be remembered.
                let written = !self.rng.chance(50) || self.log().checkpoint().is_ok();
                self.flushed_checkpoint = Some(self.log().recovery_point());
                self.log_start_checkpoint = Some(self.start);
                written
            }
            92..=93 => self.elect(),
            94 => self.reset(),
            95..=96 => self.restart(),
            _ => {
                self.check_reads();
                true
            }
        }
    }

    fn records(&mut self, count: u64) -> Vec<(TimestampMs, String)> {
        (0..count)
            .map(|_| {
                self.serial += 1;
                self.time += self.rng.below(100) as i64;
                let drift = self.rng.below(4_000) as i64 - 2_000;
                let time = if self.rng.chance(3) { -1 } else { self.time + drift };
                let filler = "x".repeat(self.rng.below(60) as usize);
                (TimestampMs(time), format!("{}-{filler}", self.serial))
            })
            .collect()
    }

    fn builder(&mut self, records: &[(TimestampMs, String)]) -> BatchBuilder {
        let codec = if self.rng.chance(90) {
            Compression::None
        } else {
            [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
                [self.rng.below(4) as usize]
        };
        let mut builder = BatchBuilder::new(codec);
        for (time, value) in records {
            builder.append(*time, Some(b"k"), Some(value.as_bytes()), &[]);
        }
        builder
    }

    /// Appends to both; on an error the batch may or may not be there after a crash.
    fn append(&mut self, bytes: Bytes, batch: Batch) -> bool {
        let (base, epoch) = (self.end, self.epoch);
        self.pending = Pending::Append(vec![(base, batch.clone())]);
        match self.log().append_as_leader(bytes, epoch, Origin::Client) {
            Ok(appended) => {
                assert!(!appended.duplicate);
                assert_eq!((appended.base_offset, appended.last_offset), (base, batch.last));
                self.end = batch.last.next();
                self.history.insert(base, batch);
                self.pending = Pending::Nothing;
                assert_eq!(self.log().log_end_offset(), self.end);
                true
            }
            Err(AppendError::Failed(_)) => false,
            Err(error) => panic!("refused: {error}"),
        }
    }

    fn append_plain(&mut self) -> bool {
        let count = 1 + self.rng.below(4);
        let records = self.records(count);
        let bytes = self.builder(&records).build();
        let last = self.end.plus(count as i64 - 1);
        self.append(bytes, Batch { last, epoch: self.epoch, producer: None, records })
    }

    fn append_idempotent(&mut self) -> bool {
        let id = self.rng.below(PRODUCERS as u64) as i64;
        if self.rng.chance(25) {
            return self.repeat(id) && self.leave_gap(id);
        }
        let next = &mut self.next[id as usize];
        if next.sequence > 0 && self.rng.below(12) == 0 {
            next.epoch += 1;
            next.sequence = 0;
        }
        let (epoch, sequence) = (next.epoch, next.sequence);
        let count = 1 + self.rng.below(3);
        let records = self.records(count);
        let mut builder = self.builder(&records);
        builder.set_producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence));
        let last = self.end.plus(count as i64 - 1);
        let producer = Some((id, epoch, sequence));
        let done =
            self.append(builder.build(), Batch { last, epoch: self.epoch, producer, records });
        if done {
            self.next[id as usize].sequence += count as i32;
        }
        done
    }

    /// The last batches of a producer's epoch that the log still has, newest first.
    fn window(&self, id: i64) -> Vec<(Offset, Batch)> {
        let mine = |batch: &Batch| batch.producer.is_some_and(|producer| producer.0 == id);
        let all = self.history.iter().rev().filter(|(_, batch)| mine(batch)).take(5);
        let newest = all.clone().next().and_then(|(_, batch)| batch.producer);
        all.filter(|(base, batch)| {
            let epoch = |producer: Option<(i64, i16, i32)>| producer.map(|producer| producer.1);
            **base >= self.start && epoch(batch.producer) == epoch(newest)
        })
        .map(|(base, batch)| (*base, batch.clone()))
        .collect()
    }

    fn same_again(batch: &Batch) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None);
        for (time, value) in &batch.records {
            builder.append(*time, Some(b"k"), Some(value.as_bytes()), &[]);
        }
        let (id, epoch, sequence) = batch.producer.expect("idempotent");
        builder.set_producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence));
        builder.build()
    }

    /// Sends each batch of a producer's window again: all are answered with where they are.
    pub fn repeat(&mut self, id: i64) -> bool {
        let epoch = self.epoch;
        for (base, batch) in self.window(id) {
            let again = Self::same_again(&batch);
            let appended = self
                .log()
                .append_as_leader(again, epoch, Origin::Client)
                .unwrap_or_else(|error| panic!("{base} of producer {id} again: {error}"));
            assert!(appended.duplicate, "{base} of producer {id} was stored twice");
            assert_eq!((appended.base_offset, appended.last_offset), (base, batch.last));
        }
        assert_eq!(self.log().log_end_offset(), self.end);
        true
    }

    /// A sequence that leaves one out is refused.
    fn leave_gap(&mut self, id: i64) -> bool {
        if let Some((_, mut batch)) = self.window(id).into_iter().next() {
            let (_, epoch, sequence) = batch.producer.expect("idempotent");
            batch.producer = Some((id, epoch, sequence + batch.records.len() as i32 + 1));
            let gap = Self::same_again(&batch);
            let epoch = self.epoch;
            let refused = self.log().append_as_leader(gap, epoch, Origin::Client);
            assert!(matches!(refused, Err(AppendError::OutOfOrderSequence(_))), "{refused:?}");
        }
        true
    }

    /// As a follower: several stamped batches at once, now and then behind a gap.
    fn append_replicated(&mut self) -> bool {
        let mut bytes = Vec::new();
        let mut batches = Vec::new();
        let mut at = self.end;
        for _ in 0..1 + self.rng.below(4) {
            if self.rng.chance(10) {
                at = at.plus(1 + self.rng.below(5) as i64);
            }
            if self.rng.chance(5) {
                self.epoch = self.epoch.next();
            }
            let count = 1 + self.rng.below(3);
            let records = self.records(count);
            let mut builder = self.builder(&records);
            builder.set_position(at, self.epoch);
            bytes.extend_from_slice(&builder.build());
            let last = at.plus(count as i64 - 1);
            batches.push((at, Batch { last, epoch: self.epoch, producer: None, records }));
            at = last.next();
        }
        self.pending = Pending::Append(batches.clone());
        match self.log().append_as_follower(Bytes::from(bytes), Origin::Replica) {
            Ok(_) => {
                self.end = at;
                self.history.extend(batches);
                self.pending = Pending::Nothing;
                assert_eq!(self.log().log_end_offset(), self.end);
                true
            }
            Err(AppendError::Failed(_)) => false,
            Err(error) => panic!("refused: {error}"),
        }
    }

    fn flush(&mut self) -> bool {
        let Some(job) = self.log().start_flush() else {
            return self.log().failure().is_none();
        };
        // Sometimes the log goes on while the sync is under way.
        let meanwhile = self.rng.chance(20);
        if meanwhile && !self.append_plain() {
            return false;
        }
        let result = job.run();
        match self.log().finish_flush(job, result) {
            Ok(flushed) => {
                assert!(flushed <= self.end);
                assert!(flushed >= self.promised, "a flush never takes a promise back");
                assert!(meanwhile || flushed == self.end);
                self.promised = flushed;
                true
            }
            Err(_) => false,
        }
    }

    fn truncate(&mut self) -> bool {
        let span = self.end.since(self.start).min(12);
        let mut to = self.end.plus(-(self.rng.below(span as u64 + 1) as i64));
        // Batches go as a whole, and a gap at the end is not remembered by the files.
        let kept = self.history.values().rev().find(|batch| batch.last < to);
        let first = self.history.keys().next().copied().unwrap_or(to);
        let boundary = kept.map_or(first.min(to), |batch| batch.last.next());
        if to < self.end {
            to = boundary.max(self.start);
        }
        self.pending = Pending::Truncate(boundary.min(to));
        if self.log().truncate_to(to).is_err() {
            return false;
        }
        let end = self.log().log_end_offset();
        assert!(end <= to);
        self.settle_end(end);
        true
    }

    /// The log ends here now, durably.
    fn settle_end(&mut self, end: Offset) {
        self.end = end;
        self.history.retain(|_, batch| batch.last < end);
        self.promised = self.promised.min(end);
        self.flushed_checkpoint = self.flushed_checkpoint.map(|offset| offset.min(end));
        self.pending = Pending::Nothing;
        self.epoch = self.epoch.next();
        for id in 0..PRODUCERS {
            let mine = |batch: &&Batch| batch.producer.is_some_and(|producer| producer.0 == id);
            let next = match self.history.values().rev().find(mine) {
                Some(Batch { producer: Some((_, epoch, sequence)), records, .. }) => {
                    Next { epoch: *epoch, sequence: sequence + records.len() as i32 }
                }
                _ => Next::default(),
            };
            self.next[id as usize] = next;
        }
    }

    fn raise_start(&mut self) -> bool {
        let span = self.end.since(self.start).min(15);
        let to = self.start.plus(self.rng.below(span as u64 + 1) as i64);
        if self.log().raise_log_start(to).is_err() {
            self.start = self.start.max(to);
            return false;
        }
        self.start = self.start.max(to);
        assert_eq!(self.log().log_start_offset(), self.start);
        true
    }

    fn retain(&mut self) -> bool {
        let now = self.clock.now();
        let high_watermark = self.promised;
        let by_time = self.rng.chance(50);
        let mut config = self.config.clone();
        config.retention_ms = if by_time { 2_500 } else { -1 };
        config.retention_bytes = if by_time { -1 } else { 2_000 };
        let size = self.log().size_bytes();
        self.log().set_config(config);
        let result = self.log().apply_retention(now, high_watermark);
        let config = self.config.clone();
        self.log().set_config(config);
        let start = self.log().log_start_offset();
        let gone = self.history.range(self.start..start);
        if by_time {
            for (base, batch) in gone {
                let newest = batch.records.iter().map(|record| record.0).max().expect("records");
                assert!(now.since(newest).0 > 2_500, "{base} was deleted too early");
            }
        } else if start > self.start {
            assert!(self.log().size_bytes() >= 2_000 || size < 2_000 || result.is_err());
        }
        assert!(start == self.start || start <= high_watermark);
        self.start = start;
        result.is_ok()
    }

    fn elect(&mut self) -> bool {
        self.epoch = self.epoch.next();
        let (epoch, end) = (self.epoch, self.end);
        self.log().assign_epoch(epoch, end);
        assert_eq!(self.log().latest_epoch(), Some(epoch));
        assert_eq!(self.log().epoch_end_offset(epoch), (epoch, end));
        true
    }

    fn reset(&mut self) -> bool {
        let reach = self.end.since(self.start) as u64;
        let at = self.start.plus(self.rng.below(reach + 20) as i64);
        self.pending = Pending::Reset(at);
        if self.log().reset_to(at).is_err() {
            return false;
        }
        self.history.clear();
        self.start = at;
        self.promised = at;
        self.log_start_checkpoint = Some(at);
        self.flushed_checkpoint = Some(at);
        self.settle_end(at);
        true
    }

    fn restart(&mut self) -> bool {
        let log = self.log.take().expect("open");
        if self.rng.chance(60) {
            match log.close() {
                Ok(end) => assert_eq!(end, self.end),
                Err(_) => return false,
            }
            self.promised = self.end;
            self.flushed_checkpoint = Some(self.end);
            self.log_start_checkpoint = Some(self.start);
            // What a clean stop left needs no sync any more.
            self.disk.crash(self.rng.next_u64());
            match self.open(true) {
                Ok(report) => assert_eq!(report.scanned_bytes, 0, "a clean stop needs no scan"),
                Err(_) => return false,
            }
        } else {
            drop(log);
            // The process died, the machine did not: every byte that was written is there.
            self.log_start_checkpoint = Some(self.start);
            if self.open(false).is_err() {
                return false;
            }
            self.promised = self.end;
        }
        assert_eq!(self.log().log_end_offset(), self.end);
        assert_eq!(self.log().log_start_offset(), self.start);
        self.check_contents();
        true
    }

    /// The power is cut, and the log opened again: what was promised is there, nothing else is
    /// that was not appended, and nothing twice.
    pub fn crash(&mut self, seed: u64) {
        self.log = None;
        self.disk.crash(seed);
        let report = self.open(false).expect("a log opens after every crash");
        assert_eq!(report.damaged_batches, 0);
        let end = self.log().log_end_offset();
        let start = self.log().log_start_offset();
        assert_eq!(self.log().flushed_offset(), end);
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        match pending {
            Pending::Nothing => {
                assert!(end >= self.promised, "{} was flushed, {end} is left", self.promised);
                assert!(end <= self.end);
            }
            Pending::Append(batches) => {
                assert!(end >= self.promised, "{} was flushed, {end} is left", self.promised);
                self.history.extend(batches);
            }
            Pending::Truncate(to) => {
                assert!(end >= self.promised.min(to), "{to} asked, {end} is left");
                assert!(end <= self.end);
            }
            Pending::Reset(at) => {
                assert!(end <= self.end.max(at));
                // A reset to where the log starts anyway looks the same as its first step, which
                // forgets the producers, and as nothing with unsynced records lost.
                let forgot = start != self.start || self.log().producers().is_empty();
                if start == end && forgot {
                    self.history.clear();
                }
                self.start = start;
            }
        }
        assert!(start <= self.start, "what lies at {} may be read, {start} is left", self.start);
        self.start = start;
        self.promised = end;
        self.settle_end(end);
        self.check_contents();
        for id in 0..PRODUCERS {
            self.repeat(id);
        }
        // The next crash may find the records that the log brought back below the log start.
    }

    /// Every batch of the log, by reading from the start, is every batch of the model.
    pub fn check_contents(&mut self) {
        let (start, end) = (self.start, self.end);
        let mut at = start;
        let mut found = Vec::new();
        let bytes_max = self.rng.below(2_000) as usize;
        while at < end {
            let plan = self.log().read(at, ALL, bytes_max, true).expect("in range");
            let bytes = plan.execute().expect("undamaged");
            if bytes.is_empty() {
                break;
            }
            for batch in BatchIter::new(&bytes) {
                let (header, bytes) = batch.expect("whole batches");
                assert!(header.last_offset() >= at, "read at {at}, got {}", header.last_offset());
                let records = decode_records(&Bytes::copy_from_slice(bytes), 1 << 20)
                    .expect("unpack")
                    .map(|record| {
                        let record = record.expect("record");
                        let value = record.value.expect("value").to_vec();
                        let time = header.record_timestamp(record.timestamp_delta);
                        (time, String::from_utf8(value).expect("text"))
                    })
                    .collect();
                let producer = header.has_producer().then_some((
                    header.producer_id.0,
                    header.producer_epoch.0,
                    header.base_sequence.0,
                ));
                let epoch = header.leader_epoch;
                let batch = Batch { last: header.last_offset(), epoch, producer, records };
                at = header.next_offset();
                found.push((header.base_offset, batch));
            }
        }
        let expected: Vec<(Offset, Batch)> = self
            .history
            .iter()
            .filter(|(_, batch)| batch.last >= start)
            .map(|(base, batch)| (*base, batch.clone()))
            .collect();
        if found != expected {
            let bases = |list: &[(Offset, Batch)]| {
                list.iter().map(|(base, batch)| (base.0, batch.last.0)).collect::<Vec<_>>()
            };
            panic!("log {:?}\nmodel {:?}", bases(&found), bases(&expected));
        }
        for (base, batch) in expected.iter().filter(|(base, _)| *base >= start) {
            assert_eq!(self.log().epoch_for_offset(*base), Some(batch.epoch), "at {base}");
        }
    }

    /// Random reads and look-ups by time agree with the model.
    pub fn check_reads(&mut self) {
        let span = self.end.since(self.start) as u64;
        let from = self.start.plus(self.rng.below(span + 1) as i64);
        let mut upto = self.start.plus(self.rng.below(span + 1) as i64);
        let holding = self.history.range(..upto).next_back();
        if let Some((_, batch)) = holding.filter(|(_, batch)| batch.last >= upto) {
            upto = batch.last.next();
        }
        let bytes = self.log().read(from, upto, 300, true).expect("in range");
        let bytes = bytes.execute().expect("undamaged");
        let first = BatchIter::new(&bytes).next().map(|batch| batch.expect("whole").0.base_offset);
        let expected = self.history.iter().find(|(_, batch)| batch.last >= from);
        let expected = expected.filter(|(_, batch)| batch.last < upto).map(|(base, _)| *base);
        assert_eq!(first, expected, "read from {from} upto {upto}");
        let beyond = self.end.next();
        assert!(self.log().read(beyond, ALL, 1, true).is_err());
        if self.start > Offset::ZERO {
            let below = self.start.plus(-1);
            assert!(self.log().read(below, ALL, 1, true).is_err());
        }

        let start = self.start;
        let records: Vec<(Offset, TimestampMs, LeaderEpoch)> = self
            .history
            .iter()
            .flat_map(|(base, batch)| {
                let numbered = batch.records.iter().enumerate();
                numbered.map(|(index, (time, _))| (base.plus(index as i64), *time, batch.epoch))
            })
            .filter(|(offset, ..)| *offset >= start && *offset < upto)
            .collect();
        let target = TimestampMs(self.time - self.rng.below(6_000) as i64);
        let expected = records.iter().find(|record| record.1 >= target).copied();
        let found = self.log().offset_for_timestamp(target, upto).expect("undamaged");
        let found = found.map(|found| (found.offset, found.timestamp, found.leader_epoch));
        assert_eq!(found, expected, "target {target} upto {upto}");
        let largest = records.iter().map(|record| record.1).max();
        let expected = records.iter().find(|record| Some(record.1) == largest && record.1.0 >= 0);
        let found = self.log().max_timestamp(upto).expect("undamaged");
        let found = found.map(|found| (found.offset, found.timestamp, found.leader_epoch));
        assert_eq!(found, expected.copied(), "largest upto {upto}");
    }
}
