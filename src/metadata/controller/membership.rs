//! Who belongs to the Raft group, and who of them votes.
//!
//! [`next_change`] decides and is pure; [`keep`] carries its decisions out, one at a time, while
//! this node leads.
//!
//! Invariants: the number of voters is odd; only a member that lives and has nearly everything
//! becomes a voter; a node that was removed for good stays neither voter nor learner.

use super::super::proposer::Proposer;
use super::super::raft::{Peer, raft_id};
use super::super::state::State;
use crate::limits::{MEMBERSHIP_CHANGE_MS_MAX, MEMBERSHIP_CHECK_MS, MEMBERSHIP_LAG_ENTRIES_MAX};
use openraft::ChangeMembers;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A change of the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A node becomes a learner.
    Add(u64, Peer),
    /// A member is reached elsewhere.
    Move(u64, Peer),
    /// These vote from now on; those that voted before become learners.
    Voters(BTreeSet<u64>),
    /// Learners leave.
    Remove(BTreeSet<u64>),
}

/// A node that was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Where it is reached, as `host:port`.
    pub(super) rpc: String,
    /// Whether it was removed for good.
    pub(super) removed: bool,
    /// Whether its broker is registered and not fenced.
    pub(super) alive: bool,
}

/// A member of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) peer: Peer,
    /// The entries that it lacks; `None` when nothing is known of it.
    pub(super) lag: Option<u64>,
}

/// All that a decision is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// The leader.
    pub(super) own: u64,
    /// How many shall vote.
    pub(super) target: usize,
    /// The nodes that were ever admitted.
    pub(super) nodes: BTreeMap<u64, Node>,
    /// The members.
    pub(super) members: BTreeMap<u64, Member>,
    /// The voters: one set, or two while a change of them is under way.
    pub(super) voters: Vec<BTreeSet<u64>>,
}

/// The largest odd number up to `count`.
fn odd(count: usize) -> usize {
    if count % 2 == 1 { count } else { count.saturating_sub(1) }
}

impl View {
    fn is_removed(&self, id: u64) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.removed)
    }

    /// Whether a member can be given a vote.
    fn is_promotable(&self, id: u64) -> bool {
        let alive = self.nodes.get(&id).is_some_and(|node| node.alive && !node.removed);
        let lag = self.members.get(&id).and_then(|member| member.lag);
        alive && lag.is_some_and(|lag| lag <= MEMBERSHIP_LAG_ENTRIES_MAX)
    }
}

/// What to do next, if anything.
pub(super) fn next_change(view: &View) -> Option<Change> {
    let last = view.voters.last()?;
    if view.voters.len() > 1 {
        // A change whose leader was lost in the middle: finish it.
        return Some(Change::Voters(last.clone()));
    }
    for (id, node) in view.nodes.iter().filter(|(_, node)| !node.removed) {
        match view.members.get(id) {
            None => return Some(Change::Add(*id, Peer { rpc: node.rpc.clone() })),
            Some(member) if member.peer.rpc != node.rpc => {
                return Some(Change::Move(*id, Peer { rpc: node.rpc.clone() }));
            }
            Some(_) => {}
        }
    }
    let wanted = wanted_voters(view, last);
    if wanted != *last {
        return Some(Change::Voters(wanted));
    }
    let leaving: BTreeSet<u64> = view
        .members
        .keys()
        .filter(|id| view.is_removed(**id) && !last.contains(id))
        .copied()
        .collect();
    (!leaving.is_empty()).then_some(Change::Remove(leaving))
}

