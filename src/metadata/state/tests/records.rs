//! The state as records: round trips, differences, and the bytes themselves.

use super::super::record::{self, Loader, RecordError, changes, fingerprint};
use super::*;
use std::collections::BTreeMap;

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

fn records(state: &State) -> Records {
    let mut all = Records::new();
    record::visit(state, |key, value| assert_eq!(all.insert(key, value), None, "keys are unique"));
    all
}

fn load(records: &Records) -> Result<State, RecordError> {
    let mut loader = Loader::default();
    for (key, value) in records {
        loader.add(key, value)?;
    }
    loader.finish()
}

fn sum(records: &Records) -> u64 {
    records.iter().fold(0, |sum, (key, value)| sum.wrapping_add(fingerprint(key, value)))
}

/// Commands that touch every kind of record, one after the other.
fn commands(script: &mut Script) -> Vec<Command> {
    let mut topic = script.new_topic("first", 3, 2);
    topic.configs = vec![("retention.ms".into(), Some("5".into()))];
    let second = script.new_topic("second", 1, 1);
    let broker_epoch = BrokerEpoch(1);
    vec![
        Command::CreateTopics(create_topics(vec![topic], false)),
        Command::CreateTopics(create_topics(vec![second], false)),
        Command::AlterConfigs(AlterConfigs {
            resources: vec![ConfigAlteration {
                resource: super::super::configs::ConfigResource::BrokerDefault,
                change: ConfigChange::Replace(vec![("log.retention.ms".into(), Some("9".into()))]),
            }],
            validate_only: false,
        }),
        Command::AllocateProducerIds(AllocateProducerIds { node_id: NodeId(1), broker_epoch }),
        Command::UpdateFeatures(UpdateFeatures {
            levels: vec![("metadata.version".into(), 1)],
            validate_only: false,
        }),
        Command::CreatePartitions(CreatePartitions {
            topics: vec![MorePartitions { name: "first".into(), count: 5, assignments: None }],
            validate_only: false,
        }),
        Command::RegisterBroker(registration(2, 9, true)),
        Command::DeleteTopics(DeleteTopics { topics: vec![TopicSelector::Name("first".into())] }),
        Command::UpdateFeatures(UpdateFeatures {
            levels: vec![("metadata.version".into(), 0)],
            validate_only: false,
        }),
    ]
}

#[test]
fn a_state_comes_back_from_its_records_and_changes_carry_one_state_into_the_next() {
    let mut script = Script::with_brokers(2);
    let mut stored = records(&script.state);
    let mut kept_sum = sum(&stored);
    for command in commands(&mut script) {
        let before = script.state.clone();
        script.apply(command);
        assert_ne!(before, script.state);
        for change in changes(&before, &script.state, &script.delta) {
            assert_ne!(change.before, change.after);
            assert_eq!(stored.get(&change.key), change.before.as_ref());
            if let Some(old) = &change.before {
                stored.remove(&change.key);
                kept_sum = kept_sum.wrapping_sub(fingerprint(&change.key, old));
            }
            if let Some(new) = change.after {
                kept_sum = kept_sum.wrapping_add(fingerprint(&change.key, &new));
                stored.insert(change.key, new);
            }
        }
        assert_eq!(stored, records(&script.state));
        assert_eq!(kept_sum, sum(&stored));
        assert_eq!(load(&stored), Ok(script.state.clone()));
    }
}

#[test]
fn records_that_are_missing_damaged_or_unknown_are_found() {
    let mut script = Script::with_brokers(2);
    for command in commands(&mut script).into_iter().take(6) {
        script.apply(command);
    }
    let whole = records(&script.state);
    for key in whole.keys().filter(|key| matches!(key[0], b'p' | b't')) {
        let mut less = whole.clone();
        less.remove(key);
        assert!(load(&less).is_err(), "without {key:02x?}");
        assert_ne!(sum(&less), sum(&whole));
    }
    for (key, value) in &whole {
        let mut newer = whole.clone();
        newer.insert(key.clone(), [&[99], &value[1..]].concat());
        assert!(matches!(load(&newer), Err(RecordError::Value { .. })), "{key:02x?}");
        let mut cut = whole.clone();
        cut.insert(key.clone(), value[..value.len() - 1].to_vec());
        assert!(load(&cut).is_err(), "{key:02x?}");
    }
    for key in [&b""[..], b"x", b"b", b"b12", b"c", b"c\x03", b"c\0no good", b"i!", b"t1", b"p12"] {
        let mut more = whole.clone();
        more.insert(key.to_vec(), vec![1, 0]);
        assert!(load(&more).is_err(), "{key:02x?}");
    }
}

/// The format of version 2. If this fails, old data directories can no longer be read: count the
/// version up, and keep reading this one.
#[test]
fn golden_bytes_of_every_kind_of_record() {
    let mut script = Script::with_brokers(1);
    let mut topic = script.new_topic("t", 1, 1);
    topic.configs = vec![("retention.ms".into(), Some("5".into()))];
    script.create(vec![topic]).remove(0).expect("created");
    script.apply(Command::UpdateFeatures(UpdateFeatures {
        levels: vec![("v".into(), 0), ("metadata.version".into(), 1)],
        validate_only: false,
    }));
    let shown: Vec<String> = records(&script.state)
        .iter()
        .map(|(key, value)| format!("{} = {}", key.escape_ascii(), value.escape_ascii()))
        .collect();
    let id = r"\x01".repeat(16);
    assert_eq!(
        shown,
        [
            format!(
                r"b\x00\x00\x00\x01 = \x02\x02{id}\x02\x01\tPLAINTEXT\x06host-1\xfb\x84#\x00\x0bhost-1:9192\x00\x01{id}\x01\x10metadata.version\x04\x00\x00\xfb\xd0\x07"
            ),
            r"c\x00t = \x02\x01\x0cretention.ms\x015".to_owned(),
            r"fmetadata.version = \x02\x02".to_owned(),
            r"i = \x02\x00".to_owned(),
            format!(r"n\x00\x00\x00\x01 = \x02\x02{id}\x0bhost-1:9192\xfb\xe8\x03\x00"),
            format!(
                r"p{id}\x00\x00\x00\x00 = \x02\x01\x02\x01\x02\x00\x01\x02\x00\x00\x00\x00\x00\x00\x00"
            ),
            format!(r"t{id} = \x02\x01t\xfb\xa0\x0f\x01"),
        ]
    );
}
