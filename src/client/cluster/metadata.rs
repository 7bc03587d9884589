//! What metadata responses say, kept in a form that is easy to ask.

use crate::client::Address;
use crate::limits;
use crate::protocol::ErrorCode;
use crate::protocol::messages::metadata::{
    MetadataResponse, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::types::{LeaderEpoch, NodeId, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerInfo {
    /// Where it listens for clients, as it advertises.
    pub address: Address,
    /// The rack, if it has one.
    pub rack: Option<String>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The name.
    pub name: String,
    /// Its id; all zero from brokers that have none.
    pub id: TopicId,
    /// Whether the cluster keeps it for itself.
    pub internal: bool,
    /// The partitions by number, without gaps.
    pub partitions: Vec<PartitionInfo>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The leader, unless there is none at the moment.
    pub leader: Option<NodeId>,
    /// Its epoch, or [`LeaderEpoch::NONE`].
    pub leader_epoch: LeaderEpoch,
    /// All that hold it.
    pub replicas: Vec<NodeId>,
    /// Those that are in sync.
    pub isr: Vec<NodeId>,
    /// Those that are offline.
    pub offline: Vec<NodeId>,
}

/// All that metadata said so far.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The cluster's id, if the broker tells it.
    pub cluster_id: Option<String>,
    /// The broker to send administrative requests to.
    pub controller: Option<NodeId>,
    /// The brokers that are alive.
    pub brokers: BTreeMap<NodeId, BrokerInfo>,
    /// The topics that were asked for.
    pub topics: BTreeMap<String, Arc<TopicInfo>>,
}

impl TopicInfo {
    /// One partition by number.
    #[must_use]
    pub fn partition(&self, partition: i32) -> Option<&PartitionInfo> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }
}

impl Snapshot {
    /// Takes an answer in. `asked` are the topics of the question; `None` means all.
    pub(super) fn absorb(&mut self, answer: &MetadataResponse, asked: Option<&[&str]>) {
        if let Some(id) = &answer.cluster_id {
            self.cluster_id = Some(id.to_string());
        }
        self.controller = (answer.controller_id != NodeId::NONE).then_some(answer.controller_id);
        // An answer without brokers comes from a broker that has only just started.
        if !answer.brokers.is_empty() {
            let broker = |broker: &crate::protocol::messages::metadata::MetadataResponseBroker| {
                let port = u16::try_from(broker.port).ok()?;
                let address = Address::new(broker.host.to_string(), port);
                let rack = broker.rack.as_ref().map(ToString::to_string);
                Some((broker.node_id, BrokerInfo { address, rack }))
            };
            let brokers = answer.brokers.iter().filter_map(broker);
            self.brokers = brokers.take(limits::CLIENT_BROKERS_MAX).collect();
        }
        let mut before = std::mem::take(&mut self.topics);
        for topic in &answer.topics {
            let Some(name) = &topic.name else { continue };
            let known = before.remove(name.as_str());
            // A topic without a leader everywhere is still a topic; one that is in trouble for a
            // moment keeps its old entry.
            let info = match topic.error_code {
                ErrorCode::None => Some(Arc::new(topic_info(topic, known.as_deref()))),
                ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => None,
                _ => known,
            };
            if let Some(info) = info {
                self.topics.insert(name.to_string(), info);
            }
        }
        if asked.is_some() {
            // Topics that were not asked for stay as they were.
            for (name, info) in before {
                if !asked.is_some_and(|asked| asked.contains(&name.as_str())) {
                    self.topics.insert(name, info);
                }
            }
        }
    }
}

impl Snapshot {
    /// Takes a broker's word for who leads a partition by now, and where that one listens (KIP-951).
    /// Gives whether there is somebody to go to by that, rather than by asking for metadata.
    pub(super) fn learn_leader(
        &mut self,
        topic: &str,
        partition: i32,
        (leader, epoch): (NodeId, LeaderEpoch),
        address: Option<Address>,
    ) -> bool {
        let Some(info) = self.topics.get_mut(topic) else { return false };
        let place = usize::try_from(partition).unwrap_or(usize::MAX);
        let Some(old) = info.partitions.get(place) else { return false };
        if old.leader_epoch == epoch && old.leader == Some(leader) {
            // Another batch of the same time has brought it.
            return self.brokers.contains_key(&leader);
        }
        if leader == NodeId::NONE || epoch <= old.leader_epoch {
            return false;
        }
        match (address, self.brokers.contains_key(&leader)) {
            (Some(address), _) if self.brokers.len() < limits::CLIENT_BROKERS_MAX => {
                let rack = self.brokers.get(&leader).and_then(|known| known.rack.clone());
                self.brokers.insert(leader, BrokerInfo { address, rack });
            }
            (_, true) => {}
            // Nobody knows where to go: ask for metadata.
            (_, false) => return false,
        }
        let mut changed = TopicInfo::clone(info);
        if let Some(partition) = changed.partitions.get_mut(place) {
            (partition.leader, partition.leader_epoch) = (Some(leader), epoch);
        }
        *info = Arc::new(changed);
        true
    }
}

