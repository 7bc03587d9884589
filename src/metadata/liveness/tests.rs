//! Scripts of heartbeats, suspicions and silence.

use super::*;

const CONFIG: LivenessConfig =
    LivenessConfig { session_ms: 1_000, heartbeat_ms: 100, repeat_ms: 300 };

fn view(id: i32, epoch: i64, fenced: bool) -> BrokerView {
    BrokerView {
        node_id: NodeId(id),
        broker_epoch: BrokerEpoch(epoch),
        incarnation: IncarnationId([u8::try_from(epoch).expect("small"); 16]),
        fenced,
        in_controlled_shutdown: false,
        index: u64::try_from(epoch).expect("positive"),
    }
}

fn beat(id: i32, epoch: i64) -> Beat {
    let BrokerView { node_id, broker_epoch, incarnation, index, .. } = view(id, epoch, false);
    let (ready, wants_shutdown) = (true, false);
    Beat { node_id, broker_epoch, incarnation, applied_index: index, ready, wants_shutdown }
}

fn term(views: Vec<BrokerView>) -> Liveness {
    let mut liveness = Liveness::new(CONFIG);
    assert_eq!(liveness.step(5_000, Input::TermStarted(views)), []);
    liveness
}

fn fence(id: i32, epoch: i64, reason: FenceReason) -> Output {
    Output::Fence { node_id: NodeId(id), broker_epoch: BrokerEpoch(epoch), reason }
}

fn unfence(id: i32, epoch: i64) -> Output {
    Output::Unfence { node_id: NodeId(id), broker_epoch: BrokerEpoch(epoch) }
}

/// Ticks every 100 ms from after `from_ms` to `to_ms`; every output with its time.
fn ticks(liveness: &mut Liveness, from_ms: u64, to_ms: u64) -> Vec<(u64, Output)> {
    let times = (from_ms + 1..=to_ms).filter(|ms| ms.is_multiple_of(100));
    let at = |ms| liveness.step(ms, Input::Tick).into_iter().map(move |output| (ms, output));
    times.flat_map(at).collect()
}

fn probed(id: i32, epoch: i64, outcome: ProbeOutcome) -> Input {
    Input::Probed { node_id: NodeId(id), broker_epoch: BrokerEpoch(epoch), outcome }
}

/// Section 11: a controller that has just come to be knows of no heartbeat. Whoever is healthy must
/// not be fenced for that, and whoever died before its first heartbeat must be in the end.
#[test]
fn trap_11_liveness_every_broker_has_a_whole_session_in_a_new_term() {
    let mut liveness = term(vec![view(1, 7, false), view(2, 8, false)]);
    assert_eq!(liveness.next_expiry_ms(), Some(6_000));
    assert_eq!(ticks(&mut liveness, 5_000, 5_900), []);
    assert_eq!(liveness.step(5_900, Input::Heartbeat(beat(1, 7))), []);
    let silent = fence(2, 8, FenceReason::SessionExpired);
    assert_eq!(ticks(&mut liveness, 5_900, 6_100), [(6_000, silent)]);

    // Again, after a term of somebody else.
    liveness.step(6_100, Input::TermEnded);
    assert_eq!(liveness.step(9_000, Input::Tick), []);
    assert_eq!(liveness.next_expiry_ms(), None);
    liveness.step(9_000, Input::TermStarted(vec![view(1, 7, false)]));
    assert_eq!(ticks(&mut liveness, 9_000, 9_900), []);
    let silent = fence(1, 7, FenceReason::SessionExpired);
    assert_eq!(ticks(&mut liveness, 9_900, 10_000), [(10_000, silent)]);
}

#[test]
fn what_had_no_effect_is_asked_for_again_until_it_has() {
    let mut liveness = term(vec![view(1, 7, false)]);
    let silent = || fence(1, 7, FenceReason::SessionExpired);
    let asked = ticks(&mut liveness, 5_000, 6_700);
    assert_eq!(asked, [(6_000, silent()), (6_300, silent()), (6_600, silent())]);
    assert_eq!(liveness.step(6_750, Input::Registered(view(1, 7, true))), []);
    assert_eq!(ticks(&mut liveness, 6_750, 9_000), []);
}

