//! The start: directory, listeners, metadata, registration, partitions, clients.

use super::admin::{self, Phase, Vitals};
use super::advertise;
use super::data_dir::DataDir;
use super::lifecycle::{Parts, RunningNode};
use super::maintenance::{self, NodeNotices};
use super::reconcile::Reconciler;
use super::{Error, kafka_listener};
use crate::config::{HostPort, NodeConfig};
use crate::env::clock::{Clock, SystemClock};
use crate::env::descriptors;
use crate::env::disk::{Disk, RealDisk};
use crate::env::rng;
use crate::env::shutdown::{self, Shutdown};
use crate::env::spawn;
use crate::kafka;
use crate::limits::{
    CONTROL_BLOCKING_THREADS_MAX, CONTROL_THREADS, DATA_BLOCKING_THREADS_MAX, DATA_THREADS_MAX,
    FLUSH_THREADS, REGISTRATION_MS_MAX,
};
use crate::log::flush::Flusher;
use crate::log::{Shared, checkpoint};
use crate::metadata::state::configs::StaticConfigs;
use crate::metadata::state::{
    AdmitNode, ChangeFencing, Command, Endpoint, FencingChange, RegisterBroker, Response,
};
use crate::metadata::{self, MetadataOptions};
use crate::partition::Table;
use crate::rpc;
use crate::types::{BrokerEpoch, IncarnationId};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// Starts a node, and returns once it serves clients. The `ready` line is left to the caller
/// ([`RunningNode::ready_line`]), so that tests and `purlin dev` can start several in a process.
///
/// Must not be called from within an async task: it builds the node's own runtimes.
///
/// # Errors
/// Everything that people meet at a start, each with its cause and the next step.
pub fn start(config: NodeConfig) -> Result<RunningNode, Error> {
    let started = Instant::now();
    descriptors::raise_limit();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let dir = DataDir::take(&config, Arc::clone(&disk))?;
    if !dir.has_identity() {
        return Err(Error::Metadata("nobody was asked for admission".to_owned()));
    }
    let control = runtime("purlin-control", CONTROL_THREADS, CONTROL_BLOCKING_THREADS_MAX)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let data = runtime("purlin-data", cores.min(DATA_THREADS_MAX), DATA_BLOCKING_THREADS_MAX)?;

    // Listeners first: a port that is taken should be said before anything is changed.
    let kafka = data.block_on(listen(&config.kafka, "kafka"))?;
    let rpc = control.block_on(listen(&config.rpc, "rpc"))?;
    let admin = control.block_on(listen(&config.admin, "admin"))?;
    let listeners = Listeners { kafka, rpc, admin };

    let mut startup =
        Startup { incarnation: IncarnationId(rng::id_bytes()), config, disk, clock, dir, started };
    let parts = startup.bring_up(&control, &data, &listeners)?;
    startup.serve(control, data, listeners, parts)
}

struct Listeners {
    kafka: Listener,
    rpc: Listener,
    admin: Listener,
}

struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

struct Startup {
    incarnation: IncarnationId,
    config: NodeConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    dir: DataDir,
    started: Instant,
}

fn runtime(name: &str, threads: usize, blocking_threads: usize) -> Result<Runtime, Error> {
    Builder::new_multi_thread()
        .thread_name(name)
        .worker_threads(threads)
        .max_blocking_threads(blocking_threads)
        .enable_all()
        .build()
        .map_err(|error| Error::System { what: "a runtime's threads", error })
}

async fn listen(wanted: &HostPort, flag: &'static str) -> Result<Listener, Error> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => Error::PortTaken { address: wanted.to_string(), flag },
        _ => Error::CannotListen { address: wanted.to_string(), flag, error },
    };
    let socket = TcpListener::bind((wanted.host.as_str(), wanted.port)).await.map_err(cannot)?;
    let address = socket.local_addr().map_err(cannot)?;
    Ok(Listener { socket, address })
}

