//! Reading records of assigned partitions, without a group.
//!
//! One fetch is open per leader, and none while what was fetched has not been read: a slow reader
//! holds a bounded number of bytes. Checksums are checked, control batches and (with read
//! committed) aborted transactions are left out.

mod fetch;
mod offsets;
mod partition;

pub use offsets::{OffsetQuery, list_offsets};

use super::cluster::Cluster;
use super::{Error, cluster::Backoff};
use crate::limits;
use crate::protocol::records::{BatchHeader, Header, Record, Records, TimestampKind};
use crate::types::{LeaderEpoch, NodeId, Offset, TimestampMs, TopicId};
use bytes::Bytes;
use fetch::Fetched;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use partition::Position;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where to begin in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// The log start offset.
    Earliest,
    /// After the last record that can be read now.
    Latest,
    /// This offset.
    Offset(Offset),
    /// So many offsets before the end, or the beginning if there are fewer.
    Tail(i64),
    /// The first record at or after this time; the end if there is none.
    Timestamp(TimestampMs),
}

/// Which records may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset, without aborted transactions.
    #[default]
    ReadCommitted,
}

impl Isolation {
    /// The number on the wire.
    #[must_use]
    pub fn to_i8(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

/// Settings of a consumer.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Which records may be read.
    pub isolation: Isolation,
    /// Bytes of one fetch.
    pub fetch_bytes_max: usize,
    /// Bytes of one partition in one fetch.
    pub partition_bytes_max: usize,
    /// Bytes that a broker waits for.
    pub fetch_bytes_min: usize,
    /// How long a broker waits for them.
    pub fetch_wait_ms_max: u64,
    /// How long errors that may pass are borne, for one partition, before they are told.
    pub patience_ms: u64,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            isolation: Isolation::ReadCommitted,
            fetch_bytes_max: 8 * 1024 * 1024,
            partition_bytes_max: 1024 * 1024,
            fetch_bytes_min: 1,
            fetch_wait_ms_max: 500,
            patience_ms: 60_000,
        }
    }
}

/// A record that was read. Key, value and headers share the bytes of what was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: Offset,
    /// Milliseconds since 1970, or -1.
    pub timestamp: TimestampMs,
    /// Whose clock that is.
    pub timestamp_kind: TimestampKind,
    /// Epoch of the leader that took the record.
    pub leader_epoch: LeaderEpoch,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in their order.
    pub headers: Vec<Header>,
}

/// The records of one batch, to be taken one by one.
#[derive(Debug)]
pub struct Batch {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) header: BatchHeader,
    /// Records before this offset were not asked for.
    pub(super) from: Offset,
    /// Nor were those at or after this one.
    pub(super) upto: Option<Offset>,
    pub(super) records: Records,
}

impl Iterator for Batch {
    type Item = Result<ConsumerRecord, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record: Record = match self.records.next()? {
                Ok(record) => record,
                Err(cause) => {
                    return Some(Err(Error::Corrupt {
                        topic: self.topic.to_string(),
                        partition: self.partition,
                        offset: self.header.base_offset,
                        cause,
                    }));
                }
            };
            let base = self.header.base_offset;
            let offset = Offset(base.0.wrapping_add(i64::from(record.offset_delta)));
            if offset < self.from {
                continue;
            }
            if self.upto.is_some_and(|end| offset >= end) {
                return None;
            }
            return Some(Ok(ConsumerRecord {
                topic: self.topic.clone(),
                partition: self.partition,
                offset,
                timestamp: self.header.record_timestamp(record.timestamp_delta),
                timestamp_kind: self.header.timestamp_kind(),
                leader_epoch: self.header.leader_epoch,
                key: record.key,
                value: record.value,
                headers: record.headers,
            }));
        }
    }
}

/// Where a partition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// Offset of the next record to be handed out.
    pub position: Offset,
    /// The high watermark (or last stable offset) that the last fetch told, if there was one.
    pub end: Option<Offset>,
}

/// Reads assigned partitions.
pub struct Consumer {
    cluster: Arc<Cluster>,
    options: ConsumerOptions,
    positions: BTreeMap<(Arc<str>, i32), Position>,
    /// Fetched and not read yet.
    ready: VecDeque<Fetched>,
    ready_bytes: usize,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
    fetching: HashSet<NodeId>,
    refreshing: bool,
    refresh_wanted: bool,
    backoff: Backoff,
    not_before: Instant,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("positions", &self.positions).finish_non_exhaustive()
    }
}

