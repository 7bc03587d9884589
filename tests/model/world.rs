//! The model's state: nodes, the controller's metadata, messages under way, and what was ever
//! committed.

use super::storage::{Storage, Value};
use purlin::metadata::state::{
    self, AdmitNode, AlterReassignments, ChangeFencing, Command, CreateTopics, Delta, Endpoint,
    FencingChange, NewTopic, Partition, Reassignment, RegisterBroker, Response,
};
use purlin::replica::{self, Answer, FetchClaim, IsrProposal, Settings};
use purlin::types::invariant::{EpochLeaders, PartitionImage, Violation};
use purlin::types::{
    BrokerEpoch, DirectoryId, IncarnationId, LeaderEpoch, NodeId, Offset, PartitionEpoch,
    PartitionIndex, TimestampMs, TopicId,
};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};

pub const TOPIC: TopicId = TopicId([7; 16]);
pub const TOPIC_NAME: &str = "t";
pub const PARTITION: PartitionIndex = PartitionIndex(0);

fn directory(id: NodeId) -> DirectoryId {
    DirectoryId([u8::try_from(id.0).expect("few"); 16])
}

/// What one configuration of the model allows, and how often.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: &'static str,
    pub nodes: i32,
    pub replicas: Vec<i32>,
    pub insync_min: usize,
    pub write_caching: bool,
    pub unclean: bool,
    pub values_max: Value,
    pub crashes_max: u8,
    /// Fences of a broker whose process lives.
    pub fences_max: u8,
    pub shrinks_max: u8,
    pub losses_max: u8,
    pub repeats_max: u8,
    pub leader_epoch_max: i32,
    pub partition_epoch_max: i32,
    /// Where a reassignment may take the partition.
    pub target: Option<Vec<i32>>,
}

impl Config {
    pub fn small(name: &'static str) -> Self {
        Self {
            name,
            nodes: 3,
            replicas: vec![1, 2, 3],
            insync_min: 2,
            write_caching: false,
            unclean: false,
            values_max: 2,
            crashes_max: 2,
            fences_max: 1,
            shrinks_max: 1,
            losses_max: 1,
            repeats_max: 1,
            leader_epoch_max: 4,
            partition_epoch_max: 9,
            target: None,
        }
    }

    pub fn settings(&self) -> Settings {
        Settings {
            min_insync_replicas: self.insync_min,
            write_caching: self.write_caching,
            lag_ms_max: 30_000,
        }
    }
}

/// What a broker knows of the metadata: one applied state, as far as the partition goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub partition: Partition,
    /// Each broker's registration, and whether it is fenced.
    pub brokers: Vec<(NodeId, BrokerEpoch, bool)>,
}

impl Image {
    pub fn registration(&self, node: NodeId) -> Option<BrokerEpoch> {
        self.brokers.iter().find(|(id, _, _)| *id == node).map(|(_, epoch, _)| *epoch)
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub id: NodeId,
    pub up: bool,
    pub incarnation: u8,
    /// What its last registration was answered with.
    pub broker_epoch: BrokerEpoch,
    pub storage: Storage,
    /// `None` while it is down, or no replica.
    pub replica: Option<replica::State>,
    /// What was proposed last, to be sent again while nobody answered.
    pub proposal: Option<IsrProposal>,
    /// Counts its calls to the controller: only the last one is still waited for.
    pub call: u8,
    /// Which image it has applied.
    pub image: usize,
}

/// Something under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Message {
    Fetch {
        to: NodeId,
        claim: FetchClaim,
        flushed: Offset,
    },
    Answer {
        to: NodeId,
        incarnation: u8,
        epoch: LeaderEpoch,
        asked: Offset,
        answer: Told,
    },
    Report {
        to: NodeId,
        claim: FetchClaim,
        flushed: Offset,
    },
    /// Those of one node reach the controller in the order in which they were sent, each once. A
    /// copy that overtook a later one could be applied after that was refused, and the leader would
    /// not count with it.
    Alter {
        from: NodeId,
        call: u8,
        broker_epoch: BrokerEpoch,
        proposal: IsrProposal,
    },
    Refused {
        to: NodeId,
        call: u8,
        partition_epoch: PartitionEpoch,
    },
}

/// What a leader answers to a fetch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Told {
    Records { high_watermark: Offset, records: Vec<(LeaderEpoch, Value)> },
    Diverging { epoch: LeaderEpoch, end: Offset },
    OutOfRange { start: Offset, end: Offset },
}

