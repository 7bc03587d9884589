//! A file that at most one process holds.

use std::fs;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// What became of an attempt to hold a lock file.
#[derive(Debug)]
pub enum LockOutcome {
    /// Held until the value is dropped or the process ends, however it ends.
    Held(FileLock),
    /// Another process holds it; the text is what it wrote into the file.
    HeldByOther(String),
}

/// A held lock file.
#[derive(Debug)]
pub struct FileLock {
    _file: fs::File,
}

/// Bytes of a lock file that are read to name its holder.
const HOLDER_BYTES_MAX: u64 = 256;

/// Between two tries of [`hold_within`].
const PAUSE: Duration = Duration::from_millis(20);

/// Tries to hold the lock file at `path`, which is made if it is missing. The file names its
/// holder for people; the lock itself is the kernel's, so a killed process leaves none behind.
///
/// # Errors
/// Those of the file system.
pub fn hold(path: &Path) -> io::Result<LockOutcome> {
    let mut file =
        fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "process {}", std::process::id())?;
            Ok(LockOutcome::Held(FileLock { _file: file }))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // A holder that has not written its name yet, or not in UTF-8, stays unnamed.
            let _ = file.take(HOLDER_BYTES_MAX).read_to_string(&mut holder);
            let holder = holder.trim();
            let name = if holder.is_empty() { "another process" } else { holder };
            Ok(LockOutcome::HeldByOther(name.to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// As [`hold`], but asks again for up to `patience` while another process holds the file.
///
/// # Errors
/// Those of the file system.
pub fn hold_within(path: &Path, patience: Duration) -> io::Result<LockOutcome> {
    let begun = Instant::now();
    loop {
        match hold(path)? {
            LockOutcome::HeldByOther(_) if begun.elapsed() < patience => thread::sleep(PAUSE),
            outcome => return Ok(outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_released_with_its_value() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("lock");
        let LockOutcome::Held(first) = hold(&path).expect("works") else { panic!("not held") };
        let LockOutcome::HeldByOther(holder) = hold(&path).expect("works") else {
            panic!("held twice")
        };
        assert_eq!(holder, format!("process {}", std::process::id()));
        drop(first);
        assert!(matches!(hold(&path).expect("works"), LockOutcome::Held(_)));
    }
}
