//! Creating and deleting topics, and adding partitions.

use super::*;
use RefusalKind::{
    InvalidConfig, InvalidPartitions, InvalidReplicaAssignment, InvalidReplicationFactor,
    InvalidRequest, InvalidTopic, PolicyViolation, TopicExists, UnknownTopic, UnknownTopicId,
};

fn by_hand(assignments: &[(i32, &[i32])]) -> Vec<(PartitionIndex, Vec<NodeId>)> {
    assignments
        .iter()
        .map(|(index, ids)| (PartitionIndex(*index), ids.iter().copied().map(NodeId).collect()))
        .collect()
}

#[test]
fn several_topics_in_one_command_each_on_its_own() {
    let mut script = Script::with_brokers(3);
    let topics = vec![
        script.new_topic("good", 2, 3),
        script.new_topic("bad name!", 1, 1),
        script.new_topic("also-good", 1, 1),
    ];
    let results = script.create(topics);
    assert!(results[0].is_ok() && results[2].is_ok());
    assert_eq!(results[1].as_ref().expect_err("bad").kind, InvalidTopic);
    assert_eq!(script.state.partition_count(), 3);
    assert_eq!(script.delta.topics.len(), 2);
    assert!(script.delta.topics.values().all(|change| *change == TopicChange::Created));
    assert_eq!(script.show("good", 0).split(" / ").count(), 4);
    assert!(script.show("good", 0).ends_with("@ 0.0"));
}

/// Section 9: the codes of refused creations.
#[test]
fn trap_9_create_codes_of_refused_topics() {
    let mut script = Script::with_brokers(2);
    script.topic("taken", 1, 1, &[]);
    script.topic("with.dot", 1, 1, &[]);
    let mut kind = |change: &dyn Fn(&mut NewTopic)| script.refused(change).kind;

    assert_eq!(kind(&|t| t.name = "taken".into()), TopicExists);
    for partitions in [0, -2, i32::MIN] {
        assert_eq!(kind(&|t| t.partitions = partitions), InvalidPartitions);
    }
    for factor in [0, -2, 3, i16::MAX] {
        assert_eq!(kind(&|t| t.replication_factor = factor), InvalidReplicationFactor);
    }
    let assign = |assignments: &[(i32, &[i32])]| {
        let assignments = by_hand(assignments);
        move |t: &mut NewTopic| {
            t.partitions = -1;
            t.replication_factor = -1;
            t.assignments.clone_from(&assignments);
        }
    };
    for wrong in [
        assign(&[(0, &[1]), (2, &[2])]),
        assign(&[(1, &[1])]),
        assign(&[(0, &[1, 1])]),
        assign(&[(0, &[1, 9])]),
        assign(&[(0, &[])]),
        assign(&[(0, &[1]), (1, &[1, 2])]),
        assign(&[(0, &[1]), (0, &[2])]),
    ] {
        assert_eq!(kind(&wrong), InvalidReplicaAssignment);
    }
    let counted = |partitions, replication_factor| {
        move |t: &mut NewTopic| {
            t.assignments = by_hand(&[(0, &[1])]);
            t.partitions = partitions;
            t.replication_factor = replication_factor;
        }
    };
    assert_eq!(kind(&counted(1, -1)), InvalidRequest);
    assert_eq!(kind(&counted(-1, 1)), InvalidRequest);
    let config = |name: &str, value: Option<&str>| {
        let pair = (name.to_owned(), value.map(str::to_owned));
        move |t: &mut NewTopic| t.configs = vec![pair.clone()]
    };
    assert_eq!(kind(&config("retention.ms", None)), InvalidConfig);
    assert_eq!(kind(&config("no.such.config", Some("1"))), InvalidConfig);
    assert_eq!(kind(&config("retention.ms", Some("soon"))), InvalidConfig);
    for name in ["with_dot", "", ".", "..", "a/b"] {
        assert_eq!(kind(&|t| t.name = name.into()), InvalidTopic, "{name}");
    }
    assert_eq!(kind(&|t| t.name = "x".repeat(250)), InvalidTopic);
    assert_eq!(kind(&|t| t.name = "__cluster_metadata".into()), InvalidRequest);
    assert_eq!(kind(&|t| t.partitions = i32::MAX), PolicyViolation);
}

/// Section 9: `validate_only` makes the same checks, and creates nothing.
#[test]
fn trap_9_create_validate_only_checks_everything_and_changes_nothing() {
    let mut script = Script::with_brokers(1);
    let before = script.state.clone();
    let topics = vec![
        script.new_topic("a.b", 3, 1),
        script.new_topic("a_b", 1, 1),
        script.new_topic("c", -1, -1),
    ];
    let results = script.create_or_validate(topics, true);
    let created = results[0].as_ref().expect("fine");
    assert_eq!((created.id, created.partitions, created.replication_factor), (TopicId::ZERO, 3, 1));
    assert_eq!(results[1].as_ref().expect_err("collides with the first").kind, InvalidTopic);
    assert_eq!(results[2].as_ref().expect("fine").partitions, 4);
    assert_eq!(script.state, before);
    assert!(script.delta.is_empty());
}

