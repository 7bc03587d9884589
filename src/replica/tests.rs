//! Scripts: a partition's life in a few lines, and what must hold after each.

use super::*;
use crate::types::{BrokerEpoch, PartitionEpoch};
use std::collections::BTreeSet;

const ME: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

/// A replica with a log that ends at `end`, all of it flushed, and a high watermark of 0.
struct Script {
    state: State,
    now_ms: i64,
}

impl Script {
    fn new(end: i64) -> Self {
        let log = LogView { start: Offset(0), end: Offset(end), flushed: Offset(end) };
        Self { state: State::new(ME, Settings::default(), log, Offset(0)), now_ms: 0 }
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        step(&mut self.state, input)
    }

    fn lead(
        &mut self,
        epoch: i32,
        version: i32,
        replicas: &[NodeId],
        isr: &[NodeId],
    ) -> Vec<Effect> {
        let replicas = replicas
            .iter()
            .map(|node| (*node, Some(BrokerEpoch(i64::from(node.0) * 10))))
            .collect();
        self.step(Input::Lead {
            epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(version),
            replicas,
            isr: isr.iter().copied().collect(),
            elr: BTreeSet::new(),
            now_ms: self.now_ms,
        })
    }

    fn append(&mut self, end: i64) -> Vec<Effect> {
        self.step(Input::Appended { end: Offset(end) })
    }

    fn flush(&mut self, upto: i64) -> Vec<Effect> {
        self.step(Input::Flushed { upto: Offset(upto) })
    }

    fn fetch(&mut self, follower: NodeId, epoch: i32, end: i64, flushed: i64) -> Vec<Effect> {
        self.step(Input::Fetched {
            follower,
            leader_epoch: LeaderEpoch(epoch),
            broker_epoch: BrokerEpoch(i64::from(follower.0) * 10),
            end: Offset(end),
            flushed: Offset(flushed),
            now_ms: self.now_ms,
        })
    }

    fn watermark(&self) -> i64 {
        self.state.high_watermark().0
    }
}

fn proposed(effects: &[Effect]) -> Option<Vec<NodeId>> {
    effects.iter().find_map(|effect| match effect {
        Effect::ProposeIsr(proposal) => Some(proposal.isr.iter().map(|(node, _)| *node).collect()),
        _ => None,
    })
}

#[test]
fn a_group_of_one_commits_what_it_flushed() {
    let mut script = Script::new(5);
    let effects = script.lead(3, 0, &[ME], &[ME]);
    assert_eq!(
        effects,
        [
            Effect::RecordEpoch { epoch: LeaderEpoch(3), start: Offset(5) },
            Effect::AdvanceHighWatermark(Offset(5))
        ]
    );
    assert_eq!(script.append(8), [Effect::RequestFlush]);
    assert_eq!(script.watermark(), 5, "appended is not committed");
    assert_eq!(script.flush(7), [Effect::AdvanceHighWatermark(Offset(7))]);
    assert_eq!(script.flush(7), []);
    assert_eq!(script.flush(8), [Effect::AdvanceHighWatermark(Offset(8))]);
}

#[test]
fn write_caching_commits_what_is_appended() {
    let mut script = Script::new(0);
    script.step(Input::Configured(Settings { write_caching: true, ..Settings::default() }));
    script.lead(0, 0, &[ME], &[ME]);
    assert_eq!(script.append(4), [Effect::AdvanceHighWatermark(Offset(4))]);
    // Turning it off asks for the flush that was saved, and never takes anything back.
    let effects = script.step(Input::Configured(Settings::default()));
    assert_eq!(effects, [Effect::RequestFlush]);
    assert_eq!(script.watermark(), 4);
    assert_eq!(script.append(6), [Effect::RequestFlush]);
    assert_eq!(script.watermark(), 4);
}

#[test]
fn an_unflushed_tail_of_an_earlier_run_is_not_committed_by_an_election() {
    let log = LogView { start: Offset(0), end: Offset(9), flushed: Offset(6) };
    let mut state = State::new(ME, Settings::default(), log, Offset(4));
    let effects = step(
        &mut state,
        Input::Lead {
            epoch: LeaderEpoch(1),
            partition_epoch: PartitionEpoch(0),
            replicas: vec![(ME, Some(BrokerEpoch(1)))],
            isr: BTreeSet::from([ME]),
            elr: BTreeSet::new(),
            now_ms: 0,
        },
    );
    assert!(effects.contains(&Effect::RequestFlush));
    assert_eq!(state.high_watermark(), Offset(6));
    assert!(!state.knows_high_watermark(), "the epoch starts at 9");
    step(&mut state, Input::Flushed { upto: Offset(9) });
    assert!(state.knows_high_watermark());
}

