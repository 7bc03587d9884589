//! What is on the disk: files, directories, and the names in them as they are and as they are
//! durable.
//!
//! A directory has two lists of names: the one that everybody sees, and the one that a power cut
//! goes back to, with the changes that lead from the second to the first. A file or directory
//! lives as long as one of the two lists, or an open handle, leads to it.

use super::Cut;
use super::content::{Content, Survival};
use purlin::env::clock::{Clock as _, SystemClock};
use purlin::env::rng::Seeded;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

/// `errno` values that this disk answers with.
pub mod errno {
    /// No such file or directory.
    pub const NOT_THERE: i32 = 2;
    /// Input/output error.
    pub const IO: i32 = 5;
    /// It is there already.
    pub const THERE: i32 = 17;
    /// Not a directory.
    pub const NOT_A_DIRECTORY: i32 = 20;
    /// Is a directory.
    pub const A_DIRECTORY: i32 = 21;
    /// No space left.
    pub const FULL: i32 = 28;
    /// The directory is not empty.
    pub const NOT_EMPTY: i32 = 39;
}

/// The number of a file or directory.
pub type Ino = u64;

/// The top directory.
pub const ROOT: Ino = 1;

/// What kind of request a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Writing to a file, and changing its length.
    Write,
    /// Reading from a file.
    Read,
    /// Syncing a file.
    Sync,
    /// Syncing a directory.
    SyncDir,
    /// Making, moving or removing a name.
    Name,
}

/// Requests that are to fail.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which kind.
    pub on: On,
    /// Part of the path below the mount; empty for every path.
    pub path_part: String,
    /// How many pass before the first one fails.
    pub skip: u64,
    /// How many fail.
    pub times: u64,
    /// The `errno` that they fail with, such as 5 (EIO) or 28 (ENOSPC).
    pub errno: i32,
}

/// What a power cut took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Unsynced writes and changes of length that were lost, whole or in part.
    pub writes: u64,
    /// Unsynced writes and changes of length that there were.
    pub writes_open: u64,
    /// Unsynced names that were lost.
    pub names: u64,
    /// Unsynced names that there were.
    pub names_open: u64,
}

/// A change of names that is not synced.
#[derive(Debug, Clone)]
enum Change {
    Add {
        name: OsString,
        ino: Ino,
    },
    Remove {
        name: OsString,
        ino: Ino,
    },
    Rename {
        from: OsString,
        to: OsString,
        ino: Ino,
    },
    /// One half of a move between directories; `other` has the other half.
    MoveOut {
        name: OsString,
        ino: Ino,
        other: Ino,
        id: u64,
    },
    MoveIn {
        name: OsString,
        ino: Ino,
        other: Ino,
        id: u64,
    },
}

#[derive(Debug, Default)]
struct Dir {
    now: BTreeMap<OsString, Ino>,
    durable: BTreeMap<OsString, Ino>,
    unsynced: Vec<Change>,
}

#[derive(Debug)]
enum Kind {
    File(Content),
    Dir(Dir),
}

#[derive(Debug)]
struct Inode {
    kind: Kind,
    mode: u16,
    changed_ms: i64,
    /// Where it was put last, for paths in faults.
    parent: Ino,
    name: OsString,
    open: u64,
}

/// What the kernel wants to know of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Its number.
    pub ino: Ino,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Bytes of a file.
    pub length: u64,
    /// Permissions.
    pub mode: u16,
    /// Last change, in ms since 1970 UTC.
    pub changed_ms: i64,
}

/// All of a disk.
#[derive(Debug)]
pub struct Volume {
    store: PathBuf,
    inodes: BTreeMap<Ino, Inode>,
    next: Ino,
    moves: u64,
    off: bool,
    /// Syncs answer with success and keep nothing.
    pub ignore_syncs: bool,
    /// Requests that are to fail.
    pub faults: Vec<Fault>,
    /// The most bytes in all files together.
    pub bytes_max: Option<u64>,
    /// Syncs that succeeded.
    pub syncs: u64,
}

