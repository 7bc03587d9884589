//! Elections that are asked for, drains, and what configs do to leaders.

use super::super::configs::{ConfigLayers, ConfigResource, StaticConfigs};
use super::*;
use crate::types::TopicName;
use RefusalKind::{
    ElectionNotNeeded, EligibleLeadersNotAvailable, PreferredLeaderNotAvailable, UnknownTopic,
};

fn elect(
    script: &mut Script,
    kind: ElectionKind,
    partitions: Option<&[(&str, i32)]>,
) -> Vec<(String, i32, Result<(), RefusalKind>)> {
    let pair = |(topic, index): &(&str, i32)| ((*topic).to_owned(), PartitionIndex(*index));
    let partitions = partitions.map(|partitions| partitions.iter().map(pair).collect());
    match script.apply(Command::ElectLeaders(ElectLeaders { kind, partitions })) {
        Response::ElectLeaders(results) => results
            .into_iter()
            .map(|r| (r.topic, r.partition.0, r.outcome.map_err(|refusal| refusal.kind)))
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// Section 9: 84 where the preferred replica leads already, 80 where it cannot, 83 where nobody
/// can.
#[test]
fn trap_9_tools_elections_and_their_codes() {
    let mut script = Script::with_brokers(3);
    script.by_hand("t", &[&[1, 2], &[2, 1], &[1, 2]], &[]);
    script.by_hand("u", &[&[3]], &[]);
    script.fence(1);
    script.change(1, false, false).expect("unfences");
    script.isr("t", 0, &[1, 2]);
    script.fence(3);
    let asked = [("t", 0), ("t", 1), ("t", 2), ("u", 0), ("t", 9), ("x", 0)];
    let results = elect(&mut script, ElectionKind::Preferred, Some(&asked));
    let outcomes: Vec<_> = results.into_iter().map(|(_, _, outcome)| outcome).collect();
    assert_eq!(
        outcomes,
        [
            Ok(()),
            Err(ElectionNotNeeded),
            Err(PreferredLeaderNotAvailable),
            Err(PreferredLeaderNotAvailable),
            Err(UnknownTopic),
            Err(UnknownTopic)
        ]
    );
    assert_eq!(script.show("t", 0), "1,2 / 1,2 /  / 1 @ 2.3");
    assert_eq!(script.show("t", 2), "1,2 / 2 /  / 2 @ 1.1");
    let results = elect(&mut script, ElectionKind::Unclean, Some(&[("t", 0), ("u", 0)]));
    let outcomes: Vec<_> = results.into_iter().map(|(_, _, outcome)| outcome).collect();
    assert_eq!(outcomes, [Err(ElectionNotNeeded), Err(EligibleLeadersNotAvailable)]);
    // All partitions: those that need nothing are not mentioned.
    script.isr("t", 2, &[1, 2]);
    let results = elect(&mut script, ElectionKind::Preferred, None);
    assert_eq!(
        results,
        [("t".into(), 2, Ok(())), ("u".into(), 0, Err(PreferredLeaderNotAvailable))]
    );
}

#[test]
fn an_unclean_election_that_is_asked_for_takes_whom_it_finds_and_says_so() {
    let mut script = Script::with_brokers(2);
    script.by_hand("t", &[&[1, 2]], &[]);
    script.isr("t", 0, &[1]);
    script.fence(1);
    assert_eq!(script.show("t", 0), "1,2 /  / 1 / - @ 1.2");
    let results = elect(&mut script, ElectionKind::Unclean, None);
    assert_eq!(results, [("t".into(), 0, Ok(()))]);
    assert_eq!(script.show("t", 0), "1,2 / 2 /  / 2 @ 2.3");
    assert_eq!(script.partition("t", 0).recovery, LeaderRecoveryState::Recovering);
    // Until it has recovered, its ISR is itself alone.
    script.change(1, false, false).expect("unfences");
    let early = IsrChange {
        recovery: LeaderRecoveryState::Recovering,
        ..script.isr_change("t", 0, &[1, 2])
    };
    assert_eq!(script.ask(2, early), Err(RefusalKind::InvalidRequest));
    script.isr("t", 0, &[1, 2]);
    assert_eq!(script.partition("t", 0).recovery, LeaderRecoveryState::Recovered);
}

#[test]
fn where_the_config_allows_it_anybody_leads_also_when_it_is_set_later() {
    for everywhere in [false, true] {
        let mut script = Script::with_brokers(2);
        script.by_hand("t", &[&[1, 2]], &[]);
        script.isr("t", 0, &[1]);
        script.fence(1);
        assert_eq!(script.partition("t", 0).leader, None);
        let resource = if everywhere {
            ConfigResource::BrokerDefault
        } else {
            ConfigResource::Topic(script.state.topic_by_name("t").expect("there").name.clone())
        };
        script.set(resource, "unclean.leader.election.enable", "true");
        assert_eq!(script.show("t", 0), "1,2 / 2 /  / 2 @ 2.3");
        // And from now on at once.
        script.fence(2);
        assert_eq!(script.partition("t", 0).leader, None);
        script.change(1, false, false).expect("unfences");
        assert_eq!(script.show("t", 0), "1,2 / 1 /  / 1 @ 4.5");
    }
}

#[test]
fn a_lower_minimum_empties_the_elr_and_a_higher_one_makes_leaders_look_again() {
    let mut script = Script::with_brokers(3);
    script.by_hand("t", &[&[1, 2, 3]], &[]);
    let topic = || ConfigResource::Topic(TopicName::new("t").expect("a name"));
    script.isr("t", 0, &[1]);
    assert_eq!(script.show("t", 0), "1,2,3 / 1 / 2,3 / 1 @ 0.1");
    // From now on 1 may commit alone, and the others may lack that.
    script.set(topic(), "min.insync.replicas", "1");
    assert_eq!(script.show("t", 0), "1,2,3 / 1 /  / 1 @ 0.2");
    script.isr("t", 0, &[1, 2]);
    // A leader that still commits alone must not shrink its ISR into an ELR.
    let old = script.isr_change("t", 0, &[1]);
    script.set(topic(), "min.insync.replicas", "2");
    assert_eq!(script.show("t", 0), "1,2,3 / 1,2 /  / 1 @ 0.4");
    assert_eq!(script.ask(1, old), Err(RefusalKind::InvalidUpdateVersion));
    script.set(topic(), "min.insync.replicas", "");
    assert!(script.delta.topics.is_empty(), "2 of 3 is what it was");
}

#[test]
fn what_all_must_agree_on_is_not_set_for_one_broker() {
    let mut script = Script::with_brokers(1);
    for (name, value) in [
        ("min.insync.replicas", "1"),
        ("unclean.leader.election.enable", "true"),
        ("write.caching", "true"),
    ] {
        let alteration = |resource| ConfigAlteration {
            resource,
            change: ConfigChange::Replace(vec![(name.to_owned(), Some(value.to_owned()))]),
        };
        let resources = vec![
            alteration(ConfigResource::Broker(NodeId(1))),
            alteration(ConfigResource::BrokerDefault),
        ];
        let command = AlterConfigs { resources, validate_only: false };
        let Response::AlterConfigs(results) = script.apply(Command::AlterConfigs(command)) else {
            panic!("answered in kind")
        };
        assert_eq!(results[0].as_ref().expect_err(name).kind, RefusalKind::InvalidRequest);
        assert!(results[1].is_ok(), "{name}");
    }
}

#[test]
fn a_drained_broker_hands_its_leaderships_over_keeps_its_replicas_and_gets_them_back() {
    let mut script = Script::with_brokers(3);
    script.by_hand("t", &[&[1, 2], &[2, 1]], &[]);
    script.by_hand("single", &[&[1]], &[]);
    script.drain(1, true);
    assert!(script.state.is_draining(NodeId(1)));
    assert_eq!(script.show("t", 0), "1,2 / 1,2 /  / 2 @ 1.1");
    assert_eq!(script.show("single", 0), "1 / 1 /  / 1 @ 0.0", "nobody else can");
    let preferred = elect(&mut script, ElectionKind::Preferred, Some(&[("t", 0)]));
    assert_eq!(preferred[0].2, Err(PreferredLeaderNotAvailable));
    assert_eq!(plan::plan_preferred_leaders(&script.state, 0, 10), []);
    script.topic("new", 6, 2, &[]);
    for partition in 0..6 {
        assert!(!script.partition("new", partition).replicas.contains(&NodeId(1)));
    }
    script.topic("wide", 6, 3, &[]);
    for partition in 0..6 {
        let wide = script.partition("wide", partition);
        assert!(wide.leader != Some(NodeId(1)) && wide.replicas.last() == Some(&NodeId(1)));
    }
    script.fence(2);
    assert_eq!(script.partition("t", 0).leader, Some(NodeId(1)), "the only one there is");
    script.change(2, false, false).expect("unfences");
    script.isr("t", 0, &[1, 2]);
    assert_eq!(script.partition("t", 0).leader, Some(NodeId(2)), "at once");
    script.drain(1, false);
    assert_eq!(script.partition("t", 0).leader, Some(NodeId(2)), "not by itself");
    let due = plan::plan_preferred_leaders(&script.state, 10, 10);
    assert_eq!(due, [("t".to_owned(), PartitionIndex(0))]);
    let due: Vec<(&str, i32)> = due.iter().map(|(topic, index)| (&topic[..], index.0)).collect();
    elect(&mut script, ElectionKind::Preferred, Some(&due));
    assert_eq!(script.partition("t", 0).leader, Some(NodeId(1)));
}

#[test]
fn leaders_go_back_to_preferred_replicas_beyond_an_imbalance() {
    let mut script = Script::with_brokers(2);
    script.by_hand("t", &[&[1, 2][..]; 10], &[]);
    script.by_hand("u", &[&[2, 1][..]; 5], &[]);
    script.fence(1);
    script.change(1, false, false).expect("unfences");
    assert_eq!(plan::plan_preferred_leaders(&script.state, 0, 100), [], "not in sync yet");
    for partition in 0..10 {
        script.isr("t", partition, &[1, 2]);
    }
    assert_eq!(plan::plan_preferred_leaders(&script.state, 10, 3).len(), 3);
    let all = plan::plan_preferred_leaders(&script.state, 10, 100);
    assert_eq!(all.len(), 10);
    let nine: Vec<(&str, i32)> = all[..9].iter().map(|(topic, i)| (&topic[..], i.0)).collect();
    elect(&mut script, ElectionKind::Preferred, Some(&nine));
    assert_eq!(plan::plan_preferred_leaders(&script.state, 10, 100), [], "10 % is fine");
    assert_eq!(plan::plan_preferred_leaders(&script.state, 9, 100).len(), 1);
}

/// Leaderships and ISRs change in one step with the announcement to stop (KIP-841).
#[test]
fn a_stopping_broker_leads_to_its_end_what_nobody_else_can() {
    let mut script = Script::with_brokers(2);
    script.by_hand("t", &[&[1, 2], &[1, 2]], &[("min.insync.replicas", "2")]);
    script.isr("t", 1, &[1]);
    script.change(1, false, true).expect("stopping");
    assert_eq!(script.show("t", 0), "1,2 / 2 / 1 / 2 @ 1.1");
    assert_eq!(script.show("t", 1), "1,2 / 1 / 2 / 1 @ 0.1");
    let alone = script.isr_change("t", 1, &[1]);
    assert!(script.ask(1, alone).is_ok(), "it goes on as before");
    script.isr("t", 1, &[1, 2]);
    assert_eq!(script.show("t", 1), "1,2 / 2 / 1 / 2 @ 1.2", "now somebody can");
    script.fence(1);
    assert_eq!(script.show("t", 1), "1,2 / 2 / 1 / 2 @ 1.2");
}

#[test]
fn minimum_and_replication_factor_follow_the_cluster_where_they_are_not_set() {
    let mut script = Script::with_brokers(1);
    let create = |script: &mut Script, name: &str| {
        let new = script.new_topic(name, 1, -1);
        let command =
            CreateTopics { replication_factor_default: -1, ..create_topics(vec![new], false) };
        match script.apply(Command::CreateTopics(command)) {
            Response::CreateTopics(results) => {
                results[0].outcome.as_ref().expect("created").replication_factor
            }
            other => panic!("{other:?}"),
        }
    };
    let describe = |script: &Script, name: &str| {
        let topic = script.state.topic_by_name(name).expect("there");
        let statics = StaticConfigs::default();
        let layers = ConfigLayers {
            topic: None,
            broker: None,
            broker_default: script.state.configs(&ConfigResource::BrokerDefault),
            statics: &statics,
            replicas: usize::try_from(topic.replication_factor()).expect("positive"),
            brokers: script.state.broker_count(),
        };
        let shown = layers.describe_topic();
        let shown = shown.iter().find(|entry| entry.name == "min.insync.replicas");
        let partition = topic.partition(PartitionIndex(0)).expect("one");
        let counts = script.state.insync_replicas_min(&topic.name, partition);
        assert_eq!(shown.and_then(|entry| entry.value.clone()), Some(counts.to_string()));
        let factor = layers.broker_value("default.replication.factor");
        (counts, factor.expect("a default"))
    };
    assert_eq!(create(&mut script, "one"), 1);
    assert_eq!(describe(&script, "one"), (1, "1".to_owned()));
    script.start_broker(2, 1, true);
    assert_eq!(create(&mut script, "two"), 2);
    assert_eq!(describe(&script, "two"), (1, "2".to_owned()));
    for id in [3, 4] {
        script.start_broker(id, 1, true);
    }
    assert_eq!(create(&mut script, "three"), 3);
    assert_eq!(describe(&script, "three"), (2, "3".to_owned()));
    assert_eq!(describe(&script, "one"), (1, "3".to_owned()));
    // The first topic grows, and its minimum with it, once the copies are there.
    script.reassign("one", 0, Some(&[1, 2, 3])).expect("started");
    assert_eq!(describe_min(&script, "one"), 1);
    script.isr("one", 0, &[1, 2, 3]);
    assert_eq!(describe(&script, "one"), (2, "3".to_owned()));
}

fn describe_min(script: &Script, name: &str) -> usize {
    let topic = script.state.topic_by_name(name).expect("there");
    script.state.insync_replicas_min(&topic.name, &script.partition(name, 0))
}