#[test]
fn the_watermark_waits_for_every_member_of_the_isr_in_this_epoch() {
    let mut script = Script::new(10);
    script.lead(1, 0, &[ME, TWO, THREE], &[ME, TWO, THREE]);
    assert_eq!(script.watermark(), 0, "nobody reported in this epoch yet");
    script.fetch(TWO, 1, 10, 10);
    assert_eq!(script.watermark(), 0);
    script.fetch(THREE, 1, 10, 7);
    assert_eq!(script.watermark(), 7, "flushed counts, not fetched");
    script.fetch(THREE, 1, 10, 10);
    assert_eq!(script.watermark(), 10);
}

#[test]
fn scenario_06_a_fetch_of_an_older_epoch_counts_for_nothing() {
    let mut script = Script::new(10);
    script.lead(2, 0, &[ME, TWO], &[ME, TWO]);
    assert_eq!(script.fetch(TWO, 1, 10, 10), []);
    assert_eq!(script.watermark(), 0);
    // Nor does a fetch by an earlier registration of the follower (scenario 12).
    let stale = script.step(Input::Fetched {
        follower: TWO,
        leader_epoch: LeaderEpoch(2),
        broker_epoch: BrokerEpoch(19),
        end: Offset(10),
        flushed: Offset(10),
        now_ms: 0,
    });
    assert_eq!(stale, []);
}

#[test]
fn scenario_07_an_open_expansion_counts_with_the_union() {
    let mut script = Script::new(0);
    script.lead(1, 0, &[ME, TWO], &[ME]);
    let effects = script.fetch(TWO, 1, 0, 0);
    assert_eq!(proposed(&effects), Some(vec![ME, TWO]));
    script.append(5);
    script.flush(5);
    assert_eq!(script.watermark(), 0, "the joiner counts before the controller answered");
    script.fetch(TWO, 1, 5, 5);
    assert_eq!(script.watermark(), 5);
}

#[test]
fn scenario_08_and_09_an_open_shrink_never_commits_on_the_smaller_set() {
    let mut script = Script::new(0);
    script.lead(1, 0, &[ME, TWO], &[ME, TWO]);
    script.fetch(TWO, 1, 0, 0);
    script.append(5);
    script.flush(5);
    script.now_ms = 60_000;
    let effects = script.step(Input::Tick { now_ms: 60_000 });
    assert_eq!(proposed(&effects), Some(vec![ME]));
    assert_eq!(script.watermark(), 0);
    // No answer, more time: still no second proposal and no commit.
    assert_eq!(script.step(Input::Tick { now_ms: 120_000 }), []);
    assert_eq!(script.watermark(), 0);
    // The controller's decision alone ends it.
    script.lead(1, 1, &[ME, TWO], &[ME]);
    assert_eq!(script.watermark(), 5);
}

#[test]
fn a_refused_proposal_leaves_the_decided_isr() {
    let mut script = Script::new(0);
    script.lead(1, 4, &[ME, TWO], &[ME]);
    script.fetch(TWO, 1, 0, 0);
    script.append(3);
    script.flush(3);
    assert_eq!(script.step(Input::IsrRefused { partition_epoch: PartitionEpoch(3) }), []);
    assert_eq!(
        script.step(Input::IsrRefused { partition_epoch: PartitionEpoch(4) }),
        [Effect::AdvanceHighWatermark(Offset(3))]
    );
}

#[test]
fn scenario_13_a_follower_below_the_start_of_the_epoch_may_not_join() {
    let mut script = Script::new(10);
    script.lead(5, 0, &[ME, TWO, THREE], &[ME, THREE]);
    assert_eq!(proposed(&script.fetch(TWO, 5, 9, 9)), None);
    assert_eq!(proposed(&script.fetch(TWO, 5, 10, 9)), None, "fetched is not flushed");
    assert_eq!(proposed(&script.fetch(TWO, 5, 10, 10)), Some(vec![ME, TWO, THREE]));
}

#[test]
fn scenario_14_a_follower_that_registered_anew_is_unknown_again() {
    let mut script = Script::new(0);
    script.lead(1, 0, &[ME, TWO], &[ME, TWO]);
    script.fetch(TWO, 1, 0, 0);
    script.append(4);
    script.flush(4);
    script.fetch(TWO, 1, 4, 3);
    assert_eq!(script.watermark(), 3);
    let replicas = vec![(ME, Some(BrokerEpoch(10))), (TWO, Some(BrokerEpoch(99)))];
    script.step(Input::Lead {
        epoch: LeaderEpoch(1),
        partition_epoch: PartitionEpoch(1),
        replicas,
        isr: BTreeSet::from([ME, TWO]),
        elr: BTreeSet::new(),
        now_ms: 0,
    });
    script.append(9);
    script.flush(9);
    assert_eq!(script.watermark(), 3);
    let leader = script.state.leader().expect("leads");
    let (_, progress) = leader.followers().next().expect("one follower");
    assert_eq!(progress.end, None);
}

