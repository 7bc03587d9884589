//! The asking side of control calls: finds the controller, wherever it is, and asks it.
//!
//! Invariant: a call that may have had an effect is made again only if doing it twice is harmless.

use super::super::Error;
use super::super::peers::Peers;
use super::super::proposer::Proposer;
use super::super::raft::{node_id, raft_id};
use super::messages::{ControlAnswer, ControlCall, Failure};
use super::service::Service;
use crate::limits::{CONTROL_CALL_MS_MAX, CONTROL_RETRY_MS};
use crate::rpc::{self, Payload};
use crate::types::NodeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Asks the controller on behalf of this node.
#[derive(Debug)]
pub(in crate::metadata) struct Asker {
    pub(in crate::metadata) proposer: Arc<Proposer>,
    pub(in crate::metadata) service: Arc<Service>,
    pub(in crate::metadata) peers: Arc<dyn Peers>,
}

/// Why a single try failed, by whether another may be made.
enum Miss {
    /// It had no effect.
    Again(Error),
    /// It may have had one.
    Unclear(Error),
    /// No other try would fare better.
    Final(Error),
}

impl Asker {
    /// Asks until there is an answer or the time is up.
    pub(in crate::metadata) async fn ask(
        &self,
        call: ControlCall,
        within: Duration,
    ) -> Result<ControlAnswer, Error> {
        let deadline = Instant::now() + within;
        let repeatable = !matches!(call, ControlCall::Propose(_));
        let mut hint = None;
        let mut last = None;
        let mut tries = 0;
        loop {
            if self.proposer.is_stopped() {
                return Err(Error::Stopped);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(last.unwrap_or_else(|| timeout(within)));
            }
            let known = hint.take().or_else(|| self.proposer.controller());
            let controller = known.or_else(|| self.somebody(tries));
            tries += 1;
            let miss = match controller {
                None => Miss::Again(self.proposer.not_controller()),
                Some(node) => match self.ask_once(node, &call, left, repeatable).await {
                    Ok(answer) => return Ok(answer),
                    Err(miss) => miss,
                },
            };
            match miss {
                Miss::Again(error) => {
                    if let Error::NotController { controller, .. } = &error {
                        // Whoever was asked may know better, once.
                        hint =
                            controller.filter(|named| Some(*named) != self.proposer.controller());
                    }
                    last = Some(error);
                }
                Miss::Unclear(error) if repeatable => last = Some(error),
                Miss::Unclear(error) | Miss::Final(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(CONTROL_RETRY_MS).min(left)).await;
        }
    }

    /// Asks one node, once, whether its partitions follow so many entries, and waits until they do.
    pub(in crate::metadata) async fn ask_taken_up(
        &self,
        node: NodeId,
        applied_count: u64,
        within: Duration,
    ) -> bool {
        let call = ControlCall::TakenUp { applied_count };
        let answer = self.ask_once(node, &call, within, true).await;
        matches!(answer, Ok(ControlAnswer::TakenUp))
    }

    async fn ask_once(
        &self,
        node: NodeId,
        call: &ControlCall,
        left: Duration,
        repeatable: bool,
    ) -> Result<ControlAnswer, Miss> {
        let one_call = Duration::from_millis(CONTROL_CALL_MS_MAX);
        // A proposal can't be made again once it was sent, so it gets all the time there is.
        let patience = if repeatable { left.min(one_call) } else { left };
        let answer = if node == self.proposer.node_id {
            match tokio::time::timeout(patience, self.service.answer(call.clone())).await {
                Ok(answer) => answer,
                Err(_) => return Err(Miss::Unclear(timeout(patience))),
            }
        } else {
            self.ask_other(node, call, patience).await?
        };
        match answer {
            ControlAnswer::Failed(failure) => Err(self.judge(node, failure)),
            answer => Ok(answer),
        }
    }

    async fn ask_other(
        &self,
        node: NodeId,
        call: &ControlCall,
        patience: Duration,
    ) -> Result<ControlAnswer, Miss> {
        let Some(address) = self.address(node) else {
            return Err(Miss::Again(self.proposer.not_controller()));
        };
        let payload = Payload::encode(call);
        match self.peers.control(node, &address, payload, patience).await {
            Ok(answer) => answer.decode().map_err(|error| Miss::Unclear(unknown(&error))),
            Err(error) if error.is_certainly_not_done() => {
                tracing::debug!(%node, %error, "the controller can't be reached");
                Err(Miss::Again(self.proposer.not_controller()))
            }
            Err(error) => Err(Miss::Unclear(unknown(&error))),
        }
    }

    /// Some other node, another one each time: nobody may know this one's new address, so that it
    /// has to ask who the controller is, rather than wait to be told.
    fn somebody(&self, tries: usize) -> Option<NodeId> {
        let metrics = self.proposer.raft.server_metrics().borrow().clone();
        let members = metrics.membership_config.membership().nodes().map(|(id, _)| node_id(*id));
        let image = self.proposer.publisher.image();
        let mut all: Vec<NodeId> =
            members.chain(image.state().brokers().map(|broker| broker.id)).collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|node| *node != self.proposer.node_id);
        all.get(tries.checked_rem(all.len())?).copied()
    }

    /// Where a member is reached.
    fn address(&self, node: NodeId) -> Option<String> {
        let metrics = self.proposer.raft.server_metrics().borrow().clone();
        let member = metrics.membership_config.membership().get_node(&raft_id(node)).cloned();
        let image = self.proposer.publisher.image();
        let registered = || image.broker(node).map(|broker| broker.rpc.clone());
        member.map(|peer| peer.rpc).or_else(registered)
    }

    fn judge(&self, node: NodeId, failure: Failure) -> Miss {
        let here = self.proposer.node_id;
        match failure {
            Failure::NotController { .. } => Miss::Again(failure.into_error(here)),
            // This node's own end, or another's.
            Failure::Stopped if self.proposer.is_stopped() => Miss::Final(Error::Stopped),
            Failure::Stopped => Miss::Again(failure.into_error(here)),
            // It is that node that is broken, not this one.
            Failure::Broken(what) if node != here => Miss::Unclear(Error::Unknown(what)),
            Failure::Overloaded | Failure::TooLarge { .. } | Failure::Broken(_) => {
                Miss::Final(failure.into_error(here))
            }
            Failure::Timeout(_) | Failure::Unknown(_) => Miss::Unclear(failure.into_error(here)),
        }
    }
}

fn timeout(within: Duration) -> Error {
    Error::Timeout(u64::try_from(within.as_millis()).unwrap_or(u64::MAX))
}

fn unknown(error: &rpc::Error) -> Error {
    Error::Unknown(error.to_string())
}
