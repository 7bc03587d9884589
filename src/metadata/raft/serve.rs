//! How members of the group reach each other: the answering side.
//!
//! A snapshot arrives in pieces, which are gathered in memory, up to a bound, and checked as a
//! whole before the engine sees anything of them: a transfer that breaks off, or brings nonsense,
//! leaves everything as it was.

use super::super::peers::RaftCall;
use super::super::wire;
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
    gathered: Mutex<Gathered>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// The pieces of a snapshot so far.
#[derive(Debug, Default)]
struct Gathered(Option<Incoming>);

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
        Self { raft, cluster_id, gathered: Mutex::default() }
    }

    /// Answers one call. An error means that nothing was done.
    pub(in crate::metadata) async fn serve(&self, call: RaftCall) -> Result<Payload, Declined> {
        match call {
            RaftCall::Append(request) => {
                self.gathered().drop_stale();
                let request: AppendEntriesRequest<TypeConfig> = wire::unpack(&request)?;
                let answer = self.raft.append_entries(request).await.map_err(declined)?;
                Ok(wire::pack(&answer))
            }
            RaftCall::Vote(request) => {
                let answer = self.raft.vote(wire::unpack(&request)?).await.map_err(declined)?;
                Ok(wire::pack(&answer))
            }
            RaftCall::Snapshot(request) => {
                Ok(wire::pack(&self.take_piece(wire::unpack(&request)?).await?))
            }
        }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        // Every change leaves it whole.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take_piece(&self, piece: Piece) -> Result<SnapshotAnswer, Declined> {
        let vote = self.raft.with_raft_state(|state| *state.vote_ref()).await.map_err(declined)?;
        if piece.vote < vote {
            return Ok(SnapshotAnswer::Taken(InstallSnapshotResponse { vote }));
        }
        let (sender, done) = (piece.vote, piece.done);
        if let Some(mismatch) = self.gathered().add(piece)? {
            return Ok(SnapshotAnswer::Mismatch(mismatch));
        }
        if !done {
            return Ok(SnapshotAnswer::Taken(InstallSnapshotResponse { vote }));
        }
        let Some(Incoming { meta, bytes, .. }) = self.gathered().0.take() else {
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
}

impl Gathered {
    /// A transfer that nobody goes on with must not keep its memory.
    fn drop_stale(&mut self) {
        let idle = Duration::from_millis(RAFT_SNAPSHOT_IDLE_MS);
        if self.0.as_ref().is_some_and(|incoming| incoming.last_piece.elapsed() > idle) {
            self.0 = None;
        }
    }

    /// Adds a piece. One that came before already is fine; one that doesn't follow what is there is
    /// answered with what would.
    fn add(&mut self, piece: Piece) -> Result<Option<SnapshotMismatch>, Declined> {
        let offset = usize::try_from(piece.offset).unwrap_or(usize::MAX);
        let end = offset.saturating_add(piece.data.len());
        if end > METADATA_SNAPSHOT_BYTES_MAX {
            self.0 = None;
            return Err(declined(format!(
                "a snapshot of more than {METADATA_SNAPSHOT_BYTES_MAX} bytes"
            )));
        }
        if offset == 0 {
            let (meta, bytes) = (piece.meta.clone(), Vec::new());
            self.0 = Some(Incoming { meta, bytes, last_piece: Instant::now() });
        }
        let known = self.0.as_mut().filter(|known| known.meta == piece.meta);
        let length = known.as_ref().map_or(0, |known| known.bytes.len());
        if let Some(known) = known {
            if length == offset {
                known.bytes.extend_from_slice(&piece.data);
                known.last_piece = Instant::now();
                return Ok(None);
            }
            let again = known.bytes.get(offset..end) == Some(&piece.data[..]);
            if again && (!piece.done || end == length) {
                return Ok(None);
            }
        }
        let segment = |offset| SnapshotSegmentId { id: piece.meta.snapshot_id.clone(), offset };
        Ok(Some(SnapshotMismatch { expect: segment(length as u64), got: segment(piece.offset) }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{LogId, Membership};
    use super::*;
    use openraft::{CommittedLeaderId, Vote};

    fn piece(index: u64, offset: u64, data: &[u8], done: bool) -> Piece {
        let meta = SnapshotMeta {
            last_log_id: Some(LogId::new(CommittedLeaderId::new(1, 1), index)),
            last_membership: Membership::default(),
            snapshot_id: index.to_string(),
        };
        let vote = Vote::new_committed(1, 1);
        Piece { vote, meta, offset, data: data.to_vec(), done }
    }

    fn bytes(gathered: &Gathered) -> &[u8] {
        &gathered.0.as_ref().expect("something arrived").bytes
    }

    #[test]
    fn pieces_are_put_together_and_what_does_not_follow_is_not_taken() {
        let mut gathered = Gathered::default();
        let mismatch = gathered.add(piece(5, 3, b"def", false)).expect("answered");
        assert_eq!(mismatch.expect("nothing came before").expect.offset, 0);
        assert_eq!(gathered.add(piece(5, 0, b"abc", false)).expect("taken"), None);
        assert_eq!(gathered.add(piece(5, 3, b"def", false)).expect("taken"), None);
        assert_eq!(gathered.add(piece(5, 3, b"def", false)).expect("made twice"), None);
        assert_eq!(bytes(&gathered), b"abcdef");
        let gap = gathered.add(piece(5, 9, b"jkl", true)).expect("answered");
        assert_eq!(gap.expect("a gap").expect.offset, 6);
        let other = gathered.add(piece(5, 3, b"xyz", false)).expect("answered");
        assert!(other.is_some(), "other bytes in the same place");
        let other = gathered.add(piece(6, 6, b"ghi", true)).expect("answered");
        assert!(other.is_some(), "another snapshot");
        let early = gathered.add(piece(5, 0, b"abc", false)).expect("taken");
        assert_eq!((early, bytes(&gathered)), (None, &b"abc"[..]), "begun anew");
    }

    #[test]
    fn no_piece_makes_the_buffer_larger_than_a_snapshot_may_be() {
        let mut gathered = Gathered::default();
        assert_eq!(gathered.add(piece(5, 0, b"abc", false)).expect("taken"), None);
        let beyond = METADATA_SNAPSHOT_BYTES_MAX as u64;
        assert!(gathered.add(piece(5, beyond, b"x", false)).is_err());
        assert!(gathered.0.is_none(), "and the rest is dropped");
        assert!(gathered.add(piece(5, u64::MAX, b"x", false)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_that_nobody_goes_on_with_is_dropped() {
        let mut gathered = Gathered::default();
        gathered.add(piece(5, 0, b"abc", false)).expect("taken");
        gathered.drop_stale();
        assert!(gathered.0.is_some());
        tokio::time::advance(Duration::from_millis(RAFT_SNAPSHOT_IDLE_MS + 1)).await;
        gathered.drop_stale();
        assert!(gathered.0.is_none());
    }
}
