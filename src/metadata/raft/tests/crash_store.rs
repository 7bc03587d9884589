//! Power cuts at every write and every sync of the log, the votes, the marks and the snapshots.
//!
//! The model holds what was answered, and what the operation that was cut off could have done. What
//! is found after the next boot must lie between the two, entry by entry.

use super::super::types::{Entry, LogId, Membership, SnapshotMeta, Vote};
use super::super::{LogStore, Room, Snapshots, make_dir};
use super::*;
use crate::env::disk_memory::MemoryDisk;
use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::{CommittedLeaderId, EntryPayload, RaftLogReader as _};
use std::collections::BTreeMap;

/// What one member of a group has promised to remember.
#[derive(Debug, Clone, Default)]
struct Model {
    vote: Option<Vote>,
    /// Entries by index, without those below the last purge.
    entries: BTreeMap<u64, Entry>,
    purged: Option<LogId>,
    /// Index that each snapshot reaches.
    snapshots: Vec<u64>,
    term: u64,
}

#[derive(Debug, Clone)]
enum Op {
    Vote,
    Append(u64),
    /// Takes the last so many entries away.
    Truncate(u64),
    /// A snapshot up to the last entry but so many, then a purge up to it.
    Compact(u64),
    /// A snapshot from elsewhere that reaches beyond the log.
    Install(u64),
    Checkpoint,
    /// A snapshot reaches beyond the log, because the power went before the log was cut. The engine
    /// cuts it first thing.
    Settle(LogId),
}

fn random_op(dice: &mut Dice) -> Op {
    match dice.below(16) {
        0..=1 => Op::Vote,
        2..=9 => Op::Append(1 + dice.below(4)),
        10..=11 => Op::Truncate(1 + dice.below(3)),
        12..=13 => Op::Compact(dice.below(4)),
        14 => Op::Install(1 + dice.below(5)),
        _ => Op::Checkpoint,
    }
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

impl Model {
    fn next_index(&self) -> u64 {
        let behind = self.purged.map_or(0, |log_id| log_id.index + 1);
        self.entries.last_key_value().map_or(behind, |(last, _)| last + 1)
    }

    fn log_id_at(&self, index: u64) -> LogId {
        self.entries.get(&index).map(|entry| entry.log_id).expect("the entry is there")
    }

    /// The model after an operation. One that does not fit the state does nothing.
    fn after(&self, op: &Op) -> Self {
        let mut next = self.clone();
        match op {
            Op::Vote => {
                next.term += 1;
                next.vote = Some(Vote::new(next.term, 1));
            }
            Op::Append(count) => {
                for _ in 0..*count {
                    let at = next.next_index();
                    let entry =
                        Entry { log_id: log_id(next.term, at), payload: EntryPayload::Blank };
                    next.entries.insert(at, entry);
                }
            }
            Op::Truncate(count) => {
                // What a snapshot covers was committed, and is never truncated. A new term writes
                // other entries in the same places.
                let covered = next.snapshots.iter().max().map_or(0, |index| index + 1);
                let first_gone = next.next_index().saturating_sub(*count).max(covered);
                next.entries.split_off(&first_gone);
            }
            Op::Compact(kept) => {
                let Some(upto) = self.compact_upto(*kept) else { return next };
                next.purged = Some(self.log_id_at(upto));
                next.entries = next.entries.split_off(&(upto + 1));
                next.snapshots.push(upto);
            }
            Op::Install(ahead) => {
                let upto = self.next_index() + ahead;
                next.purged = Some(log_id(next.term, upto));
                next.entries.clear();
                next.snapshots.push(upto);
            }
            Op::Settle(upto) => {
                next.purged = Some(*upto);
                next.entries.clear();
            }
            Op::Checkpoint => {}
        }
        next
    }

    fn compact_upto(&self, kept: u64) -> Option<u64> {
        let upto = self.next_index().checked_sub(1 + kept)?;
        self.entries.contains_key(&upto).then_some(upto)
    }
}

struct Store {
    log: LogStore,
    snapshots: Arc<Snapshots>,
    purged_on_disk: Option<LogId>,
}

fn open_store(disk: &MemoryDisk) -> Result<Store, super::super::Error> {
    let dir = Path::new("/data/metadata");
    let snapshot_dir = dir.join("snapshots");
    make_dir(disk, dir)?;
    make_dir(disk, &snapshot_dir)?;
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let opened = Snapshots::open(Arc::clone(&disk), snapshot_dir.clone());
    let (snapshots, _) = opened.map_err(super::super::Error::io(&snapshot_dir))?;
    let snapshots = Arc::new(snapshots);
    let clock = Arc::new(SystemClock);
    let (log, opened, _) =
        LogStore::open(disk, dir.to_owned(), clock, Arc::clone(&snapshots), Room::new())?;
    Ok(Store { log, snapshots, purged_on_disk: opened.purged })
}

fn meta(last: LogId) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(last),
        last_membership: Membership::default(),
        snapshot_id: last.to_string(),
    }
}

