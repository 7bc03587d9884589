//! Which data directory is which node, and nodes that leave for good.
//!
//! A node is its data directory: the id belongs to it from its admission on, and to no other ever
//! after. So whoever comes with an empty disk is somebody else, and two processes can't be the same
//! node unless they share a directory, which its lock forbids.

use super::command::{AdmitNode, UnregisterBroker};
use super::configs::ConfigResource;
use super::delta::Delta;
use super::model::{Node, State};
use super::response::{Refusal, RefusalKind};
use crate::limits::{METADATA_BROKERS_MAX, METADATA_NODES_EVER_MAX};
use crate::types::{DirectoryId, NodeId};
use std::sync::Arc;

/// Gives a directory its id: the one it has, the one it wants, or the next.
pub(super) fn admit(
    state: &mut State,
    command: AdmitNode,
    delta: &mut Delta,
) -> Result<NodeId, Refusal> {
    let AdmitNode { directory, wanted, rpc, now } = command;
    if directory.is_zero() {
        return refuse(RefusalKind::InvalidRequest, "the data directory has no id".to_owned());
    }
    if let Some(known) = state.directories.get(&directory).and_then(|id| state.node(*id)) {
        let id = known_again(known, wanted)?;
        reached_at(state, id, &rpc, delta);
        return Ok(id);
    }
    let present = state.nodes().filter(|node| !node.removed).count();
    if present >= METADATA_BROKERS_MAX {
        return refuse(
            RefusalKind::PolicyViolation,
            format!("the cluster has {METADATA_BROKERS_MAX} nodes; no more are supported"),
        );
    }
    if state.nodes.size() >= METADATA_NODES_EVER_MAX {
        return refuse(
            RefusalKind::PolicyViolation,
            format!("{METADATA_NODES_EVER_MAX} node ids have been given out; there are no more"),
        );
    }
    let id = match wanted {
        Some(id) => check_wanted(state, id)?,
        None => state.node_id_next(),
    };
    let node = Node { id, directory, rpc, admitted_at: now, removed: false };
    state.nodes.insert_mut(id, Arc::new(node));
    state.directories.insert_mut(directory, id);
    delta.nodes.insert(id);
    Ok(id)
}

/// Notes where a node is reached now: the newest word of it counts, be it a repeated admission or a
/// registration.
pub(super) fn reached_at(state: &mut State, id: NodeId, rpc: &str, delta: &mut Delta) {
    let Some(node) = state.node(id).filter(|node| node.rpc != rpc) else { return };
    let moved = Node { rpc: rpc.to_owned(), ..Node::clone(node) };
    state.nodes.insert_mut(id, Arc::new(moved));
    delta.nodes.insert(id);
}

fn refuse<T>(kind: RefusalKind, message: String) -> Result<T, Refusal> {
    Err(Refusal::new(kind, message))
}

fn known_again(node: &Node, wanted: Option<NodeId>) -> Result<NodeId, Refusal> {
    let id = node.id;
    if node.removed {
        return Err(removed(id));
    }
    match wanted {
        Some(wanted) if wanted != id => refuse(
            RefusalKind::InvalidRequest,
            format!(
                "this data directory is node {id}, and cannot become node {wanted}: leave out \
                 --node-id, or join with an empty directory"
            ),
        ),
        _ => Ok(id),
    }
}

fn check_wanted(state: &State, id: NodeId) -> Result<NodeId, Refusal> {
    if id.0 < 0 {
        return refuse(RefusalKind::InvalidRequest, format!("node id {id} is negative"));
    }
    match state.node(id) {
        None => Ok(id),
        Some(node) if node.removed => refuse(
            RefusalKind::DuplicateBroker,
            format!(
                "node id {id} belonged to a node that was removed, and is not given out again: \
                 leave out --node-id to get a free one"
            ),
        ),
        Some(node) => refuse(
            RefusalKind::DuplicateBroker,
            format!(
                "node id {id} belongs to another data directory ({}, at {}): leave out --node-id \
                 to get a free one; if that node is gone for good, take it out with `purlin node \
                 remove {id}`",
                node.directory, node.rpc
            ),
        ),
    }
}

fn removed(id: NodeId) -> Refusal {
    Refusal::new(
        RefusalKind::BrokerNotRegistered,
        format!(
            "node {id} was removed from this cluster, and its data directory cannot come back: \
             join with an empty one"
        ),
    )
}

/// Whether a node with these directories may register under this id.
pub(super) fn check_admitted(
    state: &State,
    id: NodeId,
    directories: &[DirectoryId],
) -> Result<(), Refusal> {
    match state.node(id) {
        None => refuse(
            RefusalKind::BrokerNotRegistered,
            format!("node id {id} was never given out: the node has to join the cluster first"),
        ),
        Some(node) if node.removed => Err(removed(id)),
        Some(node) if !directories.contains(&node.directory) => refuse(
            RefusalKind::DuplicateBroker,
            format!(
                "node id {id} belongs to data directory {}, and this is another one: join with an \
                 empty directory and without --node-id",
                node.directory
            ),
        ),
        Some(_) => Ok(()),
    }
}

/// Takes a node out for good.
pub(super) fn unregister(
    state: &mut State,
    command: &UnregisterBroker,
    delta: &mut Delta,
) -> Result<(), Refusal> {
    let id = command.node_id;
    let Some(node) = state.node(id).filter(|node| !node.removed) else {
        return refuse(
            RefusalKind::BrokerNotRegistered,
            format!("there is no node {id}; `purlin node list` shows those there are"),
        );
    };
    let node = Node { removed: true, ..Node::clone(node) };
    let held: usize = (state.topics())
        .map(|topic| topic.partitions().filter(|(_, p)| p.replicas.contains(&id)).count())
        .sum();
    if held > 0 {
        return refuse(
            RefusalKind::PolicyViolation,
            format!(
                "node {id} still holds replicas of {held} partitions: `purlin node remove {id}` \
                 moves them away first"
            ),
        );
    }
    let others = state.brokers().any(|broker| broker.id != id && broker.is_active());
    if state.is_active(id) && !others {
        return refuse(
            RefusalKind::PolicyViolation,
            format!("node {id} is the only one that is active; without it there is no cluster"),
        );
    }
    state.nodes.insert_mut(id, Arc::new(node));
    delta.nodes.insert(id);
    if state.brokers.remove_mut(&id) {
        delta.brokers.insert(id);
    }
    let configs = ConfigResource::Broker(id);
    if state.configs.remove_mut(&configs) {
        delta.configs.insert(configs);
    }
    Ok(())
}