fn topic_info(topic: &MetadataResponseTopic, known: Option<&TopicInfo>) -> TopicInfo {
    let name = topic.name.as_ref().map(ToString::to_string).unwrap_or_default();
    let known = known.filter(|known| known.id == topic.topic_id);
    let mut sorted: Vec<&MetadataResponsePartition> = topic.partitions.iter().collect();
    sorted.sort_by_key(|partition| partition.partition_index);
    // Numbers without gaps are what all brokers give; what comes after a gap is not usable.
    let usable = sorted
        .iter()
        .enumerate()
        .take_while(|(place, partition)| partition.partition_index.0 as usize == *place)
        .map(|(place, partition)| {
            let fresh = partition_info(partition);
            // A broker that lags may name a leader that was replaced: the newer epoch stays.
            match known.and_then(|known| known.partitions.get(place)) {
                Some(old) if old.leader_epoch > fresh.leader_epoch && old.leader.is_some() => {
                    PartitionInfo { leader: old.leader, leader_epoch: old.leader_epoch, ..fresh }
                }
                _ => fresh,
            }
        })
        .collect();
    TopicInfo { name, id: topic.topic_id, internal: topic.is_internal, partitions: usable }
}

fn partition_info(partition: &MetadataResponsePartition) -> PartitionInfo {
    PartitionInfo {
        leader: (partition.leader_id != NodeId::NONE).then_some(partition.leader_id),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes.clone(),
        isr: partition.isr_nodes.clone(),
        offline: partition.offline_replicas.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Str;
    use crate::protocol::messages::metadata::MetadataResponseBroker;
    use crate::types::PartitionIndex;

    fn answer(leader: i32, epoch: i32, error_code: ErrorCode) -> MetadataResponse {
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: NodeId(leader),
                host: Str::from("b"),
                port: 9092,
                ..Default::default()
            }],
            controller_id: NodeId(leader),
            topics: vec![MetadataResponseTopic {
                error_code,
                name: Some(Str::from("t")),
                topic_id: TopicId([1; 16]),
                partitions: vec![MetadataResponsePartition {
                    partition_index: PartitionIndex(0),
                    leader_id: NodeId(leader),
                    leader_epoch: LeaderEpoch(epoch),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn leader(snapshot: &Snapshot) -> Option<i32> {
        Some(snapshot.topics.get("t")?.partition(0)?.leader?.0)
    }

    #[test]
    fn a_hint_counts_when_it_is_newer_and_says_where_to_go() {
        let mut snapshot = Snapshot::default();
        snapshot.absorb(&answer(1, 5, ErrorCode::None), Some(&["t"]));
        let hint = |epoch| (NodeId(9), LeaderEpoch(epoch));
        let there = || Some(Address::new("h", 1));
        assert!(!snapshot.learn_leader("t", 0, hint(5), there()), "as old as what is known");
        assert!(!snapshot.learn_leader("t", 0, hint(6), None), "nobody knows node 9");
        assert!(!snapshot.learn_leader("t", 7, hint(6), there()), "no such partition");
        assert_eq!(leader(&snapshot), Some(1));
        assert!(snapshot.learn_leader("t", 0, hint(6), there()));
        assert!(snapshot.learn_leader("t", 0, hint(6), there()), "known already");
        assert_eq!(leader(&snapshot), Some(9));
        snapshot.absorb(&answer(1, 5, ErrorCode::None), Some(&["t"]));
        assert_eq!(leader(&snapshot), Some(9), "a broker that lags does not take it back");
    }

    #[test]
    fn trap_2_epoch_an_older_leader_epoch_does_not_bring_an_old_leader_back() {
        let mut snapshot = Snapshot::default();
        snapshot.absorb(&answer(1, 5, ErrorCode::None), Some(&["t"]));
        snapshot.absorb(&answer(2, 4, ErrorCode::None), Some(&["t"]));
        assert_eq!(leader(&snapshot), Some(1));
        snapshot.absorb(&answer(3, 6, ErrorCode::None), Some(&["t"]));
        assert_eq!(leader(&snapshot), Some(3));
    }

    #[test]
    fn trap_2_brokers_an_empty_broker_list_does_not_empty_the_clients() {
        let mut snapshot = Snapshot::default();
        snapshot.absorb(&answer(1, 5, ErrorCode::None), Some(&["t"]));
        snapshot.absorb(&MetadataResponse::default(), Some(&[]));
        assert_eq!(snapshot.brokers.len(), 1);
        assert_eq!(leader(&snapshot), Some(1), "topics that were not asked for stay");
    }

    #[test]
    fn a_topic_that_is_gone_is_forgotten_and_one_in_trouble_is_not() {
        let mut snapshot = Snapshot::default();
        snapshot.absorb(&answer(1, 5, ErrorCode::None), Some(&["t"]));
        snapshot.absorb(&answer(1, 5, ErrorCode::LeaderNotAvailable), Some(&["t"]));
        assert_eq!(leader(&snapshot), Some(1));
        snapshot.absorb(&answer(1, 5, ErrorCode::UnknownTopicOrPartition), Some(&["t"]));
        assert_eq!(leader(&snapshot), None);
        snapshot.absorb(&answer(1, 5, ErrorCode::None), Some(&["t"]));
        snapshot
            .absorb(&MetadataResponse { topics: vec![], ..answer(1, 5, ErrorCode::None) }, None);
        assert_eq!(leader(&snapshot), None);
    }
}
