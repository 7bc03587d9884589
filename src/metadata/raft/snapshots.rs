//! Snapshots of the applied state, in files.
//!
//! The payload of a snapshot, which is also what travels to other nodes:
//!
//! ```text
//! version u8 | cluster id 16 | count u64 | count times: key length u32, key, value length u32, value
//! | checksum u32: CRC-32C of all before
//! ```
//!
//! A file holds a version byte, the length of the snapshot's metadata, that metadata, and the
//! payload, all inside a [`checked_file`]. Numbers are little-endian.
//!
//! Invariants: a snapshot that was announced is durable; the newest few are kept, so that a damaged
//! one can be replaced by an older one together with the log behind it; the log is cut only up to
//! the oldest of them.

use super::super::state::State;
use super::super::state::codec::{self, CodecError};
use super::super::state::record::{self, Loader};
use super::checked_file::{self, FileError, Magic};
use super::types::{LogId, SnapshotMeta};
use crate::env::disk::Disk;
use crate::limits::METADATA_SNAPSHOTS_KEPT;
use crate::types::ClusterId;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) const MAGIC: Magic = *b"PURLSNAP";
const SUFFIX: &str = ".snapshot";
const VERSION: u8 = 1;

/// A snapshot in memory: what it covers, and its payload.
pub(super) type Loaded = (SnapshotMeta, Vec<u8>);

/// The snapshots of one member.
#[derive(Debug)]
pub(super) struct Snapshots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// What is known to be on disk and whole, oldest first.
    kept: Mutex<Vec<SnapshotMeta>>,
}

