//! The applied state in sled, so that a start need not replay the log.
//!
//! One tree. The key `m` holds what the rest belongs to: cluster, node, last applied entry,
//! membership, and count and fingerprint of all records; keys that begin with `r` are the records.
//! Every batch of applied entries is one atomic sled batch. A thread of its own writes and flushes
//! (blocking flush only: sled's asynchronous one can hang), so that no runtime waits for it.
//!
//! Invariants: nothing here is the only copy of anything. What does not open, does not check, or
//! does not fit the log is thrown away and made anew. A failure to write ends the store until the
//! next start, and nothing else.

use super::super::state::record::{self, Loader, RecordChange, fingerprint};
use super::super::state::{Delta, State, codec};
use super::types::{LogId, Membership};
use crate::env::disk::{Disk as _, RealDisk};
use crate::env::spawn;
use crate::limits::{METADATA_STORE_CACHE_BYTES, METADATA_STORE_QUEUE_MAX};
use crate::types::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};

const VERSION: u8 = 1;
const META_KEY: &[u8] = b"m";
const RECORD_PREFIX: u8 = b'r';

/// What a state was applied up to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Applied {
    pub(super) last: Option<LogId>,
    pub(super) membership: Membership,
    pub(super) state: State,
}

/// Who a store belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) cluster_id: ClusterId,
    pub(super) node_id: NodeId,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {}", self.node_id, self.cluster_id)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Meta {
    owner: Owner,
    last: Option<LogId>,
    membership: Membership,
    records: Records,
}

/// Sums up all records, so that a missing or changed one is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Records {
    count: u64,
    fingerprint: u64,
}

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.fingerprint = self.fingerprint.wrapping_add(fingerprint(key, value));
    }

    fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.fingerprint = self.fingerprint.wrapping_sub(fingerprint(key, value));
    }
}

/// Why a store can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The directory could not be prepared.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// sled refused.
    #[error(transparent)]
    Sled(#[from] sled::Error),
    /// sled panicked, which damaged files can make it do.
    #[error("it panicked")]
    Panicked,
    /// The content does not check.
    #[error("{0}")]
    Damaged(String),
    /// Another node, or a node of another cluster, wrote it.
    #[error("it belongs to {0}")]
    Foreign(Owner),
}

/// An open store.
#[derive(Debug)]
struct Store {
    db: sled::Db,
    owner: Owner,
    records: Records,
}

fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(StoreError::Panicked))
}

fn record_key(key: &[u8]) -> Vec<u8> {
    [&[RECORD_PREFIX], key].concat()
}

impl Store {
    fn open(dir: &Path, owner: Owner) -> Result<Self, StoreError> {
        RealDisk.create_dir_all(dir)?;
        remove_unfinished_snapshots(dir)?;
        guarded(|| {
            let config = sled::Config::new()
                .path(dir)
                .cache_capacity(METADATA_STORE_CACHE_BYTES)
                // Flushing is this module's business.
                .flush_every_ms(None);
            Ok(Self { db: config.open()?, owner, records: Records::default() })
        })
    }

    /// What is stored, if anything.
    fn load(&mut self) -> Result<Option<Applied>, StoreError> {
        let owner = self.owner;
        let db = &self.db;
        let loaded = guarded(|| {
            let damaged = |what: String| StoreError::Damaged(what);
            let Some(meta) = db.get(META_KEY)? else { return Ok(None) };
            let meta: Meta =
                codec::decode(VERSION, &meta).map_err(|error| damaged(error.to_string()))?;
            if meta.owner != owner {
                return Err(StoreError::Foreign(meta.owner));
            }
            let mut loader = Loader::default();
            let mut records = Records::default();
            for pair in db.scan_prefix([RECORD_PREFIX]) {
                let (key, value) = pair?;
                let key = &key[1..];
                records.add(key, &value);
                loader.add(key, &value).map_err(|error| damaged(error.to_string()))?;
            }
            if records != meta.records {
                return Err(damaged(format!("it holds {records:?}, not {:?}", meta.records)));
            }
            let state = loader.finish().map_err(|error| damaged(error.to_string()))?;
            let applied = Applied { last: meta.last, membership: meta.membership, state };
            Ok(Some((applied, records)))
        })?;
        Ok(loaded.map(|(applied, records)| {
            self.records = records;
            applied
        }))
    }

    fn write(&mut self, step: &Step) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        let mut records = self.records;
        let changes = record::changes(&step.before, &step.after.state, &step.delta);
        for RecordChange { key, before, after } in changes {
            if let Some(before) = before {
                records.remove(&key, &before);
            }
            match after {
                Some(after) => {
                    records.add(&key, &after);
                    batch.insert(record_key(&key), after);
                }
                None => batch.remove(record_key(&key)),
            }
        }
        self.apply(batch, records, &step.after)
    }

    /// Replaces everything.
    fn reset(&mut self, applied: &Applied) -> Result<(), StoreError> {
        let db = &self.db;
        guarded(|| Ok(db.clear()?))?;
        let mut batch = sled::Batch::default();
        let mut records = Records::default();
        record::visit(&applied.state, |key, value| {
            records.add(&key, &value);
            batch.insert(record_key(&key), value);
        });
        self.apply(batch, records, applied)
    }

    fn apply(
        &mut self,
        mut batch: sled::Batch,
        records: Records,
        applied: &Applied,
    ) -> Result<(), StoreError> {
        let meta = Meta {
            owner: self.owner,
            last: applied.last,
            membership: applied.membership.clone(),
            records,
        };
        batch.insert(META_KEY, codec::encode(VERSION, &meta));
        let db = &self.db;
        guarded(|| Ok(db.apply_batch(batch)?))?;
        self.records = records;
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        let db = &self.db;
        guarded(|| {
            db.flush()?;
            Ok(())
        })
    }
}

