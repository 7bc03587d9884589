//! Each client as a writer of records and a reader of lines.

use crate::common::data::{NONE, Record, canonical, show_headers};
use crate::common::shell::run_well;
use crate::common::tools;
use crate::java::java;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long one client may take over one topic.
pub const TOPIC_LIMIT: Duration = Duration::from_secs(180);

/// Every codec of the protocol.
pub const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// The clients, in the order of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// Debian's kcat, on librdkafka 2.0.
    Kcat,
    /// Current librdkafka, through the rdkafka crate.
    Librdkafka,
    /// Apache Kafka's console producer and consumer.
    Java,
    /// kafka-python.
    Python,
    /// kafkajs.
    Node,
}

/// All of them.
pub const CLIENTS: [Client; 5] =
    [Client::Kcat, Client::Librdkafka, Client::Java, Client::Python, Client::Node];

/// Where the inputs lie and whom to talk to.
pub struct Setup<'a> {
    /// `HOST:PORT`.
    pub bootstrap: &'a str,
    /// The records to be written.
    pub records: &'a [Record],
    /// A folder with the input files.
    pub folder: &'a Path,
}

/// The end offsets of a topic's partitions, from current librdkafka.
///
/// # Errors
/// When they can't be had.
pub fn offsets(bootstrap: &str, topic: &str) -> Result<Vec<(i32, i64, i64)>, String> {
    let consumer = consumer(bootstrap)?;
    let limit = Duration::from_secs(30);
    let metadata =
        consumer.fetch_metadata(Some(topic), limit).map_err(|error| error.to_string())?;
    let partitions = metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
    let mut found = Vec::new();
    for partition in partitions {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition.id(), limit)
            .map_err(|error| format!("offsets of {topic}-{}: {error}", partition.id()))?;
        found.push((partition.id(), low, high));
    }
    found.sort_unstable();
    Ok(found)
}

fn consumer(bootstrap: &str) -> Result<BaseConsumer, String> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false")
        .set("fetch.wait.max.ms", "100")
        .set("queued.max.messages.kbytes", "32768")
        .create()
        .map_err(|error| error.to_string())
}

/// Reads a topic with current librdkafka, handing each record to `each`.
///
/// # Errors
/// When the topic can't be read to its end in time.
pub fn read_with_librdkafka(
    bootstrap: &str,
    topic: &str,
    mut each: impl FnMut(&rdkafka::message::BorrowedMessage<'_>),
) -> Result<(), String> {
    let consumer = consumer(bootstrap)?;
    let mut open: std::collections::BTreeMap<i32, i64> = std::collections::BTreeMap::new();
    let mut list = TopicPartitionList::new();
    for (partition, low, high) in offsets(bootstrap, topic)? {
        if low < high {
            open.insert(partition, high);
        }
        list.add_partition_offset(topic, partition, Offset::Beginning)
            .map_err(|error| error.to_string())?;
    }
    consumer.assign(&list).map_err(|error| error.to_string())?;
    let started = Instant::now();
    while !open.is_empty() {
        if started.elapsed() > TOPIC_LIMIT {
            return Err(format!("{topic}: not read to its end in time; still open: {open:?}"));
        }
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => {
                each(&message);
                if open.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                    open.remove(&message.partition());
                }
            }
            Some(Err(error)) => return Err(format!("{topic}: {error}")),
            None => {}
        }
    }
    Ok(())
}

/// The canonical line of a record that librdkafka brought.
pub fn line_of(message: &rdkafka::message::BorrowedMessage<'_>) -> String {
    let text =
        |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let headers: Vec<(String, String)> = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| {
                (header.key.to_owned(), text(header.value).unwrap_or_else(|| NONE.to_owned()))
            })
            .collect()
    });
    canonical(
        message.partition(),
        message.offset(),
        message.timestamp().to_millis().unwrap_or(-1),
        text(message.key()).as_deref(),
        &show_headers(&headers),
        text(message.payload()).as_deref(),
    )
}

