//! Groups of several: joining, losing members one after another, faults of network and clock.

use super::super::super::state::tests::registration;
use super::super::super::state::{AllocateProducerIds, RegisterBroker, Response, UnregisterBroker};
use super::super::super::{Command, Error, Handle, Heartbeat, HeartbeatAnswer};
use super::mesh::{Group, Node, wait};
use super::*;
use crate::env::spawn;
use crate::types::{BrokerEpoch, IncarnationId};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What a node says of itself when it registers.
pub(super) fn own_registration(node: &Node) -> RegisterBroker {
    let mut registration = registration(node.id.0, 1, true);
    registration.incarnation = node.incarnation();
    registration.rpc = node.address.clone();
    registration.directories = vec![node.directory];
    registration
}

/// Does what a node does at its start: registers, sends heartbeats from then on, waits until it is
/// unfenced.
pub(super) async fn register(node: &Node) {
    let (handle, id) = (node.handle().clone(), node.id);
    let broker_epoch =
        handle.register(own_registration(node)).await.expect("answered").expect("registered");
    spawn::spawn("test", heartbeats(handle.clone(), id, node.incarnation(), broker_epoch));
    wait("to be unfenced", async || handle.image().is_alive(id).then_some(())).await;
}

async fn heartbeats(
    handle: Handle,
    node_id: NodeId,
    incarnation: IncarnationId,
    broker_epoch: BrokerEpoch,
) {
    loop {
        let heartbeat = Heartbeat {
            node_id,
            broker_epoch,
            incarnation,
            applied_count: handle.image().applied_count(),
            ready: true,
            wants_shutdown: false,
        };
        match handle.heartbeat(heartbeat).await {
            Err(Error::Stopped | Error::Failed(_)) => return,
            Ok(HeartbeatAnswer::RegisterAgain) => return,
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A command that changes the state each time: its answer is a block of ids that nobody else gets.
fn command(group: &Group, node: &Node) -> Command {
    command_of(node, group.alive().next().expect("one runs").handle())
}

fn command_of(node: &Node, knows: &Handle) -> Command {
    let image = knows.image();
    let broker = image.broker(node.id).expect("registered");
    let broker_epoch = broker.epoch;
    Command::AllocateProducerIds(AllocateProducerIds { node_id: node.id, broker_epoch })
}

/// Proposes on one node, with as many tries as it takes. Gives the first id of the block.
async fn propose(group: &Group, node: &Node) -> i64 {
    propose_on(node, group.alive().next().expect("one runs").handle()).await
}

/// As [`propose`], where `knows` is a member that knows the node's registration.
pub(super) async fn propose_on(node: &Node, knows: &Handle) -> i64 {
    wait("a proposal", async || {
        let proposal = command_of(node, knows);
        let within = Duration::from_secs(5);
        match node.handle().propose_within(proposal, within).await {
            Ok(Response::AllocateProducerIds(Ok(block))) => Some(block.first.0),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_join_three_of_them_vote_and_all_of_them_propose() {
    let mut group = Group::new(1, 3).await;
    group.join(2).await;
    assert_eq!(
        group.node(2).handle().status().voters,
        [NodeId(1)],
        "two voters are worse than one"
    );
    for id in 3..=5 {
        group.join(id).await;
    }
    group.settle().await;
    let status = group.node(5).handle().status();
    assert_eq!((status.voters.len(), status.learners.len()), (3, 2));
    let mut blocks = BTreeSet::new();
    for node in &group.nodes {
        assert!(blocks.insert(propose(&group, node).await), "no block is given out twice");
    }
    group.agree().await;
    for node in &group.nodes {
        let quorum = wait("everybody caught up", async || {
            let quorum = node.handle().quorum().await.expect("answered");
            let replicas = || quorum.voters.iter().chain(&quorum.learners);
            let caught_up = replicas().all(|replica| {
                replica.log_end_offset == Some(quorum.high_watermark)
                    && replica.last_caught_up_ms >= 0
                    && replica.last_fetch_ms >= replica.last_caught_up_ms
            });
            caught_up.then_some(quorum)
        })
        .await;
        assert_eq!((quorum.voters.len(), quorum.learners.len()), (3, 2));
        assert_eq!((Some(quorum.leader), quorum.term), (status.controller, status.term));
    }
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_controller_is_killed_another_takes_over_and_every_node_goes_on() {
    let mut group = Group::new(5, 3).await;
    for _ in 0..3 {
        let killed = group.controller().await;
        let began = Instant::now();
        group.kill(killed, None).await;
        let next = group.controller().await;
        assert_ne!(next, killed);
        let witness = group.alive().next().expect("there").id;
        propose(&group, group.node(witness.0)).await;
        let took = began.elapsed();
        println!("another controller after {} ms", took.as_millis());
        assert!(took < Duration::from_secs(3), "{took:?}");
        let fenced = || {
            let image = group.node(witness.0).handle().image();
            (!image.is_alive(killed)).then_some(())
        };
        wait("the dead broker to be fenced", async || fenced()).await;
        for node in group.alive() {
            propose(&group, node).await;
        }
        group.restart(killed).await;
        register(group.node(killed.0)).await;
        propose(&group, group.node(killed.0)).await;
        group.agree().await;
    }
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_proposals_are_not_answered_and_with_it_they_go_on() {
    let mut group = Group::new(4, 3).await;
    let voters = group.node(1).handle().status().voters;
    group.kill(voters[0], None).await;
    group.kill(voters[1], None).await;
    for node in group.alive() {
        let within = Duration::from_millis(300);
        let error = node.handle().propose_within(command(&group, node), within).await;
        let error = error.expect_err("nobody can commit");
        let fits =
            matches!(error, Error::Timeout(_) | Error::Unknown(_) | Error::NotController { .. });
        assert!(fits, "{error}");
    }
    group.restart(voters[1]).await;
    group.controller().await;
    for node in group.alive() {
        propose(&group, node).await;
    }
    group.agree().await;
    group.restart(voters[0]).await;
    group.agree().await;
    group.stop().await;
}

async fn cut_the_log(handle: &Handle) {
    // Two snapshots behind those that are kept, so that the log is really cut.
    for _ in 0..=crate::limits::METADATA_SNAPSHOTS_KEPT {
        let last = handle.status().last_applied_index;
        let image = handle.image();
        let broker = image.brokers_alive().next().expect("one lives");
        let (node_id, broker_epoch) = (broker.id, broker.epoch);
        let command = AllocateProducerIds { node_id, broker_epoch };
        handle.propose(Command::AllocateProducerIds(command)).await.expect("proposed");
        handle.trigger_snapshot().await.expect("asked");
        wait("a snapshot", async || (handle.status().snapshot_index > last).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_for_long_and_a_new_one_come_up_by_snapshot() {
    let mut group = Group::with_entries_kept(3, 3, 0).await;
    let controller = group.controller().await;
    let away = *group.ids().iter().find(|id| **id != controller).expect("another");
    group.kill(away, None).await;
    let leader = group.node(controller.0).handle().clone();
    let term = leader.status().term;
    cut_the_log(&leader).await;
    let before = group.mesh.pieces();
    // The transfer breaks off: the member stays as it was, and alive.
    group.mesh.lose_piece_after(before);
    group.restart(away).await;
    wait("a piece", async || (group.mesh.pieces() > before).then_some(())).await;
    let snapshot = leader.status().snapshot_index.expect("there is one");
    assert!(group.node(away.0).handle().image().applied_count() <= snapshot);
    assert_eq!(group.node(away.0).handle().status().failure, None);
    group.mesh.lose_piece_after(u64::MAX);
    group.agree().await;
    assert!(group.mesh.pieces() > before);
    let before = group.mesh.pieces();
    group.join(4).await;
    group.agree().await;
    assert!(group.mesh.pieces() > before, "the new one got a snapshot, too");
    assert_eq!(leader.status().term, term, "nobody lost its place over it");
    // What came by snapshot is durable.
    group.kill(away, Some(7)).await;
    group.restart(away).await;
    group.agree().await;
    group.stop().await;
}

/// compat-traps.md, section 9, quorum: a second kill of a node that had joined later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_9_quorum_any_sequence_of_single_failures_with_restarts_between() {
    const NAME: &str = "trap_9_quorum_any_sequence";
    for seed in seeds(1) {
        let _say = SaySeed(seed, NAME);
        let mut dice = Dice(seed);
        let mut group = Group::new(1, 3).await;
        for id in 2..=4 {
            group.join(id).await;
            // Also while it grows.
            let killed = group.ids()[usize::try_from(dice.below(2)).expect("small")];
            if id > 2 {
                group.settle().await;
                group.kill(killed, Some(dice.next())).await;
                group.restart(killed).await;
                register(group.node(killed.0)).await;
            }
        }
        group.settle().await;
        let mut given = BTreeSet::new();
        for round in 0..12 {
            let ids = group.ids();
            // The last to join first, and twice.
            let killed = match round {
                0 | 1 => NodeId(4),
                2 | 3 => NodeId(3),
                _ => ids[usize::try_from(dice.below(ids.len() as u64)).expect("small")],
            };
            group.kill(killed, Some(dice.next())).await;
            group.controller().await;
            for node in group.alive() {
                assert!(given.insert(propose(&group, node).await));
            }
            group.restart(killed).await;
            register(group.node(killed.0)).await;
        }
        group.agree().await;
        group.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenario_34_a_clock_an_hour_off_changes_nothing() {
    let group = Group::new(3, 3).await;
    let term = group.node(1).handle().status().term;
    for (node, span_ms) in group.nodes.iter().zip([3_600_000, -3_600_000, 7_200_000]) {
        node.clock.advance(span_ms);
        propose(&group, node).await;
    }
    // Longer than a session and an election.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for node in &group.nodes {
        propose(&group, node).await;
        assert_eq!(node.handle().status().term, term, "no election");
        let image = node.handle().image();
        assert_eq!(image.brokers_alive().count(), 3, "no session ended");
    }
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_lost_late_or_made_twice_do_no_harm() {
    const NAME: &str = "calls_that_are_lost_late_or_made_twice";
    for seed in seeds(2) {
        let _say = SaySeed(seed, NAME);
        let group = Group::new(3, 3).await;
        group.mesh.make_noise(seed, 10);
        let mut given = BTreeSet::new();
        for _ in 0..15 {
            for node in &group.nodes {
                assert!(given.insert(propose(&group, node).await), "seed {seed}");
            }
        }
        group.mesh.quiet();
        group.agree().await;
        group.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_take_longer_than_a_heartbeat_are_committed() {
    let group = Group::new(3, 3).await;
    let term = group.node(1).handle().status().term;
    group.mesh.slow(3 * crate::limits::RAFT_HEARTBEAT_MS);
    let within = Duration::from_secs(5);
    for node in &group.nodes {
        let answer = node.handle().propose_within(command(&group, node), within).await;
        assert!(matches!(answer, Ok(Response::AllocateProducerIds(Ok(_)))), "{answer:?}");
    }
    group.mesh.slow(0);
    assert_eq!(group.node(1).handle().status().term, term);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_is_cut_off_commits_nothing_and_follows_afterwards() {
    let group = Group::new(3, 3).await;
    let old = group.controller().await;
    group.mesh.isolate(old, &group.ids(), true);
    let zombie = group.node(old.0);
    // What was on its way may still arrive.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = zombie.handle().image().applied_count();
    let (handle, proposal) = (zombie.handle().clone(), command(&group, zombie));
    let within = Duration::from_secs(30);
    let proposing = async move { handle.propose_within(proposal, within).await };
    let unanswered = spawn::spawn("test", proposing);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!unanswered.is_finished());
    let others: Vec<&Node> = group.nodes.iter().filter(|node| node.id != old).collect();
    for node in &others {
        propose(&group, node).await;
    }
    let next = others[0].handle().status().controller.expect("there is one");
    assert_ne!(next, old);
    assert_eq!(zombie.handle().image().applied_count(), before);
    // It finds out by itself, from silence, and says so.
    wait("the old controller to give up", async || {
        let (status, image) = (zombie.handle().status(), zombie.handle().image());
        (status.controller.is_none() && image.controller().is_none()).then_some(())
    })
    .await;
    assert!(zombie.handle().quorum().await.is_err(), "it can't speak for the group");
    group.mesh.isolate(old, &group.ids(), false);
    group.agree().await;
    // Its entry was cut off; in larger groups another member could still have it.
    let answer = unanswered.await.expect("ends").expect("no panic");
    assert!(matches!(answer, Err(Error::Unknown(_))), "{answer:?}");
    propose(&group, zombie).await;
    group.stop().await;
}

/// One that stood still is in the same place: others may have fenced it, and it has not heard yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_without_a_majority_does_not_vouch_for_itself() {
    let group = Group::new(3, 3).await;
    let old = group.controller().await;
    let node = group.node(old.0);
    if !node.handle().image().is_alive(old) {
        register(node).await;
    }
    let image = node.handle().image();
    let heartbeat = Heartbeat {
        node_id: old,
        broker_epoch: image.broker(old).expect("registered").epoch,
        incarnation: node.incarnation(),
        applied_count: image.applied_count(),
        ready: true,
        wants_shutdown: false,
    };
    let answer = node.handle().heartbeat(heartbeat.clone()).await;
    assert!(matches!(answer, Ok(HeartbeatAnswer::Known { fenced: false, .. })), "{answer:?}");
    group.mesh.isolate(old, &group.ids(), true);
    // Long before it finds out from silence.
    let answer = node.handle().heartbeat(heartbeat).await;
    assert!(matches!(answer, Err(Error::NotController { .. })), "{answer:?}");
    group.mesh.isolate(old, &group.ids(), false);
    group.agree().await;
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_is_removed_gives_its_place_to_a_learner() {
    let mut group = Group::new(4, 3).await;
    let controller = group.controller().await;
    let voters = group.node(1).handle().status().voters;
    let removed = *voters.iter().find(|id| **id != controller).expect("another");
    group.kill(removed, None).await;
    let command = Command::UnregisterBroker(UnregisterBroker { node_id: removed });
    let leader = group.node(controller.0).handle().clone();
    let answer = leader.propose(command).await.expect("proposed");
    assert!(matches!(answer, Response::UnregisterBroker(Ok(()))), "{answer:?}");
    wait("another voter", async || {
        let status = leader.status();
        let gone = !status.voters.contains(&removed) && !status.learners.contains(&removed);
        (gone && status.voters.len() == 3 && status.learners.is_empty()).then_some(())
    })
    .await;
    use crate::rpc::ControlHandler as _;
    assert!(leader.refuses(removed).expect("refused").contains("join again"));
    assert_eq!(leader.refuses(controller), None);
    group.nodes.retain(|node| node.id != removed);
    for node in group.alive() {
        propose(&group, node).await;
    }
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_comes_back_at_another_address_is_found_there() {
    let mut group = Group::new(3, 3).await;
    let controller = group.controller().await;
    for moved in
        [group.ids().into_iter().find(|id| *id != controller).expect("another"), controller]
    {
        group.kill(moved, None).await;
        group.controller().await;
        let node = group.nodes.iter_mut().find(|node| node.id == moved).expect("there");
        node.address = format!("elsewhere{moved}:9192");
        group.restart(moved).await;
        register(group.node(moved.0)).await;
        propose(&group, group.node(moved.0)).await;
        group.agree().await;
    }
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_that_come_back_at_other_addresses_are_found_by_way_of_the_third() {
    let mut group = Group::new(3, 3).await;
    let stays = group.controller().await;
    let moved: Vec<NodeId> = group.ids().into_iter().filter(|id| *id != stays).collect();
    for id in &moved {
        group.kill(*id, None).await;
    }
    for id in &moved {
        let node = group.nodes.iter_mut().find(|node| node.id == *id).expect("there");
        node.address = format!("elsewhere{id}:9192");
        group.restart(*id).await;
    }
    for id in &moved {
        register(group.node(id.0)).await;
        propose(&group, group.node(id.0)).await;
    }
    group.agree().await;
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenario_25_a_second_process_with_the_id_of_a_living_one_is_refused() {
    let mut group = Group::new(3, 3).await;
    let mut second = own_registration(group.node(2));
    second.incarnation = IncarnationId([99; 16]);
    let refusal = group.node(3).handle().register(second.clone()).await.expect("answered");
    let refusal = refusal.expect_err("the first one lives").to_string();
    assert!(refusal.contains("node 2"), "{refusal}");
    // The same process may ask again.
    let before = group.node(2).handle().image().broker(NodeId(2)).map(|broker| broker.epoch);
    let again = group.node(2).handle().register(own_registration(group.node(2))).await;
    assert_eq!(again.expect("answered").ok(), before);
    group.kill(NodeId(2), None).await;
    group.controller().await;
    let taken = group.node(3).handle().register(second).await.expect("answered");
    assert!(taken.expect("the first one is gone") > before.expect("registered"));
    group.stop().await;
}

#[tokio::test]
async fn scenario_26_a_member_that_lost_its_directory_does_not_vote_again() {
    let disk = crate::env::disk_memory::MemoryDisk::new();
    let state = tempfile::tempdir().expect("a directory");
    let mut options = options(Arc::new(disk), &state.path().join("state"));
    options.start_as = StartAs::Member;
    let error = super::super::super::start(options).await.expect_err("refused").to_string();
    assert!(error.contains("holds nothing") && error.contains("join again"), "{error}");
}

/// What a member promised before power cuts, it keeps: votes never go back, and entries that were
/// answered are there whoever leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_at_any_write_of_any_of_three_members_lose_nothing() {
    const NAME: &str = "power_cuts_at_any_write_of_any_of_three";
    for seed in seeds(2) {
        let _say = SaySeed(seed, NAME);
        let mut dice = Dice(seed);
        let mut group = Group::new(3, 3).await;
        let mut given = BTreeSet::new();
        let mut terms = [0; 4];
        for _ in 0..10 {
            let unlucky = NodeId(i32::try_from(1 + dice.below(3)).expect("small"));
            let disk = group.node(unlucky.0).disk.clone();
            disk.cut_power_at(disk.changes() + dice.below(30));
            for step in 0..8 {
                let node = &group.nodes[step % 3];
                let within = Duration::from_millis(700);
                let answer = node.handle().propose_within(command(&group, node), within).await;
                if let Ok(Response::AllocateProducerIds(Ok(block))) = answer {
                    assert!(given.insert(block.first.0), "a block was given out twice");
                }
                if step == 3 {
                    let _ = node.handle().trigger_snapshot().await;
                }
            }
            let term = &mut terms[usize::try_from(unlucky.0).expect("small")];
            group.kill(unlucky, Some(dice.next())).await;
            group.restart(unlucky).await;
            let after = group.node(unlucky.0).handle().status().term;
            assert!(after >= *term, "a vote was forgotten");
            *term = after;
            register(group.node(unlucky.0)).await;
        }
        group.agree().await;
        // All that was answered lies below what comes next.
        let next = propose(&group, group.node(1)).await;
        assert!(given.iter().all(|first| *first < next), "an answered entry was lost");
        group.stop().await;
    }
}
