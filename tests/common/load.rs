//! Load by librdkafka at a steady pace, with a history of what came of it.

use super::direct::{Direct, PRODUCE_VERSION, produce};
use super::history::{History, Id, Outcome, Reading, Sent, Watermark};
use purlin::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use purlin::protocol::{ErrorCode, Str};
use purlin::types::{LeaderEpoch, NodeId, PartitionIndex};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long reading everything back may stand still.
const READ_STALL_LIMIT: Duration = Duration::from_secs(60);

/// How long a watcher waits for an answer of one node.
const WATCH_PATIENCE: Duration = Duration::from_millis(500);

/// How long a writer at one node waits for an answer.
const WRITE_PATIENCE: Duration = Duration::from_millis(2000);

/// What to send.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The topic; it has to exist.
    pub topic: String,
    /// Its partitions; record `n` goes to partition `n` modulo this.
    pub partitions: i32,
    /// Records a second.
    pub rate: u64,
    /// Bytes of a value, at least 60.
    pub value_bytes: usize,
    /// The producer's number.
    pub producer: u32,
    /// Settings of librdkafka beside those of [`producer_config`].
    pub settings: Vec<(String, String)>,
}

impl Plan {
    /// 1,000 records of 200 bytes a second.
    pub fn new(topic: &str, partitions: i32) -> Self {
        let topic = topic.to_owned();
        Self { topic, partitions, rate: 1000, value_bytes: 200, producer: 0, settings: Vec::new() }
    }

    /// For brokers that fall silent without closing their connections: librdkafka waits for up to a
    /// minute for what is under way there, unless it is told to be less patient.
    pub fn impatient(mut self) -> Self {
        for (key, value) in [("request.timeout.ms", "2000"), ("socket.timeout.ms", "3000")] {
            self.settings.push((key.to_owned(), value.to_owned()));
        }
        self
    }
}

/// The start of a run: what all times of its history count from.
#[derive(Debug, Clone, Copy)]
pub struct Start(Instant);

impl Start {
    /// Now.
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// Microseconds since then.
    pub fn us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).expect("not for that long")
    }
}

/// A producer that sends by plan until it is told to stop.
pub struct Load {
    shared: Arc<Shared>,
    plan: Plan,
    start: Start,
    sender: Option<JoinHandle<()>>,
}

struct Shared {
    start: Start,
    stop: AtomicBool,
    /// The test has failed: nobody waits for what is under way.
    abandon: AtomicBool,
    acknowledged: AtomicU64,
    sent: Mutex<Vec<Sent>>,
    /// The first things that librdkafka gave up on.
    errors: Mutex<Vec<String>>,
}

struct Deliveries(Arc<Shared>);

impl ClientContext for Deliveries {
    // Refused connections are what these tests make, not news.
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Self::DeliveryOpaque) {
        let now = self.0.start.us();
        let mut sent = whole(&self.0.sent);
        let record = &mut sent[*place];
        record.answered_us = now;
        match result {
            Ok(message) => {
                record.outcome = Outcome::Acknowledged(message.offset());
                self.0.acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            // Even "timed out" leaves it open whether the record was written.
            Err((error, _)) => {
                let mut errors = whole(&self.0.errors);
                if errors.len() < 20 {
                    errors.push(format!("{}: {error}", record.id));
                }
            }
        }
    }
}

fn whole<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// librdkafka's settings: idempotent, `acks=all`, otherwise its defaults, but for reconnecting: a
/// client that waits for ten seconds before it tries a broker again measures itself.
pub fn producer_config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "120000")
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("log_level", "0");
    config
}

impl Load {
    /// Starts to send.
    pub fn start(bootstrap: &str, plan: Plan, start: Start) -> Self {
        let shared = Arc::new(Shared {
            start,
            stop: AtomicBool::new(false),
            abandon: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            sent: Mutex::default(),
            errors: Mutex::default(),
        });
        let mut config = producer_config(bootstrap);
        for (key, value) in &plan.settings {
            config.set(key, value);
        }
        let producer: ThreadedProducer<Deliveries> =
            config.create_with_context(Deliveries(Arc::clone(&shared))).expect("a producer");
        let sender = {
            let (shared, plan) = (Arc::clone(&shared), plan.clone());
            std::thread::spawn(move || send_by_plan(&producer, &shared, &plan))
        };
        Self { shared, plan, start, sender: Some(sender) }
    }

