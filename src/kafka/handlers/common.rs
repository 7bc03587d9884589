//! What several handlers need.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::kafka::context::Context;
use crate::limits;
use crate::metadata::Image;
use crate::partition::Partition;
use crate::protocol::{ErrorCode, Str};
use crate::types::{PartitionIndex, TopicName, TopicPartition};

/// Topics that belong to the cluster itself: clients may read them, not write them, and asking
/// about them never creates them.
pub(super) const INTERNAL_TOPICS: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

/// The topic of the Raft log in Kafka; nobody may have a topic of that name.
pub(super) const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// The client id under which Kafka's own tools write to internal topics.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// Time between two looks at a partition that has no room for another watcher.
pub(super) const UNWATCHED_LOOK: Duration = Duration::from_millis(100);

/// Longest wait for another node to take up what it was given.
const OWNER_WAIT: Duration = Duration::from_secs(2);

/// Every operation that exists on a topic, as bits (KIP-430): read, write, create, delete, alter,
/// describe, describe configs, alter configs. Without access control everything is allowed.
pub(super) const TOPIC_OPERATIONS: i32 =
    1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// Every operation that exists on the cluster: create, alter, describe, cluster action, describe
/// configs, alter configs, idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 =
    1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// Whether a topic belongs to the cluster itself.
pub(super) fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// Whether this client may write to an internal topic.
pub(super) fn may_write_internal(client_id: Option<&Str>) -> bool {
    client_id.is_some_and(|id| id.as_str() == ADMIN_CLIENT_ID)
}

/// A partition by name, if the name could be a topic's at all.
pub(super) fn topic_partition(name: &str, index: PartitionIndex) -> Option<TopicPartition> {
    Some(TopicPartition::new(TopicName::new(name).ok()?, index))
}

/// The partition as it is held here: else why a client should look elsewhere.
pub(super) fn hosted(
    context: &Context,
    image: &Image,
    partition: &TopicPartition,
) -> Result<Arc<Partition>, ErrorCode> {
    // A partition of a topic that was deleted may still be here for a moment.
    let topic = image
        .topic_by_name(partition.topic.as_str())
        .filter(|topic| topic.partition(partition.partition).is_some())
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    context
        .partitions
        .get(partition)
        .filter(|held| held.topic_id() == topic.id)
        .ok_or(ErrorCode::NotLeaderOrFollower)
}

/// As [`hosted`], for a name from a request.
pub(super) fn hosted_by_name(
    context: &Context,
    image: &Image,
    name: &str,
    index: PartitionIndex,
) -> Result<Arc<Partition>, ErrorCode> {
    let partition = topic_partition(name, index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    hosted(context, image, &partition)
}

/// When a request that waits for an effect gives up, whatever its client asks for.
pub(super) fn admin_deadline(timeout_ms: i32) -> Instant {
    let wait_ms = timeout_ms.clamp(0, limits::ADMIN_WAIT_MS_MAX).unsigned_abs();
    Instant::now() + Duration::from_millis(u64::from(wait_ms))
}

/// Waits until this node has taken the leadership that it was given.
async fn until_led(partition: &Partition, deadline: Instant) {
    let wake = Arc::new(Notify::new());
    let watch = partition.watch(Arc::clone(&wake));
    while !partition.is_leader() && Instant::now() < deadline {
        // Too many watch already: look again in a while.
        let until =
            if watch.is_some() { deadline } else { deadline.min(Instant::now() + UNWATCHED_LOOK) };
        let _ = timeout_at(until, wake.notified()).await;
    }
}

/// Waits until the leaders of these topics' partitions serve them. A wait that runs out is no
/// error: the topic is there, and clients look again.
pub(super) async fn until_served(context: &Context, names: &[String], deadline: Instant) {
    let image = context.metadata.image();
    let mut others = BTreeSet::new();
    for name in names {
        let Some(topic) = image.topic_by_name(name) else { continue };
        for (index, state) in topic.partitions() {
            match state.leader {
                Some(leader) if leader != context.node_id => drop(others.insert(leader)),
                Some(_) => {
                    let held = context.partitions.wait_for(topic.id, index, deadline).await;
                    if let Some(held) = held {
                        until_led(&held, deadline).await;
                    }
                }
                None => {}
            }
        }
    }
    let within = deadline.saturating_duration_since(Instant::now());
    let applied_count = image.applied_count();
    join_all(others.iter().map(|leader| {
        // A leader that does not answer will not do so sooner for its topics' being new.
        context.metadata.wait_taken_up(*leader, applied_count, within.min(OWNER_WAIT))
    }))
    .await;
}
