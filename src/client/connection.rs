//! One TCP connection to one broker: version negotiation, pipelining, order, time limits.
//!
//! A broker answers the requests of a connection in their order, so the open requests stand in a
//! queue. A request that is late would hold up all behind it: it closes the connection.

use super::{Address, Error};
use crate::env::shutdown::{self, Shutdown, Trigger};
use crate::env::spawn;
use crate::limits;
use crate::protocol::header::{decode_response, encode_request};
use crate::protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::{ApiKey, ErrorCode, Request, Str};
use bytes::{Buf as _, Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// Settings of a connection.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// What the broker shows in its logs and quotas.
    pub client_id: String,
    /// For the TCP handshake and the version exchange together.
    pub connect_timeout_ms: u64,
    /// For any other request.
    pub request_timeout_ms: u64,
}

/// An open connection; cheap to clone. Ends when the last clone is gone.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
    /// Dropping it ends the two tasks.
    stop: Trigger,
    versions: OnceLock<BTreeMap<i16, (i16, i16)>>,
    client_id: Str,
    request_timeout: Duration,
}

/// What the tasks and the handles share.
#[derive(Debug)]
struct Shared {
    address: Address,
    open: Mutex<Open>,
    permits: Arc<Semaphore>,
    /// Why the connection ended, once it has.
    ended: OnceLock<String>,
}

#[derive(Debug, Default)]
struct Open {
    correlation_next: i32,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    correlation_id: i32,
    answer: oneshot::Sender<Bytes>,
    _permit: OwnedSemaphorePermit,
}

struct Outgoing {
    chunks: Vec<Bytes>,
    /// Told when the system has the bytes, for requests that get no answer.
    written: Option<Written>,
}

/// Whoever waits until a request has left, and the permit that it holds until then.
type Written = (oneshot::Sender<()>, OwnedSemaphorePermit);

/// A request that was queued; wait for it to get the answer.
#[derive(Debug)]
#[must_use = "the answer is lost otherwise"]
pub struct Pending<R> {
    connection: Connection,
    answer: oneshot::Receiver<Bytes>,
    api: ApiKey,
    version: i16,
    begun: Instant,
    timeout: Duration,
    request: PhantomData<fn() -> R>,
}

impl Connection {
    /// Opens a connection and learns which versions the broker serves.
    ///
    /// # Errors
    /// [`Error::Disconnected`] when nothing listens there, [`Error::Timeout`],
    /// [`Error::Protocol`] when the peer is no Kafka broker.
    pub async fn open(address: &Address, options: &ConnectionOptions) -> Result<Self, Error> {
        let limit = Duration::from_millis(options.connect_timeout_ms);
        let opening = async {
            let disconnected =
                |error| Error::Disconnected { address: address.clone(), cause: words(&error) };
            let stream = TcpStream::connect((address.host.as_str(), address.port))
                .await
                .map_err(disconnected)?;
            stream.set_nodelay(true).map_err(disconnected)?;
            let connection = Self::start(stream, address, options);
            connection.negotiate().await?;
            Ok(connection)
        };
        tokio::time::timeout(limit, opening).await.unwrap_or_else(|_| {
            Err(Error::Timeout {
                address: address.clone(),
                what: "the connection",
                waited_ms: options.connect_timeout_ms,
            })
        })
    }

    fn start(stream: TcpStream, address: &Address, options: &ConnectionOptions) -> Self {
        let (read, write) = stream.into_split();
        let (stop, stopped) = shutdown::channel();
        let (outgoing, queue) = mpsc::channel(limits::CLIENT_IN_FLIGHT_MAX);
        let shared = Arc::new(Shared {
            address: address.clone(),
            open: Mutex::default(),
            permits: Arc::new(Semaphore::new(limits::CLIENT_IN_FLIGHT_MAX)),
            ended: OnceLock::new(),
        });
        // The tasks end by themselves; nobody has to join them.
        drop(spawn::spawn("client-read", read_answers(shared.clone(), read, stopped.clone())));
        drop(spawn::spawn("client-write", write_requests(shared.clone(), write, queue, stopped)));
        Self(Arc::new(Inner {
            shared,
            outgoing,
            stop,
            versions: OnceLock::new(),
            client_id: Str::from(options.client_id.as_str()),
            request_timeout: Duration::from_millis(options.request_timeout_ms),
        }))
    }

