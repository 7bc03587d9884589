//! Plans: which commands bring the cluster to a wanted shape. They only read; the controller or a
//! tool proposes what comes out.
//!
//! All work on a [`Layout`], which the controller takes from its state and a tool from what any
//! broker answers to Metadata.

use super::command::Reassignment;
use super::model::State;
use super::response::Refusal;
use crate::types::{NodeId, PartitionIndex};

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
    pub fn of(_state: &State) -> Self {
        todo!()
    }
}

/// The partitions whose preferred replica should lead again: those of the brokers that lead less
/// than `100 - imbalance_percent_max` percent of what they are preferred for. At most `count_max`;
/// ask again for the rest. What comes out goes into a preferred
/// [`ElectLeaders`](super::ElectLeaders).
#[must_use]
pub fn plan_preferred_leaders(
    _state: &State,
    _imbalance_percent_max: u32,
    _count_max: usize,
) -> Vec<(String, PartitionIndex)> {
    todo!()
}

/// Reassignments that give all partitions of the named topics (of every topic: `None`) this many
/// replicas. Keeps what is there as far as it can, and its order, so that leaders stay; spreads
/// over racks, then by load. Partitions that have that many already are left out.
///
/// # Errors
/// When there are too few brokers, a topic is not known, or a reassignment is under way.
pub fn plan_replication_factor(
    _layout: &Layout,
    _topics: Option<&[String]>,
    _replication_factor: i16,
) -> Result<Vec<Reassignment>, Refusal> {
    todo!()
}

/// Reassignments that take every replica off a node, so that it can be removed.
///
/// # Errors
/// One refusal for each reason not to: a partition whose other brokers are too few, one whose only
/// in-sync copy is on a node that is down, no other active broker. Nothing is planned then.
pub fn plan_removal(_layout: &Layout, _node: NodeId) -> Result<Vec<Reassignment>, Vec<Refusal>> {
    todo!()
}
