//! Short scripts through the pure cores, for guards behind which a second guard stands: random walks
//! do not tell one of them from both.

use super::model::world::{Config, PARTITION, TOPIC, World};
use purlin::metadata::state::{AlterPartitions, Command, IsrChange, LeaderRecoveryState, Response};
use purlin::replica::{self, Answer, Effect, Input, LogView, Settings, State, Verdict};
use purlin::types::invariant::{Check, Invariant, check};
use purlin::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};

const ME: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const REGISTERED: BrokerEpoch = BrokerEpoch(7);

/// One script.
pub type Script = fn() -> Check;

/// Every script, by name.
pub const ALL: &[(&str, Script)] = &[
    ("case 5: an answer of an old epoch", old_answers_change_nothing),
    ("case 5: news of an older leadership", old_leaderships_change_nothing),
    ("case 6: a fetch of an old epoch", old_fetches_count_for_nothing),
    ("a follower that never fetched", who_never_fetched_stays_outside),
    ("case 3: both ends of an epoch count", the_shorter_end_of_an_epoch_is_cut_at),
    ("case 12: a follower that registered anew", a_new_registration_is_unknown),
    ("case 12: a fetch of an old registration", old_processes_count_for_nothing),
    ("a report before the first fetch", reports_count_after_a_fetch),
    ("a flush before the logs agree", a_follower_vouches_for_what_agrees),
    ("case 12: a member that registered anew", members_are_who_the_leader_saw),
    ("case 18: who led last, after a loss", who_led_last_waits_for_the_elr),
    ("case 35: a move with one to come", a_move_ends_when_all_have_arrived),
    ("case 35: a move with too few", a_move_leaves_enough_in_sync),
    ("case 10: changes by who does not lead", only_the_leader_changes_the_isr),
];

/// A node's metadata never goes back, but two of its threads may hand them over in another order.
fn old_leaderships_change_nothing() -> Check {
    let holds = |state: &State, when: &str| {
        check(Invariant::OneLeaderPerEpoch, state.leader_epoch() == LeaderEpoch(5), || {
            format!("it is in {} after {when}", state.leader_epoch())
        })
    };
    let mut state = replica(3);
    follow(&mut state, 5);
    follow(&mut state, 4);
    holds(&state, "an older leader's name")?;
    lead(&mut state, 4, 9, REGISTERED);
    holds(&state, "an older leadership of its own")
}

fn replica(end: i64) -> State {
    let log = LogView { start: Offset(0), end: Offset(end), flushed: Offset(end) };
    let settings = Settings { min_insync_replicas: 2, ..Settings::default() };
    State::new(ME, settings, log, Offset::ZERO)
}

fn lead(state: &mut State, epoch: i32, partition_epoch: i32, two: BrokerEpoch) {
    replica::step(
        state,
        Input::Lead {
            epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(partition_epoch),
            replicas: vec![(ME, Some(REGISTERED)), (TWO, Some(two))],
            isr: [ME, TWO].into(),
            elr: [].into(),
            now_ms: 0,
        },
    );
}

fn follow(state: &mut State, epoch: i32) -> Vec<Effect> {
    replica::step(state, Input::Follow { leader: TWO, epoch: LeaderEpoch(epoch) })
}

fn said(state: &mut State, epoch: i32, flushed: i64, fetch: bool) {
    let (follower, leader_epoch, broker_epoch) = (TWO, LeaderEpoch(epoch), REGISTERED);
    let (end, flushed, now_ms) = (Offset(flushed), Offset(flushed), 0);
    replica::step(
        state,
        if fetch {
            Input::Fetched { follower, leader_epoch, broker_epoch, end, flushed, now_ms }
        } else {
            Input::Reported { follower, leader_epoch, broker_epoch, end, flushed, now_ms }
        },
    );
}

fn watermark_is(state: &State, wanted: i64) -> Check {
    check(Invariant::ValidHighWatermark, state.high_watermark() == Offset(wanted), || {
        format!("the high watermark is {}, not {wanted}", state.high_watermark())
    })
}

fn old_answers_change_nothing() -> Check {
    let mut state = replica(4);
    follow(&mut state, 5);
    let answer = Answer::Diverging {
        epoch: LeaderEpoch(0),
        end: Offset(1),
        log_start: Offset(0),
        local: (LeaderEpoch(0), Offset(4)),
    };
    let stale = Input::Answered { leader_epoch: LeaderEpoch(4), asked: Offset(4), answer };
    let effects = replica::step(&mut state, stale);
    check(Invariant::LogMatching, effects.is_empty(), || format!("it led to {effects:?}"))
}

