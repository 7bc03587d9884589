//! Node ids: who gets which, and who leaves for good.

use super::*;

fn admit(
    script: &mut Script,
    dir: i32,
    wanted: Option<i32>,
) -> Result<NodeId, (RefusalKind, String)> {
    let command = AdmitNode { wanted: wanted.map(NodeId), ..admission(dir) };
    match script.apply(Command::AdmitNode(command)) {
        Response::AdmitNode(result) => result.map_err(|refusal| (refusal.kind, refusal.message)),
        other => panic!("{other:?}"),
    }
}

fn unregister(script: &mut Script, id: i32) -> Result<(), (RefusalKind, String)> {
    match script.apply(Command::UnregisterBroker(UnregisterBroker { node_id: NodeId(id) })) {
        Response::UnregisterBroker(result) => {
            result.map_err(|refusal| (refusal.kind, refusal.message))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_directory_keeps_its_id_and_the_next_one_gets_the_next() {
    let mut script = Script::default();
    assert_eq!(admit(&mut script, 10, Some(5)), Ok(NodeId(5)));
    assert_eq!(script.delta.nodes, [NodeId(5)].into());
    assert_eq!(admit(&mut script, 11, None), Ok(NodeId(6)));
    assert_eq!(admit(&mut script, 12, Some(2)), Ok(NodeId(2)), "free, if lower");
    for (dir, id) in [(10, 5), (11, 6), (12, 2)] {
        assert_eq!(admit(&mut script, dir, None), Ok(NodeId(id)), "a retry");
        assert_eq!(admit(&mut script, dir, Some(id)), Ok(NodeId(id)));
        assert!(script.delta.is_empty());
    }
    assert_eq!(admit(&mut script, 13, Some(0)), Ok(NodeId(0)));
    assert_eq!(admit(&mut script, 14, Some(i32::MAX)), Ok(NodeId(i32::MAX)));
    assert_eq!(admit(&mut script, 15, None), Ok(NodeId(1)), "a gap, where nothing is above");
    assert_eq!(admit(&mut script, 16, Some(-1)).expect_err("no id").0, RefusalKind::InvalidRequest);
    assert_eq!(admit(&mut script, 0, None).expect_err("no id").0, RefusalKind::InvalidRequest);
}

#[test]
fn an_id_of_another_directory_is_refused_with_the_way_out() {
    let mut script = Script::default();
    admit(&mut script, 1, Some(1)).expect("free");
    let (kind, message) = admit(&mut script, 2, Some(1)).expect_err("taken");
    assert_eq!(kind, RefusalKind::DuplicateBroker);
    assert!(message.contains("leave out --node-id"), "{message}");
    assert!(message.contains("purlin node remove 1"), "{message}");
    let (kind, message) = admit(&mut script, 1, Some(2)).expect_err("it is node 1");
    assert_eq!(kind, RefusalKind::InvalidRequest);
    assert!(message.contains("this data directory is node 1"), "{message}");
}

/// Case 26: whoever comes with an empty disk is another node.
#[test]
fn a_registration_comes_from_the_directory_that_the_id_was_given_to() {
    let mut script = Script::default();
    let register = |script: &mut Script, command| {
        let Response::RegisterBroker(result) = script.apply(Command::RegisterBroker(command))
        else {
            panic!("answered in kind")
        };
        result.map_err(|refusal| refusal.kind)
    };
    let command = registration(1, 1, true);
    let unknown = register(&mut script, command.clone());
    assert_eq!(unknown, Err(RefusalKind::BrokerNotRegistered));
    admit(&mut script, 1, None).expect("admitted");
    let empty = RegisterBroker { directories: vec![directory(9)], ..command.clone() };
    assert_eq!(register(&mut script, empty), Err(RefusalKind::DuplicateBroker));
    assert!(register(&mut script, command).is_ok());
}

#[test]
fn a_node_leaves_once_it_holds_nothing_and_its_id_never_comes_back() {
    let mut script = Script::with_brokers(2);
    script.by_hand("t", &[&[2, 1]], &[]);
    script.drain(2, true);
    let (kind, message) = unregister(&mut script, 2).expect_err("holds a replica");
    assert_eq!(kind, RefusalKind::PolicyViolation);
    assert!(message.contains("1 partitions") && message.contains("node remove 2"), "{message}");
    script.reassign("t", 0, Some(&[1])).expect("moves");
    assert_eq!(unregister(&mut script, 2), Ok(()));
    assert_eq!(script.delta.brokers, [NodeId(2)].into());
    assert_eq!(script.delta.nodes, [NodeId(2)].into());
    assert_eq!(script.state.all_configs().count(), 0, "its configs are forgotten");
    assert!(script.state.broker(NodeId(2)).is_none());
    assert!(script.state.node_by_directory(directory(2)).is_none());

    let again = unregister(&mut script, 2).expect_err("gone");
    assert_eq!(again.0, RefusalKind::BrokerNotRegistered);
    let back = script.register(2, 1, true).expect_err("for good");
    assert!(back.message.contains("join with an empty one"), "{back}");
    let same = admit(&mut script, 2, None).expect_err("the same directory");
    assert!(same.1.contains("join with an empty one"), "{}", same.1);
    let id = admit(&mut script, 3, Some(2)).expect_err("the same id");
    assert!(id.1.contains("not given out again"), "{}", id.1);
    assert_eq!(admit(&mut script, 3, None), Ok(NodeId(3)));
    assert_eq!(unregister(&mut script, 3), Ok(()), "it never registered");
    assert_eq!(admit(&mut script, 4, None), Ok(NodeId(4)));
}

#[test]
fn the_last_active_broker_cannot_leave() {
    let mut script = Script::with_brokers(2);
    script.fence(2);
    let (kind, message) = unregister(&mut script, 1).expect_err("the last");
    assert_eq!(kind, RefusalKind::PolicyViolation);
    assert!(message.contains("the only one that is active"), "{message}");
    assert_eq!(unregister(&mut script, 2), Ok(()));
}
