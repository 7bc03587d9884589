//! Node-to-node calls over tarpc.
//!
//! Floor 1. One TCP port. Every connection begins with a handshake ([`handshake`]): what it is for,
//! who calls, who answers, of which cluster, in which version. Then it carries the calls of one
//! service: Raft, control or replica calls, each on a connection of its own, so that bulk never
//! delays a heartbeat. Higher floors call through a [`Pool`], and answer through handlers that they
//! give to a [`Server`].
//!
//! Invariants:
//! - No call is made or answered on a connection whose two sides have not proved to be of one
//!   cluster, and to be whom the other expects.
//! - A call that failed says whether it was certainly not carried out; a deadline that passed is
//!   "unknown", never "no".
//! - Every payload begins with a version byte, so that nodes of different versions understand or
//!   refuse each other.
//! - Frames, connections, handshakes, calls in flight and waits are bounded; memory follows the
//!   bytes that arrived, never a length that was announced.
//!
//! Must never: decide anything, or know what metadata or a partition is; it carries calls.

mod dial;
mod envelope;
mod error;
pub mod frame;
mod handlers;
pub mod handshake;
mod live;
mod peer;
mod pool;
pub mod replica;
mod server;
mod service;
#[cfg(test)]
mod tests;
mod transport;

pub use dial::{Alive, identify};
pub use envelope::Payload;
pub use error::Error;
pub use handlers::{Caller, ControlHandler, Declined, Handlers, RaftHandler, ReplicaHandler};
pub use handshake::{Class, Identity};
pub use live::Disconnected;
pub use peer::{BulkPeer, ControlPeer, RaftPeer};
pub use pool::{Own, Pool, admit};
pub use server::Server;

use crate::limits::{RPC_BULK_FRAME_BYTES_MAX, RPC_FRAME_BYTES_MAX};

/// Bytes of one frame on a connection of a class.
fn frame_bytes_max(class: Class) -> usize {
    match class {
        Class::Bulk => RPC_BULK_FRAME_BYTES_MAX,
        Class::Raft | Class::Control | Class::Probe => RPC_FRAME_BYTES_MAX,
    }
}
