//! A disk in memory that forgets what was not synced.

use super::disk::{DirEntry, Disk, DiskFile, DiskSpace, OpenMode};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A file system in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {}

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
    /// `set_len`.
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
    /// Any of them, reads and opens of existing files excluded.
    AnyChange,
}

#[allow(unused_variables, clippy::todo)]
impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Changing operations so far: writes, syncs, cuts, and names made, moved or removed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        todo!()
    }
    /// From the change with this number on (counted as [`Self::changes`] does), every operation
    /// fails, as if the machine were gone; that change itself may happen in part.
    pub fn cut_power_at(&self, change: u64) {
        todo!()
    }
    /// The power cut and the next boot: unsynced bytes and names survive or not, as `seed` says;
    /// open files are gone; power is on again.
    pub fn crash(&self, seed: u64) {
        todo!()
    }
    /// An independent copy, unsynced bytes and all.
    #[must_use]
    pub fn fork(&self) -> Self {
        todo!()
    }
    /// The next operation of `kind` on a path that contains `path_part`, after `skip` others,
    /// fails with `error`; then the fault is used up.
    pub fn fail(&self, kind: OpKind, path_part: &str, skip: u64, error: io::ErrorKind) {
        todo!()
    }
    /// Bounds the disk: beyond that, writes fail with `StorageFull`.
    pub fn set_capacity(&self, bytes: u64) {
        todo!()
    }
    /// Flips one bit of a file, behind the back of whoever wrote it.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) {
        todo!()
    }
    /// Whether `sync_file_system` is supported; it is not unless told so.
    pub fn support_sync_file_system(&self, supported: bool) {
        todo!()
    }
}

#[allow(unused_variables, clippy::todo)]
impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        todo!()
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        todo!()
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        todo!()
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        todo!()
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        todo!()
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        todo!()
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        todo!()
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        todo!()
    }
    fn sync_file_system(&self, path: &Path) -> io::Result<bool> {
        todo!()
    }
    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        todo!()
    }
}
