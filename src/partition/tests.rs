//! One partition over a disk in memory, with flushes that happen when the test says so.

mod nearby;

use super::*;
use crate::env::clock::ManualClock;
use crate::env::disk::{Disk as _, OpenMode};
use crate::env::disk_memory::{MemoryDisk, OpKind};
use crate::log::{AppendError, LogConfig, OpenHints, Origin};
use crate::protocol::records::{BatchBuilder, BatchIter, Compression, ControlKind, ControlRecord};
use crate::replica::Settings;
use crate::types::{
    BrokerEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, ProducerEpoch, ProducerId,
    Sequence, TimestampMs, TopicName,
};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tokio::sync::Notify;

const ME: NodeId = NodeId(1);
const NO_CHECK: LeaderEpoch = LeaderEpoch::NONE;
const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

#[derive(Debug, Default)]
struct Heard(std::sync::Mutex<Vec<String>>);

impl Notices for Heard {
    fn isr_wanted(&self, _: &TopicPartition, _: TopicId, _: IsrProposal) {}
    fn storage_failed(&self, _: &TopicPartition, _: TopicId, reason: &str) {
        self.0.lock().expect("not poisoned").push(reason.to_owned());
    }
    fn log_start_moved(&self, partition: &TopicPartition) {
        self.0.lock().expect("not poisoned").push(format!("{partition} start moved"));
    }
}

struct Fixture {
    disk: MemoryDisk,
    flusher: Flusher,
    heard: Arc<Heard>,
    partition: Arc<Partition>,
}

impl Fixture {
    /// A partition that this node does not lead yet.
    fn idle() -> Self {
        Self::on(MemoryDisk::new(), None)
    }

    /// The partition on a disk that may hold it already, flushed up to the checkpoint.
    fn on(disk: MemoryDisk, flushed_checkpoint: Option<Offset>) -> Self {
        let shared: Arc<dyn crate::env::disk::Disk> = Arc::new(disk.clone());
        let flusher = Flusher::start(Arc::clone(&shared), Path::new("/d"), 0).expect("no threads");
        let heard = Arc::new(Heard::default());
        let name = TopicPartition::new(TopicName::new("t").expect("valid"), PartitionIndex(0));
        let options = OpenOptions {
            name,
            topic_id: TopicId([7; 16]),
            node: ME,
            dir: "/d/t-0".into(),
            disk: shared,
            config: LogConfig::default(),
            settings: Settings::default(),
            hints: OpenHints {
                topic_id: Some(TopicId([7; 16])),
                flushed_checkpoint,
                clean_shutdown: flushed_checkpoint.is_some(),
                ..OpenHints::default()
            },
            high_watermark: Offset::ZERO,
            clock: Arc::new(ManualClock::at(NOW)),
            flusher: flusher.clone(),
            notices: Arc::<Heard>::clone(&heard),
        };
        let (partition, _) = Partition::open(options).expect("opens");
        Self { disk, flusher, heard, partition }
    }

    /// A partition that this node leads alone, in epoch 3.
    fn led() -> Self {
        let fixture = Self::idle();
        fixture.lead(3);
        fixture.flusher.flush_waiting();
        fixture
    }

    fn lead(&self, epoch: i32) {
        self.partition.assign(
            ME,
            Assignment {
                leader: ME,
                leader_epoch: LeaderEpoch(epoch),
                partition_epoch: PartitionEpoch(epoch),
                replicas: vec![(ME, Some(BrokerEpoch(1)))],
                isr: BTreeSet::from([ME]),
                elr: BTreeSet::new(),
            },
        );
    }

    fn append(&self, acks: Acks, values: &[&str]) -> Result<Appended, Error> {
        self.partition.append(batch(None, values), acks)
    }

    fn read(&self, offset: i64) -> Result<ReadAnswer, Error> {
        self.partition.read(request(offset))
    }

    fn offsets(&self) -> Offsets {
        self.partition.offsets().expect("open")
    }
}

