//! Batches one after another.

use super::{BatchError, BatchHeader};

/// The batches of a run of bytes, such as a fetch answer or a part of a segment: each one's header
/// and all of its bytes, header included. Checksums are not checked.
///
/// Ends after the first error. A batch that is cut short at the end gives
/// [`BatchError::Truncated`], which a consumer of old brokers' answers has to expect.
#[derive(Debug, Clone)]
pub struct BatchIter<'a> {
    rest: &'a [u8],
    position: usize,
}

impl<'a> BatchIter<'a> {
    /// Over `bytes`, from the first.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, position: 0 }
    }

    /// Bytes passed so far: where the next batch begins.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Result<(BatchHeader, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let header = match BatchHeader::parse(self.rest) {
            Ok(header) => header,
            Err(error) => {
                self.rest = &[];
                return Some(Err(error));
            }
        };
        let need = header.total_bytes();
        let Some((batch, rest)) = self.rest.split_at_checked(need) else {
            let have = self.rest.len();
            self.rest = &[];
            return Some(Err(BatchError::Truncated { need, have }));
        };
        self.rest = rest;
        self.position += need;
        Some(Ok((header, batch)))
    }
}
