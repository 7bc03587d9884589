//! The frames of every class of connection: what is on the wire after the handshake.
//!
//! ```text
//! 0   length       u32  bytes that follow, at least 18
//! 4   kind         u8   1 request, 2 cancel, 3 answer, 4 declined, 5 ping
//! 5   call         u8   the number of the call within its service; 0 in cancels and pings
//! 6   id           u64  which request; an answer has its request's. 0 in pings
//! 14  deadline_ms  u32  requests: how long the caller waits from now on; else 0
//! 18  head_length  u32
//! 22  head              the encoded payload; of a decline, the reason in UTF-8
//! ..  raw               the rest of the frame: raw bytes of the payload
//! ```
//!
//! All numbers are big-endian.
//!
//! Invariants:
//! - Memory grows with the bytes that arrived, never with a length that was only announced.
//! - A large frame has one buffer of its own; its payload's bytes are slices of it. The buffer is
//!   used again when the last slice is dropped, as long as the connection is busy.

use crate::limits::{
    RPC_FRAME_BYTES_AHEAD_MAX, RPC_IOVECS_MAX, RPC_KEPT_BUFFER_BYTES_MAX, RPC_READ_CHUNK_BYTES,
};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

/// Bytes of a frame before its head, the length included.
const HEADER_BYTES: usize = 22;
/// Bytes of the length field.
const LENGTH_BYTES: usize = 4;
/// A head up to this size is copied behind its header, so that small frames are one piece.
const JOINED_HEAD_BYTES_MAX: usize = 4096;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A call.
    Request,
    /// Nobody waits for the answer any more.
    Cancel,
    /// The answer to a call.
    Answer,
    /// The call was not carried out; the head says why.
    Declined,
    /// "I am still here."
    Ping,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Cancel => 2,
            Self::Answer => 3,
            Self::Declined => 4,
            Self::Ping => 5,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Request),
            2 => Some(Self::Cancel),
            3 => Some(Self::Answer),
            4 => Some(Self::Declined),
            5 => Some(Self::Ping),
            _ => None,
        }
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// The number of the call within its service.
    pub call: u8,
    /// Which request.
    pub id: u64,
    /// How long the caller waits, in milliseconds.
    pub deadline_ms: u32,
    /// The encoded payload.
    pub head: Bytes,
    /// Raw bytes behind it. In any pieces when written, in one when read.
    pub raw: Vec<Bytes>,
}

/// What is wrong with bytes that should be a frame. The connection ends with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The announced length is outside of the bounds.
    #[error("a frame of {length} bytes was announced, of at most {length_max}")]
    Length {
        /// What was announced.
        length: usize,
        /// The bound for this class of connection.
        length_max: usize,
    },
    /// The inside of the frame makes no sense.
    #[error("a frame is malformed: {0}")]
    Malformed(&'static str),
}

impl Frame {
    /// A frame that only says that this side lives.
    #[must_use]
    pub fn ping() -> Self {
        Self { kind: Kind::Ping, call: 0, id: 0, deadline_ms: 0, head: Bytes::new(), raw: vec![] }
    }

    /// Its size on the wire, without the length field itself.
    #[must_use]
    pub fn length(&self) -> usize {
        let raw: usize = self.raw.iter().map(Bytes::len).sum();
        HEADER_BYTES - LENGTH_BYTES + self.head.len() + raw
    }

    fn header(&self, room: usize) -> BytesMut {
        let mut header = BytesMut::with_capacity(HEADER_BYTES + room);
        header.put_u32(u32::try_from(self.length()).expect("invariant: frames are checked before"));
        header.put_u8(self.kind.number());
        header.put_u8(self.call);
        header.put_u64(self.id);
        header.put_u32(self.deadline_ms);
        header.put_u32(u32::try_from(self.head.len()).expect("invariant: as the frame"));
        header
    }

    /// Reads one whole frame, its length field included.
    fn parse(mut bytes: Bytes) -> Result<Self, FrameError> {
        if bytes.len() < HEADER_BYTES {
            return Err(FrameError::Malformed("it is shorter than its header"));
        }
        bytes.advance(LENGTH_BYTES);
        let kind = Kind::from_number(bytes.get_u8())
            .ok_or(FrameError::Malformed("its kind is unknown"))?;
        let (call, id, deadline_ms) = (bytes.get_u8(), bytes.get_u64(), bytes.get_u32());
        let head_length = bytes.get_u32() as usize;
        if head_length > bytes.len() {
            return Err(FrameError::Malformed("its head is longer than the frame"));
        }
        let head = bytes.split_to(head_length);
        if kind == Kind::Ping && !(head.is_empty() && bytes.is_empty()) {
            return Err(FrameError::Malformed("a ping carries something"));
        }
        let raw = if bytes.is_empty() { Vec::new() } else { vec![bytes] };
        Ok(Self { kind, call, id, deadline_ms, head, raw })
    }
}

/// Buffers of large frames that nobody looks at any more, to be filled again. Fresh memory costs
/// several times what the copy into it does (docs/decisions/011).
#[derive(Debug, Default)]
struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    fn kept(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer for a frame of `wanted` bytes: one that has room for it and not much more, so that
    /// what is kept of the frame holds on to no more than twice its size.
    fn take(&self, wanted: usize) -> Option<Vec<u8>> {
        let mut kept = self.kept();
        let fits = |buffer: &Vec<u8>| (wanted..=2 * wanted).contains(&buffer.capacity());
        let at = kept.iter().rposition(fits)?;
        Some(kept.swap_remove(at))
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        let mut kept = self.kept();
        let bytes: usize = kept.iter().map(Vec::capacity).sum();
        if bytes + buffer.capacity() <= RPC_KEPT_BUFFER_BYTES_MAX {
            buffer.clear();
            kept.push(buffer);
        }
    }
}

