//! `purlin log …`.

use super::failure::Failure;
use super::json_record::text_of;
use super::output::{Format, Output};
use crate::env::disk::RealDisk;
use crate::limits;
use crate::log::dump::{BatchEntry, Entries, Entry, ProducerEntry, RecordEntry, dump, kind_of};
use crate::metadata::{describe_entry, describe_file};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Commands about files of a data directory. No node has to run.
#[derive(Debug, clap::Subcommand)]
pub(super) enum LogCommand {
    /// Show what is in segments, indexes, snapshots and checkpoints
    Dump(DumpArgs),
}

/// Flags of `log dump`.
#[derive(Debug, clap::Args)]
pub(super) struct DumpArgs {
    /// Files of a data directory: .log, .index, .timeindex, .txnindex, .snapshot,
    /// leader-epoch-checkpoint, the offset checkpoints, partition.metadata, meta.properties;
    /// vote, marks and snapshots of the metadata group
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Show the records of each batch too
    #[arg(long, alias = "deep-iteration")]
    deep: bool,
    /// Show the records as entries of the metadata log (in metadata/raft/log)
    #[arg(long)]
    metadata: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(command: LogCommand) -> Result<(), Failure> {
    let LogCommand::Dump(args) = command;
    for file in &args.files {
        let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        if kind_of(&name).is_none() && describe_file(&RealDisk, file).is_none() {
            if let Err(error) = std::fs::metadata(file) {
                let cause = format!("{}: {error}", file.display());
                return Err(Failure::new(cause, "check the path"));
            }
            return Err(Failure::Usage(format!(
                "{}: no file of a data directory has such a name; there are \
                 00000000000000000000.log, .index, .timeindex, .txnindex and .snapshot, \
                 leader-epoch-checkpoint, the …-offset-checkpoint files, partition.metadata, \
                 meta.properties, and below metadata/raft vote, flushed, purged and snapshots",
                file.display()
            )));
        }
    }
    let mut out = BufWriter::with_capacity(limits::CLI_WRITE_BUFFER_BYTES, io::stdout().lock());
    let result = dump_all(&args, &mut out);
    let flushed = out.flush();
    // Bytes that could not be written are not tried again when the buffer is dropped.
    let _ = out.into_parts();
    let problems = result?;
    flushed?;
    match problems {
        0 => Ok(()),
        1 => Err(Failure::plain("1 problem was found; it is marked in the output")),
        more => Err(Failure::plain(format!("{more} problems were found; they are marked"))),
    }
}

fn dump_all(args: &DumpArgs, out: &mut impl Write) -> Result<u64, Failure> {
    let mut problems = 0;
    let mut first = true;
    if args.output.format == Format::Json {
        write!(out, "[")?;
    }
    for file in &args.files {
        let entries = entries_of(file, args.deep || args.metadata)?;
        if args.output.format == Format::Table && args.files.len() > 1 {
            writeln!(out, "==> {} <==", file.display())?;
        }
        for entry in entries {
            let entry = entry.map_err(|error| Failure::plain(error.to_string()))?;
            problems += u64::from(matches!(entry, Entry::Problem { .. }));
            match args.output.format {
                Format::Table => writeln!(out, "{}", line(&entry, args.metadata))?,
                Format::Jsonl => writeln!(out, "{}", json(&entry, args.metadata)?)?,
                Format::Json => {
                    write!(
                        out,
                        "{}{}",
                        if first { "\n" } else { ",\n" },
                        json(&entry, args.metadata)?
                    )?;
                }
            }
            first = false;
        }
    }
    if args.output.format == Format::Json {
        writeln!(out, "\n]")?;
    }
    Ok(problems)
}

/// The entries of any file that can be dumped.
fn entries_of(file: &Path, deep: bool) -> Result<Entries, Failure> {
    let Some(fields) = describe_file(&RealDisk, file) else {
        let opened = dump(&RealDisk, file, deep);
        let (_, entries) =
            opened.map_err(|error| Failure::new(error.to_string(), "check the path"))?;
        return Ok(entries);
    };
    let entries: Vec<Entry> = match fields {
        Ok(fields) => {
            let property = |(key, value): (&str, _)| Entry::Property { key: key.to_owned(), value };
            fields.into_iter().map(property).collect()
        }
        Err(problem) => vec![Entry::Problem { position: 0, problem }],
    };
    Ok(Box::new(entries.into_iter().map(Ok)))
}

fn metadata_entry(record: &RecordEntry) -> String {
    let described = describe_entry(record.value.as_deref().unwrap_or_default());
    described.unwrap_or_else(|why| format!("no metadata entry: {why}"))
}

fn json(entry: &Entry, metadata: bool) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(entry).map_err(io::Error::from)?;
    if let (Entry::Record(record), Value::Object(object)) = (entry, &mut value) {
        if metadata {
            object.insert("metadata".to_owned(), Value::String(metadata_entry(record)));
        }
        put_bytes(object, "key", record.key.as_ref());
        put_bytes(object, "value", record.value.as_ref());
        let headers = record.headers.iter().map(|(key, value)| {
            let mut header = Map::new();
            put_bytes(&mut header, "key", Some(key));
            put_bytes(&mut header, "value", value.as_ref());
            Value::Object(header)
        });
        object.insert("headers".to_owned(), headers.collect());
    }
    Ok(value)
}

