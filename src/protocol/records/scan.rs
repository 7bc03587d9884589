//! Records without their contents: what a broker has to know to check a batch.

use super::codec::{Unpacker, unpack_error};
use super::varint::{ByteSource, ENDS_EARLY, read_int, read_length, read_long};
use super::{BatchError, BatchHeader, Compression};
use crate::limits;
use std::io::{self, Read};

/// What the scan of one record found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMeta {
    /// The record's place in the batch, from 0.
    pub index: usize,
    /// Offset, less the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp, less the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Bytes of the key, or nothing for null.
    pub key_bytes: Option<usize>,
    /// Bytes of the value, or nothing for null (a tombstone).
    pub value_bytes: Option<usize>,
    /// How many headers it has.
    pub header_count: usize,
}

impl RecordMeta {
    /// Whether the key is there (an empty key is one).
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.key_bytes.is_some()
    }

    /// Whether the value is there (an empty value is one).
    #[must_use]
    pub fn has_value(&self) -> bool {
        self.value_bytes.is_some()
    }
}

/// Walks over the records of one whole batch, front to back. Compressed records are unpacked piece
/// by piece into a small buffer, never as a whole; at more than `bytes_max` unpacked bytes the
/// scan gives up. Every length is checked; the checksum, the offsets and the times are the
/// caller's to check.
///
/// A batch without records (compaction keeps such) gives none, whatever follows its header.
///
/// # Errors
/// Those of [`BatchHeader::parse`], [`BatchError::Codec`], [`BatchError::TooLarge`] and
/// [`BatchError::Malformed`]; records before the damage have been given to `each` by then.
pub fn scan_records(
    batch: &[u8],
    bytes_max: usize,
    mut each: impl FnMut(RecordMeta),
) -> Result<(), BatchError> {
    let header = BatchHeader::parse(batch)?;
    let (count, body) = records_of(&header, batch)?;
    if count == 0 {
        return Ok(());
    }
    match header.compression()? {
        Compression::None => scan(&mut SliceSource { rest: body }, count, &mut each),
        codec => {
            let unpacker = Unpacker::new(codec, body, bytes_max)?;
            scan(&mut StreamSource::new(unpacker, bytes_max), count, &mut each)
        }
    }
}

/// The record count and the bytes after the header of one whole batch.
pub(super) fn records_of<'a>(
    header: &BatchHeader,
    batch: &'a [u8],
) -> Result<(usize, &'a [u8]), BatchError> {
    let need = header.total_bytes();
    let have = batch.len();
    let body = batch
        .get(BatchHeader::SIZE..need)
        .ok_or(BatchError::Truncated { need: need.max(BatchHeader::SIZE), have })?;
    let count = usize::try_from(header.record_count)
        .map_err(|_| BatchError::Malformed("the record count is negative"))?;
    Ok((count, body))
}

/// Where records come from.
trait Source: ByteSource {
    /// Passes over bytes.
    fn skip(&mut self, count: usize) -> Result<(), BatchError>;
    /// Bytes taken so far.
    fn position(&self) -> usize;
    /// Fails unless nothing is left.
    fn finish(&mut self) -> Result<(), BatchError>;
}

const TOO_SHORT: BatchError = BatchError::Malformed("a record is longer than its length says");
const TOO_LONG: BatchError = BatchError::Malformed("a record is shorter than its length says");
const LEFT_OVER: BatchError = BatchError::Malformed("bytes follow the last record");

