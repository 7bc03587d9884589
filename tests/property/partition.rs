//! A partition against power cuts: whatever was committed is there afterwards, and nothing else
//! is ever shown.
//!
//! Each round is a random life of one partition on a disk in memory: appends with and without
//! producers, flushes, retries, deletions, power cuts at any write or sync, and reopenings with
//! checkpoints that may be old. Everything follows from the seed. To run one seed again:
//! `PURLIN_PARTITION_SEED=N cargo test --test partition`; `PURLIN_PARTITION_ROUNDS` sets how many.

use bytes::Bytes;
use purlin::env::clock::ManualClock;
use purlin::env::disk::Disk;
use purlin::env::disk_memory::MemoryDisk;
use purlin::log::flush::Flusher;
use purlin::log::{LogConfig, OpenHints};
use purlin::partition::{
    Acks, Appended, Assignment, Checkpoint, Isolation, Notices, OpenOptions, Partition, ReadRequest,
};
use purlin::protocol::records::{BatchBuilder, BatchIter, Compression, decode_records};
use purlin::replica::{IsrProposal, Settings};
use purlin::types::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, ProducerEpoch,
    ProducerId, Sequence, TimestampMs, TopicId, TopicName, TopicPartition,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const ME: NodeId = NodeId(1);
const TOPIC: TopicId = TopicId([3; 16]);
const ROUNDS_DEFAULT: u64 = 400;
const STEPS_PER_ROUND: u64 = 60;
const PRODUCERS: u64 = 3;

/// A small generator, so that a seed means the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

#[derive(Debug)]
struct Nobody;

impl Notices for Nobody {
    fn isr_wanted(&self, _: &TopicPartition, _: TopicId, _: IsrProposal) {}
    fn storage_failed(&self, _: &TopicPartition, _: TopicId, _: &str) {}
    fn log_start_moved(&self, _: &TopicPartition) {}
}

/// What a client holds on to: a batch that it sent.
#[derive(Clone)]
struct Sent {
    batch: Bytes,
    values: Vec<String>,
}

/// One partition, and what the world knows about it.
struct World {
    dice: Dice,
    disk: MemoryDisk,
    runtime: tokio::runtime::Runtime,
    flusher: Flusher,
    partition: Arc<Partition>,
    epoch: i32,
    /// The newest checkpoint that was written, if any survived to be read.
    checkpoint: Option<Checkpoint>,
    /// Records whose commit was acknowledged, by offset.
    committed: BTreeMap<i64, String>,
    /// Appends whose commit is not known yet.
    open: Vec<(Appended, Sent)>,
    /// The last batch of each producer and where it is, once acknowledged.
    last_of_producer: BTreeMap<u64, (Sent, i64)>,
    next_sequence: BTreeMap<u64, i32>,
    log_start: i64,
    shown: i64,
    sent: u64,
    crashes: u64,
}

fn flusher(disk: &MemoryDisk) -> Flusher {
    Flusher::start(Arc::new(disk.clone()), Path::new("/d"), 0).expect("no threads")
}

