//! Plans: which commands bring the cluster to a wanted shape. They only read; the controller or a
//! tool proposes what comes out.
//!
//! All work on a [`Layout`], which the controller takes from its state and a tool from what any
//! broker answers to Metadata.

use super::command::Reassignment;
use super::model::{Broker, Partition, State, Topic};
use super::response::{Refusal, RefusalKind};
use crate::types::{NodeId, PartitionIndex};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A broker as plans see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutBroker {
    /// Its id.
    pub id: NodeId,
    /// Its rack.
    pub rack: Option<String>,
    /// Whether it is registered, unfenced and not about to stop.
    pub active: bool,
    /// Whether it is being drained.
    pub draining: bool,
}

/// A partition as plans see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutPartition {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: PartitionIndex,
    /// The replicas that it is to have in the end (without those that a reassignment removes).
    pub replicas: Vec<NodeId>,
    /// The in-sync ones.
    pub isr: Vec<NodeId>,
    /// Who leads.
    pub leader: Option<NodeId>,
    /// Whether a reassignment is under way.
    pub reassigning: bool,
}

/// Brokers and partitions of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// The brokers.
    pub brokers: Vec<LayoutBroker>,
    /// The partitions, by topic and index.
    pub partitions: Vec<LayoutPartition>,
}

impl Layout {
    /// What a state says.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let broker = |broker: &Arc<Broker>| LayoutBroker {
            id: broker.id,
            rack: broker.rack.clone(),
            active: broker.is_active(),
            draining: state.is_draining(broker.id),
        };
        let partitions = state.topics().flat_map(|topic| {
            topic.partitions().map(|(index, partition)| LayoutPartition {
                topic: topic.name.to_string(),
                partition: index,
                replicas: partition.target(),
                isr: partition.isr.clone(),
                leader: partition.leader,
                reassigning: partition.is_reassigning(),
            })
        });
        Self { brokers: state.brokers().map(broker).collect(), partitions: partitions.collect() }
    }

    fn broker(&self, id: NodeId) -> Option<&LayoutBroker> {
        self.brokers.iter().find(|broker| broker.id == id)
    }
}

/// How much each broker holds, as the plan goes on.
#[derive(Debug, Default)]
struct Load {
    replicas: BTreeMap<NodeId, usize>,
    preferred: BTreeMap<NodeId, usize>,
}

impl Load {
    fn of(layout: &Layout) -> Self {
        let mut load = Self::default();
        layout.partitions.iter().for_each(|partition| load.add(&partition.replicas));
        load
    }

    fn add(&mut self, replicas: &[NodeId]) {
        for id in replicas {
            *self.replicas.entry(*id).or_default() += 1;
        }
        if let Some(id) = replicas.first() {
            *self.preferred.entry(*id).or_default() += 1;
        }
    }

    fn take(&mut self, replicas: &[NodeId]) {
        for id in replicas {
            self.replicas.entry(*id).and_modify(|count| *count = count.saturating_sub(1));
        }
        if let Some(id) = replicas.first() {
            self.preferred.entry(*id).and_modify(|count| *count = count.saturating_sub(1));
        }
    }

    fn replicas(&self, id: NodeId) -> usize {
        self.replicas.get(&id).copied().unwrap_or(0)
    }

    fn preferred(&self, id: NodeId) -> usize {
        self.preferred.get(&id).copied().unwrap_or(0)
    }
}

/// How well a broker suits for one more replica beside these: the least is the best.
fn rank(
    broker: &LayoutBroker,
    beside: &[NodeId],
    layout: &Layout,
    load: &Load,
) -> impl Ord + use<> {
    let rack = |id: &NodeId| layout.broker(*id).and_then(|other| other.rack.as_deref());
    let same_rack = beside.iter().filter(|id| rack(id) == broker.rack.as_deref()).count();
    (!broker.active, broker.draining, same_rack, load.replicas(broker.id), broker.id)
}

