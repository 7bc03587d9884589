//! The first bytes of every connection: who calls whom, for what, and in which version.
//!
//! ```text
//! the caller                          the called node
//! 0  magic    "PRLN"                  0  magic    "PRLN"
//! 4  layout   u8, 1                   4  layout   u8, 1
//! 5  class    u8                      5  outcome  u8   0 welcome, 1 refused
//! 6  length   u16, big-endian         6  length   u16, big-endian
//! 8  hello    payload                 8  welcome or refusal, payload
//! ```
//!
//! This much never changes, so that any two releases can tell each other why they do not
//! understand each other. The versions of everything behind it are agreed upon in hello and welcome.
//!
//! Invariants:
//! - Nothing is read past the hello before the caller is known to be of this cluster.
//! - Whatever does not begin with the magic is not looked at any further.

use super::{Error, Payload};
use crate::limits::{RPC_ADDRESS_BYTES_MAX, RPC_HELLO_BYTES_MAX, RPC_REASON_BYTES_MAX};
use crate::types::{ClusterId, IncarnationId, NodeId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What every connection between nodes begins with, from both sides.
pub const MAGIC: [u8; 4] = *b"PRLN";

/// The layout of the first bytes.
const LAYOUT: u8 = 1;

/// The protocol versions that this release speaks, oldest and newest.
pub const VERSIONS: (u16, u16) = (1, 1);

/// Bytes before the hello, and before its answer.
const PREAMBLE_BYTES: usize = 8;

/// What a connection is for. Each class has its own TCP connection, so that bulk never delays a
/// heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The Raft group's calls.
    Raft,
    /// Registration, heartbeats, forwarded proposals, admission.
    Control,
    /// Records and flush reports.
    Bulk,
    /// A question who is there, closed after the answer.
    Probe,
}

impl Class {
    fn number(self) -> u8 {
        match self {
            Self::Raft => 1,
            Self::Control => 2,
            Self::Bulk => 3,
            Self::Probe => 4,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Raft),
            2 => Some(Self::Control),
            3 => Some(Self::Bulk),
            4 => Some(Self::Probe),
            _ => None,
        }
    }
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its number in the cluster.
    pub node_id: NodeId,
    /// This start of its process.
    pub incarnation: IncarnationId,
    /// Its release, for people.
    pub version: String,
}

/// What the caller says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its cluster; nothing for a process that belongs to none yet.
    pub cluster_id: Option<ClusterId>,
    /// Its number; nothing for a process that has none yet.
    pub node_id: Option<NodeId>,
    /// This start of its process.
    pub incarnation: IncarnationId,
    /// Where other nodes reach it, as `host:port`.
    pub rpc: String,
    /// Its release, for people.
    pub release: String,
    /// The protocol versions that it speaks, oldest and newest.
    pub versions: (u16, u16),
    /// Whom it expects, if it knows.
    pub wanted: Option<NodeId>,
}

/// What the called node says when all is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Who it is.
    pub identity: Identity,
    /// The protocol version that both will speak: the newest that both know.
    pub version: u16,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The caller belongs to another cluster.
    OtherCluster,
    /// The caller expects another node.
    OtherNode,
    /// There is no protocol version in common.
    Version,
    /// Another process with the caller's node id lives.
    Duplicate,
    /// The caller was removed from the cluster.
    Removed,
    /// Only members of the cluster may use this class of connection.
    NotAdmitted,
    /// Too many connections.
    Busy,
    /// The hello makes no sense.
    Malformed,
}

impl Reason {
    const ALL: [Self; 8] = [
        Self::OtherCluster,
        Self::OtherNode,
        Self::Version,
        Self::Duplicate,
        Self::Removed,
        Self::NotAdmitted,
        Self::Busy,
        Self::Malformed,
    ];

    fn number(self) -> u16 {
        match self {
            Self::OtherCluster => 1,
            Self::OtherNode => 2,
            Self::Version => 3,
            Self::Duplicate => 4,
            Self::Removed => 5,
            Self::NotAdmitted => 6,
            Self::Busy => 7,
            Self::Malformed => 8,
        }
    }
}

