//! A node that runs, and how it ends.

use super::Error;
use super::admin::{Phase, Vitals};
use super::broker::{Broker, Gone};
use super::data_dir::DataDir;
use super::maintenance::NodeNotices;
use super::reconcile::Reconciler;
use crate::env::shutdown::{Shutdown, Trigger};
use crate::env::spawn;
use crate::kafka;
use crate::limits::{PARTITION_OPENERS_MAX, STOP_MS_MAX};
use crate::log::checkpoint;
use crate::metadata;
use crate::types::{ClusterId, NodeId};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

/// A background task; `None` as its result means that it panicked.
pub(super) type Task = JoinHandle<Option<()>>;

/// How long threads that wait for a disk may hold up the end of the process.
const RUNTIME_STOP_MAX: Duration = Duration::from_secs(5);

/// What a start brings up besides the runtimes.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) reconciler: Arc<Reconciler>,
    pub(super) notices: Arc<NodeNotices>,
    pub(super) metadata: metadata::Handle,
    pub(super) broker: Arc<Broker>,
    pub(super) vitals: Arc<Vitals>,
    pub(super) kafka_metrics: Arc<kafka::Metrics>,
    pub(super) background: Trigger,
    pub(super) stop_background: Shutdown,
    pub(super) tasks: Vec<Task>,
}

/// A node that serves. Dropping it without [`RunningNode::stop`] is like a kill.
pub struct RunningNode {
    dir: DataDir,
    kafka: SocketAddr,
    rpc: SocketAddr,
    admin: SocketAddr,
    control: Runtime,
    data: Runtime,
    parts: Parts,
    clients: Trigger,
    serving: Task,
}

impl fmt::Debug for RunningNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RunningNode").field(&self.ready_line()).finish()
    }
}

/// SIGTERM and SIGINT, once someone listens: from then on they do not end the process by
/// themselves.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

impl RunningNode {
    pub(super) fn new(
        dir: DataDir,
        [kafka, rpc, admin]: [SocketAddr; 3],
        control: Runtime,
        data: Runtime,
        parts: Parts,
        clients: Trigger,
        serving: Task,
    ) -> Self {
        Self { dir, kafka, rpc, admin, control, data, parts, clients, serving }
    }

    /// The line for stdout: `ready kafka=… rpc=… admin=… node=… cluster=…`, with the addresses
    /// that were really bound.
    #[must_use]
    pub fn ready_line(&self) -> String {
        format!(
            "ready kafka={} rpc={} admin={} node={} cluster={}",
            self.kafka,
            self.rpc,
            self.admin,
            self.node_id(),
            self.cluster_id()
        )
    }

