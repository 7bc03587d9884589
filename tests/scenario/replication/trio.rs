//! Three nodes with one partition each, moved by hand.

use bytes::Bytes;
use purlin::env::clock::{Clock, ManualClock};
use purlin::env::disk::Disk;
use purlin::env::disk_memory::MemoryDisk;
use purlin::log::flush::Flusher;
use purlin::log::{LogConfig, OpenHints, RecoveryReport};
use purlin::partition::fetcher::{Core, Options, Sent, Throttle};
use purlin::partition::serve::ReplicaServer;
use purlin::partition::{
    Acks, Appended, Assignment, Checkpoint, Error, Isolation, Notices, Offsets, OpenOptions,
    Partition, ReadRequest, Table,
};
use purlin::protocol::records::{BatchBuilder, BatchIter, Compression, decode_records};
use purlin::replica::{FlushReport, IsrProposal, Settings};
use purlin::rpc::replica::FetchResponse;
use purlin::types::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, ProducerEpoch,
    ProducerId, Sequence, TimestampMs, TopicId, TopicName, TopicPartition,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

pub const ONE: NodeId = NodeId(1);
pub const TWO: NodeId = NodeId(2);
pub const THREE: NodeId = NodeId(3);
pub const TOPIC: TopicId = TopicId([9; 16]);
pub const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

#[derive(Debug, Default)]
pub struct Said {
    pub proposals: Vec<IsrProposal>,
    pub reports: Vec<FlushReport>,
    pub failed: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Ears(pub Mutex<Said>);

impl Notices for Ears {
    fn isr_wanted(&self, _: &TopicPartition, _: TopicId, proposal: IsrProposal) {
        self.0.lock().expect("whole").proposals.push(proposal);
    }
    fn storage_failed(&self, _: &TopicPartition, _: TopicId, reason: &str) {
        self.0.lock().expect("whole").failed.push(reason.to_owned());
    }
    fn log_start_moved(&self, _: &TopicPartition) {}
    fn flushed_as_follower(&self, _: &TopicPartition, _: TopicId, report: FlushReport) {
        self.0.lock().expect("whole").reports.push(report);
    }
}

/// What one node is, while it runs.
#[derive(Debug)]
pub struct Running {
    pub partition: Arc<Partition>,
    pub flusher: Flusher,
    pub server: Arc<ReplicaServer>,
    pub ears: Arc<Ears>,
    pub report: RecoveryReport,
    core: Option<(NodeId, LeaderEpoch, Core)>,
}

#[derive(Debug)]
pub struct Node {
    pub disk: MemoryDisk,
    pub broker_epoch: BrokerEpoch,
    pub running: Option<Running>,
    pub checkpoint: Option<Checkpoint>,
}

pub struct Trio {
    pub clock: ManualClock,
    pub settings: Settings,
    pub topic_id: TopicId,
    /// What the next decisions say of the ELR.
    pub elr: BTreeSet<NodeId>,
    nodes: BTreeMap<NodeId, Node>,
    partition_epoch: i32,
    runtime: tokio::runtime::Runtime,
}

impl Trio {
    /// Three running nodes; nobody leads yet. `min.insync.replicas` is 2.
    pub fn new() -> Self {
        let mut trio = Self {
            clock: ManualClock::at(NOW),
            settings: Settings { min_insync_replicas: 2, write_caching: false, lag_ms_max: 10_000 },
            topic_id: TOPIC,
            elr: BTreeSet::new(),
            nodes: BTreeMap::new(),
            partition_epoch: 0,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime"),
        };
        for id in [ONE, TWO, THREE] {
            let disk = MemoryDisk::new();
            disk.create_dir_all(Path::new("/d")).expect("made");
            disk.sync_dir(Path::new("/")).expect("synced");
            let broker_epoch = BrokerEpoch(i64::from(id.0) * 10);
            trio.nodes.insert(id, Node { disk, broker_epoch, running: None, checkpoint: None });
            trio.start(id);
        }
        trio
    }

    /// As [`Self::new`], and one leads in epoch 1, with all three in sync.
    pub fn led() -> Self {
        let mut trio = Self::new();
        trio.elect(ONE, 1, &[ONE, TWO, THREE]);
        trio.settle();
        trio
    }

    pub fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("one of three")
    }

    pub fn running(&mut self, id: NodeId) -> &mut Running {
        self.node(id).running.as_mut().expect("it runs")
    }

    pub fn partition(&self, id: NodeId) -> Arc<Partition> {
        Arc::clone(&self.nodes[&id].running.as_ref().expect("it runs").partition)
    }

