//! Records with their contents, for whoever reads them.

use super::codec::decompress;
use super::scan::{NEGATIVE_HEADERS, NULL_HEADER, records_of};
use super::varint::{ENDS_EARLY, read_int, read_length, read_long};
use super::{BatchError, BatchHeader, Compression};
use bytes::Bytes;

/// One header of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// The key. UTF-8 by the rules, but no broker checks it; may come more than once in a record.
    pub key: Bytes,
    /// The value, which may be null.
    pub value: Option<Bytes>,
}

/// One record. Key, value and headers share the bytes of the batch (or of what it unpacked to).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Offset, less the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp, less the batch's base timestamp. See [`BatchHeader::record_timestamp`].
    pub timestamp_delta: i64,
    /// The key, which may be null.
    pub key: Option<Bytes>,
    /// The value; null is a tombstone where topics are compacted.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
}

/// The records of one batch, one by one. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Records {
    body: Bytes,
    at: usize,
    left: usize,
}

/// Unpacks the records of one whole batch. Compressed batches are unpacked at once, to at most
/// `bytes_max` bytes; what is not compressed is shared, not copied. The checksum is not checked.
///
/// # Errors
/// Those of [`BatchHeader::parse`], [`BatchError::Codec`], [`BatchError::TooLarge`] and
/// [`BatchError::Malformed`]. The records themselves are checked as they are taken.
pub fn decode_records(batch: &Bytes, bytes_max: usize) -> Result<Records, BatchError> {
    let header = BatchHeader::parse(batch)?;
    let (left, body) = records_of(&header, batch)?;
    if left == 0 {
        return Ok(Records { body: Bytes::new(), at: 0, left: 0 });
    }
    let body = match header.compression()? {
        Compression::None => batch.slice_ref(body),
        codec => Bytes::from(decompress(codec, body, bytes_max)?),
    };
    Ok(Records { body, at: 0, left })
}

impl Records {
    /// Records not taken yet, by the batch's own count.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.left
    }

    fn take_record(&mut self) -> Result<Record, BatchError> {
        let mut rest = &self.body[self.at..];
        let length =
            read_length(&mut rest)?.ok_or(BatchError::Malformed("a record has no length"))?;
        let start = self.body.len() - rest.len();
        let (record, _) = rest.split_at_checked(length).ok_or(ENDS_EARLY)?;
        self.at = start + length;
        let mut fields = Fields { body: &self.body, rest: record };
        let record = fields.record()?;
        if fields.rest.is_empty() {
            Ok(record)
        } else {
            Err(BatchError::Malformed("a record is shorter than its length says"))
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let mut record = self.take_record();
        if record.is_ok() && self.left == 0 && self.at < self.body.len() {
            record = Err(BatchError::Malformed("bytes follow the last record"));
        }
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}

/// The bytes of one record.
struct Fields<'a> {
    body: &'a Bytes,
    rest: &'a [u8],
}