    /// Asks for the served versions: first in the newest form, then in the one that the broker
    /// names, at last in the oldest (KIP-511).
    async fn negotiate(&self) -> Result<(), Error> {
        let newest = *ApiVersionsRequest::VERSIONS.end();
        let mut version = newest;
        loop {
            let request = ApiVersionsRequest {
                client_software_name: Str::from_static("purlin"),
                client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
                ..ApiVersionsRequest::default()
            };
            let frame = self.begin_at(&request, version, None)?.frame().await?;
            let error_code = frame.get(4..6).map(|mut code| code.get_i16());
            let unsupported = error_code == Some(ErrorCode::UnsupportedVersion.to_i16());
            // Whoever does not know the version answers in version 0.
            let answer_version = if unsupported { 0 } else { version };
            let answer: ApiVersionsResponse =
                decode_answer::<ApiVersionsRequest>(self.address(), frame, answer_version)?;
            if answer.error_code == ErrorCode::None {
                let ranges = answer
                    .api_keys
                    .iter()
                    .map(|api| (api.api_key, (api.min_version, api.max_version)))
                    .collect();
                // A connection negotiates once.
                let _ = self.0.versions.set(ranges);
                return Ok(());
            }
            if !unsupported || version == 0 {
                return Err(Error::refused("version exchange", answer.error_code, None));
            }
            let own = ApiKey::ApiVersions.to_i16();
            let named = answer.api_keys.iter().find(|api| api.api_key == own);
            let offered = named.map_or(0, |api| api.max_version);
            version = if (0..version).contains(&offered) { offered } else { 0 };
        }
    }

