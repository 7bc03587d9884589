//! Whether a batch from a client may be appended; the rules are those of Kafka's broker.

use super::config::{LogConfig, Origin};
use super::error::{AppendError, RecordError};
use crate::limits;
use crate::protocol::records::{BatchError, BatchHeader, RecordMeta, TimestampKind, scan_records};
use crate::types::{Offset, TimestampMs};

/// What the checks learned about a batch.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) header: BatchHeader,
    /// The largest timestamp of its records, whatever the header says.
    pub(super) max_timestamp: TimestampMs,
}

fn invalid(message: impl Into<String>) -> AppendError {
    AppendError::InvalidRecord { message: message.into(), records: Vec::new() }
}

/// Checks exactly one batch, as a leader gets it.
pub(super) fn check(
    batch: &[u8],
    config: &LogConfig,
    origin: Origin,
    now: TimestampMs,
) -> Result<Checked, AppendError> {
    if batch.is_empty() {
        return Err(invalid("there is no record batch"));
    }
    let bytes_max = config.message_bytes_max as usize;
    if batch.len() > bytes_max && origin == Origin::Client {
        return Err(AppendError::TooLarge { bytes: batch.len(), bytes_max });
    }
    let header = match BatchHeader::parse(batch) {
        Ok(header) => header,
        Err(error @ BatchError::Magic(_)) => return Err(invalid(error.to_string())),
        Err(error) => return Err(AppendError::Corrupt(error.to_string())),
    };
    if header.total_bytes() < batch.len() {
        return Err(invalid("more than one record batch for one partition"));
    }
    BatchHeader::parse_checked(batch).map_err(|error| AppendError::Corrupt(error.to_string()))?;
    if let Err(error) = header.compression() {
        return Err(AppendError::UnsupportedCodec(error.to_string()));
    }
    if header.last_offset_delta < 0 || header.record_count < 0 {
        return Err(invalid("the batch has a negative offset range or record count"));
    }
    if origin == Origin::Client {
        check_client_header(&header)?;
        check_records(&header, batch, config, now)
    } else {
        let max_timestamp = super::records::max_timestamp(&header, batch);
        Ok(Checked { header, max_timestamp })
    }
}

fn check_client_header(header: &BatchHeader) -> Result<(), AppendError> {
    if header.base_offset != Offset::ZERO {
        return Err(invalid(format!("the base offset is {}, not 0", header.base_offset)));
    }
    if header.record_count == 0 {
        return Err(invalid("the batch has no records"));
    }
    // Widened: the largest delta has a count that no i32 holds.
    if i64::from(header.last_offset_delta) + 1 != i64::from(header.record_count) {
        return Err(invalid(format!(
            "the last offset delta is {}, but there are {} records",
            header.last_offset_delta, header.record_count
        )));
    }
    if header.is_control() {
        return Err(invalid("clients may not write control records"));
    }
    if header.has_producer() && header.base_sequence.0 < 0 {
        return Err(invalid(format!(
            "producer {} sent sequence {}",
            header.producer_id, header.base_sequence
        )));
    }
    if header.timestamp_kind() == TimestampKind::LogAppendTime {
        return Err(AppendError::InvalidTimestamp {
            message: "only the broker may set the timestamp type LogAppendTime".to_owned(),
            records: Vec::new(),
        });
    }
    Ok(())
}

/// Looks at the records one by one.
fn check_records(
    header: &BatchHeader,
    batch: &[u8],
    config: &LogConfig,
    now: TimestampMs,
) -> Result<Checked, AppendError> {
    let mut findings = Findings {
        keys: config.compact,
        earliest: match config.timestamp_kind {
            TimestampKind::CreateTime => now.0.saturating_sub(config.timestamp_before_ms_max),
            TimestampKind::LogAppendTime => i64::MIN,
        },
        latest: match config.timestamp_kind {
            TimestampKind::CreateTime => now.0.saturating_add(config.timestamp_after_ms_max),
            TimestampKind::LogAppendTime => i64::MAX,
        },
        max_timestamp: TimestampMs::NONE,
        gap: None,
        bad_time: false,
        errors: Vec::new(),
        error_count: 0,
    };
    scan_records(batch, limits::DECOMPRESSED_BYTES_MAX, |record| findings.look(header, record))
        .map_err(|error| match error {
            BatchError::Codec(_) => AppendError::UnsupportedCodec(error.to_string()),
            error => invalid(error.to_string()),
        })?;
    if let Some((index, delta)) = findings.gap {
        return Err(invalid(format!("record {index} has offset delta {delta}")));
    }
    if findings.error_count == 0 {
        return Ok(Checked { header: header.clone(), max_timestamp: findings.max_timestamp });
    }
    let count = findings.error_count;
    let records = findings.errors;
    Err(match findings.bad_time {
        true => AppendError::InvalidTimestamp {
            message: format!(
                "{count} records of the batch have errors, invalid timestamps among them"
            ),
            records,
        },
        false => AppendError::InvalidRecord {
            message: format!("{count} records of the batch have errors"),
            records,
        },
    })
}

struct Findings {
    /// Whether each record needs a key.
    keys: bool,
    earliest: i64,
    latest: i64,
    max_timestamp: TimestampMs,
    gap: Option<(usize, i32)>,
    bad_time: bool,
    errors: Vec<RecordError>,
    error_count: usize,
}

impl Findings {
    fn look(&mut self, header: &BatchHeader, record: RecordMeta) {
        if self.gap.is_none() && usize::try_from(record.offset_delta) != Ok(record.index) {
            self.gap = Some((record.index, record.offset_delta));
        }
        let timestamp = header.record_timestamp(record.timestamp_delta);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let in_range = (self.earliest..=self.latest).contains(&timestamp.0);
        if self.keys && !record.has_key() {
            self.refuse(record.index, "a record of a compacted topic needs a key".to_owned());
        } else if timestamp != TimestampMs::NONE && !in_range {
            self.bad_time = true;
            let range = format!("[{}, {}]", self.earliest, self.latest);
            self.refuse(record.index, format!("timestamp {timestamp} is not within {range}"));
        }
    }

    fn refuse(&mut self, index: usize, message: String) {
        self.error_count += 1;
        if self.errors.len() < limits::RECORD_ERRORS_MAX {
            let index = i32::try_from(index).unwrap_or(i32::MAX);
            self.errors.push(RecordError { index, message });
        }
    }
}
