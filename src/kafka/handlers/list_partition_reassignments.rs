//! ListPartitionReassignments: the moves that are under way, as the metadata here has them
//! (KIP-455).

use std::collections::{BTreeMap, BTreeSet};

use crate::kafka::dispatch::{Broker, Call};
use crate::metadata::Image;
use crate::metadata::state::Topic;
use crate::protocol::Str;
use crate::protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use crate::types::PartitionIndex;

/// Answers the request. A partition that does not move, or does not exist, is left out.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let image = broker.context.metadata.image();
    ListPartitionReassignmentsResponse { topics: moving(&image, &request), ..Default::default() }
}

fn moving(
    image: &Image,
    request: &ListPartitionReassignmentsRequest,
) -> Vec<OngoingTopicReassignment> {
    let Some(named) = &request.topics else {
        return image.topics().filter_map(|topic| ongoing(topic, |_| true)).collect();
    };
    // Each topic once, however often it is named.
    let mut wanted: BTreeMap<&str, BTreeSet<PartitionIndex>> = BTreeMap::new();
    for topic in named {
        wanted.entry(&topic.name).or_default().extend(&topic.partition_indexes);
    }
    let known = wanted.iter().filter_map(|(name, indexes)| {
        ongoing(image.topic_by_name(name)?, |index| indexes.contains(&index))
    });
    known.collect()
}

fn ongoing(
    topic: &Topic,
    is_wanted: impl Fn(PartitionIndex) -> bool,
) -> Option<OngoingTopicReassignment> {
    let partitions: Vec<_> = topic
        .partitions()
        .filter(|(index, state)| {
            is_wanted(*index) && !(state.adding.is_empty() && state.removing.is_empty())
        })
        .map(|(partition_index, state)| OngoingPartitionReassignment {
            partition_index,
            replicas: state.replicas.clone(),
            adding_replicas: state.adding.clone(),
            removing_replicas: state.removing.clone(),
            ..Default::default()
        })
        .collect();
    if partitions.is_empty() {
        return None;
    }
    let name = Str::from(topic.name.as_str());
    Some(OngoingTopicReassignment { name, partitions, ..Default::default() })
}
