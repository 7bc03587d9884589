//! Who holds what in a cluster, as plans need it, from what any broker answers.

use super::failure::Failure;
use super::progress::StatusLine;
use crate::client::Admin;
use crate::client::admin::{Move, Resource};
use crate::limits::REASSIGNMENTS_PER_REQUEST_MAX;
use crate::metadata::state::Reassignment;
use crate::metadata::state::configs::DRAIN;
use crate::metadata::state::plan::{Layout, LayoutBroker, LayoutPartition};
use crate::types::{NodeId, PartitionIndex};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Between two looks at work that goes on in the cluster.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long a move may show no progress before the command says so.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Asks for brokers, topics and moves.
pub(super) async fn layout(admin: &Admin) -> Result<Layout, Failure> {
    let cluster = admin.describe_cluster().await?;
    let topics = admin.all_topics().await?;
    let moving = admin.moving().await?;
    let mut brokers = Vec::new();
    for broker in &cluster.brokers {
        brokers.push(LayoutBroker {
            id: broker.id,
            rack: broker.rack.clone(),
            active: !broker.fenced,
            draining: !broker.fenced && is_draining(admin, broker.id).await,
        });
    }
    let mut partitions = Vec::new();
    for topic in topics.topics.values() {
        for (number, one) in (0_i32..).zip(&topic.partitions) {
            let way = moving.get(&(topic.name.clone(), number));
            let goes = |node: &NodeId| way.is_some_and(|way| way.removing.contains(node));
            partitions.push(LayoutPartition {
                topic: topic.name.clone(),
                partition: PartitionIndex(number),
                replicas: one.replicas.iter().copied().filter(|node| !goes(node)).collect(),
                isr: one.isr.clone(),
                leader: one.leader,
                reassigning: way.is_some(),
            });
        }
    }
    Ok(Layout { brokers, partitions })
}

/// Whether a node is being drained; no for one that does not tell.
pub(super) async fn is_draining(admin: &Admin, node: NodeId) -> bool {
    let entries = admin.describe_configs(&Resource::Broker(Some(node)), false).await;
    let drains = |entry: &crate::client::admin::ConfigEntry| {
        entry.name == DRAIN && entry.value.as_deref() == Some("true")
    };
    entries.is_ok_and(|entries| entries.iter().any(drains))
}

/// Begins moves, and waits until all of them are done. The moves go on when the command ends
/// before them.
pub(super) async fn carry_out(
    admin: &Admin,
    what: &str,
    plan: &[Reassignment],
    wait: bool,
) -> Result<(), Failure> {
    for part in plan.chunks(REASSIGNMENTS_PER_REQUEST_MAX) {
        let moves: Vec<Move> = part
            .iter()
            .map(|one| Move {
                topic: one.topic.clone(),
                partition: one.partition.0,
                replicas: one.replicas.clone(),
            })
            .collect();
        let undecided = |error| {
            Failure::of_change(error, "purlin topic describe, for the replicas of each partition")
        };
        for outcome in admin.reassign(&moves).await.map_err(undecided)? {
            outcome.map_err(undecided)?;
        }
    }
    if !wait {
        return Ok(());
    }
    let mut open: BTreeSet<(String, i32)> =
        plan.iter().map(|one| (one.topic.clone(), one.partition.0)).collect();
    let line = StatusLine::new();
    let mut changed = Instant::now();
    let mut told = false;
    loop {
        let before = open.len();
        let moving = admin.moving().await?;
        open.retain(|place| moving.contains_key(place));
        if open.is_empty() {
            line.finish();
            return Ok(());
        }
        if open.len() < before {
            (changed, told) = (Instant::now(), false);
        }
        line.show(&format!(
            "{what}: {} of {} partitions done",
            plan.len() - open.len(),
            plan.len()
        ));
        if changed.elapsed() > STUCK_AFTER && !told {
            told = true;
            let first = open.first().map(|(topic, number)| format!("{topic}-{number}"));
            tracing::warn!(
                "{what}: {} partitions are still being copied ({} among them); it goes on also when \
                 this command is interrupted: purlin cluster health shows what holds it up",
                open.len(),
                first.unwrap_or_default()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
