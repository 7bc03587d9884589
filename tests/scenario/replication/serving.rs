//! Sessions, and readers at followers.

use crate::trio::{ONE, THREE, TWO, Trio};
use purlin::partition::{Error, Isolation, ReadRequest};
use purlin::rpc::replica::{FetchResponse, ReplicaError};
use purlin::types::{LeaderEpoch, Offset};
use std::collections::BTreeMap;

#[test]
fn scenario_23_a_session_that_does_not_fit_ends_and_everything_is_named_again() {
    let mut trio = Trio::led();
    trio.produce(ONE, "a").expect("taken");
    trio.settle();
    // Another session, as after a lost answer.
    trio.produce(ONE, "b").expect("taken");
    let sent = trio.ask(TWO).expect("it fetches");
    let mut wrong = sent.request.clone();
    wrong.session_epoch += 7;
    let server = std::sync::Arc::clone(&trio.running(ONE).server);
    assert_eq!(server.begin(TWO, wrong).map(|_| ()), Err(ReplicaError::SessionEpoch));
    let response = trio.answer(TWO, ONE, &sent);
    assert_eq!(response.error, Some(ReplicaError::SessionNotFound));
    trio.take(TWO, &sent, response);
    let again = trio.ask(TWO).expect("at once");
    assert_eq!((again.request.session_id, again.request.partitions.len()), (0, 1));
    let response = trio.answer(TWO, ONE, &again);
    trio.take(TWO, &again, response);
    trio.settle();
    assert_eq!(trio.values(TWO), ["a", "b"]);
    // Evicted.
    server.forget(TWO);
    trio.produce(ONE, "c").expect("taken");
    trio.settle();
    assert_eq!(trio.values(TWO), ["a", "b", "c"]);
    // The epoch changes inside of the session.
    trio.elect(ONE, 2, &[ONE, TWO, THREE]);
    trio.produce(ONE, "d").expect("taken");
    trio.settle();
    assert_eq!(trio.values(TWO), ["a", "b", "c", "d"]);
    // An answer of a session that is over changes nothing.
    let sent = trio.ask(TWO);
    if let Some(sent) = sent {
        trio.take(TWO, &sent, FetchResponse::refused(ReplicaError::SessionNotFound));
        trio.take(TWO, &sent, FetchResponse::refused(ReplicaError::SessionNotFound));
    }
    trio.produce(ONE, "e").expect("taken");
    trio.settle();
    assert_eq!(trio.values(TWO).len(), 5);
}

#[test]
fn scenario_47_above_a_followers_high_watermark_is_not_available_rather_than_out_of_range() {
    let mut trio = Trio::led();
    trio.produce(ONE, "a").expect("taken");
    trio.settle();
    trio.produce(ONE, "b").expect("taken");
    trio.fetch(TWO);
    trio.fetch(TWO);
    let read = |trio: &Trio, offset, epoch| {
        let request = ReadRequest {
            offset: Offset(offset),
            bytes_max: 1 << 20,
            at_least_one: true,
            isolation: Isolation::ReadUncommitted,
            current_leader_epoch: LeaderEpoch(epoch),
        };
        trio.partition(TWO).read_from_any(request)
    };
    assert_eq!(trio.offsets(TWO).log_end, Offset(2));
    assert_eq!(trio.offsets(TWO).high_watermark, Offset(1));
    assert!(read(&trio, 0, 1).is_ok());
    assert!(read(&trio, 1, 1).expect("at the high watermark").records.is_empty());
    for offset in [2, 99] {
        assert!(matches!(read(&trio, offset, 1), Err(Error::OffsetNotAvailable)), "{offset}");
    }
    assert!(matches!(read(&trio, 0, 0), Err(Error::FencedEpoch)));
    assert!(matches!(read(&trio, 0, 2), Err(Error::UnknownEpoch)));
    // Below the start it is out of range for good.
    trio.settle();
    let leader = trio.partition(ONE);
    trio.block_on(leader.delete_records(Offset(1))).expect("deleted");
    trio.settle();
    assert!(matches!(read(&trio, 0, 1), Err(Error::OffsetOutOfRange { .. })));
    // Only the leader may be asked for reads that must see everything.
    let partition = trio.partition(TWO);
    let request = ReadRequest {
        offset: Offset(1),
        bytes_max: 1,
        at_least_one: true,
        isolation: Isolation::ReadUncommitted,
        current_leader_epoch: LeaderEpoch(1),
    };
    assert!(matches!(partition.read(request), Err(Error::NotLeader)));
}

#[test]
fn scenario_47_a_leader_names_the_replica_in_the_readers_rack_while_it_is_in_sync() {
    let mut trio = Trio::led();
    trio.produce(ONE, "a").expect("taken");
    trio.settle();
    let racks: BTreeMap<_, _> =
        [(ONE, "east"), (TWO, "west"), (THREE, "west")].map(|(n, r)| (n, r.to_owned())).into();
    let named = |trio: &Trio, rack, offset| {
        trio.partition(ONE).preferred_read_replica(rack, &racks, Offset(offset))
    };
    assert_eq!(named(&trio, "west", 1), Some(TWO), "the first of those with the most");
    assert_eq!(named(&trio, "east", 1), None, "the leader is near");
    assert_eq!(named(&trio, "north", 1), None);
    assert_eq!(named(&trio, "", 1), None);
    assert_eq!(named(&trio, "west", 2), None, "nobody there has that offset");
    trio.elect(ONE, 1, &[ONE, THREE]);
    assert_eq!(named(&trio, "west", 1), Some(THREE));
}