/// A follower that has everything does not say so again, so no change of ISR or fencing may make
/// the leader forget it.
#[test]
fn a_follower_stays_known_over_changes_that_are_not_its_own() {
    let mut script = Script::new(0);
    script.lead(1, 0, &[ME, TWO], &[ME, TWO]);
    script.append(4);
    script.flush(4);
    script.fetch(TWO, 1, 4, 4);
    assert_eq!(script.watermark(), 4);
    let known = |epoch: Option<i64>, partition_epoch: i32, isr: &[NodeId]| Input::Lead {
        epoch: LeaderEpoch(1),
        partition_epoch: PartitionEpoch(partition_epoch),
        replicas: vec![(ME, Some(BrokerEpoch(10))), (TWO, epoch.map(BrokerEpoch))],
        isr: isr.iter().copied().collect(),
        elr: BTreeSet::new(),
        now_ms: 0,
    };
    let of_two = |script: &Script| {
        let leader = script.state.leader().expect("leads");
        let (_, progress) = leader.followers().next().expect("one follower");
        (progress.end, progress.broker_epoch)
    };
    let registered = of_two(&script).1;
    script.step(known(None, 1, &[ME]));
    assert_eq!(of_two(&script), (Some(Offset(4)), None), "fenced, and out of the ISR");
    script.step(known(registered.map(|epoch| epoch.0), 2, &[ME]));
    assert_eq!(of_two(&script), (Some(Offset(4)), registered), "unfenced, the same process");
}

#[test]
fn scenario_16_the_watermark_is_frozen_below_min_isr() {
    let mut script = Script::new(0);
    script.step(Input::Configured(Settings { min_insync_replicas: 2, ..Settings::default() }));
    script.lead(1, 0, &[ME, TWO], &[ME]);
    assert!(!script.state.has_enough_replicas());
    script.append(5);
    assert_eq!(script.flush(5), []);
    // A group of one caps the wanted number (KIP-966), or it could never be written.
    script.lead(2, 1, &[ME], &[ME]);
    assert!(script.state.has_enough_replicas());
    assert_eq!(script.watermark(), 5);
}

#[test]
fn a_follower_that_keeps_up_with_the_last_fetch_stays_in() {
    let mut script = Script::new(0);
    script.lead(1, 0, &[ME, TWO], &[ME, TWO]);
    for round in 1..=10 {
        script.now_ms = round * 20_000;
        // Each fetch has what the leader had at the fetch before, while the leader goes on.
        script.fetch(TWO, 1, (round - 1) * 5, (round - 1) * 5);
        script.append(round * 5);
        script.flush(round * 5);
        assert_eq!(proposed(&script.step(Input::Tick { now_ms: round * 20_000 })), None);
    }
    assert_eq!(proposed(&script.step(Input::Tick { now_ms: 300_000 })), Some(vec![ME]));
}

#[test]
fn losing_the_leadership_is_told_once_and_old_news_is_ignored() {
    let mut script = Script::new(0);
    script.lead(4, 0, &[ME, TWO], &[ME]);
    assert_eq!(script.step(Input::Follow { leader: TWO, epoch: LeaderEpoch(3) }), []);
    assert!(script.state.leader().is_some());
    let effects = script.step(Input::Follow { leader: TWO, epoch: LeaderEpoch(5) });
    assert_eq!(effects, [Effect::LeadershipLost]);
    assert_eq!(script.lead(4, 9, &[ME], &[ME]), [], "epoch 4 is over");
    script.append(3);
    assert_eq!(
        script.step(Input::Answered {
            leader_epoch: LeaderEpoch(5),
            asked: Offset(3),
            answer: Answer::Records { high_watermark: Offset(7), log_start: Offset(0) },
        }),
        [Effect::AppendAnswered, Effect::AdvanceHighWatermark(Offset(3))],
        "never past the own end"
    );
}

#[test]
fn scenario_31_a_failed_storage_gives_up_and_never_comes_back() {
    let mut script = Script::new(0);
    script.lead(1, 0, &[ME], &[ME]);
    script.append(5);
    let effects = script.step(Input::StorageFailed);
    assert_eq!(effects, [Effect::LeadershipLost, Effect::GiveUpLeadership]);
    assert_eq!(script.flush(5), []);
    assert_eq!(script.lead(2, 1, &[ME], &[ME]), []);
    assert_eq!(script.watermark(), 0);
}

#[test]
fn deleting_records_raises_the_watermark_with_the_start() {
    let mut script = Script::new(10);
    script.lead(0, 0, &[ME, TWO], &[ME, TWO]);
    let effects = script.step(Input::StartRaised { start: Offset(6) });
    assert_eq!(effects, [Effect::AdvanceHighWatermark(Offset(6))]);
    assert_eq!(script.state.log().start, Offset(6));
}
