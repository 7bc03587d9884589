//! What goes wrong, and how it is healed.

use super::plan::FaultKind;
use super::{Event, Sim, TOPIC_NAME};
use purlin::env::disk::Disk as _;
use purlin::env::disk_memory::OpKind;
use purlin::metadata::state::{
    AlterReassignments, Command, ElectLeaders, ElectionKind, Reassignment,
};
use purlin::types::{NodeId, PartitionIndex};
use std::path::Path;

/// However few writes there are, a planned power cut comes by then.
const CUT_AT_LAST_MS: i64 = 60;

impl Sim {
    pub fn fault(&mut self, at: usize) {
        let kind = self.plan.faults[at].kind.clone();
        let healed_after = match &kind {
            FaultKind::PowerCut { node, changes, .. } => {
                let node = self.node_mut(NodeId(*node));
                if node.up && node.power_ends.is_none() {
                    let end = node.disk.changes() + changes;
                    node.disk.cut_power_at(end);
                    node.power_ends = Some(i64::try_from(end).expect("few"));
                }
                Some(CUT_AT_LAST_MS)
            }
            FaultKind::Kill { node, back_after_ms } => {
                let id = NodeId(*node);
                if self.node(id).power_ends.is_some() {
                    self.lose_power(id, *back_after_ms);
                } else if self.node(id).up {
                    self.node_mut(id).clean = false;
                    self.stop(id);
                    self.after(*back_after_ms, Event::Boot { node: id });
                }
                None
            }
            FaultKind::PowerCutAll { back_after_ms } => {
                for id in (1..=self.plan.nodes).map(NodeId) {
                    let back = *back_after_ms + self.below(50);
                    if self.node(id).up {
                        self.lose_power(id, back);
                    }
                }
                None
            }
            FaultKind::Pause { node, for_ms } => {
                let until = self.now_ms + for_ms;
                let node = self.node_mut(NodeId(*node));
                if node.up {
                    node.paused_until_ms = node.paused_until_ms.max(until);
                }
                None
            }
            FaultKind::Cut { for_ms, .. }
            | FaultKind::Isolate { for_ms, .. }
            | FaultKind::Split { for_ms, .. } => {
                for pair in self.pairs(&kind) {
                    *self.cuts.entry(pair).or_default() += 1;
                }
                Some(*for_ms)
            }
            FaultKind::SyncFails { node } => {
                let disk = &self.node(NodeId(*node)).disk;
                disk.fail(OpKind::SyncData, ".log", 0, std::io::ErrorKind::Other);
                None
            }
            FaultKind::DiskFull { node, for_ms } => {
                let disk = &self.node(NodeId(*node)).disk;
                if let Ok(space) = disk.space(Path::new("/")) {
                    disk.set_capacity(space.total_bytes - space.available_bytes + 150);
                }
                Some(*for_ms)
            }
            FaultKind::ControllerChanges => {
                self.group.controller = None;
                None
            }
            FaultKind::SlowMetadata { node, for_ms } => {
                let until = self.now_ms + for_ms;
                self.node_mut(NodeId(*node)).slow_until_ms = until;
                None
            }
            FaultKind::Reassign { partition, replicas } => {
                self.administer(Command::AlterReassignments(AlterReassignments {
                    partitions: vec![Reassignment {
                        topic: TOPIC_NAME.into(),
                        partition: PartitionIndex(*partition),
                        replicas: Some(replicas.iter().copied().map(NodeId).collect()),
                    }],
                    allow_replication_factor_change: true,
                }));
                None
            }
            FaultKind::PreferredLeaders => {
                self.administer(Command::ElectLeaders(ElectLeaders {
                    kind: ElectionKind::Preferred,
                    partitions: None,
                }));
                None
            }
            FaultKind::ClockJump { node, by_ms } => {
                self.node(NodeId(*node)).clock.jump(*by_ms);
                None
            }
        };
        if let Some(for_ms) = healed_after {
            self.after(for_ms, Event::Heal(Box::new(kind)));
        }
    }