    pub fn offsets(&self, id: NodeId) -> Offsets {
        self.partition(id).offsets().expect("open")
    }

    pub fn start(&mut self, id: NodeId) {
        let clock = Arc::new(self.clock.clone()) as Arc<dyn Clock>;
        let (settings, topic_id) = (self.settings, self.topic_id);
        let node = self.node(id);
        let disk = Arc::new(node.disk.clone()) as Arc<dyn Disk>;
        let flusher = Flusher::manual(Arc::clone(&disk), Path::new("/d"));
        let ears = Arc::new(Ears::default());
        let checkpoint = node.checkpoint;
        let options = OpenOptions {
            name: TopicPartition::new(TopicName::new("t").expect("valid"), PartitionIndex(0)),
            topic_id,
            node: id,
            dir: "/d/t-0".into(),
            disk,
            config: LogConfig { segment_bytes: 1024, ..LogConfig::default() },
            settings,
            hints: OpenHints {
                topic_id: Some(topic_id),
                flushed_checkpoint: checkpoint.map(|c| c.flushed),
                log_start_checkpoint: checkpoint.map(|c| c.log_start),
                clean_shutdown: false,
                shared: None,
            },
            high_watermark: checkpoint.map_or(Offset::ZERO, |c| c.high_watermark),
            clock: Arc::clone(&clock),
            flusher: flusher.clone(),
            notices: Arc::<Ears>::clone(&ears),
        };
        let (partition, report) = Partition::open(options).expect("opens");
        let table = Arc::new(Table::new());
        table.insert(Arc::clone(&partition));
        let server = ReplicaServer::new(table, clock);
        node.running = Some(Running { partition, flusher, server, ears, report, core: None });
    }

    /// A power cut: what was not synced is gone. The next start is a new registration.
    pub fn crash(&mut self, id: NodeId) {
        let node = self.node(id);
        node.running = None;
        node.disk.crash(7);
        node.broker_epoch = BrokerEpoch(node.broker_epoch.0 + 1);
    }

    pub fn checkpoint(&mut self, id: NodeId) {
        self.partition(id).advance_recovery_point();
        let checkpoint = self.partition(id).checkpoint();
        self.node(id).checkpoint = checkpoint;
    }

    /// The decision as one node hears of it.
    pub fn tell(&mut self, to: NodeId, leader: NodeId, epoch: i32, isr: &[NodeId]) {
        let registrations =
            |(id, node): (&NodeId, &Node)| (*id, node.running.as_ref().map(|_| node.broker_epoch));
        let assignment = Assignment {
            leader,
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(self.partition_epoch),
            replicas: self.nodes.iter().map(registrations).collect(),
            isr: isr.iter().copied().collect(),
            elr: self.elr.clone(),
        };
        let broker_epoch = self.nodes[&to].broker_epoch;
        let Some(running) = self.node(to).running.as_mut() else { return };
        running.partition.assign(to, assignment);
        if leader == to || leader == NodeId::NONE {
            running.core = None;
            return;
        }
        let epoch = LeaderEpoch(epoch);
        if running.core.as_ref().is_none_or(|c| (c.0, c.1) != (leader, epoch)) {
            let throttle = Arc::new(Mutex::new(Throttle::new(1 << 30, 0)));
            let core = Core::new(Options::new(to, broker_epoch, leader, throttle));
            running.core = Some((leader, epoch, core));
        }
        if let Some((_, _, core)) = running.core.as_mut() {
            core.add(Arc::clone(&running.partition), epoch);
        }
    }

    /// The decision as everybody hears of it.
    pub fn elect(&mut self, leader: NodeId, epoch: i32, isr: &[NodeId]) {
        self.partition_epoch += 1;
        for id in [ONE, TWO, THREE] {
            self.tell(id, leader, epoch, isr);
        }
    }