/// What the called node says when it refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Who it is.
    pub identity: Identity,
    /// The number of its [`Reason`]. A newer release may know more reasons than this one.
    pub reason: u16,
    /// The reason in words.
    pub text: String,
    /// The protocol versions that it speaks, oldest and newest.
    pub versions: (u16, u16),
}

impl Refusal {
    /// A refusal by `identity`.
    #[must_use]
    pub fn new(identity: Identity, reason: Reason, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.len() > RPC_REASON_BYTES_MAX {
            let end = (0..=RPC_REASON_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or(0));
        }
        Self { identity, reason: reason.number(), text, versions: VERSIONS }
    }

    /// Its reason, if this release knows it.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.number() == self.reason)
    }
}

/// Why a caller's first bytes led to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// They are not ours.
    #[error("{0}")]
    Other(&'static str),
    /// They are of a layout or class that this release does not know.
    #[error("its layout or class is newer than this release")]
    TooNew,
    /// They are ours, but make no sense.
    #[error("its hello makes no sense: {0}")]
    Malformed(String),
    /// They did not come.
    #[error("its first bytes did not come: {0}")]
    Incomplete(String),
}

impl From<io::Error> for Stranger {
    fn from(error: io::Error) -> Self {
        Self::Incomplete(error.to_string())
    }
}

/// Reads what a caller says first.
///
/// # Errors
/// [`Stranger`].
pub async fn read_hello<Io: AsyncRead + Unpin>(io: &mut Io) -> Result<(Class, Hello), Stranger> {
    let mut preamble = [0; PREAMBLE_BYTES];
    io.read_exact(&mut preamble).await?;
    let [m0, m1, m2, m3, layout, class, l0, l1] = preamble;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(Stranger::Other(who_calls_with(preamble)));
    }
    let class = Class::from_number(class).filter(|_| layout == LAYOUT).ok_or(Stranger::TooNew)?;
    let head = read_head(io, u16::from_be_bytes([l0, l1])).await?;
    let hello: Hello = match Payload::from_parts(head, Vec::new()).decode() {
        Ok(hello) => hello,
        Err(Error::Version { .. }) => return Err(Stranger::TooNew),
        Err(error) => return Err(Stranger::Malformed(error.to_string())),
    };
    if hello.rpc.len() > RPC_ADDRESS_BYTES_MAX {
        return Err(Stranger::Malformed("its address is too long".to_owned()));
    }
    Ok((class, hello))
}

async fn read_head<Io: AsyncRead + Unpin>(io: &mut Io, length: u16) -> io::Result<Bytes> {
    let length = usize::from(length);
    if length > RPC_HELLO_BYTES_MAX {
        return Err(io::Error::other(format!("{length} bytes of hello were announced")));
    }
    let mut head = vec![0; length];
    io.read_exact(&mut head).await?;
    Ok(head.into())
}

fn message(tag: u8, payload: Payload) -> Vec<u8> {
    let (head, _) = payload.into_parts();
    assert!(head.len() <= RPC_HELLO_BYTES_MAX, "invariant: the parts of a hello are bounded");
    let mut bytes = MAGIC.to_vec();
    bytes.extend([LAYOUT, tag]);
    bytes.extend((head.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&head);
    bytes
}

/// The bytes that a caller begins with.
#[must_use]
pub fn hello_bytes(class: Class, hello: &Hello) -> Vec<u8> {
    message(class.number(), Payload::encode(hello))
}

/// The bytes of the answer to a hello.
#[must_use]
pub fn answer_bytes(answer: &Result<Welcome, Refusal>) -> Vec<u8> {
    match answer {
        Ok(welcome) => message(0, Payload::encode(welcome)),
        Err(refusal) => message(1, Payload::encode(refusal)),
    }
}

/// Writes the answer to a hello.
///
/// # Errors
/// When the connection broke.
pub async fn write_answer<Io: AsyncWrite + Unpin>(
    io: &mut Io,
    answer: &Result<Welcome, Refusal>,
) -> io::Result<()> {
    io.write_all(&answer_bytes(answer)).await?;
    io.flush().await
}

/// Why the answer to a hello could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The connection broke or was closed before a single byte came.
    #[error("{0}")]
    Nothing(io::Error),
    /// Something came that is no answer.
    #[error("{0}")]
    Other(String),
    /// A node answers, but in a layout that this release does not know.
    #[error("it answers in a layout that this release does not know")]
    TooNew,
}

