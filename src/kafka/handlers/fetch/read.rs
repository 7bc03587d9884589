//! One pass over the partitions of a fetch, within its limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::super::common;
use super::Row;
use crate::kafka::budget::Lease;
use crate::kafka::dispatch::Broker;
use crate::kafka::errors;
use crate::kafka::fetch_session::{PartitionKey, Plan, TopicRef, Wanted};
use crate::kafka::view::{LeaderHint, View};
use crate::limits;
use crate::metadata::Image;
use crate::metadata::state;
use crate::partition::{Error, Isolation, Partition, ReadRequest};
use crate::protocol::ErrorCode;
use crate::protocol::messages::fetch::{
    AbortedTransaction, EpochEndOffset, LeaderIdAndEpoch, PartitionData,
};
use crate::protocol::records::{BatchHeader, Compression};
use crate::types::{NodeId, Offset, TopicPartition};

/// First version that may be sent zstd (KIP-110).
const ZSTD_SINCE: i16 = 10;
/// First version whose clients read from followers, and may be sent to one (KIP-392).
const NEARBY_SINCE: i16 = 11;
/// First version whose answer says who leads instead (KIP-951).
const LEADER_HINTS_SINCE: i16 = 16;

/// What an answer may hold.
pub(super) struct Limits {
    /// Bytes of records.
    pub(super) bytes_max: usize,
    /// When to answer without records because memory is short.
    pub(super) memory_deadline: Instant,
}

/// What a pass found.
pub(super) struct Pass {
    pub(super) rows: Vec<(PartitionKey, Row)>,
    /// Pays for the records.
    pub(super) lease: Option<Lease>,
}

impl Pass {
    /// Whether this must be answered now: enough records, or something that cannot wait.
    pub(super) fn is_enough(&self, bytes_min: usize) -> bool {
        let bytes: usize = self.rows.iter().map(|(_, row)| row.record_bytes()).sum();
        let urgent = |row: &Row| row.data.error_code.is_err() || row.diverges() || row.leads_away();
        self.rows.is_empty() || bytes >= bytes_min || self.rows.iter().any(|(_, row)| urgent(row))
    }
}

/// Reads for one fetch.
pub(super) struct Reader<'a> {
    pub(super) broker: &'a Broker,
    pub(super) version: i16,
    pub(super) isolation: Isolation,
    /// Where the client is; empty if it does not say.
    pub(super) rack: &'a str,
    pub(super) plan: &'a Plan,
}