    /// How many records are acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until `more` further records are acknowledged.
    ///
    /// # Panics
    /// When it takes longer than `limit`.
    pub fn wait_for_more(&self, more: u64, limit: Duration) {
        let (begin, wanted) = (Instant::now(), self.acknowledged() + more);
        while self.acknowledged() < wanted {
            assert!(
                begin.elapsed() < limit,
                "{} of {wanted} records acknowledged after {limit:?}; errors: {:?}",
                self.acknowledged(),
                whole(&self.shared.errors)
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The records so far that were to be sent at `from_us` or later.
    pub fn since(&self, from_us: u64) -> Vec<Sent> {
        let sent = whole(&self.shared.sent);
        let first = sent.partition_point(|record| record.intended_us < from_us);
        sent[first..].to_vec()
    }

    /// Waits until every partition has acknowledged a record that was to be sent after `from_us`.
    ///
    /// # Panics
    /// When it takes longer than `limit`.
    pub fn wait_for_each(&self, from_us: u64, limit: Duration) {
        let begin = Instant::now();
        let partitions = usize::try_from(self.plan.partitions).expect("a count");
        loop {
            let acknowledged = self.since(from_us).into_iter().filter(Sent::is_acknowledged);
            let served: BTreeSet<i32> = acknowledged.map(|sent| sent.partition).collect();
            if served.len() == partitions {
                return;
            }
            assert!(
                begin.elapsed() < limit,
                "only {served:?} of {partitions} partitions acknowledge after {limit:?}; errors: {:?}",
                self.errors()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What librdkafka gave up on, the first twenty.
    pub fn errors(&self) -> Vec<String> {
        whole(&self.shared.errors).clone()
    }

    /// Stops sending, waits for what is under way, as long as `flush` allows, and gives all records.
    pub fn stop(mut self) -> Vec<Sent> {
        self.halt();
        let end = self.start.us();
        let mut sent = std::mem::take(&mut *whole(&self.shared.sent));
        for record in sent.iter_mut().filter(|record| record.outcome == Outcome::Unknown) {
            record.answered_us = record.answered_us.max(end);
        }
        sent
    }

    fn halt(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let failed = self.sender.take().is_some_and(|sender| sender.join().is_err());
        assert!(!failed || std::thread::panicking(), "the sending thread failed");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.abandon.store(std::thread::panicking(), Ordering::SeqCst);
        self.halt();
    }
}

/// The value of a record: its id, then the same letters over and over.
pub fn value_of(id: Id, bytes: usize) -> String {
    let mut value = format!("load {} {} ", id.producer, id.number);
    let filler = "abcdefghijklmnopqrstuvwxyz".chars().cycle();
    value.extend(filler.take(bytes.saturating_sub(value.len())));
    value
}

/// The id in a value; none for a value that no load has sent.
pub fn id_in(value: &[u8]) -> Option<Id> {
    let mut words = std::str::from_utf8(value).ok()?.strip_prefix("load ")?.split(' ');
    let id = Id { producer: words.next()?.parse().ok()?, number: words.next()?.parse().ok()? };
    (value_of(id, value.len()).as_bytes() == value).then_some(id)
}

fn send_by_plan(producer: &ThreadedProducer<Deliveries>, shared: &Shared, plan: &Plan) {
    let begin_us = shared.start.us();
    let partitions = u64::try_from(plan.partitions).expect("a count");
    let mut number = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        let intended_us = begin_us + number * 1_000_000 / plan.rate;
        let early_us = intended_us.saturating_sub(shared.start.us());
        if early_us > 0 {
            // Short enough to see the end soon.
            std::thread::sleep(Duration::from_micros(early_us.min(20_000)));
            continue;
        }
        let id = Id { producer: plan.producer, number };
        let partition = i32::try_from(number % partitions).expect("small");
        let place = {
            let (outcome, answered_us) = (Outcome::Unknown, u64::MAX);
            let mut sent = whole(&shared.sent);
            sent.push(Sent { id, partition, intended_us, answered_us, outcome });
            sent.len() - 1
        };
        hand_over(producer, plan, partition, id, place, shared);
        number += 1;
    }
    if shared.abandon.load(Ordering::SeqCst) {
        return;
    }
    // What is open after that is "unknown" in the history.
    let _ = producer.flush(Duration::from_secs(60));
    if let Some((error, text)) = producer.client().fatal_error() {
        panic!("librdkafka's producer gave up for good: {error:?}: {text}");
    }
    let mut sent = whole(&shared.sent);
    for record in sent.iter_mut().filter(|record| record.answered_us == u64::MAX) {
        record.answered_us = shared.start.us();
    }
}

fn hand_over(
    producer: &ThreadedProducer<Deliveries>,
    plan: &Plan,
    partition: i32,
    id: Id,
    place: usize,
    shared: &Shared,
) {
    let value = value_of(id, plan.value_bytes);
    let mut record = BaseRecord::<(), str, _>::with_opaque_to(&plan.topic, Box::new(place))
        .partition(partition)
        .payload(value.as_str());
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                if !shared.stop.load(Ordering::SeqCst) =>
            {
                record = back;
                std::thread::sleep(Duration::from_millis(2));
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                whole(&shared.sent)[place].outcome = Outcome::Failed;
                return;
            }
            Err((error, _)) => panic!("librdkafka refuses record {id}: {error}"),
        }
    }
}

struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Quiet {}

fn consumer(bootstrap: &str, topic: &str, partitions: i32) -> BaseConsumer<Quiet> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("fetch.wait.max.ms", "100")
        .set("log_level", "0");
    let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet).expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Offset(0)).expect("a partition");
    }
    consumer.assign(&list).expect("assigned");
    consumer
}