/// Those that vote now and may stay, and the first few others that can, as far as the target and
/// an odd number allow.
fn wanted_voters(view: &View, voters: &BTreeSet<u64>) -> BTreeSet<u64> {
    let staying = voters.iter().copied().filter(|id| !view.is_removed(*id));
    let joining = view.members.keys().copied();
    let joining = joining.filter(|id| !voters.contains(id) && view.is_promotable(*id));
    // The leader first: should there be too many, it is not the one to go.
    let mut ranked: Vec<u64> = staying.collect();
    ranked.sort_by_key(|id| (*id != view.own, *id));
    ranked.extend(joining);
    let count = odd(ranked.len().min(view.target.max(1)));
    if count == 0 {
        // Every member was removed: there is nobody to hand the group to.
        return voters.clone();
    }
    ranked.truncate(count);
    ranked.into_iter().collect()
}

/// What this node knows, as leader.
fn view(proposer: &Proposer, state: &State, target: usize) -> View {
    let metrics = proposer.raft.metrics().borrow().clone();
    let last = proposer.log.last().map_or(0, |log_id| log_id.index);
    let own = raft_id(proposer.node_id);
    let membership = metrics.membership_config.membership();
    let replication = metrics.replication.unwrap_or_default();
    let members = membership.nodes().map(|(id, peer)| {
        let matched = replication.get(id).copied().flatten();
        let lag = matched.map(|log_id| last.saturating_sub(log_id.index));
        (*id, Member { peer: peer.clone(), lag: if *id == own { Some(0) } else { lag } })
    });
    let nodes = state.nodes().map(|node| {
        let broker = state.broker(node.id);
        let alive = broker.is_some_and(|broker| !broker.fenced && !broker.in_controlled_shutdown);
        (raft_id(node.id), Node { rpc: node.rpc.clone(), removed: node.removed, alive })
    });
    View {
        own,
        target,
        nodes: nodes.collect(),
        members: members.collect(),
        voters: membership.get_joint_config().clone(),
    }
}

/// Keeps the membership as it should be, until it is dropped.
pub(super) async fn keep(proposer: &Proposer, target: usize) {
    loop {
        let image = proposer.publisher.image();
        match next_change(&view(proposer, image.state(), target)) {
            Some(change) => carry_out(proposer, change).await,
            None => tokio::time::sleep(Duration::from_millis(MEMBERSHIP_CHECK_MS)).await,
        }
    }
}

