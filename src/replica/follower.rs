//! Copying from a leader: what its answers mean for the local log.

use super::{Answer, Effect, FlushReport, LogView, Role, State, lose_leadership, watermark};
use crate::types::mutant::Mutant;
use crate::types::{LeaderEpoch, NodeId, Offset};

/// The state of one followership.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Follower {
    pub(super) leader: NodeId,
    pub(super) epoch: LeaderEpoch,
    /// Whether the leader has found, in this epoch, that this log is a prefix of its own. Until
    /// then a report of what is flushed could vouch for records that are about to be cut.
    pub(super) matched: bool,
    /// The newest high watermark that the leader told in this epoch.
    pub(super) told: Option<Offset>,
}

impl Follower {
    /// Whom this replica copies from.
    #[must_use]
    pub fn leader(&self) -> NodeId {
        self.leader
    }

    /// The leader's epoch.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Whether the leader has found, in this epoch, that this log is a prefix of its own.
    #[must_use]
    pub fn is_matched(&self) -> bool {
        self.matched
    }

    /// The newest high watermark that the leader told in this epoch; zero before it told one.
    #[must_use]
    pub fn told(&self) -> Offset {
        self.told.unwrap_or(Offset::ZERO)
    }
}

/// The metadata says that another node leads.
pub(super) fn follow(
    state: &mut State,
    leader: NodeId,
    epoch: LeaderEpoch,
    effects: &mut Vec<Effect>,
) {
    if epoch < state.leader_epoch() && !Mutant::OlderLeadershipTaken.is_active() {
        return;
    }
    if state.follower().is_some_and(|now| now.epoch == epoch && now.leader == leader) {
        return;
    }
    let role = Role::Follower(Follower { leader, epoch, matched: false, told: None });
    lose_leadership(state, role, effects);
    if Mutant::TruncateToHighWatermark.is_active() {
        effects.push(Effect::Truncate { to: state.high_watermark, unclean: false });
    }
    // What an earlier role left unflushed holds up the leader's high watermark until it is.
    if state.log.flushed < state.log.end && !state.settings.write_caching {
        effects.push(Effect::RequestFlush);
    }
}

/// The leader answered a fetch.
pub(super) fn answered(
    state: &mut State,
    leader_epoch: LeaderEpoch,
    asked: Offset,
    answer: Answer,
    effects: &mut Vec<Effect>,
) {
    let log = state.log;
    let Role::Follower(follower) = &mut state.role else { return };
    let old = follower.epoch != leader_epoch && !Mutant::AnswerOfOldEpochTaken.is_active();
    let elsewhere = asked != log.end && !Mutant::AnswerFromElsewhereTaken.is_active();
    if old || elsewhere {
        return;
    }
    // Once the leader has said that the logs agree they do, up to their ends, as long as its epoch
    // lasts: what says otherwise is about another position, and must cut nothing.
    let parts = match answer {
        Answer::Records { .. } => false,
        Answer::Diverging { .. } => true,
        Answer::OutOfRange { end, .. } => log.end > end,
    };
    if parts && follower.matched {
        return;
    }
    match answer {
        Answer::Records { high_watermark, log_start } => {
            follower.matched = true;
            follower.told = follower.told.max(Some(high_watermark));
            // First of all: what the leader has deleted is not to be seen any more, whatever
            // becomes of the records.
            if log_start > log.start && log_start <= log.end {
                effects.push(Effect::RaiseStart(log_start));
            }
            effects.push(Effect::AppendAnswered);
            watermark::follow(state, effects);
        }
        Answer::Diverging { end, log_start, local, .. } => {
            follower.matched = false;
            // The end of the largest epoch that both know, by whoever of the two has less of it
            // (KIP-279); without epochs of its own, what the leader says.
            let blind = local.1 == Offset::NONE || Mutant::TruncateToLeaderEndAlone.is_active();
            let own = if blind { log.end } else { local.1 };
            let to = end.min(own).min(log.end);
            effects.push(if to > log_start {
                Effect::Truncate { to, unclean: to < state.high_watermark }
            } else {
                // What would be left lies where the leader has deleted everything, and cannot be
                // compared any more.
                Effect::Restart { at: log_start, unclean: log_start < state.high_watermark }
            });
        }
        Answer::OutOfRange { start, end } => {
            follower.matched = false;
            if log.end < start {
                // What lies between was deleted everywhere: nothing is lost by leaving it out.
                effects.push(Effect::Restart { at: start, unclean: false });
            } else if log.end > end {
                let to = end.max(start);
                let unclean = to < state.high_watermark;
                effects.push(if to < log.start {
                    Effect::Restart { at: to, unclean }
                } else {
                    Effect::Truncate { to, unclean }
                });
            }
        }
    }
}

/// The shell has cut the log.
pub(super) fn cut(state: &mut State, log: LogView, effects: &mut Vec<Effect>) {
    state.log = log;
    let before = state.high_watermark;
    state.high_watermark = before.min(log.end).max(log.start);
    match state.high_watermark {
        now if now > before => effects.push(Effect::AdvanceHighWatermark(now)),
        now if now < before => effects.push(Effect::LowerHighWatermark(now)),
        _ => {}
    }
    if let Role::Follower(follower) = &mut state.role {
        follower.matched = false;
        follower.told = None;
    }
}

/// Tells the leader what is on disk: by a report once it has said that the logs agree, before by
/// a fetch.
pub(super) fn report(state: &State, effects: &mut Vec<Effect>) {
    let Role::Follower(follower) = &state.role else { return };
    let report = FlushReport {
        leader: follower.leader,
        leader_epoch: follower.epoch,
        end: state.log.end,
        flushed: state.log.flushed,
        agreed: follower.matched || Mutant::ReportBeforeMatch.is_active(),
    };
    effects.push(match report.agreed {
        true => Effect::ReportFlushed(report),
        false => Effect::FetchAgain(report),
    });
}