/// The partitions whose preferred replica should lead again: those of the brokers that lead less
/// than `100 - imbalance_percent_max` percent of what they are preferred for. At most `count_max`;
/// ask again for the rest. What comes out goes into a preferred
/// [`ElectLeaders`](super::ElectLeaders).
#[must_use]
pub fn plan_preferred_leaders(
    state: &State,
    imbalance_percent_max: u32,
    count_max: usize,
) -> Vec<(String, PartitionIndex)> {
    // Per preferred broker: how many partitions, and how many of them others lead.
    let mut counts: BTreeMap<NodeId, (u64, u64)> = BTreeMap::new();
    for (_, partition) in state.topics().flat_map(Topic::partitions) {
        if let Some(preferred) = partition.replicas.first() {
            let (all, elsewhere) = counts.entry(*preferred).or_default();
            *all += 1;
            *elsewhere += u64::from(partition.leader != Some(*preferred));
        }
    }
    let may_lead = |id: NodeId| state.is_active(id) && !state.is_draining(id);
    counts.retain(|id, (all, elsewhere)| {
        *elsewhere > 0
            && *elsewhere * 100 > u64::from(imbalance_percent_max) * *all
            && may_lead(*id)
    });
    let due = |partition: &Partition| {
        let preferred = partition.replicas.first().filter(|id| counts.contains_key(id));
        let in_sync = preferred.filter(|id| partition.isr.contains(id));
        in_sync.is_some_and(|id| partition.leader != Some(*id))
    };
    let topics = state.topics().flat_map(|topic| {
        let partitions = topic.partitions().filter(|(_, partition)| due(partition));
        partitions.map(|(index, _)| (topic.name.to_string(), index))
    });
    topics.take(count_max).collect()
}

/// Reassignments that give all partitions of the named topics (of every topic: `None`) this many
/// replicas. Replicas that are there stay as far as they can, those in sync first; new ones spread
/// over racks, then by load. The preferred leaders of what changes spread over its replicas, so
/// that a cluster that grew is used. Partitions that have that many replicas already are left out.
///
/// # Errors
/// When there are too few brokers, a topic is not known, or a reassignment is under way.
pub fn plan_replication_factor(
    layout: &Layout,
    topics: Option<&[String]>,
    replication_factor: i16,
) -> Result<Vec<Reassignment>, Refusal> {
    let refuse =
        |message: String| Err(Refusal::new(RefusalKind::InvalidReplicationFactor, message));
    let factor = match usize::try_from(replication_factor) {
        Ok(factor) if factor > 0 => factor,
        _ => return refuse("the replication factor must be at least 1".to_owned()),
    };
    if factor > layout.brokers.len() {
        return refuse(format!(
            "a replication factor of {factor} needs as many brokers, and there are {}",
            layout.brokers.len()
        ));
    }
    for topic in topics.into_iter().flatten() {
        if !layout.partitions.iter().any(|partition| partition.topic == *topic) {
            let message = format!("there is no topic '{topic}'");
            return Err(Refusal::new(RefusalKind::UnknownTopic, message));
        }
    }
    let named = |partition: &&LayoutPartition| {
        topics.is_none_or(|topics| topics.contains(&partition.topic))
    };
    let mut load = Load::of(layout);
    let mut plan = Vec::new();
    for partition in layout.partitions.iter().filter(named) {
        if partition.replicas.len() == factor {
            continue;
        }
        if partition.reassigning {
            let message = format!(
                "{}-{} is being moved already; wait until that is done, or cancel it",
                partition.topic, partition.partition
            );
            return Err(Refusal::new(RefusalKind::ReassignmentInProgress, message));
        }
        let replicas = resized(layout, partition, factor, &mut load);
        let (topic, partition) = (partition.topic.clone(), partition.partition);
        plan.push(Reassignment { topic, partition, replicas: Some(replicas) });
    }
    Ok(plan)
}