fn old_fetches_count_for_nothing() -> Check {
    let mut state = replica(4);
    lead(&mut state, 2, 0, REGISTERED);
    said(&mut state, 1, 4, true);
    watermark_is(&state, 0)?;
    let claim = replica::FetchClaim {
        follower: TWO,
        broker_epoch: REGISTERED,
        leader_epoch: LeaderEpoch(1),
        end: Offset(4),
        last_epoch: LeaderEpoch::NONE,
    };
    let verdict = state.judge(&claim, (LeaderEpoch::NONE, Offset::NONE));
    check(Invariant::LogMatching, verdict == Verdict::FencedEpoch, || format!("{verdict:?}"))
}

fn old_processes_count_for_nothing() -> Check {
    let mut state = replica(4);
    lead(&mut state, 1, 0, BrokerEpoch(REGISTERED.0 + 1));
    said(&mut state, 1, 4, true);
    watermark_is(&state, 0)
}

fn who_never_fetched_stays_outside() -> Check {
    let mut state = replica(4);
    let alone = |partition_epoch| Input::Lead {
        epoch: LeaderEpoch(1),
        partition_epoch: PartitionEpoch(partition_epoch),
        replicas: vec![(ME, Some(REGISTERED)), (TWO, Some(REGISTERED))],
        isr: [ME].into(),
        elr: [].into(),
        now_ms: 0,
    };
    let mut effects = replica::step(&mut state, alone(0));
    effects.extend(replica::step(&mut state, alone(1)));
    effects.extend(replica::step(&mut state, Input::Tick { now_ms: 1 }));
    let proposed = effects.iter().any(|one| matches!(one, Effect::ProposeIsr(_)));
    check(Invariant::LeaderCandidateCompleteness, !proposed, || format!("it led to {effects:?}"))
}

fn the_shorter_end_of_an_epoch_is_cut_at() -> Check {
    let mut state = replica(9);
    follow(&mut state, 5);
    let local = (LeaderEpoch(1), Offset(3));
    let answer =
        Answer::Diverging { epoch: LeaderEpoch(1), end: Offset(6), log_start: Offset(0), local };
    let leader_epoch = LeaderEpoch(5);
    let input = Input::Answered { leader_epoch, asked: Offset(9), answer };
    let effects = replica::step(&mut state, input);
    let cut = effects.iter().any(|one| matches!(one, Effect::Truncate { to: Offset(3), .. }));
    check(Invariant::LogMatching, cut, || format!("it led to {effects:?}"))
}

fn a_new_registration_is_unknown() -> Check {
    let mut state = replica(4);
    lead(&mut state, 1, 0, REGISTERED);
    said(&mut state, 1, 2, true);
    watermark_is(&state, 2)?;
    lead(&mut state, 1, 1, BrokerEpoch(99));
    let leader = state.leader().expect("leads");
    let known = leader.followers().any(|(_, progress)| progress.flushed.is_some());
    check(Invariant::LeaderCandidateCompleteness, !known, || {
        "what another process had on its disk still counts".to_owned()
    })
}

fn reports_count_after_a_fetch() -> Check {
    let mut state = replica(4);
    lead(&mut state, 1, 0, REGISTERED);
    said(&mut state, 1, 4, false);
    watermark_is(&state, 0)?;
    said(&mut state, 1, 2, true);
    said(&mut state, 1, 4, false);
    watermark_is(&state, 4)
}

fn a_follower_vouches_for_what_agrees() -> Check {
    let mut state = replica(4);
    follow(&mut state, 5);
    replica::step(&mut state, Input::Appended { end: Offset(6) });
    let effects = replica::step(&mut state, Input::Flushed { upto: Offset(6) });
    let vouched = effects.iter().any(|one| matches!(one, Effect::ReportFlushed(_)));
    check(Invariant::LogMatching, !vouched, || format!("it led to {effects:?}"))
}

