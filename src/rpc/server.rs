//! The listening side.

use super::dial;
use super::handshake::{
    Class, Hello, Reason, Refusal, Stranger, VERSIONS, Welcome, answer_bytes, read_hello,
    write_answer,
};
use super::live::{OURS, Place};
use super::peer::{calls_max, claim};
use super::service::{
    Calls, Cluster as _, ClusterRequest, ClusterResponse, Raft as _, RaftRequest, RaftResponse,
    Replica as _, ReplicaRequest, ReplicaResponse,
};
use super::transport::{End, Transport};
use super::{
    Caller, ControlHandler, Handlers, Identity, Pool, RaftHandler, ReplicaHandler, frame_bytes_max,
};
use crate::env::shutdown::Shutdown;
use crate::env::spawn;
use crate::limits::{
    RPC_CONNECTIONS_MAX, RPC_CONNECTIONS_PER_ADDRESS_MAX, RPC_HANDSHAKE_MS_MAX, RPC_HANDSHAKES_MAX,
    RPC_HANDSHAKES_PER_ADDRESS_MAX, RPC_STRANGER_WARNING_MS,
};
use futures::StreamExt as _;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::{ClientMessage, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::time::{Instant, timeout};

/// Answers other nodes on the rpc port.
#[derive(Debug)]
pub struct Server<R, C, P>(Arc<Inner<R, C, P>>);

#[derive(Debug)]
struct Inner<R, C, P> {
    pool: Pool,
    identity: Arc<Identity>,
    handlers: Handlers<R, C, P>,
    bulk: Option<runtime::Handle>,
    crowd: Mutex<Crowd>,
}

/// A number of connections.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    open: usize,
    /// Of them, those that have not said yet who they are.
    nameless: usize,
}

/// Who is connected, by number only.
#[derive(Debug, Default)]
struct Crowd {
    all: Count,
    by_address: BTreeMap<IpAddr, Count>,
    /// When a stranger was last warned of.
    warned: Option<Instant>,
}

impl<R: RaftHandler, C: ControlHandler, P: ReplicaHandler> Server<R, C, P> {
    /// A server for the node that `pool` speaks for. The two share the table of live incarnations
    /// and the news of lost connections.
    #[must_use]
    pub fn new(pool: Pool, handlers: Handlers<R, C, P>) -> Self {
        let identity = Arc::new(pool.identity());
        let crowd = Mutex::default();
        Self(Arc::new(Inner { pool, identity, handlers, bulk: None, crowd }))
    }

    /// Serves bulk connections on another runtime than the one that [`Server::serve`] runs on.
    #[must_use]
    pub fn bulk_on(self, runtime: runtime::Handle) -> Self {
        let Inner { pool, identity, handlers, .. } = &*self.0;
        let (pool, identity, handlers) = (pool.clone(), Arc::clone(identity), handlers.clone());
        let crowd = Mutex::default();
        Self(Arc::new(Inner { pool, identity, handlers, bulk: Some(runtime), crowd }))
    }

