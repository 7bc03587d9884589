//! A record as JSON: what `consume -o jsonl` prints, and `produce -i jsonl` reads.
//!
//! ```text
//! {"topic":"t","partition":0,"offset":7,"timestamp":1700000000000,"key":"k","value":"v",
//!  "headers":[{"key":"h","value":"x"}]}
//! ```
//!
//! Bytes that are not UTF-8 are written as base64, and the field gets a neighbour that says so:
//! `"value_encoding":"base64"`.

use crate::client::consumer::ConsumerRecord;
use crate::protocol::records::{Header, TimestampKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::io::{self, Write};

#[derive(Serialize)]
struct JsonRecord<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_type: Option<&'static str>,
    key: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<&'static str>,
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_encoding: Option<&'static str>,
    headers: Vec<JsonHeader<'a>>,
}

#[derive(Serialize)]
struct JsonHeader<'a> {
    key: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<&'static str>,
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_encoding: Option<&'static str>,
}

/// The bytes as text, and how they had to be encoded if they are none.
pub(super) fn text_of(bytes: &[u8]) -> (Cow<'_, str>, Option<&'static str>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(_) => (Cow::Owned(STANDARD.encode(bytes)), Some("base64")),
    }
}

fn optional_text(bytes: Option<&Bytes>) -> (Option<Cow<'_, str>>, Option<&'static str>) {
    match bytes {
        None => (None, None),
        Some(bytes) => {
            let (text, encoding) = text_of(bytes);
            (Some(text), encoding)
        }
    }
}

/// Writes a record as one line of JSON, without the line's end.
pub(super) fn write(record: &ConsumerRecord, out: &mut impl Write) -> io::Result<()> {
    let (key, key_encoding) = optional_text(record.key.as_ref());
    let (value, value_encoding) = optional_text(record.value.as_ref());
    let header = |header: &'_ Header| -> JsonHeader<'static> {
        let (key, key_encoding) = text_of(&header.key);
        let (value, value_encoding) = optional_text(header.value.as_ref());
        JsonHeader {
            key: Cow::Owned(key.into_owned()),
            key_encoding,
            value: value.map(|value| Cow::Owned(value.into_owned())),
            value_encoding,
        }
    };
    let stamped = record.timestamp_kind == TimestampKind::LogAppendTime;
    let json = JsonRecord {
        topic: &record.topic,
        partition: record.partition,
        offset: record.offset.0,
        timestamp: record.timestamp.0,
        timestamp_type: stamped.then_some("log_append_time"),
        key,
        key_encoding,
        value,
        value_encoding,
        headers: record.headers.iter().map(header).collect(),
    };
    Ok(serde_json::to_writer(out, &json)?)
}

/// A record that was read from JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) partition: Option<i32>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<Header>,
}

/// Fields that a record may have. Topic and offset are given anew, and read over.
const FIELDS: [&str; 10] = [
    "topic",
    "partition",
    "offset",
    "timestamp",
    "timestamp_type",
    "key",
    "key_encoding",
    "value",
    "value_encoding",
    "headers",
];

/// Reads one record.
///
/// # Errors
/// Says what is wrong, in words that fit after "line 7: ".
pub(super) fn read(line: &[u8]) -> Result<Read, String> {
    if line.trim_ascii() == b"[" {
        return Err(
            "a JSON list; records are read one a line, as consume -o jsonl prints them".into()
        );
    }
    let value: Value = serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}"))?;
    let Value::Object(object) = value else { return Err("not a JSON object".to_owned()) };
    for field in object.keys() {
        if !FIELDS.contains(&field.as_str()) {
            let near = super::failure::nearest(field, FIELDS.into_iter());
            let near = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
            return Err(format!("unknown field '{field}'{near}"));
        }
    }
    if !object.contains_key("value") {
        return Err("the field 'value' is missing; write null for a tombstone".to_owned());
    }
    let partition = integer(&object, "partition")?
        .map(|number| i32::try_from(number).map_err(|_| format!("partition {number} is too large")))
        .transpose()?;
    let timestamp_ms = integer(&object, "timestamp")?.filter(|ms| *ms >= 0);
    let mut headers = Vec::new();
    match object.get("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Array(list)) => {
            for header in list {
                let Value::Object(header) = header else {
                    return Err("a header is not a JSON object".to_owned());
                };
                let key = bytes(header, "key", "key_encoding")?;
                let key = key.ok_or("a header has no key")?;
                headers.push(Header { key, value: bytes(header, "value", "value_encoding")? });
            }
        }
        Some(_) => return Err("'headers' is not a list of objects".to_owned()),
    }
    Ok(Read {
        partition,
        timestamp_ms,
        key: bytes(&object, "key", "key_encoding")?,
        value: bytes(&object, "value", "value_encoding")?,
        headers,
    })
}

fn integer(object: &Map<String, Value>, field: &str) -> Result<Option<i64>, String> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(format!("'{field}' is not a whole number")),
        },
    }
}

fn bytes(
    object: &Map<String, Value>,
    field: &str,
    encoding: &str,
) -> Result<Option<Bytes>, String> {
    let text = match object.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(_) => return Err(format!("'{field}' is neither a text nor null")),
    };
    match object.get(encoding).map(|value| value.as_str()) {
        None => Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
        Some(Some("base64")) => match STANDARD.decode(text) {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(error) => Err(format!("'{field}' is marked as base64, but: {error}")),
        },
        Some(_) => Err(format!("'{encoding}' can only be \"base64\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LeaderEpoch, Offset, TimestampMs};
    use std::sync::Arc;

    #[test]
    fn what_is_written_is_read_back() {
        let record = ConsumerRecord {
            topic: Arc::from("t"),
            partition: 3,
            offset: Offset(9),
            timestamp: TimestampMs(1_700_000_000_000),
            timestamp_kind: TimestampKind::CreateTime,
            leader_epoch: LeaderEpoch(0),
            key: Some(Bytes::from_static(b"\xff\x00")),
            value: Some(Bytes::from_static("grün\n\"".as_bytes())),
            headers: vec![
                Header { key: Bytes::from_static(b"h"), value: Some(Bytes::from_static(b"\x80")) },
                Header { key: Bytes::from_static(b"h"), value: None },
            ],
        };
        let mut line = Vec::new();
        write(&record, &mut line).expect("to memory");
        let text = String::from_utf8(line.clone()).expect("JSON is UTF-8");
        assert!(text.contains(r#""key":"/wA=","key_encoding":"base64","value":"grün"#), "{text}");
        let read = read(&line).expect("valid");
        assert_eq!((read.key, read.value), (record.key, record.value));
        assert_eq!((read.partition, read.timestamp_ms), (Some(3), Some(1_700_000_000_000)));
        assert_eq!(read.headers, record.headers);
    }

    #[test]
    fn what_is_no_record_is_refused_with_a_reason() {
        let why = |text: &str| read(text.as_bytes()).expect_err("not a record");
        assert!(why(r#"{"vlaue":"x"}"#).contains("did you mean 'value'?"));
        assert!(why(r#"{"key":"x"}"#).contains("'value' is missing"));
        assert!(why(r#"{"value":7}"#).contains("neither a text nor null"));
        assert!(why(r#"{"value":"!","value_encoding":"base64"}"#).contains("base64"));
        assert!(why("[]").contains("not a JSON object"));
        assert!(why("{").contains("no JSON"));
        assert!(why("[").contains("consume -o jsonl"));
    }
}
