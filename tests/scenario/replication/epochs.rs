//! Truncation by leader epoch, and what old epochs may not do.

use crate::trio::{ONE, THREE, TOPIC, TWO, Trio};
use purlin::partition::{LeaderAnswer, Took};
use purlin::replica::FetchClaim;
use purlin::rpc::replica::ReplicaError;
use purlin::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId};

/// Appends to a leader that nobody follows, on disk.
fn write(trio: &mut Trio, id: NodeId, epoch: i32, values: &[&str]) {
    trio.tell(id, id, epoch, &[ONE, TWO, THREE]);
    for value in values {
        trio.produce(id, value).expect("taken");
    }
    trio.flush(id);
}

/// KIP-279: logs that each saw epochs which the other did not.
#[test]
fn scenario_03_fast_elections_converge_by_asking_again_and_again() {
    // By epoch, what the one and the other wrote, alone, after a common beginning.
    type Wrote<'a> = &'a [(i32, &'a [&'a str])];
    let cases: &[(Wrote<'_>, Wrote<'_>)] = &[
        // The leader lacks the follower's epoch.
        (&[(5, &["x"])], &[(3, &["y", "z"]), (4, &["w"])]),
        (&[(3, &["x", "y"]), (6, &["z"])], &[(4, &["u"]), (5, &["v", "w"])]),
        (&[(2, &["a"]), (4, &["b"]), (6, &["c"])], &[(3, &["d"]), (5, &["e", "f"])]),
        // The follower is longer, shorter, or as long.
        (&[(2, &["a"])], &[(3, &["d", "e", "f", "g"])]),
        (&[(3, &["d", "e", "f", "g"])], &[(2, &["a"])]),
        (&[(3, &["d"])], &[(2, &["a"])]),
        // One has nothing of its own.
        (&[(2, &["a", "b"])], &[]),
        (&[], &[(2, &["a", "b"])]),
    ];
    for (number, (leaders, followers)) in cases.iter().enumerate() {
        let mut trio = Trio::led();
        trio.produce(ONE, "common").expect("taken");
        trio.settle();
        for (epoch, values) in *leaders {
            write(&mut trio, ONE, *epoch, values);
        }
        for (epoch, values) in *followers {
            write(&mut trio, TWO, *epoch, values);
        }
        trio.elect(ONE, 9, &[ONE, THREE]);
        trio.settle();
        let expected: Vec<&str> = std::iter::once("common")
            .chain(leaders.iter().flat_map(|(_, values)| values.iter().copied()))
            .collect();
        assert_eq!(trio.values(ONE), expected, "case {number}");
        assert_eq!(trio.values(TWO), expected, "case {number}");
        let ends = (trio.offsets(TWO).log_end, trio.offsets(ONE).log_end);
        assert_eq!(ends.0, ends.1, "case {number}");
        let newest = trio.partition(TWO).fetch_position().expect("follows").last_epoch;
        trio.produce(ONE, "next").expect("taken");
        trio.settle();
        assert!(newest <= LeaderEpoch(9));
        let newest = trio.partition(TWO).fetch_position().expect("follows").last_epoch;
        assert_eq!(newest, LeaderEpoch(9), "case {number}");
    }
}

#[test]
fn scenario_04_an_election_without_a_write_leaves_its_epoch_and_a_cut_at_the_end_takes_it_back() {
    let mut trio = Trio::led();
    trio.produce(ONE, "a").expect("taken");
    trio.settle();
    let epochs = |trio: &Trio, id| {
        let partition = trio.partition(id);
        partition.epoch_end_offset(LeaderEpoch::NONE, LeaderEpoch(1)).expect("leads")
    };
    trio.elect(TWO, 2, &[ONE, TWO, THREE]);
    assert_eq!(epochs(&trio, TWO), (LeaderEpoch(1), Offset(1)), "epoch 2 begins at 1");
    // Nothing was written in epoch 2. Its entry must not make the next leader's records its own.
    trio.elect(ONE, 3, &[ONE, TWO, THREE]);
    trio.settle();
    let position = trio.partition(TWO).fetch_position().expect("follows");
    assert_eq!(position.last_epoch, LeaderEpoch(1), "the entry of epoch 2 is gone");
    trio.produce(ONE, "b").expect("taken");
    trio.settle();
    assert_eq!(trio.values(TWO), ["a", "b"]);
    assert_eq!(trio.partition(TWO).fetch_position().expect("follows").last_epoch, LeaderEpoch(3));
}

