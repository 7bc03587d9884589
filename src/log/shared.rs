//! What all logs of one data directory share.

use super::files::OpenFiles;
use super::space::Space;
use super::tail::TailBudget;
use crate::env::disk::Disk;
use crate::limits;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bounds of [`Shared`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedBounds {
    /// Files of segments that are not written to, kept open.
    pub open_files_max: usize,
    /// Bytes of recent batches kept in memory.
    pub tail_bytes_max: usize,
    /// Room on the disk that produces leave alone.
    pub reserve_bytes: u64,
}

impl Default for SharedBounds {
    fn default() -> Self {
        Self {
            open_files_max: limits::OPEN_SEGMENT_FILES_MAX,
            tail_bytes_max: limits::TAIL_CACHE_BYTES_MAX,
            reserve_bytes: limits::DISK_RESERVE_BYTES,
        }
    }
}

/// What all logs of one data directory share: open files, the tail cache's budget, the room left.
#[derive(Debug)]
pub struct Shared {
    pub(super) open_files: OpenFiles,
    pub(super) tails: TailBudget,
    pub(super) space: Space,
    segments: AtomicU64,
}

impl Shared {
    /// For the logs under `data_dir`, with the bounds of `limits`.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, data_dir: &Path) -> Arc<Self> {
        Self::with_bounds(disk, data_dir, SharedBounds::default())
    }

    /// For the logs under `data_dir`, with bounds of one's own.
    #[must_use]
    pub fn with_bounds(disk: Arc<dyn Disk>, data_dir: &Path, bounds: SharedBounds) -> Arc<Self> {
        Arc::new(Self {
            open_files: OpenFiles::new(bounds.open_files_max),
            tails: TailBudget::new(bounds.tail_bytes_max),
            space: Space::new(disk, data_dir, bounds.reserve_bytes),
            segments: AtomicU64::new(0),
        })
    }

    /// A number that no other open segment has.
    pub(super) fn next_segment_id(&self) -> u64 {
        self.segments.fetch_add(1, Ordering::Relaxed)
    }
}
