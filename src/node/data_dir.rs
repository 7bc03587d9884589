//! The data directory: what lies where, whose it is, and that one process serves it.
//!
//! ```text
//! DIR/lock              held by the process that serves the directory
//! DIR/meta.properties   cluster, node and directory ids, in Kafka's format
//! DIR/node.toml         the settings that `node init` or `node join` was given
//! DIR/initialising      there from `node init` until the metadata group exists
//! DIR/joining           there from `node join` until the node is registered: its directory id and
//!                       the seeds, so that a join that was interrupted goes on as the same node
//! DIR/logs/             one directory `topic-partition` each, and Kafka's checkpoint files
//! DIR/metadata/raft/    Raft log, votes, snapshots
//! DIR/metadata/state/   applied metadata, which can be rebuilt
//! ```

use super::Error;
use crate::config::{HostPort, KEPT_SETTINGS_FILE, NODE_ID_DEFAULT, NodeConfig, StartMode};
use crate::env::disk::{Disk, OpenMode, RealDisk};
use crate::env::lock::{self, FileLock, LockOutcome};
use crate::env::rng;
use crate::limits::DIR_LOCK_MS_MAX;
use crate::log::checkpoint::MetaProperties;
use crate::log::{read_small, replace_small};
use crate::types::{ClusterId, DirectoryId, NodeId};
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
const JOINING: &str = "joining";
/// What a kill in the middle of writing that leaves behind.
const JOINING_HALF: &str = "joining.tmp";
const METADATA: &str = "metadata";
/// What a new node may find in its directory: its own lock and half-written mark, and what `mkfs`
/// leaves.
const HARMLESS: [&str; 3] = [LOCK, JOINING_HALF, "lost+found"];

/// A data directory that this process holds.
#[derive(Debug)]
pub(super) struct DataDir {
    root: PathBuf,
    /// Unknown only while the node asks to be admitted.
    identity: Option<MetaProperties>,
    /// Whether the metadata group is still to be formed.
    initialising: bool,
    /// Whether the node is still to be taken into its cluster.
    joining: Option<Joining>,
    disk: Arc<dyn Disk>,
    _lock: FileLock,
}

/// A join that has not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Joining {
    /// What the cluster knows this directory by: whoever asks again with it gets the same node id.
    pub(super) directory_id: DirectoryId,
    /// Whom to ask.
    pub(super) seeds: Vec<HostPort>,
}