fn request(offset: i64) -> ReadRequest {
    ReadRequest {
        offset: Offset(offset),
        bytes_max: 1 << 20,
        at_least_one: true,
        isolation: Isolation::ReadUncommitted,
        current_leader_epoch: NO_CHECK,
    }
}

/// A batch of records with the given values, one millisecond apart; of a producer if one is given.
fn batch(producer: Option<(i64, i32)>, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some((id, sequence)) = producer {
        builder.set_producer(ProducerId(id), ProducerEpoch(0), Sequence(sequence));
    }
    for (time, value) in (NOW.0..).zip(values) {
        builder.append(TimestampMs(time), None, Some(value.as_bytes()), &[]);
    }
    builder.build()
}

fn soon() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(30)
}

/// Whether a future is still waiting after having been polled.
async fn waits<F: Future + Unpin>(future: &mut F) -> bool {
    tokio::time::timeout(Duration::ZERO, future).await.is_err()
}

#[tokio::test]
async fn an_append_is_committed_by_its_flush_and_then_readable() {
    let fixture = Fixture::led();
    let appended = fixture.append(Acks::All, &["a", "b"]).expect("appended");
    assert_eq!((appended.base_offset, appended.last_offset), (Offset(0), Offset(1)));
    assert!(fixture.read(0).expect("reads").records.is_empty());
    {
        let committed = fixture.partition.committed(&appended, soon());
        tokio::pin!(committed);
        assert!(waits(&mut committed).await, "not before the flush");
        fixture.flusher.flush_waiting();
        committed.await.expect("committed");
    }
    let answer = fixture.read(0).expect("reads");
    assert_eq!(answer.high_watermark, Offset(2));
    let bytes = fixture.partition.load(answer.records).await.expect("loads");
    let headers: Vec<_> = BatchIter::new(&bytes).map(|b| b.expect("whole").0).collect();
    assert_eq!(headers.len(), 1);
    assert_eq!(headers[0].leader_epoch, LeaderEpoch(3));
    fixture.partition.committed(&appended, soon()).await.expect("still committed");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_times_out_is_forgotten() {
    let fixture = Fixture::led();
    let appended = fixture.append(Acks::All, &["a"]).expect("appended");
    let outcome = fixture.partition.committed(&appended, soon()).await;
    assert!(matches!(outcome, Err(Error::Timeout)), "{outcome:?}");
    assert_eq!(fixture.partition.waiter_count(), 0);
}

#[tokio::test]
async fn a_failed_flush_stops_the_replica_for_good() {
    let fixture = Fixture::led();
    let appended = fixture.append(Acks::All, &["a"]).expect("appended");
    fixture.disk.fail(OpKind::SyncData, "t-0", 0, io::ErrorKind::Other);
    {
        let committed = fixture.partition.committed(&appended, soon());
        tokio::pin!(committed);
        assert!(waits(&mut committed).await);
        fixture.flusher.flush_waiting();
        let outcome = committed.await;
        assert!(matches!(outcome, Err(Error::Storage(_))), "{outcome:?}");
    }
    assert!(!fixture.partition.is_leader());
    assert_eq!(fixture.heard.0.lock().expect("not poisoned").len(), 1, "the node is told once");
    // The disk works again, but what it holds cannot be known: nothing is ever acknowledged.
    fixture.flusher.flush_waiting();
    fixture.lead(4);
    assert!(matches!(fixture.append(Acks::All, &["b"]), Err(Error::Storage(_))));
    assert!(matches!(fixture.read(0), Err(Error::Storage(_))));
    assert_eq!(fixture.offsets().high_watermark, Offset(0));
}

#[tokio::test]
async fn trap_03_leader_a_replica_that_does_not_lead_takes_no_writes() {
    let fixture = Fixture::idle();
    assert!(matches!(fixture.append(Acks::Leader, &["a"]), Err(Error::NotLeader)));
    assert!(matches!(fixture.read(0), Err(Error::NotLeader)));
    assert_eq!(fixture.offsets().log_end, Offset(0));
}

#[tokio::test]
async fn losing_the_leadership_ends_every_wait_and_its_writes_stay_unknown() {
    let fixture = Fixture::led();
    let appended = fixture.append(Acks::All, &["a"]).expect("appended");
    {
        let committed = fixture.partition.committed(&appended, soon());
        tokio::pin!(committed);
        assert!(waits(&mut committed).await);
        fixture.partition.assign(
            ME,
            Assignment {
                leader: NodeId(2),
                leader_epoch: LeaderEpoch(4),
                partition_epoch: PartitionEpoch(4),
                replicas: vec![(ME, Some(BrokerEpoch(1))), (NodeId(2), Some(BrokerEpoch(2)))],
                isr: BTreeSet::from([NodeId(2)]),
                elr: BTreeSet::new(),
            },
        );
        let outcome = committed.await;
        assert!(matches!(outcome, Err(Error::NotLeader)), "{outcome:?}");
    }
    // Leading again does not make the old answer right: another record may be at the offset.
    fixture.lead(5);
    fixture.flusher.flush_waiting();
    let outcome = fixture.partition.committed(&appended, soon()).await;
    assert!(matches!(outcome, Err(Error::NotLeader)), "{outcome:?}");
}

#[tokio::test]
async fn trap_04_dedupe_a_duplicate_waits_until_the_original_is_durable() {
    let fixture = Fixture::led();
    let first = batch(Some((9, 0)), &["a", "b"]);
    let original = fixture.partition.append(first.clone(), Acks::All).expect("appended");
    let again = fixture.partition.append(first, Acks::All).expect("a duplicate is no error");
    assert!(again.duplicate);
    assert_eq!(
        (again.base_offset, again.last_offset),
        (original.base_offset, original.last_offset)
    );
    {
        let committed = fixture.partition.committed(&again, soon());
        tokio::pin!(committed);
        assert!(waits(&mut committed).await, "the original is not on disk yet");
        fixture.flusher.flush_waiting();
        committed.await.expect("committed with the original");
    }
    assert_eq!(fixture.offsets().log_end, Offset(2), "nothing was written twice");
}

#[tokio::test]
async fn trap_04_sequence_a_gap_is_refused_and_nothing_is_written() {
    let fixture = Fixture::led();
    fixture.partition.append(batch(Some((9, 0)), &["a"]), Acks::All).expect("appended");
    let gap = fixture.partition.append(batch(Some((9, 5)), &["b"]), Acks::All);
    let refused = matches!(gap, Err(Error::Append(AppendError::OutOfOrderSequence(_))));
    assert!(refused, "{gap:?}");
    assert_eq!(fixture.offsets().log_end, Offset(1));
}

#[tokio::test]
async fn trap_05_range_out_of_range_only_outside_of_the_log() {
    let fixture = Fixture::led();
    fixture.append(Acks::Leader, &["a", "b", "c"]).expect("appended");
    fixture.flusher.flush_waiting();
    fixture.append(Acks::Leader, &["d", "e"]).expect("appended, not flushed");
    assert_eq!(
        (fixture.offsets().high_watermark, fixture.offsets().log_end),
        (Offset(3), Offset(5))
    );
    for between in 3..=5 {
        let answer = fixture.read(between).expect("an empty success");
        assert!(answer.records.is_empty(), "nothing above the high watermark is shown");
    }
    for outside in [-1, 6, i64::MAX] {
        let error = fixture.read(outside).expect_err("outside");
        assert!(matches!(error, Error::OffsetOutOfRange { .. }), "{outside}: {error}");
    }
    fixture.partition.delete_records(Offset(2)).await.expect("deleted");
    assert!(matches!(fixture.read(1), Err(Error::OffsetOutOfRange { .. })));
    assert!(!fixture.read(2).expect("reads").records.is_empty());
}

#[tokio::test]
async fn trap_05_position_an_offset_inside_a_batch_returns_the_whole_batch() {
    let fixture = Fixture::led();
    fixture.append(Acks::Leader, &["a", "b", "c"]).expect("appended");
    fixture.flusher.flush_waiting();
    for offset in 0..3 {
        let answer = fixture.read(offset).expect("reads");
        let bytes = fixture.partition.load(answer.records).await.expect("loads");
        let (header, _) = BatchIter::new(&bytes).next().expect("one").expect("whole");
        assert_eq!((header.base_offset, header.last_offset()), (Offset(0), Offset(2)));
    }
}

#[tokio::test]
async fn trap_05_size_the_first_batch_comes_whole_and_later_ones_only_if_they_fit() {
    let fixture = Fixture::led();
    fixture.append(Acks::Leader, &["a"]).expect("appended");
    fixture.append(Acks::Leader, &["b"]).expect("appended");
    fixture.flusher.flush_waiting();
    let small = ReadRequest { bytes_max: 1, ..request(0) };
    let answer = fixture.partition.read(small).expect("reads");
    let bytes = fixture.partition.load(answer.records).await.expect("loads");
    assert_eq!(BatchIter::new(&bytes).count(), 1);
    let stingy = ReadRequest { at_least_one: false, ..small };
    let answer = fixture.partition.read(stingy).expect("reads");
    assert!(fixture.partition.load(answer.records).await.expect("loads").is_empty());
}

#[tokio::test]
async fn trap_05_epochs_older_is_fenced_and_newer_is_unknown() {
    let fixture = Fixture::led();
    let asked = |epoch| {
        let current_leader_epoch = LeaderEpoch(epoch);
        fixture.partition.read(ReadRequest { current_leader_epoch, ..request(0) })
    };
    assert!(matches!(asked(2), Err(Error::FencedEpoch)));
    assert!(matches!(asked(4), Err(Error::UnknownEpoch)));
    asked(3).expect("the current epoch");
    asked(-1).expect("no check");
    let end = |asked| fixture.partition.epoch_end_offset(NO_CHECK, LeaderEpoch(asked));
    fixture.append(Acks::Leader, &["a", "b"]).expect("appended");
    assert_eq!(end(3).expect("known"), (LeaderEpoch(3), Offset(2)));
    assert_eq!(end(9).expect("answered"), (LeaderEpoch::NONE, Offset::NONE));
    let fenced = fixture.partition.epoch_end_offset(LeaderEpoch(2), LeaderEpoch(2));
    assert!(matches!(fenced, Err(Error::FencedEpoch)));
}

#[tokio::test]
async fn trap_05_wait_watchers_wake_on_progress_and_on_a_change_of_leadership() {
    let fixture = Fixture::led();
    let wake = Arc::new(Notify::new());
    let guard = fixture.partition.watch(Arc::clone(&wake)).expect("room");
    let mut news = Box::pin(wake.notified());
    fixture.append(Acks::Leader, &["a"]).expect("appended");
    assert!(waits(&mut news).await, "an append alone shows nothing new");
    fixture.flusher.flush_waiting();
    assert!(!waits(&mut news).await, "the high watermark moved");
    fixture.partition.assign(
        ME,
        Assignment {
            leader: NodeId::NONE,
            leader_epoch: LeaderEpoch(4),
            partition_epoch: PartitionEpoch(4),
            replicas: vec![(ME, None)],
            isr: BTreeSet::new(),
            elr: BTreeSet::new(),
        },
    );
    let mut news = Box::pin(wake.notified());
    assert!(!waits(&mut news).await, "the leadership changed");
    drop(guard);
    fixture.lead(5);
    let mut news = Box::pin(wake.notified());
    assert!(waits(&mut news).await, "nobody watches any more");
}

/// The end of producer 9's transaction.
fn marker(kind: ControlKind) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.set_producer(ProducerId(9), ProducerEpoch(0), Sequence::NONE);
    builder.set_transactional(true);
    builder.set_control(true);
    let record = ControlRecord { kind, coordinator_epoch: 0 };
    builder.append(NOW, Some(&record.key()), Some(&record.value()), &[]);
    builder.build()
}

