//! `damaged-from`: where this replica's bytes cannot be trusted, remembered until they are cut and
//! copied from another replica.
//!
//! Without the file a clean restart would not look at old segments, and the damage would be found
//! only by the next reader, who may be the one that needs the records to be there.

use super::checkpoint::{encode_rows, parse_rows};
use super::core::Log;
use super::error::Error;
use super::files;
use crate::types::Offset;
use std::io;

/// The file's name.
pub(super) const FILE: &str = "damaged-from";

impl Log {
    /// The first offset of the first batch that is known to be damaged.
    #[must_use]
    pub fn damaged_from(&self) -> Option<Offset> {
        self.damaged_from
    }

    /// Remembers, durably, that the batch at `offset` is damaged.
    ///
    /// # Errors
    /// Those of the disk; it is remembered in memory all the same.
    pub fn mark_damaged(&mut self, offset: Offset) -> Result<(), Error> {
        if self.damaged_from.is_some_and(|from| from <= offset) {
            return Ok(());
        }
        self.damaged_from = Some(offset);
        let path = self.dir.join(FILE);
        let text = encode_rows(std::iter::once(offset.to_string()));
        files::replace_small(&*self.disk, &path, text.as_bytes()).map_err(Error::io(&path))
    }

    /// Reads what an earlier run remembered. A file that makes no sense is as good as damage from
    /// the start on: it says that there was some.
    pub(super) fn load_damage(&mut self) -> Result<(), Error> {
        let path = self.dir.join(FILE);
        let Some(bytes) = files::read_small(&*self.disk, &path)? else { return Ok(()) };
        let text = String::from_utf8(bytes).unwrap_or_default();
        let offset = parse_rows(&text).and_then(|rows| rows.first()?.parse().ok());
        let offset = Offset(offset.unwrap_or(0)).max(self.start);
        self.damaged_from = (offset < self.end).then_some(offset);
        if self.damaged_from.is_none() {
            self.remove_damage_file()?;
        }
        Ok(())
    }

    /// What was damaged is gone, if the log ends or starts beyond it now.
    pub(super) fn settle_damage(&mut self) -> Result<(), Error> {
        match self.damaged_from {
            Some(from) if from >= self.end || from < self.start => {
                self.damaged_from = None;
                self.remove_damage_file()
            }
            _ => Ok(()),
        }
    }

    fn remove_damage_file(&mut self) -> Result<(), Error> {
        let path = self.dir.join(FILE);
        match self.disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(&path)(error)),
            _ => self.disk.sync_dir(&self.dir).map_err(Error::io(&self.dir)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::env::clock::ManualClock;
    use crate::env::disk::{Disk, OpenMode};
    use crate::env::disk_memory::MemoryDisk;
    use crate::log::{Log, LogConfig, OpenHints, Origin};
    use crate::protocol::records::{BatchBuilder, Compression};
    use crate::types::{LeaderEpoch, Offset, TimestampMs};
    use std::path::Path;
    use std::sync::Arc;

    const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

    fn open(disk: &MemoryDisk) -> Log {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let clock = Arc::new(ManualClock::at(NOW));
        let dir = Path::new("/d/t-0");
        let opened = Log::open(shared, dir, LogConfig::default(), clock, OpenHints::default());
        opened.expect("opens").0
    }

    #[test]
    fn the_damage_file_is_text_and_nonsense_means_everything() {
        let disk = MemoryDisk::new();
        let mut log = open(&disk);
        for _ in 0..3 {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.append(NOW, None, Some(b"value"), &[]);
            let epoch = LeaderEpoch(0);
            log.append_as_leader(builder.build(), epoch, Origin::Client).expect("appended");
        }
        assert_eq!(log.damaged_from(), None);
        log.mark_damaged(Offset(2)).expect("written");
        log.mark_damaged(Offset(1)).expect("written");
        log.mark_damaged(Offset(2)).expect("nothing to do");
        let path = Path::new("/d/t-0/damaged-from");
        let file = disk.open(path, OpenMode::Read).expect("there");
        let mut text = [0; 16];
        let read = file.read_at(&mut text, 0).expect("read");
        assert_eq!(&text[..read], b"0\n1\n1\n");
        log.close().expect("closed");
        let mut log = open(&disk);
        assert_eq!(log.damaged_from(), Some(Offset(1)));
        log.truncate_to(Offset(2)).expect("cut");
        assert_eq!(log.damaged_from(), Some(Offset(1)), "still there");
        log.truncate_to(Offset(1)).expect("cut");
        assert_eq!(log.damaged_from(), None);
        assert!(!disk.exists(path).expect("looked"));
        // Nonsense says that there was some damage, not where.
        let file = disk.open(path, OpenMode::CreateOrTruncate).expect("made");
        file.write_all_at(b"what", 0).expect("written");
        file.sync_data().expect("synced");
        log.close().expect("closed");
        let mut log = open(&disk);
        assert_eq!(log.damaged_from(), Some(Offset(0)));
        log.reset_to(Offset(5)).expect("reset");
        assert!(!disk.exists(path).expect("looked"));
    }
}
