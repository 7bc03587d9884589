//! This node as a broker of its cluster: its registration, its heartbeats, and its leave.
//!
//! Invariant: a heartbeat says `ready` only once every partition that the metadata put here is
//! open or noted as failed.

use super::Error;
use super::peers::PoolPeers;
use crate::env::clock::Clock;
use crate::env::shutdown::Shutdown;
use crate::limits::{LEAVE_MS_MAX, REGISTRATION_MS_MAX};
use crate::metadata::state::{RefusalKind, RegisterBroker};
use crate::metadata::{self, Heartbeat, HeartbeatAnswer};
use crate::types::{BrokerEpoch, NodeId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// One attempt to register: between two, what other nodes say is looked at.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Between two attempts to register.
const PAUSE: Duration = Duration::from_millis(100);
/// How long other nodes may refuse this one before it takes their word for it: a process that was
/// killed a moment ago still counts as the one with this id until its connections are found dead.
const REFUSED_MAX: Duration = Duration::from_secs(5);

/// How this node stands with the controller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether the controller said, lately, that this node may lead.
    pub(super) unfenced: bool,
    /// Whether this node may stop: it leads nothing that others could lead.
    pub(super) may_stop: bool,
    /// Why this node must end: it was removed, or another process has its id.
    pub(super) gone: Option<Gone>,
}

/// Why this node must end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gone {
    reason: String,
    /// Whether no later start of this directory can be taken either.
    for_good: bool,
}

impl Gone {
    /// The cluster does not have this node, and will not have it again.
    pub(super) fn for_good(reason: String) -> Self {
        Self { reason, for_good: true }
    }

    /// A later start may be taken.
    pub(super) fn for_now(reason: String) -> Self {
        Self { reason, for_good: false }
    }
}

impl From<Error> for Gone {
    fn from(error: Error) -> Self {
        match error {
            Error::NotAMember(reason) => Self::for_good(reason),
            Error::NotRegistered(reason) => Self::for_now(reason),
            other => Self::for_now(other.to_string()),
        }
    }
}

impl From<Gone> for Error {
    fn from(gone: Gone) -> Self {
        if gone.for_good { Self::NotAMember(gone.reason) } else { Self::NotRegistered(gone.reason) }
    }
}

/// This process as a broker.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) metadata: metadata::Handle,
    pub(super) peers: Arc<PoolPeers>,
    pub(super) clock: Arc<dyn Clock>,
    /// What is registered; the time is put in anew each time.
    pub(super) registration: RegisterBroker,
    epoch: AtomicI64,
    ready: AtomicBool,
    leaving: AtomicBool,
    soon: Notify,
    standing: watch::Sender<Standing>,
}

impl Broker {
    pub(super) fn new(
        metadata: metadata::Handle,
        peers: Arc<PoolPeers>,
        clock: Arc<dyn Clock>,
        registration: RegisterBroker,
    ) -> Self {
        Self {
            metadata,
            peers,
            clock,
            registration,
            epoch: AtomicI64::new(-1),
            ready: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            soon: Notify::new(),
            standing: watch::Sender::new(Standing::default()),
        }
    }

    /// The node.
    pub(super) fn node_id(&self) -> NodeId {
        self.registration.node_id
    }

    /// The registration that counts now.
    pub(super) fn epoch(&self) -> BrokerEpoch {
        BrokerEpoch(self.epoch.load(Ordering::Acquire))
    }

    /// How this node stands with the controller.
    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Says that this node is out: it was removed, or replaced.
    pub(super) fn gone(&self, why: Gone) {
        self.standing.send_if_modified(|standing| {
            let first = standing.gone.is_none();
            standing.gone.get_or_insert(why);
            first
        });
    }

