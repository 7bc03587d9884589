//! One node: its disk, and while it runs, its partitions, sessions and fetchers.

use crate::controller::Image;
use purlin::env::clock::{Clock, ManualClock};
use purlin::env::disk::Disk;
use purlin::env::disk_memory::MemoryDisk;
use purlin::log::flush::Flusher;
use purlin::log::{LogConfig, OpenHints};
use purlin::partition::fetcher::{Core, Options, Throttle};
use purlin::partition::serve::{Fetching, ReplicaServer};
use purlin::partition::{Assignment, Checkpoint, Notices, OpenOptions, Partition, Table};
use purlin::replica::{FlushReport, IsrProposal, Settings};
use purlin::types::{
    BrokerEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicName, TopicPartition,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

pub const TOPIC: TopicId = TopicId([3; 16]);
pub const ISR_MIN: usize = 2;
pub const LAG_MS_MAX: i64 = 300;

/// What the partitions of one node said, for the world to carry on.
#[derive(Debug, Default)]
pub struct Said {
    pub proposals: Vec<(usize, IsrProposal)>,
    pub reports: Vec<(usize, FlushReport)>,
    pub failed: bool,
    /// Partitions whose checkpoint has to be written again at once.
    pub lowered: BTreeSet<usize>,
}

#[derive(Debug, Default)]
pub struct Ears(pub Mutex<Said>);

fn index_of(name: &TopicPartition) -> usize {
    usize::try_from(name.partition.0).expect("small")
}

impl Notices for Ears {
    fn isr_wanted(&self, name: &TopicPartition, _: TopicId, proposal: IsrProposal) {
        self.0.lock().expect("whole").proposals.push((index_of(name), proposal));
    }
    fn storage_failed(&self, _: &TopicPartition, _: TopicId, _: &str) {
        self.0.lock().expect("whole").failed = true;
    }
    fn log_start_moved(&self, _: &TopicPartition) {}
    fn flushed_as_follower(&self, name: &TopicPartition, _: TopicId, report: FlushReport) {
        self.0.lock().expect("whole").reports.push((index_of(name), report));
    }
    fn recovery_point_lowered(&self, name: &TopicPartition) {
        self.0.lock().expect("whole").lowered.insert(index_of(name));
    }
}

/// A running process.
#[derive(Debug)]
pub struct Running {
    pub partitions: Vec<Arc<Partition>>,
    pub flusher: Flusher,
    pub server: Arc<ReplicaServer>,
    /// Fetchers by leader.
    pub cores: BTreeMap<NodeId, Core>,
    /// Requests under way, by leader.
    pub asked: BTreeMap<NodeId, BTreeSet<u64>>,
    /// Fetches of others that wait here, with the follower's number for each.
    pub waiting: Vec<(NodeId, u64, Fetching)>,
    pub ears: Arc<Ears>,
    pub broker_epoch: BrokerEpoch,
    /// How much of the metadata was applied.
    pub applied: usize,
}

#[derive(Debug)]
pub struct Node {
    pub id: NodeId,
    pub disk: MemoryDisk,
    pub clock: ManualClock,
    /// What the checkpoint files say.
    pub checkpoints: Vec<Option<Checkpoint>>,
    pub up: Option<Running>,
    /// Steps until a power cut that has begun is over.
    pub doomed: Option<u64>,
}

impl Node {
    pub fn new(id: NodeId, partitions: usize, clock: ManualClock) -> Self {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("/d")).expect("made");
        disk.sync_dir(Path::new("/")).expect("synced");
        Self { id, disk, clock, checkpoints: vec![None; partitions], up: None, doomed: None }
    }

    /// Starts the process.
    /// What was decided before its registration was meant for an earlier one: the node begins with
    /// `applied`, the metadata that holds it.
    pub fn start(&mut self, broker_epoch: BrokerEpoch, applied: usize, clean: bool) {
        let disk = Arc::new(self.disk.clone()) as Arc<dyn Disk>;
        let flusher = Flusher::manual(Arc::clone(&disk), Path::new("/d"));
        let ears = Arc::new(Ears::default());
        let table = Arc::new(Table::new());
        let clock = Arc::new(self.clock.clone()) as Arc<dyn Clock>;
        let mut partitions = Vec::new();
        for (index, checkpoint) in self.checkpoints.iter_mut().enumerate() {
            let number = PartitionIndex(i32::try_from(index).expect("small"));
            let name = TopicPartition::new(TopicName::new("t").expect("valid"), number);
            let options = OpenOptions {
                dir: format!("/d/{name}").into(),
                name,
                topic_id: TOPIC,
                node: self.id,
                disk: Arc::clone(&disk),
                config: LogConfig {
                    segment_bytes: 2048,
                    // The wall clock jumps; producers' clocks may be ahead of it.
                    timestamp_after_ms_max: i64::MAX,
                    ..LogConfig::default()
                },
                settings: Settings {
                    min_insync_replicas: ISR_MIN,
                    write_caching: false,
                    lag_ms_max: LAG_MS_MAX,
                },
                hints: OpenHints {
                    topic_id: Some(TOPIC),
                    flushed_checkpoint: checkpoint.map(|c| c.flushed),
                    log_start_checkpoint: checkpoint.map(|c| c.log_start),
                    clean_shutdown: clean,
                    shared: None,
                },
                high_watermark: checkpoint.map_or(Offset::ZERO, |c| c.high_watermark),
                clock: Arc::clone(&clock),
                flusher: flusher.clone(),
                notices: Arc::<Ears>::clone(&ears),
            };
            let (partition, report) = Partition::open(options).expect("a crash leaves a log");
            assert!(!report.lost_flushed, "what was flushed is gone: {report:?}");
            *checkpoint = partition.checkpoint();
            table.insert(Arc::clone(&partition));
            partitions.push(partition);
        }
        let server = ReplicaServer::new(table, clock);
        self.up = Some(Running {
            partitions,
            flusher,
            server,
            cores: BTreeMap::new(),
            asked: BTreeMap::new(),
            waiting: Vec::new(),
            ears,
            broker_epoch,
            applied,
        });
    }

    /// Writes the checkpoint files of partitions whose recovery point went back. A real node does
    /// so inside of the notice.
    pub fn write_lowered(&mut self) {
        let Some(running) = &self.up else { return };
        let lowered = std::mem::take(&mut running.ears.0.lock().expect("whole").lowered);
        for index in lowered {
            self.checkpoints[index] = running.partitions[index].checkpoint();
        }
    }
}

