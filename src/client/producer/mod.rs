//! Sending records: gathered into batches per partition, sent to the leaders, retried in order.
//!
//! `send` puts a record into the open batch of its partition and returns at once, or waits while
//! the buffer is full. One task per producer drains the batches. With idempotence (the default) a
//! broker stores each batch once and in order, however often it is sent (KIP-98).
//!
//! Without idempotence a retry may store a batch twice, and with more than one open request it may
//! come after its successor; that is the protocol's nature, not a choice made here.

mod accumulator;
mod answers;
mod batch;
mod outcome;
mod sender;

pub use outcome::{Acknowledged, Delivery};

use super::partitioner::Partitioner;
use super::{Cluster, Error};
use crate::env::spawn;
use crate::limits;
use crate::protocol::records::{self, Compression, Header};
use accumulator::Accumulator;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Who must have a record before it counts as acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// Nobody: the record is forgotten once it is sent.
    None,
    /// The leader.
    Leader,
    /// Every in-sync replica.
    #[default]
    All,
}

impl Acks {
    /// The number on the wire.
    #[must_use]
    pub fn to_i16(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// Settings of a producer.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// Who must have a record.
    pub acks: Acks,
    /// Whether each record is stored once. Needs `acks=all`, and at most five open requests.
    pub idempotence: bool,
    /// How the records of a batch are packed.
    pub compression: Compression,
    /// How long a batch that is not full waits for more.
    pub linger_ms: u64,
    /// When a batch is full, before it is packed.
    pub batch_bytes: usize,
    /// How much is held before `send` waits.
    pub buffer_bytes: usize,
    /// Requests that are open at once, per broker.
    pub in_flight_max: usize,
    /// How long a broker may take for one request.
    pub request_timeout_ms: u64,
    /// From `send` to the last attempt.
    pub delivery_timeout_ms: u64,
    /// How records find their partition.
    pub partitioner: Partitioner,
    /// Whether a broker may create a topic that does not exist.
    pub create_topics: bool,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotence: true,
            compression: Compression::None,
            linger_ms: 5,
            batch_bytes: 64 * 1024,
            buffer_bytes: limits::CLIENT_BUFFER_BYTES_DEFAULT,
            in_flight_max: limits::CLIENT_PARTITION_IN_FLIGHT_MAX,
            request_timeout_ms: 30_000,
            delivery_timeout_ms: 120_000,
            partitioner: Partitioner::Murmur2,
            create_topics: false,
        }
    }
}

/// A record to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition; by the partitioner when not given.
    pub partition: Option<i32>,
    /// Milliseconds since 1970; now when not given.
    pub timestamp_ms: Option<i64>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in their order; a name may come more than once.
    pub headers: Vec<Header>,
}

impl ProducerRecord {
    /// A record with a value alone.
    #[must_use]
    pub fn new(topic: Arc<str>, value: impl Into<Bytes>) -> Self {
        Self {
            topic,
            partition: None,
            timestamp_ms: None,
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    /// Bytes that the record takes in a batch before packing: a bound from above.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        records::record_bytes(self.key.as_deref(), self.value.as_deref(), &self.headers)
    }
}

/// What became of all records so far.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Records that were acknowledged (with `acks=0`: sent).
    pub acknowledged: u64,
    /// Records that were given up.
    pub failed: u64,
    /// Batches that were acknowledged.
    pub batches: u64,
    /// Bytes of those batches, as sent.
    pub batch_bytes: u64,
    /// Attempts beyond the first, of any batch.
    pub retries: u64,
    /// Why the first of the failed records was given up.
    pub first_error: Option<Error>,
}

/// Sends records. Methods take `&self`: share it in an `Arc`.
#[derive(Debug)]
pub struct Producer {
    accumulator: Arc<Accumulator>,
    cluster: Arc<Cluster>,
    memory: Arc<Semaphore>,
}

