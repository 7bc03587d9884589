//! One connection: requests in, answers out in the same order.
//!
//! ```text
//!  socket → FrameReader → dispatch ─┬─ answered ──────────┐
//!                                   ├─ to be answered ────┤→ queue → writer → socket
//!                                   └─ nothing (acks=0)   │  (in request order)
//! ```
//!
//! Requests are handled one after the other. A produce is handled once its batches are appended;
//! only the wait for their commit is left to the writer, so that the next request can be appended
//! meanwhile (pipelined idempotent producers depend on appends in request order).
//!
//! Invariant: answers leave in the order of their requests, and a request that is owed no answer
//! (acks=0) leaves no hole. Requests being read, answers waited for and answers being written are
//! all bounded: a slow reader stops being read from, and is closed when it stands still.
//!
//! Must never: know what a request means.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::budget::{Budget, Lease};
use super::frame::{FrameBudgets, FrameError, FrameOptions, FrameReader};
use crate::env::shutdown::Shutdown;
use crate::limits;

/// Slices that one write takes at most (the kernel's own bound is 1,024).
const WRITE_SLICES_MAX: usize = 64;

/// The bytes of one answer, its length in front.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Written one after the other; record bytes are shared, not copied.
    pub(super) chunks: Vec<Bytes>,
    /// What the answer was paid with, if it is large. Held until it is written.
    #[expect(dead_code, reason = "paid back when dropped")]
    pub(super) lease: Option<Lease>,
}

impl Answer {
    fn bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }
}

/// What became of one request.
pub(super) enum Outcome {
    /// This is the answer.
    Answer(Answer),
    /// The answer comes later; the next request may be handled now.
    Later(BoxFuture<'static, Answer>),
    /// No answer is owed.
    Nothing,
    /// The connection has to be closed, after the answers that are owed for earlier requests.
    Close(String),
}

/// Handles the requests of one connection.
pub(super) trait Service: Send + Sync {
    /// Handles one frame.
    fn call(&self, frame: Bytes) -> impl Future<Output = Outcome> + Send;
}

/// Settings of a connection.
#[derive(Debug, Clone)]
pub(super) struct ConnectionOptions {
    /// Budget of request bytes shared by all connections of the node.
    pub(super) request_budget: Budget,
    /// How large requests may be, and how slow.
    pub(super) frames: FrameOptions,
    /// Time without progress after which a reader is given up.
    pub(super) write_stall_max: Duration,
}

struct Queued {
    outcome: QueuedOutcome,
    /// Pays for the request until its answer is written.
    _request: [Lease; 2],
    /// Pays for the answer while it waits.
    _response: Option<Lease>,
}

enum QueuedOutcome {
    Answer(Answer),
    Later(BoxFuture<'static, Answer>),
}

/// Serves `socket` until it is closed from either side. Says why it ended.
pub(super) async fn run(
    socket: TcpStream,
    peer: SocketAddr,
    options: &ConnectionOptions,
    service: &impl Service,
    shutdown: Shutdown,
) {
    let (read_half, write_half) = socket.into_split();
    let budgets = FrameBudgets {
        node: options.request_budget.clone(),
        connection: Budget::new(limits::CONNECTION_REQUEST_BYTES_IN_FLIGHT_MAX),
    };
    let mut frames = FrameReader::new(read_half, budgets, options.frames);
    let (sender, receiver) = mpsc::channel(limits::CONNECTION_REQUESTS_IN_FLIGHT_MAX);

    let writer = write_answers(write_half, receiver, options.write_stall_max);
    tokio::pin!(writer);
    let reader = read_requests(&mut frames, service, sender, shutdown);

    let why = tokio::select! {
        // The writer only ends first when the socket failed.
        result = &mut writer => match result {
            Ok(()) => "closed".to_owned(),
            Err(error) => format!("answers could not be written: {error}"),
        },
        why = reader => {
            // The reader dropped its end of the queue: what is owed is still written.
            let drain = Duration::from_millis(limits::DRAIN_MS_MAX);
            let _ = timeout(drain, writer).await;
            why
        }
    };
    tracing::debug!(%peer, why, "connection ended");
}

/// Reads and handles requests until the connection has to end; says why.
async fn read_requests(
    frames: &mut FrameReader,
    service: &impl Service,
    sender: mpsc::Sender<Queued>,
    mut shutdown: Shutdown,
) -> String {
    let waiting_answers = Budget::new(limits::CONNECTION_RESPONSE_BYTES_QUEUED_MAX);
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            () = shutdown.wait() => return "the node is shutting down".to_owned(),
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                if !matches!(error, FrameError::Closed | FrameError::Idle(_)) {
                    tracing::info!(%error, "closing a client connection");
                }
                return error.to_string();
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = service.call(frame.bytes) => outcome,
            () = frames.peer_gone() => return "the client left while waiting".to_owned(),
            () = shutdown.wait() => return "the node is shutting down".to_owned(),
        };
        let outcome = match outcome {
            Outcome::Answer(answer) => QueuedOutcome::Answer(answer),
            Outcome::Later(future) => QueuedOutcome::Later(future),
            Outcome::Nothing => continue,
            Outcome::Close(why) => {
                tracing::info!(why, "closing a client connection");
                return why;
            }
        };
        // Until there is room for the answer, no further request is read.
        let response = match &outcome {
            QueuedOutcome::Answer(answer) => Some(waiting_answers.take(answer.bytes()).await),
            QueuedOutcome::Later(_) => None,
        };
        let queued = Queued { outcome, _request: frame.leases, _response: response };
        if sender.send(queued).await.is_err() {
            return "the writer ended".to_owned();
        }
    }
}

