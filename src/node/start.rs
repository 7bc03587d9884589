//! The start: directory, listeners, metadata, registration, partitions, clients.

use super::admin::{self, Phase, Vitals};
use super::advertise;
use super::broker::{Broker, Gone};
use super::data_dir::{self, DataDir};
use super::founding;
use super::join::{self, Joiner};
use super::lifecycle::{Parts, RunningNode, Task};
use super::maintenance::{self, NodeNotices};
use super::peers::PoolPeers;
use super::petitions::{self, Petitions};
use super::reconcile::Reconciler;
use super::services::{ControlService, RaftService, ReplicaService};
use super::{Error, kafka_listener};
use crate::config::{HostPort, NodeConfig, StartMode};
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
use crate::metadata::state::configs::{StaticConfigs, VERSION};
use crate::metadata::state::{Endpoint, RegisterBroker};
use crate::metadata::{
    self, Admission, ControllerOptions, MetadataOptions, RaftTiming, SnapshotOptions, StartAs,
};
use crate::partition::Table;
use crate::partition::fetcher::{Manager, ManagerOptions};
use crate::partition::serve::ReplicaServer;
use crate::rpc::{self, Own, Pool};
use crate::types::IncarnationId;
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
    let control = runtime("purlin-control", CONTROL_THREADS, CONTROL_BLOCKING_THREADS_MAX)?;
    if config.mode == StartMode::Init && !data_dir::holds_node(&config.data_dir)? {
        control.block_on(founding::refuse_if_there_is_a_cluster(&config))?;
    }
    let dir = DataDir::take(&config, Arc::clone(&disk))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let data = runtime("purlin-data", cores.min(DATA_THREADS_MAX), DATA_BLOCKING_THREADS_MAX)?;

    // Listeners first: a port that is taken should be said before anything is changed.
    let kafka = data.block_on(listen(&config.kafka, "kafka"))?;
    let rpc = control.block_on(listen(&config.rpc, "rpc"))?;
    let admin = control.block_on(listen(&config.admin, "admin"))?;

    let startup = Startup {
        incarnation: IncarnationId(rng::id_bytes()),
        advertised: advertise::advertised(&config, kafka.address),
        advertised_rpc: advertise::advertised_rpc(&config, rpc.address).to_string(),
        addresses: [kafka.address, rpc.address, admin.address],
        config,
        disk,
        clock,
        dir,
        started,
        control,
        data,
    };
    startup.run(Listeners { kafka: kafka.socket, rpc: rpc.socket, admin: admin.socket })
}

const UNTOLD: &str = "no controller was told which replicas lost their records; start the node again \
                      once a majority of the metadata voters runs";

struct Listeners {
    kafka: TcpListener,
    rpc: TcpListener,
    admin: TcpListener,
}

struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

struct Startup {
    incarnation: IncarnationId,
    /// What clients are told.
    advertised: HostPort,
    /// What other nodes are told.
    advertised_rpc: String,
    addresses: [SocketAddr; 3],
    config: NodeConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    dir: DataDir,
    started: Instant,
    control: Runtime,
    data: Runtime,
}

