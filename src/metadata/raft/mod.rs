//! The Raft group's shell: openraft on our log, votes, snapshots and state store.
//!
//! What is where, under the directory of the group:
//!
//! ```text
//! vote, purged, flushed   small checked files (`vote`)
//! log/                    the Raft log, in the same engine as partitions (`log_store`)
//! snapshots/              the applied state at some entries (`snapshots`)
//! ```
//!
//! and, in a directory of its own, the state store (`store`), which can go at any time.
//!
//! Invariants: votes and entries are durable before they are answered; whatever state a start
//! begins with is proven to be on the log's own history; a member that has lost what it had
//! promised to keep does not start.

mod checked_file;
pub(super) mod dump;
mod entry;
mod hasten;
mod log_store;
mod machine;
mod network;
mod room;
mod serve;
mod snapshots;
mod store;
mod types;
mod vote;
mod writer;

pub(super) use hasten::{Chances, Haste};
pub(super) use log_store::LogView;
pub(super) use network::Contacts;
#[cfg(test)]
pub(super) use network::samples;
pub(super) use serve::Service;
pub(super) use types::{Peer, Raft, node_id, raft_id};

use super::publisher::Publisher;
use super::{MetadataOptions, StartAs};
use crate::env::disk::Disk;
use crate::limits::{RAFT_SNAPSHOT_PIECE_BYTES, RAFT_SNAPSHOT_PIECE_MS_MAX};
use checked_file::FileError;
use log_store::{LogStore, Opened};
use machine::Machine;
use network::Network;
use openraft::SnapshotPolicy;
use room::Room;
use snapshots::{Loaded, Snapshots};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use store::{Applied, OpenStore, Owner, StoreWriter};

/// Directory of the snapshots, inside the group's.
const SNAPSHOT_DIR: &str = "snapshots";

/// Why a member can't be opened. In every case it must not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The disk refused.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Written by a newer version of this program.
    #[error("{0}. Start it with the version that wrote it")]
    Version(String),
    /// Something that was durable is gone or changed.
    #[error(
        "{0}. The metadata of this node can't be trusted any more: restore its directory, or take \
         the node out of the cluster and join again under a new id"
    )]
    Damaged(String),
}

impl Error {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    fn file(name: &str, error: FileError) -> Self {
        match error {
            FileError::Io(source) => Self::Io { path: name.into(), source },
            FileError::Damaged(what) => Self::Damaged(format!("the {name} is damaged: {what}")),
            FileError::Version(what) => Self::Version(format!("the {name}: {what}")),
        }
    }
}

/// The opened parts of one member, ready to be given to the engine.
#[derive(Debug)]
pub(super) struct Member {
    log: LogStore,
    machine: Machine,
    threads: Threads,
    room: Room,
}

/// The threads behind one member: the log's writer and the store's.
#[derive(Debug, Clone, Default)]
pub(super) struct Threads(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl Threads {
    fn add(&self, thread: JoinHandle<()>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }

    /// Waits until they have ended. They do once the engine, which holds their other ends, is gone.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic in it was caught and counted where it happened.
            let _ = thread.join();
        }
    }
}

/// Opens what is on disk. Reads and checks everything; takes as long as that takes.
pub(super) fn open(options: &MetadataOptions, publisher: Arc<Publisher>) -> Result<Member, Error> {
    let dir = &options.dir;
    make_dir(&*options.disk, dir)?;
    let snapshot_dir = dir.join(SNAPSHOT_DIR);
    make_dir(&*options.disk, &snapshot_dir)?;
    let opened = Snapshots::open(Arc::clone(&options.disk), snapshot_dir.clone());
    let (snapshots, newest) = opened.map_err(Error::io(&snapshot_dir))?;
    let snapshots = Arc::new(snapshots);
    let room = Room::new();
    let (log, ends, log_thread) = LogStore::open(
        Arc::clone(&options.disk),
        dir.clone(),
        Arc::clone(&options.clock),
        Arc::clone(&snapshots),
        room.clone(),
    )?;
    let threads = Threads::default();
    threads.add(log_thread);
    if options.start_as == StartAs::Member && log.is_blank() && newest.is_none() {
        // Who has forgotten its votes must not vote again under the same id.
        return Err(Error::Damaged(format!(
            "{} holds nothing, although this node was a member of the cluster",
            dir.display()
        )));
    }
    let owner = Owner { cluster_id: options.cluster_id, node_id: options.node_id };
    let store = store::open(&options.state_dir, owner).map_err(|found| {
        Error::Damaged(format!(
            "{} belongs to {found}, but meta.properties says {owner}; restore that file, or start \
             with the directory that is meant",
            options.state_dir.display()
        ))
    })?;
    let start = choose(&log, ends, newest, store.as_ref(), owner)?;
    let (writer, thread) = match store {
        Some(store) => {
            let reset = (store.applied.as_ref() != Some(&start)).then(|| start.clone());
            OpenStore::start(store, reset)
        }
        None => (StoreWriter::none(), None),
    };
    thread.into_iter().for_each(|thread| threads.add(thread));
    let machine =
        Machine::new(options.cluster_id, start, publisher, snapshots, writer, room.clone());
    Ok(Member { log, machine, threads, room })
}

