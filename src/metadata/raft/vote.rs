//! The vote, and two marks on the log: what a member of the group must never forget.
//!
//! Invariants: [`save_vote`] returns only once the vote survives a power cut; the engine answers a
//! candidate only after that. The purge mark is written before anything is cut from the log's
//! beginning. The flush mark never lies beyond what is flushed and meant to stay.

use super::super::state::codec;
use super::checked_file::{self, FileError, Magic};
use super::types::{LogId, Vote};
use crate::env::disk::Disk;
use std::io;
use std::path::Path;

const VOTE: &str = "vote";
pub(super) const VOTE_MAGIC: Magic = *b"PURLVOTE";
const PURGED: &str = "purged";
pub(super) const PURGED_MAGIC: Magic = *b"PURLPURG";
const FLUSHED: &str = "flushed";
pub(super) const FLUSHED_MAGIC: Magic = *b"PURLFLSH";
const VERSION: u8 = 1;

/// Writes the vote, durably.
pub(super) fn save_vote(disk: &dyn Disk, dir: &Path, vote: &Vote) -> io::Result<()> {
    checked_file::replace(disk, dir, VOTE, VOTE_MAGIC, &codec::encode(VERSION, vote))
}

/// The last vote written; nothing on a new member. A damaged one is an error, and must stay one:
/// who forgets a vote could vote twice.
pub(super) fn read_vote(disk: &dyn Disk, dir: &Path) -> Result<Option<Vote>, FileError> {
    read_as(disk, dir, VOTE, VOTE_MAGIC)
}

/// Notes, durably, that the log begins behind this entry.
pub(super) fn save_purged(disk: &dyn Disk, dir: &Path, purged: &LogId) -> io::Result<()> {
    checked_file::replace(disk, dir, PURGED, PURGED_MAGIC, &codec::encode(VERSION, purged))
}

/// What [`save_purged`] noted last; nothing while the log begins at its beginning.
pub(super) fn read_purged(disk: &dyn Disk, dir: &Path) -> Result<Option<LogId>, FileError> {
    read_as(disk, dir, PURGED, PURGED_MAGIC)
}

/// Notes, durably, that the entries below this index are durable.
pub(super) fn save_flushed(disk: &dyn Disk, dir: &Path, end: u64) -> io::Result<()> {
    checked_file::replace(disk, dir, FLUSHED, FLUSHED_MAGIC, &codec::encode(VERSION, &end))
}

/// What [`save_flushed`] noted last.
pub(super) fn read_flushed(disk: &dyn Disk, dir: &Path) -> Result<Option<u64>, FileError> {
    read_as(disk, dir, FLUSHED, FLUSHED_MAGIC)
}

/// Reads the value in one of the small files.
pub(super) fn read_as<T: serde::de::DeserializeOwned>(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    magic: Magic,
) -> Result<Option<T>, FileError> {
    let Some(payload) = checked_file::read(disk, dir, name, magic)? else { return Ok(None) };
    Ok(Some(codec::decode(VERSION, &payload)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk::RealDisk;
    use openraft::CommittedLeaderId;

    /// The formats of version 1. If this fails, old data directories can no longer be read.
    #[test]
    fn golden_bytes_of_vote_and_purge_mark() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        assert!(matches!(read_vote(&RealDisk, path), Ok(None)));
        let vote = Vote::new_committed(5, 3);
        save_vote(&RealDisk, path, &vote).expect("written");
        assert_eq!(read_vote(&RealDisk, path).expect("whole"), Some(vote));
        let purged = LogId::new(CommittedLeaderId::new(4, 1), 300);
        save_purged(&RealDisk, path, &purged).expect("written");
        assert_eq!(read_purged(&RealDisk, path).expect("whole"), Some(purged));
        let shown = |name: &str| {
            let bytes = std::fs::read(path.join(name)).expect("there");
            bytes.escape_ascii().to_string()
        };
        let vote_bytes = shown("vote");
        assert!(
            vote_bytes.starts_with(r"PURLVOTE\x04\x00\x00\x00\x00\x00\x00\x00"),
            "{vote_bytes}"
        );
        assert!(vote_bytes.ends_with(r"\x01\x05\x03\x01"), "{vote_bytes}");
        save_flushed(&RealDisk, path, 301).expect("written");
        assert_eq!(read_flushed(&RealDisk, path).expect("whole"), Some(301));
        let flushed_bytes = shown("flushed");
        assert!(flushed_bytes.ends_with(r"\x01\xfb-\x01"), "{flushed_bytes}");
        let purged_bytes = shown("purged");
        assert!(purged_bytes.ends_with(r"\x01\x04\x01\xfb,\x01"), "{purged_bytes}");
    }
}
