//! openraft's own suite, on a disk in memory and on a real one.

use super::super::types::{StorageError, TypeConfig};
use super::super::{LogStore, Machine, open};
use super::*;
use crate::env::disk::RealDisk;
use crate::env::disk_memory::MemoryDisk;
use crate::metadata::publisher::Publisher;
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

struct Builder {
    real: bool,
}

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError> {
        let guard = tempfile::tempdir().expect("a directory");
        let disk: Arc<dyn Disk> =
            if self.real { Arc::new(RealDisk) } else { Arc::new(MemoryDisk::new()) };
        let mut options = options(disk, &guard.path().join("state"));
        if self.real {
            options.dir = guard.path().join("metadata");
        }
        let member = open(&options, Publisher::new(CLUSTER)).expect("opens");
        Ok((guard, member.log, member.machine))
    }
}

#[test]
fn openrafts_storage_suite_passes_in_memory() {
    Suite::test_all(Builder { real: false }).expect("the suite passes");
}

#[test]
fn openrafts_storage_suite_passes_on_a_real_disk() {
    Suite::test_all(Builder { real: true }).expect("the suite passes");
}