/// Writes answers in order until the queue is closed and empty.
async fn write_answers(
    mut socket: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Queued>,
    stall_max: Duration,
) -> io::Result<()> {
    let mut next = queue.recv().await;
    while let Some(mut first) = next.take() {
        let mut answers = vec![first.take_answer().await];
        let mut paid = vec![first];
        // Whatever is ready too goes out with the same write.
        while answers.len() < WRITE_SLICES_MAX {
            let Ok(mut queued) = queue.try_recv() else { break };
            match queued.answer_now() {
                Some(answer) => {
                    answers.push(answer);
                    paid.push(queued);
                }
                None => {
                    next = Some(queued);
                    break;
                }
            }
        }
        write_all(&mut socket, &mut answers, stall_max).await?;
        drop(paid);
        if next.is_none() {
            next = queue.recv().await;
        }
    }
    Ok(())
}

impl Queued {
    async fn take_answer(&mut self) -> Answer {
        match &mut self.outcome {
            QueuedOutcome::Answer(answer) => std::mem::take(answer),
            QueuedOutcome::Later(future) => future.await,
        }
    }

    fn answer_now(&mut self) -> Option<Answer> {
        match &mut self.outcome {
            QueuedOutcome::Answer(answer) => Some(std::mem::take(answer)),
            QueuedOutcome::Later(future) => {
                let answer = future.now_or_never()?;
                self.outcome = QueuedOutcome::Answer(Answer::default());
                Some(answer)
            }
        }
    }
}

/// Writes all chunks, many to a call.
async fn write_all(
    socket: &mut OwnedWriteHalf,
    answers: &mut [Answer],
    stall_max: Duration,
) -> io::Result<()> {
    let mut chunks: std::collections::VecDeque<Bytes> = answers
        .iter_mut()
        .flat_map(|answer| std::mem::take(&mut answer.chunks))
        .filter(|chunk| !chunk.is_empty())
        .collect();
    while !chunks.is_empty() {
        timeout(stall_max, socket.writable())
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the client stopped reading"))??;
        let slices: Vec<IoSlice<'_>> =
            chunks.iter().take(WRITE_SLICES_MAX).map(|chunk| IoSlice::new(chunk)).collect();
        let mut written = match socket.try_write_vectored(&slices) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        while let Some(front) = chunks.front_mut() {
            if written < front.len() {
                front.advance(written);
                break;
            }
            written -= front.len();
            chunks.pop_front();
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