/// The node's part of the cluster, before it holds any partition.
struct Membership {
    metadata: metadata::Handle,
    broker: Arc<Broker>,
    pool: Pool,
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
    /// From the directory to a node that serves.
    fn run(mut self, listeners: Listeners) -> Result<RunningNode, Error> {
        // Taken away, durably, before anything else happens: whatever ends this run from here on,
        // the next one does not take it for a clean stop.
        let clean_shutdown = checkpoint::take_clean_shutdown(&self.disk, &self.dir.logs_dir())
            .map_err(|error| Error::Damaged(error.to_string()))?;
        if self.dir.joining().is_some() {
            self.be_admitted()?;
        }
        let (background, stop_background) = shutdown::channel();
        let membership = self.become_member(clean_shutdown)?;
        let table = Arc::new(Table::new());
        let mut tasks = self.serve_nodes(listeners.rpc, &membership, &table, &stop_background);
        let Membership { metadata, broker, pool } = membership;
        self.register(&metadata, &broker)?;
        let (reconciler, notices) = self.reconciler(table, &broker, pool)?;
        reconciler.open_all(&metadata.image(), clean_shutdown);

        let (taken, taking) = watch::channel(None);
        let following =
            follow(Arc::clone(&reconciler), Arc::clone(&broker), taken, stop_background.clone());
        let interval = Duration::from_millis(self.config.broker.heartbeat_interval_ms());
        let beating = Arc::clone(&broker).beat(interval, stop_background.clone());
        let petitioning = petitions::carry(
            Arc::clone(&notices.petitions),
            Arc::clone(&broker),
            Arc::clone(&reconciler.table),
            stop_background.clone(),
        );
        {
            let _inside = self.control.enter();
            tasks.push(spawn::spawn("reconcile", following));
            tasks.push(spawn::spawn("heartbeats", beating));
            tasks.push(spawn::spawn("petitions", petitioning));
        }
        self.take_up(&broker, &notices.petitions, taking)?;

        let kafka_metrics = Arc::new(kafka::Metrics::default());
        let vitals = Arc::new(Vitals::new(
            self.started,
            Arc::clone(&kafka_metrics),
            Arc::clone(&reconciler),
            Arc::clone(&broker),
            self.data.handle().clone(),
        ));
        let parts = Parts {
            reconciler,
            notices,
            metadata,
            broker,
            vitals,
            kafka_metrics,
            background,
            stop_background,
            tasks,
        };
        self.serve(listeners.kafka, listeners.admin, parts)
    }

    /// Asks the seeds until the cluster has let this directory in.
    fn be_admitted(&mut self) -> Result<(), Error> {
        let joiner = Joiner {
            incarnation: self.incarnation,
            rpc: &self.advertised_rpc,
            wanted: self.config.node_id,
        };
        self.control.block_on(join::ask_in(&mut self.dir, &joiner))
    }

    /// Starts this node's part of the metadata group, without waiting for the others.
    fn become_member(&self, clean_shutdown: bool) -> Result<Membership, Error> {
        let identity = self.dir.identity();
        let _inside = self.control.enter();
        let pool = Pool::new(Own {
            cluster_id: identity.cluster_id,
            node_id: identity.node_id,
            incarnation: self.incarnation,
            rpc: self.advertised_rpc.clone(),
        });
        let peers = Arc::new(PoolPeers::new(pool.clone()));
        let start_as = if self.dir.is_initialising() {
            StartAs::Founder
        } else if self.dir.joining().is_some() {
            StartAs::Joiner
        } else {
            StartAs::Member
        };
        let settings = &self.config.broker;
        let starting = metadata::start(MetadataOptions {
            disk: Arc::clone(&self.disk),
            dir: self.dir.raft_dir(),
            state_dir: self.dir.state_dir(),
            cluster_id: identity.cluster_id,
            node_id: identity.node_id,
            rpc: self.advertised_rpc.clone(),
            start_as,
            peers: Arc::<PoolPeers>::clone(&peers),
            timing: RaftTiming::default(),
            snapshots: SnapshotOptions::default(),
            controller: ControllerOptions {
                heartbeat_ms: settings.heartbeat_interval_ms(),
                voters: settings.metadata_voters(),
                session_timeout_ms: settings.session_timeout_ms(),
                auto_leader_rebalance: settings.auto_leader_rebalance(),
                rebalance_interval_s: settings.leader_rebalance_interval_s(),
            },
            clock: Arc::clone(&self.clock),
        });
        let metadata =
            self.control.block_on(starting).map_err(|error| Error::Metadata(error.to_string()))?;
        let registration = self.registration(clean_shutdown);
        let clock = Arc::clone(&self.clock);
        let broker = Arc::new(Broker::new(metadata.clone(), peers, clock, registration));
        Ok(Membership { metadata, broker, pool })
    }

