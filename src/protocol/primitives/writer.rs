//! Collects the pieces of one message.

use super::TaggedFields;
use bytes::{BufMut, Bytes, BytesMut};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bytes_are_handed_over_and_small_ones_copied() {
        let (large, small) = (Bytes::from(vec![1; 5000]), Bytes::from(vec![2; 10]));
        let mut writer = Writer::framed();
        writer.put_bytes(Some(&small), true);
        writer.put_bytes(Some(&large), true);
        writer.put(&[9]);
        assert_eq!(writer.len(), 4 + 1 + 10 + 2 + 5000 + 1);
        let chunks = writer.into_chunks();
        assert_eq!(chunks.len(), 3);
        assert_eq!(chunks[0][..6], [0, 0, 0x13, 0x96, 11, 2], "the length, then the small ones");
        assert_eq!(chunks[1].as_ptr(), large.as_ptr());
        assert_eq!(chunks[2], [9].as_slice());
    }

    #[test]
    fn long_texts_end_at_a_character() {
        let mut writer = Writer::new();
        writer.put_string(Some(&"ä".repeat(20_000)), false);
        let bytes = writer.into_bytes();
        assert_eq!(bytes[..2], 32_766u16.to_be_bytes());
        assert_eq!(bytes.len(), 2 + 32_766);
        assert!(std::str::from_utf8(&bytes[2..]).is_ok());
    }

    #[test]
    fn tagged_fields_ascend_whoever_knows_them() {
        let mut unknown = TaggedFields::default();
        unknown.push(5, Bytes::from_static(b"five"));
        unknown.push(0, Bytes::from_static(b"nil"));
        let mut known = Writer::new();
        known.put(b"three");
        let mut writer = Writer::new();
        writer.put_tagged_fields(vec![(3, known)], &unknown);
        assert_eq!(writer.into_bytes(), b"\x03\x00\x03nil\x03\x05three\x05\x04five".as_slice());
    }
}
