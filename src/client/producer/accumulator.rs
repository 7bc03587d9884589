//! The batches of a producer, per partition: open, waiting, under way.
//!
//! Invariants:
//! - The batches of a partition have ascending numbers; they wait in that order, and a batch that
//!   comes back to be sent again goes in front of all later ones.
//! - A batch that was stamped with a sequence keeps it until the broker has said that it is not
//!   stored under it, or has given up on it.
//! - A batch that is sent again goes alone: nothing of its partition is under way besides it.

use super::batch::{Batch, Order, Stamp};
use super::outcome::{Acknowledged, Delivery};
use super::{ProducerOptions, ProducerRecord, Totals};
use crate::client::cluster::TopicInfo;
use crate::client::{Error, partitioner::Partitioner};
use crate::env::clock::{Clock as _, SystemClock};
use crate::env::rng;
use crate::types::{ProducerEpoch, ProducerId, Sequence, TopicId};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Accumulator {
    pub(super) options: ProducerOptions,
    pub(super) state: Mutex<State>,
    /// Wakes the sender.
    pub(super) work: Notify,
    /// Wakes those that flush.
    done: Notify,
    memory: Arc<Semaphore>,
    starving: AtomicUsize,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) topics: HashMap<Arc<str>, TopicQueue>,
    /// Numbers of the batches that are neither acknowledged nor given up, and in how many parts
    /// they are.
    unresolved: BTreeMap<u64, usize>,
    batch_next: u64,
    flushing: usize,
    pub(super) closed: bool,
    pub(super) totals: Totals,
    /// What partitions that have no producer id take next.
    pub(super) identity: Option<Identity>,
}

/// A producer id and its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