    /// What makes and holds the partitions.
    fn reconciler(
        &self,
        table: Arc<Table>,
        broker: &Broker,
        pool: Pool,
    ) -> Result<(Arc<Reconciler>, Arc<NodeNotices>), Error> {
        let flusher = Flusher::start(Arc::clone(&self.disk), self.dir.root(), FLUSH_THREADS)
            .map_err(|error| Error::System { what: "the flusher's threads", error })?;
        let node = self.dir.identity().node_id;
        let fetchers = {
            // Followers copy on the runtime that serves clients.
            let _inside = self.data.enter();
            Manager::new(ManagerOptions {
                node,
                broker_epoch: broker.epoch(),
                pool,
                clock: Arc::clone(&self.clock),
                throttled_rate: self.config.broker.follower_throttled_rate(),
            })
        };
        let notices = Arc::new(NodeNotices::default());
        let reconciler = Arc::new(Reconciler {
            node,
            shared: Shared::new(Arc::clone(&self.disk), self.dir.root()),
            logs_dir: self.dir.logs_dir(),
            disk: Arc::clone(&self.disk),
            clock: Arc::clone(&self.clock),
            flusher,
            config: Arc::new(self.config.broker.clone()),
            statics: Arc::new(self.static_configs()),
            notices: Arc::<NodeNotices>::clone(&notices),
            petitions: Arc::clone(&notices.petitions),
            fetchers: Arc::clone(&fetchers),
            table,
            failed: Default::default(),
            checkpoints: Default::default(),
            turn: Default::default(),
        });
        notices.connect(&reconciler, fetchers);
        Ok((reconciler, notices))
    }

    /// Answers other nodes from now on: the metadata group needs that before it can take this node
    /// in.
    fn serve_nodes(
        &self,
        listener: TcpListener,
        membership: &Membership,
        table: &Arc<Table>,
        stop: &Shutdown,
    ) -> Vec<Task> {
        let metadata = &membership.metadata;
        let server = ReplicaServer::new(Arc::clone(table), Arc::clone(&self.clock));
        let handlers = rpc::Handlers {
            raft: Arc::new(RaftService { metadata: metadata.clone() }),
            control: Arc::new(ControlService { metadata: metadata.clone() }),
            replica: Arc::new(ReplicaService { server }),
        };
        let _inside = self.control.enter();
        let server =
            rpc::Server::new(membership.pool.clone(), handlers).bulk_on(self.data.handle().clone());
        vec![spawn::spawn("rpc port", server.serve(listener, stop.clone()))]
    }

    /// Makes this start of the node known to the cluster, as the node that the directory says.
    fn register(&mut self, metadata: &metadata::Handle, broker: &Broker) -> Result<(), Error> {
        let identity = self.dir.identity().clone();
        self.control.block_on(async {
            if self.dir.is_initialising() {
                // The first node lets itself in.
                let admission = Admission {
                    directory: identity.directory_id,
                    wanted: Some(identity.node_id),
                    rpc: self.advertised_rpc.clone(),
                };
                let admitted = metadata.admit(admission).await;
                let outcome = admitted.map_err(|error| Error::Metadata(error.to_string()))?;
                outcome.map_err(|refusal| Error::NotRegistered(refusal.message))?;
            }
            broker.register().await
        })?;
        self.dir.initialised()?;
        self.dir.joined()
    }

    /// Waits until this node holds what it should, the controller lets it lead, and that has been
    /// taken up here.
    fn take_up(
        &self,
        broker: &Broker,
        petitions: &Petitions,
        mut taken: watch::Receiver<Option<Taken>>,
    ) -> Result<(), Error> {
        let ended = |_| Error::Metadata("the partitions could not be taken up".to_owned());
        self.control.block_on(async {
            // The first image that is taken up is as new as the registration.
            taken.wait_for(Option::is_some).await.map_err(ended)?;
            // Else it could be elected for records that were lost here.
            tokio::time::timeout(Duration::from_millis(REGISTRATION_MS_MAX), petitions.all_told())
                .await
                .map_err(|_| Error::Metadata(UNTOLD.to_owned()))?;
            broker.set_ready();
            broker.unfenced().await?;
            // The word of the controller runs ahead of what is applied here.
            taken.wait_for(|taken| taken.is_some_and(|one| one.alive)).await.map_err(ended)?;
            Ok(())
        })
    }

