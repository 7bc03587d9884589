//! The state machine behind the Raft log: applies entries, publishes images, makes snapshots.
//!
//! The applied state lives in memory; the store is told of every step, and follows.

use super::super::publisher::Publisher;
use super::super::state::{self, Delta, Response};
use super::room::Room;
use super::snapshots::{self, Snapshots};
use super::store::{Applied, Step, StoreWriter};
use super::types::{
    Entry, LogId, Membership, Snapshot, SnapshotMeta, StorageError, StorageIoError, TypeConfig,
};
use crate::types::ClusterId;
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, StoredMembership};
use std::io::{self, Cursor};
use std::sync::{Arc, Mutex, PoisonError};

/// The state machine of one member.
#[derive(Debug, Clone)]
pub(super) struct Machine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cluster_id: ClusterId,
    applied: Mutex<Applied>,
    publisher: Arc<Publisher>,
    snapshots: Arc<Snapshots>,
    store: StoreWriter,
    room: Room,
}

impl Machine {
    /// A machine that has applied this much already; publishes it.
    pub(super) fn new(
        cluster_id: ClusterId,
        applied: Applied,
        publisher: Arc<Publisher>,
        snapshots: Arc<Snapshots>,
        store: StoreWriter,
        room: Room,
    ) -> Self {
        let delta = Delta::everything(&applied.state);
        publisher.publish(applied.state.clone(), applied_count(applied.last), delta);
        let applied = Mutex::new(applied);
        Self(Arc::new(Inner { cluster_id, applied, publisher, snapshots, store, room }))
    }

    pub(super) fn applied(&self) -> Applied {
        self.0.applied.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the store has everything, as well as it can.
    pub(super) async fn flush_store(&self) {
        self.0.store.flush().await;
    }

    /// The last step: only `apply` and `install_snapshot` come here, one at a time.
    fn put(&self, after: Applied, delta: Delta) {
        let count = applied_count(after.last);
        let state = after.state.clone();
        *self.0.applied.lock().unwrap_or_else(PoisonError::into_inner) = after;
        self.0.publisher.publish(state, count, delta);
    }
}

fn applied_count(last: Option<LogId>) -> u64 {
    last.map_or(0, |log_id| log_id.index + 1)
}

/// Takes one entry; pure but for the values it is given.
fn apply_entry(applied: &mut Applied, entry: Entry, delta: &mut Delta) -> Response {
    applied.last = Some(entry.log_id);
    match entry.payload {
        EntryPayload::Blank => Response::Nothing,
        EntryPayload::Normal(command) => {
            state::apply(&mut applied.state, entry.log_id.index, command, delta)
        }
        EntryPayload::Membership(membership) => {
            applied.membership = StoredMembership::new(Some(entry.log_id), membership);
            Response::Nothing
        }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        let applied = self.applied();
        Ok((applied.last, applied.membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Response>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        // Work on a copy: should a command ever panic, nothing half done stays behind.
        let mut after = self.applied();
        let before = after.state.clone();
        let mut total = Delta::default();
        let mut responses = Vec::new();
        for entry in entries {
            let mut delta = Delta::default();
            responses.push(apply_entry(&mut after, entry, &mut delta));
            total.merge(delta);
        }
        self.put(after.clone(), total.clone());
        self.0.store.write(Step { before, delta: total, after }).await;
        Ok(responses)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let failed = |error: io::Error| -> StorageError {
            StorageIoError::write_snapshot(Some(meta.signature()), AnyError::error(error)).into()
        };
        let payload = Arc::new(snapshot.into_inner());
        let state = self.0.room.wait_for("a snapshot of the controller's", || {
            let (inner, meta, payload) = (Arc::clone(&self.0), meta.clone(), Arc::clone(&payload));
            blocking(move || {
                let state = snapshots::decode(inner.cluster_id, &payload);
                let state = state.map_err(io::Error::other)?;
                inner.snapshots.save(&meta, &payload)?;
                Ok(state)
            })
        });
        let state = state.await.map_err(failed)?;
        let delta = Delta::between(&self.applied().state, &state);
        let membership = meta.last_membership.clone();
        let after = Applied { last: meta.last_log_id, membership, state };
        self.put(after.clone(), delta);
        self.0.store.reset(after).await;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let inner = Arc::clone(&self.0);
        let newest = blocking(move || inner.snapshots.newest().map_err(io::Error::other)).await;
        let newest = newest.map_err(|error| -> StorageError {
            StorageIoError::read_snapshot(None, AnyError::error(error)).into()
        })?;
        Ok(newest.map(|(meta, payload)| Snapshot { meta, snapshot: boxed(payload) }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let applied = self.applied();
        let built = self.0.room.wait_for("a snapshot", || {
            let (inner, applied) = (Arc::clone(&self.0), applied.clone());
            blocking(move || {
                let meta = SnapshotMeta {
                    snapshot_id: snapshot_id(applied.last),
                    last_log_id: applied.last,
                    last_membership: applied.membership,
                };
                let payload = snapshots::encode(inner.cluster_id, &applied.state);
                inner.snapshots.save(&meta, &payload)?;
                Ok((meta, payload))
            })
        });
        let (meta, payload) = built.await.map_err(|error| -> StorageError {
            StorageIoError::write_snapshot(None, AnyError::error(error)).into()
        })?;
        // A good moment: what is flushed now need not be replayed.
        self.flush_store().await;
        Ok(Snapshot { meta, snapshot: boxed(payload) })
    }
}

/// A state applied up to one entry has one content, so its place is its name.
fn snapshot_id(last: Option<LogId>) -> String {
    last.map_or_else(
        || "empty".to_owned(),
        |log_id| format!("{}-{}-{}", log_id.index, log_id.leader_id.term, log_id.leader_id.node_id),
    )
}

fn boxed(payload: Vec<u8>) -> Box<Cursor<Vec<u8>>> {
    Box::new(Cursor::new(payload))
}

/// Runs what writes or encodes much outside of the runtime's workers.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