#[tokio::test]
async fn trap_05_read_committed_stops_at_the_last_stable_offset_and_lists_what_was_aborted() {
    let fixture = Fixture::led();
    fixture.append(Acks::Leader, &["a"]).expect("appended");
    let mut open = BatchBuilder::new(Compression::None);
    open.set_producer(ProducerId(9), ProducerEpoch(0), Sequence(0));
    open.set_transactional(true);
    open.append(NOW, None, Some(b"in doubt"), &[]);
    let as_coordinator =
        |batch| fixture.partition.append_from(batch, Acks::Leader, Origin::Coordinator);
    as_coordinator(open.build()).expect("appended");
    fixture.append(Acks::Leader, &["b"]).expect("appended");
    fixture.flusher.flush_waiting();
    let committed = |offset| {
        let isolation = Isolation::ReadCommitted;
        fixture.partition.read(ReadRequest { isolation, ..request(offset) }).expect("reads")
    };
    let latest = async |isolation| {
        let listed = fixture.partition.list_offset(OffsetSpec::Latest, isolation, NO_CHECK).await;
        listed.expect("listed").offset
    };
    let answer = committed(0);
    assert_eq!((answer.high_watermark, answer.last_stable_offset), (Offset(3), Offset(1)));
    assert!(committed(1).records.is_empty(), "in doubt until the transaction ends");
    assert_eq!(latest(Isolation::ReadCommitted).await, Offset(1));
    assert_eq!(latest(Isolation::ReadUncommitted).await, Offset(3));

    as_coordinator(marker(ControlKind::Abort)).expect("appended");
    fixture.flusher.flush_waiting();
    let answer = committed(0);
    assert_eq!(answer.last_stable_offset, Offset(4));
    assert_eq!(answer.aborted, Some(vec![(ProducerId(9), Offset(1))]));
    let uncommitted = fixture.read(0).expect("reads");
    assert_eq!(uncommitted.aborted, None, "null for those who read everything");
}

