//! Where new replicas go.
//!
//! Racks are laid out in turn, and within each rack its brokers; a partition takes as many in a
//! row as it needs, and each next partition starts one further. So leaders and replicas spread
//! evenly, and the replicas of one partition lie in different racks while there are enough.
//! Where the first partition starts is decided by the topic's id, which is random, so that topics
//! with one partition do not all land on the same broker.
//!
//! Pure: the same brokers, counts and seed give the same placement on every node.

use super::model::{Broker, State};
use super::response::{Refusal, RefusalKind};
use crate::types::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A broker as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: NodeId,
    pub(super) rack: Option<String>,
    pub(super) active: bool,
    pub(super) draining: bool,
}

impl Candidate {
    pub(super) fn all(state: &State) -> Vec<Self> {
        let of = |broker: &Arc<Broker>| Self {
            id: broker.id,
            rack: broker.rack.clone(),
            active: broker.is_active(),
            draining: state.is_draining(broker.id),
        };
        state.brokers().map(of).collect()
    }
}

/// The replicas of partitions `first .. first + count` of a topic. The first replica of each is an
/// active broker, because it is to lead.
pub(super) fn place(
    candidates: &[Candidate],
    seed: u64,
    first: usize,
    count: usize,
    replication_factor: usize,
) -> Result<Vec<Vec<NodeId>>, Refusal> {
    let refuse = |why: String| {
        Refusal::new(
            RefusalKind::InvalidReplicationFactor,
            format!("a replication factor of {replication_factor} is out of reach: {why}"),
        )
    };
    if !candidates.iter().any(|candidate| candidate.active) {
        return Err(refuse("no broker is active".into()));
    }
    if replication_factor > candidates.len() {
        return Err(refuse(format!("the cluster has {} brokers", candidates.len())));
    }
    // Those that are being drained shall not lead, and come after the others. Fenced ones are a
    // last resort: they can hold nothing now.
    let ring = |active: bool, draining: bool| {
        let of = |c: &&Candidate| c.active == active && c.draining == draining;
        interleave(candidates.iter().filter(of))
    };
    let mut active = ring(true, false);
    let mut draining = ring(true, true);
    if active.is_empty() {
        std::mem::swap(&mut active, &mut draining);
    }
    let fenced = [ring(false, false), ring(false, true)].concat();
    let offset = usize::try_from(seed % (active.len() as u64)).unwrap_or(0);
    Ok((first..first + count)
        .map(|partition| {
            let start = offset + partition;
            // With every round, the followers shift by one, so that one leader's load does not
            // always fail over to the same broker.
            let shift = start / active.len();
            let mut chosen = spread(rotation(&active, start, shift), replication_factor);
            for ring in [&draining, &fenced] {
                let missing = replication_factor - chosen.len();
                chosen.extend(spread(rotation(ring, start, shift), missing));
            }
            chosen
        })
        .collect())
}

/// Up to `count` of the candidates: always the first whose rack was used least so far.
fn spread(mut candidates: Vec<&Candidate>, count: usize) -> Vec<NodeId> {
    let mut used: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    let mut chosen = Vec::with_capacity(count.min(candidates.len()));
    while chosen.len() < count {
        let uses = |candidate: &&Candidate| used.get(&candidate.rack.as_deref()).copied();
        let Some((at, _)) = candidates.iter().enumerate().min_by_key(|(_, c)| uses(c)) else {
            break;
        };
        let candidate = candidates.remove(at);
        *used.entry(candidate.rack.as_deref()).or_default() += 1;
        chosen.push(candidate.id);
    }
    chosen
}

/// All of `ring` from `start` on, its first in place and the rest turned by `shift`.
fn rotation<'a>(ring: &[&'a Candidate], start: usize, shift: usize) -> Vec<&'a Candidate> {
    let len = ring.len();
    let others = len.saturating_sub(1).max(1);
    let step_to = |step: usize| if step == 0 { 0 } else { 1 + (step - 1 + shift) % others };
    (0..len).map(|step| ring[(start + step_to(step)) % len]).collect()
}