fn open(
    disk: &MemoryDisk,
    flusher: &Flusher,
    checkpoint: Option<Checkpoint>,
) -> Result<Arc<Partition>, purlin::partition::Error> {
    let options = OpenOptions {
        name: TopicPartition::new(TopicName::new("t").expect("valid"), PartitionIndex(0)),
        topic_id: TOPIC,
        node: ME,
        dir: "/d/t-0".into(),
        disk: Arc::new(disk.clone()) as Arc<dyn Disk>,
        config: LogConfig { segment_bytes: 2048, ..LogConfig::default() },
        settings: Settings::default(),
        hints: OpenHints {
            topic_id: Some(TOPIC),
            flushed_checkpoint: checkpoint.map(|c| c.flushed),
            log_start_checkpoint: checkpoint.map(|c| c.log_start),
            ..OpenHints::default()
        },
        high_watermark: checkpoint.map_or(Offset::ZERO, |c| c.high_watermark),
        clock: Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000))),
        flusher: flusher.clone(),
        notices: Arc::new(Nobody),
    };
    Partition::open(options).map(|(partition, _)| partition)
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = MemoryDisk::new();
        // The node makes the data directory and its name durable before it opens a partition.
        disk.create_dir_all(Path::new("/d")).expect("made");
        disk.sync_dir(Path::new("/")).expect("synced");
        let flusher = flusher(&disk);
        let partition = open(&disk, &flusher, None).expect("an empty disk opens");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let mut world = Self {
            dice: Dice(seed),
            disk,
            runtime,
            flusher,
            partition,
            epoch: 0,
            checkpoint: None,
            committed: BTreeMap::new(),
            open: Vec::new(),
            last_of_producer: BTreeMap::new(),
            next_sequence: BTreeMap::new(),
            log_start: 0,
            shown: 0,
            sent: 0,
            crashes: 0,
        };
        world.lead();
        world
    }

    fn lead(&mut self) {
        self.epoch += 1;
        self.partition.assign(
            ME,
            Assignment {
                leader: ME,
                leader_epoch: LeaderEpoch(self.epoch),
                partition_epoch: PartitionEpoch(self.epoch),
                replicas: vec![(ME, Some(BrokerEpoch(1)))],
                isr: BTreeSet::from([ME]),
                elr: BTreeSet::new(),
            },
        );
    }

    fn step(&mut self) {
        match self.dice.below(12) {
            0..=4 => self.append(),
            5 => self.retry(),
            6 | 7 => {
                self.flusher.flush_waiting();
            }
            8 => self.settle(),
            9 => self.write_checkpoint(),
            10 if self.dice.one_in(4) => self.delete_records(),
            11 if self.dice.one_in(3) => self.crash(),
            _ => self.look(),
        }
    }

    /// A new batch, of a producer or of nobody.
    fn append(&mut self) {
        let count = 1 + self.dice.below(4);
        let values: Vec<String> = (0..count).map(|i| format!("{}-{i}", self.sent)).collect();
        self.sent += 1;
        let producer = self.dice.below(PRODUCERS + 1);
        // A producer sends its next batch only once the last one is settled, so that a crash
        // leaves no doubt about its sequence.
        let busy = self.open.iter().any(|(_, sent)| producer_of(&sent.batch) == Some(producer));
        let mut builder = BatchBuilder::new(Compression::None);
        if producer < PRODUCERS && !busy {
            let sequence = self.next_sequence.get(&producer).copied().unwrap_or(0);
            let id = ProducerId(i64::try_from(producer).expect("small"));
            builder.set_producer(id, ProducerEpoch(0), Sequence(sequence));
        }
        for value in &values {
            let time = TimestampMs(1_700_000_000_000);
            builder.append(time, None, Some(value.as_bytes()), &[]);
        }
        let sent = Sent { batch: builder.build(), values };
        if let Ok(appended) = self.partition.append(sent.batch.clone(), Acks::All) {
            assert!(!appended.duplicate, "it was never sent before");
            self.open.push((appended, sent));
        }
    }

    /// A producer sends its last acknowledged batch again.
    fn retry(&mut self) {
        let pick = self.dice.below(PRODUCERS);
        let Some((sent, base)) = self.last_of_producer.get(&pick).cloned() else { return };
        let busy = self.open.iter().any(|(_, sent)| producer_of(&sent.batch) == Some(pick));
        if busy || base < self.log_start {
            return;
        }
        if let Ok(again) = self.partition.append(sent.batch, Acks::All) {
            assert!(again.duplicate, "an acknowledged batch was stored twice");
            assert_eq!(again.base_offset.0, base, "a retry gets its first offset");
        }
    }

    /// Learns which appends are committed.
    fn settle(&mut self) {
        for (appended, sent) in std::mem::take(&mut self.open) {
            let waited = self
                .runtime
                .block_on(self.partition.committed(&appended, Instant::now() + Duration::ZERO));
            match waited {
                Ok(()) => self.acknowledge(&appended, &sent),
                Err(purlin::partition::Error::Timeout) => self.open.push((appended, sent)),
                // Its fate is unknown, as to a client.
                Err(_) => {}
            }
        }
    }

    fn acknowledge(&mut self, appended: &Appended, sent: &Sent) {
        for (offset, value) in (appended.base_offset.0..).zip(&sent.values) {
            let before = self.committed.insert(offset, value.clone());
            assert!(before.is_none(), "offset {offset} was given twice");
        }
        if let Some(producer) = producer_of(&sent.batch) {
            let next = self.next_sequence.entry(producer).or_default();
            *next += i32::try_from(sent.values.len()).expect("few");
            self.last_of_producer.insert(producer, (sent.clone(), appended.base_offset.0));
        }
    }

    fn write_checkpoint(&mut self) {
        self.partition.advance_recovery_point();
        if let Some(checkpoint) = self.partition.checkpoint() {
            self.checkpoint = Some(checkpoint);
        }
    }

    fn delete_records(&mut self) {
        let Ok(offsets) = self.partition.offsets() else { return };
        let span = u64::try_from(offsets.high_watermark.0 - offsets.log_start.0).expect("ordered");
        let upto = offsets.log_start.0 + i64::try_from(self.dice.below(span + 1)).expect("small");
        let deleted = self.runtime.block_on(self.partition.delete_records(Offset(upto)));
        if deleted.is_ok() {
            self.log_start = self.log_start.max(upto);
        }
    }

    /// A power cut somewhere in the next few changes of the disk, and the next boot.
    fn crash(&mut self) {
        self.crashes += 1;
        let soon = self.disk.changes() + self.dice.below(6);
        self.disk.cut_power_at(soon);
        for _ in 0..self.dice.below(6) {
            self.append();
            self.flusher.flush_waiting();
        }
        // What was answered before the power went is promised.
        self.settle();
        self.open.clear();
        let seed = self.dice.next();
        self.disk.crash(seed);
        // The checkpoint file is replaced in one durable step: the newest one, or none at all.
        let checkpoint = self.checkpoint.filter(|_| !self.dice.one_in(5));
        self.flusher = flusher(&self.disk);
        let opened = open(&self.disk, &self.flusher, checkpoint);
        self.partition = opened.expect("a crash leaves a log that opens");
        // Deletions are promised as far as a checkpoint holds them.
        self.log_start = checkpoint.map_or(0, |c| c.log_start.0);
        let start = self.partition.offsets().expect("open").log_start.0;
        self.log_start = self.log_start.max(start);
        self.shown = 0;
        self.lead();
        self.flusher.flush_waiting();
        self.resume_producers();
        self.look();
    }

    /// A producer whose last batch was cut short by the crash asks what became of it by sending
    /// again; here it starts over behind whatever the log holds.
    fn resume_producers(&mut self) {
        let producers = self.partition.producers().expect("leads");
        self.next_sequence = producers
            .into_iter()
            .map(|p| (p.producer_id.0.unsigned_abs(), p.last_sequence.plus(1).0))
            .collect();
        // Acknowledged ones must be remembered, unless their records are gone.
        for (producer, (sent, base)) in &self.last_of_producer {
            if *base >= self.log_start {
                assert!(
                    self.next_sequence.contains_key(producer),
                    "producer {producer} is forgotten, though its batch {:?} is at {base}: {:?}",
                    sent.values,
                    self.partition.offsets()
                );
            }
        }
        self.last_of_producer.retain(|_, (_, base)| *base >= self.log_start);
    }

    /// Reads everything, and holds it against what was acknowledged.
    fn look(&mut self) {
        let Ok(offsets) = self.partition.offsets() else { return };
        assert!(
            offsets.log_start <= offsets.last_stable
                && offsets.last_stable <= offsets.high_watermark
                && offsets.high_watermark <= offsets.flushed
                && offsets.flushed <= offsets.log_end,
            "{offsets:?}"
        );
        assert!(offsets.high_watermark.0 >= self.shown, "the high watermark went back");
        self.shown = offsets.high_watermark.0;
        let found = self.read_all(offsets.log_start);
        for (offset, value) in self.committed.range(self.log_start.max(offsets.log_start.0)..) {
            if *offset < offsets.high_watermark.0 {
                assert_eq!(found.get(offset), Some(value), "offset {offset} in {offsets:?}");
            } else {
                panic!("offset {offset} was acknowledged, and is above {offsets:?}");
            }
        }
        assert!(found.keys().next_back().is_none_or(|last| *last < offsets.high_watermark.0));
    }

    fn read_all(&self, from: Offset) -> BTreeMap<i64, String> {
        let mut found = BTreeMap::new();
        let mut offset = from;
        loop {
            let answer = self.partition.read(ReadRequest {
                offset,
                bytes_max: 700,
                at_least_one: true,
                isolation: Isolation::ReadUncommitted,
                current_leader_epoch: LeaderEpoch::NONE,
            });
            let Ok(answer) = answer else { return found };
            let bytes = self.runtime.block_on(self.partition.load(answer.records)).expect("loads");
            if bytes.is_empty() {
                return found;
            }
            for batch in BatchIter::new(&bytes) {
                let (header, raw) = batch.expect("whole batches");
                let records = decode_records(&Bytes::copy_from_slice(raw), 1 << 20).expect("ours");
                for record in records {
                    let record = record.expect("ours");
                    let at = header.base_offset.0 + i64::from(record.offset_delta);
                    let value = record.value.expect("every record has a value");
                    found.insert(at, String::from_utf8(value.to_vec()).expect("text"));
                }
                offset = header.next_offset();
            }
        }
    }
}

