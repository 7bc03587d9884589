//! Reaching another node: name, socket, handshake.

use super::handshake::{
    self, Class, Hello, Identity, NoAnswer, Reason, Refusal, VERSIONS, Welcome,
};
use super::{Error, Own};
use crate::limits::{RPC_CONNECT_MS_MAX, RPC_PROBE_MS};
use crate::types::{IncarnationId, NodeId};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alive {
    /// A node answers, of whatever cluster.
    Answers(Identity),
    /// Nothing listens there: the machine answered that the port is closed.
    Refused,
    /// No answer in time, or one that says nothing about the process.
    Unknown,
}

/// Our release, for people on the other side.
pub(super) fn release() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// What a member of a cluster says of itself.
pub(super) fn hello_of(own: &Own, wanted: Option<NodeId>) -> Hello {
    Hello {
        cluster_id: Some(own.cluster_id),
        node_id: Some(own.node_id),
        incarnation: own.incarnation,
        rpc: own.rpc.clone(),
        release: release(),
        versions: VERSIONS,
        wanted,
    }
}

/// What a process says that belongs to no cluster.
pub(super) fn hello_of_nobody(incarnation: IncarnationId, rpc: &str) -> Hello {
    Hello {
        cluster_id: None,
        node_id: None,
        incarnation,
        rpc: rpc.to_owned(),
        release: release(),
        versions: VERSIONS,
        wanted: None,
    }
}

/// Connects and shakes hands, within `RPC_CONNECT_MS_MAX`.
///
/// # Errors
/// All of them mean that nothing was sent but the hello.
pub(super) async fn dial(
    address: &str,
    class: Class,
    hello: &Hello,
) -> Result<(TcpStream, Welcome), Error> {
    let until = Instant::now() + Duration::from_millis(RPC_CONNECT_MS_MAX);
    match timeout_at(until, dial_now(address, class, hello, until)).await {
        Ok(dialled) => dialled,
        Err(_) => Err(Error::Unreachable {
            address: address.to_owned(),
            reason: format!("no answer within {RPC_CONNECT_MS_MAX} ms"),
        }),
    }
}

async fn dial_now(
    address: &str,
    class: Class,
    hello: &Hello,
    until: Instant,
) -> Result<(TcpStream, Welcome), Error> {
    let unreachable = |reason: String| Error::Unreachable { address: address.to_owned(), reason };
    let mut socket = connect(address, until).await.map_err(|e| unreachable(plain(&e)))?;
    socket
        .write_all(&handshake::hello_bytes(class, hello))
        .await
        .map_err(|e| unreachable(plain(&e)))?;
    match handshake::read_answer(&mut socket).await {
        Ok(Ok(welcome)) => check(address, hello, welcome).map(|welcome| (socket, welcome)),
        Ok(Err(refusal)) => Err(refused(address, hello, refusal)),
        Err(NoAnswer::Nothing(error)) => Err(unreachable(format!(
            "it closed the connection without an answer ({}); \
             if that goes on, it may not be a node's rpc port",
            plain(&error)
        ))),
        Err(NoAnswer::Other(reason)) => {
            Err(Error::NotANode { address: address.to_owned(), reason })
        }
        Err(NoAnswer::TooNew) => Err(Error::ProtocolVersion {
            address: address.to_owned(),
            theirs: "newer than this release knows".to_owned(),
            ours: range(VERSIONS),
            ours_is_older: true,
        }),
    }
}

/// Connects to the first of the name's addresses that answers. Each gets a fair share of the time,
/// so that one that swallows packets does not hide the next.
async fn connect(address: &str, until: Instant) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address).await?.collect();
    let mut failure = io::Error::other("the name has no address");
    for (tried, one) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
        failure = match timeout(share, TcpStream::connect(one)).await {
            Ok(Ok(socket)) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "no answer"),
        };
    }
    Err(failure)
}

/// An I/O error in words.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the port is closed".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the connection was reset".to_owned()
        }
        io::ErrorKind::UnexpectedEof => "it ended".to_owned(),
        _ => error.to_string(),
    }
}

fn range((oldest, newest): (u16, u16)) -> String {
    if oldest == newest { oldest.to_string() } else { format!("{oldest} to {newest}") }
}

