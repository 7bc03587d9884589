//! Frames over a socket, as the stream and sink that tarpc works on.
//!
//! Both sides say that they live when they have nothing else to say; a side that hears nothing for
//! `RPC_SILENCE_MS_MAX`, or gets nothing out for `RPC_WRITE_STALL_MS_MAX`, ends the connection. So
//! half-open connections go away on both sides, however quiet they are.
//!
//! A broken connection is a stream that ends; [`End`] says why.

use super::frame::{Frame, FrameReader, FrameWriter};
use super::service::{Incoming, Outgoing};
use crate::limits::{
    RPC_PING_MS, RPC_SILENCE_MS_MAX, RPC_WRITE_QUEUE_BYTES_MAX, RPC_WRITE_STALL_MS_MAX,
};
use futures::{Sink, Stream};
use std::convert::Infallible;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

/// That a connection ended, and why. Shared by the transport and whoever started it.
#[derive(Debug, Clone, Default)]
pub(super) struct End(Arc<Ended>);

#[derive(Debug, Default)]
struct Ended {
    reason: OnceLock<String>,
    notify: Notify,
}

impl End {
    /// Why it ended; nothing while it lives.
    pub(super) fn reason(&self) -> Option<&str> {
        self.0.reason.get().map(String::as_str)
    }

    /// Waits for the end.
    pub(super) async fn wait(&self) {
        let notified = self.0.notify.notified();
        if self.reason().is_none() {
            notified.await;
        }
    }

    pub(super) fn set(&self, reason: String) {
        // The first reason is the cause; what follows are its consequences.
        let _ = self.0.reason.set(reason);
        self.0.notify.notify_waiters();
    }
}

/// A connection after its handshake. `In` comes from the other side, `Out` goes there.
pub(super) struct Transport<Io, In, Out> {
    io: Io,
    reader: FrameReader,
    writer: FrameWriter,
    length_max: usize,
    beat: Pin<Box<Sleep>>,
    /// Beats since something was heard.
    quiet: u64,
    /// Beats since something went out although something waits.
    stuck: u64,
    /// Whether anything was written since the last beat.
    spoke: bool,
    end: End,
    types: PhantomData<fn(Out) -> In>,
}

const BEAT: Duration = Duration::from_millis(RPC_PING_MS);

impl<Io: AsyncRead + AsyncWrite + Unpin, In, Out> Transport<Io, In, Out> {
    /// Carries frames of up to `length_max` bytes over `io`.
    pub(super) fn new(io: Io, length_max: usize, end: End) -> Self {
        Self {
            io,
            reader: FrameReader::new(length_max),
            writer: FrameWriter::default(),
            length_max,
            beat: Box::pin(sleep(BEAT)),
            quiet: 0,
            stuck: 0,
            spoke: false,
            end,
            types: PhantomData,
        }
    }

    /// Ends the stream at the next look at it.
    fn break_off(&mut self, reason: impl std::fmt::Display, cx: &mut Context<'_>) {
        self.end.set(reason.to_string());
        cx.waker().wake_by_ref();
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.end.reason().is_some() {
            return Poll::Ready(());
        }
        let before = self.writer.bytes();
        let outcome = self.writer.poll_write(&mut self.io, cx);
        if self.writer.bytes() < before {
            self.spoke = true;
            self.stuck = 0;
        }
        match outcome {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                self.break_off(describe(&error), cx);
                Poll::Ready(())
            }
        }
    }

    /// The next frame that is not a ping; nothing at the end.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        loop {
            match self.reader.next_frame() {
                Ok(Some(frame)) if frame == Frame::ping() => continue,
                Ok(Some(frame)) => return Poll::Ready(Some(frame)),
                Ok(None) => {}
                Err(error) => {
                    self.break_off(error, cx);
                    return Poll::Ready(None);
                }
            }
            match self.reader.poll_fill(&mut self.io, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    self.break_off("the other side closed the connection", cx);
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(_)) => self.quiet = 0,
                Poll::Ready(Err(error)) => {
                    self.break_off(describe(&error), cx);
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// Keeps the beat. `read` says that all that had arrived was read before: only then is silence
    /// held against the other side, and not time in which this process itself stood still.
    fn poll_beat(&mut self, cx: &mut Context<'_>, read: bool) {
        while self.beat.as_mut().poll(cx).is_ready() {
            self.beat.as_mut().reset(Instant::now() + BEAT);
            if read {
                self.quiet += 1;
                // Nothing came since the last beat: this is no time to hold on to memory.
                if self.quiet > 1 {
                    self.reader.rest();
                }
            }
            if self.writer.bytes() > 0 {
                self.stuck += 1;
            } else if !std::mem::take(&mut self.spoke) {
                self.writer.push(Frame::ping());
                let _ = self.poll_send(cx);
            }
            if self.quiet * RPC_PING_MS >= RPC_SILENCE_MS_MAX {
                self.break_off(format!("nothing was heard for {RPC_SILENCE_MS_MAX} ms"), cx);
            } else if self.stuck * RPC_PING_MS >= RPC_WRITE_STALL_MS_MAX {
                self.break_off(format!("nothing was taken for {RPC_WRITE_STALL_MS_MAX} ms"), cx);
            }
        }
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the connection was reset".to_owned()
        }
        _ => error.to_string(),
    }
}

impl<Io, In, Out> Stream for Transport<Io, In, Out>
where
    Io: AsyncRead + AsyncWrite + Unpin,
    In: Incoming,
{
    type Item = Result<In, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.end.reason().is_some() {
            return Poll::Ready(None);
        }
        match this.poll_frame(cx) {
            Poll::Ready(Some(frame)) => match In::from_frame(frame) {
                Ok(message) => Poll::Ready(Some(Ok(message))),
                Err(error) => {
                    this.break_off(error, cx);
                    Poll::Ready(None)
                }
            },
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                this.poll_beat(cx, true);
                if this.end.reason().is_some() { Poll::Ready(None) } else { Poll::Pending }
            }
        }
    }
}

impl<Io, In, Out> Sink<Out> for Transport<Io, In, Out>
where
    Io: AsyncRead + AsyncWrite + Unpin,
    Out: Outgoing,
{
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let this = self.get_mut();
        if this.writer.bytes() >= RPC_WRITE_QUEUE_BYTES_MAX {
            let _ = this.poll_send(cx);
        }
        let full = this.writer.bytes() >= RPC_WRITE_QUEUE_BYTES_MAX;
        if full {
            // Whoever waits here may not read meanwhile: the beat must go on.
            this.poll_beat(cx, false);
        }
        if full && this.end.reason().is_none() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn start_send(self: Pin<&mut Self>, message: Out) -> Result<(), Infallible> {
        let this = self.get_mut();
        if this.end.reason().is_some() {
            // Not looked at, so a call counts as not sent.
            return Ok(());
        }
        let Some(frame) = message.into_frame() else { return Ok(()) };
        let length = frame.length();
        if length > this.length_max {
            // Requests are measured before they get here. An answer of this size is a mistake of
            // a handler; the caller must not wait for it, nor take the call for not done.
            tracing::error!(length, this.length_max, "an answer is larger than a frame may be");
            this.end.set(format!("an answer of {length} bytes is larger than a frame may be"));
            return Ok(());
        }
        this.writer.push(frame);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.get_mut().poll_send(cx).map(Ok)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let this = self.get_mut();
        if this.poll_send(cx).is_pending() {
            return Poll::Pending;
        }
        // What is left of the socket goes with the transport.
        Pin::new(&mut this.io).poll_shutdown(cx).map(|_| Ok(()))
    }
}