impl Client {
    /// The name in topics and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kcat => "kcat",
            Self::Librdkafka => "librdkafka",
            Self::Java => "java-console",
            Self::Python => "kafka-python",
            Self::Node => "kafkajs",
        }
    }

    /// Whether the client can say what time a record has. The others stamp the time of sending.
    pub fn sets_timestamps(self) -> bool {
        matches!(self, Self::Librdkafka | Self::Python | Self::Node)
    }

    /// The headers that this client was made to send with a record; kcat sends the same with all.
    pub fn headers(self, record: &Record) -> Vec<(String, String)> {
        match self {
            Self::Kcat => {
                vec![("site".to_owned(), "fra-1".to_owned()), ("via".to_owned(), "kcat".to_owned())]
            }
            _ => record.headers.clone(),
        }
    }

    /// Makes sure that the client is there.
    ///
    /// # Errors
    /// Names what can't be had.
    pub fn install(self) -> Result<(), String> {
        match self {
            Self::Kcat => tools::kcat().map(drop),
            Self::Librdkafka => Ok(()),
            Self::Java => tools::kafka_jars().map(drop),
            Self::Python => tools::kafka_python().map(drop),
            Self::Node => tools::kafkajs().map(drop),
        }
    }

    /// Writes all records to the topic.
    ///
    /// # Errors
    /// What the client complained about.
    pub fn write(self, setup: &Setup<'_>, topic: &str, codec: &str) -> Result<(), String> {
        match self {
            Self::Librdkafka => write_with_librdkafka(setup, topic, codec),
            Self::Kcat => {
                let input = setup.folder.join("kcat.tsv");
                let mut kcat = Command::new(tools::kcat()?);
                kcat.args([
                    "-P",
                    "-q",
                    "-b",
                    setup.bootstrap,
                    "-t",
                    topic,
                    "-z",
                    codec,
                    "-K",
                    "\t",
                    "-Z",
                ]);
                kcat.args([
                    "-H",
                    "site=fra-1",
                    "-H",
                    "via=kcat",
                    "-X",
                    "acks=all",
                    "-X",
                    "linger.ms=20",
                ]);
                kcat.args([
                    "-X",
                    "enable.idempotence=true",
                    "-X",
                    "queue.buffering.max.messages=200000",
                    "-l",
                ]);
                run_well(kcat.arg(input).stdin(Stdio::null()), TOPIC_LIMIT).map(drop)
            }
            Self::Java => {
                let input = std::fs::File::open(setup.folder.join("java.tsv"))
                    .map_err(|error| error.to_string())?;
                let mut command = java("org.apache.kafka.tools.ConsoleProducer")?;
                command.args(["--bootstrap-server", setup.bootstrap, "--topic", topic]);
                command.args(["--compression-codec", codec]);
                for property in [
                    "parse.key=true",
                    "parse.headers=true",
                    "headers.delimiter=\t",
                    "headers.separator=,",
                    "headers.key.separator==",
                    "key.separator=\t",
                    "null.marker=\\N",
                ] {
                    command.args(["--reader-property", property]);
                }
                for property in
                    ["acks=all", "enable.idempotence=true", "linger.ms=20", "batch.size=131072"]
                {
                    command.args(["--command-property", property]);
                }
                // The tool logs a failed send and goes on; nothing on stderr is its success.
                run_well(command.stdin(input), TOPIC_LIMIT).map(drop)
            }
            Self::Python => {
                let mut python = Command::new(tools::kafka_python()?);
                python.arg(script("client.py")).args(["write", setup.bootstrap, topic, codec]);
                run_well(python.arg(setup.folder.join("records.tsv")), TOPIC_LIMIT).map(drop)
            }
            Self::Node => {
                let mut node = node()?;
                node.args(["write", setup.bootstrap, topic, codec])
                    .arg(setup.folder.join("records.tsv"));
                run_well(&mut node, TOPIC_LIMIT).map(drop)
            }
        }
    }

    /// Reads a whole topic as canonical lines.
    ///
    /// # Errors
    /// What the client complained about.
    pub fn read(self, setup: &Setup<'_>, topic: &str) -> Result<Vec<String>, String> {
        match self {
            Self::Librdkafka => {
                let mut lines = Vec::new();
                read_with_librdkafka(setup.bootstrap, topic, |message| {
                    lines.push(line_of(message))
                })?;
                Ok(lines)
            }
            Self::Kcat => {
                let mut kcat = Command::new(tools::kcat()?);
                kcat.args([
                    "-C",
                    "-q",
                    "-e",
                    "-b",
                    setup.bootstrap,
                    "-t",
                    topic,
                    "-o",
                    "beginning",
                ]);
                kcat.args([
                    "-f",
                    "%p\t%o\t%T\t%K\t%k\t%h\t%S\t%s\n",
                    "-X",
                    "fetch.wait.max.ms=100",
                ]);
                let output = run_well(&mut kcat, TOPIC_LIMIT)?;
                output.text().lines().map(from_kcat).collect()
            }
            Self::Java => read_with_java(setup, topic),
            Self::Python => {
                let mut python = Command::new(tools::kafka_python()?);
                python.arg(script("client.py")).args(["read", setup.bootstrap, topic]);
                let output = run_well(&mut python, TOPIC_LIMIT)?;
                Ok(output.text().lines().map(str::to_owned).collect())
            }
            Self::Node => {
                let output = run_well(node()?.args(["read", setup.bootstrap, topic]), TOPIC_LIMIT)?;
                Ok(output.text().lines().map(str::to_owned).collect())
            }
        }
    }
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(name)
}

