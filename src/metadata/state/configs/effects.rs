//! What a change of configs does to partitions, in the same command.

use super::super::command::ConfigAlteration;
use super::super::delta::Delta;
use super::super::election::{Standings, insync_min};
use super::super::model::{ConfigMap, Partition, State, Topic};
use super::super::response::{Refusal, RefusalKind};
use super::super::sweep::{self, shared_config};
use super::{ConfigResource, SharedConfig};
use crate::types::NodeId;

/// Holds the elections that follow from configs that changed since `before`.
///
/// - `unclean.leader.election.enable` may give a leader to partitions without one.
/// - `min.insync.replicas` decides about the ELR. A lower one empties it where enough are in sync.
///   After a higher one, a leader that has not heard of it must not shrink its ISR into an ELR that
///   it does not count with, so every partition gets a new partition epoch.
/// - Once `write.caching` is off, an unclean stop costs no eligibility any more. A replica that is
///   down may have acknowledged records that it never synced, so where another one leads it leaves
///   the ELR now. (Where nobody leads the change is refused: [`check_caching`].) Those that live
///   sync at once.
/// - `purlin.drain` moves leaderships away.
pub(super) fn carry_out(
    before: &State,
    state: &mut State,
    changed: &[ConfigAlteration],
    delta: &mut Delta,
) {
    let mut drain = false;
    for alteration in changed {
        let resource = &alteration.resource;
        if before.configs(resource) == state.configs(resource) {
            continue;
        }
        match resource {
            ConfigResource::Topic(name) => {
                let topic = state.topic_by_name(name.as_str()).cloned();
                topic.iter().for_each(|topic| topic_changed(before, state, topic, delta));
            }
            ConfigResource::BrokerDefault => {
                let topics: Vec<Topic> = state.topics().cloned().collect();
                topics.iter().for_each(|topic| topic_changed(before, state, topic, delta));
            }
            ConfigResource::Broker(id) => {
                drain |= before.is_draining(*id) != state.is_draining(*id);
            }
        }
    }
    if drain {
        let standings = Standings::of(state);
        let concerned = |partition: &Partition| {
            partition.leader.is_some_and(|leader| standings.get(leader).draining)
        };
        sweep::sweep(state, delta, &standings, concerned, |election, _, partition| {
            let before = partition.clone();
            election.settle(partition, &before, &[])
        });
    }
}

/// Refuses to switch `write.caching` off where a partition has no leader: which of its replicas has
/// everything shows only when they come back, and by whether they stopped cleanly.
pub(super) fn check_caching(
    state: &State,
    resource: &ConfigResource,
    configs: &ConfigMap,
) -> Result<(), Refusal> {
    let default = state.configs(&ConfigResource::BrokerDefault);
    let next = |topic: &Topic| match resource {
        ConfigResource::Topic(name) if *name == topic.name => {
            SharedConfig::of(Some(configs), default)
        }
        ConfigResource::BrokerDefault => {
            let own = state.configs(&ConfigResource::Topic(topic.name.clone()));
            SharedConfig::of(own, Some(configs))
        }
        _ => shared_config(state, &topic.name),
    };
    for topic in state.topics() {
        let off = shared_config(state, &topic.name).write_caching && !next(topic).write_caching;
        let undecided = |(_, partition): &(_, &Partition)| {
            partition.leader.is_none() && !partition.elr.is_empty()
        };
        if off && let Some((index, _)) = topic.partitions().find(undecided) {
            return Err(Refusal::new(
                RefusalKind::PolicyViolation,
                format!(
                    "write.caching cannot be switched off while {}-{index} has no leader: start \
                     its brokers first",
                    topic.name
                ),
            ));
        }
    }
    Ok(())
}

fn topic_changed(before: &State, state: &mut State, topic: &Topic, delta: &mut Delta) {
    let old = shared_config(before, &topic.name);
    if old == shared_config(state, &topic.name) {
        return;
    }
    let standings = Standings::of(state);
    sweep::sweep_topic(
        state,
        delta,
        &standings,
        topic,
        |_| true,
        |election, new, partition| {
            let before = partition.clone();
            let synced_less = old.write_caching && !new.write_caching && partition.leader.is_some();
            let down = |id: &NodeId| synced_less && !standings.get(*id).unfenced;
            let excluded: Vec<NodeId> = partition.elr.iter().copied().filter(down).collect();
            let raised = insync_min(new.insync_replicas_min, partition)
                > insync_min(old.insync_replicas_min, partition);
            let settled = election.settle(partition, &before, &excluded);
            if raised && !settled {
                partition.partition_epoch = partition.partition_epoch.next();
            }
            settled || raised
        },
    );
}