impl Told {
    pub fn answer(&self, storage: &Storage) -> Answer {
        match self {
            Self::Records { high_watermark, .. } => {
                Answer::Records { high_watermark: *high_watermark, log_start: Offset::ZERO }
            }
            Self::Diverging { epoch, end } => Answer::Diverging {
                epoch: *epoch,
                end: *end,
                log_start: Offset::ZERO,
                local: storage.epoch_end(*epoch),
            },
            Self::OutOfRange { start, end } => Answer::OutOfRange { start: *start, end: *end },
        }
    }
}

/// How often each bounded thing has happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Spent {
    pub values: Value,
    pub crashes: u8,
    pub fences: u8,
    pub shrinks: u8,
    pub losses: u8,
    pub repeats: u8,
    pub unclean: u8,
    pub reassigned: bool,
}

/// Everything.
#[derive(Debug, Clone)]
pub struct World {
    pub nodes: Vec<Node>,
    pub metadata: state::State,
    /// The Raft index of the last registration: other commands leave no trace of theirs.
    pub index: u64,
    pub images: Vec<Image>,
    pub network: Vec<Message>,
    pub spent: Spent,
    /// Every record that was ever below a leader's high watermark.
    pub committed: Vec<Value>,
    /// Replicas that lost what had been counted, and have not caught up since.
    pub lossy: BTreeSet<NodeId>,
    /// Whether a leader took a repeated old fetch for a loss (of which there is none here), and had
    /// the follower taken out of what may be elected. Sessions keep that from happening to nodes;
    /// it costs nothing but the choice of leaders.
    pub mistaken: bool,
    pub leaders: EpochLeaders,
    pub violation: Option<Violation>,
    /// Counts the steps of a random walk, which may come by a state twice; stays zero in a search.
    pub steps: u32,
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.nodes == other.nodes
            && self.metadata == other.metadata
            && self.images == other.images
            && self.network == other.network
            && self.spent == other.spent
            && self.committed == other.committed
            && self.lossy == other.lossy
            && self.mistaken == other.mistaken
            && self.violation == other.violation
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.nodes.hash(hasher);
        for image in &self.images {
            let partition = &image.partition;
            (&partition.replicas, &partition.isr, &partition.elr).hash(hasher);
            (&partition.adding, &partition.removing, &partition.offline).hash(hasher);
            (partition.leader, partition.leader_epoch, partition.partition_epoch).hash(hasher);
            (partition.recovery, partition.leader_last_known).hash(hasher);
            image.brokers.hash(hasher);
        }
        self.network.hash(hasher);
        self.spent.hash(hasher);
        self.committed.hash(hasher);
        self.lossy.hash(hasher);
        self.mistaken.hash(hasher);
        self.violation.hash(hasher);
        self.steps.hash(hasher);
    }
}

impl World {
    pub fn new(config: &Config) -> Self {
        let mut world = Self {
            nodes: Vec::new(),
            metadata: state::State::default(),
            index: 0,
            images: Vec::new(),
            network: Vec::new(),
            spent: Spent::default(),
            committed: Vec::new(),
            lossy: BTreeSet::new(),
            mistaken: false,
            leaders: EpochLeaders::default(),
            violation: None,
            steps: 0,
        };
        for id in (1..=config.nodes).map(NodeId) {
            let node = Node {
                id,
                up: true,
                incarnation: 0,
                broker_epoch: BrokerEpoch::NONE,
                storage: Storage::default(),
                replica: None,
                proposal: None,
                call: 0,
                image: 0,
            };
            world.nodes.push(node);
            world.apply(Command::AdmitNode(AdmitNode {
                directory: directory(id),
                wanted: Some(id),
                rpc: "h:2".into(),
                now: TimestampMs(0),
            }));
            world.register(id, true);
            world.change_fencing(id, false);
        }
        let create = Command::CreateTopics(CreateTopics {
            topics: vec![NewTopic {
                name: TOPIC_NAME.into(),
                id: TOPIC,
                partitions: -1,
                replication_factor: -1,
                assignments: vec![(
                    PARTITION,
                    config.replicas.iter().copied().map(NodeId).collect(),
                )],
                configs: vec![
                    ("min.insync.replicas".into(), Some(config.insync_min.to_string())),
                    ("write.caching".into(), Some(config.write_caching.to_string())),
                ],
            }],
            partitions_default: 1,
            replication_factor_default: 1,
            validate_only: false,
            now: TimestampMs(0),
        });
        let made = world.apply(create);
        assert!(
            matches!(&made, Response::CreateTopics(made) if made[0].outcome.is_ok()),
            "{made:?}"
        );
        world.images = vec![world.image_now()];
        world
    }