/// Reads the answer to a hello.
///
/// # Errors
/// [`NoAnswer`].
pub async fn read_answer<Io: AsyncRead + Unpin>(
    io: &mut Io,
) -> Result<Result<Welcome, Refusal>, NoAnswer> {
    let mut preamble = [0; PREAMBLE_BYTES];
    let mut have = 0;
    while let Some(rest) = preamble.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match io.read(rest).await {
            Ok(0) if have == 0 => {
                return Err(NoAnswer::Nothing(io::ErrorKind::UnexpectedEof.into()));
            }
            Err(error) if have == 0 => return Err(NoAnswer::Nothing(error)),
            Ok(0) | Err(_) => break,
            Ok(count) => have += count,
        }
        // Who does not begin as a node does is told as soon as that shows: it may send no more.
        let seen = preamble.get(..have.min(MAGIC.len())).unwrap_or_default();
        if !MAGIC.starts_with(seen) {
            return Err(NoAnswer::Other(who_answers_with(
                preamble.get(..have).unwrap_or_default(),
            )));
        }
    }
    let [_, _, _, _, layout, outcome, l0, l1] = preamble;
    if have < PREAMBLE_BYTES {
        return Err(NoAnswer::Other("its answer ends too early".to_owned()));
    }
    if layout != LAYOUT || outcome > 1 {
        return Err(NoAnswer::TooNew);
    }
    let broken = |error: io::Error| NoAnswer::Other(format!("its answer is cut off: {error}"));
    let head = read_head(io, u16::from_be_bytes([l0, l1])).await.map_err(broken)?;
    let payload = Payload::from_parts(head, Vec::new());
    let malformed = |error: Error| match error {
        Error::Version { .. } => NoAnswer::TooNew,
        error => NoAnswer::Other(format!("its answer makes no sense: {error}")),
    };
    Ok(match outcome {
        0 => Ok(payload.decode().map_err(malformed)?),
        _ => Err(payload.decode().map_err(malformed)?),
    })
}

/// Guesses what calls a node's rpc port.
fn who_calls_with(bytes: [u8; PREAMBLE_BYTES]) -> &'static str {
    match bytes {
        [0x16, 0x03, ..] => "it speaks TLS, which this port does not",
        [b'G', b'E', b'T', b' ', ..]
        | [b'H', b'E', b'A', b'D', ..]
        | [b'P', b'U', b'T', b' ', ..]
        | [b'P', b'O', b'S', b'T', ..]
        | [b'O', b'P', b'T', b'I', ..] => {
            "it speaks HTTP; the admin port (9644 by default) answers that"
        }
        // A request's length, an API key and a version, all of them small.
        [0, _, _, _, 0, key, 0, version] if key < 100 && version < 30 => {
            "it is a Kafka client; the kafka port (9092 by default) answers those"
        }
        _ => "it does not speak the protocol of nodes",
    }
}

/// Guesses what answers where a node's rpc port should be.
fn who_answers_with(bytes: &[u8]) -> String {
    if bytes.starts_with(b"HTTP") {
        "an HTTP server answers there".to_owned()
    } else if matches!(bytes, [0x15 | 0x16, 0x03, ..]) {
        "a TLS server answers there".to_owned()
    } else if bytes.starts_with(b"SSH-") {
        "an SSH server answers there".to_owned()
    } else {
        format!("something else answers there, beginning with \"{}\"", bytes.escape_ascii())
    }
}
