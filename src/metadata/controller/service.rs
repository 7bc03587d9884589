//! The answering side of control calls: what only the controller can do, it does; all else is
//! refused with its name.

use super::super::peers::Peers;
use super::super::proposer::Proposer;
use super::super::raft::Contacts;
use super::super::state::{AdmitNode, Command, RegisterBroker, Response};
use super::super::{ControllerOptions, Error};
use super::messages::{Admission, Admitted, ControlAnswer, ControlCall, Failure};
use super::quorum;
use super::shell::{Message, Reply, Shell};
use crate::env::clock::Clock;
use crate::env::spawn;
use crate::limits::{
    CLOCK_DIFFERENCE_MS_MAX, CONTROL_CALL_MS_MAX, CONTROLLER_QUEUE_MAX,
    METADATA_PROPOSAL_TIMEOUT_MS,
};
use crate::types::{IncarnationId, NodeId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Answers control calls on this node.
#[derive(Debug)]
pub(in crate::metadata) struct Service {
    proposer: Arc<Proposer>,
    contacts: Arc<Contacts>,
    clock: Arc<dyn Clock>,
    shell: mpsc::Sender<Message>,
}

impl Service {
    /// Starts the controller's task, which acts while this node leads the group and ends with the
    /// engine.
    pub(in crate::metadata) fn start(
        proposer: Arc<Proposer>,
        contacts: Arc<Contacts>,
        clock: Arc<dyn Clock>,
        peers: Arc<dyn Peers>,
        options: ControllerOptions,
    ) -> Self {
        let (shell, messages) = mpsc::channel(CONTROLLER_QUEUE_MAX);
        let task = Shell { proposer: Arc::clone(&proposer), peers, options, messages };
        spawn::spawn("controller", task.run());
        Self { proposer, contacts, clock, shell }
    }

    /// The connections of a process were closed or reset.
    pub(in crate::metadata) fn suspect(&self, node_id: NodeId, incarnation: IncarnationId) {
        // With so much waiting that this doesn't fit, the session's end will tell.
        let _ = self.shell.try_send(Message::Suspected(node_id, incarnation));
    }

    /// Answers a call; most only if this node is the controller.
    pub(in crate::metadata) async fn answer(&self, call: ControlCall) -> ControlAnswer {
        let mut failure = match self.act(call).await {
            Ok(answer) => return answer,
            Err(error) => Failure::of(&error),
        };
        // Whoever asks may not know that the controller moved.
        if let Failure::NotController { controller: Some(controller), address } = &mut failure {
            *address = self.proposer.address(*controller);
        }
        ControlAnswer::Failed(failure)
    }

    async fn act(&self, call: ControlCall) -> Result<ControlAnswer, Error> {
        match call {
            ControlCall::Propose(command) => {
                let within = Duration::from_millis(METADATA_PROPOSAL_TIMEOUT_MS);
                let written = self.proposer.write(command, within).await?;
                let (response, applied_count) = (written.response, written.applied_count);
                Ok(ControlAnswer::Proposed { response, applied_count })
            }
            ControlCall::Quorum => {
                let quorum = quorum::describe(&self.proposer, &self.contacts, self.clock.now());
                quorum.map(ControlAnswer::Quorum).ok_or_else(|| self.proposer.not_controller())
            }
            ControlCall::Heartbeat(heartbeat) => {
                let ask = |reply| Message::Heartbeat(heartbeat, reply);
                Ok(ControlAnswer::Heartbeat(self.ask_shell(ask).await?))
            }
            ControlCall::Register(command) => {
                self.compare_clocks(&command);
                let ask = |reply| Message::Register(Box::new(command), reply);
                let (outcome, applied_count) = self.ask_shell(ask).await?;
                Ok(ControlAnswer::Registered { outcome, applied_count })
            }
            ControlCall::Admit(admission) => self.admit(admission).await,
            ControlCall::TakenUp { applied_count } => {
                let taken_up = self.proposer.publisher.wait_taken_up(applied_count);
                let within = Duration::from_millis(CONTROL_CALL_MS_MAX);
                let waited = tokio::time::timeout(within, taken_up).await;
                waited.map_err(|_| Error::Timeout(CONTROL_CALL_MS_MAX))?;
                Ok(ControlAnswer::TakenUp)
            }
        }
    }

    /// Nothing goes by another node's clock, but what people see does: timestamps of records, and
    /// retention by them.
    fn compare_clocks(&self, command: &RegisterBroker) {
        let ahead_ms = command.now.0.saturating_sub(self.clock.now().0);
        if ahead_ms.saturating_abs() > CLOCK_DIFFERENCE_MS_MAX {
            tracing::warn!(
                node = %command.node_id, ahead_ms,
                "the clock of a node differs from this one's; records are stamped, and kept by \
                 their age, by each leader's own clock: set the clocks, for instance with NTP"
            );
        }
    }

    async fn ask_shell<T>(&self, ask: impl FnOnce(Reply<T>) -> Message) -> Result<T, Error> {
        if self.proposer.is_stopped() {
            return Err(Error::Stopped);
        }
        if !self.proposer.leads() {
            return Err(self.proposer.not_controller());
        }
        let (reply, answer) = oneshot::channel();
        self.shell.try_send(ask(reply)).map_err(|_| Error::Overloaded)?;
        let within = Duration::from_millis(CONTROL_CALL_MS_MAX);
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(answer)) => answer,
            // The term ended with the question on the table.
            Ok(Err(_)) => Err(Error::Unknown("the controller changed".to_owned())),
            Err(_) => Err(Error::Timeout(CONTROL_CALL_MS_MAX)),
        }
    }

    async fn admit(&self, admission: Admission) -> Result<ControlAnswer, Error> {
        let Admission { directory, wanted, rpc } = admission;
        let now = self.clock.now();
        let command = Command::AdmitNode(AdmitNode { directory, wanted, rpc, now });
        let within = Duration::from_millis(CONTROL_CALL_MS_MAX);
        let written = self.proposer.write(command, within).await?;
        let cluster_id = self.proposer.cluster_id;
        match written.response {
            Response::AdmitNode(outcome) => {
                Ok(ControlAnswer::Admitted(outcome.map(|node_id| Admitted { node_id, cluster_id })))
            }
            other => unreachable!("invariant: AdmitNode is answered in kind, not {other:?}"),
        }
    }
}