/// Does what the model says. An error means that the power is gone.
async fn run(store: &mut Store, before: &Model, op: &Op) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let after = before.after(op);
    match op {
        Op::Vote => {
            let vote = after.vote.expect("there is one now");
            store.log.save_vote(&vote).await.map_err(|e| text(&e))
        }
        Op::Append(_) => {
            let new: Vec<Entry> =
                after.entries.range(before.next_index()..).map(|(_, e)| e.clone()).collect();
            store.log.blocking_append(new).await.map_err(|e| text(&e))
        }
        Op::Truncate(_) => match before.entries.range(after.next_index()..).next() {
            Some((_, first)) => store.log.truncate(first.log_id).await.map_err(|e| text(&e)),
            None => Ok(()),
        },
        Op::Compact(kept) => {
            let Some(upto) = before.compact_upto(*kept) else { return Ok(()) };
            let last = before.log_id_at(upto);
            store.snapshots.save(&meta(last), b"state").map_err(|e| text(&e))?;
            store.log.purge(last).await.map_err(|e| text(&e))
        }
        Op::Install(_) => {
            let last = after.purged.expect("there is one now");
            store.snapshots.save(&meta(last), b"state").map_err(|e| text(&e))?;
            store.log.purge(last).await.map_err(|e| text(&e))
        }
        Op::Settle(upto) => store.log.purge(*upto).await.map_err(|e| text(&e)),
        Op::Checkpoint => store.log.checkpoint().await.map_err(|e| text(&e)),
    }
}

/// What a reopened store holds, in the model's terms; `everything` ever written decides what may
/// lie below the model's purge.
async fn check(store: &mut Store, before: &Model, after: &Model, everything: &[Entry]) -> Model {
    let vote = store.log.read_vote().await.expect("readable");
    assert!(vote == before.vote || vote == after.vote, "an answered vote was lost: {vote:?}");
    let state = store.log.get_log_state().await.expect("readable");
    let found = store.log.try_get_log_entries(..).await.expect("readable");
    let first = state.last_purged_log_id.map_or(0, |log_id| log_id.index + 1);
    let indexes: Vec<u64> = found.iter().map(|entry| entry.log_id.index).collect();
    let expected: Vec<u64> = (first..).take(found.len()).collect();
    assert_eq!(indexes, expected, "no holes");
    assert_eq!(state.last_log_id, found.last().map(|e| e.log_id).or(state.last_purged_log_id));
    let purges = [before.purged, after.purged, store.purged_on_disk];
    assert!(purges.contains(&state.last_purged_log_id), "{:?}", state.last_purged_log_id);
    let most = before.purged.max(after.purged);
    assert!(state.last_purged_log_id <= most, "more was purged than anybody asked for");
    // The log begins no later than behind the oldest snapshot that is kept.
    if let Some(oldest) = store.snapshots.oldest_log_id() {
        assert!(state.last_purged_log_id <= Some(oldest).max(after.purged), "{oldest}");
    }
    assert!(
        store.snapshots.newest_meta().and_then(|meta| meta.last_log_id) >= state.last_purged_log_id,
        "the log is cut only behind a durable snapshot"
    );
    let mut entries = BTreeMap::new();
    for entry in found {
        assert!(everything.contains(&entry), "{entry:?} was never written");
        entries.insert(entry.log_id.index, entry);
    }
    for (index, entry) in &before.entries {
        let kept = after.entries.get(index) == Some(entry);
        let above_purge = Some(entry.log_id) > after.purged;
        if kept && above_purge {
            assert_eq!(entries.get(index), Some(entry), "an answered entry was lost");
        }
        if let Some(found) = entries.get(index) {
            let other = after.entries.get(index);
            assert!(found == entry || Some(found) == other, "{found:?} took another's place");
        }
    }
    let last = entries.last_key_value().map(|(index, _)| *index);
    let limit = before.next_index().max(after.next_index());
    assert!(last.is_none_or(|last| last < limit), "entries that nobody wrote");
    let mut snapshots = before.snapshots.clone();
    snapshots.extend(store.snapshots.newest_meta().and_then(|meta| Some(meta.last_log_id?.index)));
    // Entries of a term come after a vote in it.
    let term = vote.map_or(0, |_| before.term.max(after.term));
    Model { vote, entries, purged: state.last_purged_log_id, snapshots, term }
}

/// Runs random operations until the power goes at the `cut`-th change from now (or `ops` are
/// done), boots, checks, and goes on from what was found. Gives how many changes it took.
async fn live_and_die(
    disk: &MemoryDisk,
    model: &mut Model,
    everything: &mut Vec<Entry>,
    dice: &mut Dice,
    cut: Option<u64>,
    ops: usize,
) {
    if let Some(cut) = cut {
        disk.cut_power_at(disk.changes() + cut);
    }
    let mut after = model.clone();
    // Also opening can be cut off.
    if let Ok(mut store) = open_store(disk) {
        let newest = store.snapshots.newest_meta().and_then(|meta| meta.last_log_id);
        let ahead = newest.filter(|newest| newest.index >= model.next_index());
        let settle = ahead.into_iter().map(Op::Settle);
        let random = (0..ops).map(|_| random_op(dice)).collect::<Vec<_>>();
        for op in settle.chain(random) {
            after = model.after(&op);
            everything.extend(after.entries.range(model.next_index()..).map(|(_, e)| e.clone()));
            if run(&mut store, model, &op).await.is_err() {
                break;
            }
            *model = after.clone();
        }
    }
    disk.crash(dice.next());
    let mut store = open_store(disk).expect("what a power cut leaves always opens");
    *model = check(&mut store, model, &after, everything).await;
}

