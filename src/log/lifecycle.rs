//! Checkpoint, close, delete.

use super::core::Log;
use super::epochs;
use super::error::Error;
use super::files;
use crate::types::Offset;
use std::path::Path;

impl Log {
    /// Writes what would otherwise be written at the next flush or roll: leader epochs, durably,
    /// and index entries that were held back. Repairs indexes that reads found damaged.
    ///
    /// # Errors
    /// Those of the disk; trouble with the epochs fails the log.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        self.check_failure()?;
        // While a flush is under way it may be writing the very same file.
        if self.epochs.dirty && self.flush_limit.is_none() {
            let written = self.write_epochs();
            self.or_fail(written)?;
        }
        self.active().write_waiting();
        self.repair_indexes()
    }

    pub(super) fn write_epochs(&mut self) -> Result<(), Error> {
        let path = self.dir.join(epochs::FILE);
        let text = self.epochs.encode();
        files::replace_small(&*self.disk, &path, text.as_bytes()).map_err(Error::io(&path))?;
        self.epochs.dirty = false;
        Ok(())
    }

    /// Flushes, and writes everything that makes the next open quick. Gives the log end offset,
    /// which is then also the flushed offset. Finish a flush that is under way first.
    ///
    /// # Errors
    /// Those of the disk, and [`Error::Failed`] for a log that failed before: it must be scanned
    /// at the next open, so leave no clean mark.
    pub fn close(mut self) -> Result<Offset, Error> {
        self.check_failure()?;
        if self.flush_limit.take().is_some() {
            // What that flush has not synced yet is not known here.
            let flushed = self.flushed;
            self.names_changed = true;
            self.epochs.dirty = true;
            for place in 0..self.segments.len() {
                if self.segment_end(place) > flushed
                    && let Some(segment) = self.segments.get_mut(place)
                {
                    segment.dirty = true;
                }
            }
        }
        let indexes = self.active().finish_indexes();
        self.unsynced_files.extend(indexes);
        self.write_snapshot()?;
        if self.epochs.dirty {
            self.write_epochs()?;
        }
        self.flush_now()?;
        for segment in &self.segments {
            segment.files.close();
        }
        Ok(self.end)
    }

    /// Removes the directory with all in it; durable on return. Reads under way end with
    /// [`Error::Moved`] or with what they had open.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn delete(self) -> Result<(), Error> {
        for segment in &self.segments {
            segment.files.close();
        }
        // Renamed first, so that a crash in between leaves a directory that is no partition's.
        let mut gone = self.dir.clone().into_os_string();
        gone.push("-delete");
        let gone = Path::new(&gone);
        let parent = self.dir.parent().unwrap_or(Path::new("."));
        if self.disk.exists(gone).map_err(Error::io(gone))? {
            self.disk.remove_dir_all(gone).map_err(Error::io(gone))?;
        }
        self.disk.rename(&self.dir, gone).map_err(Error::io(&self.dir))?;
        self.disk.sync_dir(parent).map_err(Error::io(parent))?;
        self.disk.remove_dir_all(gone).map_err(Error::io(gone))?;
        self.disk.sync_dir(parent).map_err(Error::io(parent))
    }
}