fn producer_of(batch: &Bytes) -> Option<u64> {
    let (header, _) = BatchIter::new(batch).next()?.ok()?;
    u64::try_from(header.producer_id.0).ok()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn what_was_committed_survives_every_power_cut() {
    let (first, rounds) = match number("PURLIN_PARTITION_SEED") {
        Some(seed) => (seed, 1),
        None => (
            u64::from(purlin::env::rng::positive_i32().unsigned_abs()) << 16,
            number("PURLIN_PARTITION_ROUNDS").unwrap_or(ROUNDS_DEFAULT),
        ),
    };
    let (mut crashes, mut records) = (0, 0);
    for seed in first..first + rounds {
        let life = std::panic::AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS_PER_ROUND {
                world.step();
            }
            world.crash();
            (world.crashes, world.committed.len())
        });
        match std::panic::catch_unwind(life) {
            Ok((these_crashes, these_records)) => {
                crashes += these_crashes;
                records += these_records;
            }
            Err(panic) => {
                eprintln!(
                    "seed {seed} fails; again: PURLIN_PARTITION_SEED={seed} cargo test --test partition"
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{rounds} lives from seed {first}: {crashes} crashes, {records} records acknowledged");
    assert!(
        rounds < 100 || (crashes > rounds && records > 0),
        "the test must have tested something"
    );
}
