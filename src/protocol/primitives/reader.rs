//! Reads one frame.

use super::{DecodeError, TaggedFields};
use crate::limits;
use crate::protocol::Str;
use bytes::Bytes;

/// Reads one frame, front to back. Bytes and texts that it gives out share the frame.
#[derive(Debug, Clone)]
pub struct Reader {
    frame: Bytes,
    at: usize,
    /// Memory that arrays may still take; see [`Reader::charge`].
    budget: usize,
}

impl Reader {
    /// Reads `frame` from its first byte.
    #[must_use]
    pub fn new(frame: Bytes) -> Self {
        let budget = limits::DECODED_BYTES_FREE
            .saturating_add(frame.len().saturating_mul(limits::DECODED_BYTES_PER_FRAME_BYTE));
        Self { frame, at: 0, budget }
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.frame.len() - self.at
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Fails unless every byte has been read.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`].
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.left() == 0 { Ok(()) } else { Err(DecodeError::Trailing(self.left())) }
    }

    /// The rest of the frame, shared; the reader is at its end afterwards.
    pub fn take_rest(&mut self) -> Bytes {
        let rest = self.frame.slice(self.at..);
        self.at = self.frame.len();
        rest
    }

    /// The next `count` bytes, shared.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn take(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        self.need(count)?;
        let bytes = self.frame.slice(self.at..self.at + count);
        self.at += count;
        Ok(bytes)
    }

    /// The next `N` bytes, copied.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.frame.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.truncated(N)),
        }
    }

    /// An unsigned variable-length number of up to 32 bits.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] or [`DecodeError::Varint`].
    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u64;
        for shift in 0..5 {
            let [byte] = self.array::<1>()?;
            value |= u64::from(byte & 0x7f) << (shift * 7);
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| DecodeError::Varint);
            }
        }
        Err(DecodeError::Varint)
    }

    /// The length in front of a text or of bytes: nothing for null.
    fn length(&mut self, flexible: bool, short: bool) -> Result<Option<usize>, DecodeError> {
        let length = if flexible {
            i64::from(self.unsigned_varint()?) - 1
        } else if short {
            i64::from(i16::from_be_bytes(self.array()?))
        } else {
            i64::from(i32::from_be_bytes(self.array()?))
        };
        match length {
            -1 => Ok(None),
            // Kafka refuses texts that the old two-byte length could not carry.
            0.. if !short || length <= i64::from(i16::MAX) => {
                usize::try_from(length).map(Some).map_err(|_| DecodeError::Length(length))
            }
            _ => Err(DecodeError::Length(length)),
        }
    }

    /// A text, or null.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], [`DecodeError::Length`] or [`DecodeError::Utf8`].
    pub fn string(&mut self, flexible: bool) -> Result<Option<Str>, DecodeError> {
        match self.length(flexible, true)? {
            None => Ok(None),
            Some(0) => Ok(Some(Str::EMPTY)),
            Some(length) => {
                let bytes = self.take(length)?;
                Str::from_utf8(bytes).map(Some).map_err(|_| DecodeError::Utf8)
            }
        }
    }

    /// Bytes (or record batches), or null.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] or [`DecodeError::Length`].
    pub fn bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        match self.length(flexible, false)? {
            None => Ok(None),
            Some(0) => Ok(Some(Bytes::new())),
            Some(length) => self.take(length).map(Some),
        }
    }

    /// The count in front of an array, or null: checked against the bytes that are left, at
    /// `entry_bytes_min` an entry, and against the memory of `entry_memory` an entry.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], [`DecodeError::Length`], [`DecodeError::Count`] or
    /// [`DecodeError::Memory`].
    pub fn count(
        &mut self,
        flexible: bool,
        entry_bytes_min: usize,
        entry_memory: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let Some(count) = self.length(flexible, false)? else { return Ok(None) };
        let left = self.left();
        let fits = count.checked_mul(entry_bytes_min.max(1)).is_some_and(|bytes| bytes <= left);
        if !fits || count > limits::ARRAY_ENTRIES_MAX {
            return Err(DecodeError::Count { count, left });
        }
        self.charge(count, entry_memory)?;
        Ok(Some(count))
    }

    /// Takes the memory of `count` entries from the frame's budget. Tiny entries on the wire may
    /// be large values here, so the check against the bytes left is not enough on its own.
    fn charge(&mut self, count: usize, entry_memory: usize) -> Result<(), DecodeError> {
        let cost = count.saturating_mul(entry_memory);
        match self.budget.checked_sub(cost) {
            Some(budget) => {
                self.budget = budget;
                Ok(())
            }
            None => Err(DecodeError::Memory(self.frame.len())),
        }
    }

    /// Reads the tagged fields at the end of a structure. `known` decodes a field from a reader
    /// over just its bytes, or says that it does not know the tag; then the field is kept.
    ///
    /// # Errors
    /// What `known` fails with, and what damaged fields give.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<TaggedFields, DecodeError> {
        let count = self.unsigned_varint()? as usize;
        let mut unknown = TaggedFields::default();
        if count == 0 {
            return Ok(unknown);
        }
        if count > limits::TAGGED_FIELDS_MAX {
            return Err(DecodeError::TaggedFields(count));
        }
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            let length = self.unsigned_varint()? as usize;
            let bytes = self.take(length)?;
            let mut inner = Self { frame: bytes, at: 0, budget: self.budget };
            if known(tag, &mut inner)? {
                if inner.left() != 0 {
                    return Err(DecodeError::TaggedField(tag));
                }
                self.budget = inner.budget;
            } else {
                // The first takes a vector with room for a few; a vector that grows holds its old
                // and its doubled room for a moment.
                let fields = if unknown.is_empty() { 5 } else { 3 };
                self.charge(fields, size_of::<(u32, Bytes)>())?;
                unknown.push(tag, inner.frame);
            }
        }
        Ok(unknown)
    }

    fn need(&self, count: usize) -> Result<(), DecodeError> {
        if count <= self.left() { Ok(()) } else { Err(self.truncated(count)) }
    }

    fn truncated(&self, count: usize) -> DecodeError {
        DecodeError::Truncated { at: self.at, missing: count.saturating_sub(self.left()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &'static [u8]) -> Reader {
        Reader::new(Bytes::from_static(bytes))
    }

    #[test]
    fn variable_length_numbers_end_within_five_bytes_and_32_bits() {
        assert_eq!(reader(&[0xac, 0x02]).unsigned_varint(), Ok(300));
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).unsigned_varint(), Ok(u32::MAX));
        let too_wide = reader(&[0xff, 0xff, 0xff, 0xff, 0x1f]).unsigned_varint();
        assert_eq!(too_wide, Err(DecodeError::Varint));
        let endless = reader(&[0x80; 6]).unsigned_varint();
        assert_eq!(endless, Err(DecodeError::Varint));
        assert!(reader(&[0x80]).unsigned_varint().is_err());
    }

    #[test]
    fn lengths_are_null_or_possible() {
        assert_eq!(reader(&[0xff, 0xff]).string(false), Ok(None));
        assert_eq!(reader(&[0]).string(true), Ok(None));
        assert_eq!(reader(&[0xff, 0xfe]).string(false), Err(DecodeError::Length(-2)));
        assert_eq!(reader(&[0, 1, 0xff]).string(false), Err(DecodeError::Utf8));
        let missing = DecodeError::Truncated { at: 2, missing: 4 };
        assert_eq!(reader(&[0, 5, b'a']).string(false), Err(missing));
        // 32,768 as a compact length: more than the two-byte length of old could carry.
        let long = reader(&[0x81, 0x80, 0x02]).string(true);
        assert_eq!(long, Err(DecodeError::Length(32_768)));
        assert_eq!(reader(&[0xff; 4]).bytes(false), Ok(None));
        assert!(reader(&[0x80, 0, 0, 0]).bytes(false).is_err());
    }

    #[test]
    fn counts_are_checked_before_memory_is_taken() {
        let claim = reader(&[0, 0, 0, 3, 1, 2]).count(false, 1, 8);
        assert_eq!(claim, Err(DecodeError::Count { count: 3, left: 2 }));
        assert_eq!(reader(&[0, 0, 0, 2, 1, 2]).count(false, 1, 8), Ok(Some(2)));
        let heavy = reader(&[0, 0, 0, 2, 1, 2]).count(false, 1, limits::DECODED_BYTES_FREE);
        assert_eq!(heavy, Err(DecodeError::Memory(6)));
    }

    #[test]
    fn a_known_tagged_field_fills_its_length() {
        let mut fields = reader(&[2, 7, 2, 0, 1, 9, 1, 5]);
        let unknown = fields.tagged_fields(|tag, inner| {
            if tag == 7 {
                assert_eq!(inner.array::<2>(), Ok([0, 1]));
            }
            Ok(tag == 7)
        });
        assert_eq!(unknown.expect("two fields").as_slice(), [(9, Bytes::from_static(&[5]))]);
        let short = reader(&[1, 7, 2, 0, 1]).tagged_fields(|_, inner| {
            inner.array::<1>()?;
            Ok(true)
        });
        assert_eq!(short, Err(DecodeError::TaggedField(7)));
    }
}