impl Reader<'_> {
    /// The partitions of the fetch that this node holds.
    pub(super) fn hosted(&self) -> impl Iterator<Item = Arc<Partition>> {
        let image = self.broker.context.metadata.image();
        self.plan.wanted.iter().filter_map(move |(key, _)| {
            let name = resolve(&image, key).ok()?;
            common::hosted(&self.broker.context, &image, &name).ok()
        })
    }

    /// Reads every partition once.
    pub(super) async fn read(&self, limits: &Limits) -> Pass {
        let image = self.broker.context.metadata.image();
        let asked: usize = self
            .plan
            .wanted
            .iter()
            .map(|(_, wanted)| usize::try_from(wanted.bytes_max).unwrap_or(0))
            .fold(0, usize::saturating_add);
        // A batch that is larger than all limits is returned alone, so one batch is paid for.
        let bytes = asked.min(limits.bytes_max).max(limits::BATCH_BYTES_MAX_DEFAULT as usize);
        let budget = &self.broker.responses;
        let take = budget.take_some(bytes, limits::BATCH_BYTES_MAX_DEFAULT as usize);
        let mut lease = timeout_at(limits.memory_deadline, take).await.ok();

        // Without memory nothing is read; with little, less than was asked for.
        let paid = lease.as_ref().map_or(0, Lease::bytes);
        let mut left = limits.bytes_max.min(paid);
        let mut at_least_one = lease.is_some();
        let mut rows = Vec::with_capacity(self.plan.wanted.len());
        for (key, wanted) in &self.plan.wanted {
            let row = self.read_partition(&image, key, wanted, left, at_least_one).await;
            let bytes = row.record_bytes();
            at_least_one &= bytes == 0;
            left = left.saturating_sub(bytes);
            rows.push((key.clone(), row));
        }
        let bytes: usize = rows.iter().map(|(_, row)| row.record_bytes()).sum();
        if let Some(lease) = &mut lease {
            lease.shrink_to(bytes);
        }
        Pass { rows, lease }
    }

    async fn read_partition(
        &self,
        image: &Image,
        key: &PartitionKey,
        wanted: &Wanted,
        left: usize,
        at_least_one: bool,
    ) -> Row {
        let name = match resolve(image, key) {
            Ok(name) => name,
            Err(code) => return Row::failed(key, code),
        };
        let read = match common::hosted(&self.broker.context, image, &name) {
            Ok(partition) => {
                let elsewhere = self.preferred(image, &name, &partition, wanted);
                self.read_hosted(&partition, key, wanted, left, at_least_one, elsewhere).await
            }
            Err(code) => Err(code),
        };
        match read {
            Ok(data) => Row { data, endpoint: None },
            Err(code) => self.failed(image, key, &name, code),
        }
    }

    async fn read_hosted(
        &self,
        partition: &Partition,
        key: &PartitionKey,
        wanted: &Wanted,
        left: usize,
        at_least_one: bool,
        elsewhere: Option<NodeId>,
    ) -> Result<PartitionData, ErrorCode> {
        let code = |error: Error| errors::fetch_code(&error, self.version);
        let diverging = self.diverging_epoch(partition, wanted).map_err(code)?;
        let bytes_max = usize::try_from(wanted.bytes_max).unwrap_or(0).min(left);
        let diverges = diverging.is_some();
        let without_records = diverges || elsewhere.is_some();
        let request = ReadRequest {
            offset: wanted.fetch_offset,
            bytes_max: if without_records { 0 } else { bytes_max },
            at_least_one: at_least_one && !without_records,
            isolation: self.isolation,
            current_leader_epoch: wanted.current_leader_epoch,
        };
        let read = if self.version >= NEARBY_SINCE {
            partition.read_from_any(request)
        } else {
            partition.read(request)
        };
        let answer = match read {
            Ok(answer) => answer,
            // What diverged may also lie beyond the end of the log: the divergence says it all.
            Err(Error::OffsetOutOfRange { .. }) if diverges => {
                let offsets = partition.offsets().map_err(code)?;
                return Ok(PartitionData {
                    partition_index: key.1,
                    high_watermark: offsets.high_watermark,
                    last_stable_offset: offsets.last_stable,
                    log_start_offset: offsets.log_start,
                    diverging_epoch: diverging.unwrap_or_default(),
                    ..Default::default()
                });
            }
            Err(error) => return Err(code(error)),
        };
        let records = if without_records {
            Bytes::new()
        } else {
            partition.load(answer.records).await.map_err(code)?
        };
        if self.version < ZSTD_SINCE && has_zstd(&records) {
            return Err(ErrorCode::UnsupportedCompressionType);
        }
        let aborted = answer.aborted.map(|aborted| {
            let row = |(producer_id, first_offset)| AbortedTransaction {
                producer_id,
                first_offset,
                ..Default::default()
            };
            aborted.into_iter().map(row).collect()
        });
        Ok(PartitionData {
            partition_index: key.1,
            high_watermark: answer.high_watermark,
            last_stable_offset: answer.last_stable_offset,
            log_start_offset: answer.log_start_offset,
            diverging_epoch: diverging.unwrap_or_default(),
            preferred_read_replica: elsewhere.unwrap_or(NodeId::NONE),
            aborted_transactions: aborted,
            records: Some(records),
            ..Default::default()
        })
    }

    /// The follower that this client should read from: the one in its rack that is furthest ahead,
    /// unless the leader is there too (KIP-392).
    fn preferred(
        &self,
        image: &Image,
        name: &TopicPartition,
        partition: &Partition,
        wanted: &Wanted,
    ) -> Option<NodeId> {
        if self.version < NEARBY_SINCE || self.rack.is_empty() {
            return None;
        }
        let view = View::of(&self.broker.context, image);
        let racks = racks(view, image.partition(name)?);
        partition.preferred_read_replica(self.rack, &racks, wanted.fetch_offset)
    }

    /// Where the client's log parts from ours, if the epoch of its last record says so (KIP-595's
    /// rule, for consumers too): our log has no such epoch, or it ends before the client's
    /// position.
    fn diverging_epoch(
        &self,
        partition: &Partition,
        wanted: &Wanted,
    ) -> Result<Option<EpochEndOffset>, Error> {
        if !wanted.last_fetched_epoch.is_known() {
            return Ok(None);
        }
        if !partition.is_leader() && wanted.fetch_offset > partition.offsets()?.high_watermark {
            // A follower that lags behind the client is not one whose log has parted from it.
            return Ok(None);
        }
        let (epoch, end_offset) = partition
            .epoch_end_offset_from_any(wanted.current_leader_epoch, wanted.last_fetched_epoch)?;
        if !epoch.is_known() || end_offset == Offset::NONE {
            // A client that saw a newer epoch than ours knows a newer leader. Otherwise the epoch
            // is older than everything we know, and the offset decides.
            let newer = wanted.last_fetched_epoch > partition.leader_epoch();
            return if newer { Err(Error::NotLeader) } else { Ok(None) };
        }
        let diverges = epoch < wanted.last_fetched_epoch || end_offset < wanted.fetch_offset;
        Ok(diverges.then(|| EpochEndOffset { epoch, end_offset, ..Default::default() }))
    }

    fn failed(
        &self,
        image: &Image,
        key: &PartitionKey,
        name: &TopicPartition,
        code: ErrorCode,
    ) -> Row {
        let mut row = Row::failed(key, code);
        let leads_elsewhere =
            matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
        if self.version >= LEADER_HINTS_SINCE && leads_elsewhere {
            let LeaderHint { leader, epoch, endpoint } =
                View::of(&self.broker.context, image).leader_hint(name);
            row.data.current_leader =
                LeaderIdAndEpoch { leader_id: leader, leader_epoch: epoch, ..Default::default() };
            row.endpoint = endpoint;
        }
        row
    }
}

