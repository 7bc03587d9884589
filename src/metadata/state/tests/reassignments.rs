//! Partitions that move.

use super::*;
use RefusalKind::{
    InvalidReplicaAssignment, InvalidReplicationFactor, NoReassignmentInProgress, UnknownTopic,
};

/// `adding / removing`
fn moving(script: &Script, partition: i32) -> String {
    let list = |ids: &[NodeId]| ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",");
    let partition = script.partition("t", partition);
    format!("{} / {}", list(&partition.adding), list(&partition.removing))
}

#[test]
fn a_partition_moves_once_its_new_replicas_are_in_sync() {
    let mut script = Script::with_brokers(5);
    script.by_hand("t", &[&[1, 2, 3]], &[]);
    script.reassign("t", 0, Some(&[4, 2, 5])).expect("started");
    assert_eq!(script.show("t", 0), "4,2,5,1,3 / 2,1,3 /  / 1 @ 0.1");
    assert_eq!(moving(&script, 0), "4,5 / 1,3");
    assert_eq!(script.state.reassignments().count(), 1);
    assert_eq!(script.state.topic_by_name("t").expect("there").replication_factor(), 3);
    script.reassign("t", 0, Some(&[4, 2, 5])).expect("the same again");
    assert!(script.delta.is_empty());
    script.isr("t", 0, &[1, 2, 3, 4]);
    assert_eq!(script.show("t", 0), "4,2,5,1,3 / 4,2,1,3 /  / 1 @ 0.2");
    script.isr("t", 0, &[1, 2, 3, 4, 5]);
    assert_eq!(script.show("t", 0), "4,2,5 / 4,2,5 /  / 4 @ 1.3");
    assert_eq!(moving(&script, 0), " / ");
    assert_eq!(script.state.reassignments().count(), 0);
}

/// Section 9: 85 where there is nothing to cancel.
#[test]
fn trap_9_tools_reassignments_and_their_codes() {
    let mut script = Script::with_brokers(3);
    script.by_hand("t", &[&[1, 2]], &[]);
    assert_eq!(script.reassign("t", 0, None), Err(NoReassignmentInProgress));
    assert_eq!(script.reassign("t", 5, None), Err(UnknownTopic));
    assert_eq!(script.reassign("x", 0, Some(&[1])), Err(UnknownTopic));
    for wrong in [&[][..], &[1, 1], &[1, 9], &[-1]] {
        assert_eq!(script.reassign("t", 0, Some(wrong)), Err(InvalidReplicaAssignment));
    }
    let command = AlterReassignments {
        partitions: vec![Reassignment {
            topic: "t".into(),
            partition: PartitionIndex(0),
            replicas: Some(vec![NodeId(1)]),
        }],
        allow_replication_factor_change: false,
    };
    let Response::AlterReassignments(results) = script.apply(Command::AlterReassignments(command))
    else {
        panic!("answered in kind")
    };
    assert_eq!(results[0].as_ref().expect_err("shrinks").kind, InvalidReplicationFactor);
}

#[test]
fn fewer_replicas_or_another_order_take_effect_at_once() {
    let mut script = Script::with_brokers(3);
    script.by_hand("t", &[&[1, 2, 3], &[1, 2, 3]], &[]);
    script.reassign("t", 0, Some(&[3, 2, 1])).expect("reordered");
    assert_eq!(script.show("t", 0), "3,2,1 / 3,2,1 /  / 1 @ 0.1", "the leader stays");
    script.reassign("t", 0, Some(&[3, 2])).expect("shrunk");
    assert_eq!(script.show("t", 0), "3,2 / 3,2 /  / 3 @ 1.2");
    // Not while the copy that goes is one that is needed.
    script.isr("t", 1, &[1, 3]);
    script.reassign("t", 1, Some(&[1, 2])).expect("started");
    assert_eq!(script.show("t", 1), "1,2,3 / 1,3 /  / 1 @ 0.2");
    script.isr("t", 1, &[1, 2, 3]);
    assert_eq!(script.show("t", 1), "1,2 / 1,2 /  / 1 @ 1.3");
}

#[test]
fn a_reassignment_is_cancelled_or_replaced_while_enough_stay_in_sync() {
    let mut script = Script::with_brokers(5);
    script.by_hand("t", &[&[1, 2, 3]], &[]);
    script.reassign("t", 0, Some(&[4, 5, 3])).expect("started");
    script.isr("t", 0, &[1, 2, 3, 4]);
    script.reassign("t", 0, None).expect("cancelled");
    assert_eq!(script.show("t", 0), "3,1,2 / 3,1,2 /  / 1 @ 1.3", "4 is forgotten");
    script.reassign("t", 0, Some(&[4, 1, 2])).expect("started");
    script.isr("t", 0, &[1, 2, 3]);
    script.reassign("t", 0, Some(&[5, 1, 2])).expect("replaced");
    assert_eq!(moving(&script, 0), "5 / 3");
    // The old ones fail, and what is being added is what holds the records.
    script.isr("t", 0, &[1]);
    script.isr("t", 0, &[1, 5]);
    assert_eq!(script.show("t", 0), "5,1,2 / 5,1 /  / 1 @ 3.7", "5 is all that was to come");
    script.reassign("t", 0, Some(&[3, 4, 2])).expect("started");
    script.isr("t", 0, &[1, 3]);
    script.fence(1);
    assert_eq!(script.partition("t", 0).leader, Some(NodeId(3)));
    assert_eq!(script.reassign("t", 0, None), Err(InvalidReplicaAssignment));
    assert_eq!(script.reassign("t", 0, Some(&[5, 1])), Err(InvalidReplicaAssignment));
    assert!(script.delta.is_empty());
}

/// Case 14: a leader must not count a replica that went and came back by what it had before.
#[test]
fn a_replica_that_goes_takes_the_leaders_epoch_with_it() {
    let mut script = Script::with_brokers(2);
    script.by_hand("t", &[&[1, 2]], &[]);
    let partition = |replicas: &[i32]| Reassignment {
        topic: "t".into(),
        partition: PartitionIndex(0),
        replicas: Some(replicas.iter().copied().map(NodeId).collect()),
    };
    script.apply(Command::AlterReassignments(AlterReassignments {
        partitions: vec![partition(&[1]), partition(&[1, 2])],
        allow_replication_factor_change: true,
    }));
    assert_eq!(script.show("t", 0), "1,2 / 1 /  / 1 @ 1.2");
    assert_eq!(moving(&script, 0), "2 / ");
}

#[test]
fn new_partitions_have_as_many_replicas_as_a_moving_topic_will_have() {
    let mut script = Script::with_brokers(3);
    script.by_hand("t", &[&[1, 2]], &[]);
    script.reassign("t", 0, Some(&[3, 2])).expect("started");
    let topics = vec![MorePartitions { name: "t".into(), count: 2, assignments: None }];
    script.apply(Command::CreatePartitions(CreatePartitions { topics, validate_only: false }));
    assert_eq!(script.partition("t", 1).replicas.len(), 2);
}
