//! Names, faults and power of the disk in memory.

use super::OpKind;
use super::content::Content;
use crate::env::disk::{DirEntry, DiskSpace, OpenMode};
use crate::env::rng::Seeded;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

const ROOT: u64 = 0;
/// What an unbounded disk says it has.
const CAPACITY_DEFAULT: u64 = 1 << 40;

#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) kind: OpKind,
    pub(super) path_part: String,
    pub(super) skip: u64,
    pub(super) error: io::ErrorKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File(u64),
    Dir(u64),
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(String, Entry),
    Unset(String),
    /// A rename within the directory: both names change, or neither.
    Move(String, String, Entry),
}

#[derive(Debug, Clone, Default)]
struct Directory {
    current: BTreeMap<String, Entry>,
    durable: BTreeMap<String, Entry>,
    pending: Vec<NameChange>,
}

impl Directory {
    fn change(&mut self, change: NameChange) {
        apply(&mut self.current, &change);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    fn crash(&mut self, rng: &mut Seeded) {
        let pending = std::mem::take(&mut self.pending);
        let kept = match rng.below(4) {
            0 => 0,
            1 => pending.len(),
            2 => rng.below(pending.len() as u64 + 1) as usize,
            _ => {
                for change in &pending {
                    if rng.chance(50) {
                        apply(&mut self.durable, change);
                    }
                }
                0
            }
        };
        for change in &pending[..kept] {
            apply(&mut self.durable, change);
        }
        self.current.clone_from(&self.durable);
    }
}

fn apply(names: &mut BTreeMap<String, Entry>, change: &NameChange) {
    match change {
        NameChange::Set(name, entry) => {
            names.insert(name.clone(), *entry);
        }
        NameChange::Unset(name) => {
            names.remove(name);
        }
        NameChange::Move(from, to, entry) => {
            names.remove(from);
            names.insert(to.clone(), *entry);
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct State {
    files: BTreeMap<u64, Content>,
    dirs: BTreeMap<u64, Directory>,
    next_id: u64,
    /// Counts crashes; a file opened in an earlier boot is dead.
    pub(super) boot: u64,
    pub(super) changes: u64,
    pub(super) cut_at: Option<u64>,
    power_off: bool,
    pub(super) faults: Vec<Fault>,
    pub(super) capacity: Option<u64>,
    pub(super) file_system_sync: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            dirs: BTreeMap::from([(ROOT, Directory::default())]),
            next_id: ROOT + 1,
            boot: 0,
            changes: 0,
            cut_at: None,
            power_off: false,
            faults: Vec::new(),
            capacity: None,
            file_system_sync: false,
        }
    }
}

fn power_cut() -> io::Error {
    io::Error::other("the power is cut")
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display()))
}

fn parts(path: &Path) -> impl Iterator<Item = &str> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => name.to_str(),
        _ => None,
    })
}

/// What is to become of a change, once faults and power were asked.
enum Verdict {
    Go,
    /// Do it, but leave it unsynced and say that the power went.
    GoDark,
    Fail(io::Error),
}

impl State {
    fn check_power(&self) -> io::Result<()> {
        if self.power_off { Err(power_cut()) } else { Ok(()) }
    }

    fn take_fault(&mut self, kind: OpKind, path: &Path) -> Option<io::Error> {
        if self.faults.is_empty() {
            return None;
        }
        let text = path.to_string_lossy();
        let changing = !matches!(kind, OpKind::Open | OpKind::Read);
        let mut due = None;
        for (index, fault) in self.faults.iter_mut().enumerate() {
            let fits = fault.kind == kind || (fault.kind == OpKind::AnyChange && changing);
            if !fits || !text.contains(&fault.path_part) {
                continue;
            }
            if fault.skip == 0 {
                due = Some(index);
                break;
            }
            fault.skip -= 1;
        }
        let fault = self.faults.remove(due?);
        Some(io::Error::new(fault.error, format!("injected fault at {}", path.display())))
    }

