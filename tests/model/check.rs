//! The invariant catalogue, held against every world that is reached.

use super::storage::{Value, index};
use super::world::{Config, World};
use purlin::replica::State;
use purlin::types::invariant::{self as catalogue, Check, Invariant, LogImage};
use purlin::types::{NodeId, Offset};

fn note(world: &mut World, check: Check) {
    if let Err(violation) = check
        && world.violation.is_none()
    {
        world.violation = Some(violation);
    }
}

fn image(world: &World, id: NodeId) -> LogImage<'_, Value> {
    let node = world.node(id);
    let high_watermark = node.replica.as_ref().map_or(Offset::ZERO, State::high_watermark);
    LogImage { node: id, start: Offset::ZERO, records: &node.storage.records, high_watermark }
}

/// Whether records may be lost by the rules: then only the rest of the catalogue holds.
fn may_lose(world: &World, config: &Config) -> bool {
    world.spent.unclean > 0
        || (config.write_caching && world.spent.crashes as usize >= config.insync_min)
}

/// A leader shows a new high watermark: what is below it counts as read and acknowledged.
pub fn committed(world: &mut World, id: NodeId, high_watermark: Offset) {
    let node = world.node(id);
    if node.replica.as_ref().is_none_or(|replica| replica.leader().is_none()) {
        return;
    }
    let upto = index(high_watermark).min(node.storage.records.len());
    let shown: Vec<Value> = node.storage.records[..upto].iter().map(|(_, value)| *value).collect();
    let mut verdict = Ok(());
    for (offset, before) in world.committed.iter().enumerate().take(shown.len()) {
        let at = Offset(i64::try_from(offset).expect("small"));
        verdict = verdict.and(catalogue::consistent_read(at, before, shown.get(offset)));
    }
    if world.spent.unclean == 0 {
        note(world, verdict);
        if shown.len() > world.committed.len() {
            world.committed = shown;
        }
    } else {
        world.committed = shown;
    }
}

/// A follower is about to cut what it may have known as committed.
pub fn cut(world: &mut World, id: NodeId, to: Offset, unclean: bool) {
    let held = world.node(id).storage.records.len();
    let check = catalogue::check(
        Invariant::LeaderCompleteness,
        !unclean || world.spent.unclean > 0 || !world.lossy.is_empty() || held == 0,
        || format!("node {id} cuts its log to {to}, below its high watermark"),
    );
    note(world, check);
}

/// Holds the whole catalogue against the world.
pub fn look(world: &mut World, config: &Config) {
    relearn(world);
    let check = all(world, config);
    note(world, check);
    for node in world.nodes.clone() {
        let Some(leader) = node.replica.as_ref().and_then(State::leader) else { continue };
        let check = world.leaders.note(leader.epoch(), node.id);
        note(world, check);
    }
}

/// A lossy replica that has everything committed again is as good as any.
fn relearn(world: &mut World) {
    let whole = |world: &World, id: NodeId| {
        let log = image(world, id);
        catalogue::leader_completeness(&world.committed, &log).is_ok()
    };
    let healed: Vec<NodeId> =
        world.lossy.iter().copied().filter(|id| world.node(*id).up && whole(world, *id)).collect();
    for id in healed {
        world.lossy.remove(&id);
    }
}

fn all(world: &World, config: &Config) -> Check {
    let partition = world.partition();
    let controller = world.partition_image(partition, config);
    let fenced = |id: NodeId| world.metadata.broker(id).is_none_or(|broker| broker.fenced);
    catalogue::valid_controller_state(controller, fenced)?;
    if world.spent.unclean == 0 && !config.write_caching && !world.mistaken {
        catalogue::min_isr_recovery_quorum(controller)?;
    }
    if !may_lose(world, config) {
        completeness(world, config)?;
        let lossy = world.lossy.iter().copied().filter(|id| world.node(*id).up).collect();
        catalogue::unclean_exclusion(&lossy, controller)?;
    }
    let nodes = &world.nodes;
    for (at, a) in nodes.iter().enumerate() {
        for b in &nodes[at + 1..] {
            if world.spent.unclean == 0 && !may_lose(world, config) {
                catalogue::log_matching(&image(world, a.id), &image(world, b.id))?;
            }
        }
    }
    leaders(world, config)
}

fn completeness(world: &World, config: &Config) -> Check {
    let partition = world.partition();
    for id in partition.isr.iter().chain(&partition.elr) {
        let node = world.node(*id);
        if !config.write_caching {
            // What it would have after a power cut now.
            let log = image(world, *id);
            let durable =
                LogImage { records: &node.storage.records[..node.storage.flushed], ..log };
            catalogue::leader_candidate_completeness(&world.committed, &durable)?;
        } else if node.up {
            catalogue::leader_candidate_completeness(&world.committed, &image(world, *id))?;
        }
    }
    // What a leader lost that is not up again is found when it is.
    if let Some(leader) = partition.leader
        && (world.node(leader).up || !config.write_caching)
    {
        catalogue::leader_completeness(&world.committed, &image(world, leader))?;
    }
    let logs: Vec<LogImage<'_, Value>> =
        world.nodes.iter().map(|node| image(world, node.id)).collect();
    catalogue::no_committed_record_lost_globally(&world.committed, &logs)
}

fn leaders(world: &World, config: &Config) -> Check {
    let partition = world.partition();
    let controller = world.partition_image(partition, config);
    for node in &world.nodes {
        let Some(replica) = &node.replica else { continue };
        let view = replica.log();
        catalogue::offset_order(view.start, view.start, replica.high_watermark(), view.end)?;
        let Some(leader) = replica.leader() else { continue };
        if leader.epoch() != partition.leader_epoch {
            continue;
        }
        let maximal = leader.isr_maximal();
        catalogue::replication_quorum_superset(node.id, leader.isr(), &maximal, controller)?;
        if !config.write_caching && world.spent.unclean == 0 {
            let flushed = maximal.iter().map(|id| (*id, world.node(*id).storage.view().flushed));
            catalogue::valid_high_watermark(node.id, replica.high_watermark(), flushed)?;
        }
    }
    Ok(())
}
