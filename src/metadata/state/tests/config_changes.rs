//! Changing and describing configs.

use super::super::configs::{
    BROKER_CONFIGS, ConfigLayers, ConfigResource, ConfigSource, StaticConfigs, TOPIC_CONFIGS,
    TopicConfig,
};
use super::*;
use crate::types::TopicName;

fn topic(name: &str) -> ConfigResource {
    ConfigResource::Topic(TopicName::new(name).expect("valid"))
}

fn op(name: &str, kind: ConfigOpKind, value: &str) -> ConfigOp {
    ConfigOp { name: name.to_owned(), kind, value: Some(value.to_owned()) }
}

fn alter(
    script: &mut Script,
    resource: ConfigResource,
    change: ConfigChange,
) -> Result<(), RefusalKind> {
    let resources = vec![ConfigAlteration { resource, change }];
    match script.apply(Command::AlterConfigs(AlterConfigs { resources, validate_only: false })) {
        Response::AlterConfigs(results) => results[0].clone().map_err(|refusal| refusal.kind),
        other => panic!("{other:?}"),
    }
}

fn incremental(
    script: &mut Script,
    resource: ConfigResource,
    ops: &[ConfigOp],
) -> Result<(), RefusalKind> {
    alter(script, resource, ConfigChange::Incremental(ops.to_vec()))
}

fn get(script: &Script, name: &str) -> Option<String> {
    script.state.configs(&topic("t"))?.get(name).cloned()
}

/// Section 9: APPEND and SUBTRACT work on lists only, start from the default, and append once.
#[test]
fn trap_9_alter_incremental_ops() {
    use ConfigOpKind::{Append, Delete, Set, Subtract};
    let mut script = Script::with_brokers(1);
    script.topic("t", 1, 1, &[]);
    let policy = "cleanup.policy";
    let mut run = |ops: &[ConfigOp]| incremental(&mut script, topic("t"), ops);

    assert_eq!(run(&[op(policy, Append, "compact")]), Ok(()));
    assert_eq!(run(&[op(policy, Append, "compact")]), Ok(()));
    assert_eq!(run(&[op("retention.ms", Append, "5")]), Err(RefusalKind::InvalidConfig));
    assert_eq!(run(&[op("retention.ms", Subtract, "5")]), Err(RefusalKind::InvalidConfig));
    assert_eq!(run(&[op("unknown", Append, "5")]), Err(RefusalKind::InvalidConfig));
    assert_eq!(run(&[op(policy, Append, "shred")]), Err(RefusalKind::InvalidConfig));
    let null = ConfigOp { value: None, ..op("retention.ms", Set, "") };
    assert_eq!(run(&[null]), Err(RefusalKind::InvalidRequest));
    let twice = [op("retention.ms", Set, "1"), op("retention.ms", Set, "2")];
    assert_eq!(run(&twice), Err(RefusalKind::InvalidRequest));
    // A wrong key holds back the right one beside it.
    let mixed = [op("retention.ms", Set, "1"), op("segment.ms", Set, "0")];
    assert_eq!(run(&mixed), Err(RefusalKind::InvalidConfig));
    assert_eq!(get(&script, policy).as_deref(), Some("delete,compact"));
    assert_eq!(get(&script, "retention.ms"), None);

    let mut run = |ops: &[ConfigOp]| incremental(&mut script, topic("t"), ops);
    assert_eq!(run(&[op(policy, Subtract, "delete"), op("retention.ms", Set, "7")]), Ok(()));
    assert_eq!(run(&[op("no.such.key", Delete, "")]), Ok(()), "as in Kafka");
    assert_eq!(get(&script, policy).as_deref(), Some("compact"));
    let reset = [op(policy, Delete, ""), op("retention.ms", Delete, "")];
    assert_eq!(incremental(&mut script, topic("t"), &reset), Ok(()));
    assert_eq!(script.state.configs(&topic("t")), None);
    assert_eq!(script.delta.configs, [topic("t")].into());
    assert_eq!(incremental(&mut script, topic("t"), &reset), Ok(()));
    assert!(script.delta.is_empty(), "nothing changed");
}

