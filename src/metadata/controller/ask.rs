//! The asking side of control calls: finds the controller, wherever it is, and asks it.
//!
//! Invariant: a call that may have had an effect is made again only if doing it twice is harmless.

use super::super::Error;
use super::super::peers::Peers;
use super::super::proposer::Proposer;
use super::super::raft::{node_id, raft_id};
use super::super::wire;
use super::messages::{ControlAnswer, ControlCall, Failure};
use super::service::Service;
use crate::limits::{CONTROL_CALL_MS_MAX, CONTROL_RETRY_MS};
use crate::rpc;
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

/// A node to ask, and where: nothing for where this node knows it to be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    node: NodeId,
    address: Option<String>,
}

/// Why a single try failed, by whether another may be made.
enum Miss {
    /// The node can't be reached. Nothing was sent.
    Unreached(Error),
    /// It had no effect; whoever was asked may have named another node.
    Again(Error, Option<Target>),
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
        let mut named: Option<Target> = None;
        let mut last = None;
        // Whether to ask around next, since the controller that is known of can't be reached.
        let mut around = false;
        for tries in 0.. {
            if self.proposer.is_stopped() {
                return Err(Error::Stopped);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let known = if around { None } else { self.proposer.controller() };
            let node = known.or_else(|| self.somebody(tries));
            let target = named.take().or(node.map(|node| Target { node, address: None }));
            let miss = match target {
                None => Miss::Unreached(self.proposer.not_controller()),
                Some(target) => match self.ask_once(&target, &call, left, repeatable).await {
                    Ok(answer) => return Ok(answer),
                    Err(miss) => miss,
                },
            };
            around = matches!(miss, Miss::Unreached(_)) && !around;
            match miss {
                Miss::Unreached(error) => last = Some(error),
                Miss::Again(error, elsewhere) => {
                    named = elsewhere.filter(|target| self.is_news(target));
                    last = Some(error);
                }
                Miss::Unclear(error) if repeatable => last = Some(error),
                Miss::Unclear(error) | Miss::Final(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(CONTROL_RETRY_MS).min(left)).await;
        }
        Err(last.unwrap_or_else(|| timeout(within)))
    }

    /// Whether this node would not have asked there by itself.
    fn is_news(&self, target: &Target) -> bool {
        let address = self.proposer.address(target.node);
        self.proposer.controller() != Some(target.node)
            || (target.address.is_some() && target.address != address)
    }

    /// Asks one node, once, whether its partitions follow so many entries, and waits until they do.
    pub(in crate::metadata) async fn ask_taken_up(
        &self,
        node: NodeId,
        applied_count: u64,
        within: Duration,
    ) -> bool {
        let call = ControlCall::TakenUp { applied_count };
        let target = Target { node, address: None };
        let answer = self.ask_once(&target, &call, within, true).await;
        matches!(answer, Ok(ControlAnswer::TakenUp))
    }

    async fn ask_once(
        &self,
        target: &Target,
        call: &ControlCall,
        left: Duration,
        repeatable: bool,
    ) -> Result<ControlAnswer, Miss> {
        let one_call = Duration::from_millis(CONTROL_CALL_MS_MAX);
        // A proposal can't be made again once it was sent, so it gets all the time there is.
        let patience = if repeatable { left.min(one_call) } else { left };
        let answer = if target.node == self.proposer.node_id {
            match tokio::time::timeout(patience, self.service.answer(call.clone())).await {
                Ok(answer) => answer,
                Err(_) => return Err(Miss::Unclear(timeout(patience))),
            }
        } else {
            self.ask_other(target, call, patience).await?
        };
        match answer {
            ControlAnswer::Failed(failure) => Err(self.judge(target.node, failure)),
            answer => Ok(answer),
        }
    }

    async fn ask_other(
        &self,
        target: &Target,
        call: &ControlCall,
        patience: Duration,
    ) -> Result<ControlAnswer, Miss> {
        let unreached = || Miss::Unreached(self.proposer.not_controller());
        let node = target.node;
        let address = target.address.clone().or_else(|| self.proposer.address(node));
        let address = address.ok_or_else(unreached)?;
        // While nothing was sent, another controller may still be asked instead.
        let connecting = self.peers.connect(node, &address, patience);
        let connected = tokio::select! {
            connected = connecting => connected,
            () = self.another_than(node) => {
                return Err(Miss::Again(self.proposer.not_controller(), None));
            }
        };
        if let Err(error) = connected {
            tracing::debug!(%node, %error, "the controller can't be reached");
            return Err(unreached());
        }
        let payload = wire::pack(call);
        match self.peers.control(node, &address, payload, patience).await {
            Ok(answer) => wire::unpack(&answer).map_err(|error| Miss::Unclear(unknown(&error))),
            Err(error) if error.is_certainly_not_done() => {
                tracing::debug!(%node, %error, "the controller can't be reached");
                Err(unreached())
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

    /// Waits until somebody else leads the group.
    async fn another_than(&self, node: NodeId) {
        let mut metrics = self.proposer.raft.server_metrics();
        let before = metrics.borrow_and_update().current_leader;
        loop {
            let leader = metrics.borrow_and_update().current_leader;
            if leader.is_some_and(|leader| leader != raft_id(node) && Some(leader) != before) {
                return;
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    fn judge(&self, node: NodeId, failure: Failure) -> Miss {
        let here = self.proposer.node_id;
        match failure {
            Failure::NotController { controller, ref address } => {
                let address = address.clone();
                let named = controller.map(|node| Target { node, address });
                Miss::Again(failure.into_error(here), named)
            }
            // This node's own end, or another's.
            Failure::Stopped if self.proposer.is_stopped() => Miss::Final(Error::Stopped),
            Failure::Stopped => Miss::Again(failure.into_error(here), None),
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
