//! The disk-full guard: refuses an append before it begins, while there is still room for what
//! must go on (metadata, indexes, checkpoints).
//!
//! The room is looked at again after so many bytes, and on every refusal, so appends go on by
//! themselves once room returns.

use super::config::Origin;
use crate::env::disk::Disk;
use crate::limits;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The guard of one data directory.
#[derive(Debug)]
pub(super) struct Space {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    reserve_bytes: u64,
    /// Bytes that may be appended before the disk is asked again.
    granted: AtomicI64,
    /// Whether the last look found too little room, so that the change is logged, once.
    full: AtomicBool,
}

impl Space {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path, reserve_bytes: u64) -> Self {
        Self {
            disk,
            dir: dir.to_owned(),
            reserve_bytes,
            granted: AtomicI64::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// Whether `bytes` may be appended; if not, says why.
    pub(super) fn admit(&self, bytes: usize, origin: Origin) -> Result<(), String> {
        let want = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.granted.fetch_sub(want, Ordering::Relaxed) >= want {
            return Ok(());
        }
        let space = match self.disk.space(&self.dir) {
            Ok(space) => space,
            Err(error) => {
                // The append will meet the trouble itself, if it is real.
                tracing::warn!(%error, dir = %self.dir.display(), "the room left is unknown");
                return Ok(());
            }
        };
        let usable = space.available_bytes.saturating_sub(self.reserve_bytes);
        let grant = usable.saturating_sub(bytes as u64).min(limits::DISK_RECHECK_BYTES);
        self.granted.store(i64::try_from(grant).unwrap_or(i64::MAX), Ordering::Relaxed);
        let enough = match origin {
            Origin::Client | Origin::Coordinator | Origin::Replica => bytes as u64 <= usable,
            Origin::Raft => bytes as u64 <= space.available_bytes,
        };
        self.report(enough, space.available_bytes);
        if enough {
            return Ok(());
        }
        Err(format!(
            "{} bytes are available at {}, of which {} are held in reserve",
            space.available_bytes,
            self.dir.display(),
            self.reserve_bytes
        ))
    }

    /// Tells the operator when the disk becomes full, and when there is room again.
    fn report(&self, enough: bool, available_bytes: u64) {
        let was_full = self.full.swap(!enough, Ordering::Relaxed);
        let (dir, reserve_bytes) = (self.dir.display(), self.reserve_bytes);
        match (was_full, enough) {
            (false, false) => tracing::error!(
                %dir, available_bytes, reserve_bytes,
                "the disk is full: records are refused until there is room; delete topics, shorten \
                 retention, or make the disk larger"
            ),
            (true, true) => {
                tracing::info!(%dir, available_bytes, "there is room again: records are taken");
            }
            _ => {}
        }
    }
}