/// Section 9: the old AlterConfigs replaces everything, and unknown keys are errors.
#[test]
fn trap_9_alter_legacy_replaces_everything() {
    let mut script = Script::with_brokers(1);
    script.topic("t", 1, 1, &[("retention.ms", "5"), ("segment.ms", "6")]);
    let all = |pairs: &[(&str, Option<&str>)]| {
        ConfigChange::Replace(
            pairs.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect(),
        )
    };
    let unknown = all(&[("retention.ms", Some("9")), ("retention.sm", Some("9"))]);
    assert_eq!(alter(&mut script, topic("t"), unknown), Err(RefusalKind::InvalidConfig));
    let null = all(&[("retention.ms", None)]);
    assert_eq!(alter(&mut script, topic("t"), null), Err(RefusalKind::InvalidRequest));
    assert_eq!(get(&script, "segment.ms").as_deref(), Some("6"));
    let fine = all(&[("retention.ms", Some("9"))]);
    assert_eq!(alter(&mut script, topic("t"), fine), Ok(()));
    assert_eq!(get(&script, "retention.ms").as_deref(), Some("9"));
    assert_eq!(get(&script, "segment.ms"), None, "what is not named falls back");
}

#[test]
fn configs_of_nothing_and_of_the_wrong_kind_are_refused() {
    use ConfigOpKind::Set;
    let mut script = Script::with_brokers(1);
    script.topic("t", 1, 1, &[]);
    let one = [op("retention.ms", Set, "5")];
    assert_eq!(incremental(&mut script, topic("x"), &one), Err(RefusalKind::UnknownTopic));
    let level = [op("log.retention.ms", Set, "5")];
    let broker = |id| ConfigResource::Broker(NodeId(id));
    assert_eq!(incremental(&mut script, broker(9), &level), Err(RefusalKind::BrokerNotRegistered));
    assert_eq!(incremental(&mut script, broker(1), &level), Ok(()));
    assert_eq!(incremental(&mut script, ConfigResource::BrokerDefault, &level), Ok(()));
    // A topic's config on a broker, a config that is read at the start, a bad value.
    for wrong in [
        op("retention.ms", Set, "5"),
        op("num.partitions", Set, "5"),
        op("log.retention.ms", Set, "x"),
    ] {
        assert!(incremental(&mut script, broker(1), &[wrong]).is_err());
    }
    let lag = [op("min.compaction.lag.ms", Set, "10"), op("max.compaction.lag.ms", Set, "9")];
    assert_eq!(incremental(&mut script, topic("t"), &lag), Err(RefusalKind::InvalidConfig));
}

