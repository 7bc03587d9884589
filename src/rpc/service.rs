//! The services, and what their calls carry.

use super::Payload;
use crate::types::{ClusterId, IncarnationId, NodeId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tarpc::context::Context;

/// Who calls, and whom it expects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The caller.
    pub from: Identity,
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its number in the cluster.
    pub node_id: NodeId,
    /// This start of its process.
    pub incarnation: IncarnationId,
    /// Its release, for people.
    pub version: String,
}

/// Calls between any two nodes of a cluster.
#[tarpc::service]
pub trait Cluster {
    /// The handshake: a [`Hello`] is answered with an [`Identity`]. Answered to anyone: it is how
    /// a caller finds out that it has the wrong cluster.
    async fn identify(hello: Payload) -> Payload;
}

/// Answers the calls of the `cluster` service on a node.
#[derive(Debug, Clone)]
pub struct ClusterServer {
    own: Arc<Identity>,
}

impl ClusterServer {
    /// Answers as the node `own`.
    #[must_use]
    pub fn new(own: Identity) -> Self {
        Self { own: Arc::new(own) }
    }
}

impl Cluster for ClusterServer {
    async fn identify(self, _: Context, hello: Payload) -> Payload {
        match hello.decode::<Hello>() {
            Ok(hello) if hello.from.cluster_id != self.own.cluster_id => {
                tracing::warn!(
                    node = %hello.from.node_id, cluster = %hello.from.cluster_id,
                    "a node of another cluster called; check its --seed"
                );
            }
            Ok(hello) => tracing::debug!(node = %hello.from.node_id, "a node called"),
            Err(error) => tracing::debug!(%error, "a handshake was not understood"),
        }
        Payload::encode(&*self.own)
    }
}
