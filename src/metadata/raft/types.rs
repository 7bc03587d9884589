//! openraft's type parameters, filled in.

use super::super::state::{Command, Response};
use crate::types::NodeId;
use serde::{Deserialize, Serialize};
use std::io::Cursor;

openraft::declare_raft_types!(
    /// The metadata group.
    pub(crate) TypeConfig:
        D = Command,
        R = Response,
        NodeId = u64,
        Node = Peer,
        SnapshotData = Cursor<Vec<u8>>,
);

/// A member of the group, as the membership keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// Where other nodes reach it, as `host:port`.
    pub(crate) rpc: String,
}

pub(crate) type Entry = openraft::Entry<TypeConfig>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type LogState = openraft::LogState<TypeConfig>;
pub(crate) type Membership = openraft::StoredMembership<u64, Peer>;
pub(crate) type Raft = openraft::Raft<TypeConfig>;
pub(crate) type Snapshot = openraft::Snapshot<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Peer>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type StorageIoError = openraft::StorageIOError<u64>;
pub(crate) type Vote = openraft::Vote<u64>;

/// The group's number of a node.
pub(crate) fn raft_id(node: NodeId) -> u64 {
    u64::try_from(node.0).expect("invariant: node ids are checked when they are given out")
}

/// The node behind a number of the group.
pub(crate) fn node_id(raft: u64) -> NodeId {
    NodeId(i32::try_from(raft).unwrap_or(i32::MAX))
}
