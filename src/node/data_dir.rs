//! The data directory: what lies where, whose it is, and that one process serves it.
//!
//! ```text
//! DIR/lock              held by the process that serves the directory
//! DIR/meta.properties   cluster, node and directory ids, in Kafka's format
//! DIR/node.toml         the settings that `node init` was given
//! DIR/initialising      there from `node init` until the metadata group exists
//! DIR/logs/             one directory `topic-partition` each, and Kafka's checkpoint files
//! DIR/metadata/raft/    Raft log, votes, snapshots
//! DIR/metadata/state/   applied metadata, which can be rebuilt
//! ```

use super::Error;
use crate::config::{KEPT_SETTINGS_FILE, NODE_ID_DEFAULT, NodeConfig, StartMode};
use crate::env::disk::{Disk, OpenMode};
use crate::env::lock::{self, FileLock, LockOutcome};
use crate::env::rng;
use crate::limits::DIR_LOCK_MS_MAX;
use crate::log::checkpoint::MetaProperties;
use crate::types::{ClusterId, DirectoryId};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Kafka's name for the identity file.
const META_PROPERTIES: &str = "meta.properties";
const LOCK: &str = "lock";
/// How long a start waits for the lock: the system takes a moment to clear away a process that was
/// killed just now.
const LOCK_WAIT: Duration = Duration::from_millis(DIR_LOCK_MS_MAX);
const INITIALISING: &str = "initialising";
const METADATA: &str = "metadata";
/// What a new node may find in its directory: its own lock, and what `mkfs` leaves.
const HARMLESS: [&str; 2] = [LOCK, "lost+found"];

/// A data directory that this process holds.
#[derive(Debug)]
pub(super) struct DataDir {
    root: PathBuf,
    identity: MetaProperties,
    /// Whether the metadata group is still to be formed.
    initialising: bool,
    disk: Arc<dyn Disk>,
    _lock: FileLock,
}

impl DataDir {
    /// Takes hold of the directory that `config` names, and makes a new node's identity in it or
    /// reads the one that is there.
    pub(super) fn take(config: &NodeConfig, disk: Arc<dyn Disk>) -> Result<Self, Error> {
        let root = config.data_dir.clone();
        let unusable = |error: io::Error| Error::DirNotUsable { dir: root.clone(), error };
        if config.mode == StartMode::Start && !disk.exists(&root).map_err(unusable)? {
            return Err(Error::NotInitialised { dir: root });
        }
        disk.create_dir_all(&root).map_err(unusable)?;
        if config.mode == StartMode::Start
            && !disk.exists(&root.join(META_PROPERTIES)).map_err(unusable)?
        {
            return Err(Error::NotInitialised { dir: root });
        }
        let lock = match lock::hold_within(&root.join(LOCK), LOCK_WAIT).map_err(unusable)? {
            LockOutcome::Held(lock) => lock,
            LockOutcome::HeldByOther(holder) => return Err(Error::Locked { dir: root, holder }),
        };
        let identity = match config.mode {
            StartMode::Init => Self::initialise(config, &disk)?,
            StartMode::Start => Self::recognise(config, &disk)?,
        };
        let initialising = disk.exists(&root.join(INITIALISING)).map_err(unusable)?;
        let dir = Self { root: root.clone(), identity, initialising, disk, _lock: lock };
        if !initialising && !dir.disk.exists(&dir.raft_dir()).map_err(unusable)? {
            return Err(Error::NoMetadata { dir: root });
        }
        dir.make_lasting().map_err(unusable)?;
        Ok(dir)
    }

    /// Makes the directories that others rely on, and their names durable: also those that an
    /// earlier process made and was killed before it synced them.
    fn make_lasting(&self) -> io::Result<()> {
        let logs = self.logs_dir();
        self.disk.create_dir_all(&logs)?;
        self.disk.sync_dir(&logs)?;
        self.disk.sync_dir(&self.root)?;
        // A relative path of one part lies in the working directory.
        let parent = self.root.parent().filter(|parent| !parent.as_os_str().is_empty());
        match self.disk.sync_dir(parent.unwrap_or(Path::new("."))) {
            // A directory that others own: whoever made ours in it has to care for its name.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other,
        }
    }