impl Fields<'_> {
    fn record(&mut self) -> Result<Record, BatchError> {
        self.rest = self.rest.get(1..).ok_or(ENDS_EARLY)?; // attributes, unused
        let timestamp_delta = read_long(&mut self.rest)?;
        let offset_delta = read_int(&mut self.rest)?;
        let key = self.bytes()?;
        let value = self.bytes()?;
        let count = read_length(&mut self.rest)?.ok_or(NEGATIVE_HEADERS)?;
        // Each takes two bytes at least.
        if count > self.rest.len() / 2 {
            return Err(ENDS_EARLY);
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            headers.push(Header { key: self.bytes()?.ok_or(NULL_HEADER)?, value: self.bytes()? });
        }
        Ok(Record { offset_delta, timestamp_delta, key, value, headers })
    }

    fn bytes(&mut self) -> Result<Option<Bytes>, BatchError> {
        let Some(length) = read_length(&mut self.rest)? else { return Ok(None) };
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(Some(self.body.slice_ref(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::records::{BatchBuilder, BatchIter, RecordMeta, scan_records};
    use crate::types::TimestampMs;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    fn header(key: &'static str, value: Option<&'static str>) -> Header {
        Header { key: Bytes::from(key), value: value.map(Bytes::from) }
    }

    fn sample(codec: Compression) -> Bytes {
        let mut builder = BatchBuilder::new(codec);
        let twice = [header("h", Some("1")), header("h", None), header("", Some(""))];
        builder.append(TimestampMs(1_700_000_000_000), Some(b"key"), Some(b"value"), &twice);
        builder.append(TimestampMs(1_600_000_000_000), None, None, &[]);
        builder.append(TimestampMs(1_800_000_000_000), Some(b""), Some(&[7; 50_000]), &[]);
        builder.build()
    }

    fn metas(batch: &[u8], bytes_max: usize) -> Result<Vec<RecordMeta>, BatchError> {
        let mut found = Vec::new();
        scan_records(batch, bytes_max, |meta| found.push(meta))?;
        Ok(found)
    }

    #[test]
    fn records_survive_every_codec_and_the_scan_agrees() {
        for codec in CODECS {
            let batch = sample(codec);
            let header = BatchHeader::parse_checked(&batch).expect("built well");
            assert_eq!(header.compression(), Ok(codec));
            assert_eq!(header.max_timestamp, TimestampMs(1_800_000_000_000));
            assert_eq!((header.record_count, header.last_offset_delta), (3, 2));
            let records: Vec<Record> =
                decode_records(&batch, 1 << 20).and_then(Iterator::collect).expect("three records");
            assert_eq!(records[0].headers.len(), 3, "duplicate keys are kept");
            assert_eq!(records[0].headers[1].value, None);
            assert_eq!(records[1].key, None);
            assert_eq!(records[2].key.as_deref(), Some(b"".as_slice()));
            let time = header.record_timestamp(records[1].timestamp_delta);
            assert_eq!(time, TimestampMs(1_600_000_000_000));
            let scanned = metas(&batch, 1 << 20).expect("the same three records");
            assert_eq!(scanned.len(), 3);
            for (meta, record) in scanned.iter().zip(&records) {
                assert_eq!(meta.offset_delta, record.offset_delta);
                assert_eq!(meta.timestamp_delta, record.timestamp_delta);
                assert_eq!(meta.key_bytes, record.key.as_ref().map(Bytes::len));
                assert_eq!(meta.value_bytes, record.value.as_ref().map(Bytes::len));
                assert_eq!(meta.header_count, record.headers.len());
            }
        }
    }

    #[test]
    fn unpacking_stops_at_the_limit() {
        for codec in &CODECS[1..] {
            let batch = sample(*codec);
            let too_large = Err(BatchError::TooLarge(50_000));
            assert_eq!(metas(&batch, 50_000).map(|_| ()), too_large, "{codec:?}");
            assert_eq!(decode_records(&batch, 50_000).map(|_| ()), too_large, "{codec:?}");
        }
    }

    #[test]
    fn trap_15_compression_unknown_codec_bits() {
        for bits in 5..8 {
            let mut batch = sample(Compression::None).to_vec();
            batch[22] |= bits;
            assert_eq!(metas(&batch, 1 << 20), Err(BatchError::Codec(bits)));
            let refused = decode_records(&Bytes::from(batch), 1 << 20);
            assert_eq!(refused.map(|_| ()), Err(BatchError::Codec(bits)));
        }
    }

    #[test]
    fn trap_3_timestamps_64_bit_delta() {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(TimestampMs(0), None, None, &[]);
        builder.append(TimestampMs(i64::MAX), None, None, &[]);
        builder.append(TimestampMs(-5), None, None, &[]);
        let batch = builder.build();
        let deltas: Vec<i64> = metas(&batch, 1 << 20)
            .expect("three records")
            .iter()
            .map(|meta| meta.timestamp_delta)
            .collect();
        assert_eq!(deltas, [0, i64::MAX, -5]);
    }

    #[test]
    fn trap_5_compaction_base_and_last_offset_delta() {
        // What compaction leaves: gaps inside, and even no records at all, in the old span.
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append_at(3, TimestampMs(9), Some(b"k"), None, &[]);
        builder.append_at(7, TimestampMs(9), Some(b"l"), None, &[]);
        let batch = builder.build();
        let header = BatchHeader::parse_checked(&batch).expect("built well");
        assert_eq!((header.last_offset_delta, header.record_count), (7, 2));
        let offsets: Vec<i32> =
            metas(&batch, 100).expect("two").iter().map(|meta| meta.offset_delta).collect();
        assert_eq!(offsets, [3, 7]);
        let mut empty = header.clone();
        empty.record_count = 0;
        empty.batch_length = (BatchHeader::SIZE - BatchHeader::LENGTH_PREFIX) as i32;
        let both = [empty.encode().as_slice(), &batch].concat();
        let found: Vec<_> = BatchIter::new(&both).map(|batch| batch.expect("whole").0).collect();
        assert_eq!(found[0].last_offset().0, 7);
        assert_eq!(metas(&both, 100), Ok(Vec::new()), "a batch without records is no error");
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let batch = sample(Compression::None);
        let flipped = |at: usize, byte: u8| {
            let mut damaged = batch.to_vec();
            damaged[at] = byte;
            let scanned = metas(&damaged, 1 << 20).map(|_| ());
            let decoded = decode_records(&Bytes::from(damaged), 1 << 20)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>);
            assert!(scanned.is_err() && decoded.is_err(), "byte {at} = {byte}");
        };
        flipped(60, 4); // one record more than there are
        flipped(60, 2); // one fewer: bytes are left over
        flipped(57, 0x80); // a negative count
        flipped(61, 0x02); // a first record of one byte
        flipped(61, 0x01); // a first record of length -1
    }

    #[test]
    fn a_batch_cut_short_ends_the_iteration_with_an_error() {
        let batch = sample(Compression::None);
        let two = [batch.as_ref(), &batch[..batch.len() - 1]].concat();
        let mut iter = BatchIter::new(&two);
        assert!(iter.next().is_some_and(|first| first.is_ok()));
        assert_eq!(iter.position(), batch.len());
        assert!(matches!(iter.next(), Some(Err(BatchError::Truncated { .. }))));
        assert!(iter.next().is_none());
    }
}