#[test]
fn a_broker_is_unfenced_once_it_is_ready_and_has_seen_its_registration() {
    let mut liveness = term(vec![view(1, 7, true)]);
    let ask = |liveness: &mut Liveness, applied_index, ready| {
        let beat = Beat { applied_index, ready, ..beat(1, 7) };
        liveness.step(5_100, Input::Heartbeat(beat))
    };
    assert_eq!(ask(&mut liveness, 6, true), []);
    assert_eq!(ask(&mut liveness, 7, false), []);
    assert_eq!(ask(&mut liveness, 7, true), [unfence(1, 7)]);
    assert!(liveness.answer(NodeId(1), BrokerEpoch(7)).fenced);
    liveness.step(5_150, Input::Registered(view(1, 7, false)));
    assert!(!liveness.answer(NodeId(1), BrokerEpoch(7)).fenced);
}

#[test]
fn who_was_fenced_by_mistake_has_to_see_that_before_it_comes_back() {
    let mut liveness = term(vec![view(1, 7, false)]);
    liveness.step(5_100, Input::Registered(BrokerView { index: 20, ..view(1, 7, true) }));
    assert_eq!(liveness.step(5_200, Input::Heartbeat(beat(1, 7))), []);
    // What changed later for others does not hold it back.
    liveness.step(5_200, Input::Registered(BrokerView { index: 30, ..view(1, 7, true) }));
    let caught_up = Beat { applied_index: 20, ..beat(1, 7) };
    assert_eq!(liveness.step(5_300, Input::Heartbeat(caught_up)), [unfence(1, 7)]);
}

#[test]
fn a_refused_probe_fences_at_once_and_nothing_else_a_probe_finds_does() {
    let mut liveness = term(vec![view(1, 7, false), view(2, 8, false)]);
    let suspect = |liveness: &mut Liveness, ms| liveness.step(ms, Input::Suspected(NodeId(1)));
    let probe = Output::Probe { node_id: NodeId(1), broker_epoch: BrokerEpoch(7) };
    assert_eq!(suspect(&mut liveness, 5_100), std::slice::from_ref(&probe));
    assert_eq!(suspect(&mut liveness, 5_110), [], "one probe at a time");
    let same = ProbeOutcome::Alive(view(1, 7, false).incarnation);
    assert_eq!(liveness.step(5_120, probed(1, 7, same)), []);
    assert_eq!(suspect(&mut liveness, 5_130), std::slice::from_ref(&probe));
    assert_eq!(liveness.step(5_140, probed(1, 7, ProbeOutcome::Unknown)), []);
    assert_eq!(suspect(&mut liveness, 5_150), std::slice::from_ref(&probe));
    assert_eq!(liveness.step(5_160, probed(1, 6, ProbeOutcome::Refused)), [], "of another epoch");
    let refused = fence(1, 7, FenceReason::Refused);
    assert_eq!(
        liveness.step(5_160, probed(1, 7, ProbeOutcome::Refused)),
        std::slice::from_ref(&refused)
    );
    assert_eq!(suspect(&mut liveness, 5_170), [], "it is known");
    assert_eq!(ticks(&mut liveness, 5_170, 5_500), [(5_500, refused)]);
    // It lives after all, and is not held to what the probe found.
    liveness.step(5_510, Input::Registered(BrokerView { index: 9, ..view(1, 7, true) }));
    let alive = Beat { applied_index: 9, ..beat(1, 7) };
    assert_eq!(liveness.step(5_520, Input::Heartbeat(alive)), [unfence(1, 7)]);

    let other = ProbeOutcome::Alive(IncarnationId([99; 16]));
    let replaced = fence(2, 8, FenceReason::Replaced);
    assert_eq!(liveness.step(5_530, probed(2, 8, other)), [replaced]);
}

#[test]
fn a_probe_that_is_refused_while_an_unfencing_is_on_its_way_wins_in_the_end() {
    let mut liveness = term(vec![view(1, 7, true)]);
    assert_eq!(liveness.step(5_100, Input::Heartbeat(beat(1, 7))), [unfence(1, 7)]);
    liveness.step(5_110, probed(1, 7, ProbeOutcome::Refused));
    let refused = fence(1, 7, FenceReason::Refused);
    assert_eq!(liveness.step(5_120, Input::Registered(view(1, 7, false))), [refused]);
}

