//! Walking over the batches of a segment file, front to back.

use crate::env::disk::DiskFile;
use crate::limits;
use crate::protocol::records::{BatchError, BatchHeader};
use std::io;

/// What lies at the scanner's position.
#[derive(Debug)]
pub(super) enum Step {
    /// The end that the scanner was given.
    End,
    /// A header with room for its batch. The checksum is not checked.
    Batch {
        /// Where the batch begins.
        position: u64,
        /// Its header.
        header: BatchHeader,
    },
    /// No batch. The scanner stays where it is.
    Bad {
        /// Where.
        position: u64,
        /// Why.
        error: BatchError,
    },
}

/// Reads ahead in large pieces and steps from header to header.
pub(super) struct Scanner<'a> {
    file: &'a dyn DiskFile,
    /// Where the next batch begins.
    next: u64,
    end: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
    /// The batch that was stepped over last.
    last: (u64, usize),
}

impl<'a> Scanner<'a> {
    /// From one position, which must be the start of a batch, to another.
    pub(super) fn new(file: &'a dyn DiskFile, from: u64, end: u64) -> Self {
        Self { file, next: from, end, buffer: Vec::new(), buffer_at: from, last: (from, 0) }
    }

    /// Steps over one batch.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let position = self.next;
        if position >= self.end {
            return Ok(Step::End);
        }
        let left = self.end - position;
        let head = BatchHeader::SIZE.min(usize::try_from(left).unwrap_or(usize::MAX));
        match BatchHeader::parse(self.bytes(position, head)?) {
            Ok(header) if header.total_bytes() as u64 <= left => {
                self.last = (position, header.total_bytes());
                self.next = position + header.total_bytes() as u64;
                Ok(Step::Batch { position, header })
            }
            Ok(header) => {
                let have = usize::try_from(left).unwrap_or(usize::MAX);
                let error = BatchError::Truncated { need: header.total_bytes(), have };
                Ok(Step::Bad { position, error })
            }
            Err(error) => Ok(Step::Bad { position, error }),
        }
    }

    /// All bytes of the batch that was stepped over last.
    pub(super) fn batch(&mut self) -> io::Result<&[u8]> {
        let (position, count) = self.last;
        self.bytes(position, count)
    }

    /// `count` bytes at `position`, or fewer where the file ends.
    fn bytes(&mut self, position: u64, count: usize) -> io::Result<&[u8]> {
        let buffered = self.buffer_at + self.buffer.len() as u64;
        if position < self.buffer_at || position + count as u64 > buffered {
            let want = count.max(limits::SCAN_BUFFER_BYTES);
            let want = want.min(usize::try_from(self.end - position).unwrap_or(usize::MAX));
            self.buffer.resize(want, 0);
            let read = self.file.read_at(&mut self.buffer, position)?;
            self.buffer.truncate(read);
            self.buffer_at = position;
        }
        // The position is at or after the buffer's start, by the lines above.
        let from = usize::try_from(position - self.buffer_at).unwrap_or(usize::MAX);
        let have = self.buffer.get(from..).unwrap_or_default();
        Ok(&have[..count.min(have.len())])
    }
}