enum Event {
    Fetched { node: NodeId, asked: Vec<Asked>, answer: Result<fetch::Answer, Error> },
    Refreshed(Result<(), Error>),
}

/// What a fetch asked of one partition.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    topic: Arc<str>,
    topic_id: TopicId,
    partition: i32,
    offset: Offset,
}

impl Consumer {
    /// A consumer without partitions.
    #[must_use]
    pub fn new(cluster: Arc<Cluster>, options: ConsumerOptions) -> Self {
        let backoff = cluster.backoff();
        Self {
            cluster,
            options,
            positions: BTreeMap::new(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            events: FuturesUnordered::new(),
            fetching: HashSet::new(),
            refreshing: false,
            refresh_wanted: false,
            backoff,
            not_before: Instant::now(),
        }
    }

    /// Adds partitions of one topic, each from where `start` says. An empty list means all.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], [`Error::UnknownPartition`], [`Error::OffsetOutOfRange`] for an
    /// offset that is not there, and those of asking brokers.
    pub async fn assign(
        &mut self,
        topic: &str,
        partitions: &[i32],
        start: StartAt,
    ) -> Result<(), Error> {
        let info = self.cluster.require_topic(topic).await?;
        let count = info.partitions.len();
        for partition in partitions {
            if info.partition(*partition).is_none() {
                let topic = topic.to_owned();
                return Err(Error::UnknownPartition { topic, partition: *partition, count });
            }
        }
        let chosen: Vec<i32> = match partitions {
            [] => (0..count as i32).collect(),
            some => some.to_vec(),
        };
        let starts =
            offsets::resolve(&self.cluster, topic, &chosen, start, self.options.isolation).await?;
        let name: Arc<str> = Arc::from(topic);
        for (partition, offset) in starts {
            self.positions.insert((name.clone(), partition), Position::new(offset));
        }
        Ok(())
    }

    /// Stops reading a partition at `end`: nothing at or after it is handed out.
    pub fn stop_at(&mut self, topic: &str, partition: i32, end: Offset) {
        if let Some(position) = self.positions.get_mut(&(Arc::from(topic), partition)) {
            position.stop_at = Some(end);
        }
    }

    /// Whether every partition has reached its stop, with all before it handed out.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        !self.has_ready() && self.positions.values().all(Position::is_finished)
    }