/// The racks of the replicas that clients of this listener can be sent to.
fn racks(view: View<'_>, state: &state::Partition) -> BTreeMap<NodeId, String> {
    let offline = view.offline(state);
    let usable = state.replicas.iter().filter(|id| !offline.contains(id));
    let known = usable.filter_map(|id| {
        let broker = view.image.broker(*id)?;
        view.endpoint(broker)?;
        Some((*id, broker.rack.clone()?))
    });
    known.collect()
}

/// The partition that is meant.
fn resolve(image: &Image, (topic, index): &PartitionKey) -> Result<TopicPartition, ErrorCode> {
    match topic {
        TopicRef::Id(id) => {
            let topic = image.topic_by_id(*id).ok_or(ErrorCode::UnknownTopicId)?;
            Ok(TopicPartition::new(topic.name.clone(), *index))
        }
        TopicRef::Name(name) => {
            common::topic_partition(name, *index).ok_or(ErrorCode::UnknownTopicOrPartition)
        }
    }
}

/// Whether any of the batches is compressed with zstd.
fn has_zstd(mut batches: &[u8]) -> bool {
    while let Ok(header) = BatchHeader::parse(batches) {
        if header.compression() == Ok(Compression::Zstd) {
            return true;
        }
        batches = batches.get(header.total_bytes()..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::testing::{Cluster, partition};

    #[test]
    fn trap_5_rack_clients_are_sent_to_live_replicas_only() {
        let mut cluster = Cluster::with_brokers(4);
        cluster.topic("t", &[&[1, 2, 3]]);
        let name = partition("t", 0);
        let named = |cluster: &Cluster| {
            let image = cluster.image();
            let state = image.partition(&name).expect("there");
            racks(cluster.view(&image, 1), state)
        };
        let rack = |id: i32| (NodeId(id), format!("rack-{id}"));
        assert_eq!(named(&cluster), BTreeMap::from([rack(1), rack(2), rack(3)]));
        cluster.fence(2);
        assert_eq!(named(&cluster), BTreeMap::from([rack(1), rack(3)]));
    }
}
