//! How the rest of the node talks to the metadata group.

use super::controller::{Admission, Admitted, Heartbeat, HeartbeatAnswer, Quorum};
use super::image::Image;
use super::peers::RaftCall;
use super::publisher::{Publisher, Subscription};
use super::raft::{self, Peer, Running};
use super::state::{Command, Response, codec};
use super::state::{Refusal, RegisterBroker};
use super::{Error, MetadataOptions, StartAs};
use crate::env::spawn;
use crate::limits::{
    METADATA_ENTRY_BYTES_MAX, METADATA_PROPOSAL_TIMEOUT_MS, METADATA_PROPOSALS_MAX,
};
use crate::rpc::Payload;
use crate::types::{BrokerEpoch, IncarnationId, NodeId};
use openraft::error::{ClientWriteError, RaftError};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};

/// The metadata group, as seen from this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    node_id: NodeId,
    raft: raft::Raft,
    publisher: Arc<Publisher>,
    proposals: Semaphore,
    stopped: AtomicBool,
    /// What has to be taken down in the end.
    running: Mutex<Option<Running>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}

/// How the metadata group is doing, for health checks and tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node_id: NodeId,
    /// Who leads the group, if known.
    pub controller: Option<NodeId>,
    /// Raft's term.
    pub term: u64,
    /// The nodes that vote.
    pub voters: Vec<NodeId>,
    /// The nodes that only follow.
    pub learners: Vec<NodeId>,
    /// Index of the last entry in the log here.
    pub last_log_index: Option<u64>,
    /// Index of the last entry applied here.
    pub last_applied_index: Option<u64>,
    /// Index that the newest snapshot reaches.
    pub snapshot_index: Option<u64>,
    /// Whether this node's part of the group still works; if not, why.
    pub failure: Option<String>,
}

