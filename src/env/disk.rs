//! Files and directories, behind a trait.
//!
//! Two implementations pass one conformance suite: [`RealDisk`] here, and a disk in memory that
//! forgets what was not synced.
//!
//! What every implementation promises, and nothing more:
//! - Bytes written are visible to later reads at once, and durable after [`DiskFile::sync_data`]
//!   of that file returned without an error.
//! - A file that was created, renamed or removed stays so after [`Disk::sync_dir`] of its
//!   directory returned without an error. Until then a power cut may undo it.
//! - A write may be torn by a power cut: any part of it may survive, and unsynced writes may
//!   survive in any order.
//! - After a sync failed, what of the file is durable is unknown, for good: a later sync that
//!   succeeds proves nothing. Callers must give the file up.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How [`Disk::open`] treats what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Reading only; the file must exist.
    Read,
    /// Reading and writing; the file must exist.
    Write,
    /// Reading and writing; made empty if it is not there.
    CreateOrWrite,
    /// Reading and writing; fails with `AlreadyExists` if it is there.
    CreateNew,
    /// Reading and writing; whatever was there is cut to nothing.
    CreateOrTruncate,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The file name, without its directory.
    pub name: String,
    /// Whether the entry is a directory.
    pub is_dir: bool,
}

/// Room on the file system that holds a path, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// All there is.
    pub total_bytes: u64,
    /// What an unprivileged process may still use.
    pub available_bytes: u64,
}

/// A file system.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// Those of the file system, and those that [`OpenMode`] names.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a directory and all above it; an existing one is fine.
    ///
    /// # Errors
    /// Those of the file system.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The entries of a directory, sorted by name.
    ///
    /// # Errors
    /// `NotFound`, and those of the file system.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Whether a file or directory is there.
    ///
    /// # Errors
    /// Those of the file system, except `NotFound`.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Renames a file or a directory, replacing a file at the target in one step.
    ///
    /// # Errors
    /// `NotFound`, and those of the file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, and those of the file system.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with all in it.
    ///
    /// # Errors
    /// `NotFound`, and those of the file system.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Those of the file system; afterwards nothing is known about unsynced names.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes everything on the file system that holds `path` durable with one call, where that is
    /// known to work (a local ext4 or xfs). `Ok(false)` means "not supported here: sync each
    /// file", and nothing was synced.
    ///
    /// # Errors
    /// Those of the file system; afterwards nothing is known about unsynced bytes.
    fn sync_file_system(&self, path: &Path) -> io::Result<bool>;

    /// Begins to listen for errors of writing back on the file system that holds `path`, for
    /// [`Self::sync_file_system`] of the same path to tell. Done before the first write: an error
    /// that somebody else's sync was told is not told to those who come later.
    ///
    /// # Errors
    /// Those of the file system.
    fn watch_file_system(&self, path: &Path) -> io::Result<()> {
        let _ = path;
        Ok(())
    }

    /// The room left where `path` lies.
    ///
    /// # Errors
    /// Those of the file system.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;
}

/// An open file. Every call names its position; there is no cursor.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads up to `buffer.len()` bytes from `position`; fewer only at the end of the file.
    ///
    /// # Errors
    /// Those of the file system.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `position`, growing the file if need be.
    ///
    /// # Errors
    /// Those of the file system; part of the bytes may have been written.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or grows (with zeros) the file to `length` bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Makes the bytes and the length durable.
    ///
    /// # Errors
    /// Those of the file system. See the module's last promise: a failed sync is final.
    fn sync_data(&self) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

/// `f_type` of the local file systems that pass `syncfs` on to the device.
const FILE_SYSTEMS_WITH_SYNCFS: [u32; 2] = [0xef53 /* ext4 */, 0x5846_5342 /* xfs */];

/// The first Linux whose `syncfs` tells of errors that happened while writing back.
const SYNCFS_TELLS_ERRORS_SINCE: (u32, u32) = (5, 8);

/// Directories that are kept open, so that their `syncfs` is told every error since: one for each
/// data directory of the process.
static WATCHED: Mutex<Vec<(PathBuf, Arc<fs::File>)>> = Mutex::new(Vec::new());

fn watched(path: &Path) -> io::Result<Arc<fs::File>> {
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, directory)) = watched.iter().find(|(known, _)| known == path) {
        return Ok(Arc::clone(directory));
    }
    let directory = Arc::new(fs::File::open(path)?);
    watched.push((path.to_owned(), Arc::clone(&directory)));
    Ok(directory)
}

/// Whether this Linux is new enough for `syncfs` to be believed.
fn syncfs_tells_errors() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        kernel_version(&release).is_some_and(|version| version >= SYNCFS_TELLS_ERRORS_SINCE)
    })
}

/// The first two numbers of a kernel's release, such as `6.1.0-18-amd64`.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::CreateOrWrite => {
                options.write(true).create(true).truncate(false);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
            OpenMode::CreateOrTruncate => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // Names that are not UTF-8 are never ours.
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        fs::exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<bool> {
        let directory = watched(path)?;
        let kind = rustix::fs::fstatfs(&directory)?.f_type;
        let known = FILE_SYSTEMS_WITH_SYNCFS.iter().any(|known| i64::from(*known) == kind);
        if !known || !syncfs_tells_errors() {
            return Ok(false);
        }
        rustix::fs::syncfs(&directory)?;
        Ok(true)
    }

    fn watch_file_system(&self, path: &Path) -> io::Result<()> {
        watched(path).map(drop)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(DiskSpace {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

#[derive(Debug)]
struct RealFile(fs::File);

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_compared_by_number() {
        assert_eq!(kernel_version("6.1.0-18-amd64\n"), Some((6, 1)));
        assert_eq!(kernel_version("5.10"), Some((5, 10)));
        assert!(kernel_version("5.10") >= Some(SYNCFS_TELLS_ERRORS_SINCE));
        assert!(kernel_version("5.7.19") < Some(SYNCFS_TELLS_ERRORS_SINCE));
        assert_eq!(kernel_version("new"), None);
    }
}
