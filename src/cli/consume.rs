//! `purlin consume`: a topic onto stdout.

use super::connect::{Connect, block_on};
use super::failure::Failure;
use super::framing::{Framing, FramingArgs, write_counted};
use super::interrupt::Interrupts;
use super::json_record;
use super::progress::Progress;
use super::template::{TEMPLATE_HELP, Template};
use super::text::{timestamp, unescape};
use crate::client::consumer::{ConsumerRecord, Isolation, OffsetQuery, list_offsets};
use crate::client::{Consumer, ConsumerOptions, StartAt};
use crate::env::clock::{Clock as _, SystemClock};
use crate::env::spawn;
use crate::limits;
use crate::types::Offset;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::time::Duration;

/// Flags of `consume`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    purlin consume logs --from-beginning\n  \
    purlin consume logs --offset -10 --exit-at-end\n  \
    purlin consume logs --offset @-1h -o jsonl | jq .value\n  \
    purlin consume logs -n 5 -f '%T %k: %s\\n'")]
pub(super) struct ConsumeArgs {
    /// The topic
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Where to begin in each partition: earliest, latest, an offset, -N for the last N, or
    /// @TIMESTAMP (milliseconds, a date, or a span before now such as @-1h)
    /// [default: latest; earliest with --exit-at-end]
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    offset: Option<String>,
    /// The same as --offset earliest
    #[arg(long, conflicts_with = "offset")]
    from_beginning: bool,
    /// Partitions to read [default: all]
    #[arg(short = 'p', long, value_name = "N,…", value_delimiter = ',')]
    partition: Vec<i32>,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Stop at the end of each partition, as it is at the start of the command
    #[arg(short = 'e', long)]
    exit_at_end: bool,
    /// Print records as JSON: one list, or one line each
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORM")]
    output: Option<JsonForm>,
    /// Print each record by a template, as kcat does
    #[arg(short = 'f', long, value_name = "TEMPLATE", long_help = TEMPLATE_HELP,
          conflicts_with_all = ["output", "framing", "delimiter", "nul", "key_delimiter"])]
    format: Option<String>,
    #[command(flatten)]
    framing: FramingArgs,
    /// Print the key and this text before the value
    #[arg(short = 'K', long, value_name = "TEXT", conflicts_with = "output")]
    key_delimiter: Option<String>,
    /// Print null keys and values as NULL
    #[arg(short = 'Z', long)]
    null: bool,
    /// Read records of transactions that are not committed too
    #[arg(long)]
    read_uncommitted: bool,
    /// No progress
    #[arg(short = 'q', long)]
    quiet: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum JsonForm {
    Json,
    Jsonl,
}

/// How a record is printed.
#[derive(Debug)]
enum Printer {
    Json { begun: bool },
    Jsonl,
    Template(Template),
    Framed { framing: Framing, key_delimiter: Option<Vec<u8>> },
}

/// How long after an interrupt the last write may take.
const STUCK_AFTER: Duration = Duration::from_secs(1);

pub(super) fn run(args: ConsumeArgs) -> Result<(), Failure> {
    let start = args.start()?;
    let printer = args.printer()?;
    block_on(consume(args, start, printer))
}

impl ConsumeArgs {
    fn start(&self) -> Result<StartAt, Failure> {
        let bad = |why: String| Failure::Usage(format!("--offset: {why}"));
        match self.offset.as_deref() {
            _ if self.from_beginning => Ok(StartAt::Earliest),
            None if self.exit_at_end => Ok(StartAt::Earliest),
            None => Ok(StartAt::Latest),
            Some("earliest" | "beginning" | "start") => Ok(StartAt::Earliest),
            Some("latest" | "end") => Ok(StartAt::Latest),
            Some(text) => {
                if let Some(text) = text.strip_prefix('@') {
                    let at = timestamp(text, SystemClock.now()).map_err(bad)?;
                    return Ok(StartAt::Timestamp(at));
                }
                match text.parse::<i64>() {
                    Ok(offset) if text.starts_with('-') => {
                        Ok(StartAt::Tail(offset.saturating_neg()))
                    }
                    Ok(offset) => Ok(StartAt::Offset(Offset(offset))),
                    Err(_) => Err(bad(format!(
                        "'{text}' is none of: earliest, latest, an offset, -N for the last N, \
                         @TIMESTAMP"
                    ))),
                }
            }
        }
    }

    fn printer(&self) -> Result<Printer, Failure> {
        match self.output {
            Some(JsonForm::Json) => return Ok(Printer::Json { begun: false }),
            Some(JsonForm::Jsonl) => return Ok(Printer::Jsonl),
            None => {}
        }
        if let Some(text) = &self.format {
            let template = Template::parse(text);
            let template = template.map_err(|why| Failure::Usage(format!("--format: {why}")))?;
            return Ok(Printer::Template(template));
        }
        let key_delimiter = self.key_delimiter.as_deref().map(unescape).transpose();
        let key_delimiter =
            key_delimiter.map_err(|why| Failure::Usage(format!("--key-delimiter: {why}")))?;
        Ok(Printer::Framed { framing: self.framing.framing()?, key_delimiter })
    }