fn node() -> Result<Command, String> {
    let mut node = Command::new("node");
    node.env("CONFORMANCE_NODE", tools::kafkajs()?).arg(script("client.js"));
    Ok(node)
}

fn write_with_librdkafka(setup: &Setup<'_>, topic: &str, codec: &str) -> Result<(), String> {
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", setup.bootstrap)
        .set("compression.type", codec)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .map_err(|error| error.to_string())?;
    for record in setup.records {
        let mut headers = OwnedHeaders::new();
        for (name, value) in &record.headers {
            headers = headers.insert(Header { key: name, value: Some(value) });
        }
        let mut row =
            BaseRecord::<str, str>::to(topic).timestamp(record.timestamp).headers(headers);
        if let Some(key) = &record.key {
            row = row.key(key);
        }
        if let Some(value) = &record.value {
            row = row.payload(value);
        }
        producer.send(row).map_err(|(error, _)| error.to_string())?;
    }
    producer.flush(TOPIC_LIMIT).map_err(|error| error.to_string())
}

/// kcat writes `partition offset time keylen key headers valuelen value`, lengths -1 for none.
fn from_kcat(line: &str) -> Result<String, String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [partition, offset, timestamp, key_length, key, headers, value_length, value] = fields[..]
    else {
        return Err(format!("kcat printed an unexpected line: {line}"));
    };
    let number = |text: &str| text.parse::<i64>().map_err(|_| format!("kcat printed: {line}"));
    let partition = i32::try_from(number(partition)?).map_err(|error| error.to_string())?;
    let some = |length: &str, text| (length != "-1").then_some(text);
    Ok(canonical(
        partition,
        number(offset)?,
        number(timestamp)?,
        some(key_length, key),
        headers,
        some(value_length, value),
    ))
}

fn read_with_java(setup: &Setup<'_>, topic: &str) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    for (partition, low, high) in offsets(setup.bootstrap, topic)? {
        if low == high {
            continue;
        }
        let mut command = java("org.apache.kafka.tools.consumer.ConsoleConsumer")?;
        command.args(["--bootstrap-server", setup.bootstrap, "--topic", topic]);
        command.args(["--partition", &partition.to_string(), "--offset", "earliest"]);
        command.args(["--max-messages", &(high - low).to_string(), "--timeout-ms", "60000"]);
        for property in [
            "print.timestamp=true",
            "print.partition=true",
            "print.offset=true",
            "print.headers=true",
            "print.key=true",
            "key.separator=\t",
            "headers.separator=,",
            "null.literal=\\N",
        ] {
            command.args(["--formatter-property", property]);
        }
        let output = run_well(&mut command, TOPIC_LIMIT)?;
        for line in output.text().lines() {
            lines.push(from_java(line)?);
        }
    }
    Ok(lines)
}

/// The console consumer writes `CreateTime:T Partition:P Offset:O headers key value`.
fn from_java(line: &str) -> Result<String, String> {
    let unexpected = || format!("the console consumer printed an unexpected line: {line}");
    let fields: Vec<&str> = line.split('\t').collect();
    let [time, partition, offset, headers, key, value] = fields[..] else {
        return Err(unexpected());
    };
    let time = time.strip_prefix("CreateTime:").ok_or_else(unexpected)?;
    let partition = partition.strip_prefix("Partition:").ok_or_else(unexpected)?;
    let offset = offset.strip_prefix("Offset:").ok_or_else(unexpected)?;
    let headers = if headers == "NO_HEADERS" {
        String::new()
    } else {
        headers.split(',').map(|pair| pair.replacen(':', "=", 1)).collect::<Vec<_>>().join(",")
    };
    let some = |text| (text != NONE).then_some(text);
    Ok(canonical(
        partition.parse().map_err(|_| unexpected())?,
        offset.parse().map_err(|_| unexpected())?,
        time.parse().map_err(|_| unexpected())?,
        some(key),
        &headers,
        some(value),
    ))
}
