//! Names of files, the cache of open ones, and whole small files.

use super::error::Error;
use crate::env::disk::{Disk, DiskFile, OpenMode};
use crate::limits;
use crate::types::Offset;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The kinds of files that are named by an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum FileKind {
    /// Record batches.
    Log,
    /// Offset to position.
    Index,
    /// Time to offset.
    TimeIndex,
    /// Aborted transactions.
    TxnIndex,
    /// Producers at an offset.
    Snapshot,
}

impl FileKind {
    pub(super) const ALL: [Self; 5] =
        [Self::Log, Self::Index, Self::TimeIndex, Self::TxnIndex, Self::Snapshot];

    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::Index => ".index",
            Self::TimeIndex => ".timeindex",
            Self::TxnIndex => ".txnindex",
            Self::Snapshot => ".snapshot",
        }
    }
}

/// Where the file of a kind and an offset lies: the offset in twenty digits, and the suffix.
pub(super) fn path_of(dir: &Path, base: Offset, kind: FileKind) -> PathBuf {
    dir.join(format!("{:020}{}", base.0, kind.suffix()))
}

/// The reverse of [`path_of`]; nothing for any other name.
pub(super) fn parse_name(name: &str) -> Option<(Offset, FileKind)> {
    let (digits, _) = name.split_once('.')?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let suffix = &name[digits.len()..];
    let kind = FileKind::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
    Some((Offset(digits.parse().ok()?), kind))
}

type Key = (u64, FileKind);

#[derive(Default)]
struct Opened {
    files: HashMap<Key, (Arc<dyn DiskFile>, u64)>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
}

/// Open files of segments that are not written to: the least recently used is closed first.
pub(super) struct OpenFiles {
    opened: Mutex<Opened>,
    count_max: usize,
}

impl fmt::Debug for OpenFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenFiles(at most {})", self.count_max)
    }
}

impl OpenFiles {
    pub(super) fn new(count_max: usize) -> Self {
        Self { opened: Mutex::default(), count_max: count_max.max(1) }
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, Opened> {
        // No code that can panic runs under this lock.
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, opened now or earlier.
    pub(super) fn get(
        &self,
        key: Key,
        open: impl FnOnce() -> io::Result<Arc<dyn DiskFile>>,
    ) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.touch(key) {
            return Ok(file);
        }
        let file = open()?;
        self.insert(key, Arc::clone(&file));
        Ok(file)
    }

    fn touch(&self, key: Key) -> Option<Arc<dyn DiskFile>> {
        let mut opened = self.opened();
        opened.uses += 1;
        let now = opened.uses;
        let (file, used) = opened.files.get_mut(&key)?;
        let file = Arc::clone(file);
        let before = std::mem::replace(used, now);
        opened.by_use.remove(&before);
        opened.by_use.insert(now, key);
        Some(file)
    }

    fn insert(&self, key: Key, file: Arc<dyn DiskFile>) {
        let mut closed = Vec::new();
        let mut opened = self.opened();
        opened.uses += 1;
        let now = opened.uses;
        if let Some((old, used)) = opened.files.insert(key, (file, now)) {
            opened.by_use.remove(&used);
            closed.push(old);
        }
        opened.by_use.insert(now, key);
        while opened.files.len() > self.count_max
            && let Some((_, oldest)) = opened.by_use.pop_first()
        {
            closed.extend(opened.files.remove(&oldest).map(|(file, _)| file));
        }
        drop(opened);
        // Closing may take a while; it happens here, without the lock.
        drop(closed);
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.opened().files.len()
    }

    /// Closes all files of a segment.
    pub(super) fn forget(&self, segment: u64) {
        let mut opened = self.opened();
        let mut closed = Vec::new();
        for kind in FileKind::ALL {
            if let Some((file, used)) = opened.files.remove(&(segment, kind)) {
                opened.by_use.remove(&used);
                closed.push(file);
            }
        }
        drop(opened);
        drop(closed);
    }
}

/// Reads a whole small file; `None` when it is not there.
///
/// # Errors
/// [`Error::Malformed`] when it is too large, and those of the disk.
pub fn read_small(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let length = file.len().map_err(Error::io(path))?;
    if length > limits::SMALL_FILE_BYTES_MAX {
        return Err(Error::Malformed {
            path: path.to_owned(),
            what: format!("{length} bytes are too many"),
        });
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = file.read_at(&mut bytes, 0).map_err(Error::io(path))?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Replaces a whole small file in one durable step: temporary file, sync, rename, directory sync.
///
/// # Errors
/// Those of the disk.
pub fn replace_small(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let file = disk.open(&temporary, OpenMode::CreateOrTruncate)?;
    file.write_all_at(bytes, 0)?;
    file.sync_data()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk_memory::MemoryDisk;

    #[test]
    fn names_have_twenty_digits() {
        let path = path_of(Path::new("d"), Offset(42), FileKind::TimeIndex);
        assert_eq!(path, Path::new("d/00000000000000000042.timeindex"));
        let parsed = parse_name("00000000000000000042.timeindex");
        assert_eq!(parsed, Some((Offset(42), FileKind::TimeIndex)));
        for other in ["42.log", "00000000000000000042.log.deleted", "x", "99999999999999999999.log"]
        {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn the_least_recently_used_file_is_closed() {
        let disk = MemoryDisk::new();
        let files = OpenFiles::new(2);
        let mut opens = 0;
        let mut get = |segment| {
            let open = || {
                opens += 1;
                disk.open(Path::new("/f"), OpenMode::CreateOrWrite)
            };
            files.get((segment, FileKind::Log), open).expect("open");
            opens
        };
        assert_eq!((get(1), get(2), get(1), get(3)), (1, 2, 2, 3));
        assert_eq!(get(1), 3, "1 was used after 2");
        assert_eq!(get(2), 4, "2 was closed");
        files.forget(2);
        let opened = files.opened();
        assert_eq!(opened.files.len(), opened.by_use.len());
    }
}