#[tokio::test]
async fn nothing_answered_is_lost_whatever_write_or_sync_the_power_cut_hits() {
    const NAME: &str = "nothing_answered_is_lost_whatever_write_or_sync";
    for seed in seeds(6) {
        let _say = SaySeed(seed, NAME);
        // Once without a cut, to count the changes; then with a cut at each of them.
        let whole = MemoryDisk::new();
        let (mut model, mut everything) = (Model::default(), Vec::new());
        live_and_die(&whole, &mut model, &mut everything, &mut Dice(seed), None, 40).await;
        for cut in 0..whole.changes() {
            let disk = MemoryDisk::new();
            let (mut model, mut everything) = (Model::default(), Vec::new());
            let mut dice = Dice(seed);
            live_and_die(&disk, &mut model, &mut everything, &mut dice, Some(cut), 40).await;
        }
    }
}

#[tokio::test]
async fn nothing_answered_is_lost_over_many_lives() {
    const NAME: &str = "nothing_answered_is_lost_over_many_lives";
    for seed in seeds(60) {
        let _say = SaySeed(seed, NAME);
        let disk = MemoryDisk::new();
        let (mut model, mut everything) = (Model::default(), Vec::new());
        let mut dice = Dice(seed);
        for _ in 0..60 {
            let cut = dice.below(120);
            live_and_die(&disk, &mut model, &mut everything, &mut dice, Some(cut), 40).await;
        }
    }
}

#[tokio::test]
async fn the_log_reaches_back_to_the_oldest_snapshot_that_is_kept() {
    let disk = MemoryDisk::new();
    let mut store = open_store(&disk).expect("opens");
    let mut model = Model::default();
    for op in [Op::Append(4), Op::Compact(0)].iter().cycle().take(10) {
        run(&mut store, &model, op).await.expect("runs");
        model = model.after(op);
    }
    let told = store.log.get_log_state().await.expect("readable");
    assert_eq!(told.last_purged_log_id, model.purged, "the engine is told what it asked for");
    drop(store);
    let mut store = open_store(&disk).expect("opens");
    let oldest = store.snapshots.oldest_log_id().expect("there are some");
    assert_eq!(store.purged_on_disk, Some(oldest));
    let entries = store.log.try_get_log_entries(..).await.expect("readable");
    let indexes: Vec<u64> = entries.iter().map(|entry| entry.log_id.index).collect();
    assert_eq!(indexes, (oldest.index + 1..20).collect::<Vec<u64>>());
}

#[tokio::test]
async fn an_entry_that_was_durable_and_is_damaged_stops_the_node() {
    let disk = MemoryDisk::new();
    let mut store = open_store(&disk).expect("opens");
    let mut model = Model::default();
    for op in [Op::Vote, Op::Append(3), Op::Append(3), Op::Checkpoint] {
        run(&mut store, &model, &op).await.expect("runs");
        model = model.after(&op);
    }
    drop(store);
    let segment = Path::new("/data/metadata/log/00000000000000000000.log");
    disk.fork().flip_bit(segment, 90, 3);
    assert!(open_store(&disk).is_ok());
    disk.flip_bit(segment, 90, 3);
    assert!(matches!(open_store(&disk), Err(super::super::Error::Damaged(_))));
}

#[tokio::test]
async fn a_damaged_vote_stops_the_node() {
    let disk = MemoryDisk::new();
    let mut store = open_store(&disk).expect("opens");
    run(&mut store, &Model::default(), &Op::Vote).await.expect("runs");
    drop(store);
    disk.flip_bit(Path::new("/data/metadata/vote"), 22, 0);
    let error = open_store(&disk).err().expect("refused").to_string();
    assert!(error.contains("vote is damaged"), "{error}");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_answered_with_success_any_more() {
    let disk = MemoryDisk::new();
    let mut store = open_store(&disk).expect("opens");
    let model = Model::default();
    run(&mut store, &model, &Op::Append(1)).await.expect("runs");
    let model = model.after(&Op::Append(1));
    disk.fail(crate::env::disk_memory::OpKind::SyncData, "/log/", 0, std::io::ErrorKind::Other);
    assert!(run(&mut store, &model, &Op::Append(1)).await.is_err());
    let model = model.after(&Op::Append(1));
    assert!(run(&mut store, &model, &Op::Append(1)).await.is_err(), "and never again");
}