#[test]
fn scenario_05_a_leader_that_lags_says_so_and_nobody_cuts_on_a_stale_answer() {
    let mut trio = Trio::led();
    trio.produce(ONE, "a").expect("taken");
    trio.settle();
    // The follower is in epoch 2, the leader still in 1.
    trio.tell(TWO, ONE, 2, &[ONE, TWO, THREE]);
    let sent = trio.ask(TWO).expect("it fetches");
    let response = trio.answer(TWO, ONE, &sent);
    assert_eq!(
        response.partitions.first().expect("answered").outcome,
        Err(ReplicaError::UnknownLeaderEpoch)
    );
    trio.take(TWO, &sent, response);
    // And the other way round.
    trio.tell(ONE, ONE, 3, &[ONE, TWO, THREE]);
    trio.clock.advance(1_000);
    let sent = trio.ask(TWO).expect("it fetches");
    let response = trio.answer(TWO, ONE, &sent);
    assert_eq!(
        response.partitions.first().expect("answered").outcome,
        Err(ReplicaError::FencedLeaderEpoch)
    );
    trio.take(TWO, &sent, response);
    // An answer that was on its way while the role changed cuts nothing.
    let stale =
        LeaderAnswer::Diverging { epoch: LeaderEpoch(0), end: Offset(0), log_start: Offset(0) };
    let took = trio.partition(TWO).append_from_leader(LeaderEpoch(1), Offset(1), stale.clone());
    assert_eq!(took.expect("nothing happened"), Took::Stale);
    let took = trio.partition(TWO).append_from_leader(LeaderEpoch(2), Offset(0), stale);
    assert_eq!(took.expect("nothing happened"), Took::Stale, "asked from another end");
    assert_eq!(trio.offsets(TWO).log_end, Offset(1));
}

#[test]
fn scenario_06_a_fetch_of_an_old_epoch_counts_for_nothing() {
    let mut trio = Trio::led();
    let old = {
        trio.produce(ONE, "a").expect("taken");
        for id in [TWO, THREE] {
            trio.fetch(id);
        }
        trio.ask(TWO).expect("it fetches")
    };
    trio.tell(ONE, ONE, 2, &[ONE, TWO, THREE]);
    trio.flush(ONE);
    let response = trio.answer(TWO, ONE, &old);
    assert!(response.partitions.iter().all(|partition| partition.outcome.is_err()));
    let partition = trio.partition(ONE);
    assert_eq!(partition.offsets().expect("open").high_watermark, Offset(0));
    // Nor does one of an old registration.
    let fetch = purlin::partition::ReplicaFetch {
        claim: FetchClaim {
            follower: TWO,
            broker_epoch: BrokerEpoch(19),
            leader_epoch: LeaderEpoch(2),
            end: Offset(1),
            last_epoch: LeaderEpoch(1),
        },
        flushed: Offset(1),
        log_start: Offset(0),
        bytes_max: 1,
        at_least_one: true,
        fresh: true,
    };
    let refused = partition.fetch_as_replica(&fetch).map(|_| ());
    assert_eq!(refused, Err(ReplicaError::StaleBrokerEpoch));
}

/// A broker that was down while its topic was deleted and made anew.
#[test]
fn scenario_24_another_topic_of_the_same_name_is_never_merged() {
    let mut trio = Trio::led();
    trio.produce(ONE, "old").expect("taken");
    trio.settle();
    trio.node(TWO).running = None;
    // Under the new id the old directory does not open.
    trio.topic_id = TopicId([8; 16]);
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| trio.start(TWO)));
    assert!(opened.is_err(), "the directory belongs to another topic");
    // And a fetch for the new id finds nothing at a leader that has the old one.
    let server = std::sync::Arc::clone(&trio.running(ONE).server);
    let sent = {
        trio.tell(THREE, ONE, 2, &[ONE, THREE]);
        trio.ask(THREE).expect("it fetches")
    };
    let mut request = sent.request;
    request.wait_ms_max = 0;
    for partition in &mut request.partitions {
        assert_eq!((partition.topic_id, partition.partition), (TOPIC, PartitionIndex(0)));
        partition.topic_id = TopicId([8; 16]);
    }
    let fetching = server.begin(THREE, request).expect("a session");
    let response = server.poll(&fetching).expect("answered");
    assert_eq!(
        response.partitions.first().expect("answered").outcome,
        Err(ReplicaError::UnknownPartition)
    );
}
