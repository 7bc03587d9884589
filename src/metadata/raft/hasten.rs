//! Finding out sooner that the leader is gone.
//!
//! Silence alone takes a lease and an election time to be believed. A process that was killed
//! closes its connections at once; when its address then refuses connections, too, only the lease
//! has to be waited for. Until it has run out at a member, that member gives nobody its vote
//! (openraft's `handle_vote_req`), and an election would only unsettle the group: a candidate
//! that is turned down refuses its leader from then on.
//!
//! Must never: stand for election while the leader answers. Nothing here is needed for safety; an
//! election too many costs time.

use super::super::RaftTiming;
use super::super::peers::Peers;
use super::log_store::LogView;
use super::network::Contacts;
use super::types::{Raft, raft_id};
use crate::env::clock::Clock;
use crate::limits::{
    RAFT_HASTE_ATTEMPTS, RAFT_HASTE_MARGIN_MS, RAFT_HASTE_RETRY_MS, RAFT_HASTE_STAGGER_MS,
};
use crate::rpc::Alive;
use crate::types::NodeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Whether this member may stand for election at another moment than the engine's own.
#[derive(Debug, Clone)]
pub(in crate::metadata) struct Chances {
    pub(in crate::metadata) contacts: Arc<Contacts>,
    pub(in crate::metadata) log: LogView,
    pub(in crate::metadata) clock: Arc<dyn Clock>,
}

impl Chances {
    /// No, if it was refused for its shorter log. The engine waits longer then, so that the other
    /// member gets its turn.
    pub(in crate::metadata) fn are_there(&self) -> bool {
        !self.contacts.is_outdone(self.log.last(), self.clock.monotonic_ms())
    }
}

/// What a member needs for it.
pub(in crate::metadata) struct Haste {
    pub(in crate::metadata) raft: Raft,
    pub(in crate::metadata) peers: Arc<dyn Peers>,
    pub(in crate::metadata) timing: RaftTiming,
    pub(in crate::metadata) own: NodeId,
    pub(in crate::metadata) chances: Chances,
    /// One suspicion at a time: the connections of a process end one by one.
    pub(in crate::metadata) turn: Semaphore,
}

/// The leader, as this member knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Leader {
    term: u64,
    address: String,
    /// How many voters, besides the leader, come before this one.
    rank: u32,
}

impl Haste {
    /// The connections of `suspect` ended. If it is the leader and its process is gone, stands for
    /// election as soon as that can succeed. Returns when there is nothing more to be done.
    pub(in crate::metadata) async fn suspect(&self, suspect: NodeId) {
        let Ok(_turn) = self.turn.try_acquire() else { return };
        let seen = Instant::now();
        let Some(leader) = self.leader(suspect) else { return };
        match self.peers.probe(&leader.address).await {
            Alive::Refused => {}
            // Another process in its place is no leader of this term.
            Alive::Answers(found) if found.node_id != suspect => {}
            Alive::Answers(_) | Alive::Unknown => return,
        }
        let stagger = Duration::from_millis(RAFT_HASTE_STAGGER_MS) * leader.rank;
        let lease = Duration::from_millis(self.timing.election_ms_max + RAFT_HASTE_MARGIN_MS);
        for attempt in 0..RAFT_HASTE_ATTEMPTS {
            // Others may have heard of the leader later than this member, but not after it was gone.
            let from = if attempt == 0 { self.last_heard().await } else { Some(seen) };
            let Some(from) = from else { return };
            tokio::time::sleep_until(from + lease + stagger).await;
            if attempt > 0 {
                // An election that is under way would be undone by another one.
                let under_way = Duration::from_millis(RAFT_HASTE_RETRY_MS);
                tokio::time::sleep(under_way + stagger).await;
            }
            if !self.still_without(&leader) || !self.chances.are_there() {
                return;
            }
            tracing::info!(node = %suspect, attempt, "the controller is gone; standing for election");
            if self.raft.trigger().elect().await.is_err() {
                return;
            }
        }
    }

    /// The leader's term and address, if `suspect` is it and this member may follow it.
    fn leader(&self, suspect: NodeId) -> Option<Leader> {
        let metrics = self.raft.server_metrics().borrow().clone();
        let (suspect, own) = (raft_id(suspect), raft_id(self.own));
        if metrics.current_leader != Some(suspect) || suspect == own {
            return None;
        }
        let membership = metrics.membership_config.membership();
        let others = || membership.voter_ids().filter(|id| *id != suspect);
        let rank = others().position(|id| id == own)?;
        let address = membership.get_node(&suspect)?.rpc.clone();
        let term = metrics.vote.leader_id().term;
        Some(Leader { term, address, rank: u32::try_from(rank).unwrap_or(u32::MAX) })
    }

    /// When this member last heard of its leader.
    async fn last_heard(&self) -> Option<Instant> {
        let heard = self.raft.with_raft_state(|state| state.vote_last_modified()).await;
        heard.ok().flatten()
    }

    /// Whether nobody has taken the leader's place.
    fn still_without(&self, leader: &Leader) -> bool {
        let metrics = self.raft.server_metrics().borrow().clone();
        match metrics.current_leader {
            Some(_) => metrics.vote.leader_id().term == leader.term,
            None => true,
        }
    }
}

impl std::fmt::Debug for Haste {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Haste").field("own", &self.own).finish_non_exhaustive()
    }
}