fn failed<T>(errno: i32) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(errno))
}

impl Volume {
    /// An empty disk with its bytes in files below `store`.
    ///
    /// # Errors
    /// When the store is not an empty directory.
    pub fn new(store: &Path) -> io::Result<Self> {
        if std::fs::read_dir(store)?.next().is_some() {
            return failed(errno::NOT_EMPTY);
        }
        let mut volume = Self {
            store: store.to_owned(),
            inodes: BTreeMap::new(),
            next: ROOT,
            moves: 0,
            off: false,
            ignore_syncs: false,
            faults: Vec::new(),
            bytes_max: None,
            syncs: 0,
        };
        volume.add_inode(Kind::Dir(Dir::default()), 0o755);
        Ok(volume)
    }

    fn add_inode(&mut self, kind: Kind, mode: u16) -> Ino {
        let ino = self.next;
        self.next += 1;
        let (changed_ms, name) = (now_ms(), OsString::new());
        self.inodes.insert(ino, Inode { kind, mode, changed_ms, parent: ROOT, name, open: 0 });
        ino
    }

    fn inode(&mut self, ino: Ino) -> io::Result<&mut Inode> {
        if self.off {
            return failed(errno::IO);
        }
        self.inodes.get_mut(&ino).ok_or_else(|| io::Error::from_raw_os_error(errno::NOT_THERE))
    }

    fn dir(&mut self, ino: Ino) -> io::Result<&mut Dir> {
        match &mut self.inode(ino)?.kind {
            Kind::Dir(dir) => Ok(dir),
            Kind::File(_) => failed(errno::NOT_A_DIRECTORY),
        }
    }