fn only_the_leader_changes_the_isr() -> Check {
    let world = World::new(&Config::small("a script"));
    let now = world.partition().clone();
    let registered = |id: i32| world.metadata.broker(NodeId(id)).expect("registered").epoch;
    let asks = |node: i32, broker_epoch: BrokerEpoch, leader_epoch: LeaderEpoch| {
        let mut copy = world.clone();
        let isr = vec![(NodeId(node), registered(node))];
        let response = copy.apply(Command::AlterPartitions(AlterPartitions {
            node_id: NodeId(node),
            broker_epoch,
            changes: vec![IsrChange {
                topic_id: TOPIC,
                partition: PARTITION,
                leader_epoch,
                partition_epoch: now.partition_epoch,
                isr,
                lost: Vec::new(),
                recovery: LeaderRecoveryState::Recovered,
            }],
        }));
        matches!(response, Response::AlterPartitions(results) if results[0].is_ok())
    };
    let epoch = now.leader_epoch;
    assert!(asks(1, registered(1), epoch), "the leader itself may");
    let refused = |what: &str, done: bool| {
        check(Invariant::ReplicationQuorumSuperset, !done, || format!("{what} changed the ISR"))
    };
    refused("a follower", asks(2, registered(2), epoch))?;
    refused("an old leader", asks(1, registered(1), LeaderEpoch(epoch.0 - 1)))?;
    refused("an old process", asks(1, BrokerEpoch(registered(1).0 - 1), epoch))
}

fn members_are_who_the_leader_saw() -> Check {
    let mut world = World::new(&Config::small("a script"));
    let metadata = world.metadata.clone();
    let registered = |id: NodeId| metadata.broker(id).expect("registered").epoch;
    let now = world.partition().clone();
    let response = world.apply(Command::AlterPartitions(AlterPartitions {
        node_id: ME,
        broker_epoch: registered(ME),
        changes: vec![IsrChange {
            topic_id: TOPIC,
            partition: PARTITION,
            leader_epoch: now.leader_epoch,
            partition_epoch: now.partition_epoch,
            isr: vec![(ME, registered(ME)), (TWO, BrokerEpoch(registered(TWO).0 - 1))],
            lost: Vec::new(),
            recovery: LeaderRecoveryState::Recovered,
        }],
    }));
    let refused = matches!(response, Response::AlterPartitions(results) if results[0].is_err());
    stands("a process that is gone was taken into the ISR", refused, &world)
}

fn stands(what: &str, holds: bool, world: &World) -> Check {
    check(Invariant::LeaderCompleteness, holds, || format!("{what}: {}", world.summary()))
}

/// Node 1 is left alone in the ISR, with node 2 in the ELR, and stops with a loss.
fn who_led_last_waits_for_the_elr() -> Check {
    let config = Config { write_caching: true, ..Config::small("a script") };
    let mut world = World::new(&config);
    world.change_fencing(NodeId(3), true);
    world.change_fencing(TWO, true);
    world.node_mut(ME).incarnation += 1;
    world.register(ME, false);
    world.change_fencing(ME, false);
    stands("who lost its tail leads", world.partition().leader.is_none(), &world)?;
    world.change_fencing(TWO, false);
    stands("who holds everything does not", world.partition().leader == Some(TWO), &world)
}

fn moving() -> World {
    let config = Config { nodes: 4, ..Config::small("a script") };
    let mut world = World::new(&config);
    world.change_fencing(ME, true);
    world.reassign(Some(vec![TWO, NodeId(3), NodeId(4)]));
    world
}

/// Two of three are in sync and stay: that is enough, but what is to come has not come.
fn a_move_ends_when_all_have_arrived() -> Check {
    let world = moving();
    let under_way = world.partition().adding == [NodeId(4)];
    stands("the move ended before node 4 was in sync", under_way, &world)
}

/// What is to come has come, but too few would be left in sync.
fn a_move_leaves_enough_in_sync() -> Check {
    let config = Config { nodes: 4, ..Config::small("a script") };
    let mut world = World::new(&config);
    world.change_fencing(NodeId(3), true);
    world.change_fencing(TWO, true);
    world.reassign(Some(vec![TWO, NodeId(3), NodeId(4)]));
    let now = world.partition().clone();
    let metadata = world.metadata.clone();
    let member = |id: NodeId| (id, metadata.broker(id).expect("registered").epoch);
    let isr = vec![member(ME), member(NodeId(4))];
    world.apply(Command::AlterPartitions(AlterPartitions {
        node_id: ME,
        broker_epoch: member(ME).1,
        changes: vec![IsrChange {
            topic_id: TOPIC,
            partition: PARTITION,
            leader_epoch: now.leader_epoch,
            partition_epoch: now.partition_epoch,
            isr,
            lost: Vec::new(),
            recovery: LeaderRecoveryState::Recovered,
        }],
    }));
    let stays = world.partition().replicas.contains(&ME);
    stands("the move ended with one in sync", stays, &world)
}