    /// Time stands still but for the moments at which followers have lagged for too long.
    pub fn now_ms(&self) -> i64 {
        i64::from(self.spent.shrinks) * 1_000_000
    }

    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes.iter().find(|node| node.id == id).expect("a node of the model")
    }

    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).expect("a node of the model")
    }

    pub fn partition(&self) -> &Partition {
        let topic = self.metadata.topic_by_id(TOPIC).expect("the topic is never deleted");
        topic.partition(PARTITION).expect("its only partition")
    }

    pub fn image_now(&self) -> Image {
        let brokers =
            self.metadata.brokers().map(|broker| (broker.id, broker.epoch, broker.fenced));
        Image { partition: self.partition().clone(), brokers: brokers.collect() }
    }

    pub fn partition_image<'a>(
        &self,
        partition: &'a Partition,
        config: &Config,
    ) -> PartitionImage<'a> {
        PartitionImage {
            replicas: &partition.replicas,
            isr: &partition.isr,
            elr: &partition.elr,
            leader: partition.leader,
            insync_min: config.insync_min.min(partition.replicas.len()),
        }
    }

    /// Applies a command, as the next entry of the metadata log.
    pub fn apply(&mut self, command: Command) -> Response {
        let mut delta = Delta::default();
        if matches!(command, Command::RegisterBroker(_)) {
            self.index += 1;
        }
        let response = state::apply(&mut self.metadata, self.index, command, &mut delta);
        if self.metadata.topic_by_id(TOPIC).is_some() && !self.images.is_empty() {
            let now = self.image_now();
            if self.images.last() != Some(&now) {
                self.images.push(now);
            }
        }
        response
    }

    /// A process starts and announces itself.
    pub fn register(&mut self, id: NodeId, clean_shutdown: bool) {
        let incarnation = self.node(id).incarnation;
        let response = self.apply(Command::RegisterBroker(RegisterBroker {
            node_id: id,
            incarnation: IncarnationId([incarnation + 1; 16]),
            endpoints: vec![Endpoint {
                listener: "PLAINTEXT".into(),
                host: "h".into(),
                port: 1,
                security_protocol: 0,
            }],
            rpc: "h:2".into(),
            rack: None,
            directories: vec![directory(id)],
            clean_shutdown,
            features: Vec::new(),
            now: TimestampMs(0),
        }));
        let Response::RegisterBroker(Ok(epoch)) = response else {
            panic!("a registration was refused: {response:?}");
        };
        self.node_mut(id).broker_epoch = epoch;
    }

    pub fn change_fencing(&mut self, id: NodeId, fenced: bool) {
        let broker_epoch = self.metadata.broker(id).expect("registered").epoch;
        self.apply(Command::ChangeFencing(ChangeFencing {
            changes: vec![FencingChange {
                node_id: id,
                broker_epoch,
                fenced,
                in_controlled_shutdown: false,
            }],
        }));
    }

    pub fn reassign(&mut self, replicas: Option<Vec<NodeId>>) -> Response {
        self.apply(Command::AlterReassignments(AlterReassignments {
            partitions: vec![Reassignment {
                topic: TOPIC_NAME.into(),
                partition: PARTITION,
                replicas,
            }],
            allow_replication_factor_change: true,
        }))
    }

    /// One line, for people.
    pub fn summary(&self) -> String {
        let partition = self.partition();
        let ids = |ids: &[NodeId]| ids.iter().map(ToString::to_string).collect::<String>();
        let mut text = format!(
            "{}.{} leader {} isr {} elr {} |",
            partition.leader_epoch,
            partition.partition_epoch,
            partition.leader.unwrap_or(NodeId::NONE),
            ids(&partition.isr),
            ids(&partition.elr)
        );
        for node in &self.nodes {
            let records: Vec<String> = node
                .storage
                .records
                .iter()
                .map(|(epoch, value)| format!("{epoch}:{value}"))
                .collect();
            let role = match node.replica.as_ref() {
                None => "-".to_owned(),
                Some(replica) => match replica.leader() {
                    Some(leader) => {
                        let maximal: Vec<NodeId> = leader.isr_maximal().into_iter().collect();
                        format!("L{} of {}", leader.epoch(), ids(&maximal))
                    }
                    None => format!("F{}", replica.leader_epoch()),
                },
            };
            let high_watermark = node.replica.as_ref().map_or(-1, |one| one.high_watermark().0);
            let _ = write!(
                text,
                " {}{} {role} [{}] flushed {} hw {high_watermark} image -{} |",
                node.id,
                if node.up { "" } else { " down" },
                records.join(" "),
                node.storage.flushed,
                self.images.len() - 1 - node.image
            );
        }
        let _ = write!(text, " committed {:?}", self.committed);
        text
    }

    /// Forgets images that every node is past, so that equal worlds look equal.
    pub fn tidy(&mut self) {
        let oldest = self.nodes.iter().map(|node| node.image).min().unwrap_or(0);
        if oldest > 0 {
            self.images.drain(..oldest);
            for node in &mut self.nodes {
                node.image -= oldest;
            }
        }
    }
}
