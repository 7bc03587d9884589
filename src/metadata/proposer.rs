//! Writing a command on this node's engine, when it leads the group.
//!
//! Invariant: an error says "certainly not applied" only when that is so. The engine says
//! `ForwardToLeader` both when it does not lead and when an entry that was waited for was cut off
//! the log; in the second case another member may hold that entry still, and commit it.

use super::Error;
use super::publisher::Publisher;
use super::raft::{self, LogView};
use super::state::{Command, Response, codec};
use crate::limits::{METADATA_ENTRY_BYTES_MAX, METADATA_PROPOSALS_MAX};
use crate::types::{ClusterId, NodeId};
use openraft::ServerState;
use openraft::error::{ClientWriteError, RaftError};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) response: Response,
    /// How many entries were applied with it.
    pub(super) applied_count: u64,
}

/// This node's engine, as proposals need it.
pub(super) struct Proposer {
    pub(super) cluster_id: ClusterId,
    pub(super) node_id: NodeId,
    pub(super) raft: raft::Raft,
    pub(super) log: LogView,
    pub(super) publisher: Arc<Publisher>,
    /// For how long a leader may be without a quorum's answers before it counts as none.
    quorum_ms_max: u64,
    permits: Semaphore,
    stopped: AtomicBool,
}

impl fmt::Debug for Proposer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposer").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}

/// Refuses a command that no entry can hold.
pub(super) fn check_size(command: &Command) -> Result<(), Error> {
    let bytes = codec::encoded_bytes(command);
    if bytes > METADATA_ENTRY_BYTES_MAX {
        return Err(Error::TooLarge { bytes, bytes_max: METADATA_ENTRY_BYTES_MAX });
    }
    Ok(())
}

impl Proposer {
    pub(super) fn new(
        cluster_id: ClusterId,
        node_id: NodeId,
        raft: raft::Raft,
        log: LogView,
        publisher: Arc<Publisher>,
        quorum_ms_max: u64,
    ) -> Self {
        let permits = Semaphore::new(METADATA_PROPOSALS_MAX);
        let stopped = AtomicBool::new(false);
        Self { cluster_id, node_id, raft, log, publisher, quorum_ms_max, permits, stopped }
    }

    /// From now on every proposal fails.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Who leads the group, as far as this node knows.
    pub(super) fn controller(&self) -> Option<NodeId> {
        let leader = self.raft.server_metrics().borrow().current_leader.map(raft::node_id);
        leader.filter(|leader| *leader != self.node_id || self.leads())
    }

    /// Whether this node leads the group, as far as it knows. The engine's leader stays one when
    /// it hears of no quorum any more, and when it can't write for want of room; the others elect
    /// another then, and it will be the last to know.
    pub(super) fn leads(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow();
        let alone = || metrics.membership_config.membership().voter_ids().count() < 2;
        metrics.state == ServerState::Leader
            && (alone() || (self.hears_of_a_quorum() && !self.log.waits_for_room()))
    }

    /// Whether a majority answered this leader lately, or it is so new that none could.
    fn hears_of_a_quorum(&self) -> bool {
        let metrics = self.raft.data_metrics();
        let silent_ms = metrics.borrow().millis_since_quorum_ack;
        silent_ms.is_none_or(|silent_ms| silent_ms <= self.quorum_ms_max)
    }

    /// Hears from a majority, now, that this node leads the group.
    ///
    /// # Errors
    /// [`Error::NotController`] when it does not, or when no majority answers in time.
    pub(super) async fn confirm_leadership(&self, within: Duration) -> Result<(), Error> {
        match tokio::time::timeout(within, self.raft.get_read_log_id()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(Error::NotController { here: self.node_id, controller: None })
            }
        }
    }

    /// Where a node is reached, as far as this one knows.
    pub(super) fn address(&self, node: NodeId) -> Option<String> {
        let metrics = self.raft.server_metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let member = membership.get_node(&raft::raft_id(node)).map(|peer| peer.rpc.clone());
        let image = self.publisher.image();
        member.or_else(|| image.broker(node).map(|broker| broker.rpc.clone()))
    }

    /// The error of a call that only the controller can answer.
    pub(super) fn not_controller(&self) -> Error {
        let me = Some(self.node_id);
        let controller = self.controller().filter(|controller| Some(*controller) != me);
        Error::NotController { here: self.node_id, controller }
    }

    /// Commits and applies a command, if this node leads the group.
    pub(super) async fn write(&self, command: Command, within: Duration) -> Result<Written, Error> {
        if self.is_stopped() {
            return Err(Error::Stopped);
        }
        check_size(&command)?;
        let _permit = self.permits.try_acquire().map_err(|_| Error::Overloaded)?;
        let truncations = self.log.truncations();
        match tokio::time::timeout(within, self.raft.client_write(command)).await {
            Err(_) => Err(Error::Timeout(u64::try_from(within.as_millis()).unwrap_or(u64::MAX))),
            Ok(Ok(written)) => {
                let applied_count = written.log_id.index + 1;
                Ok(Written { response: written.data, applied_count })
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                if self.log.truncations() != truncations {
                    let what = "this node lost the group's leadership before it was committed";
                    return Err(Error::Unknown(what.to_owned()));
                }
                let controller = forward.leader_id.map(raft::node_id);
                Err(Error::NotController { here: self.node_id, controller })
            }
            Ok(Err(RaftError::APIError(error))) => Err(Error::Failed(error.to_string())),
            Ok(Err(RaftError::Fatal(_))) if self.is_stopped() => Err(Error::Stopped),
            Ok(Err(RaftError::Fatal(error))) => Err(Error::Failed(error.to_string())),
        }
    }
}
