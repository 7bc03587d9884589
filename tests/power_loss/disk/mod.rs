//! A real file system whose power can be cut: a FUSE mount that keeps what was synced and, when
//! told so, drops the rest. The machine's kernel and the binary under test see an ordinary
//! directory.
//!
//! What it promises is what `env/disk.rs` asks of a disk, and no more:
//! - A file's bytes and length are durable after fsync or fdatasync of that file. A name that was
//!   made, moved or removed is durable after fsync of its directory; syncing a new file does not
//!   keep its name. A directory that is not durable takes all in it along.
//! - A rename is one step, also from one directory to another: the cut leaves both names or neither
//!   changed.
//! - [`PowerDisk::power_cycle`] decides by seed what becomes of the rest: of each file's unsynced
//!   writes none, all, the first ones, or loose ones, and of each of those the whole, the beginning
//!   or loose 512-byte sectors; of each directory's unsynced names none, all, the first ones, or
//!   loose ones.
//! - A sync that was made to fail loses what it should have kept, for good; later syncs of the file
//!   keep only what was written after it.
//!
//! What it does not do: `syncfs` and `sync` never reach a FUSE file system, so they keep nothing;
//! hard links, symbolic links and extended attributes are refused; nothing survives the process
//! that serves the mount. It needs root and /dev/fuse, and no helper program: it mounts by itself.
//!
//! [`volume`] is what is on the disk (plain code, no FUSE); [`content`] is one file of it;
//! [`mount`] hands the kernel's requests over.

#![allow(dead_code, reason = "each test target uses its own part of this")]

pub mod content;
pub mod mount;
pub mod volume;

use mount::Served;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use volume::Volume;

pub use volume::{Fault, Losses, On};

/// How much a power cut takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// All that was not synced.
    Everything,
    /// What the seed says.
    Seeded(u64),
}

/// A mounted disk. Dropping it unmounts it; its bytes lie in the store until somebody removes that.
pub struct PowerDisk {
    volume: Shared,
    at: PathBuf,
    session: Option<fuser::BackgroundSession>,
}

/// The volume, for the mount and for the test.
pub(crate) type Shared = Arc<Mutex<Volume>>;

pub(crate) fn lock(volume: &Shared) -> MutexGuard<'_, Volume> {
    // A panic elsewhere has failed the test; the volume itself is never half changed.
    volume.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PowerDisk {
    /// An empty disk, mounted at `at`, with its bytes in files below `store`; both directories have
    /// to be there and empty.
    ///
    /// # Errors
    /// When it cannot be mounted; the text says what is needed.
    pub fn mount(store: &Path, at: &Path) -> io::Result<Self> {
        let volume = Arc::new(Mutex::new(Volume::new(store)?));
        let mut disk = Self { volume, at: at.to_owned(), session: None };
        disk.session = Some(disk.serve()?);
        Ok(disk)
    }

    fn serve(&self) -> io::Result<fuser::BackgroundSession> {
        let mut config = fuser::Config::default();
        config.mount_options = vec![
            fuser::MountOption::FSName("purlin-power".to_owned()),
            fuser::MountOption::NoAtime,
        ];
        let served = Served::new(Arc::clone(&self.volume));
        fuser::spawn_mount(served, &self.at, &config).map_err(|error| {
            let needs = "mounting a FUSE file system needs root and /dev/fuse (`modprobe fuse`)";
            io::Error::new(error.kind(), format!("{}: {error}; {needs}", self.at.display()))
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// From now on every request fails: the moment of the cut. Whoever wants processes to die at
    /// that moment kills them first, since a real one takes them along.
    pub fn power_off(&self) {
        lock(&self.volume).power_off();
    }

    /// Cuts the power, drops what the cut takes, and mounts what is left. No process may have a
    /// file open.
    ///
    /// # Errors
    /// When it is still in use, or cannot be mounted.
    pub fn power_cycle(&mut self, cut: Cut) -> io::Result<Losses> {
        self.power_off();
        self.unmount()?;
        let losses = lock(&self.volume).boot(cut)?;
        self.session = Some(self.serve()?);
        Ok(losses)
    }

    fn unmount(&mut self) -> io::Result<()> {
        match self.session.take() {
            // A process that was killed a moment ago may still be closing its files.
            Some(session) => session.umount_and_join(),
            None => Ok(()),
        }
    }

    /// With `true`, syncs answer with success and keep nothing: a device that lies.
    pub fn ignore_syncs(&self, ignore: bool) {
        lock(&self.volume).ignore_syncs = ignore;
    }

    /// Lets operations fail from now on, until it is lifted.
    pub fn inject(&self, fault: Fault) {
        lock(&self.volume).faults.push(fault);
    }

    /// Lifts all faults.
    pub fn lift_faults(&self) {
        lock(&self.volume).faults.clear();
    }

    /// Limits the bytes of all files together; writes that need more get ENOSPC. None lifts it.
    pub fn set_capacity(&self, bytes_max: Option<u64>) {
        lock(&self.volume).bytes_max = bytes_max;
    }

    /// Syncs of files and directories that succeeded so far.
    pub fn syncs(&self) -> u64 {
        lock(&self.volume).syncs
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        // Nothing more can be done about a mount that is in use; it ends with this process.
        let _ = self.unmount();
    }
}
