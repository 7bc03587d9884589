//! Disks that tear, flip, lie and fill up.

use crate::trio::{ONE, THREE, TWO, Trio};
use purlin::env::disk::{Disk, OpenMode};
use purlin::env::disk_memory::OpKind;
use purlin::partition::{Error, Isolation, ReadRequest};
use purlin::types::{LeaderEpoch, NodeId, Offset};
use std::io;
use std::path::Path;

const SEGMENT: &str = "/d/t-0/00000000000000000000.log";

fn flip(trio: &mut Trio, id: NodeId, byte: u64) {
    trio.node(id).disk.flip_bit(Path::new(SEGMENT), byte, 3);
}

/// Reads from the disk: a restart has emptied the tail cache.
fn read_cold(trio: &Trio, id: NodeId) -> Result<(), Error> {
    let partition = trio.partition(id);
    let answer = partition.read_from_any(ReadRequest {
        offset: Offset(0),
        bytes_max: 1 << 20,
        at_least_one: true,
        isolation: Isolation::ReadUncommitted,
        current_leader_epoch: LeaderEpoch::NONE,
    })?;
    trio.block_on(partition.load(answer.records)).map(|_| ())
}

#[test]
fn scenario_27_a_torn_tail_is_cut_and_copied_again() {
    let mut trio = Trio::led();
    for value in ["a", "b", "c"] {
        trio.produce(ONE, value).expect("taken");
        trio.settle();
    }
    trio.checkpoint(TWO);
    let length = trio.node(TWO).disk.open(Path::new(SEGMENT), OpenMode::Read);
    let length = length.and_then(|file| file.len()).expect("there");
    trio.crash(TWO);
    let file = trio.node(TWO).disk.open(Path::new(SEGMENT), OpenMode::Write).expect("there");
    file.set_len(length - 5).expect("cut");
    file.sync_data().expect("synced");
    trio.start(TWO);
    // What was flushed is gone: the node must tell before this replica may lead.
    assert!(trio.running(TWO).report.lost_flushed);
    assert_eq!(trio.offsets(TWO).log_end, Offset(2));
    trio.elect(ONE, 1, &[ONE, THREE]);
    trio.settle();
    assert_eq!(trio.values(TWO), ["a", "b", "c"]);
}

#[test]
fn scenario_28_a_follower_cuts_what_is_damaged_once_it_cannot_be_elected_and_copies_it() {
    let mut trio = Trio::led();
    for value in ["a", "b", "c"] {
        trio.produce(ONE, value).expect("taken");
        trio.settle();
    }
    trio.checkpoint(TWO);
    trio.crash(TWO);
    flip(&mut trio, TWO, 64);
    trio.start(TWO);
    assert_eq!(trio.running(TWO).report.damaged_batches, 1);
    assert_eq!(trio.partition(TWO).damaged_from(), Some(Offset(0)));
    // Still in the ISR, as far as it knows: it cuts nothing, and asks from the damage on.
    trio.elect(ONE, 2, &[ONE, TWO, THREE]);
    trio.fetch(TWO);
    assert_eq!(trio.offsets(TWO).log_end, Offset(3));
    trio.settle();
    assert_eq!(trio.proposals(ONE), [vec![ONE, THREE]], "the leader can do without it");
    assert!(matches!(read_cold(&trio, TWO), Err(Error::Corrupt(_))));
    // Even a start that scans nothing knows.
    trio.crash(TWO);
    trio.start(TWO);
    assert_eq!(trio.partition(TWO).damaged_from(), Some(Offset(0)));
    trio.elect(ONE, 2, &[ONE, THREE]);
    trio.settle();
    assert_eq!(trio.partition(TWO).damaged_from(), None);
    assert_eq!(trio.values(TWO), ["a", "b", "c"]);
    assert_eq!(trio.proposals(ONE), [vec![ONE, TWO, THREE]]);
}

/// Two of three committed three records, and the second has damaged bytes that it can't be spared.
fn damaged_and_needed() -> Trio {
    let mut trio = Trio::led();
    trio.node(THREE).running = None;
    trio.elect(ONE, 1, &[ONE, TWO]);
    for value in ["a", "b", "c"] {
        trio.produce(ONE, value).expect("taken");
        trio.settle();
    }
    trio.checkpoint(TWO);
    trio.crash(TWO);
    flip(&mut trio, TWO, 64);
    trio.start(TWO);
    trio.elect(ONE, 1, &[ONE, TWO]);
    trio.settle();
    assert_eq!(trio.proposals(ONE), Vec::<Vec<NodeId>>::new());
    assert_eq!(trio.partition(TWO).damaged_from(), Some(Offset(0)));
    trio
}

