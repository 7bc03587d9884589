//! Flags of every command that talks to a cluster, and the runtime it runs in.

use super::failure::Failure;
use crate::client::{Address, Cluster, ClusterOptions};
use std::future::Future;
use std::sync::Arc;

/// How to reach the cluster.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Connect {
    /// Where to find a broker; several, separated by commas, are tried in turn
    #[arg(
        short = 'b',
        long,
        env = "PURLIN_BOOTSTRAP",
        value_name = "HOST:PORT,…",
        default_value = "127.0.0.1:9092"
    )]
    bootstrap: String,
    /// Seconds to look for a broker that answers
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    connect_timeout: f64,
}

impl Connect {
    /// Reaches the cluster.
    pub(super) async fn cluster(&self) -> Result<Arc<Cluster>, Failure> {
        let bootstrap = Address::parse_list(&self.bootstrap)
            .map_err(|error| Failure::Usage(format!("--bootstrap: {error}")))?;
        let seconds = self.connect_timeout;
        if !(seconds > 0.0 && seconds < 86_400.0) {
            return Err(Failure::Usage("--connect-timeout must be between 0 and 86400".to_owned()));
        }
        let wait_ms = (seconds * 1000.0).ceil() as u64;
        let options = ClusterOptions {
            bootstrap,
            client_id: "purlin-cli".to_owned(),
            reach_timeout_ms: wait_ms,
            connect_timeout_ms: wait_ms.max(1_000),
            ..ClusterOptions::default()
        };
        Ok(Cluster::connect(options).await?)
    }
}

/// Runs a command's future on this thread, with two more for connections.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("purlin-cli")
        .enable_all()
        .build()?;
    let result = runtime.block_on(future);
    // A task that is stuck in a read of stdin must not hold the end up.
    runtime.shutdown_background();
    result
}
