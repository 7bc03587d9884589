//! The high watermark: how far the partition is committed.

use super::{Effect, Role, State};
use crate::types::Offset;
use crate::types::mutant::Mutant;

/// Moves the leader's high watermark to the least counted offset over the maximal ISR.
///
/// A shrink that is only proposed still counts the member that is to leave: a leader that is cut
/// off from the controller must not commit on the smaller set (scenario 8).
pub(super) fn advance(state: &mut State, effects: &mut Vec<Effect>) {
    let Role::Leader(leader) = &state.role else { return };
    let enough = leader.isr.decided.len() >= state.isr_needed(leader);
    if !enough && !Mutant::MinIsrNotChecked.is_active() {
        return;
    }
    let write_caching = state.settings.write_caching;
    let counts_appended = write_caching || Mutant::AckBeforeFlush.is_active();
    let own = if counts_appended { state.log.end } else { state.log.flushed };
    let mut least = own;
    let counts_appended = write_caching || Mutant::FollowerCountedBeforeFlush.is_active();
    for node in leader.isr.maximal() {
        if node == state.node {
            continue;
        }
        let counted = leader
            .followers
            .get(&node)
            .and_then(|progress| if counts_appended { progress.end } else { progress.flushed });
        if counted.is_none() && Mutant::UnreportedMemberCounted.is_active() {
            continue;
        }
        // A member that has not reported in this epoch holds everything back.
        let Some(counted) = counted else { return };
        least = least.min(counted);
    }
    set(state, least, effects);
}

/// A follower goes as far as its leader said, and as its own log reaches.
pub(super) fn follow(state: &mut State, effects: &mut Vec<Effect>) {
    let Role::Follower(follower) = &state.role else { return };
    if let Some(told) = follower.told {
        set(state, told.min(state.log.end), effects);
    }
}

/// The log start moved up. Records below it are gone, so they count as committed.
pub(super) fn raise_start(state: &mut State, start: Offset, effects: &mut Vec<Effect>) {
    state.log.start = state.log.start.max(start);
    state.log.end = state.log.end.max(state.log.start);
    state.log.flushed = state.log.flushed.max(state.log.start);
    set(state, state.log.start, effects);
}

fn set(state: &mut State, high_watermark: Offset, effects: &mut Vec<Effect>) {
    if high_watermark > state.high_watermark {
        state.high_watermark = high_watermark;
        effects.push(Effect::AdvanceHighWatermark(high_watermark));
    }
}
