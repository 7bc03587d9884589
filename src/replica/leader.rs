//! Taking up leadership, and what followers report.

use super::isr::Isr;
use super::{Effect, LogView, Role, State, isr, watermark};
use crate::types::mutant::Mutant;
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};
use std::collections::{BTreeMap, BTreeSet};

/// The state of one leadership.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leader {
    pub(super) epoch: LeaderEpoch,
    pub(super) epoch_start: Offset,
    pub(super) isr: Isr,
    /// Every other replica.
    pub(super) followers: BTreeMap<NodeId, Progress>,
}

/// What a leader knows of one follower, all of it learnt in this leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Progress {
    /// The follower's current registration; `None` while it is fenced or unknown.
    pub broker_epoch: Option<BrokerEpoch>,
    /// The registration that all of this was learnt from.
    registration: Option<BrokerEpoch>,
    /// The end of its log; `None` until it fetched in this epoch.
    pub end: Option<Offset>,
    /// What it has on disk.
    pub flushed: Option<Offset>,
    /// When it last had everything that the leader had.
    pub caught_up_ms: i64,
    /// The leader's end at its last fetch, and when that was: a follower that now has it was
    /// caught up then, even if the leader has gone on since.
    last_fetch: Option<(Offset, i64)>,
    /// It fetched from below what it had: a report from before that may still come, and counts for
    /// nothing until a fetch has shown more.
    fell_back: bool,
}

/// One follower's report.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub(super) broker_epoch: BrokerEpoch,
    pub(super) end: Offset,
    pub(super) flushed: Offset,
    pub(super) now_ms: i64,
    /// Whether it came with a fetch, which the leader has checked against its own log.
    pub(super) fetch: bool,
}

impl Leader {
    /// The epoch of this leadership.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The log end offset at the election.
    #[must_use]
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// The ISR that the controller decided on.
    #[must_use]
    pub fn isr(&self) -> &BTreeSet<NodeId> {
        &self.isr.decided
    }

    /// The ISR together with an open proposal: all that must have a record before it counts.
    #[must_use]
    pub fn isr_maximal(&self) -> BTreeSet<NodeId> {
        self.isr.maximal()
    }

    /// Where a follower's log ends for this leader, if it is known and the follower may not be
    /// elected, nor will be for what it said until now: it is in neither the ISR, nor an open
    /// proposal, nor the ELR. What is above that on the follower's disk is needed by nobody.
    #[must_use]
    pub fn spares_above(&self, follower: NodeId) -> Option<Offset> {
        let maximal = self.isr.maximal();
        let counts = maximal.contains(&follower) || self.isr.elr.contains(&follower);
        self.followers.get(&follower)?.end.filter(|_| !counts)
    }

    /// The version of replicas and ISR.
    #[must_use]
    pub fn partition_epoch(&self) -> PartitionEpoch {
        self.isr.partition_epoch
    }

    /// How many replicas there are, this one included.
    #[must_use]
    pub fn replica_count(&self) -> usize {
        self.followers.len() + 1
    }

    /// What is known of one of the other replicas.
    #[must_use]
    pub fn progress(&self, node: NodeId) -> Option<&Progress> {
        self.followers.get(&node)
    }

    /// The other replicas, in order of their ids.
    pub fn followers(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        self.followers.iter().map(|(node, progress)| (*node, progress))
    }
}

impl Progress {
    fn unknown(broker_epoch: Option<BrokerEpoch>, now_ms: i64) -> Self {
        // A new leader gives everybody the full lag time before it proposes a smaller ISR.
        Self {
            broker_epoch,
            registration: broker_epoch,
            end: None,
            flushed: None,
            caught_up_ms: now_ms,
            last_fetch: None,
            fell_back: false,
        }
    }

    /// Notes a report. Within a leader epoch positions only go back by a fetch: of a follower that
    /// lost what it had.
    fn note(&mut self, report: Report, log: LogView) {
        if report.end >= log.end {
            self.caught_up_ms = self.caught_up_ms.max(report.now_ms);
        } else if let Some((end_then, at_ms)) = self.last_fetch
            && report.end >= end_then
        {
            self.caught_up_ms = self.caught_up_ms.max(at_ms);
        }
        let flushed = Some(report.flushed.min(report.end));
        if report.fetch {
            self.last_fetch = Some((log.end, report.now_ms));
            let cut = self.end > Some(report.end);
            self.fell_back = cut || (self.fell_back && self.end == Some(report.end));
            self.flushed = if cut { flushed } else { self.flushed.max(flushed) };
            self.end = Some(report.end);
        } else {
            self.flushed = self.flushed.max(flushed);
            self.end = self.end.max(Some(report.end));
        }
    }
}

