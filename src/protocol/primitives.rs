//! The primitive types of the Kafka protocol: a reader over one frame, and a writer that collects
//! the pieces of one.

use super::Str;
use crate::limits;
use bytes::{BufMut, Bytes, BytesMut};

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame ends before the value does.
    #[error("frame ends {missing} bytes too early, at byte {at}")]
    Truncated {
        /// Where the value begins.
        at: usize,
        /// Bytes that are not there.
        missing: usize,
    },
    /// A length or count that is negative (other than -1) or has no meaning.
    #[error("length {0} is not possible here")]
    Length(i64),
    /// More entries than the bytes that are left could hold, or than [`limits`] allows.
    #[error("{count} entries cannot fit in the {left} bytes that are left")]
    Count {
        /// What the frame claims.
        count: usize,
        /// Bytes after the claim.
        left: usize,
    },
    /// The values would take far more memory than the frame.
    #[error("frame of {0} bytes unpacks to too much memory")]
    Memory(usize),
    /// More tagged fields in one structure than [`limits::TAGGED_FIELDS_MAX`].
    #[error("{0} tagged fields in one structure")]
    TaggedFields(usize),
    /// Null where this version knows no null.
    #[error("null where a value must be")]
    Null,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A variable-length number of more than five (or ten) bytes.
    #[error("variable-length number does not end")]
    Varint,
    /// A tagged field that is shorter or longer than it says.
    #[error("tagged field {0} does not fill its length")]
    TaggedField(u32),
    /// The message ended, and bytes are left.
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
    /// An API that does not exist.
    #[error("API key {0} does not exist")]
    UnknownApi(i16),
    /// A version that is not served (or, on our client's side, not known).
    #[error("version {version} of API {api} is not supported")]
    UnsupportedVersion {
        /// The API.
        api: i16,
        /// Its version.
        version: i16,
    },
}

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

/// Tagged fields that this version of the schema does not know: kept, and written back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaggedFields(Option<Box<Vec<(u32, Bytes)>>>);

impl TaggedFields {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Tags and contents, in the order in which they came.
    #[must_use]
    pub fn as_slice(&self) -> &[(u32, Bytes)] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Adds a field.
    pub fn push(&mut self, tag: u32, content: Bytes) {
        self.0.get_or_insert_default().push((tag, content));
    }
}

/// A piece of what was written.
#[derive(Debug, Clone)]
enum Piece {
    /// Written here.
    Own(BytesMut),
    /// Handed over whole.
    Shared(Bytes),
}

/// The longest start of `text` that the protocol can carry.
fn cut_to_protocol(text: &str) -> &str {
    let mut end = text.len().min(i16::MAX as usize);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Payloads of at least this many bytes are handed over; smaller ones are cheaper to copy.
const SHARE_BYTES_MIN: usize = 1024;

/// Collects one message: small values are copied into buffers of its own, large [`Bytes`] (record
/// batches) are kept as they are and never copied.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    pieces: Vec<Piece>,
    current: BytesMut,
    /// Bytes in `pieces`.
    before: usize,
    framed: bool,
}

impl Writer {
    /// A writer of plain bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer whose result begins with the four bytes of its length, as every request and
    /// response does on a connection.
    #[must_use]
    pub fn framed() -> Self {
        let mut writer = Self { current: BytesMut::with_capacity(256), ..Self::default() };
        writer.put(&[0; 4]);
        writer.framed = true;
        writer
    }