/// The replicas of a partition once there are `factor` of them.
fn resized(
    layout: &Layout,
    partition: &LayoutPartition,
    factor: usize,
    load: &mut Load,
) -> Vec<NodeId> {
    load.take(&partition.replicas);
    let mut replicas = partition.replicas.clone();
    while replicas.len() > factor {
        let worst = |id: &&NodeId| {
            let others: Vec<NodeId> =
                replicas.iter().copied().filter(|other| other != *id).collect();
            let suits = layout.broker(**id).map(|broker| rank(broker, &others, layout, load));
            let leads = partition.leader == Some(**id);
            // Greatest first: one that is not in sync, one that is not registered, the worst.
            (!leads, !partition.isr.contains(id), suits.is_none(), suits)
        };
        let Some(worst) = replicas.iter().max_by_key(worst).copied() else { break };
        replicas.retain(|id| *id != worst);
    }
    while replicas.len() < factor {
        let others = layout.brokers.iter().filter(|broker| !replicas.contains(&broker.id));
        let best = others.min_by_key(|broker| rank(broker, &replicas, layout, load));
        let Some(best) = best else { break };
        replicas.push(best.id);
    }
    let preferred = (0..replicas.len()).min_by_key(|at| {
        let broker = replicas.get(*at).and_then(|id| layout.broker(*id));
        let may_lead = broker.is_some_and(|broker| broker.active && !broker.draining);
        (!may_lead, broker.map_or(0, |broker| load.preferred(broker.id)))
    });
    if let Some(at) = preferred {
        replicas.get_mut(..=at).into_iter().for_each(|front| front.rotate_right(1));
    }
    load.add(&replicas);
    replicas
}

/// Reassignments that take every replica off a node, so that it can be removed. Each goes to the
/// broker that suits best, and takes the place of the one that goes, so that leaders stay spread.
///
/// # Errors
/// One refusal for each reason not to, by topic: too few other brokers, a partition that nobody
/// could be copied from, no other active broker. Nothing is planned then.
pub fn plan_removal(layout: &Layout, node: NodeId) -> Result<Vec<Reassignment>, Vec<Refusal>> {
    let Some(going) = layout.broker(node) else {
        return Err(vec![Refusal::new(
            RefusalKind::BrokerNotRegistered,
            format!("broker {node} is not registered"),
        )]);
    };
    let others: Vec<&LayoutBroker> =
        layout.brokers.iter().filter(|broker| broker.id != node && broker.active).collect();
    if others.is_empty() {
        return Err(vec![Refusal::new(
            RefusalKind::PolicyViolation,
            format!("no broker but {node} is active: there is nowhere to go"),
        )]);
    }
    let mut load = Load::of(layout);
    let mut plan = Vec::new();
    let mut reasons: BTreeMap<(&str, Reason), usize> = BTreeMap::new();
    for partition in layout.partitions.iter().filter(|p| p.replicas.contains(&node)) {
        let stay: Vec<NodeId> =
            partition.replicas.iter().copied().filter(|id| *id != node).collect();
        let free = others.iter().filter(|broker| !broker.draining && !stay.contains(&broker.id));
        let best = free.min_by_key(|broker| rank(broker, &stay, layout, &load));
        let source = partition.leader.is_some_and(|leader| leader != node || going.active);
        let (Some(best), true) = (best, source) else {
            let reason = if source { Reason::NoRoom } else { Reason::NoSource };
            *reasons.entry((partition.topic.as_str(), reason)).or_default() += 1;
            continue;
        };
        let replace = |id: &NodeId| if *id == node { best.id } else { *id };
        let replicas: Vec<NodeId> = partition.replicas.iter().map(replace).collect();
        load.take(&partition.replicas);
        load.add(&replicas);
        let (topic, partition) = (partition.topic.clone(), partition.partition);
        plan.push(Reassignment { topic, partition, replicas: Some(replicas) });
    }
    if reasons.is_empty() {
        return Ok(plan);
    }
    Err(reasons.into_iter().map(|((topic, reason), count)| reason.refusal(topic, count)).collect())
}

/// Why replicas cannot leave a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    NoRoom,
    NoSource,
}

impl Reason {
    fn refusal(self, topic: &str, partitions: usize) -> Refusal {
        match self {
            Self::NoRoom => Refusal::new(
                RefusalKind::InvalidReplicationFactor,
                format!(
                    "topic '{topic}': every other active broker holds a replica of {partitions} of \
                     its partitions already; add a node, or lower the replication factor with \
                     `purlin topic alter {topic} --replication-factor N`"
                ),
            ),
            Self::NoSource => Refusal::new(
                RefusalKind::EligibleLeadersNotAvailable,
                format!(
                    "topic '{topic}': {partitions} of its partitions have no leader to copy from; \
                     what they hold would be lost. Bring the nodes with their replicas back first"
                ),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
