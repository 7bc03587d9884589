//! Messages made from a tape of bytes, for property tests and fuzzing.
//!
//! The schema knows every field, so it can also make one up. The same tape gives the same message;
//! an empty tape gives the smallest one, so that a test runner can shrink a failure by shortening
//! the tape.

use super::schema::Layout;
use super::{Str, TaggedFields};
use bytes::Bytes;

/// Where made-up values come from.
#[derive(Debug, Clone)]
pub struct Tape<'a> {
    rest: &'a [u8],
}

impl<'a> Tape<'a> {
    /// Reads `bytes`, and zeros for ever after.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number of up to 64 bits, often one at an edge of its type.
    pub fn number(&mut self) -> i64 {
        match self.byte() {
            0 => 0,
            1 => 1,
            2 => -1,
            3 => i64::MAX,
            4 => i64::MIN,
            5 => i64::from(i32::MAX),
            6 => i64::from(i32::MIN),
            7 => i64::from(i16::MIN),
            8..128 => i64::from(self.byte()),
            _ => i64::from_be_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// Whether a field that may be null is.
    pub fn is_null(&mut self) -> bool {
        self.byte() % 4 == 1
    }

    /// How many entries or bytes: few as a rule, sometimes more than one byte can count.
    pub fn length(&mut self) -> usize {
        match self.byte() {
            0 => 0,
            255 => 130 + usize::from(self.byte()),
            other => usize::from(other % 4),
        }
    }

    /// Bytes, sometimes enough of them to be shared rather than copied.
    pub fn bytes(&mut self) -> Bytes {
        let repeat = if self.byte() == 255 { 20 } else { 1 };
        let block: Vec<u8> = (0..self.length()).map(|_| self.byte()).collect();
        Bytes::from(block.repeat(repeat))
    }

    /// Text, not only ASCII.
    pub fn text(&mut self) -> Str {
        const CHARS: [char; 8] = ['a', 'b', '-', '.', '_', '0', 'ß', '語'];
        let length = self.length();
        let text: String =
            (0..length).map(|_| CHARS[usize::from(self.byte()) % CHARS.len()]).collect();
        Str::from(text)
    }

    /// Tagged fields from a later version of the protocol.
    pub fn tagged_fields(&mut self, layout: Layout) -> TaggedFields {
        let mut fields = TaggedFields::default();
        if layout.flexible && self.byte() > 200 {
            for tag in 0..=u32::from(self.byte() % 2) {
                fields.push(1000 + tag, self.bytes());
            }
        }
        fields
    }
}