    /// The broker's address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.0.shared.address
    }

    /// Whether the connection has ended, so that a new one is needed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.shared.ended.get().is_some()
    }

    /// The newest version of a request, up to `version_max`, that both sides speak, if there is one.
    #[must_use]
    pub fn version_of<R: Request>(&self, version_max: i16) -> Option<i16> {
        let (min, max) = *self.0.versions.get()?.get(&R::KEY.to_i16())?;
        let newest = max.min(*R::VERSIONS.end()).min(version_max);
        (newest >= min.max(*R::VERSIONS.start())).then_some(newest)
    }

    /// Sends a request and waits for its answer, after waiting for room on the connection.
    ///
    /// # Errors
    /// [`Error::Disconnected`], [`Error::Timeout`], [`Error::Protocol`], [`Error::Unsupported`].
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, Error> {
        self.call_within(request, self.0.request_timeout, i16::MAX).await
    }

    /// As [`Self::call`], with a time limit of its own, for requests that wait on purpose, and in
    /// no newer version than `version_max`.
    ///
    /// # Errors
    /// Those of [`Self::call`].
    pub async fn call_within<R: Request>(
        &self,
        request: &R,
        timeout: Duration,
        version_max: i16,
    ) -> Result<R::Response, Error> {
        let version = self.negotiated::<R>(version_max)?;
        let permit = self.0.shared.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| self.disconnected())?;
        let mut pending = self.begin_at(request, version, Some(permit))?;
        pending.timeout = timeout;
        pending.wait().await
    }

    /// Queues a request without waiting: requests that are begun in an order are sent in it.
    ///
    /// # Errors
    /// [`Error::Disconnected`], also when too many requests are open; [`Error::Unsupported`].
    pub fn begin<R: Request>(
        &self,
        request: &R,
        timeout: Duration,
        version_max: i16,
    ) -> Result<Pending<R>, Error> {
        let version = self.negotiated::<R>(version_max)?;
        let mut pending = self.begin_at(request, version, None)?;
        pending.timeout = timeout;
        Ok(pending)
    }

    /// Sends a request that gets no answer (a produce with `acks=0`): waits until the system has
    /// its bytes.
    ///
    /// # Errors
    /// [`Error::Disconnected`], [`Error::Unsupported`].
    pub async fn send_only<R: Request>(&self, request: &R, version_max: i16) -> Result<(), Error> {
        let version = self.negotiated::<R>(version_max)?;
        let permit = self.0.shared.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| self.disconnected())?;
        let correlation_id = self.lock_open().next_id();
        let chunks = self.encode(request, version, correlation_id);
        let (sender, written) = oneshot::channel();
        let outgoing = Outgoing { chunks, written: Some((sender, permit)) };
        self.0.outgoing.send(outgoing).await.map_err(|_| self.disconnected())?;
        written.await.map_err(|_| self.disconnected())
    }

    fn negotiated<R: Request>(&self, version_max: i16) -> Result<i16, Error> {
        self.version_of::<R>(version_max).ok_or_else(|| Error::Unsupported {
            address: self.address().clone(),
            what: R::KEY.name(),
        })
    }

    fn begin_at<R: Request>(
        &self,
        request: &R,
        version: i16,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Pending<R>, Error> {
        let permit = match permit {
            Some(permit) => permit,
            None => self.0.shared.permits.clone().try_acquire_owned().map_err(|_| {
                let mut error = self.disconnected();
                if let Error::Disconnected { cause, .. } = &mut error
                    && !self.is_closed()
                {
                    "too many requests are open".clone_into(cause);
                }
                error
            })?,
        };
        let (sender, answer) = oneshot::channel();
        {
            let mut open = self.lock_open();
            if self.is_closed() {
                return Err(self.disconnected());
            }
            let correlation_id = open.next_id();
            let chunks = self.encode(request, version, correlation_id);
            // There is room: the queue has as many places as there are permits.
            self.0
                .outgoing
                .try_send(Outgoing { chunks, written: None })
                .map_err(|_| self.disconnected())?;
            open.waiting.push_back(Waiting { correlation_id, answer: sender, _permit: permit });
        }
        Ok(Pending {
            connection: self.clone(),
            answer,
            api: R::KEY,
            version,
            begun: Instant::now(),
            timeout: self.0.request_timeout,
            request: PhantomData,
        })
    }

    fn encode<R: Request>(&self, request: &R, version: i16, correlation_id: i32) -> Vec<Bytes> {
        encode_request(request, version, correlation_id, Some(&self.0.client_id))
    }

    fn lock_open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.shared.open.lock().expect("invariant: nothing panics under this lock")
    }

    fn disconnected(&self) -> Error {
        self.0.shared.disconnected()
    }

    fn close(&self, cause: &str) {
        self.0.shared.end(cause);
        self.0.stop.begin();
    }
}

impl<R: Request> Pending<R> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// [`Error::Disconnected`], [`Error::Timeout`] (which also closes the connection: all later
    /// answers stand behind this one), [`Error::Protocol`].
    pub async fn wait(self) -> Result<R::Response, Error> {
        let version = self.version;
        let address = self.connection.address().clone();
        let frame = self.frame().await?;
        decode_answer::<R>(&address, frame, version)
    }

    async fn frame(self) -> Result<Bytes, Error> {
        match tokio::time::timeout_at(self.begun + self.timeout, self.answer).await {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(_)) => Err(self.connection.disconnected()),
            Err(_) => {
                let what = self.api.name();
                self.connection.close(&format!("no answer to {what} in time"));
                Err(Error::Timeout {
                    address: self.connection.address().clone(),
                    what,
                    waited_ms: self.timeout.as_millis() as u64,
                })
            }
        }
    }
}

fn decode_answer<R: Request>(
    address: &Address,
    frame: Bytes,
    version: i16,
) -> Result<R::Response, Error> {
    decode_response::<R>(frame, version)
        .map(|(_, response)| response)
        .map_err(|error| Error::Protocol { address: address.clone(), cause: error.to_string() })
}