impl Snapshots {
    /// Looks at what is there. Damaged files are set aside, loudly: older ones take their place.
    /// Returns the newest whole one, too.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<(Self, Option<Loaded>)> {
        checked_file::remove_leftovers(&*disk, &dir)?;
        let this = Self { disk, dir, kept: Mutex::new(Vec::new()) };
        let mut newest = None;
        for entry in this.disk.list(&this.dir)? {
            if entry.is_dir || !entry.name.ends_with(SUFFIX) {
                continue;
            }
            match this.read_file(&entry.name) {
                Ok(Some((meta, payload))) => {
                    this.lock().push(meta.clone());
                    newest = Some((meta, payload));
                }
                Ok(None) => {}
                Err(FileError::Io(error)) => return Err(error),
                Err(FileError::Version(what)) => {
                    // Whole, and newer than the others: going back to an older one would be wrong.
                    return Err(io::Error::other(format!("{}: {what}", entry.name)));
                }
                Err(FileError::Damaged(what)) => {
                    tracing::error!(file = entry.name, what, "a metadata snapshot is damaged");
                    let damaged = format!("{}.damaged", entry.name);
                    this.disk.rename(&this.dir.join(&entry.name), &this.dir.join(damaged))?;
                    this.disk.sync_dir(&this.dir)?;
                }
            }
        }
        Ok((this, newest))
    }

    /// Writes a snapshot, durably, and drops those that are older than the newest few.
    pub(super) fn save(&self, meta: &SnapshotMeta, payload: &[u8]) -> io::Result<()> {
        let meta_bytes = codec::encode(VERSION, meta);
        let length = u32::try_from(meta_bytes.len()).map_err(io::Error::other)?;
        let bytes = [&[VERSION][..], &length.to_le_bytes(), &meta_bytes, payload].concat();
        checked_file::replace(&*self.disk, &self.dir, &file_name(meta), MAGIC, &bytes)?;
        let mut kept = self.lock();
        kept.retain(|other| file_name(other) != file_name(meta));
        kept.push(meta.clone());
        kept.sort_by_key(file_name);
        while kept.len() > METADATA_SNAPSHOTS_KEPT {
            let oldest = kept.remove(0);
            self.disk.remove_file(&self.dir.join(file_name(&oldest)))?;
        }
        Ok(())
    }

    /// The newest snapshot.
    pub(super) fn newest(&self) -> Result<Option<Loaded>, FileError> {
        let Some(meta) = self.newest_meta() else { return Ok(None) };
        match self.read_file(&file_name(&meta))? {
            Some(found) => Ok(Some(found)),
            None => Err(FileError::Damaged(format!("{} is gone", file_name(&meta)))),
        }
    }

    /// What the newest snapshot reaches.
    pub(super) fn newest_meta(&self) -> Option<SnapshotMeta> {
        self.lock().last().cloned()
    }

    /// Up to where the log may be cut: what the oldest snapshot that is kept reaches.
    pub(super) fn oldest_log_id(&self) -> Option<LogId> {
        self.lock().first()?.last_log_id
    }

    fn read_file(&self, name: &str) -> Result<Option<Loaded>, FileError> {
        read_at(&*self.disk, &self.dir, name)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SnapshotMeta>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The metadata and payload in a snapshot's file.
pub(super) fn read_at(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
) -> Result<Option<Loaded>, FileError> {
    let Some(mut bytes) = checked_file::read(disk, dir, name, MAGIC)? else {
        return Ok(None);
    };
    let damaged = |what: &str| FileError::Damaged(what.to_owned());
    match bytes.first() {
        Some(&VERSION) => {}
        Some(found) => {
            return Err(CodecError::Version { found: *found, known: VERSION }.into());
        }
        None => return Err(damaged("it is empty")),
    }
    let length = bytes.get(1..5).and_then(|field| field.try_into().ok());
    let length = u32::from_le_bytes(length.ok_or_else(|| damaged("it is cut short"))?);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if bytes.len() - 5 < length {
        return Err(damaged("it is cut short"));
    }
    let payload = bytes.split_off(5 + length);
    Ok(Some((codec::decode(VERSION, &bytes[5..])?, payload)))
}

/// Sorts as the snapshots do: by index, then by term.
fn file_name(meta: &SnapshotMeta) -> String {
    let (index, term) = meta
        .last_log_id
        .map_or((0, 0), |log_id| (log_id.index.saturating_add(1), log_id.leader_id.term));
    format!("{index:020}-{term:010}{SUFFIX}")
}

/// The payload for a state.
pub(super) fn encode(cluster_id: ClusterId, state: &State) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&cluster_id.0);
    let count_at = bytes.len();
    bytes.extend_from_slice(&[0; 8]);
    let mut count = 0u64;
    record::visit(state, |key, value| {
        count += 1;
        for part in [key, value] {
            let length = u32::try_from(part.len()).expect("invariant: records are small");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&part);
        }
    });
    bytes[count_at..count_at + 8].copy_from_slice(&count.to_le_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The state in a payload.
pub(super) fn decode(cluster_id: ClusterId, bytes: &[u8]) -> Result<State, String> {
    let cut = || "it is cut short".to_owned();
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(cut)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err("its checksum is wrong".to_owned());
    }
    let (version, rest) = body.split_first().ok_or_else(cut)?;
    if *version != VERSION {
        return Err(format!("version {version} is not known; this program reads {VERSION}"));
    }
    let (cluster, rest) = rest.split_first_chunk::<16>().ok_or_else(cut)?;
    if ClusterId(*cluster) != cluster_id {
        return Err(format!("it is of cluster {}, not {cluster_id}", ClusterId(*cluster)));
    }
    let (count, mut rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let mut loader = Loader::default();
    for _ in 0..u64::from_le_bytes(*count) {
        let key = take(&mut rest).ok_or_else(cut)?;
        let value = take(&mut rest).ok_or_else(cut)?;
        loader.add(key, value).map_err(|error| error.to_string())?;
    }
    if !rest.is_empty() {
        return Err(format!("{} bytes are left over", rest.len()));
    }
    loader.finish().map_err(|error| error.to_string())
}

/// Splits off the next part, which its length stands before.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (part, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::super::types::Membership;
    use super::*;
    use crate::env::disk::RealDisk;
    use openraft::CommittedLeaderId;

    const CLUSTER: ClusterId = ClusterId([7; 16]);

    fn meta(index: u64) -> SnapshotMeta {
        let last_log_id = Some(LogId::new(CommittedLeaderId::new(1, 1), index));
        let last_membership = Membership::default();
        SnapshotMeta { last_log_id, last_membership, snapshot_id: format!("s{index}") }
    }

    fn open(dir: &tempfile::TempDir) -> (Snapshots, Option<Loaded>) {
        std::fs::create_dir_all(dir.path().join("snapshots")).expect("made");
        Snapshots::open(Arc::new(RealDisk), dir.path().join("snapshots")).expect("opens")
    }

    #[test]
    fn the_newest_few_are_kept_and_a_damaged_one_gives_way_to_the_one_before() {
        let dir = tempfile::tempdir().expect("a directory");
        let (snapshots, newest) = open(&dir);
        assert_eq!(newest, None);
        for index in [5, 9, 10, 100, 1000] {
            snapshots.save(&meta(index), format!("payload {index}").as_bytes()).expect("saved");
        }
        assert_eq!(snapshots.oldest_log_id(), meta(10).last_log_id);
        let newest = snapshots.newest().expect("whole");
        assert_eq!(newest, Some((meta(1000), b"payload 1000".to_vec())));

        let file = dir.path().join("snapshots").join(file_name(&meta(1000)));
        let mut bytes = std::fs::read(&file).expect("there");
        let last = bytes.len() - 1;
        bytes[last] ^= 0x40;
        std::fs::write(&file, bytes).expect("written");
        let (reopened, newest) = open(&dir);
        assert_eq!(newest, Some((meta(100), b"payload 100".to_vec())));
        assert_eq!(reopened.newest_meta(), Some(meta(100)));
        let (_, again) = open(&dir);
        assert_eq!(again.map(|(meta, _)| meta), Some(meta(100)));
    }

    #[test]
    fn payloads_of_other_clusters_or_with_flipped_bits_are_refused() {
        let state = State::default();
        let bytes = encode(CLUSTER, &state);
        assert_eq!(decode(CLUSTER, &bytes), Ok(state));
        assert!(decode(ClusterId([8; 16]), &bytes).expect_err("other").contains("of cluster"));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(decode(CLUSTER, &flipped).is_err(), "byte {at}");
            assert!(decode(CLUSTER, &bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_snapshot_of_a_newer_version_is_neither_read_nor_set_aside() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("snapshots");
        let (snapshots, _) = open(&dir);
        snapshots.save(&meta(5), b"older").expect("saved");
        let newer = file_name(&meta(6));
        checked_file::replace(&RealDisk, &path, &newer, MAGIC, &[VERSION + 1, 0]).expect("saved");
        let error = Snapshots::open(Arc::new(RealDisk), path.clone()).expect_err("refused");
        assert!(error.to_string().contains("format version 2 is not known"), "{error}");
        assert!(path.join(newer).exists());
    }

    /// The format of version 1. If this fails, old data directories can no longer be read.
    #[test]
    fn golden_bytes_of_a_snapshot_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let (snapshots, _) = open(&dir);
        snapshots.save(&meta(5), b"payload").expect("saved");
        let name = "00000000000000000006-0000000001.snapshot";
        let bytes = std::fs::read(dir.path().join("snapshots").join(name)).expect("there");
        assert!(bytes.starts_with(b"PURLSNAP\x17\0\0\0\0\0\0\0"), "{}", bytes.escape_ascii());
        assert_eq!(
            bytes[20..].escape_ascii().to_string(),
            r"\x01\x0b\x00\x00\x00\x01\x01\x01\x01\x05\x00\x00\x00\x02s5payload"
        );
    }

    /// The format of version 1. If this fails, old data directories can no longer be read.
    #[test]
    fn golden_bytes_of_a_payload() {
        let bytes = encode(CLUSTER, &State::default());
        let body = &bytes[..bytes.len() - 4];
        let id = r"\x07".repeat(16);
        assert_eq!(
            body.escape_ascii().to_string(),
            format!(
                r"\x01{id}\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00i\x02\x00\x00\x00\x02\x00"
            )
        );
    }
}
