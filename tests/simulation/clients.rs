//! Producers that repeat until they are told, and readers that go on from where they were.

use super::node::dir_of;
use super::{Event, Id, Sim, TOPIC, Waiting};
use bytes::Bytes;
use purlin::partition::{Acks, Isolation, ReadRequest};
use purlin::protocol::records::{BatchBuilder, BatchIter, Compression, decode_records};
use purlin::types::invariant as catalogue;
use purlin::types::{
    LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TimestampMs,
};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

const IN_FLIGHT_MAX: u64 = 3;
const ANSWER_MS: i64 = 500;
const RETRY_MS: i64 = 25;
/// Hours before the clocks of all nodes: a broker refuses what is an hour ahead of its own.
const WRITTEN_MS: i64 = 1_699_900_000_000;
/// Batches that are kept for the end, to see that every partition takes writes again.
const LAST_BATCHES: u64 = 1;

#[derive(Debug, Clone)]
struct Batch {
    bytes: Bytes,
    ids: Vec<Id>,
    sent_at_ms: Option<i64>,
    attempt: u64,
}

/// What one producer sends to one partition.
#[derive(Debug, Default)]
struct Lane {
    next_number: u64,
    next_sequence: i32,
    window: BTreeMap<u64, Batch>,
    /// Everything in the window is to be sent again, in order.
    again: bool,
    /// Where the last batches went, and to which process there. At another all begin anew.
    connection: Option<(NodeId, u32)>,
    attempts: u64,
    arrives_ms: i64,
    /// Whether a batch was acknowledged, so that the producer is remembered.
    known: bool,
}

/// One idempotent producer.
pub struct Producer {
    id: u32,
    lanes: Vec<Lane>,
    records: u64,
}

impl Producer {
    pub fn new(id: u32, partitions: i32) -> Self {
        Self { id, lanes: (0..partitions).map(|_| Lane::default()).collect(), records: 0 }
    }

    pub fn is_done(&self, batches: u64) -> bool {
        self.lanes.iter().all(|lane| lane.next_number >= batches && lane.window.is_empty())
    }

    fn build(&mut self, lane: usize, count: i32) {
        let first = self.records;
        let mut builder = BatchBuilder::with_capacity(Compression::None, 64);
        let mut ids = Vec::new();
        for number in (first..).take(usize::try_from(count).expect("few")) {
            let mut value = [0u8; 12];
            value[..4].copy_from_slice(&self.id.to_be_bytes());
            value[4..].copy_from_slice(&number.to_be_bytes());
            builder.append(TimestampMs(WRITTEN_MS), None, Some(&value), &[]);
            ids.push((self.id, number));
        }
        self.records += ids.len() as u64;
        let lane = &mut self.lanes[lane];
        let id = ProducerId(i64::from(self.id) + 1);
        builder.set_producer(id, ProducerEpoch(0), Sequence(lane.next_sequence));
        lane.next_sequence += count;
        let batch = Batch { bytes: builder.build(), ids, sent_at_ms: None, attempt: 0 };
        lane.window.insert(lane.next_number, batch);
        lane.next_number += 1;
    }
}

/// One consumer of one partition.
pub struct Reader {
    partition: PartitionIndex,
    next: Offset,
}

impl Reader {
    pub fn new(partition: i32) -> Self {
        Self { partition: PartitionIndex(partition), next: Offset::ZERO }
    }
}

/// The records of whole batches: offset, epoch and who sent them.
pub fn decode(bytes: &Bytes) -> Vec<(i64, LeaderEpoch, Id)> {
    let mut found = Vec::new();
    for batch in BatchIter::new(bytes) {
        let (header, raw) = batch.expect("whole batches");
        let records = decode_records(&bytes.slice_ref(raw), 1 << 20).expect("our own records");
        for record in records {
            let record = record.expect("our own records");
            let value = record.value.expect("each has a value");
            let producer = u32::from_be_bytes(value[..4].try_into().expect("four bytes"));
            let number = u64::from_be_bytes(value[4..12].try_into().expect("eight bytes"));
            let offset = header.base_offset.0 + i64::from(record.offset_delta);
            found.push((offset, header.leader_epoch, (producer, number)));
        }
    }
    found
}

impl Sim {
    /// Who leads, as some node believes.
    fn leader_seen(&mut self, partition: i32) -> Option<NodeId> {
        let asked = NodeId(
            1 + i32::try_from(self.below(u64::try_from(self.plan.nodes).expect("few")))
                .expect("few"),
        );
        let node = self.node(asked);
        if !node.up {
            return None;
        }
        let state = &self.group.log[node.applied].state;
        state.topic_by_id(TOPIC)?.partition(PartitionIndex(partition))?.leader
    }