    /// Whether records were fetched that have not been handed out, so that [`Self::next`] will
    /// not have to wait for a broker.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.ready.iter().any(|fetched| !fetched.is_read())
    }

    /// Where each partition stands.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        self.positions
            .iter()
            .map(|((topic, partition), position)| Progress {
                topic: topic.clone(),
                partition: *partition,
                position: position.handed_out,
                end: position.end_known,
            })
            .collect()
    }

    /// The next batch with records, in order within each partition. Waits until there is one;
    /// nothing once every partition has reached its stop.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`] when records vanished before they were read,
    /// [`Error::Corrupt`], [`Error::Refused`], and those of the connection once they lasted for
    /// `patience_ms`.
    pub async fn next(&mut self) -> Result<Option<Batch>, Error> {
        loop {
            while let Some(fetched) = self.ready.front_mut() {
                let key = (fetched.topic.clone(), fetched.partition);
                let position = self.positions.get_mut(&key);
                let Some(position) = position.filter(|position| !position.is_finished()) else {
                    self.drop_front();
                    continue;
                };
                match fetched.next_batch(position) {
                    Some(batch) => return batch.map(Some),
                    None => self.drop_front(),
                }
            }
            if self.positions.values().all(Position::is_finished) {
                return Ok(None);
            }
            self.begin_fetches()?;
            let tick = tokio::time::sleep(Duration::from_millis(100));
            tokio::select! {
                Some(event) = self.events.next(), if !self.events.is_empty() => {
                    self.handle(event).await?;
                }
                () = tick => {}
            }
        }
    }

    fn drop_front(&mut self) {
        if let Some(done) = self.ready.pop_front() {
            self.ready_bytes = self.ready_bytes.saturating_sub(done.bytes);
        }
    }

    /// Opens a fetch to every leader that has none, unless enough is waiting to be read.
    fn begin_fetches(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if (self.refresh_wanted || self.cluster.is_stale()) && !self.refreshing {
            self.begin_refresh();
        }
        if self.ready_bytes >= limits::CLIENT_FETCHED_BYTES_MAX || now < self.not_before {
            return Ok(());
        }
        let mut by_leader: BTreeMap<NodeId, Vec<Asked>> = BTreeMap::new();
        for ((topic, partition), position) in &mut self.positions {
            if position.is_fetched() || position.fetching {
                continue;
            }
            let info = self.cluster.topic(topic);
            let Some(info) = info.as_ref() else {
                position.trouble("the topic is gone", self.options.patience_ms)?;
                self.refresh_wanted = true;
                continue;
            };
            let Some(leader) = info.partition(*partition).and_then(|info| info.leader) else {
                position.trouble("the partition has no leader", self.options.patience_ms)?;
                self.refresh_wanted = true;
                continue;
            };
            if self.fetching.contains(&leader) {
                continue;
            }
            by_leader.entry(leader).or_default().push(Asked {
                topic: topic.clone(),
                topic_id: info.id,
                partition: *partition,
                offset: position.fetch_from,
            });
        }
        for (node, asked) in by_leader {
            for one in &asked {
                if let Some(at) = self.positions.get_mut(&(one.topic.clone(), one.partition)) {
                    at.fetching = true;
                }
            }
            self.fetching.insert(node);
            let (cluster, options) = (self.cluster.clone(), self.options.clone());
            self.events.push(Box::pin(async move {
                let answer = fetch::fetch(&cluster, node, &asked, &options).await;
                Event::Fetched { node, asked, answer }
            }));
        }
        Ok(())
    }

    fn begin_refresh(&mut self) {
        self.refreshing = true;
        self.refresh_wanted = false;
        let cluster = self.cluster.clone();
        let topics: HashSet<Arc<str>> =
            self.positions.keys().map(|(topic, _)| topic.clone()).collect();
        self.events.push(Box::pin(async move {
            let asked: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
            Event::Refreshed(cluster.refresh(Some(&asked)).await)
        }));
    }

    async fn handle(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Refreshed(result) => {
                self.refreshing = false;
                if let Err(error) = result {
                    self.bear(None, &error)?;
                }
                Ok(())
            }
            Event::Fetched { node, asked, answer } => {
                self.fetching.remove(&node);
                for one in &asked {
                    if let Some(at) = self.positions.get_mut(&(one.topic.clone(), one.partition)) {
                        at.fetching = false;
                    }
                }
                match answer {
                    Ok(answer) => self.take(&asked, answer).await?,
                    Err(error) => self.bear(Some(&asked), &error)?,
                }
                // The next fetch goes out before what came is read.
                self.begin_fetches()
            }
        }
    }

    /// Goes on after an error that may pass, while patience lasts.
    fn bear(&mut self, asked: Option<&[Asked]>, error: &Error) -> Result<(), Error> {
        if !error.is_retriable() && !matches!(error.code(), Some(code) if fetch::may_pass(code)) {
            return Err(error.clone());
        }
        self.refresh_wanted = true;
        self.not_before = Instant::now() + self.backoff.step();
        let patience_ms = self.options.patience_ms;
        for one in asked.unwrap_or_default() {
            if let Some(at) = self.positions.get_mut(&(one.topic.clone(), one.partition)) {
                at.trouble_of(error, patience_ms)?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, asked: &[Asked], answer: fetch::Answer) -> Result<(), Error> {
        if answer.throttle_ms > 0 {
            self.not_before = Instant::now() + Duration::from_millis(answer.throttle_ms);
        }
        let mut fine = true;
        for part in answer.parts {
            let key = (part.topic.clone(), part.partition);
            let Some(position) = self.positions.get_mut(&key) else { continue };
            match part.outcome {
                Ok(fetched) => {
                    position.fine(fetched.end);
                    if let Some(next) = fetched.next_offset {
                        position.fetch_from = next;
                        self.ready_bytes += fetched.bytes;
                        self.ready.push_back(fetched);
                    }
                }
                Err(error) if fetch::is_out_of_range(&error) => {
                    let asked = position.fetch_from;
                    return Err(offsets::out_of_range(&self.cluster, &key.0, key.1, asked).await);
                }
                Err(error) => {
                    fine = false;
                    let alone: Vec<Asked> = asked
                        .iter()
                        .filter(|one| one.topic == key.0 && one.partition == key.1)
                        .cloned()
                        .collect();
                    self.bear(Some(&alone), &error)?;
                }
            }
        }
        if fine {
            self.backoff = self.cluster.backoff();
        }
        Ok(())
    }
}