#[derive(Debug)]
pub(super) struct TopicQueue {
    pub(super) id: TopicId,
    pub(super) partitions: Vec<PartitionQueue>,
    /// Where records without a key go, until so many bytes went there as fill a batch.
    sticky: usize,
    sticky_bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct PartitionQueue {
    pub(super) waiting: VecDeque<Batch>,
    /// The batches under way.
    pub(super) under_way: BTreeSet<Order>,
    /// Whether the one under way was sent before, so that nothing may follow it yet.
    pub(super) alone: bool,
    pub(super) identity: Option<Identity>,
    pub(super) sequence_next: Sequence,
    /// Nothing is sent before this moment, after an error.
    pub(super) paused_until: Option<Instant>,
}

/// While it lives, batches are sent without lingering, because somebody waits for memory.
pub(super) struct Starving<'a>(&'a Accumulator);

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.0.starving.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Accumulator {
    pub(super) fn new(options: ProducerOptions, memory: Arc<Semaphore>) -> Self {
        Self {
            options,
            state: Mutex::default(),
            work: Notify::new(),
            done: Notify::new(),
            memory,
            starving: AtomicUsize::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("invariant: nothing panics under this lock")
    }

    pub(super) fn knows(&self, topic: &str) -> bool {
        self.lock().topics.contains_key(topic)
    }

    /// Takes a topic's id and number of partitions in.
    pub(super) fn learn(&self, topic: &TopicInfo) {
        let mut state = self.lock();
        let queue = state.topics.entry(Arc::from(topic.name.as_str())).or_insert_with(|| {
            let sticky = rng::positive_i32() as usize % topic.partitions.len().max(1);
            TopicQueue { id: topic.id, partitions: Vec::new(), sticky, sticky_bytes: 0 }
        });
        queue.id = topic.id;
        // Partitions are only ever added.
        if topic.partitions.len() > queue.partitions.len() {
            queue.partitions.resize_with(topic.partitions.len(), PartitionQueue::default);
        }
    }

    pub(super) fn starve(&self) -> Starving<'_> {
        self.starving.fetch_add(1, Ordering::Relaxed);
        self.work.notify_one();
        Starving(self)
    }

    pub(super) fn append(&self, record: ProducerRecord, memory: usize) -> Result<Delivery, Error> {
        let timestamp_ms = record.timestamp_ms.unwrap_or_else(|| SystemClock.now().0);
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.closed {
            return Err(Error::Closed);
        }
        let Some(topic) = state.topics.get_mut(&record.topic) else {
            return Err(Error::Closed);
        };
        let how = self.options.partitioner;
        let partition = topic.choose(&record, how, memory, self.options.batch_bytes)?;
        let queue = &mut topic.partitions[partition];
        let fits = |batch: &Batch| batch.is_open() && batch.fits(memory, self.options.batch_bytes);
        let begins = !queue.waiting.back().is_some_and(fits);
        if begins {
            if let Some(full) = queue.waiting.back_mut() {
                full.close();
            }
            let number = state.batch_next;
            state.batch_next += 1;
            state.unresolved.insert(number, 1);
            queue.waiting.push_back(Batch::open(number, self.options.compression));
        }
        let batch = queue.waiting.back_mut().expect("invariant: one was pushed if there was none");
        let index = batch.append(&record, timestamp_ms, memory);
        let full = batch.bytes() >= self.options.batch_bytes;
        let delivery = Delivery { outcome: batch.outcome.clone(), index };
        if full {
            batch.close();
        }
        drop(guard);
        if begins || full {
            self.work.notify_one();
        }
        Ok(delivery)
    }

    /// Whether batches go without lingering.
    pub(super) fn hurries(&self, state: &State) -> bool {
        state.flushing > 0 || state.closed || self.starving.load(Ordering::Relaxed) > 0
    }

    pub(super) async fn flush(&self) {
        let last = {
            let mut state = self.lock();
            state.flushing += 1;
            state.batch_next
        };
        self.work.notify_one();
        loop {
            let woken = self.done.notified();
            {
                let mut state = self.lock();
                if state.unresolved.keys().next().is_none_or(|oldest| *oldest >= last) {
                    state.flushing -= 1;
                    return;
                }
            }
            woken.await;
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }

    pub(super) fn totals(&self) -> Totals {
        self.lock().totals.clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().unresolved.is_empty()
    }

    /// Ends a batch: tells its deliveries, counts it, gives its memory back.
    pub(super) fn resolve(
        &self,
        state: &mut State,
        batch: Batch,
        result: Result<Acknowledged, Error>,
    ) {
        let count = batch.count();
        match &result {
            Ok(_) => {
                state.totals.acknowledged += u64::from(count);
                state.totals.batches += 1;
                state.totals.batch_bytes += batch.bytes() as u64;
            }
            Err(error) => {
                state.totals.failed += u64::from(count);
                state.totals.first_error.get_or_insert_with(|| error.clone());
            }
        }
        batch.outcome.resolve(batch.first_index, count, result);
        if let Some(parts) = state.unresolved.get_mut(&batch.number) {
            *parts -= 1;
            if *parts == 0 {
                state.unresolved.remove(&batch.number);
            }
        }
        self.memory.add_permits(batch.memory);
        self.done.notify_waiters();
    }
}

impl State {
    /// Registers that a batch became two.
    pub(super) fn split(&mut self, number: u64) {
        if let Some(parts) = self.unresolved.get_mut(&number) {
            *parts += 1;
        }
    }
}

impl TopicQueue {
    fn choose(
        &mut self,
        record: &ProducerRecord,
        how: Partitioner,
        bytes: usize,
        batch_bytes: usize,
    ) -> Result<usize, Error> {
        let count = self.partitions.len();
        if let Some(partition) = record.partition {
            return usize::try_from(partition).ok().filter(|at| *at < count).ok_or_else(|| {
                Error::UnknownPartition { topic: record.topic.to_string(), partition, count }
            });
        }
        if let Some(partition) = how.by_key(record.key.as_deref(), count) {
            return Ok(partition.0 as usize);
        }
        let chosen = self.sticky % count;
        if how == Partitioner::RoundRobin {
            self.sticky = (chosen + 1) % count;
            return Ok(chosen);
        }
        self.sticky_bytes += bytes;
        if self.sticky_bytes >= batch_bytes && count > 1 {
            let step = 1 + rng::positive_i32() as usize % (count - 1);
            self.sticky = (chosen + step) % count;
            self.sticky_bytes = 0;
        }
        Ok(chosen)
    }
}

impl PartitionQueue {
    /// Puts a batch back that is to be sent again, in its place.
    pub(super) fn put_back(&mut self, batch: Batch) {
        let place = self.waiting.iter().position(|other| other.order() > batch.order());
        self.waiting.insert(place.unwrap_or(self.waiting.len()), batch);
    }

    /// The next sequence for a batch of so many records.
    pub(super) fn stamp(&mut self, identity: Identity, count: u32) -> Stamp {
        if self.identity != Some(identity) {
            self.identity = Some(identity);
            self.sequence_next = Sequence(0);
        }
        let sequence = self.sequence_next;
        // A batch holds far fewer than 2^31 records.
        self.sequence_next = sequence.plus(count as i32);
        Stamp { identity, sequence }
    }
}