impl Startup {
    /// Everything up to the point where partitions are led and clients can be served.
    fn bring_up(
        &mut self,
        control: &Runtime,
        data: &Runtime,
        listeners: &Listeners,
    ) -> Result<Parts, Error> {
        let identity = self.dir.identity().clone();
        let logs_dir = self.dir.logs_dir();
        let clean_shutdown = checkpoint::take_clean_shutdown(&self.disk, &logs_dir)
            .map_err(|error| Error::Damaged(error.to_string()))?;
        let metadata = control
            .block_on(metadata::start(MetadataOptions {
                disk: Arc::clone(&self.disk),
                dir: self.dir.raft_dir(),
                state_dir: self.dir.state_dir(),
                cluster_id: identity.cluster_id,
                node_id: identity.node_id,
                rpc: listeners.rpc.address.to_string(),
                start_as: if self.dir.is_initialising() {
                    metadata::StartAs::Founder
                } else {
                    metadata::StartAs::Member
                },
                peers: Arc::new(metadata::NoPeers),
                timing: metadata::RaftTiming::default(),
                snapshots: metadata::SnapshotOptions::default(),
                controller: metadata::ControllerOptions::default(),
                clock: Arc::clone(&self.clock),
            }))
            .map_err(|error| Error::Metadata(error.to_string()))?;
        self.dir.initialised()?;

        let advertised = advertise::advertised(&self.config, listeners.kafka.address);
        let flusher = Flusher::start(Arc::clone(&self.disk), self.dir.root(), FLUSH_THREADS)
            .map_err(|error| Error::System { what: "the flusher's threads", error })?;
        let notices = Arc::new(NodeNotices::default());
        let reconciler = Arc::new(Reconciler {
            node: identity.node_id,
            shared: Shared::new(Arc::clone(&self.disk), self.dir.root()),
            logs_dir,
            disk: Arc::clone(&self.disk),
            clock: Arc::clone(&self.clock),
            flusher,
            config: Arc::new(self.config.broker.clone()),
            statics: Arc::new(self.static_configs(&advertised)),
            notices: Arc::<NodeNotices>::clone(&notices),
            table: Arc::new(Table::new()),
            failed: Default::default(),
            checkpoints: Default::default(),
            turn: Default::default(),
        });
        // With what this node holds opened, it may say that it is back.
        let broker_epoch =
            control.block_on(self.register(&metadata, &advertised, clean_shutdown, listeners))?;
        reconciler.open_all(&metadata.image(), clean_shutdown);

        let (background, stop_background) = shutdown::channel();
        let (applied, mut reached) = watch::channel(0);
        let reconcile = {
            let _inside = control.enter();
            let following =
                follow(Arc::clone(&reconciler), metadata.clone(), applied, stop_background.clone());
            spawn::spawn("reconcile", following)
        };
        control.block_on(unfence(&metadata, identity.node_id, broker_epoch))?;
        let wanted = metadata.image().applied_count();
        control
            .block_on(reached.wait_for(|count| *count >= wanted))
            .map_err(|_| Error::Metadata("the partitions could not be taken up".to_owned()))?;

        let kafka_metrics = Arc::new(kafka::Metrics::default());
        let vitals = Arc::new(Vitals::new(
            self.started,
            Arc::clone(&kafka_metrics),
            Arc::clone(&reconciler),
            metadata.clone(),
            data.handle().clone(),
        ));
        Ok(Parts {
            reconciler,
            notices,
            metadata,
            vitals,
            kafka_metrics,
            advertised,
            background,
            stop_background,
            tasks: vec![reconcile],
        })
    }