    /// Serves until the shutdown begins; then every connection is closed.
    pub async fn serve(self, listener: TcpListener, mut shutdown: Shutdown) {
        loop {
            let accepted = tokio::select! {
                () = shutdown.wait() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, from)) => self.take(socket, from, &shutdown),
                Err(error) => {
                    // Out of descriptors, most likely: breathe, or this loop would spin.
                    tracing::warn!(%error, "cannot accept a node's connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn take(&self, socket: TcpStream, from: SocketAddr, shutdown: &Shutdown) {
        let inner = Arc::clone(&self.0);
        match Seat::take(&inner, from.ip().to_canonical()) {
            Ok(seat) => {
                let shutdown = shutdown.clone();
                spawn::spawn("rpc handshake", inner.greet(socket, from, seat, shutdown));
            }
            Err(reason) => {
                inner.warn(from, reason);
                // As far as the socket takes it at once; nobody waits for one too many.
                let refusal = Refusal::new((*inner.identity).clone(), Reason::Busy, reason);
                let _ = socket.try_write(&answer_bytes(&Err(refusal)));
            }
        }
    }
}

/// A connection's place in the crowd.
struct Seat<R, C, P> {
    inner: Arc<Inner<R, C, P>>,
    address: IpAddr,
    nameless: bool,
}

impl<R, C, P> Seat<R, C, P> {
    fn take(inner: &Arc<Inner<R, C, P>>, address: IpAddr) -> Result<Self, &'static str> {
        let mut crowd = inner.crowd();
        let here = crowd.by_address.get(&address).copied().unwrap_or_default();
        if crowd.all.open >= RPC_CONNECTIONS_MAX {
            return Err("there are too many connections of nodes");
        }
        if here.open >= RPC_CONNECTIONS_PER_ADDRESS_MAX {
            return Err("there are too many connections from this address");
        }
        if crowd.all.nameless >= RPC_HANDSHAKES_MAX {
            return Err("too many connections have not said who they are");
        }
        if here.nameless >= RPC_HANDSHAKES_PER_ADDRESS_MAX {
            return Err("too many connections from this address have not said who they are");
        }
        crowd.change(address, |count| {
            count.open += 1;
            count.nameless += 1;
        });
        Ok(Self { inner: Arc::clone(inner), address, nameless: true })
    }

    /// The connection has said who it is.
    fn named(&mut self) {
        if std::mem::take(&mut self.nameless) {
            self.inner.crowd().change(self.address, |count| count.nameless -= 1);
        }
    }
}

impl<R, C, P> Drop for Seat<R, C, P> {
    fn drop(&mut self) {
        self.named();
        self.inner.crowd().change(self.address, |count| count.open -= 1);
    }
}

impl Crowd {
    fn change(&mut self, address: IpAddr, change: impl Fn(&mut Count)) {
        change(&mut self.all);
        let here = self.by_address.entry(address).or_default();
        change(here);
        if here.open == 0 {
            self.by_address.remove(&address);
        }
    }
}

impl<R, C, P> Inner<R, C, P> {
    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that somebody was turned away, at bounded cost: hostile callers must not fill the log.
    fn warn(&self, from: SocketAddr, reason: &str) {
        let mut crowd = self.crowd();
        let quiet = Duration::from_millis(RPC_STRANGER_WARNING_MS);
        if crowd.warned.is_none_or(|warned| warned.elapsed() >= quiet) {
            crowd.warned = Some(Instant::now());
            drop(crowd);
            tracing::warn!(%from, reason, "a connection to the rpc port was turned away");
        } else {
            drop(crowd);
            tracing::debug!(%from, reason, "a connection to the rpc port was turned away");
        }
    }
}

/// Where a caller is reached: a listener on every address of its machine is reached at the one that
/// it called from.
fn reachable(rpc: String, from: SocketAddr) -> String {
    match rpc.parse::<SocketAddr>() {
        Ok(listens) if listens.ip().is_unspecified() => {
            SocketAddr::new(from.ip().to_canonical(), listens.port()).to_string()
        }
        _ => rpc,
    }
}

/// Answers the calls of one connection until it ends. Dropping this takes the calls with it that
/// are being answered. (A macro, because only for a known service the compiler sees that its futures
/// may change threads.)
macro_rules! run {
    ($socket:expr, $class:expr, $end:expr, $serve:expr, $request:ty, $response:ty) => {{
        let transport = Transport::<_, ClientMessage<$request>, Response<$response>>::new(
            $socket,
            frame_bytes_max($class),
            $end.clone(),
        );
        let calls_max = calls_max($class);
        let config = tarpc::server::Config { pending_response_buffer: calls_max };
        let calls =
            BaseChannel::new(config, transport).max_concurrent_requests(calls_max).execute($serve);
        calls
            .for_each(|call| {
                spawn::spawn("rpc call", call);
                futures::future::ready(())
            })
            .await;
    }};
}

impl<R: RaftHandler, C: ControlHandler, P: ReplicaHandler> Inner<R, C, P> {
    /// Shakes hands, and serves whoever passes.
    async fn greet(
        self: Arc<Self>,
        mut socket: TcpStream,
        from: SocketAddr,
        mut seat: Seat<R, C, P>,
        mut shutdown: Shutdown,
    ) {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let patience = Duration::from_millis(RPC_HANDSHAKE_MS_MAX);
        let end = End::default();
        let shaking = timeout(patience, self.shake(&mut socket, from, &end));
        let shaken = tokio::select! {
            () = shutdown.wait() => return,
            shaken = shaking => shaken,
        };
        let (class, caller, place) = match shaken {
            Ok(Ok(Some(shaken))) => shaken,
            Ok(Ok(None)) => return,
            Ok(Err(reason)) => return self.warn(from, &reason),
            Err(_) => return tracing::debug!(%from, "a connection did not say who it is"),
        };
        seat.named();
        if let Some(node) = caller.node {
            self.pool.encourage(node);
        }
        let connection = Arc::clone(&self).serve(socket, class, caller, place, end, seat, shutdown);
        match (class, &self.bulk) {
            (Class::Bulk, Some(runtime)) => {
                let _inside = runtime.enter();
                spawn::spawn("rpc bulk connection", connection);
            }
            _ => connection.await,
        }
    }