    pub fn heal(&mut self, kind: &FaultKind) {
        match kind {
            FaultKind::PowerCut { node, back_after_ms, .. } => {
                let id = NodeId(*node);
                if self.node(id).up && self.node(id).power_ends.is_some() {
                    self.lose_power(id, *back_after_ms);
                }
            }
            FaultKind::Cut { .. } | FaultKind::Isolate { .. } | FaultKind::Split { .. } => {
                for pair in self.pairs(kind) {
                    if let Some(cuts) = self.cuts.get_mut(&pair) {
                        *cuts = cuts.saturating_sub(1);
                    }
                }
            }
            FaultKind::DiskFull { node, .. } => {
                self.node(NodeId(*node)).disk.set_capacity(1 << 40);
                self.settle(NodeId(*node));
            }
            _ => {}
        }
    }

    /// Faults are over: whatever is broken is repaired as an operator would.
    pub fn calm_down(&mut self) {
        self.calm = true;
        self.cuts.clear();
        for id in (1..=self.plan.nodes).map(NodeId) {
            let now_ms = self.now_ms;
            let node = self.node_mut(id);
            node.slow_until_ms = now_ms;
            node.disk.set_capacity(1 << 40);
            if node.power_ends.is_some() && node.up {
                self.lose_power(id, 50);
                continue;
            }
            if !self.node(id).up {
                self.after(50, Event::Boot { node: id });
            }
        }
        self.replace_disks();
        for producer in 0..self.producers.len() {
            self.after(1, Event::ProducerTick { producer });
        }
    }

    /// What an operator does about replicas whose storage failed: the disk is replaced, or its
    /// cable, and the node started again.
    pub fn replace_disks(&mut self) {
        for id in (1..=self.plan.nodes).map(NodeId) {
            let node = self.node(id);
            let broken = node.table.all().iter().any(|partition| partition.failure().is_some())
                || !node.unopened.is_empty();
            if node.up && broken && node.power_ends.is_none() {
                self.node_mut(id).clean = false;
                self.stop(id);
                self.after(50, Event::Boot { node: id });
            }
        }
    }

    fn pairs(&self, kind: &FaultKind) -> Vec<(i32, i32)> {
        let all = 1..=self.plan.nodes;
        match kind {
            FaultKind::Cut { from, to, .. } => vec![(*from, *to)],
            FaultKind::Isolate { node, .. } => all
                .filter(|other| other != node)
                .flat_map(|other| [(*node, other), (other, *node)])
                .collect(),
            FaultKind::Split { side, .. } => {
                let others: Vec<i32> = all.filter(|id| !side.contains(id)).collect();
                let pairs = side.iter().flat_map(|a| others.iter().map(move |b| (*a, *b)));
                pairs.flat_map(|(a, b)| [(a, b), (b, a)]).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether the disk has reached the write at which the power was to go; then it goes.
    pub fn power_is_out(&mut self, id: NodeId) -> bool {
        let node = self.node(id);
        let reached = i64::try_from(node.disk.changes()).expect("few");
        let out = node.power_ends.is_some_and(|end| reached > end);
        if out {
            let back_after_ms = self.plan.faults.iter().find_map(|fault| match &fault.kind {
                FaultKind::PowerCut { node, back_after_ms, .. } if *node == id.0 => {
                    Some(*back_after_ms)
                }
                _ => None,
            });
            self.lose_power(id, back_after_ms.unwrap_or(50));
        }
        out
    }

    pub fn lose_power(&mut self, id: NodeId, back_after_ms: i64) {
        let seed = self.rng.next_u64();
        let node = self.node_mut(id);
        node.clean = false;
        self.stop(id);
        self.node(id).disk.crash(seed);
        self.after(back_after_ms, Event::Boot { node: id });
    }
}
