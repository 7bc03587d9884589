//! Which process speaks for which node id, and over which connections.
//!
//! Invariant: at any time all open connections of a node id are with one incarnation. Two processes
//! with one id are never both listened to.

use super::handshake::Class;
use super::transport::End;
use crate::limits::RPC_EVENTS_MAX;
use crate::types::{IncarnationId, NodeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// A connection with another node ended, by its hand or by the network, not by ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnected {
    /// The other node.
    pub node: NodeId,
    /// The start of its process that the connection was with.
    pub incarnation: IncarnationId,
    /// Where it is reached, as `host:port`.
    pub rpc: String,
    /// What the connection was for.
    pub class: Class,
}

/// The table.
#[derive(Debug)]
pub(super) struct Live {
    table: Mutex<Table>,
    events: broadcast::Sender<Disconnected>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    nodes: BTreeMap<NodeId, Entry>,
}

#[derive(Debug)]
struct Entry {
    incarnation: IncarnationId,
    rpc: String,
    connections: BTreeMap<u64, End>,
}

/// Another incarnation that holds the node id.
#[derive(Debug)]
pub(super) struct Rival {
    pub(super) incarnation: IncarnationId,
    pub(super) rpc: String,
}

/// A connection's place in the table; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    live: Arc<Live>,
    number: u64,
    news: Disconnected,
}

/// The reason of an end that this side decided on: nobody has to be told.
pub(super) const OURS: &str = "closed by this node";

impl Live {
    pub(super) fn new() -> Arc<Self> {
        let (events, _) = broadcast::channel(RPC_EVENTS_MAX);
        Arc::new(Self { table: Mutex::default(), events })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Disconnected> {
        self.events.subscribe()
    }

    /// Enters a connection with `node`, unless another incarnation has open ones.
    pub(super) fn claim(
        self: &Arc<Self>,
        node: NodeId,
        incarnation: IncarnationId,
        rpc: &str,
        class: Class,
        end: End,
    ) -> Result<Place, Rival> {
        let mut table = self.table();
        table.next += 1;
        let number = table.next;
        let entry = table.nodes.entry(node).or_insert_with(|| Entry {
            incarnation,
            rpc: rpc.to_owned(),
            connections: BTreeMap::new(),
        });
        if entry.incarnation != incarnation {
            return Err(Rival { incarnation: entry.incarnation, rpc: entry.rpc.clone() });
        }
        entry.connections.insert(number, end);
        let news = Disconnected { node, incarnation, rpc: entry.rpc.clone(), class };
        Ok(Place { live: Arc::clone(self), number, news })
    }

    /// All nodes with open connections.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<(NodeId, IncarnationId)> {
        self.table().nodes.iter().map(|(node, entry)| (*node, entry.incarnation)).collect()
    }

    /// Closes all connections of one incarnation of `node`, or of whichever there is.
    pub(super) fn evict(&self, node: NodeId, incarnation: Option<IncarnationId>) {
        let evicted = {
            let mut table = self.table();
            let held = table.nodes.get(&node).map(|entry| entry.incarnation);
            if held.is_some() && (incarnation.is_none() || incarnation == held) {
                table.nodes.remove(&node)
            } else {
                None
            }
        };
        for end in evicted.into_iter().flat_map(|entry| entry.connections.into_values()) {
            end.set(OURS.to_owned());
        }
    }
}

impl Place {
    /// Tells that the connection ended, unless it was this side that ended it.
    pub(super) fn vacate(self, end: &End) {
        if end.reason() != Some(OURS) {
            // Nobody listens while the node starts or stops.
            let _ = self.live.events.send(self.news.clone());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.live.table();
        if let Some(entry) = table.nodes.get_mut(&self.news.node) {
            entry.connections.remove(&self.number);
            if entry.connections.is_empty() {
                table.nodes.remove(&self.news.node);
            }
        }
    }
}