/// Section 9: -1 means the broker's default.
#[test]
fn trap_9_create_minus_one_takes_the_defaults() {
    let mut script = Script::with_brokers(1);
    let topics = vec![script.new_topic("t", -1, -1)];
    let created = script.create(topics).remove(0).expect("created");
    assert_eq!((created.partitions, created.replication_factor), (4, 1));
}

#[test]
fn names_asked_for_twice_in_one_command_are_refused_both_times() {
    let mut script = Script::with_brokers(1);
    let topics = vec![script.new_topic("t", 1, 1), script.new_topic("t", 2, 1)];
    for result in script.create(topics) {
        assert_eq!(result.expect_err("twice").kind, InvalidRequest);
    }
}

#[test]
fn replicas_chosen_by_hand_are_taken_as_they_are_and_fenced_ones_are_not_in_sync() {
    let mut script = Script::with_brokers(3);
    script.fence(2);
    let mut new = script.new_topic("t", -1, -1);
    new.assignments = by_hand(&[(1, &[3, 1]), (0, &[2, 3])]);
    let created = script.create(vec![new]).remove(0).expect("created");
    assert_eq!((created.partitions, created.replication_factor), (2, 2));
    assert_eq!(script.show("t", 0), "2,3 / 3 /  / 3 @ 0.0");
    assert_eq!(script.show("t", 1), "3,1 / 3,1 /  / 3 @ 0.0");
    let mut offline = script.new_topic("offline", -1, -1);
    offline.assignments = by_hand(&[(0, &[2])]);
    let refusal = script.create(vec![offline]).remove(0).expect_err("nobody could lead it");
    assert_eq!(refusal.kind, InvalidReplicaAssignment);
}

/// Section 9: DeleteTopics goes by name or id, and answers with both.
#[test]
fn trap_9_delete_by_name_or_id_answers_with_both() {
    let mut script = Script::with_brokers(1);
    script.topic("a", 2, 1, &[("retention.ms", "5")]);
    script.topic("b", 1, 1, &[]);
    let (a, b) = (script.state.topic_by_name("a").expect("a").id, TopicId([2; 16]));
    let nobody = TopicId([99; 16]);
    let command = DeleteTopics {
        topics: vec![
            TopicSelector::Name("a".into()),
            TopicSelector::Id(b),
            TopicSelector::Name("missing".into()),
            TopicSelector::Id(nobody),
        ],
    };
    let Response::DeleteTopics(results) = script.apply(Command::DeleteTopics(command)) else {
        panic!("wrong answer")
    };
    let shown: Vec<_> = results
        .into_iter()
        .map(|r| (r.name, r.id, r.outcome.map_err(|refusal| refusal.kind)))
        .collect();
    assert_eq!(
        shown,
        [
            (Some("a".into()), a, Ok(())),
            (Some("b".into()), b, Ok(())),
            (Some("missing".into()), TopicId::ZERO, Err(UnknownTopic)),
            (None, nobody, Err(UnknownTopicId)),
        ]
    );
    assert_eq!((script.state.topic_count(), script.state.partition_count()), (0, 0));
    assert_eq!(script.state.all_configs().count(), 0);
    assert_eq!(script.delta.configs.len(), 1);
}

/// Section 2: a name that is created again is another topic.
#[test]
fn trap_2_recreate_gets_a_new_id_and_fresh_epochs() {
    let mut script = Script::with_brokers(1);
    script.topic("t", 1, 1, &[("retention.ms", "5")]);
    script.fence(1);
    script.change(1, false, false).expect("unfences");
    let old = script.state.topic_by_name("t").expect("there").id;
    let delete = DeleteTopics { topics: vec![TopicSelector::Id(old)] };
    script.apply(Command::DeleteTopics(delete));
    let mut total = script.delta.clone();
    script.topic("t", 1, 1, &[]);
    total.merge(script.delta.clone());
    let topic = script.state.topic_by_name("t").expect("there").clone();
    assert_ne!(topic.id, old);
    assert_eq!(script.show("t", 0), "1 / 1 /  / 1 @ 0.0");
    assert!(script.state.topic_by_id(old).is_none(), "the old id never finds the new topic");
    assert_eq!(total.topics[&old], TopicChange::Deleted(topic.name));
    assert_eq!(total.topics[&topic.id], TopicChange::Created);
    assert_eq!(script.state.all_configs().count(), 0, "configs do not come back");
}