fn put_bytes(object: &mut Map<String, Value>, field: &str, bytes: Option<&Bytes>) {
    let Some(bytes) = bytes else {
        object.insert(field.to_owned(), Value::Null);
        return;
    };
    let (text, encoding) = text_of(bytes);
    object.insert(field.to_owned(), Value::String(text.into_owned()));
    if let Some(encoding) = encoding {
        object.insert(format!("{field}_encoding"), Value::String(encoding.to_owned()));
    }
}

/// An entry as a line for people.
fn line(entry: &Entry, metadata: bool) -> String {
    match entry {
        Entry::Batch(batch) => batch_line(batch),
        Entry::Record(record) if metadata => {
            format!("  entry {} {}", record.offset, metadata_entry(record))
        }
        Entry::Record(record) => record_line(record),
        Entry::Position { offset, position } => format!("offset {offset} position {position}"),
        Entry::Time { timestamp, offset } => format!("timestamp {timestamp} offset {offset}"),
        Entry::Aborted { producer_id, first_offset, last_offset, last_stable_offset } => format!(
            "aborted producer_id {producer_id} first_offset {first_offset} \
             last_offset {last_offset} last_stable_offset {last_stable_offset}"
        ),
        Entry::Producer(producer) => producer_line(producer),
        Entry::Epoch { leader_epoch, start_offset } => {
            format!("leader_epoch {leader_epoch} start_offset {start_offset}")
        }
        Entry::PartitionOffset { topic, partition, offset } => {
            format!("{topic}-{partition} offset {offset}")
        }
        Entry::Property { key, value } => format!("{key} {value}"),
        Entry::Problem { position, problem } => format!("PROBLEM at {position}: {problem}"),
    }
}

fn batch_line(batch: &BatchEntry) -> String {
    let mut line = format!(
        "batch base_offset {} last_offset {} count {} position {} bytes {} leader_epoch {} \
         compression {} {} {} max_timestamp {}",
        batch.base_offset,
        batch.last_offset,
        batch.count,
        batch.position,
        batch.bytes,
        batch.leader_epoch,
        batch.compression,
        batch.timestamp_type,
        batch.base_timestamp,
        batch.max_timestamp,
    );
    if batch.producer_id.0 >= 0 {
        line.push_str(&format!(
            " producer_id {} producer_epoch {} sequence {} to {}",
            batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.last_sequence
        ));
    }
    if batch.is_transactional {
        line.push_str(" transactional");
    }
    if batch.is_control {
        line.push_str(" control");
    }
    let verdict = if batch.is_valid { "valid" } else { "DAMAGED" };
    format!("{line} crc {:#010x} {verdict}", batch.crc)
}

fn record_line(record: &RecordEntry) -> String {
    let shown = |bytes: Option<&Bytes>| {
        bytes.map_or("null".to_owned(), |bytes| format!("\"{}\"", bytes.escape_ascii()))
    };
    let mut line = format!("  record offset {} timestamp {}", record.offset, record.timestamp);
    if record.sequence.0 >= 0 {
        line.push_str(&format!(" sequence {}", record.sequence));
    }
    if let Some(control) = &record.control {
        return format!("{line} {control}");
    }
    for (key, value) in &record.headers {
        let key = key.escape_ascii();
        line.push_str(&format!(" header {key}={}", shown(value.as_ref())));
    }
    format!("{line} key {} value {}", shown(record.key.as_ref()), shown(record.value.as_ref()))
}

fn producer_line(producer: &ProducerEntry) -> String {
    format!(
        "producer_id {} producer_epoch {} last_sequence {} last_offset {} offset_delta {} \
         timestamp {} coordinator_epoch {} transaction_first_offset {}",
        producer.producer_id,
        producer.producer_epoch,
        producer.last_sequence,
        producer.last_offset,
        producer.offset_delta,
        producer.timestamp,
        producer.coordinator_epoch,
        producer.transaction_first_offset,
    )
}