impl DataDir {
    /// Takes hold of the directory that `config` names, and makes a new node's identity in it or
    /// reads the one that is there.
    pub(super) fn take(config: &NodeConfig, disk: Arc<dyn Disk>) -> Result<Self, Error> {
        let root = config.data_dir.clone();
        let unusable = |error: io::Error| Error::DirNotUsable { dir: root.clone(), error };
        let starting = config.mode == StartMode::Start;
        if starting && !disk.exists(&root).map_err(unusable)? {
            return Err(Error::NotInitialised { dir: root });
        }
        disk.create_dir_all(&root).map_err(unusable)?;
        let has_node = disk.exists(&root.join(META_PROPERTIES)).map_err(unusable)?;
        if starting && !has_node {
            return Err(match disk.exists(&root.join(JOINING)).map_err(unusable)? {
                true => Error::JoinUnfinished { dir: root },
                false => Error::NotInitialised { dir: root },
            });
        }
        let lock = match lock::hold_within(&root.join(LOCK), LOCK_WAIT).map_err(unusable)? {
            LockOutcome::Held(lock) => lock,
            LockOutcome::HeldByOther(holder) => return Err(Error::Locked { dir: root, holder }),
        };
        let (identity, joining) = match config.mode {
            StartMode::Init => (Some(Self::initialise(config, &disk)?), None),
            StartMode::Join => Self::begin_join(config, &disk)?,
            StartMode::Start => {
                (Some(Self::recognise(config, &disk)?), read_joining(&disk, &root)?)
            }
        };
        let initialising = disk.exists(&root.join(INITIALISING)).map_err(unusable)?;
        let dir = Self { root: root.clone(), identity, initialising, joining, disk, _lock: lock };
        let is_new = initialising || dir.joining.is_some();
        if !is_new && !dir.disk.exists(&dir.raft_dir()).map_err(unusable)? {
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
        } else {
            Self::require_empty(disk, root)?;
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

    /// Refuses a directory that holds a node, or anything else that is not ours.
    fn require_empty(disk: &Arc<dyn Disk>, root: &Path) -> Result<(), Error> {
        if let Some(found) = read_identity(disk, root)? {
            return Err(Error::AlreadyInitialised {
                dir: root.to_owned(),
                node_id: found.node_id.to_string(),
                cluster_id: found.cluster_id.to_string(),
            });
        }
        let entries =
            disk.list(root).map_err(|error| Error::DirNotUsable { dir: root.to_owned(), error })?;
        match entries.into_iter().find(|entry| !HARMLESS.contains(&entry.name.as_str())) {
            Some(entry) => Err(Error::NotEmpty { dir: root.to_owned(), found: entry.name }),
            None => Ok(()),
        }
    }

    /// Begins a join, or takes up one that was interrupted: as far as that one came, its ids stay.
    fn begin_join(
        config: &NodeConfig,
        disk: &Arc<dyn Disk>,
    ) -> Result<(Option<MetaProperties>, Option<Joining>), Error> {
        let root = &config.data_dir;
        let unusable = |error: io::Error| Error::DirNotUsable { dir: root.clone(), error };
        let joining = match read_joining(disk, root)? {
            Some(begun) => Joining { seeds: config.seeds.clone(), ..begun },
            None => {
                Self::require_empty(disk, root)?;
                let directory_id = DirectoryId(rng::id_bytes());
                Joining { directory_id, seeds: config.seeds.clone() }
            }
        };
        replace_small(&**disk, &root.join(JOINING), joining.to_text().as_bytes())
            .map_err(unusable)?;
        write_small(disk, &root.join(KEPT_SETTINGS_FILE), config.kept_settings().as_bytes())
            .map_err(unusable)?;
        disk.sync_dir(root).map_err(unusable)?;
        Ok((Self::recognise_if_there(config, disk)?, Some(joining)))
    }

    fn recognise_if_there(
        config: &NodeConfig,
        disk: &Arc<dyn Disk>,
    ) -> Result<Option<MetaProperties>, Error> {
        match read_identity(disk, &config.data_dir)? {
            Some(_) => Self::recognise(config, disk).map(Some),
            None => Ok(None),
        }
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
    ///
    /// # Panics
    /// Before a joining node was admitted.
    pub(super) fn identity(&self) -> &MetaProperties {
        self.identity.as_ref().expect("invariant: a joining node is admitted before all else")
    }

    /// Whether the directory's node has its ids: false while it asks to be admitted.
    pub(super) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// The join that is to be brought to its end, if there is one.
    pub(super) fn joining(&self) -> Option<&Joining> {
        self.joining.as_ref()
    }

    /// Writes down, durably, what the cluster admitted this directory as. From now on the node is
    /// that one, or nobody.
    pub(super) fn admitted(&mut self, node_id: NodeId, cluster_id: ClusterId) -> Result<(), Error> {
        let joining = self.joining.as_ref().expect("invariant: only a joining node is admitted");
        let identity = MetaProperties { node_id, cluster_id, directory_id: joining.directory_id };
        identity.write(&self.disk, &self.root).map_err(|error| bad_identity(&self.root, &error))?;
        self.identity = Some(identity);
        Ok(())
    }

    /// Notes, durably, that the cluster has this node: from now on missing metadata is a loss.
    pub(super) fn joined(&mut self) -> Result<(), Error> {
        if self.joining.take().is_none() {
            return Ok(());
        }
        let remove = || -> io::Result<()> {
            self.disk.remove_file(&self.root.join(JOINING))?;
            self.disk.sync_dir(&self.root)
        };
        remove().map_err(|error| Error::DirNotUsable { dir: self.root.clone(), error })
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

/// Whether a directory holds a whole node: one that `node init` or `node join` brought to its end.
pub(super) fn holds_node(root: &Path) -> Result<bool, Error> {
    let there = |name: &str| {
        RealDisk
            .exists(&root.join(name))
            .map_err(|error| Error::DirNotUsable { dir: root.to_owned(), error })
    };
    Ok(there(META_PROPERTIES)? && !there(INITIALISING)? && !there(JOINING)?)
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

/// Reads what a join that did not come to its end left behind.
fn read_joining(disk: &Arc<dyn Disk>, root: &Path) -> Result<Option<Joining>, Error> {
    let path = root.join(JOINING);
    let bytes = read_small(&**disk, &path)
        .map_err(|error| Error::BadIdentity { path: path.clone(), reason: error.to_string() })?;
    let Some(bytes) = bytes else { return Ok(None) };
    let joining = String::from_utf8(bytes).ok().and_then(|text| Joining::parse(&text));
    joining.map(Some).ok_or_else(|| Error::BadIdentity {
        path,
        reason: "it does not say which directory joins; remove the directory and join anew"
            .to_owned(),
    })
}

impl Joining {
    fn to_text(&self) -> String {
        let seeds: Vec<String> = self.seeds.iter().map(ToString::to_string).collect();
        format!("version=1\ndirectory.id={}\nseeds={}\n", self.directory_id, seeds.join(","))
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(k, _)| *k == key)
                .map(|(_, v)| v)
        };
        if value("version")? != "1" {
            return None;
        }
        let seeds = value("seeds")?.split(',').filter(|one| !one.is_empty());
        Some(Self {
            directory_id: DirectoryId::parse(value("directory.id")?)?,
            seeds: seeds.map(HostPort::parse).collect::<Option<_>>()?,
        })
    }
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
    fn a_join_that_is_interrupted_goes_on_as_the_same_directory_and_node() {
        let temporary = tempfile::tempdir().expect("temporary directory");
        let root = temporary.path().join("data");
        let join = |seed: &str| {
            let mut config = NodeConfig::new(StartMode::Join, root.clone());
            config.seeds = vec![HostPort::parse(seed).expect("valid")];
            DataDir::take(&config, Arc::new(RealDisk))
        };
        let dir = join("a:1").expect("begun");
        assert!(!dir.has_identity());
        let begun = dir.joining().expect("joining").clone();
        drop(dir);
        let error = take(StartMode::Start, &root, None).expect_err("it has no id yet");
        assert!(error.to_string().contains("purlin node join"), "{error}");
        assert!(!holds_node(&root).expect("looked"));

        let mut dir = join("b:2").expect("taken up");
        let now = dir.joining().expect("joining");
        assert_eq!(now.directory_id, begun.directory_id, "the cluster knows it by this");
        assert_eq!(now.seeds, [HostPort::parse("b:2").expect("valid")], "the newer list counts");
        dir.admitted(NodeId(4), ClusterId([7; 16])).expect("written");
        drop(dir);
        let mut dir = take(StartMode::Start, &root, None).expect("a start goes on as well");
        assert_eq!(dir.identity().node_id, NodeId(4));
        assert_eq!(dir.identity().directory_id, begun.directory_id);
        assert_eq!(dir.joining().expect("still").seeds.len(), 1);
        std::fs::create_dir_all(dir.raft_dir()).expect("made");
        dir.joined().expect("noted");
        drop(dir);
        assert!(holds_node(&root).expect("looked"));
        let error = join("a:1").expect_err("it is a node now");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("purlin node start"), "{error}");
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