impl Handle {
    /// The newest applied metadata.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.0.publisher.image()
    }

    /// Follows the changes.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.0.publisher.subscribe()
    }

    /// Proposes a command and waits until it is committed and applied on this node, so that
    /// [`Self::image`] shows it.
    ///
    /// # Errors
    /// See [`Error`]: the command has certainly not been applied, or its fate is unknown.
    /// Refusals of single items are part of the response.
    pub async fn propose(&self, command: Command) -> Result<Response, Error> {
        let inner = &self.0;
        if inner.stopped.load(Ordering::Acquire) {
            return Err(Error::Stopped);
        }
        let bytes = codec::encoded_bytes(&command);
        if bytes > METADATA_ENTRY_BYTES_MAX {
            return Err(Error::TooLarge { bytes, bytes_max: METADATA_ENTRY_BYTES_MAX });
        }
        let _permit = inner.proposals.try_acquire().map_err(|_| Error::Overloaded)?;
        let timeout = Duration::from_millis(METADATA_PROPOSAL_TIMEOUT_MS);
        match tokio::time::timeout(timeout, inner.raft.client_write(command)).await {
            Err(_) => Err(Error::Timeout(METADATA_PROPOSAL_TIMEOUT_MS)),
            Ok(Ok(written)) => Ok(written.data),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                let controller = forward.leader_id.map(raft::node_id);
                Err(Error::NotController { here: inner.node_id, controller })
            }
            Ok(Err(RaftError::APIError(error))) => Err(Error::Failed(error.to_string())),
            Ok(Err(RaftError::Fatal(_))) if inner.stopped.load(Ordering::Acquire) => {
                Err(Error::Stopped)
            }
            Ok(Err(RaftError::Fatal(error))) => Err(Error::Failed(error.to_string())),
        }
    }

    /// How the group is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let metrics = self.0.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        Status {
            node_id: self.0.node_id,
            controller: metrics.current_leader.map(raft::node_id),
            term: metrics.current_term,
            voters: membership.voter_ids().map(raft::node_id).collect(),
            learners: membership.learner_ids().map(raft::node_id).collect(),
            last_log_index: metrics.last_log_index,
            last_applied_index: metrics.last_applied.map(|log_id| log_id.index),
            snapshot_index: metrics.snapshot.map(|log_id| log_id.index),
            failure: metrics.running_state.err().map(|error| error.to_string()),
        }
    }

    /// The group as the controller sees it; asked of it when this node isn't.
    ///
    /// # Errors
    /// See [`Error`]; nothing is changed by it.
    pub async fn quorum(&self) -> Result<Quorum, Error> {
        todo!("ask the controller")
    }

    /// Tells the controller that a broker of this node lives.
    ///
    /// # Errors
    /// See [`Error`]; try again until the next heartbeat is due.
    pub async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatAnswer, Error> {
        todo!("send {heartbeat:?} to the controller")
    }

    /// Registers a broker with the controller, which refuses a second process with the id of one
    /// that lives; returns once the registration is applied on this node. May be done again after
    /// any error: the same incarnation keeps its epoch.
    ///
    /// # Errors
    /// See [`Error`]; the inner result is the controller's own refusal.
    pub async fn register(
        &self,
        registration: RegisterBroker,
    ) -> Result<Result<BrokerEpoch, Refusal>, Error> {
        todo!("send {registration:?} to the controller")
    }

    /// Lets a node into the cluster on behalf of whoever asked; it gets an id, and the controller
    /// adds it to the group. May be done again after any error: the same directory keeps its id.
    ///
    /// # Errors
    /// See [`Error`]; the inner result is the refusal, with the way out.
    pub async fn admit(&self, admission: Admission) -> Result<Result<Admitted, Refusal>, Error> {
        todo!("send {admission:?} to the controller")
    }

    /// Whether this node belongs to the group: its log names it as voter or learner.
    #[must_use]
    pub fn is_member(&self) -> bool {
        let status = self.status();
        let me = self.0.node_id;
        status.voters.contains(&me) || status.learners.contains(&me)
    }

    /// Answers a Raft call of another member.
    pub async fn serve_raft(&self, call: RaftCall) -> Payload {
        todo!("answer {call:?}")
    }

    /// Answers a control call of another node. The payloads of both are the business of
    /// `metadata::controller`.
    pub async fn serve_control(&self, call: Payload) -> Payload {
        todo!("answer {call:?}")
    }

    /// The connections of a node were closed or reset: a suspicion, to be looked into. To be told
    /// of every such event; returns at once.
    pub fn disconnected(&self, node: NodeId, incarnation: IncarnationId) {
        tracing::debug!(%node, %incarnation, "a node's connections ended");
    }

    /// Makes a snapshot now, rather than when the log has grown; returns once it has begun.
    ///
    /// # Errors
    /// [`Error::Failed`] when the group does not work any more.
    pub async fn trigger_snapshot(&self) -> Result<(), Error> {
        let asked = self.0.raft.trigger().snapshot().await;
        asked.map_err(|error| Error::Failed(error.to_string()))
    }

    /// Stops this node's part of the group, with everything written down for a fast start. Doing
    /// it twice is harmless.
    ///
    /// # Errors
    /// [`Error::Failed`] when something could not be written; the next start then takes longer.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.0.stopped.store(true, Ordering::Release);
        let Some(running) = self.0.running.lock().await.take() else { return Ok(()) };
        let written = running.checkpoint().await;
        let stopped = self.0.raft.shutdown().await;
        let threads = running.threads.clone();
        drop(running);
        self.0.publisher.close();
        // The engine has ended, and with it the other ends of the threads' queues.
        let joined = tokio::task::spawn_blocking(move || threads.join()).await;
        written.map_err(|error| Error::Failed(error.to_string()))?;
        stopped.map_err(|error| Error::Failed(error.to_string()))?;
        joined.map_err(|error| Error::Failed(error.to_string()))
    }
}

