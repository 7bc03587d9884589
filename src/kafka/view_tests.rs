//! What the view tells, and what it must never tell.

use super::*;
use crate::kafka::testing::{Cluster, LISTENER, partition};

fn state_of<'a>(image: &'a Image, name: &TopicPartition) -> &'a Partition {
    image.partition(name).expect("there")
}

#[test]
fn trap_2_leader_an_isolated_broker_does_not_name_itself() {
    let mut cluster = Cluster::with_brokers(3);
    cluster.topic("t", &[&[1, 2, 3], &[2, 1, 3]]);
    cluster.set_controller(Some(1));
    let image = cluster.image();
    let (mine, other) = (partition("t", 0), partition("t", 1));
    let view = cluster.view(&image, 1);
    assert_eq!(view.reachable_leader(state_of(&image, &mine)), Ok(NodeId(1)));

    let isolated = View { isolated: true, ..view };
    let nobody = LeaderHint { leader: NodeId::NONE, epoch: LeaderEpoch::NONE, endpoint: None };
    let refused = isolated.reachable_leader(state_of(&image, &mine));
    assert_eq!(refused, Err(ErrorCode::LeaderNotAvailable));
    assert_eq!(isolated.leader_hint(&mine), nobody);
    assert!(isolated.offline(state_of(&image, &mine)).contains(&NodeId(1)));
    // What it knows of others stays worth telling.
    assert_eq!(isolated.reachable_leader(state_of(&image, &other)), Ok(NodeId(2)));
    assert_eq!(isolated.brokers().iter().map(|b| b.id.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(isolated.controller(), NodeId(2), "not itself");
}

#[test]
fn trap_2_leader_without_a_leader_nobody_is_named() {
    let mut cluster = Cluster::with_brokers(2);
    cluster.topic("t", &[&[2]]);
    let name = partition("t", 0);
    let before = cluster.image();
    let epoch = state_of(&before, &name).leader_epoch;
    cluster.fence(2);
    let image = cluster.image();
    let view = cluster.view(&image, 1);
    let state = state_of(&image, &name);
    assert_eq!(view.reachable_leader(state), Err(ErrorCode::LeaderNotAvailable));
    assert_eq!(view.offline(state), [NodeId(2)]);
    assert!(state.leader_epoch >= epoch, "epochs never go back");
    assert_eq!(view.leader_hint(&name).epoch, LeaderEpoch::NONE);
}

#[test]
fn trap_2_brokers_only_live_ones_and_never_none() {
    let mut cluster = Cluster::with_brokers(3);
    let ids = |view: View<'_>| view.brokers().iter().map(|b| b.id.0).collect::<Vec<_>>();
    let before = cluster.image();
    cluster.fence(3);
    let image = cluster.image();
    assert_eq!(ids(cluster.view(&image, 3)), [1, 2], "a fenced broker lists the others");
    // For its address, one that left before this node's eyes is named a little longer.
    let mut seen = image.clone();
    let named = |image: &Image| {
        let view = cluster.view(image, 1);
        view.brokers_and_departed().iter().map(|b| b.id.0).collect::<Vec<_>>()
    };
    assert_eq!(named(&seen), [1, 2], "this node did not see it go");
    seen.note_departures(&before, &[NodeId(1), NodeId(3)].into());
    assert_eq!(named(&seen), [1, 2, 3]);
    seen.note_departures(&image, &[NodeId(3)].into());
    assert_eq!(named(&seen), [1, 2, 3], "another change of a fenced broker");
    let mut back = before.clone();
    back.note_departures(&seen, &[NodeId(3)].into());
    assert!(!back.has_just_left(NodeId(3)));
    cluster.fence(1);
    cluster.fence(2);
    let image = cluster.image();
    let view = cluster.view(&image, 2);
    assert_eq!(ids(view), [2], "whoever answers is there at least");
    assert_eq!(view.controller(), NodeId(2));
}

#[test]
fn trap_2_controller_is_always_a_live_broker_of_the_list() {
    let mut cluster = Cluster::with_brokers(3);
    for controller in [None, Some(1), Some(2), Some(9)] {
        cluster.set_controller(controller);
        let image = cluster.image();
        let view = cluster.view(&image, 3);
        let named = view.controller();
        assert!(view.brokers().iter().any(|broker| broker.id == named), "{controller:?}");
    }
    cluster.set_controller(Some(1));
    cluster.fence(1);
    let image = cluster.image();
    assert_eq!(cluster.view(&image, 3).controller(), NodeId(2), "a fenced controller is not");
}

#[test]
fn trap_2_listener_leader_without_this_listener() {
    let mut cluster = Cluster::with_brokers(1);
    cluster.topic("t", &[&[1]]);
    let image = cluster.image();
    let name = partition("t", 0);
    let view = View { listener: "SSL", ..cluster.view(&image, 1) };
    let refused = view.reachable_leader(state_of(&image, &name));
    assert_eq!(refused, Err(ErrorCode::ListenerNotFound));
    assert_eq!(View { listener: LISTENER, ..view }.leader_hint(&name).leader, NodeId(1));
}

#[test]
fn trap_2_kip_951_hints_are_whole_or_absent() {
    let mut cluster = Cluster::with_brokers(2);
    cluster.topic("t", &[&[2, 1]]);
    let image = cluster.image();
    let hint = cluster.view(&image, 1).leader_hint(&partition("t", 0));
    let epoch = state_of(&image, &partition("t", 0)).leader_epoch;
    assert_eq!((hint.leader, hint.epoch), (NodeId(2), epoch));
    let address = hint.endpoint.expect("an endpoint goes with it");
    assert_eq!((address.node_id, &*address.host, address.port), (NodeId(2), "host-2", 9092));
    assert_eq!(address.rack.as_deref(), Some("rack-2"));
    let unknown = cluster.view(&image, 1).leader_hint(&partition("t", 5));
    assert_eq!((unknown.leader, unknown.epoch), (NodeId::NONE, LeaderEpoch::NONE));
}

#[test]
fn trap_2_epoch_grows_with_every_leader_and_never_goes_back() {
    let mut cluster = Cluster::with_brokers(3);
    cluster.topic("t", &[&[1, 2, 3]]);
    let name = partition("t", 0);
    let mut seen = Vec::new();
    for fenced in [1, 2] {
        let image = cluster.image();
        seen.push(state_of(&image, &name).leader_epoch);
        cluster.fence(fenced);
        let image = cluster.image();
        let hint = cluster.view(&image, 3).leader_hint(&name);
        assert_ne!(hint.leader, NodeId(fenced));
        seen.push(hint.epoch);
        cluster.unfence(fenced);
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(seen.first() < seen.last());
}