    fn isolation(&self) -> Isolation {
        if self.read_uncommitted { Isolation::ReadUncommitted } else { Isolation::ReadCommitted }
    }
}

impl Printer {
    fn write(
        &mut self,
        record: &ConsumerRecord,
        null: &[u8],
        out: &mut impl Write,
    ) -> io::Result<()> {
        match self {
            Self::Json { begun } => {
                out.write_all(if *begun { b",\n" } else { b"[\n" })?;
                *begun = true;
                json_record::write(record, out)
            }
            Self::Jsonl => {
                json_record::write(record, out)?;
                out.write_all(b"\n")
            }
            Self::Template(template) => template.write(record, null, out),
            Self::Framed { framing, key_delimiter } => {
                if *framing == Framing::KeyedLength {
                    write_counted(out, record.key.as_deref())?;
                } else if let Some(delimiter) = key_delimiter {
                    out.write_all(record.key.as_deref().unwrap_or(null))?;
                    out.write_all(delimiter)?;
                }
                match framing {
                    Framing::Delimiter(delimiter) => {
                        out.write_all(record.value.as_deref().unwrap_or(null))?;
                        out.write_all(delimiter)
                    }
                    Framing::Length | Framing::KeyedLength => {
                        write_counted(out, record.value.as_deref())
                    }
                }
            }
        }
    }

    /// What stands after the last record.
    fn finish(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Json { begun: true } => out.write_all(b"\n]\n"),
            Self::Json { begun: false } => out.write_all(b"[]\n"),
            _ => Ok(()),
        }
    }
}

async fn consume(args: ConsumeArgs, start: StartAt, mut printer: Printer) -> Result<(), Failure> {
    let cluster = args.connect.cluster().await?;
    let isolation = args.isolation();
    let options = ConsumerOptions { isolation, ..ConsumerOptions::default() };
    let mut consumer = Consumer::new(cluster.clone(), options);
    consumer.assign(&args.topic, &args.partition, start).await?;
    if args.exit_at_end {
        let chosen: Vec<i32> = consumer.progress().iter().map(|at| at.partition).collect();
        let latest = OffsetQuery::Latest;
        let ends = list_offsets(&cluster, &args.topic, &chosen, latest, isolation).await?;
        for (partition, end) in ends {
            consumer.stop_at(&args.topic, partition, end);
        }
    }
    // Raw records on a terminal are progress enough.
    let shown = !args.quiet && !io::stdout().is_terminal();
    let mut progress = Progress::new(shown);
    let mut out = BufWriter::with_capacity(limits::CLI_WRITE_BUFFER_BYTES, io::stdout().lock());
    let mut interrupts = Interrupts::listen()?;
    drop(spawn::spawn("last-resort", leave_a_full_pipe(interrupts.clone())));
    let result = {
        let printing = print_all(&mut consumer, &args, &mut printer, &mut progress, &mut out);
        tokio::select! {
            result = printing => result,
            () = interrupts.wait(1) => Ok(()),
        }
    };
    progress.finish();
    // What was read before an error is printed before the error.
    let written = printer.finish(&mut out).and_then(|()| out.flush());
    // Bytes that could not be written are not tried again when the buffer is dropped.
    let _ = out.into_parts();
    result?;
    Ok(written?)
}

/// Ends the process when an interrupt finds it stuck in a pipe that nobody empties.
async fn leave_a_full_pipe(mut interrupts: Interrupts) {
    interrupts.wait(1).await;
    tokio::time::sleep(STUCK_AFTER).await;
    std::process::exit(1);
}

async fn print_all(
    consumer: &mut Consumer,
    args: &ConsumeArgs,
    printer: &mut Printer,
    progress: &mut Progress,
    out: &mut BufWriter<io::StdoutLock<'static>>,
) -> Result<(), Failure> {
    let null: &[u8] = if args.null { b"NULL" } else { b"" };
    let mut left = args.count.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(());
    }
    while let Some(batch) = consumer.next().await? {
        for record in batch {
            let record = record?;
            printer.write(&record, null, out)?;
            let bytes = record.key.as_ref().map_or(0, bytes::Bytes::len)
                + record.value.as_ref().map_or(0, bytes::Bytes::len);
            progress.add(1, bytes as u64);
            left -= 1;
            if left == 0 {
                return Ok(());
            }
        }
        // Nothing more at hand: whoever reads should see what there is.
        if !consumer.has_ready() {
            out.flush()?;
        }
        // Lets an interrupt through between batches that are all at hand.
        tokio::task::yield_now().await;
    }
    Ok(())
}