    /// The handshake. `Ok(None)` when the answer was all that the caller wanted.
    async fn shake(
        &self,
        socket: &mut TcpStream,
        from: SocketAddr,
        end: &End,
    ) -> Result<Option<(Class, Caller, Option<Place>)>, String> {
        let (class, hello) = match read_hello(socket).await {
            Ok((class, hello)) => (class, Hello { rpc: reachable(hello.rpc, from), ..hello }),
            Err(stranger) => {
                let refusal = match &stranger {
                    Stranger::TooNew => Some(Reason::Version),
                    Stranger::Malformed(_) => Some(Reason::Malformed),
                    Stranger::Other(_) | Stranger::Incomplete(_) => None,
                };
                if let Some(reason) = refusal {
                    let refusal = self.refusal(reason, stranger.to_string());
                    let _ = write_answer(socket, &Err(refusal)).await;
                }
                return Err(stranger.to_string());
            }
        };
        let admitted = match self.look_at(class, &hello) {
            Ok(version) => self.enter(class, &hello, end).await.map(|place| (version, place)),
            Err(refusal) => Err(refusal),
        };
        let (answer, place) = match admitted {
            Ok((version, place)) => {
                let identity = (*self.identity).clone();
                (Ok(Welcome { identity, version }), place)
            }
            Err(refusal) => (Err(refusal), None),
        };
        write_answer(socket, &answer).await.map_err(|error| error.to_string())?;
        match answer {
            Ok(_) if class == Class::Probe => Ok(None),
            Ok(_) => {
                let Hello { node_id, incarnation, rpc, .. } = hello;
                Ok(Some((class, Caller { node: node_id, incarnation, rpc }, place)))
            }
            Err(refusal) => Err(match hello.node_id {
                Some(node) => format!("node {node} at {}: {}", hello.rpc, refusal.text),
                None => refusal.text,
            }),
        }
    }

    fn refusal(&self, reason: Reason, text: impl Into<String>) -> Refusal {
        Refusal::new((*self.identity).clone(), reason, text)
    }

    /// Who may come in, as far as the hello tells. Gives the version to speak.
    fn look_at(&self, class: Class, hello: &Hello) -> Result<u16, Refusal> {
        let own = self.pool.own();
        let version = hello.versions.1.min(VERSIONS.1);
        if version < hello.versions.0.max(VERSIONS.0) {
            let text = format!("release {} speaks other protocol versions", dial::release());
            return Err(self.refusal(Reason::Version, text));
        }
        if let Some(theirs) = hello.cluster_id.filter(|theirs| *theirs != own.cluster_id) {
            let text = format!("this is cluster {}, not {theirs}", own.cluster_id);
            return Err(self.refusal(Reason::OtherCluster, text));
        }
        if let Some(wanted) = hello.wanted.filter(|wanted| *wanted != own.node_id) {
            let text = format!("this is node {}, not {wanted}", own.node_id);
            return Err(self.refusal(Reason::OtherNode, text));
        }
        let member = hello.cluster_id.is_some() && hello.node_id.is_some();
        if !member && !matches!(class, Class::Control | Class::Probe) {
            let text = "only members of the cluster may do that";
            return Err(self.refusal(Reason::NotAdmitted, text));
        }
        if class == Class::Probe {
            return Ok(version);
        }
        match hello.node_id {
            Some(node) if node == own.node_id && hello.incarnation != own.incarnation => {
                let text = format!("this process is node {node} itself");
                Err(self.refusal(Reason::Duplicate, text))
            }
            Some(node) => match self.handlers.control.refuses(node) {
                Some(text) => Err(self.refusal(Reason::Removed, text)),
                None => Ok(version),
            },
            None => Ok(version),
        }
    }

    /// Enters a member into the table of live incarnations.
    async fn enter(
        &self,
        class: Class,
        hello: &Hello,
        end: &End,
    ) -> Result<Option<Place>, Refusal> {
        let (Some(node), true) = (hello.node_id, class != Class::Probe) else { return Ok(None) };
        claim(&self.pool.live, node, hello.incarnation, &hello.rpc, class, end)
            .await
            .map(Some)
            .map_err(|text| self.refusal(Reason::Duplicate, text))
    }

    #[expect(clippy::too_many_arguments, reason = "all that a connection consists of")]
    async fn serve(
        self: Arc<Self>,
        socket: TcpStream,
        class: Class,
        caller: Caller,
        place: Option<Place>,
        end: End,
        seat: Seat<R, C, P>,
        mut shutdown: Shutdown,
    ) {
        let Handlers { raft, control, replica } = self.handlers.clone();
        let own = Arc::clone(&self.identity);
        let serving = async {
            match class {
                Class::Raft => {
                    let calls = Calls { handler: raft, caller, own };
                    run!(socket, class, &end, calls.serve(), RaftRequest, RaftResponse);
                }
                Class::Control => {
                    let calls = Calls { handler: control, caller, own };
                    run!(socket, class, &end, calls.serve(), ClusterRequest, ClusterResponse);
                }
                Class::Bulk => {
                    let calls = Calls { handler: replica, caller, own };
                    run!(socket, class, &end, calls.serve(), ReplicaRequest, ReplicaResponse);
                }
                Class::Probe => {}
            }
        };
        tokio::select! {
            () = shutdown.wait() => end.set(OURS.to_owned()),
            () = end.wait() => {}
            () = serving => {}
        }
        tracing::debug!(?class, reason = end.reason(), "a connection of a node ended");
        if let Some(place) = place {
            place.vacate(&end);
        }
        drop(seat);
    }
}
