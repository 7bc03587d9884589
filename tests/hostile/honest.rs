//! The honest client: librdkafka, writing one acknowledged record after the other while others
//! misbehave, and reading all of them back in the end.

use rdkafka::ClientConfig;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a record may take, on a busy machine, before the client counts as stopped.
const RECORD_LIMIT: Duration = Duration::from_secs(30);

/// Creates a topic with one partition.
pub fn create_topic(bootstrap: &str, name: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("an admin client");
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let results =
        runtime.block_on(admin.create_topics([&topic], &AdminOptions::new())).expect("created");
    for result in results {
        result.unwrap_or_else(|(topic, error)| panic!("{topic}: {error}"));
    }
}

/// A client at work.
pub struct Honest {
    bootstrap: String,
    written: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<String>>>,
    stop: Arc<AtomicBool>,
    worker: Option<std::thread::JoinHandle<()>>,
}

impl Honest {
    /// Starts to write to the topic `honest`.
    pub fn start(bootstrap: &str) -> Self {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("message.timeout.ms", RECORD_LIMIT.as_millis().to_string())
            .create()
            .expect("a producer");
        let written = Arc::new(AtomicU64::new(0));
        let failure = Arc::new(Mutex::new(None));
        let stop = Arc::new(AtomicBool::new(false));
        let worker = {
            let (written, failure, stop) =
                (Arc::clone(&written), Arc::clone(&failure), Arc::clone(&stop));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(write(&producer, &written, &failure, &stop));
            })
        };
        Self { bootstrap: bootstrap.to_owned(), written, failure, stop, worker: Some(worker) }
    }

    /// Waits until `records` more are acknowledged.
    pub fn progress(&self, records: u64) {
        let wanted = self.written.load(Ordering::SeqCst) + records;
        let started = Instant::now();
        while self.written.load(Ordering::SeqCst) < wanted {
            let failure = self.failure.lock().expect("whole").clone();
            assert!(failure.is_none(), "the honest client failed: {failure:?}");
            assert!(started.elapsed() < RECORD_LIMIT * 2, "the honest client stands still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops, and reads back all that was acknowledged.
    pub fn finish(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(worker) = self.worker.take() {
            worker.join().expect("the honest client ends well");
        }
        let failure = self.failure.lock().expect("whole").clone();
        assert!(failure.is_none(), "the honest client failed: {failure:?}");
        let wanted = self.written.load(Ordering::SeqCst);
        assert_eq!(
            read_back(&self.bootstrap),
            (0..wanted).collect::<Vec<_>>(),
            "what was acknowledged, in order"
        );
        println!("  the honest client wrote and read {wanted} records");
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

async fn write(
    producer: &FutureProducer,
    written: &AtomicU64,
    failure: &Mutex<Option<String>>,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::SeqCst) {
        let value = written.load(Ordering::SeqCst).to_string();
        let record = FutureRecord::<str, str>::to("honest").partition(0).payload(&value);
        match producer.send(record, RECORD_LIMIT).await {
            Ok(_) => drop(written.fetch_add(1, Ordering::SeqCst)),
            Err((error, _)) => {
                *failure.lock().expect("whole") = Some(error.to_string());
                return;
            }
        }
    }
}

fn read_back(bootstrap: &str) -> Vec<u64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let (_, high) = consumer.fetch_watermarks("honest", 0, RECORD_LIMIT).expect("offsets");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("honest", 0, Offset::Beginning).expect("a partition");
    consumer.assign(&list).expect("assigned");
    let mut found = Vec::new();
    let started = Instant::now();
    while i64::try_from(found.len()).expect("fits") < high {
        assert!(
            started.elapsed() < RECORD_LIMIT,
            "reading stands still at {} of {high}",
            found.len()
        );
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            let message = message.expect("a record");
            let text = std::str::from_utf8(message.payload().expect("a value")).expect("text");
            found.push(text.parse().expect("a number"));
        }
    }
    found
}