/// Makes a directory whose name survives a power cut, and those above it.
fn make_dir(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    disk.create_dir_all(dir).map_err(Error::io(dir))?;
    // An earlier start may have been killed between making a directory and syncing its name, so
    // that a directory that is there tells nothing.
    for above in dir.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match disk.sync_dir(above) {
            // Directories that others own were there before this program.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            result => result.map_err(Error::io(above))?,
        }
    }
    Ok(())
}

/// The state to begin with: the store's if it is on the log's history, else the newest snapshot's,
/// else none, if the log goes back to its beginning.
fn choose(
    log: &LogStore,
    ends: Opened,
    newest: Option<Loaded>,
    store: Option<&OpenStore>,
    owner: Owner,
) -> Result<Applied, Error> {
    let from_snapshot = match newest {
        None => Applied::default(),
        Some((meta, payload)) => {
            let state = snapshots::decode(owner.cluster_id, &payload)
                .map_err(|what| Error::Damaged(format!("the newest snapshot: {what}")))?;
            Applied { last: meta.last_log_id, membership: meta.last_membership, state }
        }
    };
    if let Some(applied) = store.and_then(|store| store.applied.as_ref()) {
        match fit(log, ends, applied, &from_snapshot)? {
            Fit::OnTheLog => return Ok(applied.clone()),
            Fit::Elsewhere => tracing::warn!(
                store = ?applied.last,
                log = ?ends.last,
                "the metadata state store does not fit the log; rebuilding it"
            ),
        }
    }
    if from_snapshot.last < ends.purged {
        return Err(Error::Damaged(format!(
            "the log begins behind entry {:?}, but no whole snapshot reaches that far",
            ends.purged
        )));
    }
    Ok(from_snapshot)
}

/// Whether a stored state lies on the log's history.
enum Fit {
    OnTheLog,
    Elsewhere,
}

fn fit(log: &LogStore, ends: Opened, stored: &Applied, snapshot: &Applied) -> Result<Fit, Error> {
    if stored.last < ends.purged || stored.last < snapshot.last {
        // Too old to be replayed from, or older than what is there anyway.
        return Ok(Fit::Elsewhere);
    }
    if stored.last == ends.purged || stored.last == snapshot.last {
        return Ok(Fit::OnTheLog);
    }
    let Some(last) = stored.last else { return Ok(Fit::OnTheLog) };
    let end = ends.last.map_or(0, |log_id| log_id.index + 1);
    if last.index >= end {
        if ends.was_cut {
            // Applied means committed, and committed means durable in the log: it was there.
            return Err(Error::Damaged(format!(
                "entries up to {last} were applied, but the log now ends at {end}, with damaged \
                 bytes behind"
            )));
        }
        return Ok(Fit::Elsewhere);
    }
    let there = log.entry(last.index).map_err(|error| Error::Damaged(error.to_string()))?;
    Ok(if there.is_some_and(|entry| entry.log_id == last) { Fit::OnTheLog } else { Fit::Elsewhere })
}

/// What stays in our hands when the engine has the parts.
pub(super) struct Running {
    /// The engine.
    pub(super) raft: Raft,
    /// When others were last heard of.
    pub(super) contacts: Arc<Contacts>,
    log: LogStore,
    machine: Machine,
    /// The threads behind it.
    pub(super) threads: Threads,
    room: Room,
}

impl Member {
    /// Gives the parts to the engine, and starts it on the current runtime.
    pub(super) async fn run(self, options: &MetadataOptions) -> Result<Running, String> {
        let timing = options.timing;
        let config = openraft::Config {
            cluster_name: "metadata".to_owned(),
            heartbeat_interval: timing.heartbeat_ms,
            election_timeout_min: timing.election_ms_min,
            election_timeout_max: timing.election_ms_max,
            install_snapshot_timeout: RAFT_SNAPSHOT_PIECE_MS_MAX,
            snapshot_max_chunk_size: RAFT_SNAPSHOT_PIECE_BYTES,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshots.every_entries),
            max_in_snapshot_log_to_keep: options.snapshots.entries_kept,
            // Only ever behind a new snapshot, which costs more.
            purge_batch_size: 1,
            ..openraft::Config::default()
        };
        let config = Arc::new(config.validate().map_err(|error| error.to_string())?);
        let Self { log, machine, threads, room } = self;
        let contacts = Arc::new(Contacts::default());
        let network = Network {
            peers: Arc::clone(&options.peers),
            log: log.view(),
            clock: Arc::clone(&options.clock),
            contacts: Arc::clone(&contacts),
        };
        let node = raft_id(options.node_id);
        let raft = Raft::new(node, config, network, log.clone(), machine.clone()).await;
        let raft = raft.map_err(|error| error.to_string())?;
        Ok(Running { raft, contacts, log, machine, threads, room })
    }
}

impl Running {
    /// A look at the log here.
    pub(super) fn log(&self) -> LogView {
        self.log.view()
    }

    /// Writes down what makes the next start quick. From here on nothing waits for room any more.
    pub(super) async fn checkpoint(&self) -> io::Result<()> {
        self.room.stop_waiting();
        self.machine.flush_store().await;
        self.log.checkpoint().await
    }
}

#[cfg(test)]
mod tests;
