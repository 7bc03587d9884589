//! How members of the group reach each other.
//!
//! A group of one never calls anybody. The factory is here so that the engine can be started; a
//! client that talks to other nodes takes its place when nodes can join.

use super::types::{Peer, TypeConfig};
use openraft::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use std::io;

/// Makes connections to other members.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Network;

/// A member that can't be reached.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    target: u64,
    peer: Peer,
}

type CallError<E = openraft::error::Infallible> = RPCError<u64, Peer, RaftError<u64, E>>;

impl Connection {
    fn unreachable<E: std::error::Error>(&self) -> CallError<E> {
        let error = io::Error::new(
            io::ErrorKind::NotConnected,
            format!("no connection to node {} at {}", self.target, self.peer.rpc),
        );
        RPCError::Unreachable(Unreachable::new(&error))
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Connection {
        Connection { target, peer: node.clone() }
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError> {
        Err(self.unreachable())
    }

    async fn install_snapshot(
        &mut self,
        _rpc: InstallSnapshotRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, CallError<InstallSnapshotError>> {
        Err(self.unreachable())
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError> {
        Err(self.unreachable())
    }
}