#[tokio::test]
async fn scenario_28_a_flipped_bit_is_found_on_read_and_never_served() {
    let before = Fixture::led();
    for value in ["a", "b", "c"] {
        before.append(Acks::Leader, &[value]).expect("appended");
    }
    let checkpoint = before.partition.close().expect("closes").expect("was open");
    let path = Path::new("/d/t-0/00000000000000000000.log");
    let length = before.disk.open(path, OpenMode::Read).expect("there").len().expect("known");
    // In the value of the second of three equal batches.
    before.disk.flip_bit(path, length / 3 * 2 - 2, 3);

    let after = Fixture::on(before.disk.clone(), Some(checkpoint.flushed));
    after.lead(4);
    after.flusher.flush_waiting();
    let first = after.read(0).expect("planned");
    let loaded = after.partition.load(first.records).await;
    if let Ok(bytes) = &loaded {
        assert_eq!(BatchIter::new(bytes).count(), 1, "nothing from the damage on");
    }
    let damaged = after.read(1).expect("planned");
    let loaded = after.partition.load(damaged.records).await;
    assert!(matches!(loaded, Err(Error::Corrupt(_))), "{loaded:?}");
    // The damage is one batch's: others are served, and writes go on.
    let third = after.read(2).expect("planned");
    assert!(!after.partition.load(third.records).await.expect("loads").is_empty());
    after.append(Acks::All, &["d"]).expect("appended");
}