async fn carry_out(proposer: &Proposer, change: Change) {
    tracing::info!(?change, "changing the members of the metadata group");
    let (members, retain) = match change.clone() {
        Change::Add(id, peer) => (ChangeMembers::AddNodes(BTreeMap::from([(id, peer)])), true),
        // The handshake of every connection proves that it is this node that is reached there.
        Change::Move(id, peer) => (ChangeMembers::SetNodes(BTreeMap::from([(id, peer)])), true),
        Change::Voters(voters) => (ChangeMembers::ReplaceAllVoters(voters), true),
        Change::Remove(ids) => (ChangeMembers::RemoveNodes(ids), false),
    };
    let within = Duration::from_millis(MEMBERSHIP_CHANGE_MS_MAX);
    let changing = proposer.raft.change_membership(members, retain);
    let failure = match tokio::time::timeout(within, changing).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("nothing heard in {MEMBERSHIP_CHANGE_MS_MAX} ms"),
    };
    // Another change may be under way still, or too few voters answer: look again in a moment.
    tracing::info!(?change, failure, "the members were not changed; trying again");
    tokio::time::sleep(Duration::from_millis(MEMBERSHIP_CHECK_MS)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes 1 to `count`, all alive and caught up; `voters` of them vote.
    fn view(count: u64, voters: &[u64], target: usize) -> View {
        let peer = |id: u64| Peer { rpc: format!("host{id}:1") };
        let node = |id: u64| Node { rpc: peer(id).rpc, removed: false, alive: true };
        View {
            own: voters[0],
            target,
            nodes: (1..=count).map(|id| (id, node(id))).collect(),
            members: (1..=count).map(|id| (id, Member { peer: peer(id), lag: Some(0) })).collect(),
            voters: vec![voters.iter().copied().collect()],
        }
    }

    fn voters(ids: &[u64]) -> Option<Change> {
        Some(Change::Voters(ids.iter().copied().collect()))
    }

    #[test]
    fn the_number_of_voters_grows_to_the_target_and_stays_odd() {
        assert_eq!(next_change(&view(1, &[1], 3)), None);
        assert_eq!(next_change(&view(2, &[1], 3)), None, "two would be worse than one");
        assert_eq!(next_change(&view(3, &[1], 3)), voters(&[1, 2, 3]));
        assert_eq!(next_change(&view(5, &[1, 2, 3], 3)), None);
        assert_eq!(next_change(&view(4, &[1, 2, 3], 5)), None);
        assert_eq!(next_change(&view(5, &[1, 2, 3], 5)), voters(&[1, 2, 3, 4, 5]));
        assert_eq!(next_change(&view(5, &[1], 5)), voters(&[1, 2, 3, 4, 5]));
        assert_eq!(next_change(&view(5, &[3, 4, 5], 1)), voters(&[3]), "the leader stays");
    }

    #[test]
    fn new_nodes_become_learners_and_those_that_are_dead_or_lag_are_not_promoted() {
        let mut joined = view(3, &[1], 3);
        joined.members.remove(&3);
        let added = Change::Add(3, Peer { rpc: "host3:1".to_owned() });
        assert_eq!(next_change(&joined), Some(added));
        let mut dead = view(4, &[1], 3);
        dead.nodes.get_mut(&2).expect("there").alive = false;
        assert_eq!(next_change(&dead), voters(&[1, 3, 4]));
        dead.members.get_mut(&4).expect("there").lag = Some(MEMBERSHIP_LAG_ENTRIES_MAX + 1);
        assert_eq!(next_change(&dead), None);
        dead.members.get_mut(&4).expect("there").lag = None;
        assert_eq!(next_change(&dead), None);
        let mut voter_down = view(4, &[1, 2, 3], 3);
        voter_down.nodes.get_mut(&2).expect("there").alive = false;
        assert_eq!(next_change(&voter_down), None, "it will be back");
    }

    #[test]
    fn a_removed_voter_gives_way_to_a_learner_and_then_leaves() {
        let mut removed = view(4, &[1, 2, 3], 3);
        removed.nodes.get_mut(&2).expect("there").removed = true;
        assert_eq!(next_change(&removed), voters(&[1, 3, 4]));
        removed.voters = vec![BTreeSet::from([1, 3, 4])];
        assert_eq!(next_change(&removed), Some(Change::Remove(BTreeSet::from([2]))));
        removed.members.remove(&2);
        assert_eq!(next_change(&removed), None);
        // Nobody to take its place: the leader alone is better than two.
        let mut removed = view(3, &[1, 2, 3], 3);
        removed.nodes.get_mut(&2).expect("there").removed = true;
        assert_eq!(next_change(&removed), voters(&[1]));
        // The leader itself.
        let mut removed = view(4, &[1, 2, 3], 3);
        removed.nodes.get_mut(&1).expect("there").removed = true;
        assert_eq!(next_change(&removed), voters(&[2, 3, 4]));
        let mut last = view(1, &[1], 3);
        last.nodes.get_mut(&1).expect("there").removed = true;
        assert_eq!(next_change(&last), None);
    }

    #[test]
    fn an_unfinished_change_is_finished_and_addresses_follow_registrations() {
        let mut joint = view(3, &[1], 3);
        joint.voters = vec![BTreeSet::from([1]), BTreeSet::from([1, 2, 3])];
        assert_eq!(next_change(&joint), voters(&[1, 2, 3]));
        let mut moved = view(3, &[1, 2, 3], 3);
        moved.nodes.get_mut(&2).expect("there").rpc = "elsewhere:1".to_owned();
        let change = Change::Move(2, Peer { rpc: "elsewhere:1".to_owned() });
        assert_eq!(next_change(&moved), Some(change));
    }
}
