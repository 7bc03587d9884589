//! Registration, fencing, elections, producer ids and features.

use super::*;

#[test]
fn a_registration_is_fenced_until_the_broker_is_ready_and_retries_get_the_same_epoch() {
    let mut script = Script::default();
    let epoch = script.register(1, 7, true).expect("registers");
    assert_eq!(epoch, BrokerEpoch(1), "the index it was applied at");
    assert!(!script.state.is_active(NodeId(1)));
    assert_eq!(script.delta.brokers, [NodeId(1)].into());

    assert_eq!(script.register(1, 7, true), Ok(epoch), "a retry");
    assert!(script.delta.is_empty());
    script.change(1, false, false).expect("unfences");
    assert_eq!(script.register(1, 7, true), Ok(epoch), "a late retry does not fence again");
    assert!(script.state.is_active(NodeId(1)));

    assert_eq!(script.register(1, 8, true), Ok(BrokerEpoch(5)), "a new process");
    assert!(!script.state.is_active(NodeId(1)));
}

#[test]
fn a_broker_is_fenced_only_under_its_current_registration() {
    let mut script = Script::with_brokers(1);
    let change = |broker_epoch| FencingChange {
        node_id: NodeId(1),
        broker_epoch: BrokerEpoch(broker_epoch),
        fenced: true,
        in_controlled_shutdown: false,
    };
    let unknown = FencingChange { node_id: NodeId(9), ..change(1) };
    let command = ChangeFencing { changes: vec![change(77), unknown, change(1)] };
    let Response::ChangeFencing(results) = script.apply(Command::ChangeFencing(command)) else {
        panic!("wrong answer")
    };
    let kinds: Vec<_> = results.into_iter().map(|r| r.map_err(|refusal| refusal.kind)).collect();
    assert_eq!(
        kinds,
        [Err(RefusalKind::StaleBrokerEpoch), Err(RefusalKind::BrokerNotRegistered), Ok(())]
    );
}

#[test]
fn a_restart_of_the_only_broker_moves_the_leader_epoch_and_keeps_the_partition() {
    let mut script = Script::with_brokers(1);
    script.topic("t", 1, 1, &[]);
    script.topic("cached", 1, 1, &[("write.caching", "true")]);
    assert_eq!(script.show("t", 0), "1 / 1 /  / 1 @ 0.0");
    script.register(1, 2, false).expect("registers");
    assert_eq!(script.show("t", 0), "1 /  / 1 / - @ 1.1");
    script.change(1, false, false).expect("unfences");
    assert_eq!(script.show("t", 0), "1 / 1 /  / 1 @ 2.2");
    assert_eq!(script.show("cached", 0), "1 / 1 /  / 1 @ 2.2", "nobody else has the data");
    let id = script.state.topic_by_name("t").expect("there").id;
    assert_eq!(script.delta.topics[&id], TopicChange::Changed([PartitionIndex(0)].into()));
}

#[test]
fn leadership_fails_over_and_an_unclean_stop_costs_the_elr_only_where_writes_were_cached() {
    let mut script = Script::with_brokers(2);
    let by_hand = |script: &mut Script, name: &str, configs: &[(&str, &str)]| {
        let mut new = script.new_topic(name, -1, -1);
        new.assignments = vec![(PartitionIndex(0), vec![NodeId(1), NodeId(2)])];
        new.configs =
            configs.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect();
        script.create(vec![new]).remove(0).expect("created");
    };
    by_hand(&mut script, "synced", &[("min.insync.replicas", "2")]);
    by_hand(&mut script, "cached", &[("min.insync.replicas", "2"), ("write.caching", "true")]);
    script.fence(1);
    assert_eq!(script.show("synced", 0), "1,2 / 2 / 1 / 2 @ 1.1");
    script.fence(2);
    assert_eq!(script.show("synced", 0), "1,2 /  / 1,2 / - @ 2.2");
    script.register(2, 9, false).expect("registers");
    assert_eq!(script.show("synced", 0), "1,2 /  / 1,2 / - @ 2.2");
    assert_eq!(script.show("cached", 0), "1,2 /  / 1 / - @ 2.3");
    script.change(2, false, false).expect("unfences");
    assert_eq!(script.show("synced", 0), "1,2 / 2 / 1 / 2 @ 3.3");
    assert_eq!(script.show("cached", 0), "1,2 /  / 1 / - @ 2.3", "2 may have lost records");
    script.change(1, false, false).expect("unfences");
    assert_eq!(script.show("cached", 0), "1,2 / 1 /  / 1 @ 3.4");
}

#[test]
fn a_stopping_broker_hands_over_and_gets_nothing_new() {
    let mut script = Script::with_brokers(2);
    let mut new = script.new_topic("t", -1, -1);
    new.assignments = vec![(PartitionIndex(0), vec![NodeId(1), NodeId(2)])];
    script.create(vec![new]).remove(0).expect("created");
    script.change(1, false, true).expect("stopping");
    assert_eq!(script.show("t", 0), "1,2 / 2 /  / 2 @ 1.1");
    script.topic("later", 4, 2, &[]);
    for partition in 0..4 {
        assert_eq!(script.show("later", partition), "2,1 / 2 /  / 2 @ 0.0");
    }
}

#[test]
fn producer_ids_are_never_handed_out_twice() {
    let mut script = Script::with_brokers(1);
    let epoch = script.state.broker(NodeId(1)).expect("there").epoch;
    let ask = |script: &mut Script, broker_epoch| {
        let command = AllocateProducerIds { node_id: NodeId(1), broker_epoch };
        match script.apply(Command::AllocateProducerIds(command)) {
            Response::AllocateProducerIds(result) => result.map_err(|refusal| refusal.kind),
            other => panic!("{other:?}"),
        }
    };
    let block = |first| Ok(ProducerIdBlock { first: crate::types::ProducerId(first), count: 1000 });
    assert_eq!(ask(&mut script, epoch), block(0));
    assert_eq!(ask(&mut script, epoch), block(1000));
    assert_eq!(ask(&mut script, BrokerEpoch(99)), Err(RefusalKind::StaleBrokerEpoch));
    assert_eq!(ask(&mut script, epoch), block(2000));
}

#[test]
fn features_move_only_to_levels_that_every_broker_understands() {
    let mut script = Script::with_brokers(2);
    let update = |script: &mut Script, level, validate_only| {
        let levels = vec![("metadata.version".to_owned(), level)];
        match script.apply(Command::UpdateFeatures(UpdateFeatures { levels, validate_only })) {
            Response::UpdateFeatures(results) => results[0].clone().map_err(|r| r.kind),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(update(&mut script, 3, false), Err(RefusalKind::FeatureUpdateFailed));
    assert_eq!(update(&mut script, 2, true), Ok(()));
    assert_eq!(script.state.features().count(), 0);
    assert_eq!(update(&mut script, 2, false), Ok(()));
    assert!(script.delta.features);
    script.admit(3);
    let mut old = registration(3, 1, true);
    old.features = vec![("metadata.version".to_owned(), 1)];
    let Response::RegisterBroker(result) = script.apply(Command::RegisterBroker(old)) else {
        panic!("wrong answer")
    };
    assert_eq!(result.expect_err("too old").kind, RefusalKind::UnsupportedVersion);
}