    /// Starts the listeners and the clockwork.
    fn serve(
        self,
        control: Runtime,
        data: Runtime,
        listeners: Listeners,
        mut parts: Parts,
    ) -> Result<RunningNode, Error> {
        let identity = self.dir.identity().clone();
        let Listeners { kafka, rpc, admin } = listeners;
        let (clients, stop_clients) = shutdown::channel();
        let context = kafka::Context {
            node_id: identity.node_id,
            listener_name: kafka_listener::NAME.into(),
            metadata: parts.metadata.clone(),
            partitions: Arc::clone(&parts.reconciler.table),
            clock: Arc::clone(&self.clock),
            config: Arc::clone(&parts.reconciler.config),
            static_configs: Arc::clone(&parts.reconciler.statics),
            data_dir: parts.reconciler.logs_dir.clone(),
            disk: Arc::clone(&self.disk),
            metrics: Arc::clone(&parts.kafka_metrics),
        };
        let serving = {
            let _inside = data.enter();
            let maintaining = self.maintenance(&parts);
            parts.tasks.extend(maintaining);
            spawn::spawn("client port", kafka::serve(context, kafka.socket, stop_clients))
        };
        let pool = rpc::Pool::new(rpc::Own {
            cluster_id: identity.cluster_id,
            node_id: identity.node_id,
            incarnation: self.incarnation,
            rpc: rpc.address.to_string(),
        });
        let stop = || parts.stop_background.clone();
        let (admin_task, rpc_task) = {
            let _inside = control.enter();
            let nothing = Arc::new(super::answers::Nothing);
            let handlers = rpc::Handlers {
                raft: Arc::clone(&nothing),
                control: Arc::clone(&nothing),
                replica: nothing,
            };
            let server = rpc::Server::new(pool, handlers).bulk_on(data.handle().clone());
            (
                spawn::spawn(
                    "admin port",
                    admin::serve(admin.socket, Arc::clone(&parts.vitals), stop()),
                ),
                spawn::spawn("rpc port", server.serve(rpc.socket, stop())),
            )
        };
        {
            let _inside = control.enter();
            spawn::spawn("advertised address", advertise::check(parts.advertised.clone()));
        }
        parts.tasks.extend([admin_task, rpc_task]);
        parts.vitals.enter(Phase::Ready);
        tracing::info!(
            node = %identity.node_id, cluster = %identity.cluster_id, advertised = %parts.advertised,
            settings = self.config.broker.summary(), took_ms = self.started.elapsed().as_millis(),
            "the node serves"
        );
        Ok(RunningNode::new(
            self.dir,
            [kafka.address, rpc.address, admin.address],
            control,
            data,
            parts,
            clients,
            serving,
        ))
    }

    fn maintenance(&self, parts: &Parts) -> [super::lifecycle::Task; 3] {
        let stop = || parts.stop_background.clone();
        let broker = &parts.reconciler.config;
        let retain = maintenance::retain(
            Arc::clone(&parts.reconciler.table),
            Duration::from_millis(broker.retention_check_interval_ms()),
            stop(),
        );
        let checkpoint = maintenance::checkpoint(
            Arc::clone(&parts.reconciler),
            Arc::clone(&parts.notices),
            Duration::from_millis(broker.checkpoint_interval_ms()),
            stop(),
        );
        let keep_up =
            maintenance::keep_up(Arc::clone(&parts.reconciler), parts.metadata.clone(), stop());
        [
            spawn::spawn("retention", retain),
            spawn::spawn("checkpoints", checkpoint),
            spawn::spawn("upkeep", keep_up),
        ]
    }

    /// What the process was started with, under the names that tools ask for.
    fn static_configs(&self, advertised: &HostPort) -> StaticConfigs {
        let identity = self.dir.identity();
        let mut values = self.config.broker.given().clone();
        let mut put = |name: &str, value: String| values.insert(name.to_owned(), value);
        let name = kafka_listener::NAME;
        put("node.id", identity.node_id.to_string());
        put("broker.id", identity.node_id.to_string());
        put("cluster.id", identity.cluster_id.to_string());
        put("listeners", format!("{name}://{}", self.config.kafka));
        put("advertised.listeners", format!("{name}://{advertised}"));
        put("log.dirs", self.dir.logs_dir().display().to_string());
        put("process.roles", "broker,controller".to_owned());
        if let Some(rack) = &self.config.rack {
            put("broker.rack", rack.clone());
        }
        StaticConfigs(values)
    }

