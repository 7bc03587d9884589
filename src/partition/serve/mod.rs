//! Answering followers: fetch sessions over the partitions of this node.
//!
//! [`ReplicaServer::begin`] and [`ReplicaServer::poll`] are synchronous, for the simulator;
//! [`ReplicaServer::fetch`] waits for news in between.
//!
//! Invariants:
//! - A partition that was answered is not answered again before the follower has named it anew, so
//!   nothing is sent twice, however many requests are under way.
//! - A request that is not the next of its session ends that session: the follower then names
//!   every partition (KIP-227).
//! - Sessions, their partitions, and the bytes of one answer are bounded.

use crate::env::clock::Clock;
use crate::partition::Table;
use crate::rpc::replica::{FetchRequest, FetchResponse, ReplicaError, Report, ReportResponse};
use crate::types::NodeId;
use std::sync::Arc;

/// Answers the followers of this node's partitions.
#[derive(Debug)]
pub struct ReplicaServer {
    table: Arc<Table>,
    clock: Arc<dyn Clock>,
}

/// A fetch that was begun and not answered yet.
#[derive(Debug)]
pub struct Fetching {
    deadline_ms: i64,
}

impl Fetching {
    /// When it is answered at the latest, on the server's monotonic clock.
    #[must_use]
    pub fn deadline_ms(&self) -> i64 {
        self.deadline_ms
    }
}

impl ReplicaServer {
    /// A server without sessions, for the partitions of `table`.
    #[must_use]
    pub fn new(table: Arc<Table>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { table, clock })
    }

    /// Takes a request into its session. `caller` is the proven sender.
    ///
    /// # Errors
    /// Why the whole request is refused.
    pub fn begin(&self, _caller: NodeId, _request: FetchRequest) -> Result<Fetching, ReplicaError> {
        let _ = (&self.table, &self.clock);
        todo!()
    }

    /// The answer, if there is news, or the time is up, or a later request took the turn. May wait
    /// for the disk.
    pub fn poll(&self, _fetching: &mut Fetching) -> Option<FetchResponse> {
        todo!()
    }

    /// Answers a request, once there is news.
    pub async fn fetch(&self, _caller: NodeId, _request: FetchRequest) -> FetchResponse {
        todo!()
    }

    /// Takes a follower's report.
    pub fn report(&self, _caller: NodeId, _report: &Report) -> ReportResponse {
        todo!()
    }
}