fn scan(
    source: &mut impl Source,
    count: usize,
    each: &mut impl FnMut(RecordMeta),
) -> Result<(), BatchError> {
    for index in 0..count {
        let length = read_length(source)?.ok_or(BatchError::Malformed("a record has no length"))?;
        let end = source.position().checked_add(length).ok_or(TOO_SHORT)?;
        source.skip(1)?; // attributes, unused
        let timestamp_delta = read_long(source)?;
        let offset_delta = read_int(source)?;
        let key_bytes = skip_field(source, end)?;
        let value_bytes = skip_field(source, end)?;
        let header_count = read_length(source)?.ok_or(NEGATIVE_HEADERS)?;
        // Each header takes two bytes at least, so a false count ends at the record's end.
        for _ in 0..header_count {
            skip_field(source, end)?.ok_or(NULL_HEADER)?;
            skip_field(source, end)?;
        }
        match source.position() {
            position if position < end => return Err(TOO_LONG),
            position if position > end => return Err(TOO_SHORT),
            _ => {}
        }
        each(RecordMeta {
            index,
            offset_delta,
            timestamp_delta,
            key_bytes,
            value_bytes,
            header_count,
        });
    }
    source.finish()
}

pub(super) const NEGATIVE_HEADERS: BatchError =
    BatchError::Malformed("the header count is negative");
pub(super) const NULL_HEADER: BatchError = BatchError::Malformed("a header has no key");

fn skip_field(source: &mut impl Source, end: usize) -> Result<Option<usize>, BatchError> {
    let Some(length) = read_length(source)? else { return Ok(None) };
    if end.checked_sub(source.position()).is_none_or(|room| length > room) {
        return Err(TOO_SHORT);
    }
    source.skip(length)?;
    Ok(Some(length))
}

/// Records that are not compressed.
struct SliceSource<'a> {
    rest: &'a [u8],
}

impl ByteSource for SliceSource<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, BatchError> {
        self.rest.byte()
    }
}

impl Source for SliceSource<'_> {
    fn skip(&mut self, count: usize) -> Result<(), BatchError> {
        self.rest = self.rest.get(count..).ok_or(ENDS_EARLY)?;
        Ok(())
    }

    fn position(&self) -> usize {
        // Counts from the far end, which serves differences just as well.
        usize::MAX / 2 - self.rest.len()
    }

    fn finish(&mut self) -> Result<(), BatchError> {
        if self.rest.is_empty() { Ok(()) } else { Err(LEFT_OVER) }
    }
}

/// Records that are unpacked on the way.
struct StreamSource<'a> {
    unpacker: Unpacker<'a>,
    buffer: Box<[u8]>,
    at: usize,
    filled: usize,
    /// Bytes that were in the buffer before this one.
    before: usize,
    bytes_max: usize,
}

impl<'a> StreamSource<'a> {
    fn new(unpacker: Unpacker<'a>, bytes_max: usize) -> Self {
        let buffer = vec![0; limits::UNPACK_BUFFER_BYTES].into_boxed_slice();
        Self { unpacker, buffer, at: 0, filled: 0, before: 0, bytes_max }
    }

    /// Fills the buffer, which is used up. False at the end.
    #[cold]
    fn fill(&mut self) -> Result<bool, BatchError> {
        self.before += self.filled;
        self.at = 0;
        self.filled = 0;
        loop {
            match self.unpacker.read(&mut self.buffer) {
                Ok(count) => {
                    self.filled = count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unpack_error(&error, self.bytes_max)),
            }
        }
    }
}

impl ByteSource for StreamSource<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, BatchError> {
        if self.at == self.filled && !self.fill()? {
            return Err(ENDS_EARLY);
        }
        let byte = self.buffer[self.at];
        self.at += 1;
        Ok(byte)
    }
}

impl Source for StreamSource<'_> {
    fn skip(&mut self, mut count: usize) -> Result<(), BatchError> {
        while count > self.filled - self.at {
            count -= self.filled - self.at;
            self.at = self.filled;
            if !self.fill()? {
                return Err(ENDS_EARLY);
            }
        }
        self.at += count;
        Ok(())
    }

    fn position(&self) -> usize {
        self.before + self.at
    }

    fn finish(&mut self) -> Result<(), BatchError> {
        if self.at < self.filled || self.fill()? { Err(LEFT_OVER) } else { Ok(()) }
    }
}
