//! The sessions themselves.

use super::{
    Beat, BeatAnswer, BrokerView, FenceReason, Input, LivenessConfig, Output, ProbeOutcome,
};
use crate::types::{BrokerEpoch, NodeId};
use std::collections::BTreeMap;

/// The sessions of all brokers. Does nothing outside of a term.
#[derive(Debug, Clone)]
pub struct Liveness {
    config: LivenessConfig,
    /// Nothing outside of a term.
    sessions: Option<BTreeMap<NodeId, Session>>,
    /// When the last input came.
    last_ms: u64,
}

/// What is known of one registered broker.
#[derive(Debug, Clone)]
struct Session {
    view: BrokerView,
    /// When it was last heard of, or when its session began.
    heard_ms: u64,
    /// Its last heartbeat under this registration.
    beat: Option<Beat>,
    /// Why it is to be fenced although its session has not ended, found by a probe. A heartbeat
    /// that comes later disproves it.
    gone: Option<FenceReason>,
    /// What was asked for last, and when.
    proposed: Option<(Output, u64)>,
    /// When it was last asked to be probed.
    probed_ms: Option<u64>,
}

impl Session {
    fn new(view: BrokerView, now_ms: u64) -> Self {
        Self { view, heard_ms: now_ms, beat: None, gone: None, proposed: None, probed_ms: None }
    }

    /// What the broker should be changed to, if anything.
    fn due(&self, now_ms: u64, config: &LivenessConfig) -> Option<Output> {
        let BrokerView { node_id, broker_epoch, fenced, in_controlled_shutdown, index, .. } =
            self.view;
        let expired = now_ms.saturating_sub(self.heard_ms) >= config.session_ms;
        let why = self.gone.or(expired.then_some(FenceReason::SessionExpired));
        if let Some(reason) = why {
            return (!fenced).then_some(Output::Fence { node_id, broker_epoch, reason });
        }
        let beat = self.beat.as_ref()?;
        if beat.wants_shutdown {
            let grant = Output::GrantShutdown { node_id, broker_epoch };
            return (!fenced && !in_controlled_shutdown).then_some(grant);
        }
        let caught_up = beat.applied_index >= index;
        (fenced && beat.ready && caught_up).then_some(Output::Unfence { node_id, broker_epoch })
    }
}

impl Liveness {
    /// Nobody known yet.
    #[must_use]
    pub fn new(config: LivenessConfig) -> Self {
        Self { config, sessions: None, last_ms: 0 }
    }

    /// Takes one input, at a time that never goes back, and says what is to be done.
    pub fn step(&mut self, now_ms: u64, input: Input) -> Vec<Output> {
        let now_ms = now_ms.max(self.last_ms);
        self.forgive_stall(now_ms);
        self.last_ms = now_ms;
        match input {
            Input::TermStarted(brokers) => {
                let session = |view: BrokerView| (view.node_id, Session::new(view, now_ms));
                self.sessions = Some(brokers.into_iter().map(session).collect());
                Vec::new()
            }
            Input::TermEnded => {
                self.sessions = None;
                Vec::new()
            }
            Input::Registered(view) => self.registered(now_ms, view),
            Input::Unregistered(node_id) => {
                self.sessions.as_mut().map(|sessions| sessions.remove(&node_id));
                Vec::new()
            }
            Input::Heartbeat(beat) => self.heartbeat(now_ms, beat),
            Input::Suspected(node_id) => self.suspected(now_ms, node_id),
            Input::Probed { node_id, broker_epoch, outcome } => {
                self.probed(now_ms, node_id, broker_epoch, outcome)
            }
            Input::Tick => {
                let config = self.config;
                let sessions = self.sessions.iter_mut().flat_map(BTreeMap::values_mut);
                sessions.filter_map(|session| propose(session, now_ms, &config)).collect()
            }
        }
    }

    /// While this process stood still, heartbeats waited unread: that time counts for nobody.
    fn forgive_stall(&mut self, now_ms: u64) {
        // Inputs come at least with every tick; what is a little late is normal.
        let stalled_ms = (now_ms - self.last_ms).saturating_sub(2 * self.config.heartbeat_ms);
        for session in self.sessions.iter_mut().flat_map(BTreeMap::values_mut) {
            session.heard_ms = (session.heard_ms + stalled_ms).min(now_ms);
        }
    }

    fn session(&mut self, node_id: NodeId) -> Option<&mut Session> {
        self.sessions.as_mut()?.get_mut(&node_id)
    }