impl Open {
    fn next_id(&mut self) -> i32 {
        let id = self.correlation_next;
        self.correlation_next = if id == i32::MAX { 0 } else { id + 1 };
        id
    }
}

impl Shared {
    fn disconnected(&self) -> Error {
        let cause = self.ended.get().map_or("closed", String::as_str).to_owned();
        Error::Disconnected { address: self.address.clone(), cause }
    }

    /// Marks the end and fails all open requests; the first cause wins.
    fn end(&self, cause: &str) {
        let _ = self.ended.set(cause.to_owned());
        self.permits.close();
        let waiting = {
            let mut open = self.open.lock().expect("invariant: nothing panics under this lock");
            std::mem::take(&mut open.waiting)
        };
        drop(waiting);
    }
}

/// The system's words without its number.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by the peer".to_owned(),
        io::ErrorKind::UnexpectedEof => "the broker closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

async fn read_answers(shared: Arc<Shared>, read: OwnedReadHalf, mut stopped: Shutdown) {
    let mut read = BufReader::with_capacity(limits::CLIENT_READ_BUFFER_BYTES, read);
    let cause = loop {
        let frame = tokio::select! {
            frame = read_frame(&mut read) => frame,
            () = stopped.wait() => break "closed".to_owned(),
        };
        match frame {
            Ok(frame) => {
                if let Err(cause) = hand_over(&shared, frame) {
                    break cause;
                }
            }
            Err(error) => break words(&error),
        }
    };
    shared.end(&cause);
}

async fn read_frame(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Bytes> {
    let length = read.read_i32().await?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| (4..=limits::CLIENT_RESPONSE_BYTES_MAX).contains(length))
        .ok_or_else(|| {
            let what = format!("a frame of {length} bytes; is this a Kafka port?");
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
    // Grown as bytes arrive: the length alone allocates little.
    let mut frame = BytesMut::with_capacity(length.min(limits::CLIENT_FRAME_TRUST_BYTES));
    while frame.len() < length {
        if frame.capacity() == frame.len() {
            frame.reserve(frame.len().max(4096).min(length - frame.len()));
        }
        let mut rest = (&mut *read).take((length - frame.len()) as u64);
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame.freeze())
}

/// Gives a frame to the oldest open request, which must be the one it answers.
fn hand_over(shared: &Shared, frame: Bytes) -> Result<(), String> {
    let correlation_id = (&frame[..4]).get_i32();
    let oldest = {
        let mut open = shared.open.lock().expect("invariant: nothing panics under this lock");
        open.waiting.pop_front()
    };
    match oldest {
        Some(waiting) if waiting.correlation_id == correlation_id => {
            // Whoever gave up waiting does not want it any more.
            let _ = waiting.answer.send(frame);
            Ok(())
        }
        _ => Err(format!("an answer with correlation id {correlation_id} that nobody asked for")),
    }
}

async fn write_requests(
    shared: Arc<Shared>,
    write: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Outgoing>,
    mut stopped: Shutdown,
) {
    let mut write = BufWriter::with_capacity(limits::CLIENT_WRITE_BUFFER_BYTES, write);
    // As many at most as there are permits.
    let mut unflushed: Vec<Written> = Vec::new();
    loop {
        let outgoing = tokio::select! {
            outgoing = queue.recv() => outgoing,
            () = stopped.wait() => return,
        };
        let Some(outgoing) = outgoing else { return };
        let is_last = queue.is_empty();
        let writing = async {
            for chunk in &outgoing.chunks {
                write.write_all(chunk).await?;
            }
            if is_last { write.flush().await } else { Ok(()) }
        };
        let written = tokio::select! {
            written = writing => written,
            () = stopped.wait() => return,
        };
        unflushed.extend(outgoing.written);
        if let Err(error) = written {
            shared.end(&words(&error));
            return;
        }
        if is_last {
            for (written, _permit) in unflushed.drain(..) {
                // Whoever gave up waiting does not want to know.
                let _ = written.send(());
            }
        }
    }
}
