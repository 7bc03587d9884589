//! What must hold in every state.

use super::*;
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
            assert!(p.leader.is_none_or(|id| state.is_active(id)), "{}", what());
            let could_lead = p.isr.iter().any(|id| state.is_active(*id))
                || (p.isr.is_empty() && p.elr.iter().any(|id| state.is_active(*id)));
            assert_eq!(p.leader.is_some(), could_lead, "{}", what());
        }
    }
    assert_eq!(state.partition_count(), partitions);
    assert_eq!(state.topic_names.size(), state.topic_count());
    assert_eq!(state.collision_keys.size(), state.topic_count());
    for (resource, map) in state.all_configs() {
        assert!(!map.is_empty(), "{resource}");
        if let configs::ConfigResource::Topic(name) = resource {
            assert!(state.topic_by_name(name.as_str()).is_some(), "{resource}");
        }
    }
}
