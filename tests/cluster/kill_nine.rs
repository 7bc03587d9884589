//! Kill -9 in the middle of an idempotent `acks=all` stream by librdkafka, again and again: what
//! was acknowledged is there once, where it was acknowledged, and in order.
//!
//! `PURLIN_KILLS` and `PURLIN_KILL_RECORDS` change how often and how much; `PURLIN_SEED` the
//! moments. `PURLIN_TEST_AGAINST=kafka` runs the same against Apache Kafka.

#[path = "../common/mod.rs"]
mod common;

use common::broker::Broker;
use common::data::Chance;
use common::setting;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const TOPIC: &str = "payments";
const PARTITIONS: i32 = 4;

/// How long the stream may stand still before the test gives up.
const STALL_LIMIT: Duration = Duration::from_secs(90);

/// What librdkafka reported: where each record went, and what failed.
#[derive(Default)]
struct Deliveries {
    acknowledged: AtomicUsize,
    places: Mutex<BTreeMap<usize, (i32, i64)>>,
    failures: Mutex<Vec<String>>,
}

struct Context(std::sync::Arc<Deliveries>);

impl ClientContext for Context {
    // Refused connections while the broker is down are the point of the test, not news.
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, index: Self::DeliveryOpaque) {
        match result {
            Ok(message) => {
                let place = (message.partition(), message.offset());
                self.0.places.lock().expect("whole").insert(*index, place);
                self.0.acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            Err((error, _)) => {
                self.0.failures.lock().expect("whole").push(format!("record {index}: {error}"))
            }
        }
    }
}

fn create_topic(bootstrap: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("an admin client");
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let results =
        runtime.block_on(admin.create_topics([&topic], &AdminOptions::new())).expect("created");
    for result in results {
        result.unwrap_or_else(|(topic, error)| panic!("{topic}: {error}"));
    }
}

fn producer(bootstrap: &str, deliveries: &std::sync::Arc<Deliveries>) -> ThreadedProducer<Context> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "5")
        .set("batch.num.messages", "500")
        .set("message.timeout.ms", "300000")
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("retry.backoff.ms", "50")
        .create_with_context(Context(std::sync::Arc::clone(deliveries)))
        .expect("a producer")
}

/// The value of record `index`: a payment, as a line of JSON.
fn payment(index: usize) -> String {
    let mut chance = Chance::new(index as u64);
    format!(
        "{{\"payment\":{index},\"account\":\"CH{:019}\",\"amount\":\"{}.{:02}\",\"currency\":\"CHF\",\"note\":\"invoice {:x}\"}}",
        chance.next() % 1_000_000_000_000_000_000,
        chance.below(5000),
        chance.below(100),
        chance.next(),
    )
}

fn payment_index(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value).ok()?;
    text.strip_prefix("{\"payment\":")?.split(',').next()?.parse().ok()
}

fn send(producer: &ThreadedProducer<Context>, index: usize) {
    let key = format!("account-{}", index % 997);
    let value = payment(index);
    let mut record = BaseRecord::with_opaque_to(TOPIC, Box::new(index)).key(&key).payload(&value);
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                std::thread::sleep(Duration::from_millis(2));
            }
            Err((error, _)) => panic!("librdkafka refuses record {index}: {error}"),
        }
    }
}

/// Waits until `wanted` records are acknowledged, as long as the number goes on growing.
fn wait_for(deliveries: &Deliveries, wanted: usize) {
    let mut last = (0, Instant::now());
    loop {
        let now = deliveries.acknowledged.load(Ordering::SeqCst);
        if now >= wanted {
            return;
        }
        let failures = deliveries.failures.lock().expect("whole").clone();
        assert!(failures.is_empty(), "librdkafka gave up on {}: {}", failures.len(), failures[0]);
        if now != last.0 {
            last = (now, Instant::now());
        }
        assert!(last.1.elapsed() < STALL_LIMIT, "stuck at {now} of {wanted} acknowledged records");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Everything in the topic: per partition, offset and record number.
fn read_back(bootstrap: &str) -> BTreeMap<i32, Vec<(i64, usize)>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let limit = Duration::from_secs(30);
    let mut open = BTreeMap::new();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let (low, high) = consumer.fetch_watermarks(TOPIC, partition, limit).expect("offsets");
        assert_eq!(low, 0, "nothing was deleted");
        if high > 0 {
            open.insert(partition, high);
        }
        list.add_partition_offset(TOPIC, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&list).expect("assigned");
    let mut found: BTreeMap<i32, Vec<(i64, usize)>> = BTreeMap::new();
    let mut last = Instant::now();
    while !open.is_empty() {
        assert!(last.elapsed() < STALL_LIMIT, "reading stands still; still open: {open:?}");
        let Some(message) = consumer.poll(Duration::from_millis(500)) else { continue };
        let message = message.expect("a record");
        last = Instant::now();
        let value = message.payload().expect("a value");
        let index = payment_index(value).expect("a payment");
        assert_eq!(value, payment(index).as_bytes(), "record {index} came back changed");
        found.entry(message.partition()).or_default().push((message.offset(), index));
        if open.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
            open.remove(&message.partition());
        }
    }
    found
}