    fn content(&mut self, ino: Ino) -> io::Result<&mut Content> {
        match &mut self.inode(ino)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Dir(_) => failed(errno::A_DIRECTORY),
        }
    }

    /// The path below the mount, as it was last.
    fn path(&self, mut ino: Ino) -> PathBuf {
        let mut names = Vec::new();
        while let Some(inode) = self.inodes.get(&ino).filter(|_| ino != ROOT) {
            names.push(inode.name.clone());
            ino = inode.parent;
        }
        names.iter().rev().collect()
    }

    /// Fails when a fault waits for this.
    fn meet_fault(&mut self, on: On, ino: Ino) -> io::Result<()> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let path = self.path(ino).to_string_lossy().into_owned();
        for fault in &mut self.faults {
            if fault.on != on || fault.times == 0 || !path.contains(&fault.path_part) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.times -= 1;
            return failed(fault.errno);
        }
        Ok(())
    }

    /// From now on every request fails.
    pub fn power_off(&mut self) {
        self.off = true;
    }

    /// What the kernel wants to know.
    ///
    /// # Errors
    /// When it is not there, or the power is off; so with all that follow.
    pub fn attributes(&mut self, ino: Ino) -> io::Result<Attributes> {
        let inode = self.inode(ino)?;
        let (is_dir, length) = match &inode.kind {
            Kind::File(content) => (false, content.len()),
            Kind::Dir(_) => (true, 4096),
        };
        Ok(Attributes { ino, is_dir, length, mode: inode.mode, changed_ms: inode.changed_ms })
    }

    /// Finds a name.
    ///
    /// # Errors
    /// `ENOENT`, and as above.
    pub fn lookup(&mut self, parent: Ino, name: &OsStr) -> io::Result<Attributes> {
        let found = self.dir(parent)?.now.get(name).copied();
        self.attributes(found.ok_or_else(|| io::Error::from_raw_os_error(errno::NOT_THERE))?)
    }

    /// The names in a directory, each with its number and whether it is a directory.
    ///
    /// # Errors
    /// As above.
    pub fn list(&mut self, ino: Ino) -> io::Result<Vec<(OsString, Ino, bool)>> {
        let names = self.dir(ino)?.now.clone();
        let is_dir =
            |ino| self.inodes.get(&ino).is_some_and(|one| matches!(one.kind, Kind::Dir(_)));
        Ok(names.into_iter().map(|(name, ino)| (name, ino, is_dir(ino))).collect())
    }

    /// Makes a file or directory.
    ///
    /// # Errors
    /// `EEXIST`, those of the store, and as above.
    pub fn make(
        &mut self,
        parent: Ino,
        name: &OsStr,
        mode: u16,
        is_dir: bool,
    ) -> io::Result<Attributes> {
        if self.dir(parent)?.now.contains_key(name) {
            return failed(errno::THERE);
        }
        self.meet_fault(On::Name, parent)?;
        let kind = if is_dir {
            Kind::Dir(Dir::default())
        } else {
            let path = self.store.join(self.next.to_string());
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(true).open(path)?;
            Kind::File(Content::new(file))
        };
        let ino = self.add_inode(kind, mode);
        self.place(ino, parent, name);
        let dir = self.dir(parent)?;
        dir.now.insert(name.to_owned(), ino);
        dir.unsynced.push(Change::Add { name: name.to_owned(), ino });
        self.attributes(ino)
    }

    fn place(&mut self, ino: Ino, parent: Ino, name: &OsStr) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.parent = parent;
            inode.name = name.to_owned();
        }
    }

    /// Removes a name: of a file, or of an empty directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTEMPTY` and the like, and as above.
    pub fn remove(&mut self, parent: Ino, name: &OsStr, is_dir: bool) -> io::Result<()> {
        let ino = self.lookup(parent, name)?.ino;
        match &self.inode(ino)?.kind {
            Kind::Dir(_) if !is_dir => return failed(errno::A_DIRECTORY),
            Kind::File(_) if is_dir => return failed(errno::NOT_A_DIRECTORY),
            Kind::Dir(dir) if !dir.now.is_empty() => return failed(errno::NOT_EMPTY),
            _ => {}
        }
        self.meet_fault(On::Name, ino)?;
        let dir = self.dir(parent)?;
        dir.now.remove(name);
        dir.unsynced.push(Change::Remove { name: name.to_owned(), ino });
        Ok(())
    }

    /// Moves a name, over one that may be there.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTEMPTY` and the like, and as above.
    pub fn rename(&mut self, from: (Ino, &OsStr), to: (Ino, &OsStr)) -> io::Result<()> {
        let ino = self.lookup(from.0, from.1)?.ino;
        if let Some(target) = self.dir(to.0)?.now.get(to.1).copied() {
            if target == ino {
                return Ok(());
            }
            if matches!(&self.inode(target)?.kind, Kind::Dir(dir) if !dir.now.is_empty()) {
                return failed(errno::NOT_EMPTY);
            }
        }
        self.meet_fault(On::Name, ino)?;
        let (name_from, name_to) = (from.1.to_owned(), to.1.to_owned());
        if from.0 == to.0 {
            let dir = self.dir(from.0)?;
            dir.now.remove(from.1);
            dir.now.insert(to.1.to_owned(), ino);
            dir.unsynced.push(Change::Rename { from: name_from, to: name_to, ino });
        } else {
            self.moves += 1;
            let id = self.moves;
            let source = self.dir(from.0)?;
            source.now.remove(from.1);
            source.unsynced.push(Change::MoveOut { name: name_from, ino, other: to.0, id });
            let target = self.dir(to.0)?;
            target.now.insert(to.1.to_owned(), ino);
            target.unsynced.push(Change::MoveIn { name: name_to, ino, other: from.0, id });
        }
        self.place(ino, to.0, to.1);
        Ok(())
    }

    /// Takes note of an open handle.
    ///
    /// # Errors
    /// As above.
    pub fn open(&mut self, ino: Ino) -> io::Result<()> {
        self.inode(ino)?.open += 1;
        Ok(())
    }

    /// Takes note of a handle that was closed.
    pub fn close(&mut self, ino: Ino) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.open = inode.open.saturating_sub(1);
        }
    }

    /// Reads from a file.
    ///
    /// # Errors
    /// Faults, and as above.
    pub fn read(&mut self, ino: Ino, position: u64, count: usize) -> io::Result<Vec<u8>> {
        self.meet_fault(On::Read, ino)?;
        self.content(ino)?.read(position, count)
    }

    /// Writes to a file.
    ///
    /// # Errors
    /// Faults, `ENOSPC`, and as above.
    pub fn write(&mut self, ino: Ino, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.meet_fault(On::Write, ino)?;
        self.make_room(ino, position + bytes.len() as u64)?;
        self.content(ino)?.write(position, bytes)?;
        self.inode(ino)?.changed_ms = now_ms();
        Ok(())
    }

    /// Changes the length of a file.
    ///
    /// # Errors
    /// Faults, `ENOSPC`, and as above.
    pub fn set_len(&mut self, ino: Ino, length: u64) -> io::Result<()> {
        self.meet_fault(On::Write, ino)?;
        self.make_room(ino, length)?;
        self.content(ino)?.set_len(length)?;
        self.inode(ino)?.changed_ms = now_ms();
        Ok(())
    }

    /// Changes permissions.
    ///
    /// # Errors
    /// As above.
    pub fn set_mode(&mut self, ino: Ino, mode: u16) -> io::Result<()> {
        self.inode(ino)?.mode = mode;
        Ok(())
    }

    fn make_room(&mut self, ino: Ino, end: u64) -> io::Result<()> {
        let Some(bytes_max) = self.bytes_max else { return Ok(()) };
        let more = end.saturating_sub(self.content(ino)?.len());
        if more > 0 && self.bytes_used() + more > bytes_max { failed(errno::FULL) } else { Ok(()) }
    }

    /// Bytes in all files together.
    pub fn bytes_used(&self) -> u64 {
        let length = |inode: &Inode| match &inode.kind {
            Kind::File(content) => content.len(),
            Kind::Dir(_) => 0,
        };
        self.inodes.values().map(length).sum()
    }

    /// Makes a file's bytes durable.
    ///
    /// # Errors
    /// Faults, which lose the bytes, and as above.
    pub fn sync(&mut self, ino: Ino) -> io::Result<()> {
        self.content(ino)?;
        if let Err(error) = self.meet_fault(On::Sync, ino) {
            self.content(ino)?.doom();
            return Err(error);
        }
        if !self.ignore_syncs {
            self.content(ino)?.sync();
        }
        self.syncs += 1;
        Ok(())
    }

    /// Makes a directory's names durable.
    ///
    /// # Errors
    /// Faults, and as above.
    pub fn sync_dir(&mut self, ino: Ino) -> io::Result<()> {
        self.dir(ino)?;
        self.meet_fault(On::SyncDir, ino)?;
        self.syncs += 1;
        if self.ignore_syncs {
            return Ok(());
        }
        let changes = std::mem::take(&mut self.dir(ino)?.unsynced);
        for change in changes {
            if let Change::MoveOut { other, id, .. } | Change::MoveIn { other, id, .. } = &change {
                self.finish_move(*other, *id);
            }
            self.dir(ino)?.apply(&change);
        }
        self.forget_unreachable()
    }

    /// Makes the other half of a move durable.
    fn finish_move(&mut self, other: Ino, wanted: u64) {
        let Ok(dir) = self.dir(other) else { return };
        let is_it = |change: &Change| matches!(change, Change::MoveOut { id, .. } | Change::MoveIn { id, .. } if *id == wanted);
        if let Some(place) = dir.unsynced.iter().position(is_it) {
            let change = dir.unsynced.remove(place);
            dir.apply(&change);
        }
    }

    /// The next boot: what the cut takes is gone, the rest is durable, nothing is open.
    ///
    /// # Errors
    /// Those of the store.
    pub fn boot(&mut self, cut: Cut) -> io::Result<Losses> {
        self.off = false;
        let mut chance = match cut {
            Cut::Everything => None,
            Cut::Seeded(seed) => Some(Seeded::new(seed)),
        };
        let mut losses = Losses::default();
        let mut moves: BTreeMap<u64, bool> = BTreeMap::new();
        for inode in self.inodes.values_mut() {
            inode.open = 0;
            match &mut inode.kind {
                Kind::File(content) => {
                    losses.writes_open += content.unsynced() as u64;
                    losses.writes += content.crash(chance.as_mut())?;
                }
                Kind::Dir(dir) => {
                    losses.names_open += dir.unsynced.len() as u64;
                    losses.names += dir.crash(chance.as_mut(), &mut moves);
                }
            }
        }
        self.forget_unreachable()?;
        self.settle_places();
        Ok(losses)
    }

    /// Drops what no list of names and no open handle leads to.
    fn forget_unreachable(&mut self) -> io::Result<()> {
        let mut found = BTreeSet::from([ROOT]);
        let mut open: Vec<Ino> = vec![ROOT];
        for (ino, inode) in self.inodes.iter().filter(|(_, inode)| inode.open > 0) {
            open.push(*ino);
            found.insert(*ino);
            debug_assert!(inode.open > 0, "filtered above");
        }
        while let Some(ino) = open.pop() {
            let Some(Kind::Dir(dir)) = self.inodes.get(&ino).map(|inode| &inode.kind) else {
                continue;
            };
            // Also what an unsynced change may bring back.
            let pending = dir.unsynced.iter().map(Change::ino);
            for below in dir.now.values().chain(dir.durable.values()).copied().chain(pending) {
                if found.insert(below) {
                    open.push(below);
                }
            }
        }
        let gone: Vec<Ino> =
            self.inodes.keys().filter(|ino| !found.contains(ino)).copied().collect();
        for ino in gone {
            if let Some(Inode { kind: Kind::File(_), .. }) = self.inodes.remove(&ino) {
                std::fs::remove_file(self.store.join(ino.to_string()))?;
            }
        }
        Ok(())
    }

    /// Names and parents, after a cut took some back.
    fn settle_places(&mut self) {
        let mut places = Vec::new();
        for (parent, inode) in &self.inodes {
            if let Kind::Dir(dir) = &inode.kind {
                places.extend(dir.now.iter().map(|(name, ino)| (*ino, *parent, name.clone())));
            }
        }
        for (ino, parent, name) in places {
            self.place(ino, parent, &name);
        }
    }
}

