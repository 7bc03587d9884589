//! What must hold in every state.

use super::*;
use crate::types::TopicName;
use std::collections::BTreeSet;

pub(crate) fn check(state: &State) {
    let mut partitions = 0;
    for topic in state.topics() {
        assert_eq!(state.topic_by_id(topic.id), Some(topic), "id and name map to each other");
        assert!(topic.partition_count() > 0, "{topic:?}");
        partitions += topic.partition_count();
        for (index, p) in topic.partitions() {
            let what = || format!("{}-{index}: {p:?}", topic.name);
            let replicas: BTreeSet<NodeId> = p.replicas.iter().copied().collect();
            assert_eq!(replicas.len(), p.replicas.len(), "{}", what());
            assert!(!replicas.is_empty(), "{}", what());
            assert!(p.isr.iter().chain(&p.elr).all(|id| replicas.contains(id)), "{}", what());
            assert!(p.isr.iter().all(|id| !p.elr.contains(id)), "{}", what());
            assert!(p.leader.is_none_or(|id| p.isr.contains(&id)), "{}", what());
            check_partition(state, &topic.name, p, &what);
        }
    }
    assert_eq!(state.partition_count(), partitions);
    assert_eq!(state.topic_names.size(), state.topic_count());
    assert_eq!(state.collision_keys.size(), state.topic_count());
    check_nodes(state);
    for (resource, map) in state.all_configs() {
        assert!(!map.is_empty(), "{resource}");
        if let configs::ConfigResource::Topic(name) = resource {
            assert!(state.topic_by_name(name.as_str()).is_some(), "{resource}");
        }
    }
}

fn check_nodes(state: &State) {
    assert_eq!(state.directories.size(), state.nodes.size());
    for node in state.nodes() {
        assert_eq!(state.directories.get(&node.directory), Some(&node.id), "{node:?}");
        assert!(!node.removed || state.broker(node.id).is_none(), "{node:?}");
    }
    for broker in state.brokers() {
        let node = state.node(broker.id).expect("admitted before it registered");
        assert!(broker.directories.contains(&node.directory), "{broker:?}");
    }
}

fn check_partition(state: &State, topic: &TopicName, p: &Partition, what: &dyn Fn() -> String) {
    let unfenced = |id: &NodeId| state.broker(*id).is_some_and(|broker| !broker.fenced);
    let active = |id: &NodeId| state.is_active(*id);
    let online = |id: &NodeId| !p.offline.contains(id);
    let insync_min = state.insync_replicas_min(topic, p);

    // In sync is who lives and has storage; who is about to stop only as the last resort.
    assert!(p.isr.iter().all(|id| unfenced(id) && online(id)), "{}", what());
    let stopping: Vec<&NodeId> = p.isr.iter().filter(|id| !active(id)).collect();
    assert!(stopping.is_empty() || p.isr.len() == 1, "{}", what());
    assert_eq!(p.leader.is_none(), p.isr.is_empty(), "who is in sync leads: {}", what());

    // The ELR is there for a small ISR only, and has nobody without storage.
    assert!(p.isr.len() < insync_min || p.elr.is_empty(), "{}", what());
    let only = p.replicas.len() == 1;
    assert!(only || p.elr.iter().all(online), "{}", what());
    if p.leader.is_none() {
        assert!(!p.elr.iter().any(|id| active(id) && online(id)), "somebody may lead: {}", what());
        let last = p.leader_last_known.filter(|id| active(id) && online(id));
        assert!(last.is_none() || !p.elr.is_empty(), "who led last may lead: {}", what());
        let config = super::super::sweep::shared_config(state, topic);
        let anybody = p.replicas.iter().any(|id| active(id) && online(id));
        assert!(!(config.unclean_leader_election && anybody), "anybody may lead: {}", what());
    }
    assert!(p.leader.is_none() || p.leader_last_known.is_none(), "{}", what());
    assert!(p.leader_last_known.is_none_or(|id| p.replicas.contains(&id)), "{}", what());

    // Who is being drained leads only where nobody else can.
    if p.leader.is_some_and(|id| state.is_draining(id)) {
        let other = |id: &NodeId| active(id) && !state.is_draining(*id);
        assert!(!p.isr.iter().any(other), "{}", what());
    }

    // A reassignment adds and removes replicas, and not the same ones.
    assert!(p.adding.iter().chain(&p.removing).all(|id| p.replicas.contains(id)), "{}", what());
    assert!(p.adding.iter().all(|id| !p.removing.contains(id)), "{}", what());
    assert!(!p.target().is_empty() && p.adding.len() < p.replicas.len(), "{}", what());
    assert!(p.offline.iter().all(|id| p.replicas.contains(id)), "{}", what());
    let recovering = p.recovery == LeaderRecoveryState::Recovering;
    assert!(!recovering || p.isr.len() <= 1, "{}", what());
    for list in [&p.isr, &p.elr, &p.adding, &p.removing, &p.offline] {
        let mut sorted: Vec<NodeId> = list.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), list.len(), "{}", what());
    }
}
