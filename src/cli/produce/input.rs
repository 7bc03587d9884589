//! Reading the input of `produce`, on a thread of its own.

use crate::cli::failure::Failure;
use crate::cli::framing::{Frame, Frames, Framing};
use crate::cli::json_record;
use crate::client::ProducerRecord;
use crate::limits;
use crate::protocol::records::Header;
use bytes::Bytes;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How frames become records.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) topic: Arc<str>,
    pub(super) json: bool,
    pub(super) framing: Framing,
    pub(super) key_delimiter: Option<Vec<u8>>,
    pub(super) key: Option<Bytes>,
    pub(super) headers: Vec<Header>,
    pub(super) null_empty: bool,
    pub(super) partition: Option<i32>,
    pub(super) ignore_partition: bool,
    pub(super) timestamp_ms: Option<i64>,
}

/// Where a record came from, for errors.
#[derive(Debug, Clone)]
pub(super) struct Place {
    input: Arc<str>,
    number: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, record {}", self.input, self.number)
    }
}

/// Some records, and the bytes of input that they were.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) records: Vec<(Place, ProducerRecord)>,
    pub(super) bytes: u64,
}

/// An open input.
pub(super) struct Input {
    name: Arc<str>,
    from: Box<dyn Read + Send>,
}

/// Opens the files, or stdin when there are none. `-` is stdin too.
pub(super) fn open(files: &[PathBuf]) -> Result<Vec<Input>, Failure> {
    let stdin = || Input { name: Arc::from("stdin"), from: Box::new(std::io::stdin()) };
    if files.is_empty() {
        return Ok(vec![stdin()]);
    }
    let mut inputs = Vec::new();
    for path in files {
        if path.as_os_str() == "-" {
            inputs.push(stdin());
            continue;
        }
        let shown = path.display().to_string();
        let file = File::open(path)
            .map_err(|error| Failure::new(format!("{shown}: {error}"), "check the path"))?;
        inputs.push(Input { name: Arc::from(shown.as_str()), from: Box::new(file) });
    }
    Ok(inputs)
}

/// Reads all inputs to their end, or until nobody listens.
pub(super) fn read_all(
    inputs: Vec<Input>,
    shape: &Shape,
    sender: &mpsc::Sender<Result<Chunk, Failure>>,
) {
    for input in inputs {
        if let Err(failure) = read_one(input, shape, sender) {
            if let Some(failure) = failure {
                // Nobody listens any more: nothing to tell.
                let _ = sender.blocking_send(Err(failure));
            }
            return;
        }
    }
}

/// An error without a failure means that nobody listens.
fn read_one(
    input: Input,
    shape: &Shape,
    sender: &mpsc::Sender<Result<Chunk, Failure>>,
) -> Result<(), Option<Failure>> {
    let name = input.name;
    let mut frames = Frames::new(input.from, shape.framing.clone());
    let mut chunk = Chunk::default();
    let mut number = 0;
    loop {
        let mut next = frames.next_buffered();
        if matches!(next, Ok(None)) {
            // The next read may wait: what was typed goes out before.
            hand_over(&mut chunk, sender)?;
            next = frames.next_frame();
        }
        let frame = match next {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            Err(error) => {
                hand_over(&mut chunk, sender)?;
                return Err(Some(Failure::plain(format!("{name}: {error}"))));
            }
        };
        number += 1;
        let place = Place { input: name.clone(), number };
        let bytes =
            frame.key.as_ref().map_or(0, Bytes::len) + frame.value.as_ref().map_or(0, Bytes::len);
        match shape.record(frame) {
            Ok(Some(record)) => chunk.records.push((place, record)),
            Ok(None) => {}
            Err(why) => {
                hand_over(&mut chunk, sender)?;
                return Err(Some(Failure::plain(format!("{place}: {why}"))));
            }
        }
        chunk.bytes += bytes as u64;
        let full = chunk.records.len() >= limits::CLI_RECORDS_PER_HANDOVER
            || chunk.bytes >= limits::CLI_BYTES_PER_HANDOVER as u64;
        if full {
            hand_over(&mut chunk, sender)?;
        }
    }
}