/// The caller believes nothing that it can check itself.
fn check(address: &str, hello: &Hello, welcome: Welcome) -> Result<Welcome, Error> {
    let address = || address.to_owned();
    let (oldest, newest) = hello.versions;
    if !(oldest..=newest).contains(&welcome.version) {
        return Err(Error::ProtocolVersion {
            address: address(),
            theirs: range((welcome.version, welcome.version)),
            ours: range(hello.versions),
            ours_is_older: welcome.version > newest,
        });
    }
    match (hello.cluster_id, hello.wanted) {
        (Some(ours), _) if ours != welcome.identity.cluster_id => Err(Error::OtherCluster {
            address: address(),
            theirs: welcome.identity.cluster_id,
            ours,
        }),
        (_, Some(wanted)) if wanted != welcome.identity.node_id => {
            Err(Error::OtherNode { address: address(), found: welcome.identity.node_id, wanted })
        }
        _ => Ok(welcome),
    }
}

/// A refusal as this side's error.
fn refused(address: &str, hello: &Hello, refusal: Refusal) -> Error {
    let address = address.to_owned();
    match (refusal.reason(), hello.cluster_id, hello.wanted) {
        (Some(Reason::OtherCluster), Some(ours), _) => {
            Error::OtherCluster { address, theirs: refusal.identity.cluster_id, ours }
        }
        (Some(Reason::OtherNode), _, Some(wanted)) => {
            Error::OtherNode { address, found: refusal.identity.node_id, wanted }
        }
        (Some(Reason::Version), _, _) => Error::ProtocolVersion {
            address,
            theirs: format!("{} (release {})", range(refusal.versions), refusal.identity.version),
            ours: format!("{} (release {})", range(hello.versions), hello.release),
            ours_is_older: refusal.versions.1 > hello.versions.1,
        },
        (Some(Reason::Removed), _, _) => Error::Removed { address, reason: refusal.text },
        (Some(Reason::Busy), _, _) => Error::Unreachable { address, reason: refusal.text },
        _ => Error::Refused { address, reason: refusal.text },
    }
}

/// Asks who is at `address`, as a process that belongs to no cluster.
///
/// # Errors
/// See [`Error`].
pub async fn identify(address: &str) -> Result<Identity, Error> {
    let hello = hello_of_nobody(IncarnationId::ZERO, "");
    match dial(address, Class::Probe, &hello).await {
        Ok((_, welcome)) => Ok(welcome.identity),
        Err(error) => Err(name_the_port(address, error).await),
    }
}

/// Who is at `address`, within `RPC_PROBE_MS`.
pub(super) async fn probe(address: &str) -> Alive {
    let patience = Duration::from_millis(RPC_PROBE_MS);
    let until = Instant::now() + patience;
    timeout(patience, probe_now(address, until)).await.unwrap_or(Alive::Unknown)
}

async fn probe_now(address: &str, until: Instant) -> Alive {
    let hello = handshake::hello_bytes(Class::Probe, &hello_of_nobody(IncarnationId::ZERO, ""));
    // A process that dies resets what waited to be accepted, and only the next attempt is refused.
    for _ in 0..3 {
        let mut socket = match connect(address, until).await {
            Ok(socket) => socket,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Alive::Refused;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => continue,
            Err(_) => return Alive::Unknown,
        };
        if socket.write_all(&hello).await.is_ok() {
            match handshake::read_answer(&mut socket).await {
                Ok(Ok(welcome)) => return Alive::Answers(welcome.identity),
                Ok(Err(refusal)) => return Alive::Answers(refusal.identity),
                Err(NoAnswer::Nothing(_)) => {}
                Err(_) => return Alive::Unknown,
            }
        }
        tokio::time::sleep(patience_between()).await;
    }
    Alive::Unknown
}

fn patience_between() -> Duration {
    Duration::from_millis(RPC_PROBE_MS / 25)
}

/// A port that closes without a word may be a Kafka client port: the commonest mix-up. Asks it the
/// one question that each of them answers.
pub(super) async fn name_the_port(address: &str, error: Error) -> Error {
    let silent =
        matches!(&error, Error::Unreachable { reason, .. } if reason.starts_with("it closed"));
    let patience = Duration::from_millis(RPC_CONNECT_MS_MAX);
    if silent && timeout(patience, speaks_kafka(address)).await.unwrap_or(false) {
        return Error::NotANode {
            address: address.to_owned(),
            reason: "a Kafka client port answers there".to_owned(),
        };
    }
    error
}

async fn speaks_kafka(address: &str) -> bool {
    // ApiVersions, version 0, correlation id "PRLN", no client id.
    const QUESTION: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, b'P', b'R', b'L', b'N', 0xff, 0xff];
    let until = Instant::now() + Duration::from_millis(RPC_CONNECT_MS_MAX);
    let Ok(mut socket) = connect(address, until).await else { return false };
    let mut answer = [0; 8];
    let asked = socket.write_all(&QUESTION).await.is_ok();
    asked && socket.read_exact(&mut answer).await.is_ok() && answer.ends_with(b"PRLN")
}