/// Starts this node's part of the group on the current runtime. In a group of one it returns once
/// the node is its controller, with everything that was ever acknowledged applied.
///
/// # Errors
/// [`Error::Failed`] when what is on disk can't be read, or belongs to another cluster.
pub async fn start(options: MetadataOptions) -> Result<Handle, Error> {
    let failed = |error: String| Error::Failed(error);
    let publisher = Publisher::new(options.cluster_id);
    let node = raft::raft_id(options.node_id);
    let peer = Peer { rpc: options.rpc.clone() };
    let (node_id, founder) = (options.node_id, options.start_as == StartAs::Founder);
    let opening = {
        let publisher = Arc::clone(&publisher);
        tokio::task::spawn_blocking(move || raft::open(&options, publisher))
    };
    let member = opening.await.map_err(|error| failed(error.to_string()))?;
    let running = member.map_err(|error| failed(error.to_string()))?.run(node).await;
    let running = running.map_err(failed)?;
    let raft = running.raft.clone();
    if founder && !raft.is_initialized().await.map_err(|error| failed(error.to_string()))? {
        let members = BTreeMap::from([(node, peer)]);
        raft.initialize(members).await.map_err(|error| failed(error.to_string()))?;
    }
    follow_controller(&raft, &publisher);
    let handle = Handle(Arc::new(Inner {
        node_id,
        raft,
        publisher,
        proposals: Semaphore::new(METADATA_PROPOSALS_MAX),
        stopped: AtomicBool::new(false),
        running: Mutex::new(Some(running)),
    }));
    handle.lead_if_alone().await?;
    Ok(handle)
}

impl Handle {
    /// In a group of one there is nobody to wait for: stand for election at once, and wait until
    /// the log is applied up to its end.
    async fn lead_if_alone(&self) -> Result<(), Error> {
        let failed = |error: String| Error::Failed(error);
        let raft = &self.0.raft;
        let me = raft::raft_id(self.0.node_id);
        // Asked of the engine itself: metrics may still be those of before it started.
        let voters = raft
            .with_raft_state(|state| {
                state.membership_state.effective().membership().voter_ids().collect::<Vec<u64>>()
            })
            .await
            .map_err(|error| failed(error.to_string()))?;
        if voters != [me] {
            return Ok(());
        }
        // Ignored by a leader: one that was leader before the restart goes on as one.
        raft.trigger().elect().await.map_err(|error| failed(error.to_string()))?;
        let last = self.0.running.lock().await.as_ref().and_then(Running::last_log_index);
        let timeout = Duration::from_millis(METADATA_PROPOSAL_TIMEOUT_MS);
        raft.wait(Some(timeout))
            .metrics(
                |metrics| {
                    // An entry of the leader's own term commits all that came before it.
                    let own_term = |id: &openraft::LogId<u64>| {
                        id.leader_id.term == metrics.current_term && Some(id.index) >= last
                    };
                    metrics.current_leader == Some(me)
                        && metrics.last_applied.as_ref().is_some_and(own_term)
                },
                "leading, and everything applied",
            )
            .await
            .map_err(|error| failed(error.to_string()))?;
        // One task alone tells the image who the controller is; wait until it has.
        let mut changes = self.subscribe();
        let told = async {
            while self.image().controller() != Some(self.0.node_id) {
                if changes.next().await.is_none() {
                    break;
                }
            }
        };
        tokio::time::timeout(timeout, told)
            .await
            .map_err(|_| Error::Timeout(METADATA_PROPOSAL_TIMEOUT_MS))
    }
}

/// Keeps the image's controller up to date until the engine ends.
fn follow_controller(raft: &raft::Raft, publisher: &Arc<Publisher>) {
    let mut metrics = raft.server_metrics();
    let publisher = Arc::clone(publisher);
    spawn::spawn("metadata-controller", async move {
        loop {
            let leader = metrics.borrow_and_update().current_leader;
            publisher.set_controller(leader.map(raft::node_id));
            if metrics.changed().await.is_err() {
                return;
            }
        }
    });
}
