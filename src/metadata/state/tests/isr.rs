//! ISR changes that leaders ask for, and replicas without storage.

use super::*;
use RefusalKind::{
    FencedLeaderEpoch, IneligibleReplica, InvalidRequest, InvalidUpdateVersion, StaleBrokerEpoch,
    UnknownTopic, UnknownTopicId,
};

fn three() -> Script {
    let mut script = Script::with_brokers(3);
    script.by_hand("t", &[&[1, 2, 3]], &[]);
    script
}

#[test]
fn a_leader_shrinks_and_expands_its_isr_and_below_the_minimum_the_elr_remembers() {
    let mut script = three();
    script.isr("t", 0, &[1, 3]);
    assert_eq!(script.show("t", 0), "1,2,3 / 1,3 /  / 1 @ 0.1");
    let id = script.state.topic_by_name("t").expect("there").id;
    assert_eq!(script.delta.topics[&id], TopicChange::Changed([PartitionIndex(0)].into()));
    script.isr("t", 0, &[1]);
    assert_eq!(script.show("t", 0), "1,2,3 / 1 / 3 / 1 @ 0.2");
    let change = script.isr_change("t", 0, &[1]);
    let same = script.ask(1, change).expect("nothing to change");
    assert_eq!(same, script.partition("t", 0));
    assert!(script.delta.is_empty());
    script.isr("t", 0, &[2, 1]);
    assert_eq!(script.show("t", 0), "1,2,3 / 1,2 /  / 1 @ 0.3");
    // All at once: whoever leaves below the minimum held what was committed.
    script.isr("t", 0, &[1, 2, 3]);
    script.isr("t", 0, &[1]);
    assert_eq!(script.show("t", 0), "1,2,3 / 1 / 2,3 / 1 @ 0.5");
}

#[test]
fn what_a_leader_asks_for_is_refused_by_name() {
    let mut script = three();
    let good = script.isr_change("t", 0, &[1, 2]);
    let kind = |script: &mut Script, asker, change| {
        let before = script.state.clone();
        let kind = script.ask(asker, change).expect_err("refused");
        assert_eq!(script.state, before);
        kind
    };
    let unknown = IsrChange { topic_id: TopicId([77; 16]), ..good.clone() };
    assert_eq!(kind(&mut script, 1, unknown), UnknownTopicId);
    let unknown = IsrChange { partition: PartitionIndex(9), ..good.clone() };
    assert_eq!(kind(&mut script, 1, unknown), UnknownTopic);
    assert_eq!(kind(&mut script, 2, script_isr(&good, &[2, 1])), FencedLeaderEpoch);
    let old = IsrChange { leader_epoch: good.leader_epoch.next(), ..good.clone() };
    assert_eq!(kind(&mut script, 1, old), FencedLeaderEpoch);
    let late = IsrChange { partition_epoch: good.partition_epoch.next(), ..good.clone() };
    assert_eq!(kind(&mut script, 1, late), InvalidUpdateVersion);
    for isr in [&[2, 3][..], &[], &[1, 1], &[1, 9]] {
        assert_eq!(kind(&mut script, 1, script_isr(&good, isr)), InvalidRequest, "{isr:?}");
    }
    let recovering = IsrChange { recovery: LeaderRecoveryState::Recovering, ..good.clone() };
    assert_eq!(kind(&mut script, 1, recovering), InvalidRequest);
    let alone =
        IsrChange { recovery: LeaderRecoveryState::Recovering, ..script.isr_change("t", 0, &[1]) };
    assert_eq!(kind(&mut script, 1, alone), InvalidRequest, "it leads without a doubt");

    let command = AlterPartitions {
        node_id: NodeId(1),
        broker_epoch: BrokerEpoch(999),
        changes: vec![good.clone(), good.clone()],
    };
    let Response::AlterPartitions(results) = script.apply(Command::AlterPartitions(command)) else {
        panic!("answered in kind")
    };
    let kinds: Vec<_> = results.into_iter().map(|r| r.map_err(|refusal| refusal.kind)).collect();
    assert_eq!(kinds, [Err(StaleBrokerEpoch), Err(StaleBrokerEpoch)]);
    assert!(script.ask(1, good).is_ok());
}

/// The change with another ISR, all of registration 0.
fn script_isr(change: &IsrChange, isr: &[i32]) -> IsrChange {
    let isr = isr.iter().map(|id| (NodeId(*id), BrokerEpoch(0))).collect();
    IsrChange { isr, ..change.clone() }
}

#[test]
fn only_who_lives_stays_and_is_the_process_that_is_meant_can_join() {
    let mut script = three();
    script.isr("t", 0, &[1]);
    let refused = |script: &mut Script| {
        let change = script.isr_change("t", 0, &[1, 2]);
        script.ask(1, change).expect_err("refused")
    };
    script.fence(2);
    assert_eq!(refused(&mut script), IneligibleReplica, "fenced");
    script.change(2, false, true).expect("stopping");
    assert_eq!(refused(&mut script), IneligibleReplica, "about to stop");
    script.change(2, false, false).expect("back");
    let of_old = script.isr_change("t", 0, &[1, 2]);
    script.register(2, 2, true).expect("registers");
    script.change(2, false, false).expect("unfences");
    assert_eq!(script.ask(1, of_old), Err(IneligibleReplica), "another process");
    let command = ReplicasFailed {
        node_id: NodeId(2),
        broker_epoch: script.epoch(2),
        partitions: vec![(script.state.topic_by_name("t").expect("there").id, PartitionIndex(0))],
        usable: false,
    };
    script.apply(Command::ReplicasFailed(command));
    assert_eq!(refused(&mut script), IneligibleReplica, "without storage");
    script.start_broker(2, 3, true);
    script.isr("t", 0, &[1, 2]);
}