    /// Starts the listeners for clients and probes, and the clockwork.
    fn serve(
        self,
        kafka: TcpListener,
        admin: TcpListener,
        mut parts: Parts,
    ) -> Result<RunningNode, Error> {
        let identity = self.dir.identity().clone();
        let (clients, stop_clients) = shutdown::channel();
        let context = kafka::Context {
            node_id: identity.node_id,
            listener_name: kafka_listener::NAME.into(),
            metadata: parts.metadata.clone(),
            partitions: Arc::clone(&parts.reconciler.table),
            clock: Arc::clone(&self.clock),
            config: Arc::clone(&parts.reconciler.config),
            static_configs: Arc::clone(&parts.reconciler.statics),
            data_dir: std::path::absolute(&parts.reconciler.logs_dir)
                .unwrap_or_else(|_| parts.reconciler.logs_dir.clone()),
            disk: Arc::clone(&self.disk),
            metrics: Arc::clone(&parts.kafka_metrics),
        };
        let serving = {
            let _inside = self.data.enter();
            let maintaining = self.maintenance(&parts);
            parts.tasks.extend(maintaining);
            spawn::spawn("client port", kafka::serve(context, kafka, stop_clients))
        };
        {
            let _inside = self.control.enter();
            let probed =
                admin::serve(admin, Arc::clone(&parts.vitals), parts.stop_background.clone());
            parts.tasks.push(spawn::spawn("admin port", probed));
            spawn::spawn("advertised address", advertise::check(self.advertised.clone()));
        }
        parts.vitals.enter(Phase::Ready);
        tracing::info!(
            node = %identity.node_id, cluster = %identity.cluster_id,
            advertised = %self.advertised, rpc = self.advertised_rpc,
            settings = self.config.broker.summary(), took_ms = self.started.elapsed().as_millis(),
            "the node serves"
        );
        let Self { dir, addresses, control, data, .. } = self;
        Ok(RunningNode::new(dir, addresses, control, data, parts, clients, serving))
    }

    fn maintenance(&self, parts: &Parts) -> [Task; 3] {
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
    fn static_configs(&self) -> StaticConfigs {
        let identity = self.dir.identity();
        let mut values = self.config.broker.given().clone();
        let mut put = |name: &str, value: String| values.insert(name.to_owned(), value);
        let name = kafka_listener::NAME;
        put("node.id", identity.node_id.to_string());
        put("broker.id", identity.node_id.to_string());
        put("cluster.id", identity.cluster_id.to_string());
        put("listeners", format!("{name}://{}", self.config.kafka));
        put("advertised.listeners", format!("{name}://{}", self.advertised));
        put("log.dirs", self.dir.logs_dir().display().to_string());
        put("process.roles", "broker,controller".to_owned());
        put(VERSION, env!("CARGO_PKG_VERSION").to_owned());
        if let Some(rack) = &self.config.rack {
            put("broker.rack", rack.clone());
        }
        StaticConfigs(values)
    }

    /// What this start of the node is to the cluster.
    fn registration(&self, clean_shutdown: bool) -> RegisterBroker {
        let identity = self.dir.identity();
        RegisterBroker {
            node_id: identity.node_id,
            incarnation: self.incarnation,
            endpoints: vec![Endpoint {
                listener: kafka_listener::NAME.to_owned(),
                host: self.advertised.host.clone(),
                port: self.advertised.port,
                security_protocol: kafka_listener::PLAINTEXT,
            }],
            rpc: self.advertised_rpc.clone(),
            rack: self.config.rack.clone(),
            directories: vec![identity.directory_id],
            clean_shutdown,
            features: Vec::new(),
            now: self.clock.now(),
        }
    }
}

/// What was made of the newest image.
#[derive(Debug, Clone, Copy)]
struct Taken {
    /// Whether it says that this node may lead.
    alive: bool,
}

/// Follows the metadata and makes the partitions so, until the shutdown.
async fn follow(
    reconciler: Arc<Reconciler>,
    broker: Arc<Broker>,
    taken: watch::Sender<Option<Taken>>,
    mut shutdown: Shutdown,
) {
    let mut news = broker.metadata.subscribe();
    loop {
        let next = tokio::select! {
            () = shutdown.wait() => return,
            next = news.next() => next,
        };
        let Some((image, delta)) = next else { return };
        let alive = image.is_alive(broker.node_id());
        if image.state().node(broker.node_id()).is_some_and(|node| node.removed) {
            let reason = format!("node {} was removed from the cluster", broker.node_id());
            broker.gone(Gone::for_good(reason));
        }
        let worker = Arc::clone(&reconciler);
        let applied_count = image.applied_count();
        let done = spawn::blocking("reconcile", move || worker.apply(&image, &delta)).await;
        if done.is_none() {
            tracing::error!("the partitions no longer follow the metadata; restart the node");
            return;
        }
        broker.metadata.set_taken_up(applied_count);
        taken.send_replace(Some(Taken { alive }));
    }
}
