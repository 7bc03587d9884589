//! The group as its leader sees it.

use super::super::proposer::Proposer;
use super::super::raft::{Contacts, raft_id};
use super::messages::{Quorum, Replica};
use crate::types::TimestampMs;

/// What is known of every member; `None` when this node does not lead.
pub(super) fn describe(
    proposer: &Proposer,
    contacts: &Contacts,
    now: TimestampMs,
) -> Option<Quorum> {
    let metrics = proposer.raft.metrics().borrow().clone();
    let replication = metrics.replication?;
    let own = raft_id(proposer.node_id);
    let replica = |id: u64| {
        if id == own {
            let log_end_offset = Some(metrics.last_log_index.map_or(0, |index| index + 1));
            let node_id = proposer.node_id;
            return Replica {
                node_id,
                log_end_offset,
                last_fetch_ms: now.0,
                last_caught_up_ms: now.0,
            };
        }
        let matched = replication.get(&id).copied().flatten();
        let contact = contacts.of(id);
        Replica {
            node_id: super::super::raft::node_id(id),
            log_end_offset: matched.map(|log_id| log_id.index + 1),
            last_fetch_ms: contact.map_or(-1, |contact| contact.answered.0),
            last_caught_up_ms: contact.and_then(|contact| contact.caught_up).map_or(-1, |at| at.0),
        }
    };
    let membership = metrics.membership_config.membership();
    Some(Quorum {
        leader: proposer.node_id,
        term: metrics.current_term,
        high_watermark: metrics.last_applied.map_or(0, |log_id| log_id.index + 1),
        voters: membership.voter_ids().map(replica).collect(),
        learners: membership.learner_ids().map(replica).collect(),
    })
}
