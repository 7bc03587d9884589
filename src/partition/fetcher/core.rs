//! What to ask one leader node for, and what its answers do. Synchronous; time is passed in.

use super::Throttle;
use crate::limits::{
    REPLICA_BACKOFF_MS_MAX, REPLICA_BACKOFF_MS_MIN, REPLICA_DISK_FULL_RETRY_MS,
    REPLICA_FETCH_BYTES_MAX, REPLICA_FETCH_WAIT_MS, REPLICA_FETCHES_IN_FLIGHT_MAX,
    REPLICA_PARTITIONS_PER_REQUEST_MAX,
};
use crate::partition::{FollowError, LeaderAnswer, Partition, Took};
use crate::replica::FlushReport;
use crate::rpc::replica::{
    FetchPartition, FetchRequest, FetchResponse, Fetched, FetchedPartition, ReplicaError, Report,
    ReportPartition, ReportResponse,
};
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, TopicId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// A partition by its topic's id.
type Key = (TopicId, PartitionIndex);

/// What a fetcher is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// This node.
    pub replica: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// The leader node.
    pub leader: NodeId,
    /// Bytes that one answer may have.
    pub bytes_max: u32,
    /// Milliseconds that the leader may wait for news.
    pub wait_ms_max: u32,
    /// How fast partitions that are behind may catch up, shared by all fetchers of the node.
    pub throttle: Arc<Mutex<Throttle>>,
}

impl Options {
    /// The usual settings.
    #[must_use]
    pub fn new(
        replica: NodeId,
        broker_epoch: BrokerEpoch,
        leader: NodeId,
        throttle: Arc<Mutex<Throttle>>,
    ) -> Self {
        let (bytes_max, wait_ms_max) = (REPLICA_FETCH_BYTES_MAX, REPLICA_FETCH_WAIT_MS);
        Self { replica, broker_epoch, leader, bytes_max, wait_ms_max, throttle }
    }
}

/// A request that was made and is to be answered by [`Core::on_response`] or [`Core::on_failure`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Tells it from others of the same fetcher.
    pub id: u64,
    /// What to send.
    pub request: FetchRequest,
}

/// How a partition stands with the leader's session.
#[derive(Debug)]
struct Slot {
    partition: Arc<Partition>,
    leader_epoch: LeaderEpoch,
    /// What the session was told, if the partition is in it.
    asked: Option<FetchPartition>,
    /// The request that named it last. What an older one brings is about another position.
    asked_in: u64,
    /// Not to be asked for before this moment.
    rest_until_ms: i64,
    backoff_ms: i64,
    /// Whether the leader has committed more than is here.
    behind: bool,
}

/// The partitions that this node copies from one leader node, and the session they are fetched in.
#[derive(Debug)]
pub struct Core {
    options: Options,
    slots: BTreeMap<Key, Slot>,
    /// Partitions that the next request has to look at, because something about them changed.
    changed: BTreeSet<Key>,
    /// Partitions that rest until some moment.
    resting: BTreeSet<(i64, Key)>,
    /// Partitions that the session knows and that are not wanted any more.
    forgotten: BTreeSet<Key>,
    session_id: i32,
    session_epoch: i32,
    /// Requests under way, by their ids, with the number of the session each belongs to.
    open: BTreeMap<u64, u64>,
    /// Counts the sessions, so that answers of an older one are told from those of this.
    generation: u64,
    next_id: u64,
    rest_until_ms: i64,
    backoff_ms: i64,
    reports: BTreeMap<Key, FlushReport>,
}