    fn initialise(config: &NodeConfig, disk: &Arc<dyn Disk>) -> Result<MetaProperties, Error> {
        let root = &config.data_dir;
        let unusable = |error: io::Error| Error::DirNotUsable { dir: root.clone(), error };
        if disk.exists(&root.join(INITIALISING)).map_err(unusable)? {
            // An init that did not come to its end: that node never served, and held nothing.
            let metadata = root.join(METADATA);
            if disk.exists(&metadata).map_err(unusable)? {
                disk.remove_dir_all(&metadata).map_err(unusable)?;
            }
        } else if let Some(found) = read_identity(disk, root)? {
            return Err(Error::AlreadyInitialised {
                dir: root.clone(),
                node_id: found.node_id.to_string(),
                cluster_id: found.cluster_id.to_string(),
            });
        } else {
            let entries = disk.list(root).map_err(unusable)?;
            let foreign =
                entries.into_iter().find(|entry| !HARMLESS.contains(&entry.name.as_str()));
            if let Some(entry) = foreign {
                return Err(Error::NotEmpty { dir: root.clone(), found: entry.name });
            }
        }
        let identity = MetaProperties {
            node_id: config.node_id.unwrap_or(NODE_ID_DEFAULT),
            cluster_id: ClusterId(rng::id_bytes()),
            directory_id: DirectoryId(rng::id_bytes()),
        };
        // The mark comes first: an init that is interrupted from here on can be done again.
        write_small(disk, &root.join(INITIALISING), b"").map_err(unusable)?;
        disk.sync_dir(root).map_err(unusable)?;
        write_small(disk, &root.join(KEPT_SETTINGS_FILE), config.kept_settings().as_bytes())
            .map_err(unusable)?;
        disk.sync_dir(root).map_err(unusable)?;
        identity.write(disk, root).map_err(|error| bad_identity(root, &error))?;
        Ok(identity)
    }

    fn recognise(config: &NodeConfig, disk: &Arc<dyn Disk>) -> Result<MetaProperties, Error> {
        let root = &config.data_dir;
        let Some(identity) = read_identity(disk, root)? else {
            return Err(Error::NotInitialised { dir: root.clone() });
        };
        match config.node_id {
            Some(wanted) if wanted != identity.node_id => Err(Error::WrongIdentity {
                dir: root.clone(),
                found: format!("node {} of cluster {}", identity.node_id, identity.cluster_id),
                wanted: format!("node {wanted}"),
            }),
            _ => Ok(identity),
        }
    }

    /// Whose directory it is.
    pub(super) fn identity(&self) -> &MetaProperties {
        &self.identity
    }

    /// Whether the metadata group is still to be formed.
    pub(super) fn is_initialising(&self) -> bool {
        self.initialising
    }

    /// Notes, durably, that the metadata group exists: from now on its absence is a loss.
    pub(super) fn initialised(&self) -> Result<(), Error> {
        if !self.initialising {
            return Ok(());
        }
        let remove = || -> io::Result<()> {
            self.disk.remove_file(&self.root.join(INITIALISING))?;
            self.disk.sync_dir(&self.root)
        };
        remove().map_err(|error| Error::DirNotUsable { dir: self.root.clone(), error })
    }

