//! Elections that are asked for (KIP-460).

use super::command::{ElectLeaders, ElectionKind};
use super::delta::Delta;
use super::election::{Election, Standings};
use super::model::{Partition, State};
use super::response::{ElectionResult, Refusal, RefusalKind};
use super::sweep;
use crate::types::PartitionIndex;

/// Holds elections, each on its own.
pub(super) fn elect(
    state: &mut State,
    command: &ElectLeaders,
    delta: &mut Delta,
) -> Vec<ElectionResult> {
    let standings = Standings::of(state);
    let mut elect = |topic: &str, partition| ElectionResult {
        topic: topic.to_owned(),
        partition,
        outcome: elect_one(state, &standings, command.kind, topic, partition, delta),
    };
    if let Some(partitions) = &command.partitions {
        return partitions.iter().map(|(topic, partition)| elect(topic, *partition)).collect();
    }
    let kind = command.kind;
    let needed = |partition: &Partition| match kind {
        ElectionKind::Preferred => partition.leader != partition.replicas.first().copied(),
        ElectionKind::Unclean => partition.leader.is_none(),
    };
    let all: Vec<(String, PartitionIndex)> = (state.topics())
        .flat_map(|topic| {
            let partitions = topic.partitions().filter(|(_, partition)| needed(partition));
            partitions.map(|(index, _)| (topic.name.to_string(), index))
        })
        .collect();
    let mut elect = |(topic, partition): (String, PartitionIndex)| {
        let outcome = elect_one(state, &standings, kind, &topic, partition, delta);
        ElectionResult { topic, partition, outcome }
    };
    all.into_iter().map(&mut elect).collect()
}

fn elect_one(
    state: &mut State,
    standings: &Standings,
    kind: ElectionKind,
    topic: &str,
    index: PartitionIndex,
    delta: &mut Delta,
) -> Result<(), Refusal> {
    let (topic, before) = sweep::by_name(state, topic, index)?;
    let mut next = before.clone();
    let config = sweep::shared_config(state, &topic.name);
    let election = sweep::election(&config, standings);
    match kind {
        ElectionKind::Preferred => prefer(&election, &mut next)?,
        ElectionKind::Unclean if next.leader.is_some() => {
            return Err(not_needed("the partition has a leader"));
        }
        ElectionKind::Unclean => {}
    }
    let anyhow = kind == ElectionKind::Unclean;
    let election = Election { unclean: election.unclean || anyhow, ..election };
    let changed = election.settle(&mut next, &before, &[]);
    if next.leader.is_none() {
        return Err(Refusal::new(
            RefusalKind::EligibleLeadersNotAvailable,
            "no replica is on an active broker with storage that works",
        ));
    }
    if changed {
        sweep::put(state, delta, &topic, vec![(index, next)]);
    }
    Ok(())
}

fn not_needed(message: &str) -> Refusal {
    Refusal::new(RefusalKind::ElectionNotNeeded, message)
}

fn prefer(election: &Election<'_>, partition: &mut Partition) -> Result<(), Refusal> {
    let refuse =
        |message: String| Err(Refusal::new(RefusalKind::PreferredLeaderNotAvailable, message));
    let Some(preferred) = partition.replicas.first().copied() else {
        return refuse("the partition has no replicas".to_owned());
    };
    if partition.leader == Some(preferred) {
        return Err(not_needed("the preferred replica leads already"));
    }
    let standing = election.standings.get(preferred);
    if !standing.is_active() {
        return refuse(format!(
            "the preferred replica is on broker {preferred}, which is not active"
        ));
    }
    if !partition.isr.contains(&preferred) {
        return refuse(format!("the preferred replica, on broker {preferred}, is not in sync"));
    }
    let drained = partition.leader.is_some_and(|id| !election.standings.get(id).draining);
    if standing.draining && drained {
        return refuse(format!(
            "broker {preferred} is being drained; `purlin node drain {preferred} --undo` ends that"
        ));
    }
    partition.leader = Some(preferred);
    Ok(())
}
