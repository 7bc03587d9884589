//! The connections to other nodes, as the metadata group uses them, with a memory of what went wrong
//! on them: for people, and to find out that other nodes refuse this one.

use super::broker::Gone;
use crate::metadata::{Answer, Peers, RaftCall};
use crate::rpc::{self, Alive, Disconnected, Payload, Pool};
use crate::types::NodeId;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

/// The way to other nodes, over the pool's connections.
#[derive(Debug)]
pub(super) struct PoolPeers {
    pool: Pool,
    /// What came of the last call to each node that failed, until one works.
    trouble: Arc<Mutex<BTreeMap<NodeId, Trouble>>>,
}

/// Why calls to a node fail.
#[derive(Debug, Clone)]
struct Trouble {
    text: String,
    /// What that node said, if it refuses this one rather than being out of reach.
    refused: Option<Gone>,
}

impl PoolPeers {
    pub(super) fn new(pool: Pool) -> Self {
        Self { pool, trouble: Default::default() }
    }

    /// What other nodes said when they refused this one: that it was removed, or that another
    /// process serves with its id.
    pub(super) fn refusal(&self) -> Option<Gone> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.values().find_map(|one| one.refused.clone())
    }

    /// Which nodes were tried in vain, and why it failed, for people.
    pub(super) fn tried(&self) -> String {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<String> =
            trouble.iter().map(|(node, one)| format!("node {node}: {}", one.text)).collect();
        all.join("; ")
    }

    /// Notes how a call ended.
    fn watch<T: Send + 'static>(
        &self,
        node: NodeId,
        call: BoxFuture<'static, Result<T, rpc::Error>>,
    ) -> BoxFuture<'static, Result<T, rpc::Error>> {
        let trouble = Arc::clone(&self.trouble);
        Box::pin(async move {
            let result = call.await;
            // Whole inserts and removes leave the map whole, whoever panics elsewhere.
            let mut trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner);
            match &result {
                Ok(_) => {
                    trouble.remove(&node);
                }
                Err(error) => {
                    let text = error.to_string();
                    let refused = match error {
                        rpc::Error::Removed { .. } => Some(Gone::for_good(text.clone())),
                        rpc::Error::Refused { .. } => Some(Gone::for_now(text.clone())),
                        _ => None,
                    };
                    trouble.insert(node, Trouble { text, refused });
                }
            }
            result
        })
    }
}

impl Peers for PoolPeers {
    fn raft(&self, node: NodeId, address: &str, call: RaftCall, within: Duration) -> Answer {
        self.watch(node, Peers::raft(&self.pool, node, address, call, within))
    }

    fn connect(
        &self,
        node: NodeId,
        address: &str,
        within: Duration,
    ) -> BoxFuture<'static, Result<(), rpc::Error>> {
        self.watch(node, Peers::connect(&self.pool, node, address, within))
    }

    fn control(&self, node: NodeId, address: &str, call: Payload, within: Duration) -> Answer {
        self.watch(node, Peers::control(&self.pool, node, address, call, within))
    }

    fn probe(&self, address: &str) -> BoxFuture<'static, Alive> {
        Peers::probe(&self.pool, address)
    }

    fn disconnections(&self) -> Option<broadcast::Receiver<Disconnected>> {
        Peers::disconnections(&self.pool)
    }
}