#[test]
fn another_registration_starts_anew_and_the_old_ones_words_count_for_nothing() {
    let mut liveness = term(vec![view(1, 7, false)]);
    assert_eq!(ticks(&mut liveness, 5_000, 5_900), []);
    liveness.step(5_900, Input::Registered(view(1, 12, true)));
    assert_eq!(ticks(&mut liveness, 5_900, 6_800), [], "a whole session");
    assert_eq!(liveness.step(6_850, Input::Heartbeat(beat(1, 7))), []);
    let stranger = Beat { incarnation: IncarnationId([50; 16]), ..beat(1, 12) };
    assert_eq!(liveness.step(6_850, Input::Heartbeat(stranger)), []);
    assert!(liveness.answer(NodeId(1), BrokerEpoch(7)).unknown);
    assert_eq!(liveness.step(6_850, Input::Heartbeat(beat(1, 12))), [unfence(1, 12)]);
    assert_eq!(liveness.step(6_860, Input::Registered(view(1, 7, false))), [], "an old image");
    assert!(!liveness.answer(NodeId(1), BrokerEpoch(12)).unknown);
    liveness.step(6_870, Input::Unregistered(NodeId(1)));
    assert!(liveness.answer(NodeId(1), BrokerEpoch(12)).unknown);
    assert_eq!(ticks(&mut liveness, 6_870, 9_000), []);
}

#[test]
fn who_wants_to_stop_may_once_its_partitions_are_in_other_hands() {
    let mut liveness = term(vec![view(1, 7, false)]);
    let stop = || Input::Heartbeat(Beat { wants_shutdown: true, ..beat(1, 7) });
    let grant = Output::GrantShutdown { node_id: NodeId(1), broker_epoch: BrokerEpoch(7) };
    assert_eq!(liveness.step(5_100, stop()), [grant]);
    assert!(!liveness.answer(NodeId(1), BrokerEpoch(7)).shutdown_granted);
    let stopping = BrokerView { in_controlled_shutdown: true, ..view(1, 7, false) };
    assert_eq!(liveness.step(5_110, Input::Registered(stopping)), []);
    assert!(liveness.answer(NodeId(1), BrokerEpoch(7)).shutdown_granted);
    assert_eq!(liveness.step(5_200, stop()), []);
    // It is gone, and is fenced like any other.
    let silent = fence(1, 7, FenceReason::SessionExpired);
    assert_eq!(ticks(&mut liveness, 5_200, 6_200), [(6_200, silent)]);

    let mut liveness = term(vec![view(1, 7, true)]);
    assert_eq!(liveness.step(5_100, stop()), [], "it leads nothing");
    assert!(liveness.answer(NodeId(1), BrokerEpoch(7)).shutdown_granted);
}

#[test]
fn while_the_controller_itself_stood_still_no_session_ended() {
    let mut liveness = term(vec![view(1, 7, false)]);
    assert_eq!(ticks(&mut liveness, 5_000, 5_400), []);
    // Stopped for ten seconds; the tick comes before the heartbeats that wait.
    assert_eq!(liveness.step(15_400, Input::Tick), []);
    assert_eq!(ticks(&mut liveness, 15_400, 15_700), []);
    let silent = fence(1, 7, FenceReason::SessionExpired);
    assert_eq!(ticks(&mut liveness, 15_700, 16_000), [(15_800, silent)]);
}

/// Case 34: the sessions run on a clock that never jumps, and a smaller number is not believed.
#[test]
fn scenario_34_time_never_goes_back() {
    let mut liveness = term(vec![view(1, 7, false)]);
    liveness.step(5_500, Input::Heartbeat(beat(1, 7)));
    assert_eq!(liveness.step(1_000, Input::Heartbeat(beat(1, 7))), []);
    assert_eq!(liveness.ages_ms(5_600), [(NodeId(1), 100)]);
    assert_eq!(liveness.step(5_600, Input::Tick), []);
}

#[test]
fn without_a_term_nothing_is_asked_for_and_nobody_is_known() {
    let mut liveness = Liveness::new(CONFIG);
    for input in [
        Input::Tick,
        Input::Heartbeat(beat(1, 7)),
        Input::Registered(view(1, 7, true)),
        Input::Suspected(NodeId(1)),
        probed(1, 7, ProbeOutcome::Refused),
    ] {
        assert_eq!(liveness.step(1, input), []);
    }
    assert!(liveness.answer(NodeId(1), BrokerEpoch(7)).unknown);
    assert_eq!(liveness.ages_ms(9), []);
}
