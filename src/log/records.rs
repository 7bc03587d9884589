//! What the log has to know of the records inside a batch.

use crate::limits;
use crate::protocol::records::{
    BatchError, BatchHeader, ControlRecord, TimestampKind, decode_records, scan_records,
};
use crate::types::{Offset, TimestampMs};
use bytes::Bytes;

/// The largest timestamp of a batch's records, from the records themselves: some producers leave
/// the header's field at -1 or lie in it, and the stored header stays as it was sent. The header
/// is believed only where the records cannot be unpacked.
pub(super) fn max_timestamp(header: &BatchHeader, batch: &[u8]) -> TimestampMs {
    if header.timestamp_kind() == TimestampKind::LogAppendTime {
        return header.max_timestamp;
    }
    let mut max = TimestampMs::NONE;
    let scanned = scan_records(batch, limits::DECOMPRESSED_BYTES_MAX, |record| {
        max = max.max(header.record_timestamp(record.timestamp_delta));
    });
    if scanned.is_ok() { max } else { max.max(header.max_timestamp) }
}

/// The first record whose offset lies in the range and whose timestamp passes the test.
pub(super) fn find(
    header: &BatchHeader,
    batch: &[u8],
    from: Offset,
    upto: Offset,
    fits: impl Fn(TimestampMs) -> bool,
) -> Result<Option<(Offset, TimestampMs)>, BatchError> {
    let mut found = None;
    scan_records(batch, limits::DECOMPRESSED_BYTES_MAX, |record| {
        let offset = Offset(header.base_offset.0.saturating_add(i64::from(record.offset_delta)));
        let timestamp = header.record_timestamp(record.timestamp_delta);
        if found.is_none() && offset >= from && offset < upto && fits(timestamp) {
            found = Some((offset, timestamp));
        }
    })?;
    Ok(found)
}

/// The marker in a control batch, with its timestamp.
pub(super) fn marker(
    header: &BatchHeader,
    batch: &[u8],
) -> Result<Option<(ControlRecord, TimestampMs)>, BatchError> {
    let batch = Bytes::copy_from_slice(&batch[..header.total_bytes().min(batch.len())]);
    let Some(record) = decode_records(&batch, limits::DECOMPRESSED_BYTES_MAX)?.next() else {
        return Ok(None);
    };
    let record = record?;
    let control = ControlRecord::parse(record.key.as_deref(), record.value.as_deref())?;
    Ok(Some((control, header.record_timestamp(record.timestamp_delta))))
}
