//! Batches and records of a `.log` file.

use super::{BatchEntry, Entry, RecordEntry, problem};
use crate::env::disk::DiskFile;
use crate::limits;
use crate::log::error::Error;
use crate::protocol::records::{
    BatchHeader, Compression, ControlKind, ControlRecord, Record, Records, TimestampKind,
    decode_records,
};
use crate::types::{Offset, Sequence};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

pub(super) struct Batches {
    file: Arc<dyn DiskFile>,
    path: Arc<Path>,
    position: u64,
    next_offset: Offset,
    deep: bool,
    /// Records of the batch before that are still to come.
    records: Option<(BatchHeader, u64, Records)>,
    /// Something to say before going on.
    waiting: Option<Entry>,
    ended: bool,
}

impl Batches {
    pub(super) fn new(file: Arc<dyn DiskFile>, path: Arc<Path>, base: Offset, deep: bool) -> Self {
        Self {
            file,
            path,
            position: 0,
            next_offset: base,
            deep,
            records: None,
            waiting: None,
            ended: false,
        }
    }

    fn read(&self, position: u64, count: usize) -> Result<Bytes, Error> {
        let mut bytes = vec![0; count];
        let read = self.file.read_at(&mut bytes, position).map_err(Error::io(&self.path))?;
        bytes.truncate(read);
        Ok(Bytes::from(bytes))
    }

    fn batch(&mut self) -> Result<Option<Entry>, Error> {
        let position = self.position;
        let length = self.file.len().map_err(Error::io(&self.path))?;
        if position >= length {
            return Ok(None);
        }
        let head = self.read(position, BatchHeader::SIZE)?;
        let header = match BatchHeader::parse(&head) {
            Ok(header) => header,
            Err(error) => return Ok(Some(self.stop(position, length, &error.to_string()))),
        };
        let left = length - position;
        let bytes = header.total_bytes();
        if bytes as u64 > left {
            let what = format!("a batch of {bytes} bytes begins here, and the file ends before");
            return Ok(Some(self.stop(position, length, &what)));
        }
        let batch = self.read(position, bytes)?;
        let is_valid = BatchHeader::parse_checked(&batch).is_ok();
        self.position += bytes as u64;
        if header.base_offset < self.next_offset {
            let what = format!(
                "the batch begins at offset {}, before {} where it may begin",
                header.base_offset, self.next_offset
            );
            self.waiting = Some(problem(position, what));
        }
        if !is_valid {
            self.waiting = Some(problem(position, "the checksum does not fit the bytes"));
        } else if self.deep {
            match decode_records(&batch, limits::DECOMPRESSED_BYTES_MAX) {
                Ok(records) => self.records = Some((header.clone(), position, records)),
                Err(error) => self.waiting = Some(problem(position, error.to_string())),
            }
        }
        self.next_offset = header.next_offset();
        Ok(Some(Entry::Batch(batch_entry(&header, position, is_valid))))
    }

    /// Without a good header nothing after it can be found.
    fn stop(&mut self, position: u64, length: u64, why: &str) -> Entry {
        self.ended = true;
        let left = length - position;
        problem(position, format!("{why}; the last {left} bytes are not batches"))
    }

    fn record(&mut self) -> Option<Entry> {
        let (header, position, records) = self.records.as_mut()?;
        match records.next() {
            None => {
                self.records = None;
                None
            }
            Some(Ok(record)) => Some(Entry::Record(record_entry(header, record))),
            Some(Err(error)) => {
                let entry = problem(*position, error.to_string());
                self.records = None;
                Some(entry)
            }
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(waiting) = self.waiting.take() {
            return Some(Ok(waiting));
        }
        if let Some(record) = self.record() {
            return Some(Ok(record));
        }
        if self.ended {
            return None;
        }
        let next = self.batch();
        self.ended |= next.is_err();
        next.transpose()
    }
}

fn batch_entry(header: &BatchHeader, position: u64, is_valid: bool) -> BatchEntry {
    BatchEntry {
        position,
        base_offset: header.base_offset,
        last_offset: header.last_offset(),
        count: header.record_count,
        leader_epoch: header.leader_epoch,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        last_sequence: header.last_sequence(),
        is_transactional: header.is_transactional(),
        is_control: header.is_control(),
        base_timestamp: header.base_timestamp,
        max_timestamp: header.max_timestamp,
        timestamp_type: match header.timestamp_kind() {
            TimestampKind::CreateTime => "create_time",
            TimestampKind::LogAppendTime => "log_append_time",
        },
        compression: match header.compression() {
            Ok(Compression::None) => "none",
            Ok(Compression::Gzip) => "gzip",
            Ok(Compression::Snappy) => "snappy",
            Ok(Compression::Lz4) => "lz4",
            Ok(Compression::Zstd) => "zstd",
            Err(_) => "unknown",
        },
        bytes: header.total_bytes(),
        crc: header.crc,
        is_valid,
    }
}

fn record_entry(header: &BatchHeader, record: Record) -> RecordEntry {
    let offset = header.base_offset.0.saturating_add(i64::from(record.offset_delta));
    let sequence = match header.base_sequence {
        first if first.0 >= 0 && record.offset_delta >= 0 => first.plus(record.offset_delta),
        _ => Sequence::NONE,
    };
    let control = header.is_control().then(|| {
        match ControlRecord::parse(record.key.as_deref(), record.value.as_deref()) {
            Ok(marker) => match marker.kind {
                ControlKind::Commit => "commit".to_owned(),
                ControlKind::Abort => "abort".to_owned(),
                ControlKind::Other(other) => format!("type {other}"),
            },
            Err(error) => error.to_string(),
        }
    });
    RecordEntry {
        offset: Offset(offset),
        timestamp: header.record_timestamp(record.timestamp_delta),
        sequence,
        key: record.key,
        value: record.value,
        headers: record.headers.into_iter().map(|header| (header.key, header.value)).collect(),
        control,
    }
}
