//! Checkpoint, close, delete.

use super::core::Log;
use super::epochs;
use super::error::Error;
use super::files;
use crate::env::disk::Disk;
use crate::types::Offset;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Leader epochs on their way to the disk: made under the log's lock, run without it, given back.
#[derive(Debug)]
#[must_use = "a log whose checkpoint job is lost never writes its epochs again"]
pub struct CheckpointJob {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    text: String,
    version: u64,
}

impl CheckpointJob {
    /// Replaces the file, durably.
    ///
    /// # Errors
    /// Those of the disk. Give them to the log.
    pub fn run(&self) -> io::Result<()> {
        files::replace_small(&*self.disk, &self.path, self.text.as_bytes())
    }
}

impl Log {
    /// From where on batches have to be read after a crash: what lies before is durable, and all
    /// that is derived from it, too. This is what a checkpoint file may remember.
    #[must_use]
    pub fn recovery_point(&self) -> Offset {
        let unsaved = self.epochs.unsaved_from();
        unsaved.map_or(self.flushed, |from| from.max(self.start).min(self.flushed))
    }

    /// Writes what would otherwise wait for the next roll: index entries that were held back.
    /// Repairs indexes that reads found damaged. What is left is the file of the leader epochs, if
    /// it is old and nobody is writing it.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn start_checkpoint(&mut self) -> Result<Option<CheckpointJob>, Error> {
        self.check_failure()?;
        self.active().write_waiting();
        self.repair_indexes()?;
        let job = (self.epochs.dirty && !self.writing_epochs).then(|| CheckpointJob {
            disk: Arc::clone(&self.disk),
            path: self.dir.join(epochs::FILE),
            text: self.epochs.encode(),
            version: self.epochs.version(),
        });
        self.writing_epochs |= job.is_some();
        Ok(job)
    }

    /// Takes note of a checkpoint that ended. The recovery point may have moved.
    ///
    /// # Errors
    /// `result`'s: the file is as it was then, or as it should be, and will be written again.
    pub fn finish_checkpoint(
        &mut self,
        job: &CheckpointJob,
        result: io::Result<()>,
    ) -> Result<(), Error> {
        self.writing_epochs = false;
        result.map_err(Error::io(&job.path))?;
        self.epochs.saved(job.version);
        Ok(())
    }

    /// A whole checkpoint, here and now.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        let Some(job) = self.start_checkpoint()? else { return Ok(()) };
        let result = job.run();
        self.finish_checkpoint(&job, result)
    }

    fn write_epochs(&mut self) -> Result<(), Error> {
        let path = self.dir.join(epochs::FILE);
        let text = self.epochs.encode();
        files::replace_small(&*self.disk, &path, text.as_bytes()).map_err(Error::io(&path))?;
        self.epochs.saved(self.epochs.version());
        Ok(())
    }

    /// Flushes, and writes everything that makes the next open quick. Gives the log end offset,
    /// which is then also the flushed offset. Finish a flush or a checkpoint that is under way first.
    ///
    /// # Errors
    /// Those of the disk, and [`Error::Failed`] for a log that failed before, or is still being
    /// flushed: it must be scanned at the next open, so leave no clean mark.
    pub fn close(mut self) -> Result<Offset, Error> {
        self.check_failure()?;
        if self.is_flushing() {
            // Its sync may be told an error that another one of the same file is not told again.
            let why = "a flush or a checkpoint of it is still under way";
            return Err(Error::Failed(why.to_owned()));
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