    /// Bytes written so far, the frame's length included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.before + self.current.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies bytes in.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.current.put_slice(bytes);
    }

    /// Takes bytes over: without a copy, unless they are few.
    pub fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARE_BYTES_MIN {
            self.put(bytes);
            return;
        }
        self.close_current();
        self.before += bytes.len();
        self.pieces.push(Piece::Shared(bytes.clone()));
    }

    /// Appends all that another writer collected.
    pub fn append(&mut self, other: Self) {
        for piece in other.pieces {
            match piece {
                Piece::Own(bytes) => self.put(&bytes),
                Piece::Shared(bytes) => self.put_shared(&bytes),
            }
        }
        self.put(&other.current);
    }

    /// An unsigned variable-length number.
    #[inline]
    pub fn put_unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.current.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.current.put_u8(value as u8);
    }

    /// The count in front of an array, or null.
    ///
    /// # Panics
    /// With more than `i32::MAX` entries, which no caller can have.
    pub fn put_count(&mut self, count: Option<usize>, flexible: bool) {
        let count =
            count.map(|count| i32::try_from(count).expect("invariant: no array has 2^31 entries"));
        match (count, flexible) {
            (Some(count), true) => self.put_unsigned_varint(count as u32 + 1),
            (None, true) => self.put_unsigned_varint(0),
            (count, false) => self.put(&count.unwrap_or(-1).to_be_bytes()),
        }
    }

    /// A text, or null. Texts end at 32,767 bytes (at a character's edge), the most that the
    /// protocol can carry.
    pub fn put_string(&mut self, text: Option<&str>, flexible: bool) {
        let text = text.map(cut_to_protocol);
        match (text, flexible) {
            (Some(text), true) => self.put_unsigned_varint(text.len() as u32 + 1),
            (Some(text), false) => self.put(&(text.len() as i16).to_be_bytes()),
            (None, true) => self.put_unsigned_varint(0),
            (None, false) => self.put(&(-1i16).to_be_bytes()),
        }
        self.put(text.unwrap_or_default().as_bytes());
    }

    /// Bytes (or record batches), or null.
    pub fn put_bytes(&mut self, bytes: Option<&Bytes>, flexible: bool) {
        self.put_count(bytes.map(Bytes::len), flexible);
        if let Some(bytes) = bytes {
            self.put_shared(bytes);
        }
    }

    /// The tagged fields at the end of a structure: `known` in ascending order of tag, and the
    /// unknown ones that came with it, merged as KIP-482 asks.
    pub fn put_tagged_fields(&mut self, known: Vec<(u32, Self)>, unknown: &TaggedFields) {
        let unknown = unknown.as_slice();
        self.put_unsigned_varint((known.len() + unknown.len()) as u32);
        if unknown.is_empty() {
            for (tag, content) in known {
                self.put_tagged_field(tag, content);
            }
            return;
        }
        let mut all = known;
        for (tag, content) in unknown {
            let mut writer = Self::new();
            writer.put_shared(content);
            all.push((*tag, writer));
        }
        all.sort_by_key(|(tag, _)| *tag);
        for (tag, content) in all {
            self.put_tagged_field(tag, content);
        }
    }

    fn put_tagged_field(&mut self, tag: u32, content: Self) {
        self.put_unsigned_varint(tag);
        self.put_unsigned_varint(content.len() as u32);
        self.append(content);
    }

    /// The pieces, in order; none of them is empty.
    #[must_use]
    pub fn into_chunks(mut self) -> Vec<Bytes> {
        self.close_current();
        if self.framed {
            let length = u32::try_from(self.before - 4).unwrap_or(u32::MAX);
            if let Some(Piece::Own(first)) = self.pieces.first_mut() {
                first[..4].copy_from_slice(&length.to_be_bytes());
            }
        }
        let freeze = |piece| match piece {
            Piece::Own(bytes) => BytesMut::freeze(bytes),
            Piece::Shared(bytes) => bytes,
        };
        self.pieces.into_iter().map(freeze).collect()
    }

    /// Everything in one piece; copies when there is more than one.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        let total = self.len();
        let mut chunks = self.into_chunks();
        if chunks.len() <= 1 {
            return chunks.pop().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(total);
        for chunk in chunks {
            whole.put_slice(&chunk);
        }
        whole.freeze()
    }

    fn close_current(&mut self) {
        if !self.current.is_empty() {
            let piece = std::mem::take(&mut self.current);
            self.before += piece.len();
            self.pieces.push(Piece::Own(piece));
        }
    }
}