fn hand_over(
    chunk: &mut Chunk,
    sender: &mpsc::Sender<Result<Chunk, Failure>>,
) -> Result<(), Option<Failure>> {
    if chunk.records.is_empty() {
        return Ok(());
    }
    sender.blocking_send(Ok(std::mem::take(chunk))).map_err(|_| None)
}

impl Shape {
    /// The record of a frame; nothing for a blank line of JSON input.
    fn record(&self, frame: Frame) -> Result<Option<ProducerRecord>, String> {
        if self.json {
            return self.record_of_json(frame);
        }
        let (mut key, mut value) = (frame.key, frame.value);
        if let (Some(delimiter), Some(bytes)) = (&self.key_delimiter, &value)
            && let Some(at) = position(bytes, delimiter)
        {
            key = Some(bytes.slice(..at));
            value = Some(bytes.slice(at + delimiter.len()..));
        }
        if self.null_empty {
            key = key.filter(|key| !key.is_empty());
            value = value.filter(|value| !value.is_empty());
        }
        Ok(Some(ProducerRecord {
            topic: self.topic.clone(),
            partition: self.partition,
            timestamp_ms: self.timestamp_ms,
            key: key.or_else(|| self.key.clone()),
            value,
            headers: self.headers.clone(),
        }))
    }

    fn record_of_json(&self, frame: Frame) -> Result<Option<ProducerRecord>, String> {
        let line = frame.value.unwrap_or_default();
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        let read = json_record::read(&line)?;
        let named = read.partition.filter(|_| !self.ignore_partition);
        let empty = |bytes: &Bytes| self.null_empty && bytes.is_empty();
        let mut headers = read.headers;
        headers.extend_from_slice(&self.headers);
        Ok(Some(ProducerRecord {
            topic: self.topic.clone(),
            partition: self.partition.or(named),
            timestamp_ms: self.timestamp_ms.or(read.timestamp_ms),
            key: read.key.filter(|key| !empty(key)).or_else(|| self.key.clone()),
            value: read.value.filter(|value| !empty(value)),
            headers,
        }))
    }
}

fn position(bytes: &[u8], delimiter: &[u8]) -> Option<usize> {
    bytes.windows(delimiter.len()).position(|window| window == delimiter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape {
            topic: Arc::from("t"),
            json: false,
            framing: Framing::Delimiter(vec![b'\n']),
            key_delimiter: Some(b"::".to_vec()),
            key: None,
            headers: Vec::new(),
            null_empty: true,
            partition: None,
            ignore_partition: false,
            timestamp_ms: None,
        }
    }

    fn record(shape: &Shape, value: &'static str) -> ProducerRecord {
        let frame = Frame { key: None, value: Some(Bytes::from(value)) };
        shape.record(frame).expect("valid").expect("a record")
    }

    #[test]
    fn keys_end_at_the_first_delimiter_and_empty_values_are_tombstones() {
        let shape = shape();
        let keyed = record(&shape, "k::v::w");
        assert_eq!(keyed.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(keyed.value.as_deref(), Some(&b"v::w"[..]));
        let tombstone = record(&shape, "k::");
        assert_eq!((tombstone.key.as_deref(), tombstone.value), (Some(&b"k"[..]), None));
        let plain = record(&shape, "no delimiter");
        assert_eq!((plain.key, plain.value.as_deref()), (None, Some(&b"no delimiter"[..])));
    }

    #[test]
    fn json_lines_keep_their_partition_unless_told_otherwise() {
        let mut shape = Shape { json: true, key_delimiter: None, ..shape() };
        let line = r#"{"partition":4,"timestamp":5,"key":"k","value":"v"}"#;
        assert_eq!(record(&shape, line).partition, Some(4));
        shape.ignore_partition = true;
        let free = record(&shape, line);
        assert_eq!((free.partition, free.timestamp_ms), (None, Some(5)));
        let blank = Frame { key: None, value: Some(Bytes::from("  ")) };
        assert_eq!(shape.record(blank), Ok(None));
    }
}
