//! How members of the group reach each other: the answering side.
//!
//! A snapshot arrives in pieces, which are gathered in memory, up to a bound, and checked as a
//! whole before the engine sees anything of them: a transfer that breaks off, or brings nonsense,
//! leaves everything as it was.

use super::super::peers::RaftCall;
use super::network::SnapshotAnswer;
use super::snapshots;
use super::types::{Raft, Snapshot, SnapshotMeta, TypeConfig};
use crate::env::spawn;
use crate::limits::{METADATA_SNAPSHOT_BYTES_MAX, RAFT_SNAPSHOT_IDLE_MS};
use crate::rpc::{Declined, Payload};
use crate::types::ClusterId;
use openraft::SnapshotSegmentId;
use openraft::error::SnapshotMismatch;
use openraft::raft::{AppendEntriesRequest, InstallSnapshotRequest, InstallSnapshotResponse};
use std::fmt;
use std::io::Cursor;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Answers the calls of other members.
pub(in crate::metadata) struct Service {
    raft: Raft,
    cluster_id: ClusterId,
    /// The snapshot that is arriving.
    incoming: Mutex<Option<Incoming>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Incoming {
    meta: SnapshotMeta,
    bytes: Vec<u8>,
    last_piece: Instant,
}

type Piece = InstallSnapshotRequest<TypeConfig>;

fn declined(what: impl fmt::Display) -> Declined {
    Declined(what.to_string())
}

impl Service {
    pub(in crate::metadata) fn new(raft: Raft, cluster_id: ClusterId) -> Self {
        Self { raft, cluster_id, incoming: Mutex::new(None) }
    }

    /// Answers one call. An error means that nothing was done.
    pub(in crate::metadata) async fn serve(&self, call: RaftCall) -> Result<Payload, Declined> {
        match call {
            RaftCall::Append(request) => {
                self.drop_stale();
                let request: AppendEntriesRequest<TypeConfig> = request.decode()?;
                let answer = self.raft.append_entries(request).await.map_err(declined)?;
                Ok(Payload::encode(&answer))
            }
            RaftCall::Vote(request) => {
                let answer = self.raft.vote(request.decode()?).await.map_err(declined)?;
                Ok(Payload::encode(&answer))
            }
            RaftCall::Snapshot(request) => {
                Ok(Payload::encode(&self.take_piece(request.decode()?).await?))
            }
        }
    }

    fn incoming(&self) -> MutexGuard<'_, Option<Incoming>> {
        // Taken and put back whole: a panic elsewhere leaves it usable.
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transfer that nobody goes on with must not keep its memory.
    fn drop_stale(&self) {
        let idle = Duration::from_millis(RAFT_SNAPSHOT_IDLE_MS);
        let mut incoming = self.incoming();
        if incoming.as_ref().is_some_and(|incoming| incoming.last_piece.elapsed() > idle) {
            *incoming = None;
        }
    }

    async fn take_piece(&self, piece: Piece) -> Result<SnapshotAnswer, Declined> {
        let vote = self.raft.with_raft_state(|state| *state.vote_ref()).await.map_err(declined)?;
        if piece.vote < vote {
            return Ok(SnapshotAnswer::Taken(InstallSnapshotResponse { vote }));
        }
        let (sender, done) = (piece.vote, piece.done);
        if let Some(mismatch) = self.gather(piece)? {
            return Ok(SnapshotAnswer::Mismatch(mismatch));
        }
        if !done {
            return Ok(SnapshotAnswer::Taken(InstallSnapshotResponse { vote }));
        }
        let Some(Incoming { meta, bytes, .. }) = self.incoming().take() else {
            return Err(declined("the snapshot was taken by another call"));
        };
        let cluster_id = self.cluster_id;
        let checked = spawn::blocking("snapshot check", move || {
            snapshots::decode(cluster_id, &bytes).map(|_| bytes)
        });
        let bytes = match checked.await {
            Some(Ok(bytes)) => bytes,
            Some(Err(what)) => return Err(declined(format!("the snapshot can't be used: {what}"))),
            None => return Err(declined("the snapshot could not be checked")),
        };
        let snapshot: Snapshot = Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) };
        let taken = self.raft.install_full_snapshot(sender, snapshot).await.map_err(declined)?;
        Ok(SnapshotAnswer::Taken(taken.into()))
    }

    /// Adds a piece to the snapshot that is arriving. One that came before already is fine.
    fn gather(&self, piece: Piece) -> Result<Option<SnapshotMismatch>, Declined> {
        let mut incoming = self.incoming();
        let offset = usize::try_from(piece.offset).unwrap_or(usize::MAX);
        let end = offset.saturating_add(piece.data.len());
        if end > METADATA_SNAPSHOT_BYTES_MAX {
            *incoming = None;
            return Err(declined(format!(
                "a snapshot of more than {METADATA_SNAPSHOT_BYTES_MAX} bytes"
            )));
        }
        if offset == 0 {
            let bytes = Vec::new();
            *incoming =
                Some(Incoming { meta: piece.meta.clone(), bytes, last_piece: Instant::now() });
        }
        if let Some(known) = incoming.as_mut().filter(|known| known.meta == piece.meta) {
            if known.bytes.len() == offset {
                known.bytes.extend_from_slice(&piece.data);
                known.last_piece = Instant::now();
                return Ok(None);
            }
            if known.bytes.get(offset..end) == Some(&piece.data[..])
                && (!piece.done || end == known.bytes.len())
            {
                return Ok(None);
            }
        }
        let id = &piece.meta.snapshot_id;
        let expect = incoming.as_ref().filter(|known| known.meta == piece.meta);
        let expect = expect.map_or(0, |known| known.bytes.len() as u64);
        let segment = |offset| SnapshotSegmentId { id: id.clone(), offset };
        Ok(Some(SnapshotMismatch { expect: segment(expect), got: segment(piece.offset) }))
    }
}