    /// Announces this start of the node to the metadata group.
    async fn register(
        &self,
        metadata: &metadata::Handle,
        advertised: &HostPort,
        clean_shutdown: bool,
        listeners: &Listeners,
    ) -> Result<BrokerEpoch, Error> {
        let identity = self.dir.identity();
        if metadata.image().state().node(identity.node_id).is_none() {
            // The first node of a cluster has nobody who could have admitted it.
            let command = Command::AdmitNode(AdmitNode {
                directory: identity.directory_id,
                wanted: Some(identity.node_id),
                rpc: listeners.rpc.address.to_string(),
                now: self.clock.now(),
            });
            match propose(metadata, command).await? {
                Response::AdmitNode(Ok(_)) => {}
                Response::AdmitNode(Err(refusal)) => {
                    return Err(Error::Metadata(refusal.to_string()));
                }
                other => unreachable!("invariant: AdmitNode is answered in kind, not {other:?}"),
            }
        }
        let command = Command::RegisterBroker(RegisterBroker {
            node_id: identity.node_id,
            incarnation: self.incarnation,
            endpoints: vec![Endpoint {
                listener: kafka_listener::NAME.to_owned(),
                host: advertised.host.clone(),
                port: advertised.port,
                security_protocol: kafka_listener::PLAINTEXT,
            }],
            rpc: listeners.rpc.address.to_string(),
            rack: self.config.rack.clone(),
            directories: vec![identity.directory_id],
            clean_shutdown,
            features: Vec::new(),
            now: self.clock.now(),
        });
        match propose(metadata, command).await? {
            Response::RegisterBroker(Ok(epoch)) => Ok(epoch),
            Response::RegisterBroker(Err(refusal)) => Err(Error::Metadata(refusal.to_string())),
            other => unreachable!("invariant: RegisterBroker is answered in kind, not {other:?}"),
        }
    }
}

/// Lets this node lead: it holds what it held, and is about to serve.
async fn unfence(
    metadata: &metadata::Handle,
    node_id: crate::types::NodeId,
    broker_epoch: BrokerEpoch,
) -> Result<(), Error> {
    let change =
        FencingChange { node_id, broker_epoch, fenced: false, in_controlled_shutdown: false };
    let command = Command::ChangeFencing(ChangeFencing { changes: vec![change] });
    match propose(metadata, command).await? {
        Response::ChangeFencing(results) => {
            let refusal = results.into_iter().find_map(Result::err);
            refusal.map_or(Ok(()), |refusal| Err(Error::Metadata(refusal.to_string())))
        }
        other => unreachable!("invariant: ChangeFencing is answered in kind, not {other:?}"),
    }
}

/// Proposes until there is an answer; both commands of the start may be proposed twice.
async fn propose(metadata: &metadata::Handle, command: Command) -> Result<Response, Error> {
    const PAUSE: Duration = Duration::from_millis(100);
    let deadline = Instant::now() + Duration::from_millis(REGISTRATION_MS_MAX);
    loop {
        match metadata.propose(command.clone()).await {
            Ok(response) => return Ok(response),
            Err(error @ (metadata::Error::Stopped | metadata::Error::Failed(_))) => {
                return Err(Error::Metadata(error.to_string()));
            }
            Err(error) if Instant::now() >= deadline => {
                return Err(Error::Metadata(error.to_string()));
            }
            Err(error) => {
                tracing::info!(%error, "waiting for the metadata group");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Follows the metadata and makes the partitions so, until the shutdown.
async fn follow(
    reconciler: Arc<Reconciler>,
    metadata: metadata::Handle,
    applied: watch::Sender<u64>,
    mut shutdown: Shutdown,
) {
    let mut news = metadata.subscribe();
    loop {
        let next = tokio::select! {
            () = shutdown.wait() => return,
            next = news.next() => next,
        };
        let Some((image, delta)) = next else { return };
        let count = image.applied_count();
        let worker = Arc::clone(&reconciler);
        let done = spawn::blocking("reconcile", move || worker.apply(&image, &delta)).await;
        if done.is_none() {
            tracing::error!("the partitions no longer follow the metadata; restart the node");
            return;
        }
        applied.send_replace(count);
    }
}