/// Section 11: two nodes that found a topic missing at one moment both propose it. Only the state
/// that all agree on can say who was first.
#[test]
fn trap_11_metadata_of_two_racing_creations_one_is_refused() {
    let mut script = Script::with_brokers(1);
    let racing = [script.new_topic("__consumer_offsets", 2, 1), script.new_topic("t", 1, 1)];
    let first: Vec<_> = racing.iter().cloned().map(|new| script.create(vec![new])).collect();
    assert!(first.iter().all(|results| results[0].is_ok()), "{first:?}");
    let before = script.state.clone();
    for (number, new) in (100..).zip(racing) {
        let new = NewTopic { id: TopicId([number; 16]), ..new };
        let refusal = script.create(vec![new]).remove(0).expect_err("it is there");
        assert_eq!(refusal.kind, TopicExists);
    }
    assert_eq!(script.state, before);
}

#[test]
fn the_proposers_id_must_be_a_new_one() {
    let mut script = Script::with_brokers(1);
    script.topic("t", 1, 1, &[]);
    let id = script.state.topic_by_name("t").expect("there").id;
    assert_eq!(script.refused(|t| t.id = id).kind, InvalidRequest);
    assert_eq!(script.refused(|t| t.id = TopicId::ZERO).kind, InvalidRequest);
}

fn more(name: &str, count: i32) -> MorePartitions {
    MorePartitions { name: name.to_owned(), count, assignments: None }
}

fn add(
    script: &mut Script,
    topics: Vec<MorePartitions>,
    validate_only: bool,
) -> Vec<Result<(), RefusalKind>> {
    match script.apply(Command::CreatePartitions(CreatePartitions { topics, validate_only })) {
        Response::CreatePartitions(results) => {
            results.into_iter().map(|r| r.outcome.map_err(|refusal| refusal.kind)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Section 9: CreatePartitions answers for every topic, and 37 unless the count grows.
#[test]
fn trap_9_partitions_a_row_per_topic_and_counts_that_do_not_grow() {
    let mut script = Script::with_brokers(3);
    script.topic("t", 2, 2, &[]);
    script.topic("u", 1, 1, &[]);
    let wrong = vec![more("t", 2), more("u", 0), more("missing", 3)];
    let results = add(&mut script, wrong, false);
    assert_eq!(results, [Err(InvalidPartitions), Err(InvalidPartitions), Err(UnknownTopic)]);
    assert_eq!(add(&mut script, vec![more("t", -1)], false), [Err(InvalidPartitions)]);
    assert_eq!(add(&mut script, vec![more("t", i32::MAX)], false), [Err(PolicyViolation)]);

    let before = script.state.clone();
    assert_eq!(add(&mut script, vec![more("t", 5)], true), [Ok(())]);
    assert_eq!(script.state, before);
    assert_eq!(add(&mut script, vec![more("t", 5), more("u", 3)], false), [Ok(()), Ok(())]);
    let topic = script.state.topic_by_name("t").expect("there").clone();
    assert_eq!(topic.partition_count(), 5);
    assert!(topic.partitions().all(|(_, partition)| partition.replicas.len() == 2));
    let added = TopicChange::Changed([2, 3, 4].map(PartitionIndex).into());
    assert_eq!(script.delta.topics[&topic.id], added);
}

#[test]
fn partitions_chosen_by_hand_must_fit_the_topic() {
    let mut script = Script::with_brokers(3);
    script.topic("t", 1, 2, &[]);
    let mut ask = |count: i32, assignments: &[&[i32]]| {
        let assignments =
            assignments.iter().map(|ids| ids.iter().copied().map(NodeId).collect()).collect();
        let topic = MorePartitions { assignments: Some(assignments), ..more("t", count) };
        add(&mut script, vec![topic], false).remove(0)
    };
    assert_eq!(ask(3, &[&[1, 2]]), Err(InvalidReplicaAssignment));
    assert_eq!(ask(2, &[&[1]]), Err(InvalidReplicaAssignment));
    assert_eq!(ask(2, &[&[1, 9]]), Err(InvalidReplicaAssignment));
    assert_eq!(ask(2, &[&[3, 1]]), Ok(()));
    assert_eq!(script.show("t", 1), "3,1 / 3,1 /  / 3 @ 0.0");
}

#[test]
fn deltas_merge_without_losing_anything_and_agree_with_a_comparison() {
    let mut script = Script::with_brokers(2);
    script.topic("stays", 2, 1, &[]);
    script.topic("goes", 1, 1, &[("retention.ms", "5")]);
    let before = script.state.clone();
    let mut total = Delta::default();
    script.topic("new", 1, 1, &[("segment.ms", "5")]);
    total.merge(script.delta.clone());
    for (name, count) in [("new", 2), ("stays", 4)] {
        add(&mut script, vec![more(name, count)], false);
        total.merge(script.delta.clone());
    }
    let goes = DeleteTopics { topics: vec![TopicSelector::Name("goes".into())] };
    script.apply(Command::DeleteTopics(goes));
    total.merge(script.delta.clone());
    script.fence(2);
    total.merge(script.delta.clone());
    assert_eq!(total, Delta::between(&before, &script.state));
}
