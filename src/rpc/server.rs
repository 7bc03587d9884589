//! The listening side.

use super::{ControlHandler, Handlers, Pool, RaftHandler, ReplicaHandler};
use crate::env::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::runtime;

/// Answers other nodes on the rpc port.
#[derive(Debug)]
pub struct Server<R, C, P> {
    _pool: Pool,
    _handlers: Handlers<R, C, P>,
    _bulk: Option<runtime::Handle>,
}

impl<R: RaftHandler, C: ControlHandler, P: ReplicaHandler> Server<R, C, P> {
    /// A server for the node that `pool` speaks for. The two share the table of live incarnations
    /// and the news of lost connections.
    #[must_use]
    pub fn new(pool: Pool, handlers: Handlers<R, C, P>) -> Self {
        Self { _pool: pool, _handlers: handlers, _bulk: None }
    }

    /// Serves bulk connections on another runtime than the one that [`Server::serve`] runs on.
    #[must_use]
    pub fn bulk_on(mut self, runtime: runtime::Handle) -> Self {
        self._bulk = Some(runtime);
        self
    }

    /// Serves until the shutdown begins; then every connection is closed.
    pub async fn serve(self, _listener: TcpListener, _shutdown: Shutdown) {
        todo!()
    }
}
