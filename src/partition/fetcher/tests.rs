//! Scripts of the fetcher core, with answers made up by the test.

use super::*;
use crate::env::clock::ManualClock;
use crate::env::disk::Disk;
use crate::env::disk_memory::MemoryDisk;
use crate::limits::{REPLICA_BACKOFF_MS_MIN, REPLICA_FETCH_WAIT_MS};
use crate::log::flush::Flusher;
use crate::log::{LogConfig, OpenHints};
use crate::partition::{Assignment, Notices, OpenOptions, Partition};
use crate::replica::{FlushReport, IsrProposal, Settings};
use crate::rpc::replica::{FetchResponse, Fetched, FetchedPartition, ReplicaError};
use crate::types::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, TimestampMs, TopicId,
    TopicName, TopicPartition,
};
use std::path::Path;
use std::sync::{Arc, Mutex};

const ME: NodeId = NodeId(2);
const LEADER: NodeId = NodeId(1);
const TOPIC: TopicId = TopicId([4; 16]);
const EPOCH: LeaderEpoch = LeaderEpoch(3);

#[derive(Debug)]
struct Nobody;

impl Notices for Nobody {
    fn isr_wanted(&self, _: &TopicPartition, _: TopicId, _: IsrProposal) {}
    fn storage_failed(&self, _: &TopicPartition, _: TopicId, _: &str) {}
    fn log_start_moved(&self, _: &TopicPartition) {}
}

/// An empty partition that follows the leader.
fn follower(index: i32) -> Arc<Partition> {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let options = OpenOptions {
        name: TopicPartition::new(TopicName::new("t").expect("valid"), PartitionIndex(index)),
        topic_id: TOPIC,
        node: ME,
        dir: "/d/t".into(),
        flusher: Flusher::manual(Arc::clone(&disk), Path::new("/d")),
        disk,
        config: LogConfig::default(),
        settings: Settings::default(),
        hints: OpenHints::default(),
        high_watermark: Offset::ZERO,
        clock: Arc::new(ManualClock::at(TimestampMs(0))),
        notices: Arc::new(Nobody),
    };
    let (partition, _) = Partition::open(options).expect("opens");
    let assignment = Assignment {
        leader: LEADER,
        leader_epoch: EPOCH,
        partition_epoch: PartitionEpoch(0),
        replicas: vec![(LEADER, Some(BrokerEpoch(1))), (ME, Some(BrokerEpoch(2)))],
        isr: [LEADER].into(),
        elr: [].into(),
    };
    partition.assign(ME, assignment);
    partition
}

fn core(partitions: i32) -> Core {
    let throttle = Arc::new(Mutex::new(Throttle::new(1_000, 0)));
    let mut core = Core::new(Options::new(ME, BrokerEpoch(2), LEADER, throttle));
    for index in 0..partitions {
        core.add(follower(index), EPOCH);
    }
    core
}

fn answer(sent: &Sent, outcomes: Vec<(i32, Result<Fetched, ReplicaError>)>) -> FetchResponse {
    let partitions = outcomes.into_iter().map(|(index, outcome)| FetchedPartition {
        topic_id: TOPIC,
        partition: PartitionIndex(index),
        outcome,
    });
    FetchResponse {
        error: None,
        session_id: 77,
        session_epoch: sent.request.session_epoch,
        partitions: partitions.collect(),
        records: Vec::new(),
    }
}

fn nothing(high_watermark: i64) -> Result<Fetched, ReplicaError> {
    let (high_watermark, log_start) = (Offset(high_watermark), Offset(0));
    Ok(Fetched { high_watermark, log_start, record_bytes: 0, diverging: None, spared_above: None })
}

fn named(sent: &Sent) -> Vec<i32> {
    sent.request.partitions.iter().map(|partition| partition.partition.0).collect()
}