#[tokio::test]
async fn trap_06_special_positions_of_an_empty_and_of_a_filled_log() {
    let fixture = Fixture::led();
    let listed = async |spec| {
        let partition = &fixture.partition;
        partition.list_offset(spec, Isolation::ReadUncommitted, NO_CHECK).await.expect("listed")
    };
    // An empty log: earliest and latest are the start, never -1.
    for spec in [OffsetSpec::Earliest, OffsetSpec::Latest, OffsetSpec::EarliestLocal] {
        let position = listed(spec).await;
        assert_eq!((position.offset, position.timestamp), (Offset(0), TimestampMs::NONE));
    }
    // Nothing found is -1 in every field.
    for spec in [
        OffsetSpec::MaxTimestamp,
        OffsetSpec::Timestamp(NOW),
        OffsetSpec::LatestTiered,
        OffsetSpec::EarliestPendingUpload,
    ] {
        assert_eq!(listed(spec).await, ListedOffset::NOTHING);
    }
    fixture.append(Acks::Leader, &["a", "b", "c"]).expect("appended");
    fixture.flusher.flush_waiting();
    fixture.append(Acks::Leader, &["not flushed"]).expect("appended");
    let latest = listed(OffsetSpec::Latest).await;
    assert_eq!((latest.offset, latest.leader_epoch), (Offset(3), LeaderEpoch(3)));
    // Exact to the record, and only among what consumers may see.
    let second = listed(OffsetSpec::Timestamp(TimestampMs(NOW.0 + 1))).await;
    assert_eq!((second.offset, second.timestamp), (Offset(1), TimestampMs(NOW.0 + 1)));
    assert_eq!(listed(OffsetSpec::MaxTimestamp).await.offset, Offset(2));
    let beyond = listed(OffsetSpec::Timestamp(TimestampMs(NOW.0 + 3))).await;
    assert_eq!(beyond, ListedOffset::NOTHING);
    assert_eq!(OffsetSpec::from_wire(-7), None);
}