    pub fn batches_wanted(&self) -> u64 {
        let held_back = if self.calm { 0 } else { LAST_BATCHES };
        self.plan.batches_per_producer - held_back
    }

    pub fn producer_tick(&mut self, at: usize) {
        let wanted = self.batches_wanted();
        for lane in 0..self.producers[at].lanes.len() {
            let count = 1 + i32::try_from(self.below(3)).expect("small");
            let now_ms = self.now_ms;
            let producer = &mut self.producers[at];
            let entry = &mut producer.lanes[lane];
            let late = entry
                .window
                .values()
                .any(|batch| batch.sent_at_ms.is_some_and(|sent| now_ms - sent > ANSWER_MS));
            let resend = entry.again || (late && !entry.window.is_empty());
            // Never further ahead of the oldest open batch than the broker remembers.
            let oldest = entry.window.keys().next().copied().unwrap_or(entry.next_number);
            // Of a producer that it does not know a broker takes any sequence, as Kafka's does: so
            // nothing goes beside the first batch.
            let most = if entry.known { IN_FLIGHT_MAX } else { 1 };
            let room = entry.next_number - oldest < most;
            if !resend && room && entry.next_number < wanted {
                producer.build(lane, count);
            }
            self.transmit(at, lane, resend);
        }
        if !self.producers[at].is_done(self.plan.batches_per_producer) {
            let pause = if self.calm {
                RETRY_MS
            } else {
                5 + self.below(2 * 1_000 / self.plan.batches_per_producer)
            };
            self.after(pause, Event::ProducerTick { producer: at });
        }
    }

    /// Sends what is new, or everything again, in order.
    fn transmit(&mut self, at: usize, lane: usize, again: bool) {
        let partition = i32::try_from(lane).expect("few");
        let Some(node) = self.leader_seen(partition) else { return };
        let now_ms = self.now_ms;
        let connection = (node, self.node(node).boot);
        let entry = &mut self.producers[at].lanes[lane];
        let again = again || entry.connection.is_some_and(|before| before != connection);
        entry.connection = Some(connection);
        entry.again = false;
        entry.attempts += u64::from(again);
        let attempt = entry.attempts;
        let mut due = Vec::new();
        for (number, batch) in &mut entry.window {
            if again || batch.sent_at_ms.is_none() {
                batch.sent_at_ms = Some(now_ms);
                batch.attempt = attempt;
                due.push(*number);
            }
        }
        // A connection keeps the order.
        let arrives = self.now_ms + 1 + self.below(self.plan.delay_ms_max);
        let entry = &mut self.producers[at].lanes[lane];
        let arrives = arrives.max(entry.arrives_ms);
        entry.arrives_ms = arrives;
        for number in due {
            if !self.calm && self.rng.chance(self.plan.loss_percent) {
                // A connection that breaks loses all that comes behind, too.
                self.producers[at].lanes[lane].again = true;
                return;
            }
            self.at(arrives, Event::Produce { producer: at, node, partition, number, attempt });
        }
    }

    /// A batch reaches a node.
    pub fn produce(&mut self, at: usize, node: NodeId, partition: i32, number: u64, attempt: u64) {
        let lane = usize::try_from(partition).expect("from zero");
        let Some(batch) = self.producers[at].lanes[lane].window.get(&number) else { return };
        let bytes = batch.bytes.clone();
        let index = PartitionIndex(partition);
        let taken = if self.node(node).up { self.node(node).partition(index) } else { None };
        let runtime = Rc::clone(&self.runtime);
        let _inside = runtime.enter();
        let result = taken.map(|one| one.append(bytes, Acks::All).map(|appended| (one, appended)));
        match result {
            Some(Ok((one, appended))) => {
                let base_offset = appended.base_offset;
                // The producer gives up by itself.
                let deadline = Instant::now() + Duration::from_secs(3_600);
                let committed = Box::pin(async move { one.committed(&appended, deadline).await });
                let waiting = Waiting {
                    producer: at,
                    partition: index,
                    number,
                    attempt,
                    base_offset,
                    committed,
                };
                self.node_mut(node).waiting.push(waiting);
            }
            refused => {
                if let Some(Err(error)) = refused {
                    self.tell(|| format!("  {error}"));
                }
                self.answer(at, partition, number, attempt, Err(()));
            }
        }
        self.settle(node);
    }