impl Running {
    /// Applies one version of the metadata.
    pub fn apply(&mut self, me: NodeId, image: &Image, now_ms: i64) {
        for (partition, decided) in self.partitions.iter().zip(&image.partitions) {
            let epoch_of = |node: &NodeId| {
                image.brokers.get(node).filter(|broker| !broker.fenced).map(|broker| broker.epoch)
            };
            partition.assign(
                me,
                Assignment {
                    leader: decided.leader,
                    leader_epoch: decided.leader_epoch,
                    partition_epoch: decided.partition_epoch,
                    replicas: decided.replicas.iter().map(|n| (*n, epoch_of(n))).collect(),
                    isr: decided.isr.clone(),
                    elr: decided.elr.clone(),
                },
            );
            let number = partition.topic_partition().partition;
            for (leader, core) in &mut self.cores {
                if *leader != decided.leader {
                    core.remove(TOPIC, number);
                }
            }
            if decided.leader != me && decided.leader != NodeId::NONE {
                let broker_epoch = self.broker_epoch;
                let core = self.cores.entry(decided.leader).or_insert_with(|| {
                    let throttle = Arc::new(Mutex::new(Throttle::new(1 << 20, now_ms)));
                    let mut options = Options::new(me, broker_epoch, decided.leader, throttle);
                    options.bytes_max = 4096;
                    Core::new(options)
                });
                core.add(Arc::clone(partition), decided.leader_epoch);
            }
        }
    }
}
