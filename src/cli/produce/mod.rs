//! `purlin produce`: a stream of bytes into a topic.

mod input;

use super::connect::{Connect, block_on};
use super::failure::Failure;
use super::framing::FramingArgs;
use super::interrupt::Interrupts;
use super::progress::Progress;
use super::text::{timestamp, unescape};
use crate::client::partitioner::Partitioner;
use crate::client::producer::Acks;
use crate::client::{Producer, ProducerOptions};
use crate::env::clock::{Clock as _, SystemClock};
use crate::env::spawn;
use crate::limits;
use crate::protocol::records::{Compression, Header};
use bytes::Bytes;
use input::{Chunk, Shape};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Flags of `produce`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    purlin produce logs < app.log\n  \
    purlin produce users -K : -z zstd users.txt\n  \
    purlin consume a -o jsonl --exit-at-end | purlin produce b -i jsonl\n  \
    find . -print0 | purlin produce paths -0")]
pub(super) struct ProduceArgs {
    /// The topic
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Files to read one after the other [default: stdin]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the input is: raw records, or JSON lines as consume -o jsonl prints them
    #[arg(short = 'i', long, value_enum, default_value_t = InputKind::Raw, value_name = "KIND")]
    input: InputKind,
    #[command(flatten)]
    framing: FramingArgs,
    /// Text between key and value; records without it have no key
    #[arg(short = 'K', long, value_name = "TEXT")]
    key_delimiter: Option<String>,
    /// Key of every record that has none of its own
    #[arg(short = 'k', long, value_name = "KEY")]
    key: Option<String>,
    /// Header of every record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE")]
    headers: Vec<String>,
    /// Empty values become null (tombstones), and so do empty keys
    #[arg(short = 'Z', long)]
    null_empty: bool,
    /// Partition of every record [default: by the key, or by the record's JSON]
    #[arg(short = 'p', long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Let keys decide, whatever partition the JSON names
    #[arg(long, conflicts_with = "partition")]
    ignore_partition: bool,
    /// Timestamp of every record: milliseconds since 1970, or a date [default: now]
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    timestamp: Option<String>,
    /// How keys find their partition: as Java's client does, or as librdkafka does
    #[arg(long, value_enum, default_value_t = PartitionerName::Murmur2, value_name = "HOW")]
    partitioner: PartitionerName,
    /// How batches are packed
    #[arg(short = 'z', long, value_enum, default_value_t = Codec::None, value_name = "CODEC")]
    compression: Codec,
    /// Who must have a record: 0 nobody, 1 the leader, all every in-sync replica
    #[arg(short = 'a', long, value_enum, default_value_t = AcksName::All, value_name = "WHO")]
    acks: AcksName,
    /// Store each record once, whatever is retried [default: true with --acks all]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    idempotence: Option<bool>,
    /// Milliseconds that a batch waits to be filled
    #[arg(long, value_name = "MS", default_value_t = 20)]
    linger: u64,
    /// Bytes of a full batch
    #[arg(long, value_name = "BYTES", default_value_t = 256 * 1024)]
    batch_bytes: usize,
    /// Requests that may be open per broker
    #[arg(long, value_name = "N", default_value_t = 5)]
    max_in_flight: usize,
    /// Seconds until a record that is not acknowledged is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// Create the topic, with the cluster's defaults, if it does not exist
    #[arg(long)]
    create: bool,
    /// No progress, no summary
    #[arg(short = 'q', long)]
    quiet: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum InputKind {
    Raw,
    Jsonl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PartitionerName {
    Murmur2,
    Crc32,
    RoundRobin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum AcksName {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    #[value(name = "all", alias = "-1")]
    All,
}

impl ProduceArgs {
    fn options(&self) -> ProducerOptions {
        let acks = match self.acks {
            AcksName::None => Acks::None,
            AcksName::Leader => Acks::Leader,
            AcksName::All => Acks::All,
        };
        ProducerOptions {
            acks,
            // As in Java's client: acks 0 or 1 switch it off, unless it is asked for.
            idempotence: self.idempotence.unwrap_or(acks == Acks::All),
            compression: match self.compression {
                Codec::None => Compression::None,
                Codec::Gzip => Compression::Gzip,
                Codec::Snappy => Compression::Snappy,
                Codec::Lz4 => Compression::Lz4,
                Codec::Zstd => Compression::Zstd,
            },
            linger_ms: self.linger,
            batch_bytes: self.batch_bytes,
            in_flight_max: self.max_in_flight,
            delivery_timeout_ms: self.timeout.saturating_mul(1000),
            request_timeout_ms: self.timeout.saturating_mul(1000).clamp(1, 30_000),
            partitioner: match self.partitioner {
                PartitionerName::Murmur2 => Partitioner::Murmur2,
                PartitionerName::Crc32 => Partitioner::Crc32,
                PartitionerName::RoundRobin => Partitioner::RoundRobin,
            },
            create_topics: self.create,
            ..ProducerOptions::default()
        }
    }

    fn shape(&self) -> Result<Shape, Failure> {
        let json = self.input == InputKind::Jsonl;
        if json && (self.framing.is_given() || self.key_delimiter.is_some()) {
            let what = "JSON lines name their keys themselves, one record per line: leave \
                        --framing, --delimiter, --nul and --key-delimiter out";
            return Err(Failure::Usage(what.to_owned()));
        }
        let key_delimiter = match &self.key_delimiter {
            None => None,
            Some(text) => match unescape(text) {
                Ok(delimiter) if !delimiter.is_empty() => Some(delimiter),
                Ok(_) => {
                    return Err(Failure::Usage("--key-delimiter must not be empty".to_owned()));
                }
                Err(why) => return Err(Failure::Usage(format!("--key-delimiter: {why}"))),
            },
        };
        let mut headers = Vec::new();
        for text in &self.headers {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            if key.is_empty() {
                return Err(Failure::Usage(format!("--header '{text}' has no key")));
            }
            let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
            // Without '=' the header is null, as kcat has it.
            let value = text.contains('=').then(|| bytes(value));
            headers.push(Header { key: bytes(key), value });
        }
        let timestamp_ms = match &self.timestamp {
            None => None,
            Some(text) => Some(
                timestamp(text, SystemClock.now())
                    .map_err(|why| Failure::Usage(format!("--timestamp: {why}")))?
                    .0,
            ),
        };
        Ok(Shape {
            topic: Arc::from(self.topic.as_str()),
            json,
            framing: self.framing.framing()?,
            key_delimiter,
            key: self.key.as_ref().map(|key| Bytes::copy_from_slice(key.as_bytes())),
            headers,
            null_empty: self.null_empty,
            partition: self.partition,
            ignore_partition: self.ignore_partition,
            timestamp_ms,
        })
    }
}

pub(super) fn run(args: ProduceArgs) -> Result<(), Failure> {
    let shape = args.shape()?;
    // A file that is not there is found before anything is sent.
    let inputs = input::open(&args.files)?;
    block_on(produce(args, shape, inputs))
}

async fn produce(
    args: ProduceArgs,
    shape: Shape,
    inputs: Vec<input::Input>,
) -> Result<(), Failure> {
    let cluster = args.connect.cluster().await?;
    if !args.create {
        let topic = cluster.require_topic(&args.topic).await?;
        let count = topic.partitions.len();
        if let Some(partition) = args.partition
            && topic.partition(partition).is_none()
        {
            let topic = args.topic.clone();
            return Err(crate::client::Error::UnknownPartition { topic, partition, count }.into());
        }
    }
    let producer = Producer::start(cluster, args.options()).await?;
    let (sender, mut chunks) = mpsc::channel(limits::CLI_HANDOVERS_MAX);
    drop(spawn::thread("read-input", move || input::read_all(inputs, &shape, &sender))?);
    let mut progress = Progress::new(!args.quiet);
    let mut interrupts = Interrupts::listen()?;
    let first = interrupts.clone();
    let feeding = async {
        let fed = feed(&producer, &mut chunks, &mut progress, first).await;
        producer.flush().await;
        fed
    };
    // After one interrupt what was read is still delivered; the second ends the waiting.
    let fed = tokio::select! {
        fed = feeding => Some(fed),
        () = interrupts.wait(2) => None,
    };
    progress.finish();
    match fed {
        Some(fed) => conclude(&args, &producer, &progress, fed),
        None => {
            let acknowledged = producer.totals().acknowledged;
            Err(Failure::plain(format!("interrupted with {acknowledged} records acknowledged")))
        }
    }
}

/// Sends what the reader hands over, and says whether an interrupt ended that.
async fn feed(
    producer: &Producer,
    chunks: &mut mpsc::Receiver<Result<Chunk, Failure>>,
    progress: &mut Progress,
    mut interrupts: Interrupts,
) -> Result<bool, Failure> {
    let mut interrupted = false;
    loop {
        let chunk = tokio::select! {
            chunk = chunks.recv() => chunk,
            () = interrupts.wait(1), if !interrupted => {
                // What the reader handed over before is still taken.
                chunks.close();
                interrupted = true;
                continue;
            }
        };
        let Some(chunk) = chunk else { return Ok(interrupted) };
        let Chunk { records, bytes } = chunk?;
        let count = records.len() as u64;
        for (place, record) in records {
            producer.send(record).await.map_err(|error| {
                let mut failure = Failure::from(error);
                if let Failure::Failed { cause, .. } = &mut failure {
                    *cause = format!("{place}: {cause}");
                }
                failure
            })?;
        }
        progress.add(count, bytes);
        // Once something failed, more input would only fail too.
        if producer.totals().first_error.is_some() {
            return Ok(interrupted);
        }
    }
}

fn conclude(
    args: &ProduceArgs,
    producer: &Producer,
    progress: &Progress,
    fed: Result<bool, Failure>,
) -> Result<(), Failure> {
    let totals = producer.totals();
    if let Some(error) = totals.first_error {
        let failure = Failure::from(error);
        let Failure::Failed { cause, next } = failure else { return Err(failure) };
        let (done, not) = (totals.acknowledged, totals.failed);
        let cause = format!("{cause} ({done} records acknowledged, {not} not)");
        return Err(Failure::Failed { cause, next });
    }
    let interrupted = fed?;
    if !args.quiet {
        let interrupted = if interrupted { "interrupted; " } else { "" };
        let mut text = format!("{interrupted}{} to '{}'", progress.text(), args.topic);
        if interrupted.is_empty() && totals.acknowledged != progress.records {
            text.push_str(&format!(", {} acknowledged", totals.acknowledged));
        }
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    Ok(())
}