    fn answer(
        &mut self,
        producer: usize,
        partition: i32,
        number: u64,
        attempt: u64,
        answer: Result<i64, ()>,
    ) {
        // A connection that breaks leaves the producer not knowing.
        let breaks = !self.calm && self.rng.chance(self.plan.loss_percent);
        let answer = if breaks { Err(()) } else { answer };
        let delay = 1 + self.below(self.plan.delay_ms_max);
        self.after(delay, Event::Produced { producer, partition, number, attempt, answer });
    }

    /// Tells producers whose wait on this node is over.
    pub fn answer_producers(&mut self, id: NodeId) {
        if self.node(id).waiting.is_empty() {
            return;
        }
        let runtime = Rc::clone(&self.runtime);
        let _inside = runtime.enter();
        let mut context = Context::from_waker(Waker::noop());
        let waiting = std::mem::take(&mut self.node_mut(id).waiting);
        for mut wait in waiting {
            match wait.committed.as_mut().poll(&mut context) {
                Poll::Pending => self.node_mut(id).waiting.push(wait),
                Poll::Ready(outcome) => {
                    let answer = outcome.map(|()| wait.base_offset.0).map_err(|_| ());
                    if answer.is_ok() {
                        self.acknowledge(&wait);
                    }
                    self.answer(wait.producer, wait.partition.0, wait.number, wait.attempt, answer);
                }
            }
        }
    }

    /// From here on the records are promised, whether the answer arrives or not.
    fn acknowledge(&mut self, wait: &Waiting) {
        let lane = usize::try_from(wait.partition.0).expect("from zero");
        let Some(batch) = self.producers[wait.producer].lanes[lane].window.get(&wait.number) else {
            return;
        };
        for (offset, id) in (wait.base_offset.0..).zip(batch.ids.clone()) {
            self.show(wait.partition.0, offset, id);
            self.acknowledged.insert(id, (wait.partition.0, offset));
        }
    }

    fn show(&mut self, partition: i32, offset: i64, id: Id) {
        let before = *self.shown.entry((partition, offset)).or_insert(id);
        let check = catalogue::consistent_read(Offset(offset), &before, Some(&id));
        self.broken(check);
    }

    pub fn produced(
        &mut self,
        at: usize,
        partition: i32,
        number: u64,
        attempt: u64,
        answer: Result<i64, ()>,
    ) {
        let lane = &mut self.producers[at].lanes[usize::try_from(partition).expect("from zero")];
        match answer {
            Ok(_) => {
                lane.known = true;
                lane.window.remove(&number);
            }
            Err(()) => {
                let current =
                    lane.window.get(&number).is_some_and(|batch| batch.attempt == attempt);
                lane.again |= current;
            }
        }
    }

    pub fn reader_tick(&mut self, at: usize) {
        let pause = 10 + self.below(60);
        self.after(pause, Event::ReaderTick { reader: at });
        let partition = self.readers[at].partition;
        let Some(leader) = self.leader_seen(partition.0) else { return };
        let node = self.node(leader);
        if !node.up || node.paused_until_ms > self.now_ms {
            return;
        }
        let Some(partition) = node.partition(partition) else { return };
        let answer = partition.read(ReadRequest {
            offset: self.readers[at].next,
            bytes_max: 400,
            at_least_one: true,
            isolation: Isolation::ReadUncommitted,
            current_leader_epoch: LeaderEpoch::NONE,
        });
        let Ok(answer) = answer else { return };
        let Ok(bytes) = self.runtime.block_on(partition.load(answer.records)) else { return };
        let index = self.readers[at].partition.0;
        for (offset, _, id) in decode(&bytes) {
            self.show(index, offset, id);
            self.readers[at].next = self.readers[at].next.max(Offset(offset + 1));
        }
    }

    /// Everything that lies in the segment files of one replica, in order.
    pub fn stored(&self, id: NodeId, index: PartitionIndex) -> Bytes {
        use purlin::env::disk::{Disk as _, OpenMode};
        let disk = &self.node(id).disk;
        let mut stored = Vec::new();
        for entry in disk.list(&dir_of(index)).unwrap_or_default() {
            if !entry.name.ends_with(".log") {
                continue;
            }
            let file = disk.open(&dir_of(index).join(&entry.name), OpenMode::Read).expect("listed");
            let mut bytes = vec![0; usize::try_from(file.len().expect("open")).expect("small")];
            file.read_at(&mut bytes, 0).expect("readable");
            stored.extend(bytes);
        }
        Bytes::from(stored)
    }
}
