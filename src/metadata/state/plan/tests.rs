//! Plans on small layouts.

use super::*;

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn broker(id: i32) -> LayoutBroker {
    LayoutBroker { id: NodeId(id), rack: None, active: true, draining: false }
}

fn partition(topic: &str, index: i32, replicas: &[i32]) -> LayoutPartition {
    LayoutPartition {
        topic: topic.to_owned(),
        partition: PartitionIndex(index),
        replicas: nodes(replicas),
        isr: nodes(replicas),
        leader: replicas.first().copied().map(NodeId),
        reassigning: false,
    }
}

fn layout(brokers: i32, partitions: Vec<LayoutPartition>) -> Layout {
    Layout { brokers: (1..=brokers).map(broker).collect(), partitions }
}

/// `topic-index: replicas`
fn show(plan: &[Reassignment]) -> Vec<String> {
    let one = |r: &Reassignment| {
        let replicas: Vec<String> =
            r.replicas.iter().flatten().map(|id| id.0.to_string()).collect();
        format!("{}-{}: {}", r.topic, r.partition, replicas.join(","))
    };
    plan.iter().map(one).collect()
}

#[test]
fn a_topic_of_one_node_spreads_over_three_with_its_leaders() {
    let layout = layout(3, (0..6).map(|index| partition("t", index, &[1])).collect());
    let plan = plan_replication_factor(&layout, None, 3).expect("enough brokers");
    assert_eq!(
        show(&plan),
        ["t-0: 2,1,3", "t-1: 3,1,2", "t-2: 2,1,3", "t-3: 3,1,2", "t-4: 1,2,3", "t-5: 1,2,3"]
    );
    let two = plan_replication_factor(&layout, Some(&["t".to_owned()]), 2).expect("enough");
    let mut held = [0; 4];
    for id in two.iter().flat_map(|r| r.replicas.iter().flatten()) {
        held[usize::try_from(id.0).expect("small")] += 1;
    }
    assert_eq!(held, [0, 6, 3, 3], "what is there stays, and the rest is even");
}

#[test]
fn new_replicas_go_to_other_racks_and_fenced_and_draining_brokers_come_last() {
    let mut layout = layout(5, vec![partition("t", 0, &[1])]);
    for (broker, rack) in layout.brokers.iter_mut().zip(["a", "a", "b", "b", "c"]) {
        broker.rack = Some(rack.to_owned());
    }
    let plan = |layout: &Layout, factor| {
        let plan = plan_replication_factor(layout, None, factor).expect("enough");
        let mut replicas = plan[0].replicas.clone().expect("a target");
        replicas.sort_unstable();
        replicas
    };
    assert_eq!(plan(&layout, 3), nodes(&[1, 3, 5]));
    layout.brokers[4].draining = true;
    layout.brokers[2].active = false;
    assert_eq!(plan(&layout, 2), nodes(&[1, 4]));
    assert_eq!(plan(&layout, 3), nodes(&[1, 2, 4]));
    assert_eq!(plan(&layout, 4), nodes(&[1, 2, 4, 5]));
    assert_eq!(plan(&layout, 5), nodes(&[1, 2, 3, 4, 5]));
}

#[test]
fn fewer_replicas_keep_the_leader_and_those_in_sync() {
    let mut one = partition("t", 0, &[1, 2, 3]);
    one.leader = Some(NodeId(3));
    one.isr = nodes(&[1, 3]);
    let layout = layout(3, vec![one]);
    let plan = |factor| show(&plan_replication_factor(&layout, None, factor).expect("enough"));
    assert_eq!(plan(2), ["t-0: 1,3"]);
    assert_eq!(plan(1), ["t-0: 3"]);
    assert_eq!(plan(3), Vec::<String>::new());
}

#[test]
fn a_replication_factor_that_cannot_be_is_refused() {
    let mut layout = layout(2, vec![partition("t", 0, &[1])]);
    let kind = |layout: &Layout, topics: Option<&[String]>, factor| {
        plan_replication_factor(layout, topics, factor).expect_err("refused").kind
    };
    assert_eq!(kind(&layout, None, 3), RefusalKind::InvalidReplicationFactor);
    assert_eq!(kind(&layout, None, 0), RefusalKind::InvalidReplicationFactor);
    assert_eq!(kind(&layout, None, -1), RefusalKind::InvalidReplicationFactor);
    assert_eq!(kind(&layout, Some(&["x".to_owned()]), 2), RefusalKind::UnknownTopic);
    layout.partitions[0].reassigning = true;
    assert_eq!(kind(&layout, None, 2), RefusalKind::ReassignmentInProgress);
}

#[test]
fn a_node_is_emptied_onto_those_that_hold_least() {
    let partitions = vec![
        partition("t", 0, &[1, 2]),
        partition("t", 1, &[2, 1]),
        partition("t", 2, &[3, 2]),
        partition("t", 3, &[1, 4]),
    ];
    let layout = layout(4, partitions);
    let plan = plan_removal(&layout, NodeId(1)).expect("room");
    assert_eq!(show(&plan), ["t-0: 3,2", "t-1: 2,4", "t-3: 3,4"]);
    assert_eq!(
        plan_removal(&layout, NodeId(4)).map(|plan| show(&plan)),
        Ok(vec!["t-3: 1,3".into()])
    );
}

#[test]
fn a_node_is_not_emptied_where_records_would_be_lost_or_have_no_place() {
    let mut layout = layout(
        3,
        vec![
            partition("full", 0, &[1, 2, 3]),
            partition("full", 1, &[2, 3, 1]),
            partition("fine", 0, &[1]),
        ],
    );
    let kinds = |layout: &Layout, node| -> Vec<RefusalKind> {
        let reasons = plan_removal(layout, NodeId(node)).expect_err("refused");
        reasons.into_iter().map(|refusal| refusal.kind).collect()
    };
    assert_eq!(kinds(&layout, 1), [RefusalKind::InvalidReplicationFactor], "once for the topic");
    assert_eq!(kinds(&layout, 9), [RefusalKind::BrokerNotRegistered]);
    layout.partitions.drain(..2);
    assert_eq!(show(&plan_removal(&layout, NodeId(1)).expect("room")), ["fine-0: 2"]);
    // The only copy is on the node, and the node is down.
    layout.brokers[0].active = false;
    layout.partitions[0].leader = None;
    layout.partitions[0].isr.clear();
    assert_eq!(kinds(&layout, 1), [RefusalKind::EligibleLeadersNotAvailable]);
    layout.brokers[1].active = false;
    layout.brokers[2].active = false;
    assert_eq!(kinds(&layout, 1), [RefusalKind::PolicyViolation]);
    layout.brokers[1].active = true;
    layout.brokers[1].draining = true;
    layout.partitions[0].leader = Some(NodeId(2));
    assert_eq!(kinds(&layout, 1), [RefusalKind::InvalidReplicationFactor], "nobody who stays");
}
