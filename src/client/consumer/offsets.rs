//! Offsets by place or time (ListOffsets), asked of the leaders.

use super::{Isolation, StartAt};
use crate::client::Error;
use crate::client::cluster::{Cluster, Purpose};
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::protocol::{ErrorCode, Str};
use crate::types::{LeaderEpoch, NodeId, Offset, PartitionIndex, TimestampMs};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// What to look for in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The log start offset.
    Earliest,
    /// The offset after the last record that can be read.
    Latest,
    /// The first record at or after this time.
    At(TimestampMs),
}

impl OffsetQuery {
    fn timestamp(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::At(time) => time.0.max(0),
        }
    }
}

/// The offset of each partition that `query` finds; [`Offset::NONE`] where it finds none.
///
/// # Errors
/// [`Error::Refused`] by a broker, those of asking one; errors that may pass are borne for
/// `request_timeout_ms`.
pub async fn list_offsets(
    cluster: &Cluster,
    topic: &str,
    partitions: &[i32],
    query: OffsetQuery,
    isolation: Isolation,
) -> Result<BTreeMap<i32, Offset>, Error> {
    let mut found = BTreeMap::new();
    let mut backoff = cluster.backoff();
    let patience = Duration::from_millis(cluster.options().request_timeout_ms);
    let begun = Instant::now();
    loop {
        let mut last = None;
        let mut by_leader: BTreeMap<NodeId, Vec<(i32, LeaderEpoch)>> = BTreeMap::new();
        for partition in partitions.iter().filter(|one| !found.contains_key(*one)) {
            match cluster.leader(topic, *partition) {
                Some((node, epoch)) => by_leader.entry(node).or_default().push((*partition, epoch)),
                None => {
                    let what = format!("partition {topic}-{partition}");
                    last = Some(Error::refused(what, ErrorCode::LeaderNotAvailable, None));
                }
            }
        }
        for (node, wanted) in by_leader {
            match ask(cluster, node, topic, &wanted, query, isolation).await {
                Ok(answers) => {
                    for (partition, answer) in answers {
                        match answer {
                            Ok(offset) => drop(found.insert(partition, offset)),
                            Err(error) => last = Some(error),
                        }
                    }
                }
                Err(error) => last = Some(error),
            }
        }
        if partitions.iter().all(|one| found.contains_key(one)) {
            return Ok(found);
        }
        let what = format!("looking up offsets of '{topic}'");
        let error =
            last.unwrap_or_else(|| Error::refused(what, ErrorCode::UnknownServerError, None));
        let may_pass = error.is_retriable() || error.code().is_some_and(super::fetch::may_pass);
        if !may_pass || begun.elapsed() >= patience {
            return Err(error);
        }
        backoff.wait().await;
        cluster.refresh(Some(&[topic])).await?;
    }
}

async fn ask(
    cluster: &Cluster,
    node: NodeId,
    topic: &str,
    wanted: &[(i32, LeaderEpoch)],
    query: OffsetQuery,
    isolation: Isolation,
) -> Result<Vec<(i32, Result<Offset, Error>)>, Error> {
    let partition = |(partition, epoch): &(i32, LeaderEpoch)| ListOffsetsPartition {
        partition_index: PartitionIndex(*partition),
        current_leader_epoch: *epoch,
        timestamp: query.timestamp(),
        ..ListOffsetsPartition::default()
    };
    let request = ListOffsetsRequest {
        replica_id: NodeId::NONE,
        isolation_level: isolation.to_i8(),
        topics: vec![ListOffsetsTopic {
            name: Str::from(topic),
            partitions: wanted.iter().map(partition).collect(),
            ..ListOffsetsTopic::default()
        }],
        timeout_ms: i32::try_from(cluster.options().request_timeout_ms).unwrap_or(i32::MAX),
        ..ListOffsetsRequest::default()
    };
    let connection = cluster.connection(node, Purpose::Control).await?;
    let answer = connection.call(&request).await?;
    let all = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    Ok(all
        .map(|answer| {
            let partition = answer.partition_index.0;
            let result = match answer.error_code {
                ErrorCode::None => Ok(answer.offset),
                code => {
                    let what = format!("looking up offsets of {topic}-{partition}");
                    Err(Error::refused(what, code, None))
                }
            };
            (partition, result)
        })
        .collect())
}

/// The offset at which to begin in each partition.
pub(super) async fn resolve(
    cluster: &Cluster,
    topic: &str,
    partitions: &[i32],
    start: StartAt,
    isolation: Isolation,
) -> Result<BTreeMap<i32, Offset>, Error> {
    let look = |query| list_offsets(cluster, topic, partitions, query, isolation);
    match start {
        StartAt::Earliest => look(OffsetQuery::Earliest).await,
        StartAt::Latest => look(OffsetQuery::Latest).await,
        StartAt::Timestamp(time) => {
            let mut found = look(OffsetQuery::At(time)).await?;
            if found.values().any(|offset| offset.0 < 0) {
                let ends = look(OffsetQuery::Latest).await?;
                for (partition, offset) in &mut found {
                    if offset.0 < 0 {
                        *offset = ends.get(partition).copied().unwrap_or(Offset::ZERO);
                    }
                }
            }
            Ok(found)
        }
        StartAt::Tail(count) => {
            let earliest = look(OffsetQuery::Earliest).await?;
            let mut ends = look(OffsetQuery::Latest).await?;
            for (partition, end) in &mut ends {
                let first = earliest.get(partition).copied().unwrap_or(Offset::ZERO);
                *end = Offset(end.0.saturating_sub(count)).max(first).min(*end);
            }
            Ok(ends)
        }
        StartAt::Offset(asked) => {
            let earliest = look(OffsetQuery::Earliest).await?;
            let ends = look(OffsetQuery::Latest).await?;
            let mut starts = BTreeMap::new();
            for partition in partitions {
                let first = earliest.get(partition).copied().unwrap_or(Offset::ZERO);
                let end = ends.get(partition).copied().unwrap_or(Offset::ZERO);
                if asked < first || asked > end {
                    return Err(Error::OffsetOutOfRange {
                        topic: topic.to_owned(),
                        partition: *partition,
                        asked,
                        earliest: first,
                        latest: end,
                    });
                }
                starts.insert(*partition, asked);
            }
            Ok(starts)
        }
    }
}

/// The error for a fetch that was out of range, with what the partition holds now.
pub(super) async fn out_of_range(
    cluster: &Cluster,
    topic: &str,
    partition: i32,
    asked: Offset,
) -> Error {
    let one = [partition];
    let isolation = Isolation::ReadUncommitted;
    let earliest = list_offsets(cluster, topic, &one, OffsetQuery::Earliest, isolation).await;
    let latest = list_offsets(cluster, topic, &one, OffsetQuery::Latest, isolation).await;
    let value = |found: Result<BTreeMap<i32, Offset>, Error>| {
        found.ok().and_then(|found| found.get(&partition).copied()).unwrap_or(Offset::NONE)
    };
    Error::OffsetOutOfRange {
        topic: topic.to_owned(),
        partition,
        asked,
        earliest: value(earliest),
        latest: value(latest),
    }
}
