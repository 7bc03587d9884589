//! What a change of configs does to partitions, in the same command.

use super::super::command::ConfigAlteration;
use super::super::delta::Delta;
use super::super::election::{Standings, insync_min};
use super::super::model::{Partition, State, Topic};
use super::super::sweep::{self, shared_config};
use super::ConfigResource;

/// Holds the elections that follow from configs that changed since `before`.
///
/// - `unclean.leader.election.enable` may give a leader to partitions without one.
/// - `min.insync.replicas` decides about the ELR. A lower one empties it where enough are in sync.
///   After a higher one, a leader that has not heard of it must not shrink its ISR into an ELR that
///   it does not count with, so every partition gets a new partition epoch.
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
            let raised = insync_min(new.insync_replicas_min, partition)
                > insync_min(old.insync_replicas_min, partition);
            let settled = election.settle(partition, &before, &[]);
            if raised && !settled {
                partition.partition_epoch = partition.partition_epoch.next();
            }
            settled || raised
        },
    );
}