fn take(reading: &mut Reading, message: &rdkafka::message::BorrowedMessage<'_>) {
    let value = message.payload().expect("a value");
    // Bytes that no load has sent count as a record of a producer that does not exist.
    let id = id_in(value).unwrap_or(Id { producer: u32::MAX, number: 0 });
    reading.seen.entry(message.partition()).or_default().push((message.offset(), id));
}

/// Everything in a topic, from offset 0 to the high watermarks of now.
///
/// # Panics
/// When it stands still for long.
pub fn read_all(bootstrap: &str, topic: &str, partitions: i32) -> Reading {
    let consumer = consumer(bootstrap, topic, partitions);
    let mut reading = Reading { reader: "the end".to_owned(), ..Reading::default() };
    let mut open = std::collections::BTreeMap::new();
    for partition in 0..partitions {
        let high = high_watermark(&consumer, topic, partition);
        if high > 0 {
            open.insert(partition, high);
        }
    }
    let mut last = Instant::now();
    while !open.is_empty() {
        assert!(last.elapsed() < READ_STALL_LIMIT, "reading stands still; still open: {open:?}");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else { continue };
        last = Instant::now();
        take(&mut reading, &message);
        if open.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
            open.remove(&message.partition());
        }
    }
    // Beyond the end that was known at first: those are no fault, but not needed either.
    reading
}

fn high_watermark(consumer: &BaseConsumer<Quiet>, topic: &str, partition: i32) -> i64 {
    let begin = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)) {
            Ok((low, high)) => {
                assert_eq!(low, 0, "nothing was deleted");
                return high;
            }
            Err(error) => {
                assert!(begin.elapsed() < READ_STALL_LIMIT, "{topic}-{partition}: {error}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Something that goes on beside the load until it is told to stop.
pub struct Watch<T> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Watch<T> {
    /// Runs `work` in a thread; it has to end soon after the flag is set.
    pub fn start(work: impl FnOnce(&AtomicBool) -> T + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Self { stop, thread: Some(std::thread::spawn(move || work(&seen))) }
    }

    /// Stops it and gives what it found.
    pub fn stop(mut self) -> T {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().expect("stopped once").join().expect("the watch ends well")
    }
}

impl<T> Drop for Watch<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A failing test is told already.
            let _ = thread.join();
        }
    }
}

/// Reads a topic along, from its beginning.
pub fn follow(bootstrap: &str, topic: &str, partitions: i32) -> Watch<Reading> {
    let consumer = consumer(bootstrap, topic, partitions);
    Watch::start(move |stop| {
        let mut reading = Reading { reader: "the follower".to_owned(), ..Reading::default() };
        while !stop.load(Ordering::SeqCst) {
            // Errors tell of brokers that are down; the records come later.
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                take(&mut reading, &message);
            }
        }
        reading
    })
}

/// Asks every node again and again for the high watermarks of the partitions that it leads.
/// `nodes` are ids and addresses.
pub fn watch_watermarks(
    nodes: Vec<(i32, String)>,
    topic: &str,
    partitions: i32,
    start: Start,
) -> Watch<Vec<Watermark>> {
    let request = latest_offsets(topic, partitions);
    Watch::start(move |stop| {
        std::thread::scope(|scope| {
            let asking = nodes.iter().map(|(node, address)| {
                let request = &request;
                scope.spawn(move || ask_along(*node, address, request, start, stop))
            });
            let asking: Vec<_> = asking.collect();
            let answers = asking.into_iter().flat_map(|thread| thread.join().expect("answers"));
            answers.collect()
        })
    })
}

