//! Small files that are whole or not there: votes, marks, snapshots.
//!
//! ```text
//!  0  magic            8 bytes, one for each kind of file
//!  8  payload length   u64, little-endian
//! 16  checksum         u32, little-endian: CRC-32C of bytes 0 to 15 and of the payload
//! 20  payload          begins with its own version byte
//! ```
//!
//! Invariant: once [`replace`] has returned, a power cut leaves the new content; before, the old or
//! the new one, never a mixture.

use super::super::state::codec::CodecError;
use crate::env::disk::{Disk, OpenMode};
use crate::limits::METADATA_SNAPSHOT_BYTES_MAX;
use std::io;
use std::path::Path;

/// Bytes in front of the payload.
const HEADER_BYTES: usize = 20;

/// What tells a file that is being written from a finished one.
pub(super) const TEMPORARY: &str = ".tmp";

/// What a kind of file begins with.
pub(super) type Magic = [u8; 8];

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The disk refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The content is not what was written.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The content is whole, in a version that this program does not know.
    #[error("{0}")]
    Version(String),
}

impl From<CodecError> for FileError {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Version { .. } => Self::Version(error.to_string()),
            CodecError::Malformed(what) => Self::Damaged(what),
        }
    }
}

/// Writes `dir/name`, or replaces it, durably.
pub(super) fn replace(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    magic: Magic,
    payload: &[u8],
) -> io::Result<()> {
    let temporary = dir.join(format!("{name}{TEMPORARY}"));
    let file = disk.open(&temporary, OpenMode::CreateOrTruncate)?;
    file.write_all_at(&header(magic, payload), 0)?;
    file.write_all_at(payload, HEADER_BYTES as u64)?;
    file.sync_data()?;
    drop(file);
    disk.rename(&temporary, &dir.join(name))?;
    disk.sync_dir(dir)
}

/// Reads what [`replace`] wrote; nothing if there is no such file.
pub(super) fn read(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    magic: Magic,
) -> Result<Option<Vec<u8>>, FileError> {
    let file = match disk.open(&dir.join(name), OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let damaged = |what: String| Err(FileError::Damaged(what));
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if !(HEADER_BYTES..=HEADER_BYTES + METADATA_SNAPSHOT_BYTES_MAX).contains(&length) {
        return damaged(format!("it has {length} bytes"));
    }
    let mut bytes = vec![0; length];
    if file.read_at(&mut bytes, 0)? != length {
        return damaged("it got shorter while it was read".to_owned());
    }
    let payload = bytes.split_off(HEADER_BYTES);
    if bytes != header(magic, &payload) {
        return damaged("its header does not fit its content".to_owned());
    }
    Ok(Some(payload))
}

fn header(magic: Magic, payload: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&magic);
    header[8..16].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..16]), payload);
    header[16..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Removes what an interrupted [`replace`] left in a directory.
pub(super) fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for entry in disk.list(dir)? {
        if !entry.is_dir && entry.name.ends_with(TEMPORARY) {
            disk.remove_file(&dir.join(entry.name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk::RealDisk;

    const MAGIC: Magic = *b"TESTFILE";

    #[test]
    fn files_come_back_and_any_flipped_bit_or_cut_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = RealDisk;
        let read_it = || read(&disk, dir.path(), "f", MAGIC);
        assert!(matches!(read_it(), Ok(None)));
        replace(&disk, dir.path(), "f", MAGIC, b"first").expect("written");
        replace(&disk, dir.path(), "f", MAGIC, b"hello").expect("written");
        assert_eq!(read_it().expect("whole").as_deref(), Some(&b"hello"[..]));
        assert!(matches!(read(&disk, dir.path(), "f", *b"OTHERONE"), Err(FileError::Damaged(_))));
        let whole = std::fs::read(dir.path().join("f")).expect("there");
        assert_eq!(whole, b"TESTFILE\x05\0\0\0\0\0\0\0\xf4\x80T\xc4hello");
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(dir.path().join("f"), &flipped).expect("written");
            assert!(matches!(read_it(), Err(FileError::Damaged(_))), "byte {at}");
            std::fs::write(dir.path().join("f"), &whole[..at]).expect("written");
            assert!(matches!(read_it(), Err(FileError::Damaged(_))), "cut at {at}");
        }
    }
}
