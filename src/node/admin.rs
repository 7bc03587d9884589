//! The admin port: `/livez`, `/readyz`, `/metrics`.

use super::broker::Broker;
use super::metrics;
use super::reconcile::Reconciler;
use crate::env::shutdown::Shutdown;
use crate::env::spawn;
use crate::kafka;
use crate::metadata;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

/// How long the data runtime may take to run an empty task before the node counts as stuck.
const LIVELINESS_MAX: Duration = Duration::from_secs(5);

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Starting = 0,
    Ready = 1,
    Stopping = 2,
}

/// What probes and metrics look at.
#[derive(Debug)]
pub(super) struct Vitals {
    phase: AtomicU8,
    pub(super) started: Instant,
    pub(super) kafka: Arc<kafka::Metrics>,
    pub(super) reconciler: Arc<Reconciler>,
    pub(super) metadata: metadata::Handle,
    pub(super) broker: Arc<Broker>,
    pub(super) data: Handle,
}

impl Vitals {
    pub(super) fn new(
        started: Instant,
        kafka: Arc<kafka::Metrics>,
        reconciler: Arc<Reconciler>,
        broker: Arc<Broker>,
        data: Handle,
    ) -> Self {
        let metadata = broker.metadata.clone();
        let phase = AtomicU8::new(Phase::Starting as u8);
        Self { phase, started, kafka, reconciler, metadata, broker, data }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Phase::Ready as u8
    }
}

/// Serves the admin port until the shutdown begins.
pub(super) async fn serve(listener: TcpListener, vitals: Arc<Vitals>, mut shutdown: Shutdown) {
    let routes = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(show_metrics))
        .with_state(vitals);
    let stop = async move { shutdown.wait().await };
    if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the admin port stopped");
    }
}

async fn live(State(vitals): State<Arc<Vitals>>) -> Response {
    let turn = {
        let _inside = vitals.data.enter();
        spawn::spawn("liveliness", async {})
    };
    match tokio::time::timeout(LIVELINESS_MAX, turn).await {
        Ok(Ok(Some(()))) => "alive\n".into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the data runtime does not turn\n").into_response(),
    }
}

async fn ready(State(vitals): State<Arc<Vitals>>) -> Response {
    if !vitals.is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n").into_response();
    }
    match vitals.metadata.status().failure {
        None if vitals.metadata.is_isolated() => {
            let text = "no controller has answered this node for a while\n";
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
        None if !vitals.broker.standing().borrow().unfenced => {
            let text = "the controller keeps this node from leading (fenced)\n";
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
        None => "ready\n".into_response(),
        Some(reason) => {
            let text = format!("the metadata group failed here: {reason}\n");
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn show_metrics(State(vitals): State<Arc<Vitals>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    match spawn::blocking("metrics", move || metrics::render(&vitals)).await {
        Some(text) => (content_type, text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