/// The metadata says that this node leads.
pub(super) fn lead(
    state: &mut State,
    epoch: LeaderEpoch,
    replicas: &[(NodeId, Option<BrokerEpoch>)],
    isr: Isr,
    now_ms: i64,
    effects: &mut Vec<Effect>,
) {
    if epoch < state.leader_epoch() && !Mutant::OlderLeadershipTaken.is_active() {
        return;
    }
    let same_leadership = state.leader().is_some_and(|leader| leader.epoch == epoch);
    let others = replicas.iter().filter(|(node, _)| *node != state.node);
    if same_leadership {
        let Role::Leader(leader) = &mut state.role else { return };
        if isr.partition_epoch < leader.isr.partition_epoch {
            return;
        }
        let kept = |node: &NodeId, broker_epoch: Option<BrokerEpoch>| {
            let progress = leader.followers.get(node).copied()?;
            // A follower that registered anew may have lost what it had (scenario 12). Nothing else
            // makes this leader forget: a follower that has everything does not say so again. One
            // that was removed and added again, its log deleted, comes with another leader epoch
            // (scenario 14).
            let same = broker_epoch.is_none() || broker_epoch == progress.registration;
            let same = same || Mutant::ProgressKeptOverRegistration.is_active();
            same.then_some(Progress { broker_epoch, ..progress })
        };
        let followers: BTreeMap<_, _> = others
            .map(|(node, broker_epoch)| {
                let unknown = || Progress::unknown(*broker_epoch, now_ms);
                (*node, kept(node, *broker_epoch).unwrap_or_else(unknown))
            })
            .collect();
        leader.followers = followers;
        leader.isr.decide(isr.decided, isr.elr, isr.partition_epoch);
    } else {
        // Everyone who waits on a leadership of an older epoch is told; a fresh one has nobody.
        if state.leader().is_some() {
            effects.push(Effect::LeadershipLost);
        }
        let mut followers: BTreeMap<_, _> = others
            .map(|(node, broker_epoch)| (*node, Progress::unknown(*broker_epoch, now_ms)))
            .collect();
        if Mutant::ProgressKeptOverEpochs.is_active() {
            followers.extend(state.leader().into_iter().flat_map(|old| old.followers.clone()));
        }
        let epoch_start = state.log.end;
        state.role = Role::Leader(Leader { epoch, epoch_start, isr, followers });
        if !Mutant::EpochNotRecordedAtElection.is_active() {
            effects.push(Effect::RecordEpoch { epoch, start: epoch_start });
        }
        // What an earlier run left unflushed counts for nothing until it is.
        if state.log.flushed < state.log.end {
            effects.push(Effect::RequestFlush);
        }
    }
    watermark::advance(state, effects);
    if same_leadership {
        // Whoever caught up while another proposal was open has nothing more to say.
        isr::consider_all(state, effects);
    }
}

/// A follower fetched or reported a flush.
pub(super) fn heard(
    state: &mut State,
    follower: NodeId,
    leader_epoch: LeaderEpoch,
    report: Report,
    effects: &mut Vec<Effect>,
) {
    let log = state.log;
    let Role::Leader(leader) = &mut state.role else { return };
    let stale = leader_epoch != leader.epoch && !Mutant::OldEpochFetchCounted.is_active();
    if stale || report.end > log.end {
        return;
    }
    let Some(progress) = leader.followers.get_mut(&follower) else { return };
    let current = progress.broker_epoch == Some(report.broker_epoch);
    if !current && !Mutant::BrokerEpochNotCheckedOnFetch.is_active() {
        return;
    }
    // A report may have been sent before the follower cut what this log does not have; a fetch
    // in this epoch has shown that it is past that.
    let early = !report.fetch && (progress.end.is_none() || progress.fell_back);
    if early && !Mutant::ReportBeforeFetchCounted.is_active() {
        return;
    }
    progress.note(report, log);
    isr::consider_loss(state, follower, effects);
    isr::consider_joining(state, follower, effects);
    watermark::advance(state, effects);
}
