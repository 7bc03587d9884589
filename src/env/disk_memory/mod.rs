//! A disk in memory that forgets what was not synced.
//!
//! It keeps every promise of [`super::disk`] and no more. After [`MemoryDisk::crash`] a file holds
//! what was synced, plus any part of what was written since: all, nothing, a prefix, or loose
//! sectors of loose writes. A name that was made, moved or removed without a directory sync may
//! or may not be as it was. A sync that failed loses what it should have synced, and a later one
//! that succeeds does not bring it back.
//!
//! Everything follows from the seeds that the test passes in; a run can be repeated.

mod content;
mod state;

use super::disk::{DirEntry, Disk, DiskFile, DiskSpace, OpenMode};
use state::{Fault, State};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What kind of operation a fault waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    /// `write_all_at`.
    Write,
    /// `sync_data`.
    SyncData,
    /// `sync_dir`.
    SyncDir,
    /// `sync_file_system`.
    SyncFileSystem,
    /// `set_len`, and opening with a cut.
    SetLen,
    /// Opening a file.
    Open,
    /// `read_at`.
    Read,
    /// `rename`.
    Rename,
    /// `remove_file` and `remove_dir_all`.
    Remove,
    /// `create_dir_all`.
    CreateDir,
    /// Making a file.
    CreateFile,
    /// Any of them but `Open` and `Read`.
    AnyChange,
}

/// A file system in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryDisk({} changes)", self.changes())
    }
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere has failed already; the state itself is never half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changing operations so far: writes, syncs, cuts, and names made, moved or removed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// From the change with this number on (the next one is [`Self::changes`]), every operation
    /// fails, as if the machine were gone. That change itself may still happen, or in part.
    pub fn cut_power_at(&self, change: u64) {
        self.state().cut_at = Some(change);
    }

    /// The power cut and the next boot: unsynced bytes and names survive or not, as `seed` says;
    /// files that were open are gone, faults are forgotten, power is on again.
    pub fn crash(&self, seed: u64) {
        self.state().crash(seed);
    }

    /// An independent copy, unsynced bytes and all. Files that are open stay with the original.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// The next operation of `kind` on a path that contains `path_part`, after `skip` others of
    /// that sort, fails with `error`; then the fault is used up. A write that fails has written
    /// half; a sync that fails has lost what it should have synced.
    pub fn fail(&self, kind: OpKind, path_part: &str, skip: u64, error: io::ErrorKind) {
        self.state().faults.push(Fault { kind, path_part: path_part.to_owned(), skip, error });
    }

    /// Bounds the bytes of all files: beyond that, writes fail with `StorageFull`, having written
    /// what fits.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = Some(bytes);
    }

    /// Flips one bit of a file, stored and cached, behind the back of whoever wrote it.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) {
        let mut state = self.state();
        let inode = state.file_at(path).expect("the file to damage is there");
        state.inode(inode).flip_bit(usize::try_from(byte).expect("a small file"), bit);
    }

    /// Whether `sync_file_system` is supported; it is not unless told so.
    pub fn support_sync_file_system(&self, supported: bool) {
        self.state().file_system_sync = supported;
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let inode = state.open(path, mode)?;
        let boot = state.boot;
        Ok(Arc::new(MemoryFile { disk: self.clone(), inode, boot, path: path.to_owned() }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state().create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.state().list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.state().exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.state().remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state().remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.state().sync_dir(path)
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<bool> {
        self.state().sync_file_system(path)
    }

    fn space(&self, _path: &Path) -> io::Result<DiskSpace> {
        self.state().space()
    }
}

/// An open file; useless after a crash, as a real one would be.
#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    inode: u64,
    boot: u64,
    path: PathBuf,
}

impl MemoryFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.boot == self.boot {
            Ok(state)
        } else {
            Err(io::Error::other("the file was open before the power cut"))
        }
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.state()?.read_at(self.inode, &self.path, buffer, position)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.state()?.write_at(self.inode, &self.path, bytes, position)
    }

    fn len(&self) -> io::Result<u64> {
        self.state()?.len(self.inode)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.state()?.set_len(self.inode, &self.path, length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state()?.sync_data(self.inode, &self.path)
    }
}