/// One broker of each rack in turn, until all are placed. Brokers without a rack form one.
fn interleave<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> Vec<&'a Candidate> {
    let mut racks: BTreeMap<Option<&str>, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        racks.entry(candidate.rack.as_deref()).or_default().push(candidate);
    }
    for brokers in racks.values_mut() {
        brokers.sort_unstable_by_key(|candidate| candidate.id);
    }
    let longest = racks.values().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|i| racks.values().filter_map(move |ids| ids.get(i).copied())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(count: i32) -> Vec<Candidate> {
        (0..count)
            .map(|id| Candidate { id: NodeId(id), rack: None, active: true, draining: false })
            .collect()
    }

    fn count_by_broker(ids: impl Iterator<Item = NodeId>) -> Vec<usize> {
        let mut counts: BTreeMap<NodeId, usize> = BTreeMap::new();
        for id in ids {
            *counts.entry(id).or_default() += 1;
        }
        counts.into_values().collect()
    }

    #[test]
    fn leaders_and_replicas_spread_evenly_and_never_repeat() {
        for seed in 0..7 {
            let placed = place(&brokers(5), seed, 0, 20, 3).expect("enough brokers");
            assert_eq!(count_by_broker(placed.iter().map(|ids| ids[0])), [4; 5]);
            assert_eq!(count_by_broker(placed.iter().flatten().copied()), [12; 5]);
            for ids in &placed {
                let mut sorted = ids.clone();
                sorted.sort_unstable();
                sorted.dedup();
                assert_eq!(sorted.len(), 3, "{ids:?}");
            }
        }
    }

    #[test]
    fn one_leaders_partitions_do_not_all_fail_over_to_the_same_broker() {
        let placed = place(&brokers(4), 0, 0, 12, 2).expect("enough brokers");
        let mut seconds: Vec<NodeId> =
            placed.iter().filter(|ids| ids[0] == NodeId(0)).map(|ids| ids[1]).collect();
        seconds.sort_unstable();
        seconds.dedup();
        assert_eq!(seconds.len(), 3);
    }

    #[test]
    fn replicas_lie_in_different_racks_and_leaders_on_active_brokers() {
        let mut candidates = brokers(6);
        for (i, candidate) in candidates.iter_mut().enumerate() {
            candidate.rack = Some(["a", "b", "c"][i % 3].to_owned());
        }
        for ids in place(&candidates, 3, 0, 60, 3).expect("enough brokers") {
            let mut racks: Vec<i32> = ids.iter().map(|id| id.0 % 3).collect();
            racks.sort_unstable();
            assert_eq!(racks, [0, 1, 2], "{ids:?}");
        }
        candidates[0].active = false;
        for ids in place(&candidates, 1, 0, 30, 6).expect("all brokers") {
            assert_ne!(ids[0], NodeId(0));
            assert_eq!(ids[5], NodeId(0), "the fenced broker comes last");
        }
    }

    #[test]
    fn partitions_added_later_continue_the_rotation() {
        let whole = place(&brokers(3), 11, 0, 9, 2).expect("enough brokers");
        let later = place(&brokers(3), 11, 4, 5, 2).expect("enough brokers");
        assert_eq!(whole[4..], later[..]);
    }

    #[test]
    fn too_few_brokers_or_none_active_are_refused_as_kafka_does() {
        let error = place(&brokers(1), 0, 0, 1, 3).expect_err("one broker only");
        assert_eq!(error.kind, RefusalKind::InvalidReplicationFactor);
        assert!(error.message.contains("the cluster has 1 brokers"), "{error}");
        let mut fenced = brokers(2);
        fenced.iter_mut().for_each(|candidate| candidate.active = false);
        assert!(place(&fenced, 0, 0, 1, 1).is_err());
        assert!(place(&[], 0, 0, 1, 1).is_err());
    }
}
