//! Administration of nodes and replicas: the metadata group, reassignments, elections, removal.

use super::{Admin, ClusterBroker, check, left_out, moved};
use crate::client::Error;
use crate::client::cluster::Purpose;
use crate::limits::CLIENT_PAGES_MAX;
use crate::protocol::Str;
use crate::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use crate::protocol::messages::describe_log_dirs::DescribeLogDirsRequest;
use crate::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, PartitionData, ReplicaState, TopicData,
};
use crate::protocol::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponsePartition, TopicRequest,
};
use crate::protocol::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use crate::protocol::messages::list_partition_reassignments::ListPartitionReassignmentsRequest;
use crate::protocol::messages::unregister_broker::UnregisterBrokerRequest;
use crate::types::{LeaderEpoch, NodeId, PartitionIndex};
use std::collections::BTreeMap;

/// The name that the metadata group goes by in Kafka's protocol.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The metadata group, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumInfo {
    /// The controller.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: i32,
    /// One more than the last committed entry.
    pub high_watermark: i64,
    /// The members that vote.
    pub voters: Vec<QuorumMember>,
    /// The members that only follow.
    pub learners: Vec<QuorumMember>,
}

/// One member of the metadata group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumMember {
    /// Who.
    pub id: NodeId,
    /// One more than the last entry in its log; none when the leader does not know.
    pub log_end: Option<i64>,
    /// When the leader last heard from it, in milliseconds since 1970; none for never.
    pub heard_at_ms: Option<i64>,
    /// When it last had all that the leader had, in milliseconds since 1970; none for never.
    pub caught_up_at_ms: Option<i64>,
}

/// What one partition takes on one broker, and how far it is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicaUsage {
    /// Bytes of its segments.
    pub bytes: i64,
    /// Offsets behind the high watermark.
    pub lag: i64,
}

/// A partition with all that its cluster knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// Its number.
    pub partition: i32,
    /// The leader, unless there is none.
    pub leader: Option<NodeId>,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// All replicas.
    pub replicas: Vec<NodeId>,
    /// The in-sync ones.
    pub isr: Vec<NodeId>,
    /// Those outside of the ISR that may lead all the same (KIP-966).
    pub elr: Vec<NodeId>,
    /// Those that are out of reach or lost their storage.
    pub offline: Vec<NodeId>,
}

/// A partition that is moving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    /// Those that come.
    pub adding: Vec<NodeId>,
    /// Those that go.
    pub removing: Vec<NodeId>,
}

/// Where a partition is to go: its replicas in the end, or none to give a move up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The replicas in the end.
    pub replicas: Option<Vec<NodeId>>,
}

impl Admin {
    /// The metadata group.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason, and those of reaching it.
    pub async fn describe_quorum(&self) -> Result<QuorumInfo, Error> {
        let partition = PartitionData { partition_index: PartitionIndex(0), ..Default::default() };
        let request = DescribeQuorumRequest {
            topics: vec![TopicData {
                topic_name: Str::from(METADATA_TOPIC),
                partitions: vec![partition],
                ..TopicData::default()
            }],
            ..DescribeQuorumRequest::default()
        };
        let answer = self.cluster.ask_any(&request).await?;
        let what = || "the metadata group".to_owned();
        check(what(), answer.error_code, answer.error_message.as_deref())?;
        let found = answer.topics.first().and_then(|topic| topic.partitions.first());
        let Some(found) = found else { return Err(left_out(what())) };
        check(what(), found.error_code, found.error_message.as_deref())?;
        Ok(QuorumInfo {
            leader: (found.leader_id != NodeId::NONE).then_some(found.leader_id),
            term: found.leader_epoch,
            high_watermark: found.high_watermark.0,
            voters: found.current_voters.iter().map(member).collect(),
            learners: found.observers.iter().map(member).collect(),
        })
    }

    /// Whether a broker answers at its address now, on a connection of its own.
    pub async fn answers(&self, broker: &ClusterBroker) -> bool {
        self.cluster.answers(&broker.address).await
    }

    /// What each partition takes on one broker, by topic and number.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason, and those of reaching it.
    pub async fn usage(
        &self,
        node: NodeId,
    ) -> Result<BTreeMap<(String, i32), ReplicaUsage>, Error> {
        let request = DescribeLogDirsRequest { topics: None, ..Default::default() };
        let answer = self.cluster.connection(node, Purpose::Control).await?.call(&request).await?;
        check(format!("the data directories of broker {node}"), answer.error_code, None)?;
        let mut usage: BTreeMap<(String, i32), ReplicaUsage> = BTreeMap::new();
        for topic in answer.results.iter().flat_map(|directory| &directory.topics) {
            for partition in &topic.partitions {
                let key = (topic.name.to_string(), partition.partition_index.0);
                let entry = usage.entry(key).or_default();
                entry.bytes += partition.partition_size;
                entry.lag += partition.offset_lag.max(0);
            }
        }
        Ok(usage)
    }