    /// The node's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.dir.identity().node_id
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.dir.identity().cluster_id
    }

    /// The bound address for Kafka clients.
    #[must_use]
    pub fn kafka_address(&self) -> SocketAddr {
        self.kafka
    }

    /// The bound address for other nodes.
    #[must_use]
    pub fn rpc_address(&self) -> SocketAddr {
        self.rpc
    }

    /// The bound address for probes and metrics.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Takes over SIGTERM and SIGINT of the process.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn listen_for_signals(&self) -> Result<Signals, Error> {
        let _inside = self.control.enter();
        let refused = |error| Error::System { what: "signal handlers", error };
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(refused)?,
            interrupt: signal(SignalKind::interrupt()).map_err(refused)?,
        })
    }

    /// Blocks until a signal comes or the node can no longer serve, then stops cleanly. A second
    /// signal ends the process at once.
    ///
    /// # Errors
    /// When something could not be flushed or closed, or the node failed by itself.
    pub fn wait(mut self, mut signals: Signals) -> Result<(), Error> {
        let mut standing = self.parts.broker.standing();
        let failed = self.control.block_on(async {
            tokio::select! {
                name = signals.next() => {
                    tracing::info!(signal = name, "stopping");
                    None
                }
                gone = standing.wait_for(|now| now.gone.is_some()) => {
                    let unknown = || Gone::for_now("its heartbeats ended".to_owned());
                    let gone = gone.ok().and_then(|now| now.gone.clone());
                    Some(gone.unwrap_or_else(unknown).into())
                }
                what = first_to_end(&mut self.serving, &mut self.parts.tasks) => {
                    Some(Error::Unclean(format!("the {what} ended by itself")))
                }
            }
        });
        {
            let _inside = self.control.enter();
            spawn::spawn("second signal", async move {
                let name = signals.next().await;
                tracing::warn!(
                    signal = name,
                    "a second signal: ending at once, without the clean mark"
                );
                std::process::exit(1);
            });
        }
        let stopped = self.stop();
        match failed {
            Some(error) => Err(error),
            None => stopped,
        }
    }

    /// Blocks until a signal comes.
    pub fn wait_for_signal(&self, signals: &mut Signals) {
        let name = self.control.block_on(signals.next());
        tracing::info!(signal = name, "stopping");
    }

    /// Lets the node go as a kill would: nothing is handed over, flushed or waited for. For nodes
    /// whose data goes with them.
    pub fn abandon(self) {
        let Self { control, data, dir, .. } = self;
        data.shutdown_background();
        control.shutdown_background();
        drop(dir);
    }

    /// Drains connections, flushes and closes every log, and writes the clean-shutdown mark.
    ///
    /// # Errors
    /// When something could not be flushed or closed; the next start then recovers.
    pub fn stop(self) -> Result<(), Error> {
        let Self { dir, control, data, parts, clients, serving, .. } = self;
        parts.vitals.enter(Phase::Stopping);
        // Others lead before the clients are sent away, so that they have somewhere to go.
        control.block_on(parts.broker.leave());
        clients.begin();
        let patience = Duration::from_millis(STOP_MS_MAX);
        control.block_on(async {
            if !serving.is_finished() && tokio::time::timeout(patience, serving).await.is_err() {
                tracing::warn!("clients were still connected after {STOP_MS_MAX} ms");
            }
            parts.background.begin();
            for task in parts.tasks {
                if !task.is_finished() {
                    // A task that hangs must not keep the logs from being closed.
                    let _ = tokio::time::timeout(RUNTIME_STOP_MAX, task).await;
                }
            }
        });
        parts.reconciler.fetchers.stop();
        let mut trouble = close_logs(&parts.reconciler);
        if let Err(error) = control.block_on(parts.metadata.shutdown()) {
            trouble.push(format!("metadata: {error}"));
        }
        if trouble.is_empty() {
            let disk = &parts.reconciler.disk;
            if let Err(error) = checkpoint::write_clean_shutdown(disk, &parts.reconciler.logs_dir) {
                trouble.push(error.to_string());
            }
        }
        data.shutdown_timeout(RUNTIME_STOP_MAX);
        control.shutdown_timeout(RUNTIME_STOP_MAX);
        // Only now may another process take the directory.
        drop(dir);
        if trouble.is_empty() {
            tracing::info!("stopped cleanly");
            Ok(())
        } else {
            Err(Error::Unclean(trouble.join("; ")))
        }
    }
}

/// Waits for the first task that ends although nobody asked it to.
async fn first_to_end(serving: &mut Task, tasks: &mut [Task]) -> &'static str {
    let others = futures::future::select_all(tasks.iter_mut());
    tokio::select! {
        _ = serving => "client port",
        _ = others => "background work",
    }
}

/// Closes every log, writes the checkpoints, and names what did not work.
fn close_logs(reconciler: &Reconciler) -> Vec<String> {
    let closed = Mutex::new((BTreeMap::new(), Vec::new()));
    let partitions = reconciler.table.all();
    spawn::in_parallel("close partition", PARTITION_OPENERS_MAX, partitions, |partition| {
        let name = partition.topic_partition().clone();
        let before = partition.checkpoint();
        let result = partition.close();
        // Inserts and pushes leave both whole, whoever panics elsewhere.
        let mut guard = closed.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(Some(checkpoint)) => {
                guard.0.insert(name, checkpoint);
            }
            Ok(None) => {}
            Err(error) => {
                guard.1.push(format!("{name}: {error}"));
                // What was true before holds: it says no more than was durable.
                if let Some(before) = before {
                    guard.0.insert(name, before);
                }
            }
        }
    });
    let (found, mut trouble) = closed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = reconciler.save_checkpoints(&found) {
        trouble.push(error.to_string());
    }
    if reconciler.failed_count() > 0 {
        // The mark would say that their logs are whole, too.
        trouble.push(format!("{} partitions could not be opened", reconciler.failed_count()));
    }
    trouble
}
