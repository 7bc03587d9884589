//! What a node of a cluster of one answers to others: who it is, by the handshake, and no more.

use crate::rpc::replica::{FetchRequest, FetchResponse, ReplicaError, Report, ReportResponse};
use crate::rpc::{Caller, ControlHandler, Declined, Payload, RaftHandler, ReplicaHandler};

/// Declines every call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nothing;

fn declined() -> Result<Payload, Declined> {
    Err(Declined("this node answers no calls of other nodes yet".to_owned()))
}

impl RaftHandler for Nothing {
    async fn append_entries(&self, _: Caller, _: Payload) -> Result<Payload, Declined> {
        declined()
    }

    async fn vote(&self, _: Caller, _: Payload) -> Result<Payload, Declined> {
        declined()
    }

    async fn install_snapshot(&self, _: Caller, _: Payload) -> Result<Payload, Declined> {
        declined()
    }
}

impl ControlHandler for Nothing {
    async fn control(&self, _: Caller, _: Payload) -> Result<Payload, Declined> {
        declined()
    }

    async fn admit(&self, _: Caller, _: Payload) -> Result<Payload, Declined> {
        declined()
    }
}

impl ReplicaHandler for Nothing {
    async fn fetch(&self, _: Caller, _: FetchRequest) -> FetchResponse {
        FetchResponse::refused(ReplicaError::Busy)
    }

    async fn report(&self, _: Caller, _: Report) -> ReportResponse {
        ReportResponse { error: Some(ReplicaError::Busy), failed: Vec::new() }
    }
}