    fn judge(&mut self, kind: OpKind, path: &Path) -> io::Result<Verdict> {
        self.check_power()?;
        let number = self.changes;
        self.changes += 1;
        if self.cut_at.is_some_and(|cut| number >= cut) {
            self.power_off = true;
            return Ok(Verdict::GoDark);
        }
        Ok(match self.take_fault(kind, path) {
            Some(error) => Verdict::Fail(error),
            None => Verdict::Go,
        })
    }

    /// For changes of names: an injected fault leaves everything as it was.
    fn judge_name(&mut self, kind: OpKind, path: &Path) -> io::Result<bool> {
        match self.judge(kind, path)? {
            Verdict::Go => Ok(true),
            Verdict::GoDark => Ok(false),
            Verdict::Fail(error) => Err(error),
        }
    }

    pub(super) fn inode(&mut self, inode: u64) -> &mut Content {
        self.files.entry(inode).or_default()
    }

    fn dir_at(&self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for name in parts(path) {
            match self.dirs.get(&at).and_then(|dir| dir.current.get(name)) {
                Some(Entry::Dir(id)) => at = *id,
                _ => return Err(not_found(path)),
            }
        }
        Ok(at)
    }

    fn parent_and_name<'p>(&self, path: &'p Path) -> io::Result<(u64, &'p str)> {
        let name = parts(path).last().ok_or_else(|| not_found(path))?;
        Ok((self.dir_at(path.parent().unwrap_or(Path::new("")))?, name))
    }

    fn entry_at(&self, path: &Path) -> io::Result<Option<Entry>> {
        let (parent, name) = self.parent_and_name(path)?;
        Ok(self.dirs.get(&parent).and_then(|dir| dir.current.get(name)).copied())
    }

    pub(super) fn file_at(&self, path: &Path) -> io::Result<u64> {
        match self.entry_at(path)? {
            Some(Entry::File(inode)) => Ok(inode),
            _ => Err(not_found(path)),
        }
    }

    fn change_names(&mut self, dir: u64, change: NameChange) {
        self.dirs.entry(dir).or_default().change(change);
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<u64> {
        self.check_power()?;
        if let Some(error) = self.take_fault(OpKind::Open, path) {
            return Err(error);
        }
        let (parent, name) = self.parent_and_name(path)?;
        let found = self.dirs.get(&parent).and_then(|dir| dir.current.get(name)).copied();
        match (found, mode) {
            (Some(Entry::Dir(_)), _) => Err(io::ErrorKind::IsADirectory.into()),
            (Some(Entry::File(_)), OpenMode::CreateNew) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Entry::File(inode)), OpenMode::CreateOrTruncate) => {
                self.set_len(inode, path, 0)?;
                Ok(inode)
            }
            (Some(Entry::File(inode)), _) => Ok(inode),
            (None, OpenMode::Read | OpenMode::Write) => Err(not_found(path)),
            (None, _) => {
                let name = name.to_owned();
                let lit = self.judge_name(OpKind::CreateFile, path)?;
                let inode = self.new_id();
                self.files.insert(inode, Content::default());
                self.change_names(parent, NameChange::Set(name, Entry::File(inode)));
                if lit { Ok(inode) } else { Err(power_cut()) }
            }
        }
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        self.check_power()?;
        let mut at = ROOT;
        for name in parts(path) {
            match self.dirs.get(&at).and_then(|dir| dir.current.get(name)).copied() {
                Some(Entry::Dir(id)) => at = id,
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let lit = self.judge_name(OpKind::CreateDir, path)?;
                    let id = self.new_id();
                    self.dirs.insert(id, Directory::default());
                    self.change_names(at, NameChange::Set(name.to_owned(), Entry::Dir(id)));
                    if !lit {
                        return Err(power_cut());
                    }
                    at = id;
                }
            }
        }
        Ok(())
    }

    pub(super) fn list(&mut self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.check_power()?;
        let id = self.dir_at(path)?;
        let dir = self.dirs.get(&id).ok_or_else(|| not_found(path))?;
        Ok(dir
            .current
            .iter()
            .map(|(name, entry)| DirEntry {
                name: name.clone(),
                is_dir: matches!(entry, Entry::Dir(_)),
            })
            .collect())
    }

    pub(super) fn exists(&mut self, path: &Path) -> io::Result<bool> {
        self.check_power()?;
        match self.entry_at(path) {
            Ok(entry) => Ok(entry.is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(parts(path).next().is_none())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.check_power()?;
        let (from_dir, from_name) = self.parent_and_name(from)?;
        let (to_dir, to_name) = self.parent_and_name(to)?;
        let (from_name, to_name) = (from_name.to_owned(), to_name.to_owned());
        let entry = self.entry_at(from)?.ok_or_else(|| not_found(from))?;
        if let (Entry::Dir(_), Some(Entry::File(_))) | (Entry::File(_), Some(Entry::Dir(_))) =
            (entry, self.entry_at(to)?)
        {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if let Some(Entry::Dir(target)) = self.entry_at(to)?
            && self.dirs.get(&target).is_some_and(|dir| !dir.current.is_empty())
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let lit = self.judge_name(OpKind::Rename, from)?;
        if from_dir == to_dir {
            self.change_names(from_dir, NameChange::Move(from_name, to_name, entry));
        } else {
            self.change_names(from_dir, NameChange::Unset(from_name));
            self.change_names(to_dir, NameChange::Set(to_name, entry));
        }
        if lit { Ok(()) } else { Err(power_cut()) }
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.check_power()?;
        self.file_at(path)?;
        let (parent, name) = self.parent_and_name(path)?;
        let name = name.to_owned();
        let lit = self.judge_name(OpKind::Remove, path)?;
        self.change_names(parent, NameChange::Unset(name));
        if lit { Ok(()) } else { Err(power_cut()) }
    }

    /// Removes the entries one by one, as a real file system does, each in its own step.
    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        self.check_power()?;
        for entry in self.list(path)? {
            let inner = path.join(&entry.name);
            if entry.is_dir {
                self.remove_dir_all(&inner)?;
            } else {
                self.remove_file(&inner)?;
            }
        }
        let (parent, name) = self.parent_and_name(path)?;
        let name = name.to_owned();
        let lit = self.judge_name(OpKind::Remove, path)?;
        self.change_names(parent, NameChange::Unset(name));
        if lit { Ok(()) } else { Err(power_cut()) }
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        self.check_power()?;
        let id = self.dir_at(path)?;
        match self.judge(OpKind::SyncDir, path)? {
            Verdict::Go => {
                self.dirs.entry(id).or_default().sync();
                Ok(())
            }
            Verdict::GoDark => Err(power_cut()),
            Verdict::Fail(error) => {
                self.dirs.entry(id).or_default().pending.clear();
                Err(error)
            }
        }
    }

    pub(super) fn sync_file_system(&mut self, path: &Path) -> io::Result<bool> {
        self.check_power()?;
        if !self.file_system_sync {
            return Ok(false);
        }
        match self.judge(OpKind::SyncFileSystem, path)? {
            Verdict::Go => {
                self.dirs.values_mut().for_each(Directory::sync);
                self.files.values_mut().for_each(Content::sync);
                Ok(true)
            }
            Verdict::GoDark => Err(power_cut()),
            Verdict::Fail(error) => {
                self.dirs.values_mut().for_each(|dir| dir.pending.clear());
                self.files.values_mut().for_each(Content::sync_failed);
                Err(error)
            }
        }
    }

    fn used_bytes(&self) -> u64 {
        let mut linked = BTreeSet::new();
        for dir in self.dirs.values() {
            linked.extend(dir.current.values().filter_map(|entry| match entry {
                Entry::File(inode) => Some(*inode),
                Entry::Dir(_) => None,
            }));
        }
        let size = |inode| self.files.get(inode).map_or(0, |file| file.bytes().len() as u64);
        linked.iter().map(size).sum()
    }

    pub(super) fn space(&self) -> io::Result<DiskSpace> {
        self.check_power()?;
        let total_bytes = self.capacity.unwrap_or(CAPACITY_DEFAULT);
        let available_bytes = total_bytes.saturating_sub(self.used_bytes());
        Ok(DiskSpace { total_bytes, available_bytes })
    }

    pub(super) fn read_at(
        &mut self,
        inode: u64,
        path: &Path,
        buffer: &mut [u8],
        position: u64,
    ) -> io::Result<usize> {
        self.check_power()?;
        if let Some(error) = self.take_fault(OpKind::Read, path) {
            return Err(error);
        }
        let bytes = self.inode(inode).bytes();
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    pub(super) fn write_at(
        &mut self,
        inode: u64,
        path: &Path,
        bytes: &[u8],
        position: u64,
    ) -> io::Result<()> {
        let verdict = self.judge(OpKind::Write, path)?;
        let at = usize::try_from(position).map_err(io::Error::other)?;
        match verdict {
            Verdict::GoDark => {
                self.inode(inode).write(at, bytes);
                return Err(power_cut());
            }
            Verdict::Fail(error) => {
                self.inode(inode).write(at, &bytes[..bytes.len() / 2]);
                return Err(error);
            }
            Verdict::Go => {}
        }
        if let Some(capacity) = self.capacity {
            let have = self.inode(inode).bytes().len();
            let grows = (at + bytes.len()).saturating_sub(have) as u64;
            let room = capacity.saturating_sub(self.used_bytes());
            if grows > room {
                let fits = bytes.len() - usize::try_from(grows - room).unwrap_or(bytes.len());
                self.inode(inode).write(at, &bytes[..fits]);
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        self.inode(inode).write(at, bytes);
        Ok(())
    }

    pub(super) fn len(&mut self, inode: u64) -> io::Result<u64> {
        self.check_power()?;
        Ok(self.inode(inode).bytes().len() as u64)
    }

    pub(super) fn set_len(&mut self, inode: u64, path: &Path, length: u64) -> io::Result<()> {
        let lit = self.judge_name(OpKind::SetLen, path)?;
        self.inode(inode).set_len(usize::try_from(length).map_err(io::Error::other)?);
        if lit { Ok(()) } else { Err(power_cut()) }
    }

    pub(super) fn sync_data(&mut self, inode: u64, path: &Path) -> io::Result<()> {
        match self.judge(OpKind::SyncData, path)? {
            Verdict::Go => {
                self.inode(inode).sync();
                Ok(())
            }
            Verdict::GoDark => Err(power_cut()),
            Verdict::Fail(error) => {
                self.inode(inode).sync_failed();
                Err(error)
            }
        }
    }

    pub(super) fn crash(&mut self, seed: u64) {
        let mut rng = Seeded::new(seed);
        for dir in self.dirs.values_mut() {
            dir.crash(&mut rng);
        }
        for file in self.files.values_mut() {
            file.crash(&mut rng);
        }
        self.forget_unreachable();
        self.boot += 1;
        self.cut_at = None;
        self.power_off = false;
        self.faults.clear();
    }

    fn forget_unreachable(&mut self) {
        let mut files = BTreeSet::new();
        let mut dirs = BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        while let Some(id) = open.pop() {
            for entry in self.dirs.get(&id).into_iter().flat_map(|dir| dir.current.values()) {
                match entry {
                    Entry::File(inode) => {
                        files.insert(*inode);
                    }
                    Entry::Dir(inner) => {
                        if dirs.insert(*inner) {
                            open.push(*inner);
                        }
                    }
                }
            }
        }
        self.files.retain(|id, _| files.contains(id));
        self.dirs.retain(|id, _| dirs.contains(id));
    }
}
