//! The log as a whole, on the disk in memory.

use super::*;
use crate::env::clock::{Clock, ManualClock};
use crate::env::disk::Disk;
use crate::env::disk_memory::MemoryDisk;
use crate::protocol::records::{BatchBuilder, BatchHeader, BatchIter, Compression};
use crate::types::{
    LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs, TopicId,
};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod appending;
mod deleting;
mod faults;
mod files;
mod flushing;
mod lookups;

const NOW: i64 = 1_700_000_000_000;
const ALL: Offset = Offset(i64::MAX);

struct Room {
    disk: MemoryDisk,
    clock: ManualClock,
    config: LogConfig,
    hints: OpenHints,
}

impl Room {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("/data")).expect("make");
        disk.sync_dir(Path::new("/")).expect("sync");
        let config =
            LogConfig { segment_bytes: 1000, index_interval_bytes: 200, ..LogConfig::default() };
        let clock = ManualClock::at(TimestampMs(NOW));
        Self { disk, clock, config, hints: OpenHints::default() }
    }

    fn open(&self) -> Log {
        self.open_reporting().0
    }

    fn open_reporting(&self) -> (Log, RecoveryReport) {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        Log::open(disk, &dir(), self.config.clone(), clock, self.hints.clone()).expect("open")
    }
}

fn dir() -> PathBuf {
    PathBuf::from("/data/t-0")
}

fn builder(count: i64, value: &str) -> BatchBuilder {
    build(Compression::None, count, value, NOW)
}

fn build(compression: Compression, count: i64, value: &str, time: i64) -> BatchBuilder {
    let mut batch = BatchBuilder::new(compression);
    for number in 0..count {
        let key = number.to_string();
        let time = TimestampMs(time + number);
        batch.append(time, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    }
    batch
}

fn plain(count: i64) -> Bytes {
    builder(count, "value").build()
}

fn idempotent(id: i64, sequence: i32, count: i64) -> Bytes {
    let mut batch = builder(count, "value");
    batch.set_producer(ProducerId(id), ProducerEpoch(0), Sequence(sequence));
    batch.build()
}

fn append(log: &mut Log, batch: Bytes) -> Appended {
    append_in(log, batch, 0)
}

fn append_in(log: &mut Log, batch: Bytes, epoch: i32) -> Appended {
    log.append_as_leader(batch, LeaderEpoch(epoch), Origin::Client).expect("append")
}

fn flush(log: &mut Log) -> Offset {
    match log.start_flush() {
        Some(job) => {
            let result = job.run();
            log.finish_flush(job, result).expect("flush")
        }
        None => log.flushed_offset(),
    }
}

/// Every batch from an offset on, read to the end.
fn read_all(log: &Log, from: Offset) -> Vec<BatchHeader> {
    let mut headers: Vec<BatchHeader> = Vec::new();
    let mut at = from;
    while at < log.log_end_offset() {
        let bytes = log.read(at, ALL, 400, true).expect("plan").execute().expect("read");
        assert!(!bytes.is_empty(), "nothing at {at}");
        for batch in BatchIter::new(&bytes) {
            let (header, _) = batch.expect("whole");
            at = header.next_offset();
            headers.push(header);
        }
    }
    headers
}

fn bases(log: &Log) -> Vec<i64> {
    read_all(log, log.log_start_offset()).iter().map(|header| header.base_offset.0).collect()
}