#[test]
fn a_session_names_everything_once_and_then_only_what_changed() {
    let mut core = core(3);
    let first = core.next_request(0).expect("something to ask");
    assert_eq!((first.request.session_id, first.request.session_epoch), (0, 0));
    assert_eq!(named(&first), [0, 1, 2]);
    assert_eq!(core.next_request(0), None, "the session is not confirmed yet");
    core.on_response(1, first.id, answer(&first, vec![(1, nothing(0))]));
    let second = core.next_request(1).expect("waits at the leader");
    assert_eq!((second.request.session_id, second.request.session_epoch), (77, 1));
    assert_eq!(named(&second), [] as [i32; 0]);
    assert_eq!(second.request.wait_ms_max, REPLICA_FETCH_WAIT_MS);
    // A new partition does not wait for the one that waits.
    core.add(follower(9), EPOCH);
    let third = core.next_request(2).expect("a second request");
    assert_eq!((named(&third), third.request.session_epoch), (vec![9], 2));
    core.remove(TOPIC, PartitionIndex(0));
    core.add(follower(10), EPOCH);
    assert_eq!(core.next_request(3), None, "two are enough");
    core.on_response(3, second.id, answer(&second, Vec::new()));
    let fourth = core.next_request(3).expect("room again");
    assert_eq!(named(&fourth), [10]);
    assert_eq!(fourth.request.forgotten, [(TOPIC, PartitionIndex(0))]);
}

/// An answer that waited for the disk comes after the partition was named anew, by a request whose
/// answer was quicker. What it says is about the older position: here, where to begin.
#[test]
fn an_answer_that_was_overtaken_changes_nothing() {
    let (mut core, partition) = (core(0), follower(0));
    core.add(Arc::clone(&partition), EPOCH);
    let first = core.next_request(0).expect("asks");
    core.on_response(0, first.id, answer(&first, Vec::new()));
    let flushed = |core: &mut Core| {
        let report = FlushReport {
            leader: LEADER,
            leader_epoch: EPOCH,
            end: Offset(0),
            flushed: Offset(0),
            agreed: false,
        };
        core.flushed(TOPIC, PartitionIndex(0), report);
    };
    flushed(&mut core);
    let slow = core.next_request(1).expect("names it");
    assert_eq!(named(&slow), [0]);
    flushed(&mut core);
    let quick = core.next_request(2).expect("names it again");
    assert_eq!(named(&quick), [0]);
    core.on_response(3, quick.id, answer(&quick, vec![(0, nothing(0))]));
    let elsewhere = Err(ReplicaError::OffsetOutOfRange { start: Offset(50), end: Offset(60) });
    let end = || partition.fetch_position().expect("follows").end;
    core.on_response(4, slow.id, answer(&slow, vec![(0, elsewhere.clone())]));
    assert_eq!(end(), Offset(0), "it was about the first position");
    flushed(&mut core);
    let now = core.next_request(5).expect("names it");
    core.on_response(6, now.id, answer(&now, vec![(0, elsewhere)]));
    assert_eq!(end(), Offset(50), "the same answer in its turn");
}

#[test]
fn after_an_unknown_result_everything_is_named_again_and_late_answers_change_nothing() {
    let mut core = core(2);
    let first = core.next_request(0).expect("asks");
    core.on_response(0, first.id, answer(&first, Vec::new()));
    let second = core.next_request(0).expect("asks");
    core.on_failure(0, second.id);
    assert_eq!(core.next_request(0), None, "not in circles");
    assert_eq!(core.wakes_at_ms(), Some(REPLICA_BACKOFF_MS_MIN));
    let again = core.next_request(REPLICA_BACKOFF_MS_MIN).expect("asks again");
    assert_eq!((again.request.session_id, named(&again)), (0, vec![0, 1]));
    core.on_response(20, second.id, answer(&second, vec![(0, nothing(5))]));
    assert_eq!(core.behind_count(), 0, "of a session that is over");
    // The leader forgot the session: right after a failure that is met with patience.
    core.on_response(20, again.id, FetchResponse::refused(ReplicaError::SessionNotFound));
    assert_eq!(core.next_request(20), None);
    assert_eq!(core.wakes_at_ms(), Some(20 + 2 * REPLICA_BACKOFF_MS_MIN));
    let fresh = core.next_request(20 + 2 * REPLICA_BACKOFF_MS_MIN).expect("asks again");
    assert_eq!(named(&fresh), [0, 1]);
}