    pub fn batch(producer: Option<(i64, i32)>, values: &[&str]) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some((id, sequence)) = producer {
            builder.set_producer(ProducerId(id), ProducerEpoch(0), Sequence(sequence));
        }
        for value in values {
            builder.append(NOW, None, Some(value.as_bytes()), &[]);
        }
        builder.build()
    }

    pub fn produce(&self, id: NodeId, value: &str) -> Result<Appended, Error> {
        self.partition(id).append(Self::batch(None, &[value]), Acks::All)
    }

    /// Whether an append is acknowledged by now.
    pub fn is_acknowledged(&self, id: NodeId, appended: &Appended) -> bool {
        let deadline = tokio::time::Instant::now();
        let partition = self.partition(id);
        self.runtime.block_on(async move { partition.committed(appended, deadline).await }).is_ok()
    }

    pub fn flush(&mut self, id: NodeId) {
        self.running(id).flusher.flush_waiting();
    }

    /// The next request of a follower, if it has one.
    pub fn ask(&mut self, follower: NodeId) -> Option<Sent> {
        let now_ms = self.clock.monotonic_ms();
        let (_, _, core) = self.running(follower).core.as_mut()?;
        core.next_request(now_ms)
    }

    /// The leader's answer, without waiting for news.
    pub fn answer(&mut self, follower: NodeId, leader: NodeId, sent: &Sent) -> FetchResponse {
        let server = Arc::clone(&self.running(leader).server);
        let mut request = sent.request.clone();
        request.wait_ms_max = 0;
        match server.begin(follower, request) {
            Ok(fetching) => server.poll(&fetching).expect("it need not wait"),
            Err(error) => FetchResponse::refused(error),
        }
    }

    pub fn take(&mut self, follower: NodeId, sent: &Sent, response: FetchResponse) {
        let now_ms = self.clock.monotonic_ms();
        if let Some((_, _, core)) = self.running(follower).core.as_mut() {
            core.on_response(now_ms, sent.id, response);
        }
    }

    /// One fetch of a follower, to its end.
    pub fn fetch(&mut self, follower: NodeId) {
        let Some((leader, ..)) = self.running(follower).core.as_ref() else { return };
        let leader = *leader;
        if self.node(leader).running.is_none() {
            return;
        }
        if let Some(sent) = self.ask(follower) {
            let response = self.answer(follower, leader, &sent);
            self.take(follower, &sent, response);
        }
    }

    /// Carries a follower's reports to its leader.
    pub fn report(&mut self, follower: NodeId) {
        let running = self.running(follower);
        let reports = std::mem::take(&mut running.ears.0.lock().expect("whole").reports);
        let Some((leader, _, core)) = running.core.as_mut() else { return };
        for report in reports {
            core.flushed(TOPIC, PartitionIndex(0), report);
        }
        let (leader, report) = (*leader, core.flush_report());
        if let Some(report) = report
            && let Some(running) = self.node(leader).running.as_ref()
        {
            let response = running.server.report(follower, &report);
            let (_, _, core) = self.running(follower).core.as_mut().expect("follows");
            core.on_report(&report, Some(&response));
        }
    }

    /// Everybody who runs flushes and fetches until nothing changes any more.
    pub fn settle(&mut self) {
        for _ in 0..12 {
            for id in [ONE, TWO, THREE] {
                if self.node(id).running.is_some() {
                    self.flush(id);
                    self.fetch(id);
                    self.flush(id);
                    self.report(id);
                }
            }
            self.clock.advance(20);
        }
    }

    /// What a leader asked the controller for since the last look.
    pub fn proposals(&mut self, id: NodeId) -> Vec<Vec<NodeId>> {
        let running = self.running(id);
        let proposals = std::mem::take(&mut running.ears.0.lock().expect("whole").proposals);
        proposals.into_iter().map(|p| p.isr.into_iter().map(|(node, _)| node).collect()).collect()
    }

    /// The values that a reader is shown, by offset.
    pub fn shown(&self, id: NodeId) -> Vec<(i64, String)> {
        let partition = self.partition(id);
        let mut offset = self.offsets(id).log_start;
        let mut found = Vec::new();
        loop {
            let answer = partition.read_from_any(ReadRequest {
                offset,
                bytes_max: 1 << 20,
                at_least_one: true,
                isolation: Isolation::ReadUncommitted,
                current_leader_epoch: LeaderEpoch::NONE,
            });
            let Ok(answer) = answer else { return found };
            let bytes = self.runtime.block_on(partition.load(answer.records)).expect("loads");
            if bytes.is_empty() {
                return found;
            }
            for batch in BatchIter::new(&bytes) {
                let (header, raw) = batch.expect("whole batches");
                let raw = Bytes::copy_from_slice(raw);
                for record in decode_records(&raw, 1 << 20).expect("ours") {
                    let record = record.expect("ours");
                    let value = String::from_utf8(record.value.expect("a value").to_vec());
                    let at = header.base_offset.0 + i64::from(record.offset_delta);
                    found.push((at, value.expect("text")));
                }
                offset = header.next_offset();
            }
        }
    }

    pub fn values(&self, id: NodeId) -> Vec<String> {
        self.shown(id).into_iter().map(|(_, value)| value).collect()
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}