    /// Announces this start of the node, and asks until there is an answer, for a while.
    pub(super) async fn register(&self) -> Result<BrokerEpoch, Error> {
        let begun = Instant::now();
        let limit = Duration::from_millis(REGISTRATION_MS_MAX);
        let mut told = Instant::now();
        let mut last;
        loop {
            let command = RegisterBroker { now: self.clock.now(), ..self.registration.clone() };
            let registering = self.metadata.register(command);
            let answer = tokio::time::timeout(ATTEMPT, registering).await;
            let late = || metadata::Error::Timeout(ATTEMPT.as_millis() as u64);
            match answer.unwrap_or_else(|_| Err(late())) {
                Ok(Ok(epoch)) => {
                    self.epoch.store(epoch.0, Ordering::Release);
                    return Ok(epoch);
                }
                Ok(Err(refusal)) => {
                    // The process before this one may only just have died.
                    let may_pass = refusal.kind == RefusalKind::DuplicateBroker
                        && begun.elapsed() < REFUSED_MAX;
                    if !may_pass {
                        return Err(match refusal.kind {
                            RefusalKind::BrokerNotRegistered => Error::NotAMember(refusal.message),
                            _ => Error::NotRegistered(refusal.message),
                        });
                    }
                    last = refusal.message;
                }
                Err(error @ (metadata::Error::Stopped | metadata::Error::Failed(_))) => {
                    return Err(Error::Metadata(error.to_string()));
                }
                Err(error) => last = error.to_string(),
            }
            if let Some(refusal) = self.peers.refusal()
                && begun.elapsed() >= REFUSED_MAX
            {
                return Err(refusal.into());
            }
            if begun.elapsed() >= limit {
                return Err(self.no_controller(last, begun.elapsed()));
            }
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                tracing::info!(last, tried = self.peers.tried(), "waiting for the metadata group");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn no_controller(&self, last: String, waited: Duration) -> Error {
        let tried = match self.peers.tried() {
            tried if tried.is_empty() => last,
            tried => format!("{last} ({tried})"),
        };
        Error::NoController { tried, waited_s: waited.as_secs() }
    }

    /// Says from now on that this node holds what it should and can serve.
    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
        self.soon.notify_one();
    }

    /// Waits until the controller lets this node lead.
    pub(super) async fn unfenced(&self) -> Result<(), Error> {
        let mut standing = self.standing();
        let limit = Duration::from_millis(REGISTRATION_MS_MAX);
        let waiting = standing.wait_for(|now| now.unfenced || now.gone.is_some());
        match tokio::time::timeout(limit, waiting).await {
            Ok(Ok(now)) => match &now.gone {
                None => Ok(()),
                Some(gone) => Err(gone.clone().into()),
            },
            _ => Err(self.no_controller("no heartbeat was answered".to_owned(), limit)),
        }
    }

    /// Tells the controller over and over that this node lives, until the shutdown.
    pub(super) async fn beat(self: Arc<Self>, interval: Duration, mut shutdown: Shutdown) {
        // An answer that takes longer than some intervals is not worth waiting for.
        let patience = interval.saturating_mul(4);
        loop {
            match tokio::time::timeout(patience, self.metadata.heartbeat(self.heartbeat())).await {
                Ok(Ok(HeartbeatAnswer::Known { fenced, may_stop })) => {
                    self.standing.send_if_modified(|standing| {
                        let next =
                            Standing { unfenced: !fenced, may_stop, gone: standing.gone.clone() };
                        let changed = *standing != next;
                        if standing.unfenced && fenced {
                            tracing::warn!("the controller fenced this node");
                        }
                        *standing = next;
                        changed
                    });
                }
                Ok(Ok(HeartbeatAnswer::RegisterAgain)) => {
                    tracing::info!("the controller does not know this registration; again");
                    tokio::select! {
                        () = shutdown.wait() => return,
                        result = self.register() => if let Err(error) = result {
                            self.gone(error.into());
                        },
                    }
                }
                Ok(Err(error)) => tracing::debug!(%error, "a heartbeat was not answered"),
                Err(_) => tracing::debug!("a heartbeat was not answered in time"),
            }
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(interval) => {}
                () = self.soon.notified() => {}
            }
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            node_id: self.registration.node_id,
            broker_epoch: self.epoch(),
            incarnation: self.registration.incarnation,
            applied_count: self.metadata.image().applied_count(),
            ready: self.ready.load(Ordering::Acquire),
            wants_shutdown: self.leaving.load(Ordering::Acquire),
        }
    }

    /// Asks the controller to move away what this node leads, and waits for it, for a while.
    pub(super) async fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.soon.notify_one();
        let mut standing = self.standing();
        let limit = Duration::from_millis(LEAVE_MS_MAX);
        let waiting = standing.wait_for(|now| now.may_stop || now.gone.is_some());
        if tokio::time::timeout(limit, waiting).await.is_err() {
            tracing::warn!(
                "the controller did not take over what this node leads in {LEAVE_MS_MAX} ms"
            );
        }
    }
}