#[tokio::test]
async fn trap_06_epoch_the_epoch_is_that_of_the_returned_offset() {
    let fixture = Fixture::led();
    fixture.append(Acks::Leader, &["a"]).expect("appended");
    fixture.lead(8);
    fixture.append(Acks::Leader, &["b"]).expect("appended");
    fixture.flusher.flush_waiting();
    let listed = async |spec| {
        let partition = &fixture.partition;
        partition.list_offset(spec, Isolation::ReadUncommitted, NO_CHECK).await.expect("listed")
    };
    assert_eq!(listed(OffsetSpec::Earliest).await.leader_epoch, LeaderEpoch(3));
    assert_eq!(listed(OffsetSpec::Timestamp(NOW)).await.leader_epoch, LeaderEpoch(3));
    assert_eq!(listed(OffsetSpec::Latest).await.leader_epoch, LeaderEpoch(8));
}

#[tokio::test]
async fn trap_06_linear_a_new_leader_gives_no_position_below_the_start_of_its_epoch() {
    let fixture = Fixture::led();
    fixture.append(Acks::Leader, &["a"]).expect("appended");
    // Elected anew before the flush: what an earlier leader showed may lie above our watermark.
    fixture.lead(4);
    let latest = fixture
        .partition
        .list_offset(OffsetSpec::Latest, Isolation::ReadCommitted, LeaderEpoch(4))
        .await;
    assert!(matches!(latest, Err(Error::OffsetNotAvailable)), "{latest:?}");
    fixture.flusher.flush_waiting();
    let latest = fixture
        .partition
        .list_offset(OffsetSpec::Latest, Isolation::ReadCommitted, LeaderEpoch(4))
        .await;
    assert_eq!(latest.expect("known now").offset, Offset(1));
}

#[tokio::test]
async fn trap_09_delete_records_up_to_the_high_watermark_and_no_further() {
    let fixture = Fixture::led();
    fixture.append(Acks::Leader, &["a", "b", "c", "d"]).expect("appended");
    fixture.flusher.flush_waiting();
    fixture.append(Acks::Leader, &["not flushed"]).expect("appended");
    let delete = async |upto| fixture.partition.delete_records(Offset(upto)).await;
    for above in [5, i64::MAX, -2] {
        let refused = delete(above).await;
        assert!(matches!(refused, Err(Error::OffsetOutOfRange { .. })), "{above}: {refused:?}");
    }
    assert_eq!(delete(2).await.expect("deleted"), Offset(2));
    assert_eq!(delete(1).await.expect("at or below the start is fine"), Offset(2));
    assert_eq!(delete(-1).await.expect("-1 is the high watermark"), Offset(4));
    assert_eq!(fixture.offsets().log_start, Offset(4));
    let heard = fixture.heard.0.lock().expect("not poisoned").join(",");
    assert_eq!(heard, "t-0 start moved,t-0 start moved");
}

