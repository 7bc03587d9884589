//! `consume -f`: a line per record as kcat's users write it.

use super::text::unescape_one;
use crate::client::consumer::ConsumerRecord;
use std::io::{self, Write};

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    KeyLength,
    Value,
    ValueLength,
    ValueLengthBinary,
    Timestamp,
    Headers,
}

/// What a template may hold, for the help.
pub(super) const TEMPLATE_HELP: &str = "%t topic, %p partition, %o offset, %k key, %K key length, \
%s value, %S value length, %R value length as four bytes, %T timestamp (ms), %h headers, %% a percent sign; \
\\n \\r \\t \\0 \\xNN";

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Says what in it has no meaning.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['%', '\\']) {
            plain.extend_from_slice(&rest.as_bytes()[..at]);
            let after = &rest[at + 1..];
            if rest[at..].starts_with('\\') {
                rest = unescape_one(after, &mut plain)?;
                continue;
            }
            let mut characters = after.chars();
            let piece = match characters.next() {
                Some('%') => None,
                Some('t') => Some(Piece::Topic),
                Some('p') => Some(Piece::Partition),
                Some('o') => Some(Piece::Offset),
                Some('k') => Some(Piece::Key),
                Some('K') => Some(Piece::KeyLength),
                Some('s') => Some(Piece::Value),
                Some('S') => Some(Piece::ValueLength),
                Some('R') => Some(Piece::ValueLengthBinary),
                Some('T') => Some(Piece::Timestamp),
                Some('h') => Some(Piece::Headers),
                Some(other) => return Err(format!("'%{other}' is not known; {TEMPLATE_HELP}")),
                None => return Err("a '%' stands at the end; write %% for one".to_owned()),
            };
            match piece {
                None => plain.push(b'%'),
                Some(piece) => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(piece);
                }
            }
            rest = characters.as_str();
        }
        plain.extend_from_slice(rest.as_bytes());
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// Writes a record. `null` stands for a key or value that is null.
    pub(super) fn write(
        &self,
        record: &ConsumerRecord,
        null: &[u8],
        out: &mut impl Write,
    ) -> io::Result<()> {
        let length = |field: &Option<bytes::Bytes>| {
            field.as_ref().map_or(-1, |field| i64::try_from(field.len()).unwrap_or(i64::MAX))
        };
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.write_all(text)?,
                Piece::Topic => out.write_all(record.topic.as_bytes())?,
                Piece::Partition => write!(out, "{}", record.partition)?,
                Piece::Offset => write!(out, "{}", record.offset)?,
                Piece::Key => out.write_all(record.key.as_deref().unwrap_or(null))?,
                Piece::KeyLength => write!(out, "{}", length(&record.key))?,
                Piece::Value => out.write_all(record.value.as_deref().unwrap_or(null))?,
                Piece::ValueLength => write!(out, "{}", length(&record.value))?,
                Piece::ValueLengthBinary => {
                    out.write_all(&(length(&record.value) as i32).to_be_bytes())?;
                }
                Piece::Timestamp => write!(out, "{}", record.timestamp)?,
                Piece::Headers => {
                    for (place, header) in record.headers.iter().enumerate() {
                        if place > 0 {
                            out.write_all(b",")?;
                        }
                        out.write_all(&header.key)?;
                        out.write_all(b"=")?;
                        out.write_all(header.value.as_deref().unwrap_or(b"NULL"))?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::records::{Header, TimestampKind};
    use crate::types::{LeaderEpoch, Offset, TimestampMs};
    use bytes::Bytes;
    use std::sync::Arc;

    #[test]
    fn every_field_of_a_record_can_be_written() {
        let record = ConsumerRecord {
            topic: Arc::from("t"),
            partition: 3,
            offset: Offset(9),
            timestamp: TimestampMs(17),
            timestamp_kind: TimestampKind::CreateTime,
            leader_epoch: LeaderEpoch(0),
            key: None,
            value: Some(Bytes::from_static(b"abc")),
            headers: vec![
                Header { key: Bytes::from_static(b"a"), value: Some(Bytes::from_static(b"1")) },
                Header { key: Bytes::from_static(b"b"), value: None },
            ],
        };
        let write = |text: &str| {
            let mut out = Vec::new();
            let template = Template::parse(text).expect("valid");
            template.write(&record, b"NULL", &mut out).expect("to memory");
            out
        };
        assert_eq!(
            write(r"%t/%p/%o %k(%K)=%s(%S) @%T [%h] 100%%\n"),
            b"t/3/9 NULL(-1)=abc(3) @17 [a=1,b=NULL] 100%\n"
        );
        assert_eq!(write(r"%R\x00"), b"\0\0\0\x03\0");
        assert!(Template::parse("%q").is_err());
        assert!(Template::parse("50%").is_err());
    }
}
