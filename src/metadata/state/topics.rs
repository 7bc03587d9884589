//! Creating and deleting topics.

use super::command::{ConfigChange, CreateTopics, DeleteTopics, NewTopic, TopicSelector};
use super::configs::{self, ConfigResource};
use super::delta::Delta;
use super::election::{self, Standings};
use super::model::{ConfigMap, Partition, State, Topic};
use super::partitions::{self, check_assignment};
use super::response::{CreatedTopic, DeletedTopic, Refusal, RefusalKind, TopicResult};
use crate::limits::{PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX, TOPICS_MAX};
use crate::types::{PartitionIndex, TimestampMs, TopicId, TopicName};
use rpds::VectorSync;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Creates topics, one by one; each sees those before it.
pub(super) fn create(
    state: &mut State,
    command: CreateTopics,
    delta: &mut Delta,
) -> Vec<TopicResult<CreatedTopic>> {
    // Validating also works on a copy, so that it finds what two topics of one request do to each
    // other. A copy costs a few reference counts.
    let mut copy = state.clone();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for topic in &command.topics {
        *seen.entry(topic.name.clone()).or_default() += 1;
    }
    let factor = command.replication_factor_default;
    let defaults = Defaults {
        partitions: command.partitions_default,
        replication_factor: if factor > 0 { factor } else { state.replication_factor_derived() },
        now: command.now,
    };
    let mut results = Vec::with_capacity(command.topics.len());
    let mut created = Vec::new();
    for new in command.topics {
        let name = new.name.clone();
        let outcome = if seen.get(&name).is_some_and(|count| *count > 1) {
            Err(Refusal::new(
                RefusalKind::InvalidRequest,
                "the topic is named more than once in one request",
            ))
        } else {
            create_one(&mut copy, new, defaults)
        };
        let outcome = outcome.map(|(topic, configs)| {
            let answer = CreatedTopic {
                id: if command.validate_only { TopicId::ZERO } else { topic.id },
                partitions: i32::try_from(topic.partition_count()).unwrap_or(i32::MAX),
                replication_factor: topic.replication_factor(),
                configs: configs.clone().into_iter().collect(),
            };
            created.push((topic, !configs.is_empty()));
            answer
        });
        results.push(TopicResult { name, outcome });
    }
    if !command.validate_only {
        *state = copy;
        for (topic, has_configs) in created {
            delta.create_topic(topic.id);
            if has_configs {
                delta.configs.insert(ConfigResource::Topic(topic.name));
            }
        }
    }
    results
}

#[derive(Debug, Clone, Copy)]
struct Defaults {
    partitions: i32,
    replication_factor: i16,
    now: TimestampMs,
}

fn create_one(
    state: &mut State,
    new: NewTopic,
    defaults: Defaults,
) -> Result<(Topic, ConfigMap), Refusal> {
    let name = check_name(state, &new.name)?;
    if state.topic_count() >= TOPICS_MAX {
        return Err(Refusal::new(
            RefusalKind::PolicyViolation,
            format!("the cluster has {TOPICS_MAX} topics, and may not have more"),
        ));
    }
    let configs = check_configs(&name, &new.configs)?;
    let partitions = if new.assignments.is_empty() {
        placed_partitions(state, &new, defaults)?
    } else {
        assigned_partitions(state, &new)?
    };
    check_bounds(state, partitions.len())?;
    if new.id.is_zero() || state.topic_names.contains_key(&new.id) {
        // Ids are random and put in by us: this is a mistake of the proposer, not of a client.
        return Err(Refusal::new(RefusalKind::InvalidRequest, "the topic id is not a new one"));
    }
    let topic = Topic {
        name: name.clone(),
        id: new.id,
        created_at: defaults.now,
        partitions: partitions.into_iter().map(Arc::new).collect::<VectorSync<_>>(),
    };
    insert(state, topic.clone());
    if !configs.is_empty() {
        state.configs.insert_mut(ConfigResource::Topic(name), Arc::new(configs.clone()));
    }
    Ok((topic, configs))
}

/// Puts a topic in, with all that follows from it.
pub(super) fn insert(state: &mut State, topic: Topic) {
    state.partition_count += topic.partition_count();
    state.topic_names.insert_mut(topic.id, topic.name.clone());
    state.collision_keys.insert_mut(topic.name.collision_key(), topic.name.clone());
    state.topics.insert_mut(topic.name.clone(), topic);
}

fn check_name(state: &State, text: &str) -> Result<TopicName, Refusal> {
    if text == "__cluster_metadata" {
        return Err(Refusal::new(
            RefusalKind::InvalidRequest,
            "the name __cluster_metadata is reserved",
        ));
    }
    let name = TopicName::new(text)
        .map_err(|error| Refusal::new(RefusalKind::InvalidTopic, error.to_string()))?;
    if state.topic_by_name(text).is_some() {
        return Err(Refusal::new(
            RefusalKind::TopicExists,
            format!("topic '{text}' already exists"),
        ));
    }
    if let Some(other) = state.collision_keys.get(&name.collision_key()) {
        return Err(Refusal::new(
            RefusalKind::InvalidTopic,
            format!("topic '{text}' differs from topic '{other}' only in '.' and '_'"),
        ));
    }
    Ok(name)
}

