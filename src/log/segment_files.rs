//! The files of one segment, opened on use. Shared between the log and the reads under way.

use super::files::{FileKind, path_of};
use super::shared::Shared;
use crate::env::disk::{Disk, DiskFile, OpenMode};
use crate::types::Offset;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the files of a segment are, and those that are open.
#[derive(Debug)]
pub(super) struct SegmentFiles {
    id: u64,
    pub(super) base: Offset,
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    /// The log file, from the first write to it until it is sealed and flushed.
    pinned: Mutex<Option<Arc<dyn DiskFile>>>,
    /// Whether an index entry was found that does not fit the log.
    pub(super) suspect: AtomicBool,
}

impl Drop for SegmentFiles {
    /// A file that stays open keeps its room on the disk after it was removed.
    fn drop(&mut self) {
        self.close();
    }
}

impl SegmentFiles {
    pub(super) fn new(disk: Arc<dyn Disk>, shared: Arc<Shared>, dir: &Path, base: Offset) -> Self {
        Self {
            id: shared.next_segment_id(),
            base,
            dir: dir.to_owned(),
            disk,
            shared,
            pinned: Mutex::new(None),
            suspect: AtomicBool::new(false),
        }
    }

    pub(super) fn path(&self, kind: FileKind) -> PathBuf {
        path_of(&self.dir, self.base, kind)
    }

    fn pinned(&self) -> Option<Arc<dyn DiskFile>> {
        // No code that can panic runs under this lock.
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log file, for reading.
    pub(super) fn log(&self) -> io::Result<Arc<dyn DiskFile>> {
        match self.pinned() {
            Some(file) => Ok(file),
            None => self.shared.open_files.get((self.id, FileKind::Log), || {
                self.disk.open(&self.path(FileKind::Log), OpenMode::Read)
            }),
        }
    }

    /// The log file, for writing. It stays open.
    pub(super) fn log_for_writing(&self) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.pinned() {
            return Ok(file);
        }
        let file = self.disk.open(&self.path(FileKind::Log), OpenMode::Write)?;
        self.pin(Arc::clone(&file));
        Ok(file)
    }

    pub(super) fn pin(&self, file: Arc<dyn DiskFile>) {
        *self.pinned.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        // What was opened for reading is not needed any more.
        self.shared.open_files.forget(self.id);
    }

    #[cfg(test)]
    pub(super) fn is_pinned(&self) -> bool {
        self.pinned().is_some()
    }

    /// Lets go of the log file.
    pub(super) fn unpin(&self) {
        *self.pinned.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// An index file, for reading.
    pub(super) fn index(&self, kind: FileKind) -> io::Result<Arc<dyn DiskFile>> {
        self.shared
            .open_files
            .get((self.id, kind), || self.disk.open(&self.path(kind), OpenMode::Write))
    }

    /// An index file, for writing; made if it is not there.
    pub(super) fn index_for_writing(&self, kind: FileKind) -> io::Result<Arc<dyn DiskFile>> {
        self.shared
            .open_files
            .get((self.id, kind), || self.disk.open(&self.path(kind), OpenMode::CreateOrWrite))
    }

    /// Closes everything.
    pub(super) fn close(&self) {
        self.unpin();
        self.shared.open_files.forget(self.id);
    }

    /// Notes that the indexes contradict the log; they are rebuilt when there is time.
    pub(super) fn distrust(&self, why: &str) {
        if !self.suspect.swap(true, Ordering::Relaxed) {
            let path = self.path(FileKind::Log);
            tracing::warn!(path = %path.display(), why, "an index is damaged; reads go without it");
        }
    }

    /// Removes the files, the log file first and by a step of its own, so that a crash leaves
    /// either a whole segment or one that is known to be gone.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.close();
        self.disk.remove_file(&self.path(FileKind::Log))?;
        self.disk.sync_dir(&self.dir)?;
        for kind in FileKind::ALL.into_iter().filter(|kind| *kind != FileKind::Log) {
            match self.disk.remove_file(&self.path(kind)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