impl Core {
    /// A fetcher without partitions.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            slots: BTreeMap::new(),
            changed: BTreeSet::new(),
            resting: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            session_id: 0,
            session_epoch: 0,
            open: BTreeMap::new(),
            generation: 0,
            next_id: 0,
            rest_until_ms: 0,
            backoff_ms: 0,
            reports: BTreeMap::new(),
        }
    }

    /// Copies a partition from now on, in `leader_epoch`. Again with a newer epoch: begins anew.
    /// Again with the same: the ISR has changed, and with it what may be asked for.
    pub fn add(&mut self, partition: Arc<Partition>, leader_epoch: LeaderEpoch) {
        let key = key_of(&partition);
        if let Some(slot) = self.slots.get(&key)
            && slot.leader_epoch >= leader_epoch
            && Arc::ptr_eq(&slot.partition, &partition)
        {
            // Damaged, and only now the leader can do without this replica: it is told.
            let falls_back = |asked: &FetchPartition| {
                partition.fetch_position().is_some_and(|position| position.end < asked.end)
            };
            if slot.asked.as_ref().is_some_and(falls_back) {
                self.changed.insert(key);
            }
            return;
        }
        let asked = self.slots.get_mut(&key).and_then(|slot| slot.asked.take());
        if asked.is_some() {
            // The session must not go on with what the old epoch asked for.
            self.forgotten.insert(key);
        }
        self.reports.remove(&key);
        self.slots.insert(
            key,
            Slot {
                partition,
                leader_epoch,
                asked: None,
                asked_in: 0,
                rest_until_ms: i64::MIN,
                backoff_ms: 0,
                behind: false,
            },
        );
        self.changed.insert(key);
    }

    /// Stops copying a partition. An answer that is under way changes nothing any more.
    pub fn remove(&mut self, topic_id: TopicId, partition: PartitionIndex) {
        let key = (topic_id, partition);
        if let Some(slot) = self.slots.remove(&key)
            && slot.asked.is_some()
        {
            self.forgotten.insert(key);
        }
        self.changed.remove(&key);
        self.reports.remove(&key);
    }

    /// How many partitions are copied.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The registration changed: everything that was said with the old one is void.
    pub fn set_broker_epoch(&mut self, broker_epoch: BrokerEpoch) {
        if self.options.broker_epoch != broker_epoch {
            self.options.broker_epoch = broker_epoch;
            self.begin_anew();
        }
    }

    /// How many of the partitions are known to be behind what the leader has committed.
    #[must_use]
    pub fn behind_count(&self) -> usize {
        self.slots.values().filter(|slot| slot.behind).count()
    }

    /// The next request to send, if it is time for one: when none is under way, or when there is
    /// something that the one under way does not know (the leader then ends that one's wait).
    pub fn next_request(&mut self, now_ms: i64) -> Option<Sent> {
        if now_ms < self.rest_until_ms || self.open.len() >= REPLICA_FETCHES_IN_FLIGHT_MAX {
            return None;
        }
        // Over: from here on only what partitions wait for is worth waking up for.
        self.rest_until_ms = 0;
        self.wake_rested(now_ms);
        // Only a session that the leader has confirmed takes a second request.
        if !self.open.is_empty() && (self.session_id == 0 || self.changed.is_empty()) {
            return None;
        }
        let partitions = self.name_changed(now_ms);
        let knows_any = self.slots.values().any(|slot| slot.asked.is_some());
        if partitions.is_empty() && (!self.open.is_empty() || !knows_any) {
            return None;
        }
        let named: BTreeSet<Key> = partitions.iter().map(|p| (p.topic_id, p.partition)).collect();
        let forgotten = std::mem::take(&mut self.forgotten);
        // Naming a partition replaces what the session had of it.
        let forgotten = forgotten.into_iter().filter(|key| !named.contains(key)).collect();
        let (session_id, session_epoch) = (self.session_id, self.session_epoch);
        self.session_epoch = session_epoch.checked_add(1).unwrap_or(1);
        let id = self.next_id;
        self.next_id += 1;
        self.open.insert(id, self.generation);
        let request = FetchRequest {
            replica: self.options.replica,
            broker_epoch: self.options.broker_epoch,
            session_id,
            session_epoch,
            bytes_max: self.options.bytes_max,
            wait_ms_max: self.wait_ms(now_ms),
            partitions,
            forgotten,
        };
        Some(Sent { id, request })
    }

    /// When [`Self::next_request`] may have something although nothing else happens; `None` when
    /// only an answer or a new partition brings something.
    #[must_use]
    pub fn wakes_at_ms(&self) -> Option<i64> {
        if self.open.is_empty() && self.rest_until_ms > 0 && !self.slots.is_empty() {
            return Some(self.rest_until_ms);
        }
        self.resting.first().map(|(at_ms, _)| *at_ms)
    }

    /// Takes the answer to a request.
    pub fn on_response(&mut self, now_ms: i64, id: u64, response: FetchResponse) {
        let Some(generation) = self.open.remove(&id) else { return };
        if generation != self.generation {
            return;
        }
        if let Some(error) = response.error {
            tracing::debug!(leader = %self.options.leader, %error, "a fetch was refused");
            self.begin_anew();
            // A session that is gone is begun again at once, but not in circles.
            let gone = matches!(error, ReplicaError::SessionNotFound | ReplicaError::SessionEpoch);
            if !gone || self.backoff_ms > 0 {
                self.rest(now_ms);
            } else {
                self.backoff_ms = REPLICA_BACKOFF_MS_MIN;
            }
            return;
        }
        self.session_id = response.session_id;
        if self.session_id == 0 {
            // The leader keeps no session: every request names everything.
            self.begin_anew();
        }
        match response.into_partitions() {
            Ok(partitions) => {
                self.backoff_ms = 0;
                for (partition, records) in partitions {
                    self.take(now_ms, id, &partition, records);
                }
            }
            Err(error) => {
                tracing::warn!(leader = %self.options.leader, %error, "an answer makes no sense");
                self.begin_anew();
                self.rest(now_ms);
            }
        }
    }

    /// A request was not answered: whether the leader saw it is unknown.
    pub fn on_failure(&mut self, now_ms: i64, id: u64) {
        if self.open.remove(&id) == Some(self.generation) {
            self.begin_anew();
            self.rest(now_ms);
        }
    }

    /// A partition has more on its disk: to be told with the next [`Self::flush_report`].
    pub fn flushed(&mut self, topic_id: TopicId, partition: PartitionIndex, report: FlushReport) {
        let key = (topic_id, partition);
        let ours =
            self.slots.get(&key).is_some_and(|slot| slot.leader_epoch == report.leader_epoch);
        if ours && report.leader == self.options.leader {
            if report.agreed {
                self.reports.insert(key, report);
            } else {
                self.changed.insert(key);
            }
        }
    }

    /// What was flushed since the last report, to be sent at once; at most one entry a partition.
    /// Its answer, or that there was none, goes to [`Self::on_report`].
    pub fn flush_report(&mut self) -> Option<Report> {
        if self.reports.is_empty() {
            return None;
        }
        let partitions = std::mem::take(&mut self.reports).into_iter().map(|(key, report)| {
            let (topic_id, partition) = key;
            let FlushReport { leader_epoch, end, flushed, .. } = report;
            ReportPartition { topic_id, partition, leader_epoch, end, flushed }
        });
        Some(Report {
            replica: self.options.replica,
            broker_epoch: self.options.broker_epoch,
            partitions: partitions.collect(),
        })
    }

    /// Takes the answer to a report; nothing when there was none. What the leader did not take is
    /// said again with the next fetch: else its high watermark would wait for the next record.
    pub fn on_report(&mut self, report: &Report, response: Option<&ReportResponse>) {
        let all = || report.partitions.iter().map(|p| (p.topic_id, p.partition)).collect();
        let again: Vec<Key> = match response {
            Some(ReportResponse { error: None, failed }) => {
                failed.iter().map(|(topic_id, partition, _)| (*topic_id, *partition)).collect()
            }
            _ => all(),
        };
        let known = again.into_iter().filter(|key| self.slots.contains_key(key));
        self.changed.extend(known);
    }
}