fn check_configs(
    name: &TopicName,
    given: &[(String, Option<String>)],
) -> Result<ConfigMap, Refusal> {
    let nulls: Vec<&str> =
        given.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect();
    if !nulls.is_empty() {
        return Err(Refusal::new(
            RefusalKind::InvalidConfig,
            format!("topic configs without a value: {}", nulls.join(", ")),
        ));
    }
    let change = ConfigChange::Replace(given.to_vec());
    configs::changed(&ConfigResource::Topic(name.clone()), &ConfigMap::new(), &change)
}

fn placed_partitions(
    state: &State,
    new: &NewTopic,
    defaults: Defaults,
) -> Result<Vec<Partition>, Refusal> {
    if new.replication_factor < -1 || new.replication_factor == 0 {
        return Err(Refusal::new(
            RefusalKind::InvalidReplicationFactor,
            "the replication factor must be at least 1, or -1 for the default",
        ));
    }
    if new.partitions < -1 || new.partitions == 0 {
        return Err(Refusal::new(
            RefusalKind::InvalidPartitions,
            "the number of partitions must be at least 1, or -1 for the default",
        ));
    }
    let or_default = |asked: i32, default: i32| if asked == -1 { default.max(1) } else { asked };
    let count = or_default(new.partitions, defaults.partitions);
    let factor = or_default(new.replication_factor.into(), defaults.replication_factor.into());
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let factor = usize::try_from(factor).unwrap_or(usize::MAX);
    check_bounds(state, count)?;
    partitions::placed(state, new.id, 0, count, factor)
}

fn assigned_partitions(state: &State, new: &NewTopic) -> Result<Vec<Partition>, Refusal> {
    let invalid = |what: &str| {
        let message = format!("where replicas are given by hand, the {what} must be -1");
        Err(Refusal::new(RefusalKind::InvalidRequest, message))
    };
    if new.replication_factor != -1 {
        return invalid("replication factor");
    }
    if new.partitions != -1 {
        return invalid("number of partitions");
    }
    let refuse = |message: String| Refusal::new(RefusalKind::InvalidReplicaAssignment, message);
    let standings = Standings::of(state);
    let mut by_index: BTreeMap<PartitionIndex, Partition> = BTreeMap::new();
    let mut factor = None;
    for (index, replicas) in &new.assignments {
        check_assignment(state, replicas, factor)?;
        factor = Some(replicas.len());
        let partition = election::new_partition(replicas.clone(), &standings);
        let partition = partition.ok_or_else(|| {
            refuse(format!("no broker among the replicas given for partition {index} is active"))
        })?;
        if by_index.insert(*index, partition).is_some() {
            return Err(refuse(format!(
                "replicas were given more than once for partition {index}"
            )));
        }
    }
    let consecutive = by_index.keys().zip(0..).all(|(index, expected)| index.0 == expected);
    if !consecutive {
        return Err(refuse(
            "replicas must be given for partitions 0, 1, 2 and so on, without a gap".to_owned(),
        ));
    }
    Ok(by_index.into_values().collect())
}

/// Refuses what would lift the cluster over one of its bounds.
pub(super) fn check_bounds(state: &State, more_partitions: usize) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(RefusalKind::PolicyViolation, message));
    if more_partitions > PARTITIONS_PER_TOPIC_MAX {
        return refuse(format!(
            "{more_partitions} partitions are more than the {PARTITIONS_PER_TOPIC_MAX} that one \
             topic may have"
        ));
    }
    if state.partition_count().saturating_add(more_partitions) > PARTITIONS_MAX {
        return refuse(format!(
            "the cluster has {} partitions; {more_partitions} more would exceed its bound of \
             {PARTITIONS_MAX}",
            state.partition_count()
        ));
    }
    Ok(())
}

/// Deletes topics, by name or id.
pub(super) fn delete(
    state: &mut State,
    command: DeleteTopics,
    delta: &mut Delta,
) -> Vec<DeletedTopic> {
    command.topics.into_iter().map(|selector| delete_one(state, selector, delta)).collect()
}

fn delete_one(state: &mut State, selector: TopicSelector, delta: &mut Delta) -> DeletedTopic {
    let found = match &selector {
        TopicSelector::Name(name) => state.topic_by_name(name).cloned(),
        TopicSelector::Id(id) => state.topic_by_id(*id).cloned(),
    };
    let Some(topic) = found else {
        return match selector {
            TopicSelector::Name(name) => DeletedTopic {
                outcome: Err(Refusal::new(
                    RefusalKind::UnknownTopic,
                    format!("there is no topic '{name}'"),
                )),
                name: Some(name),
                id: TopicId::ZERO,
            },
            TopicSelector::Id(id) => DeletedTopic {
                name: None,
                id,
                outcome: Err(Refusal::new(
                    RefusalKind::UnknownTopicId,
                    format!("there is no topic with id {id}"),
                )),
            },
        };
    };
    remove(state, &topic);
    let resource = ConfigResource::Topic(topic.name.clone());
    if state.configs.remove_mut(&resource) {
        delta.configs.insert(resource);
    }
    delta.delete_topic(topic.id, topic.name.clone());
    DeletedTopic { name: Some(topic.name.into()), id: topic.id, outcome: Ok(()) }
}

/// Takes a topic out, with all that follows from it, but its configs.
pub(super) fn remove(state: &mut State, topic: &Topic) {
    state.partition_count = state.partition_count.saturating_sub(topic.partition_count());
    state.topics.remove_mut(&topic.name);
    state.topic_names.remove_mut(&topic.id);
    state.collision_keys.remove_mut(&topic.name.collision_key());
}