fn ask_along(
    node: i32,
    address: &str,
    request: &ListOffsetsRequest,
    start: Start,
    stop: &AtomicBool,
) -> Vec<Watermark> {
    let mut found = Vec::new();
    let mut connection = None;
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(25));
        if connection.is_none() {
            connection = Direct::connect(address, WATCH_PATIENCE).ok();
        }
        let Some(direct) = connection.as_mut() else { continue };
        let asked_us = start.us();
        let Ok(answer) = direct.call(request, 7) else {
            connection = None;
            continue;
        };
        let answered_us = start.us();
        for row in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            if row.error_code == ErrorCode::None && row.offset.0 >= 0 {
                let (partition, offset) = (row.partition_index.0, row.offset.0);
                found.push(Watermark { node, partition, asked_us, answered_us, offset });
            }
        }
    }
    found
}

/// A writer at each node that tries one partition after the other there, whoever leads it, with
/// `acks=all` and without a producer id. Gives what was sent; all but acknowledgements count as
/// unknown. Node `n` writes as producer `first + n`.
pub fn write_everywhere(
    nodes: Vec<(i32, String)>,
    topic: &str,
    partitions: i32,
    start: Start,
    first: u32,
) -> Watch<Vec<Sent>> {
    let topic = topic.to_owned();
    Watch::start(move |stop| {
        std::thread::scope(|scope| {
            let writing = nodes.iter().map(|(node, address)| {
                let producer = first + node.unsigned_abs();
                let topic = &topic;
                scope.spawn(move || write_along(address, topic, partitions, producer, start, stop))
            });
            let writing: Vec<_> = writing.collect();
            writing.into_iter().flat_map(|thread| thread.join().expect("writes")).collect()
        })
    })
}

fn write_along(
    address: &str,
    topic: &str,
    partitions: i32,
    producer: u32,
    start: Start,
    stop: &AtomicBool,
) -> Vec<Sent> {
    let mut all = Vec::new();
    let mut connection = None;
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(20));
        if connection.is_none() {
            connection = Direct::connect(address, WRITE_PATIENCE).ok();
        }
        let Some(direct) = connection.as_mut() else { continue };
        let id = Id { producer, number: all.len() as u64 };
        let partition = i32::try_from(id.number % u64::from(partitions.unsigned_abs()));
        let partition = partition.expect("small");
        let intended_us = start.us();
        let request = produce(topic, partition, &value_of(id, 100), 1000);
        let answer =
            direct.send(&request, PRODUCE_VERSION).and_then(|()| direct.receive_produced());
        let outcome = match answer {
            Ok(Ok(offset)) => Outcome::Acknowledged(offset),
            Ok(Err(_)) => Outcome::Unknown,
            Err(_) => {
                connection = None;
                Outcome::Unknown
            }
        };
        all.push(Sent { id, partition, intended_us, answered_us: start.us(), outcome });
    }
    all
}

fn latest_offsets(topic: &str, partitions: i32) -> ListOffsetsRequest {
    let partition = |index| ListOffsetsPartition {
        partition_index: PartitionIndex(index),
        current_leader_epoch: LeaderEpoch::NONE,
        timestamp: -1,
        ..Default::default()
    };
    ListOffsetsRequest {
        replica_id: NodeId(-1),
        isolation_level: 0,
        topics: vec![ListOffsetsTopic {
            name: Str::from(topic),
            partitions: (0..partitions).map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A topic under load, with a reader and a watcher of high watermarks beside it.
pub struct Run {
    /// What all times count from.
    pub start: Start,
    /// The producer.
    pub load: Load,
    reader: Watch<Reading>,
    watermarks: Watch<Vec<Watermark>>,
    /// Where the log is read from after all.
    bootstrap: String,
}

impl Run {
    /// Starts all three. `nodes` are ids and client addresses.
    pub fn start(nodes: &[(i32, String)], plan: Plan) -> Self {
        let start = Start::now();
        let all: Vec<&str> = nodes.iter().map(|(_, address)| address.as_str()).collect();
        let bootstrap = all.join(",");
        let watermarks = watch_watermarks(nodes.to_vec(), &plan.topic, plan.partitions, start);
        let reader = follow(&bootstrap, &plan.topic, plan.partitions);
        let load = Load::start(&bootstrap, plan, start);
        Self { start, load, reader, watermarks, bootstrap }
    }

    /// Stops all, reads what is there, and gives the history. Every partition has to be served.
    pub fn finish(self, no_zombies: bool) -> History {
        let plan = self.load.plan().clone();
        let sent = self.load.stop();
        let watermarks = self.watermarks.stop();
        let end = read_all(&self.bootstrap, &plan.topic, plan.partitions);
        // The reader has seen as much as it could; it may lag a little behind the end.
        let readings = vec![self.reader.stop()];
        History { sent, readings, end, watermarks, no_zombies, ..History::default() }
    }
}