fn fail(script: &mut Script, id: i32, epoch: BrokerEpoch, topic: &str) -> Result<(), RefusalKind> {
    let topic_id = script.state.topic_by_name(topic).map_or(TopicId([77; 16]), |topic| topic.id);
    let partitions = vec![(topic_id, PartitionIndex(0))];
    let command =
        ReplicasFailed { node_id: NodeId(id), broker_epoch: epoch, partitions, usable: false };
    match script.apply(Command::ReplicasFailed(command)) {
        Response::ReplicasFailed(mut results) => results.remove(0).map_err(|r| r.kind),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_member_that_lost_records_does_not_stay_eligible() {
    let mut script = three();
    let without =
        |script: &Script| IsrChange { lost: vec![NodeId(2)], ..script.isr_change("t", 0, &[1]) };
    let both = IsrChange { lost: vec![NodeId(2)], ..script.isr_change("t", 0, &[1, 2]) };
    assert_eq!(script.ask(1, both), Err(InvalidRequest));
    script.isr("t", 0, &[1, 2]);
    let change = without(&script);
    script.ask(1, change).expect("taken");
    assert_eq!(script.show("t", 0), "1,2,3 / 1 /  / 1 @ 0.2");
    // From the ELR, too.
    script.isr("t", 0, &[1, 2]);
    script.isr("t", 0, &[1]);
    assert_eq!(script.show("t", 0), "1,2,3 / 1 / 2 / 1 @ 0.4");
    let change = without(&script);
    script.ask(1, change).expect("taken");
    assert_eq!(script.show("t", 0), "1,2,3 / 1 /  / 1 @ 0.5");
}

/// Case 27: a directory was emptied. The storage works: the replica copies what it lacks, and is in
/// sync again without another start of its broker.
#[test]
fn a_replica_that_says_what_it_lost_is_not_eligible_until_it_is_in_sync() {
    let mut script = three();
    script.isr("t", 0, &[1, 2]);
    script.fence(2);
    assert_eq!(script.show("t", 0), "1,2,3 / 1 / 2 / 1 @ 0.2");
    script.register(2, 2, false).expect("registers");
    let command = ReplicasFailed {
        node_id: NodeId(2),
        broker_epoch: script.epoch(2),
        partitions: vec![(script.state.topic_by_name("t").expect("there").id, PartitionIndex(0))],
        usable: true,
    };
    script.apply(Command::ReplicasFailed(command.clone()));
    assert_eq!(script.show("t", 0), "1,2,3 / 1 /  / 1 @ 0.3");
    script.apply(Command::ReplicasFailed(command));
    assert!(script.delta.is_empty(), "said twice");
    script.change(2, false, false).expect("unfences");
    script.isr("t", 0, &[1, 2]);
    assert!(script.partition("t", 0).offline.is_empty());
}

/// Case 33: heartbeats live, the disk does not.
#[test]
fn leadership_leaves_a_replica_whose_storage_failed_until_the_broker_starts_anew() {
    let mut script = three();
    script.by_hand("other", &[&[2, 3]], &[]);
    let epoch = script.epoch(1);
    assert_eq!(fail(&mut script, 1, BrokerEpoch(99), "t"), Err(StaleBrokerEpoch));
    assert_eq!(fail(&mut script, 1, epoch, "missing"), Err(UnknownTopicId));
    assert_eq!(fail(&mut script, 1, epoch, "other"), Err(InvalidRequest));
    assert_eq!(fail(&mut script, 1, epoch, "t"), Ok(()));
    assert_eq!(script.show("t", 0), "1,2,3 / 2,3 /  / 2 @ 1.1");
    assert_eq!(script.partition("t", 0).offline, [NodeId(1)]);
    assert_eq!(fail(&mut script, 1, epoch, "t"), Ok(()), "a retry");
    assert!(script.delta.is_empty());
    assert!(script.state.is_active(NodeId(1)), "the broker itself lives");
    script.isr("t", 0, &[2]);
    let epoch = script.epoch(2);
    assert_eq!(fail(&mut script, 2, epoch, "t"), Ok(()));
    assert_eq!(script.show("t", 0), "1,2,3 / 3 /  / 3 @ 2.3", "from the ELR");
    let epoch = script.epoch(3);
    assert_eq!(fail(&mut script, 3, epoch, "t"), Ok(()));
    assert_eq!(script.show("t", 0), "1,2,3 /  /  / - @ 3.4");
    script.start_broker(3, 2, true);
    assert_eq!(script.show("t", 0), "1,2,3 / 3 /  / 3 @ 4.6");
    assert_eq!(script.partition("t", 0).recovery, LeaderRecoveryState::Recovering);
}

#[test]
fn the_only_replica_comes_back_as_what_there_is() {
    let mut script = Script::with_brokers(1);
    script.by_hand("t", &[&[1]], &[("unclean.leader.election.enable", "true")]);
    let epoch = script.epoch(1);
    fail(&mut script, 1, epoch, "t").expect("reported");
    assert_eq!(script.show("t", 0), "1 /  / 1 / - @ 1.1");
    script.start_broker(1, 2, false);
    assert_eq!(script.show("t", 0), "1 / 1 /  / 1 @ 2.3");
    assert_eq!(script.partition("t", 0).recovery, LeaderRecoveryState::Recovered);
}
