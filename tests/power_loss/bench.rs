//! Nodes on disks that forget.

use crate::common::cluster::{Cluster, Plan};
use crate::common::{Node, Place, scratch};
use crate::disk::{Cut, Losses, PowerDisk};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Each test has a cluster of its own; several at once would only be slower.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The nodes, each on a disk of its own. The processes end before the disks are unmounted.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) disks: Vec<PowerDisk>,
    _folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    /// Starts a cluster whose nodes get these arguments.
    pub(crate) fn start(nodes: usize, extra: &[&str]) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = scratch("power-");
        let disk = |number: usize| {
            let below = |name: &str| {
                let path = folder.path().join(format!("{name}-{number}"));
                std::fs::create_dir(&path).expect("made");
                path
            };
            PowerDisk::mount(&below("store"), &below("disk")).unwrap_or_else(|e| panic!("{e}"))
        };
        let disks: Vec<PowerDisk> = (1..=nodes).map(disk).collect();
        let place = |disk: &PowerDisk| Place::loopback(&disk.path().join("data"));
        let places = disks.iter().map(place).collect();
        let extra = extra.iter().map(|word| (*word).to_owned()).collect();
        let cluster = Cluster::start_plan(Plan { places, extra });
        Self { cluster, disks, _folder: folder, _turn: turn }
    }

    /// Makes a topic with as many replicas as there are nodes, three at most.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let replicas = i32::try_from(self.disks.len().min(3)).expect("at most three");
        self.cluster.create_topic(name, partitions, replicas, configs);
    }

    /// The disk of the node with this id.
    pub(crate) fn disk_of(&mut self, id: i32) -> &mut PowerDisk {
        let place = self.cluster.ids().iter().position(|found| *found == id);
        &mut self.disks[place.expect("a node of this cluster")]
    }

    /// Kills all nodes at the same time, drops what the cut takes, and starts them again.
    pub(crate) fn power_cycle(&mut self, cut: impl Fn(u64) -> Cut) -> Losses {
        let nodes = self.cluster.nodes_mut();
        nodes.iter_mut().for_each(Node::kill_soon);
        nodes.iter_mut().for_each(Node::kill_nine);
        let mut all = Losses::default();
        for (disk, number) in self.disks.iter_mut().zip(0..) {
            let losses = disk.power_cycle(cut(number)).expect("cut and mounted again");
            all.writes += losses.writes;
            all.writes_open += losses.writes_open;
            all.names += losses.names;
            all.names_open += losses.names_open;
        }
        self.cluster.restart_all();
        all
    }
}