impl Change {
    fn ino(&self) -> Ino {
        match self {
            Self::Add { ino, .. }
            | Self::Remove { ino, .. }
            | Self::Rename { ino, .. }
            | Self::MoveOut { ino, .. }
            | Self::MoveIn { ino, .. } => *ino,
        }
    }
}

impl Dir {
    /// Takes a change over into the durable names.
    fn apply(&mut self, change: &Change) {
        let mut drop_name = |name: &OsString, ino: Ino| {
            if self.durable.get(name) == Some(&ino) {
                self.durable.remove(name);
            }
        };
        match change {
            Change::Remove { name, ino } | Change::MoveOut { name, ino, .. } => {
                drop_name(name, *ino)
            }
            Change::Rename { from, to, ino } => {
                drop_name(from, *ino);
                self.durable.insert(to.clone(), *ino);
            }
            Change::Add { name, ino } | Change::MoveIn { name, ino, .. } => {
                self.durable.insert(name.clone(), *ino);
            }
        }
    }

    /// What is left after a power cut. Both halves of a move share their fate, which `moves` keeps.
    fn crash(&mut self, chance: Option<&mut Seeded>, moves: &mut BTreeMap<u64, bool>) -> u64 {
        let changes = std::mem::take(&mut self.unsynced);
        let mut survival = Survival::new(chance, changes.len());
        let mut lost = 0;
        for change in &changes {
            let mut survives = survival.next();
            if let Change::MoveOut { id, .. } | Change::MoveIn { id, .. } = change {
                survives = *moves.entry(*id).or_insert(survives);
            }
            if survives {
                self.apply(change);
            } else {
                lost += 1;
            }
        }
        self.now = self.durable.clone();
        lost
    }
}

fn now_ms() -> i64 {
    SystemClock.now().0
}