#[tokio::test]
async fn write_caching_is_committed_without_a_flush_and_can_be_turned_off() {
    let fixture = Fixture::led();
    let config = LogConfig { write_caching: true, ..LogConfig::default() };
    fixture.partition.configure(config, Settings { write_caching: true, ..Settings::default() });
    let appended = fixture.append(Acks::All, &["a"]).expect("appended");
    fixture.partition.committed(&appended, soon()).await.expect("from the page cache");
    assert_eq!(fixture.offsets().flushed, Offset(0));
    fixture.partition.configure(LogConfig::default(), Settings::default());
    fixture.flusher.flush_waiting();
    assert_eq!(fixture.offsets().flushed, Offset(1));
    let appended = fixture.append(Acks::All, &["b"]).expect("appended");
    let committed = fixture.partition.committed(&appended, soon());
    tokio::pin!(committed);
    assert!(waits(&mut committed).await);
}

#[tokio::test]
async fn a_panic_under_the_lock_stops_this_replica_alone() {
    let fixture = Fixture::led();
    let partition = Arc::clone(&fixture.partition);
    let panicked = std::thread::spawn(move || {
        let _inner = partition.lock();
        panic!("on purpose");
    })
    .join();
    assert!(panicked.is_err());
    assert!(matches!(fixture.append(Acks::All, &["a"]), Err(Error::Storage(_))));
    assert!(!fixture.partition.is_leader());
}

#[tokio::test]
async fn closing_flushes_and_ends_the_waits() {
    let fixture = Fixture::led();
    let appended = fixture.append(Acks::All, &["a"]).expect("appended");
    {
        let committed = fixture.partition.committed(&appended, soon());
        tokio::pin!(committed);
        assert!(waits(&mut committed).await);
        let checkpoint = fixture.partition.close().expect("closes").expect("was open");
        assert_eq!(checkpoint.flushed, Offset(1));
        assert!(matches!(committed.await, Err(Error::NotLeader)));
    }
    assert!(fixture.partition.close().expect("twice is fine").is_none());
    assert!(matches!(fixture.read(0), Err(Error::NotLeader)));
}

#[tokio::test]
async fn the_table_finds_by_name_and_id_and_waits_for_newcomers() {
    let table = Arc::new(Table::new());
    let fixture = Fixture::led();
    let (name, id) = (fixture.partition.topic_partition().clone(), fixture.partition.topic_id());
    assert!(table.get(&name).is_none());
    {
        let found = table.wait_for(id, PartitionIndex(0), soon());
        tokio::pin!(found);
        assert!(waits(&mut found).await);
        assert!(table.insert(Arc::clone(&fixture.partition)).is_none());
        assert!(found.await.is_some());
    }
    assert!(table.get(&name).is_some() && table.by_id(id, PartitionIndex(0)).is_some());
    assert!(table.by_id(TopicId([8; 16]), PartitionIndex(0)).is_none());
    assert!(table.remove(TopicId([8; 16]), PartitionIndex(0)).is_none(), "another topic's id");
    assert!(table.remove(id, PartitionIndex(0)).is_some());
    assert!(table.is_empty());
}

#[test]
fn trap_03_acks_other_values_have_no_meaning() {
    assert_eq!(Acks::from_wire(-1), Some(Acks::All));
    assert_eq!(Acks::from_wire(1), Some(Acks::Leader));
    assert_eq!(Acks::from_wire(0), Some(Acks::None));
    for other in [-2, 2, i16::MAX, i16::MIN] {
        assert_eq!(Acks::from_wire(other), None);
    }
}

/// An error of a sync is told once. If the flush that gets it is not waited for, the sync of the
/// close finds nothing wrong, and the log counts as whole.
#[test]
fn a_close_waits_for_the_flush_under_way_and_fails_with_it() {
    let fixture = Fixture::led();
    fixture.append(Acks::Leader, &["a"]).expect("appended");
    let job = fixture.partition.start_flush().expect("there is something to flush");
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| fixture.partition.close());
        while !matches!(fixture.append(Acks::Leader, &["b"]), Err(Error::NotLeader)) {
            std::thread::yield_now();
        }
        fixture.partition.finish_flush(job, Err(io::Error::other("the disk is gone")));
        let error = closing.join().expect("no panic").expect_err("not whole");
        assert!(error.to_string().contains("the disk is gone"), "{error}");
    });
}