/// The leader knows of a fetch at the full end, and asks for the follower's return the moment it
/// hears that the follower is out: the follower must not cut on the word of the metadata alone.
#[test]
fn scenario_28_nothing_is_cut_while_the_leader_may_be_asking_for_the_followers_return() {
    let mut trio = damaged_and_needed();
    trio.start(THREE);
    trio.elect(ONE, 1, &[ONE, TWO]);
    trio.settle();
    assert_eq!(trio.proposals(ONE), [vec![ONE, TWO, THREE]]);
    // The controller decides otherwise: by its count the second has been away for too long.
    trio.elect(ONE, 1, &[ONE, THREE]);
    assert_eq!(trio.proposals(ONE), [vec![ONE, TWO, THREE]]);
    assert_eq!(trio.offsets(TWO).log_end, Offset(3), "it may be in the ISR by now");
    trio.fetch(TWO);
    assert_eq!(trio.offsets(TWO).log_end, Offset(3));
    // It is; and now the leader can do without it.
    trio.elect(ONE, 1, &[ONE, TWO, THREE]);
    trio.settle();
    assert_eq!(trio.offsets(TWO).log_end, Offset(3));
    assert_eq!(trio.proposals(ONE), [vec![ONE, THREE]]);
    trio.elect(ONE, 1, &[ONE, THREE]);
    trio.settle();
    assert_eq!(trio.partition(TWO).damaged_from(), None);
    assert_eq!(trio.values(TWO), ["a", "b", "c"]);
    assert_eq!(trio.proposals(ONE), [vec![ONE, TWO, THREE]]);
}

/// With one in sync of two that are needed: first the damaged one leaves the ELR, then it cuts,
/// copies and comes back.
#[test]
fn scenario_28_a_damaged_member_of_the_elr_leaves_it_and_then_repairs_itself() {
    let mut trio = damaged_and_needed();
    trio.crash(TWO);
    trio.start(TWO);
    trio.elr = [TWO].into();
    trio.elect(ONE, 1, &[ONE]);
    trio.settle();
    assert_eq!(trio.offsets(TWO).log_end, Offset(3), "it may still be elected");
    let said = std::mem::take(&mut trio.running(ONE).ears.0.lock().expect("whole").proposals);
    let last = said.last().expect("a proposal");
    assert_eq!((last.isr.len(), &last.lost[..]), (1, &[TWO][..]));
    trio.elr.clear();
    trio.elect(ONE, 1, &[ONE]);
    trio.settle();
    assert_eq!(trio.partition(TWO).damaged_from(), None);
    assert_eq!(trio.values(TWO), ["a", "b", "c"]);
    assert_eq!(trio.proposals(ONE), [vec![ONE, TWO]]);
}

#[test]
fn scenario_28_a_leader_with_damaged_bytes_serves_none_and_yields() {
    let mut trio = Trio::led();
    for value in ["a", "b"] {
        trio.produce(ONE, value).expect("taken");
        trio.settle();
    }
    trio.checkpoint(ONE);
    trio.crash(ONE);
    trio.start(ONE);
    trio.elect(ONE, 2, &[ONE, TWO, THREE]);
    trio.settle();
    flip(&mut trio, ONE, 64);
    assert!(matches!(read_cold(&trio, ONE), Err(Error::Corrupt(_))));
    assert!(!trio.partition(ONE).is_leader());
    let failed = trio.running(ONE).ears.0.lock().expect("whole").failed.clone();
    assert_eq!(failed.len(), 1, "the node is told, so that another one leads");
    // After its restart it repairs itself.
    trio.crash(ONE);
    trio.elect(TWO, 3, &[TWO, THREE]);
    trio.start(ONE);
    trio.elect(TWO, 3, &[TWO, THREE]);
    trio.settle();
    assert_eq!(trio.values(ONE), ["a", "b"]);
}

/// The only copy of a record is not thrown away, and the others are still served.
#[test]
fn scenario_28_the_last_replica_keeps_what_it_has() {
    let mut trio = Trio::new();
    trio.settings.min_insync_replicas = 1;
    for id in [ONE, TWO, THREE] {
        trio.node(id).running = None;
    }
    trio.start(ONE);
    trio.elect(ONE, 1, &[ONE]);
    trio.produce(ONE, "a").expect("taken");
    trio.flush(ONE);
    trio.checkpoint(ONE);
    trio.crash(ONE);
    trio.start(ONE);
    trio.elect(ONE, 2, &[ONE]);
    flip(&mut trio, ONE, 64);
    assert!(matches!(read_cold(&trio, ONE), Err(Error::Corrupt(_))));
    assert!(trio.partition(ONE).is_leader());
    assert_eq!(trio.partition(ONE).damaged_from(), Some(Offset(0)));
}