#[test]
fn a_resource_named_twice_is_refused_and_validating_changes_nothing() {
    let mut script = Script::with_brokers(1);
    script.topic("t", 1, 1, &[]);
    let one = |value: &str| ConfigAlteration {
        resource: topic("t"),
        change: ConfigChange::Incremental(vec![op("retention.ms", ConfigOpKind::Set, value)]),
    };
    let mut run = |resources: Vec<ConfigAlteration>, validate_only| match script
        .apply(Command::AlterConfigs(AlterConfigs { resources, validate_only }))
    {
        Response::AlterConfigs(results) => {
            results.into_iter().map(|r| r.map_err(|refusal| refusal.kind)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(run(vec![one("1"), one("2")], false), [Err(RefusalKind::InvalidRequest); 2]);
    assert_eq!(run(vec![one("1")], true), [Ok(())]);
    assert_eq!(run(vec![one("x")], true), [Err(RefusalKind::InvalidConfig)]);
    assert_eq!(get(&script, "retention.ms"), None);
}

#[test]
fn definitions_are_sorted_valid_and_their_synonyms_exist() {
    for definitions in [TOPIC_CONFIGS, BROKER_CONFIGS] {
        assert!(definitions.windows(2).all(|pair| pair[0].name < pair[1].name));
        for definition in definitions {
            assert!(definition.doc.ends_with('.'), "{}", definition.name);
            for synonym in definition.synonyms {
                assert!(
                    BROKER_CONFIGS.iter().any(|broker| broker.name == synonym.name),
                    "{} stands behind {} and is not defined",
                    synonym.name,
                    definition.name
                );
            }
        }
    }
    // Every default is a value that could be set.
    let mut script = Script::with_brokers(1);
    script.topic("t", 1, 1, &[]);
    let ops: Vec<ConfigOp> = TOPIC_CONFIGS
        .iter()
        .map(|d| op(d.name, ConfigOpKind::Set, d.default.expect("topic configs have defaults")))
        .collect();
    assert_eq!(incremental(&mut script, topic("t"), &ops), Ok(()));
}

fn map(pairs: &[(&str, &str)]) -> ConfigMap {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// Section 9: the source of a value is told right, and partition counts are no configs.
#[test]
fn trap_9_describe_sources_and_no_fake_keys() {
    let own = map(&[("retention.ms", "1")]);
    let broker = map(&[("log.retention.ms", "2"), ("log.segment.bytes", "1000")]);
    let all = map(&[("log.segment.bytes", "2000"), ("message.max.bytes", "3000")]);
    let statics = StaticConfigs(map(&[("log.roll.hours", "2"), ("message.max.bytes", "4")]));
    let layers = ConfigLayers {
        topic: Some(&own),
        broker: Some(&broker),
        broker_default: Some(&all),
        statics: &statics,
        replicas: 3,
        brokers: 3,
    };
    let entries = layers.describe_topic();
    assert_eq!(entries.len(), TOPIC_CONFIGS.len(), "every config, defaults included");
    let find = |name: &str| entries.iter().find(|entry| entry.name == name).expect("listed");
    let shown = |name: &str| (find(name).value.clone().unwrap_or_default(), find(name).source);
    assert_eq!(shown("retention.ms"), ("1".into(), ConfigSource::Topic));
    assert_eq!(shown("segment.bytes"), ("1000".into(), ConfigSource::Broker));
    assert_eq!(shown("max.message.bytes"), ("3000".into(), ConfigSource::BrokerDefault));
    assert_eq!(shown("segment.ms"), ("7200000".into(), ConfigSource::StaticBroker));
    assert_eq!(shown("flush.ms"), ("9223372036854775807".into(), ConfigSource::Default));
    assert!(
        !entries.iter().any(|entry| ["partitions", "replication.factor"].contains(&entry.name))
    );
    let synonyms: Vec<_> = find("retention.ms")
        .synonyms
        .iter()
        .map(|s| (s.name, s.value.clone().unwrap_or_default(), s.source))
        .collect();
    assert_eq!(
        synonyms,
        [
            ("retention.ms", "1".into(), ConfigSource::Topic),
            ("log.retention.ms", "2".into(), ConfigSource::Broker),
            ("log.retention.hours", "168".into(), ConfigSource::Default),
        ]
    );
    let config = TopicConfig::effective(&layers);
    assert_eq!(
        (config.retention_ms, config.segment_bytes, config.message_bytes_max, config.segment_ms),
        (1, 1000, 3000, 7_200_000)
    );
    assert!(config.delete && !config.compact && !config.write_caching);
}

/// Section 9: tools read these from the broker.
#[test]
fn trap_9_describe_broker_configs_that_tools_read() {
    let statics = StaticConfigs(map(&[("num.partitions", "6"), ("node.id", "1")]));
    let layers = ConfigLayers {
        topic: None,
        broker: None,
        broker_default: None,
        statics: &statics,
        replicas: 1,
        brokers: 1,
    };
    assert_eq!(layers.broker_number("num.partitions"), Some(6));
    assert_eq!(layers.broker_number("default.replication.factor"), Some(1));
    assert_eq!(layers.broker_flag("auto.create.topics.enable"), Some(true));
    assert_eq!(layers.broker_value("no.such.config"), None);
    let entries = layers.describe_broker();
    let partitions = entries.iter().find(|e| e.name == "num.partitions").expect("listed");
    assert_eq!((partitions.source, partitions.read_only), (ConfigSource::StaticBroker, true));
    let bytes = entries.iter().find(|e| e.name == "message.max.bytes").expect("listed");
    assert_eq!((bytes.source, bytes.read_only), (ConfigSource::Default, false));
}

#[test]
fn what_all_must_agree_on_is_no_setting_of_one_process() {
    let check = |name: &str, value: &str| {
        let definition = BROKER_CONFIGS.iter().find(|definition| definition.name == name);
        definition.expect("defined").check_setting(value)
    };
    for name in ["min.insync.replicas", "unclean.leader.election.enable", "write.caching"] {
        let refusal = check(name, "1").expect_err(name);
        assert!(refusal.contains("purlin topic alter"), "{refusal}");
    }
    assert!(check("purlin.drain", "true").is_err());
    assert_eq!(check("num.partitions", "3"), Ok(()));
    assert!(check("num.partitions", "x").is_err());
}