    /// The directory itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the partitions are.
    pub(super) fn logs_dir(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Where the Raft log is.
    pub(super) fn raft_dir(&self) -> PathBuf {
        self.root.join(METADATA).join("raft")
    }

    /// Where the applied metadata is.
    pub(super) fn state_dir(&self) -> PathBuf {
        self.root.join(METADATA).join("state")
    }
}

/// Renames a directory to `NAME.MARK.SUFFIX` beside it, and returns the new path. Long names are cut,
/// as file systems allow 255 bytes. Durable once the caller synced the directory above: one sync
/// serves many renames.
pub(super) fn rename_aside(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    mark: &str,
    suffix: &str,
) -> io::Result<PathBuf> {
    const NAME_BYTES_MAX: usize = 200;
    let name = dir.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    // Directory names are ASCII, so every byte is a boundary.
    let kept = name.get(..NAME_BYTES_MAX).unwrap_or(&name);
    let parent = dir.parent().unwrap_or(Path::new("."));
    let unused = |round: u32| {
        let extra = if round == 0 { String::new() } else { format!("-{round}") };
        parent.join(format!("{kept}.{mark}{extra}.{suffix}"))
    };
    let mut aside = unused(0);
    for round in 1.. {
        if !disk.exists(&aside)? {
            break;
        }
        aside = unused(round);
    }
    disk.rename(dir, &aside)?;
    Ok(aside)
}

fn read_identity(disk: &Arc<dyn Disk>, root: &Path) -> Result<Option<MetaProperties>, Error> {
    MetaProperties::read(disk, root).map_err(|error| bad_identity(root, &error))
}

fn bad_identity(root: &Path, error: &crate::log::Error) -> Error {
    Error::BadIdentity { path: root.join(META_PROPERTIES), reason: error.to_string() }
}

fn write_small(disk: &Arc<dyn Disk>, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(path, OpenMode::CreateOrTruncate)?;
    file.write_all_at(bytes, 0)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk::RealDisk;
    use crate::types::NodeId;

    fn take(mode: StartMode, root: &Path, node: Option<i32>) -> Result<DataDir, Error> {
        let mut config = NodeConfig::new(mode, root.to_owned());
        config.node_id = node.map(NodeId);
        DataDir::take(&config, Arc::new(RealDisk))
    }

    #[test]
    fn init_makes_an_identity_once_and_start_finds_it() {
        let temporary = tempfile::tempdir().expect("temporary directory");
        let root = temporary.path().join("data");
        let error = take(StartMode::Start, &root, None).expect_err("nothing is there");
        assert!(error.to_string().contains("purlin node init"), "{error}");
        assert_eq!(error.exit_code(), 2);

        let dir = take(StartMode::Init, &root, Some(7)).expect("made");
        assert!(dir.is_initialising());
        let identity = dir.identity().clone();
        assert_eq!(identity.node_id, NodeId(7));
        let error = take(StartMode::Start, &root, None).expect_err("it is held");
        assert!(error.to_string().contains("in use by process"), "{error}");
        std::fs::create_dir_all(dir.raft_dir()).expect("made");
        dir.initialised().expect("noted");
        drop(dir);

        let error = take(StartMode::Init, &root, None).expect_err("there already");
        assert!(error.to_string().contains("purlin node start"), "{error}");
        assert_eq!(error.exit_code(), 2);
        let error = take(StartMode::Start, &root, Some(8)).expect_err("another node");
        assert!(error.to_string().contains("node 7"), "{error}");
        let dir = take(StartMode::Start, &root, None).expect("starts");
        assert!(!dir.is_initialising());
        assert_eq!(*dir.identity(), identity);
    }

    #[test]
    fn a_foreign_or_gutted_directory_is_refused() {
        let temporary = tempfile::tempdir().expect("temporary directory");
        let root = temporary.path();
        std::fs::write(root.join("thesis.tex"), "…").expect("written");
        let error = take(StartMode::Init, root, None).expect_err("not ours");
        assert!(error.to_string().contains("thesis.tex"), "{error}");
        std::fs::remove_file(root.join("thesis.tex")).expect("removed");
        let dir = take(StartMode::Init, root, None).expect("made");
        dir.initialised().expect("noted");
        drop(dir);
        // The metadata was there once; without it this must not begin anew.
        let error = take(StartMode::Start, root, None).expect_err("gutted");
        assert!(matches!(error, Error::NoMetadata { .. }), "{error}");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named_with_the_cause() {
        let temporary = tempfile::tempdir().expect("temporary directory");
        let file = temporary.path().join("file");
        std::fs::write(&file, "").expect("written");
        let error = take(StartMode::Init, &file.join("data"), None).expect_err("not a directory");
        assert!(error.to_string().contains("--data-dir"), "{error}");
        assert_eq!(error.exit_code(), 1);
    }
}