impl Core {
    /// Names every partition again, in a new session.
    fn begin_anew(&mut self) {
        self.generation += 1;
        self.session_id = 0;
        self.session_epoch = 0;
        self.forgotten.clear();
        for (key, slot) in &mut self.slots {
            slot.asked = None;
            if slot.rest_until_ms == i64::MIN {
                self.changed.insert(*key);
            }
        }
    }

    fn rest(&mut self, now_ms: i64) {
        self.backoff_ms = grown(self.backoff_ms);
        self.rest_until_ms = now_ms + self.backoff_ms;
    }

    fn wake_rested(&mut self, now_ms: i64) {
        while let Some((at_ms, key)) = self.resting.first().copied()
            && at_ms <= now_ms
        {
            self.resting.pop_first();
            if let Some(slot) = self.slots.get_mut(&key)
                && slot.rest_until_ms == at_ms
            {
                slot.rest_until_ms = i64::MIN;
                self.changed.insert(key);
            }
        }
    }

    /// Where the changed partitions stand; those that cannot be asked for leave the session.
    fn name_changed(&mut self, now_ms: i64) -> Vec<FetchPartition> {
        let mut named = Vec::new();
        let throttle = Arc::clone(&self.options.throttle);
        let mut throttle = throttle.lock().unwrap_or_else(PoisonError::into_inner);
        while named.len() < REPLICA_PARTITIONS_PER_REQUEST_MAX
            && let Some(key) = self.changed.pop_first()
        {
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            if slot.rest_until_ms != i64::MIN {
                continue;
            }
            if slot.behind && !throttle.is_open(now_ms) {
                let until_ms = throttle.opens_at_ms();
                self.let_rest(key, until_ms);
                continue;
            }
            match slot.position(key) {
                Some(position) => {
                    slot.asked = Some(position.clone());
                    slot.asked_in = self.next_id;
                    named.push(position);
                }
                // Not a follower in this epoch (yet), or stopped: the metadata will tell.
                None => self.let_rest_longer(key, now_ms),
            }
        }
        named
    }

