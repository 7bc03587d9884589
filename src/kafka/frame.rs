//! Reading request frames: a 32-bit length, then that many bytes.
//!
//! Invariant: a peer costs memory only for what it has sent, plus a bounded read-ahead; a frame
//! that is larger than [`limits::FRAME_BYTES_FREE`] is paid for out of two budgets before the
//! rest of it is read.
//!
//! Must never: look further into a frame than its API key.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::{Budget, Lease};
use crate::limits;
use crate::protocol::ApiKey;

/// Bytes that the first read of a request makes room for.
const FIRST_READ_BYTES: usize = 4096;
const LENGTH_BYTES: usize = 4;

/// Why no further frame comes.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The peer closed the connection between two frames: the ordinary end.
    #[error("closed by the client")]
    Closed,
    /// The peer closed the connection in the middle of a frame.
    #[error("the client closed the connection in the middle of a request")]
    Cut,
    /// Nothing was asked for a long time.
    #[error("no request for {0:?}")]
    Idle(Duration),
    /// The frame came too slowly.
    #[error("the request arrived too slowly")]
    TooSlow,
    /// The length is negative or larger than allowed.
    #[error("the request claims a length of {length} bytes; at most {max} are allowed")]
    Length {
        /// What the frame says.
        length: i32,
        /// What is allowed.
        max: usize,
    },
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Io(#[from] io::Error),
}

/// One request, and what it was paid with.
#[derive(Debug)]
pub(super) struct Frame {
    /// The bytes after the length.
    pub(super) bytes: Bytes,
    /// Held until the request is answered.
    pub(super) leases: [Lease; 2],
}

/// What a reader must not exceed.
#[derive(Debug, Clone)]
pub(super) struct FrameBudgets {
    /// Shared by all connections of the node.
    pub(super) node: Budget,
    /// Of this connection.
    pub(super) connection: Budget,
}

/// How large frames may be, and how slow.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameOptions {
    /// Bytes of one frame.
    pub(super) bytes_max: usize,
    /// Time without a request after which the connection is given up.
    pub(super) idle_max: Duration,
    /// Time that a frame may stand still while it arrives; afterwards
    /// [`limits::FRAME_BYTES_PER_SECOND_MIN`] holds.
    pub(super) stall_max: Duration,
}

/// Reads the frames of one connection.
#[derive(Debug)]
pub(super) struct FrameReader {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    budgets: FrameBudgets,
    options: FrameOptions,
}

impl FrameReader {
    /// A reader on `socket`.
    pub(super) fn new(socket: OwnedReadHalf, budgets: FrameBudgets, options: FrameOptions) -> Self {
        Self { socket, buffer: BytesMut::new(), budgets, options }
    }

    /// The next frame.
    pub(super) async fn next(&mut self) -> Result<Frame, FrameError> {
        if self.buffer.is_empty() {
            // An idle connection holds no buffer.
            self.buffer = BytesMut::new();
            timeout(self.options.idle_max, self.read(FIRST_READ_BYTES))
                .await
                .map_err(|_| FrameError::Idle(self.options.idle_max))?
                .map_err(|error| match error {
                    FrameError::Cut => FrameError::Closed,
                    other => other,
                })?;
        }
        let stalled_at = Instant::now() + self.options.stall_max;
        self.fill(LENGTH_BYTES, stalled_at).await?;
        // A length that no API may have is refused before the API is known: the peer may wait for
        // us to hang up and never send a byte more.
        self.check_length(limits::REQUEST_BYTES_MAX)?;
        self.fill(LENGTH_BYTES + 2, stalled_at).await?;
        let (length, weight) = self.check_length_for_api()?;
        // The length itself is not part of the frame.
        self.buffer.advance(LENGTH_BYTES);
        self.fill(length.min(limits::FRAME_BYTES_FREE), stalled_at).await?;

        let leases = [
            self.budgets.connection.take(length * weight).await,
            self.budgets.node.take(length * weight).await,
        ];
        let slowest = self.options.stall_max
            + Duration::from_secs((length / limits::FRAME_BYTES_PER_SECOND_MIN) as u64);
        self.fill(length, Instant::now() + slowest).await?;
        Ok(Frame { bytes: self.buffer.split_to(length).freeze(), leases })
    }

    /// Waits until the peer is gone, reading ahead a little meanwhile.
    pub(super) async fn peer_gone(&mut self) {
        while self.buffer.len() < limits::FRAME_BYTES_FREE {
            if self.read(FIRST_READ_BYTES).await.is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    /// The checked length of the frame at the start of the buffer, and what a byte of it is
    /// counted as.
    fn check_length_for_api(&self) -> Result<(usize, usize), FrameError> {
        let mut api_key = &self.buffer[LENGTH_BYTES..];
        let is_produce = api_key.get_i16() == ApiKey::Produce.to_i16();
        let (max, weight) = if is_produce {
            (limits::REQUEST_BYTES_MAX, 1)
        } else {
            (limits::CONTROL_REQUEST_BYTES_MAX, limits::CONTROL_REQUEST_WEIGHT)
        };
        Ok((self.check_length(max)?, weight))
    }

    /// The length at the start of the buffer, if a frame may have it.
    fn check_length(&self, max: usize) -> Result<usize, FrameError> {
        let length = self.buffer.as_ref().get_i32();
        let max = max.min(self.options.bytes_max);
        match usize::try_from(length) {
            // The API key alone takes two bytes.
            Ok(bytes) if (2..=max).contains(&bytes) => Ok(bytes),
            _ => Err(FrameError::Length { length, max }),
        }
    }

    /// Reads until the buffer holds `bytes`.
    async fn fill(&mut self, bytes: usize, deadline: Instant) -> Result<(), FrameError> {
        let stall = self.options.stall_max;
        while self.buffer.len() < bytes {
            let missing = bytes - self.buffer.len();
            let ahead = missing
                .min(self.buffer.len().max(limits::FRAME_BYTES_AHEAD_MAX))
                .max(FIRST_READ_BYTES.min(limits::FRAME_BYTES_FREE));
            let until = deadline.min(Instant::now() + stall);
            timeout_at(until, self.read(ahead)).await.map_err(|_| FrameError::TooSlow)??;
        }
        Ok(())
    }

    /// Waits for bytes and reads some, into room for `ahead` more.
    async fn read(&mut self, ahead: usize) -> Result<(), FrameError> {
        loop {
            self.socket.readable().await?;
            self.buffer.reserve(ahead);
            match self.socket.try_read_buf(&mut self.buffer) {
                Ok(0) => return Err(FrameError::Cut),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