#[test]
fn what_is_refused_rests_and_leaves_the_session_meanwhile() {
    let mut core = core(2);
    let first = core.next_request(0).expect("asks");
    let refused = vec![(0, Err(ReplicaError::NotLeader)), (1, nothing(0))];
    core.on_response(0, first.id, answer(&first, refused));
    let second = core.next_request(0).expect("asks for the other");
    assert_eq!(second.request.forgotten, [(TOPIC, PartitionIndex(0))]);
    assert_eq!(i64::from(second.request.wait_ms_max), REPLICA_BACKOFF_MS_MIN, "until it may ask");
    let third = core.next_request(REPLICA_BACKOFF_MS_MIN).expect("its rest is over");
    assert_eq!(named(&third), [0]);
    // Told to say it again, it does so at once.
    core.on_response(11, third.id, answer(&third, vec![(0, Err(ReplicaError::NameAgain))]));
    assert_eq!(named(&core.next_request(11).expect("at once")), [0]);
}

#[test]
fn a_partition_that_is_behind_waits_for_the_throttle() {
    let throttle = Arc::new(Mutex::new(Throttle::new(1_000, 0)));
    let options = Options::new(ME, BrokerEpoch(2), LEADER, Arc::clone(&throttle));
    let mut core = Core::new(options);
    core.add(follower(0), EPOCH);
    core.add(follower(1), EPOCH);
    let first = core.next_request(0).expect("asks");
    // The leader has committed more than is here, and sent nothing for lack of room.
    core.on_response(0, first.id, answer(&first, vec![(0, nothing(50)), (1, nothing(0))]));
    assert_eq!(core.behind_count(), 1);
    throttle.lock().expect("whole").spend(3_000, 0);
    let second = core.next_request(0).expect("for the other");
    assert_eq!(named(&second), [] as [i32; 0]);
    assert_eq!(second.request.forgotten, [(TOPIC, PartitionIndex(0))]);
    assert_eq!(core.next_request(1_000), None);
    assert_eq!(named(&core.next_request(2_100).expect("the bucket is open")), [0]);
}

#[test]
fn a_report_that_was_not_taken_is_said_again_by_a_fetch() {
    let mut core = core(2);
    let first = core.next_request(0).expect("asks");
    core.on_response(0, first.id, answer(&first, Vec::new()));
    let waiting = core.next_request(0).expect("waits");
    assert_eq!(named(&waiting), [] as [i32; 0]);
    let report = |agreed| FlushReport {
        leader: LEADER,
        leader_epoch: EPOCH,
        end: Offset(0),
        flushed: Offset(0),
        agreed,
    };
    assert_eq!(core.flush_report(), None);
    core.flushed(TOPIC, PartitionIndex(0), report(true));
    core.flushed(TOPIC, PartitionIndex(0), report(true));
    let told = core.flush_report().expect("one entry a partition");
    assert_eq!(told.partitions.len(), 1);
    core.on_report(&told, None);
    assert_eq!(named(&core.next_request(1).expect("at once")), [0]);
    // Before the leader has said that the logs agree, only a fetch may say it.
    core.on_response(2, waiting.id, answer(&waiting, Vec::new()));
    core.flushed(TOPIC, PartitionIndex(1), report(false));
    assert_eq!(core.flush_report(), None);
    assert_eq!(named(&core.next_request(2).expect("by a fetch")), [1]);
    // Of an old epoch it is nobody's business.
    let old = FlushReport { leader_epoch: LeaderEpoch(2), ..report(true) };
    core.flushed(TOPIC, PartitionIndex(1), old);
    assert_eq!(core.flush_report(), None);
}

#[test]
fn a_new_registration_begins_anew() {
    let mut core = core(1);
    let first = core.next_request(0).expect("asks");
    core.on_response(0, first.id, answer(&first, Vec::new()));
    core.set_broker_epoch(BrokerEpoch(9));
    let next = core.next_request(0).expect("asks");
    assert_eq!((next.request.session_id, next.request.broker_epoch), (0, BrokerEpoch(9)));
    assert_eq!(named(&next), [0]);
}