/// The buffer of a frame; it goes back when the last slice of it is dropped.
struct Lent {
    buffer: Vec<u8>,
    home: Weak<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // The connection may be gone, and its buffers with it.
        if let Some(home) = self.home.upgrade() {
            home.give_back(std::mem::take(&mut self.buffer));
        }
    }
}

/// Takes frames out of a stream of bytes.
#[derive(Debug)]
pub struct FrameReader {
    length_max: usize,
    /// Small frames, and the beginning of a large one.
    chunk: BytesMut,
    /// A large frame: its bytes so far, and how many there will be.
    large: Option<(Vec<u8>, usize)>,
    buffers: Arc<Buffers>,
}

impl FrameReader {
    /// A reader that accepts frames of up to `length_max` bytes.
    #[must_use]
    pub fn new(length_max: usize) -> Self {
        Self { length_max, chunk: BytesMut::new(), large: None, buffers: Arc::default() }
    }

    /// Bytes of memory that it holds: for frames that are not complete, and to be used again.
    #[must_use]
    pub fn held(&self) -> usize {
        let kept: usize = self.buffers.kept().iter().map(Vec::capacity).sum();
        let large = self.large.as_ref().map_or(0, |(buffer, _)| buffer.capacity());
        self.chunk.capacity() + large + kept
    }

    /// Lets go of what was only kept to be used again.
    pub(super) fn rest(&mut self) {
        *self.buffers.kept() = Vec::new();
    }

    /// Reads what has arrived. Zero bytes mean that the other side closed.
    pub(super) fn poll_fill<Io: AsyncRead + Unpin>(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // `read_buf` takes nothing out of the socket unless it is ready: it may be asked once and
        // thrown away.
        match &mut self.large {
            Some((buffer, wanted)) => {
                let missing = *wanted - buffer.len();
                if buffer.len() == buffer.capacity() {
                    let more = buffer.len().max(RPC_FRAME_BYTES_AHEAD_MAX);
                    buffer.reserve_exact(missing.min(more));
                }
                pin!(io.read_buf(&mut buffer.limit(missing))).poll(cx)
            }
            None => {
                self.chunk.reserve(RPC_READ_CHUNK_BYTES / 4);
                pin!(io.read_buf(&mut self.chunk)).poll(cx)
            }
        }
    }

    /// Takes bytes that came some other way, as far as the next frame wants them; gives how many it
    /// took.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut source = bytes;
        let waker = futures::task::noop_waker();
        match self.poll_fill(&mut source, &mut Context::from_waker(&waker)) {
            Poll::Ready(Ok(count)) => count,
            _ => 0,
        }
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// [`FrameError`]; there is no way to go on after it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some((buffer, wanted)) = self.large.take() {
            if buffer.len() < wanted {
                self.large = Some((buffer, wanted));
                return Ok(None);
            }
            let lent = Lent { buffer, home: Arc::downgrade(&self.buffers) };
            return Frame::parse(Bytes::from_owner(lent)).map(Some);
        }
        let Some(field) = self.chunk.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*field) as usize;
        if length > self.length_max || length < HEADER_BYTES - LENGTH_BYTES {
            return Err(FrameError::Length { length, length_max: self.length_max });
        }
        let wanted = LENGTH_BYTES + length;
        if self.chunk.len() >= wanted {
            return Frame::parse(self.chunk.split_to(wanted).freeze()).map(Some);
        }
        if wanted > RPC_READ_CHUNK_BYTES {
            // All that is in the chunk is the beginning of this frame.
            let mut buffer = self.buffers.take(wanted).unwrap_or_else(|| {
                let ahead = self.chunk.len() + RPC_FRAME_BYTES_AHEAD_MAX;
                Vec::with_capacity(wanted.min(ahead))
            });
            buffer.extend_from_slice(&self.chunk);
            self.chunk.clear();
            self.large = Some((buffer, wanted));
        }
        Ok(None)
    }
}

/// Frames on their way out: payload bytes stay where they are until the socket takes them.
#[derive(Debug, Default)]
pub(super) struct FrameWriter {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl FrameWriter {
    /// Queues a frame.
    pub(super) fn push(&mut self, frame: Frame) {
        let joined = frame.head.len() <= JOINED_HEAD_BYTES_MAX;
        let mut header = frame.header(if joined { frame.head.len() } else { 0 });
        if joined {
            header.extend_from_slice(&frame.head);
        }
        self.push_piece(header.freeze());
        if !joined {
            self.push_piece(frame.head);
        }
        for piece in frame.raw {
            self.push_piece(piece);
        }
    }

    fn push_piece(&mut self, piece: Bytes) {
        // The socket must never be offered nothing: its "0 bytes written" means that it is gone.
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes until nothing is left, or the socket is full. Gives how many bytes went out.
    pub(super) fn poll_write<Io: AsyncWrite + Unpin>(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.bytes > 0 {
            let mut slices = [IoSlice::new(&[]); RPC_IOVECS_MAX];
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece);
            }
            let count = self.pieces.len().min(RPC_IOVECS_MAX);
            let slices = slices.get(..count).unwrap_or_default();
            let written = ready!(Pin::new(&mut *io).poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(piece) = self.pieces.front_mut() {
            if piece.len() > written {
                piece.advance(written);
                return;
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
    }
}
