//! A controller in a hundred lines: elections from ISR and ELR, ISR changes by partition epoch.

use purlin::replica::IsrProposal;
use purlin::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch};
use std::collections::{BTreeMap, BTreeSet};

/// What is decided about one partition.
#[derive(Debug, Clone)]
pub struct Decided {
    pub replicas: Vec<NodeId>,
    pub isr: BTreeSet<NodeId>,
    pub elr: BTreeSet<NodeId>,
    pub leader: NodeId,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
}

/// One version of the metadata, as a node applies it.
#[derive(Debug, Clone)]
pub struct Image {
    pub partitions: Vec<Decided>,
    /// Brokers with their registrations; those that are fenced have none that counts.
    pub brokers: BTreeMap<NodeId, Broker>,
}

#[derive(Debug, Clone, Copy)]
pub struct Broker {
    pub epoch: BrokerEpoch,
    pub fenced: bool,
}

/// How a proposal ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    /// Never to be applied.
    Refused,
    /// Something else was decided before.
    Outdated,
}

#[derive(Debug)]
pub struct Controller {
    now: Image,
    pub log: Vec<Image>,
    epochs: i64,
    isr_min: usize,
    pub elections: u64,
}

impl Controller {
    pub fn new(nodes: &[NodeId], partitions: usize, isr_min: usize) -> Self {
        let decided = |leader: NodeId| Decided {
            replicas: nodes.to_vec(),
            isr: nodes.iter().copied().collect(),
            elr: BTreeSet::new(),
            leader,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
        };
        let partitions = (0..partitions).map(|at| decided(nodes[at % nodes.len()])).collect();
        let brokers = BTreeMap::new();
        let now = Image { partitions, brokers };
        Self { now, log: Vec::new(), epochs: 0, isr_min, elections: 0 }
    }

    pub fn partition(&self, index: usize) -> &Decided {
        &self.now.partitions[index]
    }

    pub fn is_active(&self, node: NodeId) -> bool {
        self.now.brokers.get(&node).is_some_and(|broker| !broker.fenced)
    }

    fn publish(&mut self) {
        self.log.push(self.now.clone());
    }

    pub fn register(&mut self, node: NodeId) -> BrokerEpoch {
        self.fence_quietly(node);
        self.epochs += 1;
        let epoch = BrokerEpoch(self.epochs);
        self.now.brokers.insert(node, Broker { epoch, fenced: true });
        self.publish();
        epoch
    }

    pub fn unfence(&mut self, node: NodeId) {
        let Some(broker) = self.now.brokers.get_mut(&node) else { return };
        if broker.fenced {
            broker.fenced = false;
            self.elect_all();
            self.publish();
        }
    }

    pub fn fence(&mut self, node: NodeId) {
        if self.is_active(node) {
            self.fence_quietly(node);
            self.publish();
        }
    }

    fn fence_quietly(&mut self, node: NodeId) {
        if let Some(broker) = self.now.brokers.get_mut(&node) {
            broker.fenced = true;
        }
        let isr_min = self.isr_min;
        for decided in &mut self.now.partitions {
            let mut changed = false;
            // The last member stays: nobody else may lead in its place.
            if decided.isr.len() > 1 && decided.isr.remove(&node) {
                if decided.isr.len() < isr_min {
                    decided.elr.insert(node);
                }
                changed = true;
            }
            if decided.leader == node {
                decided.leader = NodeId::NONE;
                decided.leader_epoch = decided.leader_epoch.next();
                changed = true;
            }
            if changed {
                decided.partition_epoch = decided.partition_epoch.next();
            }
        }
        self.elect_all();
    }

    fn elect_all(&mut self) {
        let active: BTreeSet<NodeId> =
            self.now.brokers.iter().filter(|(_, b)| !b.fenced).map(|(node, _)| *node).collect();
        for decided in &mut self.now.partitions {
            if decided.leader != NodeId::NONE {
                continue;
            }
            let from_isr = decided.isr.intersection(&active).next().copied();
            let from_elr = decided.elr.intersection(&active).next().copied();
            let Some(leader) = from_isr.or(from_elr) else { continue };
            if from_isr.is_none() {
                decided.elr.remove(&leader);
                let last = std::mem::replace(&mut decided.isr, BTreeSet::from([leader]));
                decided.elr.extend(last);
            }
            decided.leader = leader;
            decided.leader_epoch = decided.leader_epoch.next();
            decided.partition_epoch = decided.partition_epoch.next();
            self.elections += 1;
        }
    }

    /// Moves a partition to another leader of the ISR, as a preferred election does.
    pub fn elect(&mut self, index: usize, leader: NodeId) {
        let active = self.is_active(leader);
        let decided = &mut self.now.partitions[index];
        if active && decided.isr.contains(&leader) && decided.leader != leader {
            decided.leader = leader;
            decided.leader_epoch = decided.leader_epoch.next();
            decided.partition_epoch = decided.partition_epoch.next();
            self.elections += 1;
            self.publish();
        }
    }

    pub fn alter(
        &mut self,
        from: NodeId,
        broker_epoch: BrokerEpoch,
        index: usize,
        proposal: &IsrProposal,
    ) -> Answer {
        let brokers = &self.now.brokers;
        let decided = &mut self.now.partitions[index];
        if brokers.get(&from).is_none_or(|broker| broker.epoch != broker_epoch)
            || decided.leader != from
            || decided.leader_epoch != proposal.leader_epoch
            || decided.partition_epoch != proposal.partition_epoch
        {
            return Answer::Outdated;
        }
        let eligible = |(node, epoch): &(NodeId, Option<BrokerEpoch>)| {
            *node == from
                || (brokers.get(node).is_some_and(|broker| {
                    !broker.fenced && epoch.is_none_or(|epoch| epoch == broker.epoch)
                }))
        };
        if !proposal.isr.iter().all(eligible) {
            return Answer::Refused;
        }
        let isr: BTreeSet<NodeId> = proposal.isr.iter().map(|(node, _)| *node).collect();
        if isr.len() >= self.isr_min {
            decided.elr.clear();
        } else {
            decided.elr.extend(decided.isr.difference(&isr));
            decided.elr.retain(|node| !isr.contains(node) && !proposal.lost.contains(node));
        }
        decided.isr = isr;
        decided.partition_epoch = decided.partition_epoch.next();
        self.publish();
        Answer::Accepted
    }
}
