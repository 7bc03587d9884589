//! What this node answers to other nodes.

use crate::metadata::{self, RaftCall};
use crate::partition::serve::ReplicaServer;
use crate::rpc::replica::{FetchRequest, FetchResponse, ReplicaError, Report, ReportResponse};
use crate::rpc::{Caller, ControlHandler, Declined, Payload, RaftHandler, ReplicaHandler};
use crate::types::NodeId;
use std::sync::Arc;

/// Answers the members of the Raft group.
#[derive(Debug)]
pub(super) struct RaftService {
    pub(super) metadata: metadata::Handle,
}

impl RaftHandler for RaftService {
    async fn append_entries(&self, _: Caller, request: Payload) -> Result<Payload, Declined> {
        self.metadata.serve_raft(RaftCall::Append(request)).await
    }

    async fn vote(&self, _: Caller, request: Payload) -> Result<Payload, Declined> {
        self.metadata.serve_raft(RaftCall::Vote(request)).await
    }

    async fn install_snapshot(&self, _: Caller, request: Payload) -> Result<Payload, Declined> {
        self.metadata.serve_raft(RaftCall::Snapshot(request)).await
    }
}

/// Answers registrations, heartbeats, forwarded proposals, and those who want to join.
#[derive(Debug)]
pub(super) struct ControlService {
    pub(super) metadata: metadata::Handle,
}

impl ControlHandler for ControlService {
    async fn control(&self, _: Caller, request: Payload) -> Result<Payload, Declined> {
        self.metadata.serve_control(&request).await
    }

    async fn admit(&self, _: Caller, request: Payload) -> Result<Payload, Declined> {
        self.metadata.serve_admission(&request).await
    }

    fn refuses(&self, node: NodeId) -> Option<String> {
        let image = self.metadata.image();
        let removed = image.state().node(node).is_some_and(|node| node.removed);
        removed.then(|| format!("node {node} was removed from the cluster"))
    }
}

/// Answers followers.
#[derive(Debug)]
pub(super) struct ReplicaService {
    pub(super) server: Arc<ReplicaServer>,
}

impl ReplicaHandler for ReplicaService {
    async fn fetch(&self, caller: Caller, request: FetchRequest) -> FetchResponse {
        match caller.node {
            Some(node) => self.server.fetch(node, request).await,
            None => FetchResponse::refused(ReplicaError::NotReplica),
        }
    }

    async fn report(&self, caller: Caller, report: Report) -> ReportResponse {
        match caller.node {
            Some(node) => self.server.report(node, &report),
            None => ReportResponse { error: Some(ReplicaError::NotReplica), failed: Vec::new() },
        }
    }
}