/// sled writes its own snapshots under a name that its reader takes for finished ones; killed in
/// the middle, it would never open again.
fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for entry in RealDisk.list(dir)? {
        if entry.name.starts_with("snap.") && entry.name.ends_with(".generating") {
            RealDisk.remove_file(&dir.join(entry.name))?;
        }
    }
    Ok(())
}

/// From one applied state to the next.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) before: State,
    pub(super) delta: Delta,
    pub(super) after: Applied,
}

enum Job {
    Write(Box<Step>),
    Reset(Box<Applied>),
    Flush(oneshot::Sender<()>),
}

/// Sends what was applied to the store's thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct StoreWriter(Option<mpsc::Sender<Job>>);

impl StoreWriter {
    /// A writer to nowhere: for a node whose store can't be used.
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) async fn write(&self, step: Step) {
        self.send(Job::Write(Box::new(step))).await;
    }

    pub(super) async fn reset(&self, applied: Applied) {
        self.send(Job::Reset(Box::new(applied))).await;
    }

    /// Waits until everything sent before is written down, as well as sled can.
    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.send(Job::Flush(done)).await;
        // An error means that the thread is gone: there is nothing to wait for.
        let _ = wait.await;
    }

    async fn send(&self, job: Job) {
        if let Some(sender) = &self.0 {
            // The store has failed; it says so itself, and the next start makes it anew.
            let _ = sender.send(job).await;
        }
    }
}

/// An open store that is to be brought in line with the log before it is used.
#[derive(Debug)]
pub(super) struct OpenStore {
    store: Store,
    dir: PathBuf,
    /// What it holds; nothing if it is new.
    pub(super) applied: Option<Applied>,
}

/// Opens the store in `dir`. One that can't be used is thrown away and begun anew; if even that
/// fails, there is none, and the node works without.
///
/// # Errors
/// Whose store it is, when it is not `owner`'s: then the whole directory is somebody else's, or its
/// `meta.properties` was changed, and to go on would mix two clusters.
pub(super) fn open(dir: &Path, owner: Owner) -> Result<Option<OpenStore>, Owner> {
    match open_and_load(dir, owner) {
        Ok(open) => return Ok(Some(open)),
        Err(StoreError::Foreign(found)) => return Err(found),
        Err(StoreError::Sled(sled::Error::Io(error)))
            if error.to_string().contains("could not acquire lock") =>
        {
            tracing::warn!(%error, "the metadata state store is in use by another process");
            return Ok(None);
        }
        Err(error) => {
            tracing::warn!(%error, "the metadata state store can't be used; making it anew");
        }
    }
    let removed = RealDisk.remove_dir_all(dir).map_err(StoreError::from);
    Ok(removed.and_then(|()| open_and_load(dir, owner)).map_or_else(
        |error| {
            tracing::error!(%error, "no metadata state store; starts will take longer");
            None
        },
        Some,
    ))
}

fn open_and_load(dir: &Path, owner: Owner) -> Result<OpenStore, StoreError> {
    let mut store = Store::open(dir, owner)?;
    let applied = store.load()?;
    Ok(OpenStore { store, dir: dir.to_owned(), applied })
}

impl OpenStore {
    /// Starts the thread. With `reset`, the store is first made to hold exactly that.
    pub(super) fn start(
        self,
        reset: Option<Applied>,
    ) -> (StoreWriter, Option<std::thread::JoinHandle<()>>) {
        let (sender, receiver) = mpsc::channel(METADATA_STORE_QUEUE_MAX);
        let Self { store, dir, applied: _ } = self;
        match spawn::thread("metadata-store", move || run(store, &dir, reset, receiver)) {
            Ok(thread) => (StoreWriter(Some(sender)), Some(thread)),
            Err(error) => {
                tracing::error!(%error, "no thread for the metadata state store");
                (StoreWriter::none(), None)
            }
        }
    }
}

fn run(mut store: Store, dir: &Path, reset: Option<Applied>, mut jobs: mpsc::Receiver<Job>) {
    let mut result = match reset {
        Some(applied) => store.reset(&applied),
        None => Ok(()),
    };
    while result.is_ok() {
        let Some(job) = jobs.blocking_recv() else { break };
        result = match job {
            Job::Write(step) => store.write(&step),
            Job::Reset(applied) => store.reset(&applied),
            Job::Flush(done) => {
                let flushed = store.flush();
                // Whoever asked may have been shut down meanwhile.
                let _ = done.send(());
                flushed
            }
        };
    }
    let result = result.and_then(|()| store.flush());
    // sled's own threads and its lock on the directory go with the last handle.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(store)));
    if let Err(error) = result {
        tracing::error!(dir = %dir.display(), %error, "the metadata state store failed; it is made anew at the next start");
        if let Err(error) = RealDisk.remove_dir_all(dir) {
            tracing::warn!(dir = %dir.display(), %error, "its directory could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::CommittedLeaderId;

    /// The format of version 1. If this fails, stores are thrown away and made anew.
    #[test]
    fn golden_bytes_of_the_stores_own_record() {
        let owner = Owner { cluster_id: ClusterId([7; 16]), node_id: NodeId(3) };
        let last = Some(LogId::new(CommittedLeaderId::new(4, 3), 300));
        let records = Records { count: 2, fingerprint: 9 };
        let meta = Meta { owner, last, membership: Membership::default(), records };
        let id = r"\x07".repeat(16);
        assert_eq!(
            codec::encode(VERSION, &meta).escape_ascii().to_string(),
            format!(r"\x01{id}\x06\x01\x04\x03\xfb,\x01\x00\x00\x00\x02\t")
        );
    }
}