    /// Leaves a partition out of the session until a moment.
    fn let_rest(&mut self, key: Key, until_ms: i64) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if slot.asked.take().is_some() {
            self.forgotten.insert(key);
        }
        slot.rest_until_ms = until_ms;
        self.resting.insert((until_ms, key));
    }

    fn let_rest_longer(&mut self, key: Key, now_ms: i64) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.backoff_ms = grown(slot.backoff_ms);
        let until_ms = now_ms + slot.backoff_ms;
        self.let_rest(key, until_ms);
    }

    fn wait_ms(&self, now_ms: i64) -> u32 {
        let next = self.resting.first().map_or(i64::MAX, |(at_ms, _)| at_ms.saturating_sub(now_ms));
        let next = u32::try_from(next.max(1)).unwrap_or(u32::MAX);
        self.options.wait_ms_max.min(next)
    }

    /// Takes what the leader says about one partition, in its answer to the request `id`.
    ///
    /// Two requests may be open, and an answer that had to wait for the disk comes late. It does
    /// not say which position it is about; taken for a later one, it would cut what was copied in
    /// between. Naming a partition makes the leader forget what it answered before, so nothing is
    /// missed by leaving such an answer alone.
    fn take(&mut self, now_ms: i64, id: u64, answered: &FetchedPartition, records: Bytes) {
        let key = (answered.topic_id, answered.partition);
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Some(asked) = slot.asked.clone() else { return };
        if id < slot.asked_in {
            return;
        }
        let answer = match answered.outcome {
            Ok(Fetched { diverging: Some((epoch, end)), log_start, .. }) => {
                LeaderAnswer::Diverging { epoch, end, log_start }
            }
            Ok(Fetched { high_watermark, log_start, spared_above, .. }) => {
                if let Some(offset) = spared_above {
                    slot.partition.spared_above(asked.leader_epoch, offset);
                }
                LeaderAnswer::Records { high_watermark, log_start, records }
            }
            Err(ReplicaError::OffsetOutOfRange { start, end }) => {
                LeaderAnswer::OutOfRange { start, end }
            }
            Err(ReplicaError::NameAgain) => {
                self.changed.insert(key);
                return;
            }
            Err(error) => {
                tracing::debug!(partition = %slot.partition.topic_partition(), %error, "not served");
                self.let_rest_longer(key, now_ms);
                return;
            }
        };
        match slot.partition.append_from_leader(asked.leader_epoch, asked.end, answer) {
            Ok(Took::Records { bytes: 0, behind: false }) => {
                slot.backoff_ms = 0;
                // A deletion is done once the leader heard that it is done here.
                let start = slot.partition.fetch_position().map(|position| position.log_start);
                if start != Some(asked.log_start) {
                    self.changed.insert(key);
                }
            }
            Ok(Took::Records { bytes, behind }) => {
                slot.backoff_ms = 0;
                if slot.behind {
                    let mut throttle =
                        self.options.throttle.lock().unwrap_or_else(PoisonError::into_inner);
                    throttle.spend(bytes, now_ms);
                }
                slot.behind = behind;
                self.changed.insert(key);
            }
            Ok(Took::Cut) => {
                self.changed.insert(key);
            }
            // The log was changed by somebody else, or its damage is yet to be cut.
            Ok(Took::Stale) => self.let_rest_longer(key, now_ms),
            Err(FollowError::DiskFull(reason)) => {
                tracing::warn!(
                    partition = %slot.partition.topic_partition(), reason,
                    "not replicated until there is room on the disk"
                );
                self.let_rest(key, now_ms + REPLICA_DISK_FULL_RETRY_MS);
            }
            Err(FollowError::Refused(reason)) => {
                tracing::error!(
                    partition = %slot.partition.topic_partition(), leader = %self.options.leader,
                    reason, "fetching again"
                );
                self.let_rest_longer(key, now_ms);
            }
            // Told to the node by the partition itself.
            Err(FollowError::Stopped(_)) => self.remove(key.0, key.1),
        }
    }
}

impl Slot {
    fn position(&self, (topic_id, partition): Key) -> Option<FetchPartition> {
        let position = self.partition.fetch_position()?;
        (position.leader_epoch == self.leader_epoch).then_some(FetchPartition {
            topic_id,
            partition,
            leader_epoch: position.leader_epoch,
            end: position.end,
            last_epoch: position.last_epoch,
            flushed: position.flushed,
            log_start: position.log_start,
            high_watermark: position.high_watermark,
        })
    }
}

fn key_of(partition: &Partition) -> Key {
    (partition.topic_id(), partition.topic_partition().partition)
}

fn grown(backoff_ms: i64) -> i64 {
    backoff_ms.saturating_mul(2).clamp(REPLICA_BACKOFF_MS_MIN, REPLICA_BACKOFF_MS_MAX)
}
