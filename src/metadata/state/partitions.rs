//! Adding partitions to topics.

use super::command::{CreatePartitions, MorePartitions};
use super::delta::Delta;
use super::election::{self, Standings};
use super::model::{Partition, State, Topic};
use super::placement::{self, Candidate};
use super::response::{Refusal, RefusalKind, TopicResult};
use super::topics::check_bounds;
use crate::limits::PARTITIONS_PER_TOPIC_MAX;
use crate::types::{NodeId, PartitionIndex, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Adds partitions, topic by topic.
pub(super) fn create(
    state: &mut State,
    command: CreatePartitions,
    delta: &mut Delta,
) -> Vec<TopicResult<()>> {
    let mut copy = state.clone();
    let mut changes = Delta::default();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for topic in &command.topics {
        *seen.entry(topic.name.clone()).or_default() += 1;
    }
    let results = command
        .topics
        .into_iter()
        .map(|more| {
            let name = more.name.clone();
            let outcome = if seen.get(&name).is_some_and(|count| *count > 1) {
                Err(Refusal::new(RefusalKind::InvalidRequest, "Duplicate topic name."))
            } else {
                create_one(&mut copy, more, &mut changes)
            };
            TopicResult { name, outcome }
        })
        .collect();
    if !command.validate_only {
        *state = copy;
        delta.merge(changes);
    }
    results
}

fn create_one(state: &mut State, more: MorePartitions, delta: &mut Delta) -> Result<(), Refusal> {
    let Some(topic) = state.topic_by_name(&more.name).cloned() else {
        return Err(Refusal::new(
            RefusalKind::UnknownTopic,
            format!("there is no topic '{}'", more.name),
        ));
    };
    let added = added_partitions(state, &topic, &more)?;
    let first = i32::try_from(topic.partition_count()).unwrap_or(i32::MAX);
    let indexes: Vec<PartitionIndex> = (first..).take(added.len()).map(PartitionIndex).collect();
    state.partition_count += added.len();
    if let Some(topic) = state.topics.get_mut(&topic.name) {
        for partition in added {
            topic.partitions.push_back_mut(Arc::new(partition));
        }
    }
    delta.change_partitions(topic.id, indexes);
    Ok(())
}

fn added_partitions(
    state: &State,
    topic: &Topic,
    more: &MorePartitions,
) -> Result<Vec<Partition>, Refusal> {
    let current = topic.partition_count();
    let refuse = |message: String| Err(Refusal::new(RefusalKind::InvalidPartitions, message));
    let count = usize::try_from(more.count).unwrap_or(0);
    if count == current {
        return refuse(format!("topic '{}' has {current} partitions already", topic.name));
    }
    if count < current {
        return refuse(format!(
            "topic '{}' has {current} partitions; their number can only grow, not become {}",
            topic.name, more.count
        ));
    }
    if count > PARTITIONS_PER_TOPIC_MAX {
        return Err(Refusal::new(
            RefusalKind::PolicyViolation,
            format!(
                "{count} partitions are more than the {PARTITIONS_PER_TOPIC_MAX} that one topic \
                 may have"
            ),
        ));
    }
    let additional = count - current;
    check_bounds(state, additional)?;
    let factor = topic.partitions.first().map_or(1, |first| first.target().len());
    match &more.assignments {
        Some(assignments) => assigned(state, assignments, additional, current, factor),
        None => placed(state, topic.id, current, additional, factor),
    }
}

/// Partitions `first .. first + count` of a topic on replicas chosen by its id.
pub(super) fn placed(
    state: &State,
    id: TopicId,
    first: usize,
    count: usize,
    factor: usize,
) -> Result<Vec<Partition>, Refusal> {
    let candidates = Candidate::all(state);
    let standings = Standings::of(state);
    placement::place(&candidates, seed(id), first, count, factor)?
        .into_iter()
        .map(|replicas| {
            election::new_partition(replicas, &standings).ok_or_else(|| {
                Refusal::new(
                    RefusalKind::InvalidReplicationFactor,
                    "no broker is active to hold the partition",
                )
            })
        })
        .collect()
}

fn assigned(
    state: &State,
    assignments: &[Vec<NodeId>],
    additional: usize,
    first: usize,
    factor: usize,
) -> Result<Vec<Partition>, Refusal> {
    let refuse = |message: String| Refusal::new(RefusalKind::InvalidReplicaAssignment, message);
    if assignments.len() != additional {
        return Err(refuse(format!(
            "{additional} partitions are to be added, but replicas were given for {}",
            assignments.len()
        )));
    }
    let standings = Standings::of(state);
    (first..)
        .zip(assignments)
        .map(|(index, replicas)| {
            check_assignment(state, replicas, Some(factor))?;
            election::new_partition(replicas.clone(), &standings).ok_or_else(|| {
                refuse(format!(
                    "no broker among the replicas given for partition {index} is active"
                ))
            })
        })
        .collect()
}

/// Checks the replicas that a person chose for one partition.
pub(super) fn check_assignment(
    state: &State,
    replicas: &[NodeId],
    factor: Option<usize>,
) -> Result<(), Refusal> {
    let refuse =
        |message: String| Err(Refusal::new(RefusalKind::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return refuse("a partition was given an empty list of replicas".into());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return refuse(format!("a partition was given broker {} more than once", pair[0]));
    }
    if let Some(unknown) = sorted.iter().find(|id| state.broker(**id).is_none()) {
        return refuse(format!("a partition was given broker {unknown}, which is not registered"));
    }
    match factor {
        Some(factor) if factor != replicas.len() => refuse(format!(
            "a partition was given {} replicas, where the topic's others have {factor}",
            replicas.len()
        )),
        _ => Ok(()),
    }
}

/// Where a topic's placement starts: part of its random id.
fn seed(id: TopicId) -> u64 {
    // The first bytes of a version 4 id carry fixed bits; the last eight are random but for two.
    id.0[8..].iter().fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}