    /// The partitions of a topic with ELR and offline replicas.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason, and those of reaching it.
    pub async fn partitions(&self, topic: &str) -> Result<Vec<PartitionState>, Error> {
        let mut cursor = None;
        let mut found = Vec::new();
        for _ in 0..CLIENT_PAGES_MAX {
            let request = DescribeTopicPartitionsRequest {
                topics: vec![TopicRequest { name: Str::from(topic), ..TopicRequest::default() }],
                cursor,
                ..DescribeTopicPartitionsRequest::default()
            };
            let answer = self.cluster.ask_any(&request).await?;
            for one in &answer.topics {
                check(format!("topic '{topic}'"), one.error_code, None)?;
                found.extend(one.partitions.iter().map(partition_state));
            }
            let Some(next) = answer.next_cursor else { return Ok(found) };
            cursor = Some(next);
        }
        Err(left_out(format!("the end of topic '{topic}'")))
    }

    /// Begins moves of partitions, or gives them up. The outcomes are in the order of `moves`.
    ///
    /// # Errors
    /// [`Error::Refused`] when all are refused, and those of reaching a broker.
    pub async fn reassign(&self, moves: &[Move]) -> Result<Vec<Result<(), Error>>, Error> {
        let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
        for one in moves {
            topics.entry(&one.topic).or_default().push(ReassignablePartition {
                partition_index: PartitionIndex(one.partition),
                replicas: one.replicas.clone(),
                ..ReassignablePartition::default()
            });
        }
        let topic = |(name, partitions)| ReassignableTopic {
            name: Str::from(name),
            partitions,
            ..ReassignableTopic::default()
        };
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            topics: topics.into_iter().map(topic).collect(),
            ..AlterPartitionReassignmentsRequest::default()
        };
        let answer = self.to_controller(&request, |answer| moved(answer.error_code)).await?;
        let what = "moving partitions".to_owned();
        check(what, answer.error_code, answer.error_message.as_deref())?;
        let mut outcomes: BTreeMap<(String, i32), Result<(), Error>> = BTreeMap::new();
        for topic in &answer.responses {
            for one in &topic.partitions {
                let what = format!("moving {}-{}", topic.name, one.partition_index);
                let outcome = check(what, one.error_code, one.error_message.as_deref());
                outcomes.insert((topic.name.to_string(), one.partition_index.0), outcome);
            }
        }
        Ok(moves
            .iter()
            .map(|one| {
                let outcome = outcomes.remove(&(one.topic.clone(), one.partition));
                outcome.unwrap_or_else(|| {
                    Err(left_out(format!("moving {}-{}", one.topic, one.partition)))
                })
            })
            .collect())
    }

    /// The partitions that are moving, by topic and number.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason, and those of reaching it.
    pub async fn moving(&self) -> Result<BTreeMap<(String, i32), Moving>, Error> {
        let request = ListPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            topics: None,
            ..ListPartitionReassignmentsRequest::default()
        };
        let answer = self.cluster.ask_any(&request).await?;
        let what = "the moves under way".to_owned();
        check(what, answer.error_code, answer.error_message.as_deref())?;
        let mut found = BTreeMap::new();
        for topic in &answer.topics {
            for one in &topic.partitions {
                let moving = Moving {
                    adding: one.adding_replicas.clone(),
                    removing: one.removing_replicas.clone(),
                };
                found.insert((topic.name.to_string(), one.partition_index.0), moving);
            }
        }
        Ok(found)
    }

    /// Lets the preferred replicas lead again: of these partitions, or of all.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason, and those of reaching it. That nothing had to
    /// be done, or cannot be done for some partition now, is none.
    pub async fn elect_preferred(&self, of: Option<&[(String, i32)]>) -> Result<(), Error> {
        let mut topics: BTreeMap<&str, Vec<PartitionIndex>> = BTreeMap::new();
        for (topic, partition) in of.into_iter().flatten() {
            topics.entry(topic).or_default().push(PartitionIndex(*partition));
        }
        let topic = |(topic, partitions)| TopicPartitions {
            topic: Str::from(topic),
            partitions,
            ..TopicPartitions::default()
        };
        let request = ElectLeadersRequest {
            election_type: 0,
            topic_partitions: of.map(|_| topics.into_iter().map(topic).collect()),
            timeout_ms: self.timeout_ms(),
            ..ElectLeadersRequest::default()
        };
        let answer = self.to_controller(&request, |answer| moved(answer.error_code)).await?;
        check("electing preferred leaders".to_owned(), answer.error_code, None)
    }

    /// Takes a node out of the cluster for good.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason, and those of reaching it.
    pub async fn unregister(&self, node: NodeId) -> Result<(), Error> {
        let request = UnregisterBrokerRequest { broker_id: node, ..Default::default() };
        let answer = self.to_controller(&request, |answer| moved(answer.error_code)).await?;
        let what = format!("removing node {node}");
        check(what, answer.error_code, answer.error_message.as_deref())
    }
}

fn member(state: &ReplicaState) -> QuorumMember {
    let known = |number: i64| (number >= 0).then_some(number);
    QuorumMember {
        id: state.replica_id,
        log_end: known(state.log_end_offset.0),
        heard_at_ms: known(state.last_fetch_timestamp),
        caught_up_at_ms: known(state.last_caught_up_timestamp),
    }
}

fn partition_state(one: &DescribeTopicPartitionsResponsePartition) -> PartitionState {
    PartitionState {
        partition: one.partition_index.0,
        leader: (one.leader_id != NodeId::NONE).then_some(one.leader_id),
        leader_epoch: one.leader_epoch,
        replicas: one.replica_nodes.clone(),
        isr: one.isr_nodes.clone(),
        elr: one.eligible_leader_replicas.clone().unwrap_or_default(),
        offline: one.offline_replicas.clone(),
    }
}
