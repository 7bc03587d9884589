//! The client port: Kafka's protocol over TCP.
//!
//! Floor 5. `listener` accepts, `frame` and `connection` carry requests in and answers out in
//! order, `dispatch` checks versions and finds the handler, `handlers` hold one file per API,
//! `errors` turns the errors of other rooms into Kafka's codes.
//!
//! Invariants: whatever a peer sends, it costs bounded memory and at worst its own connection;
//! answers leave in the order of their requests; an error code that Kafka would not give for an
//! API and version is never sent.
//!
//! Must never: decide about replication, storage or metadata; it asks those rooms, and says what
//! they said.

mod budget;
mod connection;
mod context;
mod dispatch;
mod errors;
mod fetch_session;
mod frame;
mod handlers;
mod listener;
mod metrics;
mod producer_ids;
#[cfg(test)]
mod testing;
mod view;

pub use context::Context;
pub use metrics::Metrics;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::env::shutdown::Shutdown;
use crate::limits;

/// Serves clients on `listener` until the shutdown begins, and returns once every connection has
/// ended. Answers that are owed by then are still written, within
/// [`limits::DRAIN_MS_MAX`] milliseconds.
pub async fn serve(context: Context, listener: TcpListener, shutdown: Shutdown) {
    let caps = listener::ConnectionCaps {
        total: context.config.connections_max(),
        per_address: context.config.connections_per_address_max(),
    };
    let options = connection::ConnectionOptions {
        request_budget: budget::Budget::new(limits::REQUEST_BYTES_IN_FLIGHT_MAX),
        frames: frame::FrameOptions {
            bytes_max: context.config.request_bytes_max(),
            idle_max: Duration::from_millis(context.config.connection_idle_ms_max()),
            stall_max: Duration::from_millis(limits::FRAME_STALL_MS_MAX),
        },
        write_stall_max: Duration::from_millis(limits::WRITE_STALL_MS_MAX),
    };
    let metrics = Arc::clone(&context.metrics);
    let broker = Arc::new(dispatch::Broker::new(context));
    listener::accept_all(listener, caps, metrics, shutdown.clone(), move |socket, peer| {
        let service = dispatch::Requests::new(Arc::clone(&broker));
        let (options, shutdown) = (options.clone(), shutdown.clone());
        async move { connection::run(socket, peer, &options, &service, shutdown).await }
    })
    .await;
}