    fn registered(&mut self, now_ms: u64, view: BrokerView) -> Vec<Output> {
        let config = self.config;
        let Some(sessions) = self.sessions.as_mut() else { return Vec::new() };
        let node_id = view.node_id;
        match sessions.get_mut(&node_id) {
            Some(session) if session.view.broker_epoch > view.broker_epoch => Vec::new(),
            Some(session) if session.view.broker_epoch == view.broker_epoch => {
                if same_standing(&session.view, &view) {
                    // Nothing new of this broker: it need not have seen a later state.
                    return Vec::new();
                }
                session.view = view;
                // What was asked for has happened, or something else has.
                session.proposed = None;
                propose(session, now_ms, &config).into_iter().collect()
            }
            _ => {
                // A new registration is a sign of life.
                sessions.insert(node_id, Session::new(view, now_ms));
                Vec::new()
            }
        }
    }

    fn heartbeat(&mut self, now_ms: u64, beat: Beat) -> Vec<Output> {
        let config = self.config;
        let Some(session) = self.session(beat.node_id) else { return Vec::new() };
        let view = &session.view;
        if (view.broker_epoch, view.incarnation) != (beat.broker_epoch, beat.incarnation) {
            return Vec::new();
        }
        session.heard_ms = now_ms;
        session.gone = None;
        session.beat = Some(beat);
        propose(session, now_ms, &config).into_iter().collect()
    }

    fn suspected(&mut self, now_ms: u64, node_id: NodeId) -> Vec<Output> {
        let repeat_ms = self.config.repeat_ms;
        let Some(session) = self.session(node_id) else { return Vec::new() };
        let probing = session.probed_ms.is_some_and(|probed| now_ms - probed < repeat_ms);
        if session.view.fenced || session.gone.is_some() || probing {
            return Vec::new();
        }
        session.probed_ms = Some(now_ms);
        vec![Output::Probe { node_id, broker_epoch: session.view.broker_epoch }]
    }

    fn probed(
        &mut self,
        now_ms: u64,
        node_id: NodeId,
        broker_epoch: BrokerEpoch,
        outcome: ProbeOutcome,
    ) -> Vec<Output> {
        let config = self.config;
        let Some(session) = self.session(node_id) else { return Vec::new() };
        if session.view.broker_epoch != broker_epoch {
            return Vec::new();
        }
        session.probed_ms = None;
        session.gone = match outcome {
            ProbeOutcome::Refused => Some(FenceReason::Refused),
            ProbeOutcome::Alive(incarnation) if incarnation != session.view.incarnation => {
                Some(FenceReason::Replaced)
            }
            // The heartbeats will tell.
            ProbeOutcome::Alive(_) | ProbeOutcome::Unknown => None,
        };
        propose(session, now_ms, &config).into_iter().collect()
    }

    /// What to answer to a heartbeat, after [`Self::step`] took it.
    #[must_use]
    pub fn answer(&self, node_id: NodeId, broker_epoch: BrokerEpoch) -> BeatAnswer {
        let session = self.sessions.as_ref().and_then(|sessions| sessions.get(&node_id));
        let session = session.filter(|session| session.view.broker_epoch == broker_epoch);
        let Some(session) = session else {
            return BeatAnswer { fenced: true, shutdown_granted: false, unknown: true };
        };
        let view = &session.view;
        let wants = session.beat.as_ref().is_some_and(|beat| beat.wants_shutdown);
        BeatAnswer {
            fenced: view.fenced,
            // Who is fenced leads nothing: nobody waits for it.
            shutdown_granted: wants && (view.in_controlled_shutdown || view.fenced),
            unknown: false,
        }
    }

    /// When the next session of an unfenced broker ends, at the earliest; nothing outside of a
    /// term or without brokers.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        let sessions = self.sessions.iter().flat_map(BTreeMap::values);
        let unfenced = sessions.filter(|session| !session.view.fenced);
        unfenced.map(|session| session.heard_ms + self.config.session_ms).min()
    }

    /// Milliseconds since each broker was last heard of, or since the term began; for status pages.
    pub fn ages_ms(&self, now_ms: u64) -> Vec<(NodeId, u64)> {
        let sessions = self.sessions.iter().flatten();
        sessions.map(|(id, session)| (*id, now_ms.saturating_sub(session.heard_ms))).collect()
    }
}

fn same_standing(one: &BrokerView, other: &BrokerView) -> bool {
    one.fenced == other.fenced && one.in_controlled_shutdown == other.in_controlled_shutdown
}

/// What is due, unless that was asked for a moment ago.
fn propose(session: &mut Session, now_ms: u64, config: &LivenessConfig) -> Option<Output> {
    let due = session.due(now_ms, config)?;
    let asked = session.proposed.as_ref();
    if asked.is_some_and(|(last, at_ms)| *last == due && now_ms - at_ms < config.repeat_ms) {
        return None;
    }
    session.proposed = Some((due.clone(), now_ms));
    Some(due)
}
