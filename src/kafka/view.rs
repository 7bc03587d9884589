//! The cluster as clients may be told of it.
//!
//! Invariants: only live brokers are named, and those that left just now, and never none at all; the controller that is named is
//! one of them; a node that has lost the cluster never names itself as a leader. Clients live by
//! these: an empty list or a controller of -1 makes them wait for ever, and a deposed leader that
//! points at itself keeps them there.
//!
//! Pure: a function of one image.

use super::context::Context;
use crate::metadata::Image;
use crate::metadata::state::{Broker, Endpoint, Partition};
use crate::protocol::{ErrorCode, Str};
use crate::types::{LeaderEpoch, NodeId, TopicPartition};

/// One image, as this node tells of it on one listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) image: &'a Image,
    /// This node.
    pub(super) here: NodeId,
    /// The listener that the client came in on.
    pub(super) listener: &'a str,
    /// Whether this node has lost the controller for so long that others may have taken over what
    /// it leads: of itself it then knows nothing.
    pub(super) isolated: bool,
}

/// A broker's address as responses carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeAddress {
    /// Which broker.
    pub(super) node_id: NodeId,
    /// Its host.
    pub(super) host: Str,
    /// Its port.
    pub(super) port: i32,
    /// Its rack; `None` rather than an empty text.
    pub(super) rack: Option<Str>,
}

/// Who leads a partition as far as this node knows, and where, for clients that asked the wrong
/// node (KIP-951). Without a leader both numbers are -1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeaderHint {
    /// The leader, or [`NodeId::NONE`].
    pub(super) leader: NodeId,
    /// Its epoch, or [`LeaderEpoch::NONE`].
    pub(super) epoch: LeaderEpoch,
    /// Its endpoint for this listener.
    pub(super) endpoint: Option<NodeAddress>,
}

impl<'a> View<'a> {
    /// What this node tells now.
    pub(super) fn of(context: &'a Context, image: &'a Image) -> Self {
        Self {
            image,
            here: context.node_id,
            listener: &context.listener_name,
            isolated: context.metadata.is_isolated(),
        }
    }

    /// Whether a broker may be sent requests, as far as this node knows.
    pub(super) fn is_alive(&self, id: NodeId) -> bool {
        self.image.is_alive(id) && !(self.isolated && id == self.here)
    }

    /// The live brokers by id; where there is none, this node, which at least answers.
    pub(super) fn brokers(&self) -> Vec<&'a Broker> {
        let alive: Vec<&Broker> =
            self.image.brokers().map(|broker| &**broker).filter(|b| self.is_alive(b.id)).collect();
        if alive.is_empty() {
            return self.image.broker(self.here).map(|broker| &**broker).into_iter().collect();
        }
        alive
    }

    /// The live brokers and those that have just left, by id: who clients are told of beside the
    /// leaders. The address of one that is gone does no harm; its absence, at the very moment in
    /// which its partitions move, does: [`crate::limits::METADATA_DEPARTED_LISTED_MS`].
    pub(super) fn brokers_and_departed(&self) -> Vec<&'a Broker> {
        let mut named = self.brokers();
        let others = self.image.brokers().map(|broker| &**broker);
        named.extend(others.filter(|b| !self.is_alive(b.id) && self.image.has_just_left(b.id)));
        named.sort_by_key(|broker| broker.id);
        named.dedup_by_key(|broker| broker.id);
        named
    }

    /// A broker of [`Self::brokers`] for clients to send administrative requests to: the
    /// controller where it is one of them. Java's admin client waits for ever on -1.
    pub(super) fn controller(&self) -> NodeId {
        let brokers = self.brokers();
        let controller = self.image.controller();
        let known = |id: &NodeId| brokers.iter().any(|broker| broker.id == *id);
        let first = || brokers.first().map(|broker| broker.id);
        controller.filter(known).or_else(first).unwrap_or(NodeId::NONE)
    }

    /// The endpoint of a broker on this listener.
    pub(super) fn endpoint(&self, broker: &'a Broker) -> Option<&'a Endpoint> {
        broker.endpoint(self.listener)
    }

    /// The address of a broker on this listener.
    pub(super) fn address(&self, broker: &'a Broker) -> Option<NodeAddress> {
        let endpoint = self.endpoint(broker)?;
        Some(NodeAddress {
            node_id: broker.id,
            host: Str::from(endpoint.host.as_str()),
            port: i32::from(endpoint.port),
            rack: broker.rack.as_deref().filter(|rack| !rack.is_empty()).map(Str::from),
        })
    }

    /// The leader of a partition, if it lives.
    pub(super) fn leader(&self, state: &Partition) -> Option<NodeId> {
        state.leader.filter(|id| self.is_alive(*id))
    }

    /// The leader of a partition if clients of this listener can reach it, else why not.
    ///
    /// # Errors
    /// LEADER_NOT_AVAILABLE, or LISTENER_NOT_FOUND.
    pub(super) fn reachable_leader(&self, state: &Partition) -> Result<NodeId, ErrorCode> {
        let leader = self.leader(state).ok_or(ErrorCode::LeaderNotAvailable)?;
        let has_endpoint = |broker| self.endpoint(broker).is_some();
        if self.image.broker(leader).is_some_and(|broker| has_endpoint(broker)) {
            Ok(leader)
        } else {
            Err(ErrorCode::ListenerNotFound)
        }
    }

    /// The replicas on brokers that are not alive, and those whose storage failed.
    pub(super) fn offline(&self, state: &Partition) -> Vec<NodeId> {
        let is_offline = |id: &NodeId| !self.is_alive(*id) || state.offline.contains(id);
        state.replicas.iter().copied().filter(is_offline).collect()
    }

    /// See [`LeaderHint`].
    pub(super) fn leader_hint(&self, partition: &TopicPartition) -> LeaderHint {
        let state = self.image.partition(partition);
        let leader = state.and_then(|state| Some((self.leader(state)?, state.leader_epoch)));
        let Some((leader, epoch)) = leader else {
            return LeaderHint { leader: NodeId::NONE, epoch: LeaderEpoch::NONE, endpoint: None };
        };
        let endpoint = self.image.broker(leader).and_then(|broker| self.address(broker));
        LeaderHint { leader, epoch, endpoint }
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