#[test]
fn scenario_29_no_damaged_index_or_snapshot_keeps_a_replica_from_coming_back() {
    let mut trio = Trio::led();
    for number in 0..40 {
        trio.produce(ONE, &format!("value {number} of a log with several segments"))
            .expect("taken");
    }
    trio.settle();
    trio.checkpoint(TWO);
    trio.crash(TWO);
    let disk = trio.node(TWO).disk.clone();
    for entry in disk.list(Path::new("/d/t-0")).expect("there") {
        let name = entry.name.as_str();
        if name.ends_with(".index") || name.ends_with("timeindex") || name.ends_with(".snapshot") {
            let path = Path::new("/d/t-0").join(name);
            let file = disk.open(&path, OpenMode::CreateOrTruncate).expect("there");
            file.write_all_at(b"nonsense", 0).expect("written");
            file.sync_data().expect("synced");
        }
    }
    trio.start(TWO);
    trio.elect(TWO, 2, &[TWO, ONE, THREE]);
    trio.settle();
    assert_eq!(trio.values(TWO).len(), 40);
}

#[test]
fn scenario_30_a_torn_epoch_checkpoint_is_made_anew_from_the_batches() {
    let mut trio = Trio::led();
    trio.produce(ONE, "a").expect("taken");
    trio.settle();
    trio.elect(ONE, 2, &[ONE, TWO, THREE]);
    trio.produce(ONE, "b").expect("taken");
    trio.settle();
    trio.checkpoint(ONE);
    trio.crash(ONE);
    let path = Path::new("/d/t-0/leader-epoch-checkpoint");
    let file = trio.node(ONE).disk.open(path, OpenMode::CreateOrTruncate).expect("there");
    file.write_all_at(b"0\n2\n1 ", 0).expect("written");
    file.sync_data().expect("synced");
    trio.start(ONE);
    trio.elect(ONE, 4, &[ONE, TWO, THREE]);
    let ends = trio.partition(ONE).epoch_end_offset(LeaderEpoch::NONE, LeaderEpoch(1));
    assert_eq!(ends.expect("leads"), (LeaderEpoch(1), Offset(1)));
    trio.settle();
    assert_eq!(trio.values(THREE), ["a", "b"]);
}

#[test]
fn scenario_31_a_failed_sync_ends_the_replica_and_is_never_made_an_acknowledgement() {
    let mut trio = Trio::led();
    let appended = trio.produce(ONE, "a").expect("taken");
    let disk = trio.node(ONE).disk.clone();
    disk.fail(OpKind::SyncData, "t-0", 0, io::ErrorKind::Other);
    trio.settle();
    assert!(!trio.is_acknowledged(ONE, &appended));
    assert!(trio.partition(ONE).failure().is_some());
    assert!(!trio.partition(ONE).is_leader());
    assert!(matches!(trio.produce(ONE, "b"), Err(Error::Storage(_) | Error::NotLeader)));
    assert_eq!(trio.running(ONE).ears.0.lock().expect("whole").failed.len(), 1);
    // A follower's too: it stops, and the leader goes on without it once that is decided.
    let mut trio = Trio::led();
    let appended = trio.produce(ONE, "a").expect("taken");
    let disk = trio.node(TWO).disk.clone();
    disk.fail(OpKind::SyncData, "t-0", 0, io::ErrorKind::Other);
    trio.settle();
    assert!(trio.partition(TWO).failure().is_some());
    assert!(!trio.is_acknowledged(ONE, &appended));
    trio.elect(ONE, 1, &[ONE, THREE]);
    trio.settle();
    assert!(trio.is_acknowledged(ONE, &appended));
}

#[test]
fn scenario_32_a_follower_without_room_leaves_the_isr_and_comes_back_by_itself() {
    let mut trio = Trio::led();
    trio.produce(ONE, "a").expect("taken");
    trio.settle();
    let used = 2_000;
    trio.node(TWO).disk.set_capacity(used);
    let big = "x".repeat(800);
    for _ in 0..4 {
        trio.produce(ONE, &big).expect("taken");
    }
    trio.settle();
    assert!(trio.partition(TWO).failure().is_none(), "a full disk is no broken one");
    let stuck = trio.offsets(TWO).log_end;
    assert!(stuck < trio.offsets(ONE).log_end);
    trio.clock.advance(20_000);
    trio.partition(ONE).tick();
    assert_eq!(trio.proposals(ONE), [vec![ONE, THREE]]);
    trio.elect(ONE, 1, &[ONE, THREE]);
    trio.settle();
    assert_eq!(trio.values(ONE).len(), 5, "the others go on");
    trio.node(TWO).disk.set_capacity(1 << 30);
    for _ in 0..5 {
        trio.clock.advance(1_000);
        trio.settle();
    }
    assert_eq!(trio.values(TWO).len(), 5);
    assert_eq!(trio.proposals(ONE), [vec![ONE, TWO, THREE]]);
}