impl Producer {
    /// Starts a producer; with idempotence it gets its producer id first.
    ///
    /// # Errors
    /// [`Error::Settings`] for settings that contradict one another; those of asking a broker.
    pub async fn start(cluster: Arc<Cluster>, options: ProducerOptions) -> Result<Self, Error> {
        check(&options)?;
        let memory = Arc::new(Semaphore::new(options.buffer_bytes));
        let accumulator = Arc::new(Accumulator::new(options, memory.clone()));
        let mut sender = sender::Sender::new(cluster.clone(), accumulator.clone());
        sender.acquire_producer_id().await?;
        drop(spawn::spawn("client-producer", sender.run()));
        Ok(Self { accumulator, cluster, memory })
    }

    /// Takes a record. Waits while the buffer is full. The result says what becomes of it; it may
    /// be dropped.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], [`Error::UnknownPartition`], [`Error::RecordTooLarge`],
    /// [`Error::Closed`], and those of asking for metadata.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, Error> {
        let bytes = record.bytes_max();
        let bytes_max = self.accumulator.options.buffer_bytes.min(limits::CLIENT_RECORD_BYTES_MAX);
        if bytes > bytes_max {
            return Err(Error::RecordTooLarge { bytes, bytes_max });
        }
        if !self.accumulator.knows(&record.topic) {
            let topic = if self.accumulator.options.create_topics {
                self.cluster.require_or_create_topic(&record.topic).await?
            } else {
                self.cluster.require_topic(&record.topic).await?
            };
            self.accumulator.learn(&topic);
        }
        let permits = u32::try_from(bytes)
            .map_err(|_| Error::RecordTooLarge { bytes, bytes_max: u32::MAX as usize })?;
        let permit = match self.memory.try_acquire_many(permits) {
            Ok(permit) => permit,
            Err(_) => {
                let _starving = self.accumulator.starve();
                self.memory.acquire_many(permits).await.map_err(|_| Error::Closed)?
            }
        };
        let delivery = self.accumulator.append(record, bytes)?;
        // Given back when the batch is done.
        permit.forget();
        Ok(delivery)
    }

    /// Waits until all that was taken before is acknowledged or given up.
    pub async fn flush(&self) {
        self.accumulator.flush().await;
    }

    /// What became of all records so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.accumulator.totals()
    }

    /// Flushes, and ends the producer.
    pub async fn close(self) -> Totals {
        self.flush().await;
        self.totals()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.accumulator.close();
    }
}

fn check(options: &ProducerOptions) -> Result<(), Error> {
    let settings = |what: &str| Err(Error::Settings(what.to_owned()));
    if options.in_flight_max == 0 || options.batch_bytes == 0 {
        return settings("the number of open requests and the batch size must be above 0");
    }
    if options.buffer_bytes < options.batch_bytes || options.buffer_bytes > Semaphore::MAX_PERMITS {
        return settings("the buffer must hold at least one batch");
    }
    if options.in_flight_max >= limits::CLIENT_IN_FLIGHT_MAX {
        return settings("at most 63 requests may be open at once");
    }
    if !options.idempotence {
        return Ok(());
    }
    if options.acks != Acks::All {
        return settings("idempotence needs acks=all; switch it off to use acks 0 or 1");
    }
    if options.in_flight_max > limits::CLIENT_PARTITION_IN_FLIGHT_MAX {
        return settings("idempotence allows at most 5 open requests; switch it off to have more");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_contradict_one_another_are_refused() {
        assert!(check(&ProducerOptions::default()).is_ok());
        let bad = [
            ProducerOptions { acks: Acks::Leader, ..Default::default() },
            ProducerOptions { in_flight_max: 6, ..Default::default() },
            ProducerOptions { in_flight_max: 0, ..Default::default() },
            ProducerOptions { buffer_bytes: 1, ..Default::default() },
        ];
        for options in bad {
            assert!(matches!(check(&options), Err(Error::Settings(_))), "{options:?}");
        }
        let many = ProducerOptions { idempotence: false, in_flight_max: 20, ..Default::default() };
        assert!(check(&many).is_ok());
    }
}