fn check(found: &BTreeMap<i32, Vec<(i64, usize)>>, places: &BTreeMap<usize, (i32, i64)>) {
    let mut seen: BTreeMap<usize, (i32, i64)> = BTreeMap::new();
    for (partition, rows) in found {
        for pair in rows.windows(2) {
            assert!(
                pair[0].0 < pair[1].0,
                "partition {partition}: offset {} after {}",
                pair[1].0,
                pair[0].0
            );
            assert!(
                pair[0].1 < pair[1].1,
                "partition {partition}: record {} after {}",
                pair[1].1,
                pair[0].1
            );
        }
        for (offset, index) in rows {
            let before = seen.insert(*index, (*partition, *offset));
            assert!(
                before.is_none(),
                "record {index} is at {before:?} and at {partition}@{offset}"
            );
        }
    }
    for (index, place) in places {
        let found = seen.get(index);
        assert_eq!(
            found,
            Some(place),
            "record {index} was acknowledged at {place:?} and is found at {found:?}"
        );
    }
}

#[test]
fn what_was_acknowledged_survives_kill_nine_once_and_in_order() {
    let kills = usize::try_from(setting("PURLIN_KILLS", 20)).expect("fits");
    let count = usize::try_from(setting("PURLIN_KILL_RECORDS", 200_000)).expect("fits");
    let seed = setting("PURLIN_SEED", u64::from(std::process::id()));
    println!("PURLIN_SEED={seed} PURLIN_KILLS={kills} PURLIN_KILL_RECORDS={count}");
    let mut chance = Chance::new(seed);

    let mut broker = Broker::start();
    create_topic(broker.bootstrap());
    let deliveries = std::sync::Arc::new(Deliveries::default());
    let producer = producer(broker.bootstrap(), &deliveries);
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..count).for_each(|index| send(&producer, index)));
        for kill in 1..=kills {
            let step = count / (kills + 1);
            wait_for(
                &deliveries,
                step * kill - usize::try_from(chance.below(step as u64 / 2)).expect("fits"),
            );
            broker.kill_nine();
            let at = deliveries.acknowledged.load(Ordering::SeqCst);
            assert!(at < count, "the stream ended before kill {kill}");
            std::thread::sleep(Duration::from_millis(chance.below(100)));
            let down = Instant::now();
            broker.restart();
            println!(
                "kill {kill:2} at {at:7} acknowledged, ready again in {} ms",
                down.elapsed().as_millis()
            );
        }
    });
    wait_for(&deliveries, count);
    producer.flush(Duration::from_secs(10)).expect("nothing is left to send");
    assert!(producer.client().fatal_error().is_none(), "{:?}", producer.client().fatal_error());
    println!(
        "{count} records acknowledged, {kills} kills, {:.1} s",
        started.elapsed().as_secs_f64()
    );

    let places = deliveries.places.lock().expect("whole").clone();
    assert_eq!(places.len(), count, "each record has one place");
    check(&read_back(broker.bootstrap()), &places);
}

/// The check itself is checked: it has to see a loss, a repetition and a swap.
#[test]
fn the_check_sees_loss_repetition_and_disorder() {
    let places = BTreeMap::from([(0, (0, 0)), (1, (0, 1)), (2, (0, 2))]);
    let faulty = [
        vec![(0, 0), (1, 1)],
        vec![(0, 0), (1, 1), (2, 1), (3, 2)],
        vec![(0, 1), (1, 0), (2, 2)],
        vec![(0, 0), (2, 1), (3, 2)],
    ];
    check(&BTreeMap::from([(0, vec![(0, 0), (1, 1), (2, 2)])]), &places);
    for rows in faulty {
        let found = BTreeMap::from([(0, rows.clone())]);
        let caught = std::panic::catch_unwind(|| check(&found, &places));
        assert!(caught.is_err(), "not seen: {rows:?}");
    }
}
