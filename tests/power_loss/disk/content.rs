//! One file: its bytes as they are now, in a file of the store, and what it takes to go back to
//! what was synced.
//!
//! Each unsynced change keeps what it replaced. A power cut undoes all of them, last first, learns
//! the new bytes on the way, and does again those that survive.

use purlin::env::rng::Seeded;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

/// What a power cut does with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Not synced: chance decides.
    Open,
    /// Synced, but behind one that a failed sync has doomed.
    Kept,
    /// A sync that should have kept it failed.
    Doomed,
}

#[derive(Debug)]
enum Change {
    Write { position: u64, count: usize, old: Vec<u8>, length_before: u64 },
    Length { length_before: u64, cut_off: Vec<u8> },
}

/// A change with its new bytes, to be done again.
enum Again {
    Write { position: u64, bytes: Vec<u8> },
    Length(u64),
}

/// The bytes of a file.
#[derive(Debug)]
pub struct Content {
    file: File,
    length: u64,
    unsynced: Vec<(Change, Fate)>,
}

impl Content {
    /// An empty file, on top of an empty file of the store.
    pub fn new(file: File) -> Self {
        Self { file, length: 0, unsynced: Vec::new() }
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Changes that a power cut may take.
    pub fn unsynced(&self) -> usize {
        self.unsynced.iter().filter(|(_, fate)| *fate != Fate::Kept).count()
    }

    /// Up to `count` bytes from `position`; fewer at the end only.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read(&self, position: u64, count: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length.saturating_sub(position)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; count.min(left)];
        self.file.read_exact_at(&mut bytes, position)?;
        Ok(bytes)
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn write(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let old = self.read(position, bytes.len())?;
        let (count, length_before) = (bytes.len(), self.length);
        self.file.write_all_at(bytes, position)?;
        self.length = self.length.max(position + bytes.len() as u64);
        self.unsynced.push((Change::Write { position, count, old, length_before }, Fate::Open));
        Ok(())
    }

    /// Cuts the file, or lets it grow with zeros.
    ///
    /// # Errors
    /// Those of the store.
    pub fn set_len(&mut self, length: u64) -> io::Result<()> {
        let length_before = self.length;
        let cut = usize::try_from(length_before.saturating_sub(length)).expect("fits in memory");
        let cut_off = self.read(length, cut)?;
        self.resize(length)?;
        self.unsynced.push((Change::Length { length_before, cut_off }, Fate::Open));
        Ok(())
    }

    fn resize(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.length = length;
        Ok(())
    }

    /// Makes all that is there durable, except what a failed sync has doomed.
    pub fn sync(&mut self) {
        if self.unsynced.iter().all(|(_, fate)| *fate != Fate::Doomed) {
            self.unsynced.clear();
        }
        for (_, fate) in self.unsynced.iter_mut().filter(|(_, fate)| *fate == Fate::Open) {
            *fate = Fate::Kept;
        }
    }

    /// A sync failed: what it should have kept is lost at the next power cut, whatever is synced
    /// later.
    pub fn doom(&mut self) {
        for (_, fate) in self.unsynced.iter_mut().filter(|(_, fate)| *fate == Fate::Open) {
            *fate = Fate::Doomed;
        }
    }

    /// What is left after a power cut is durable then. Without chance, all that is not synced goes.
    /// Gives how many changes were lost, whole or in part.
    ///
    /// # Errors
    /// Those of the store.
    pub fn crash(&mut self, chance: Option<&mut Seeded>) -> io::Result<u64> {
        let fates: Vec<Fate> = self.unsynced.iter().map(|(_, fate)| *fate).collect();
        let again = self.undo()?;
        let open = fates.iter().filter(|fate| **fate == Fate::Open).count();
        let mut survival = Survival::new(chance, open);
        let mut lost = 0;
        for (change, fate) in again.into_iter().zip(fates) {
            let whole = match fate {
                Fate::Kept => self.redo(change, None)?,
                Fate::Doomed => false,
                Fate::Open if survival.next() => self.redo(change, survival.chance())?,
                Fate::Open => false,
            };
            lost += u64::from(!whole);
        }
        self.unsynced.clear();
        Ok(lost)
    }

    /// Back to what was synced. Gives the changes with their new bytes, first one first.
    fn undo(&mut self) -> io::Result<Vec<Again>> {
        let mut again = Vec::new();
        for (change, _) in std::mem::take(&mut self.unsynced).into_iter().rev() {
            match change {
                Change::Write { position, count, old, length_before } => {
                    again.push(Again::Write { position, bytes: self.read(position, count)? });
                    self.resize(length_before)?;
                    self.file.write_all_at(&old, position)?;
                }
                Change::Length { length_before, cut_off } => {
                    let length = self.length;
                    again.push(Again::Length(length));
                    self.resize(length_before)?;
                    if !cut_off.is_empty() {
                        self.file.write_all_at(&cut_off, length)?;
                    }
                }
            }
        }
        again.reverse();
        Ok(again)
    }

    /// Does a change again: whole, or with chance perhaps torn. Says whether it is whole.
    fn redo(&mut self, change: Again, chance: Option<&mut Seeded>) -> io::Result<bool> {
        let (position, bytes) = match change {
            Again::Length(length) => {
                self.resize(length)?;
                return Ok(true);
            }
            Again::Write { position, bytes } => (position, bytes),
        };
        let Some(chance) = chance.filter(|_| bytes.len() as u64 > 1) else {
            self.put(position, &bytes)?;
            return Ok(true);
        };
        match chance.below(3) {
            0 => {
                self.put(position, &bytes)?;
                Ok(true)
            }
            1 => {
                let kept = chance.below(bytes.len() as u64);
                self.put(position, &bytes[..usize::try_from(kept).expect("below a length")])?;
                Ok(false)
            }
            _ => self.put_sectors(position, &bytes, chance),
        }
    }

    fn put_sectors(&mut self, at: u64, bytes: &[u8], chance: &mut Seeded) -> io::Result<bool> {
        let mut whole = true;
        let mut done = 0;
        while done < bytes.len() {
            let position = at + done as u64;
            let sector_left = usize::try_from(SECTOR - position % SECTOR).expect("small");
            let until = bytes.len().min(done + sector_left);
            if chance.chance(50) {
                self.put(position, &bytes[done..until])?;
            } else {
                whole = false;
            }
            done = until;
        }
        Ok(whole)
    }

    fn put(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        if !bytes.is_empty() {
            self.file.write_all_at(bytes, position)?;
            self.length = self.length.max(position + bytes.len() as u64);
        }
        Ok(())
    }
}

/// Which of a row of unsynced changes survive: none, all, the first ones, or loose ones.
pub struct Survival<'a> {
    chance: Option<&'a mut Seeded>,
    first: usize,
    loose: bool,
    seen: usize,
}

impl<'a> Survival<'a> {
    /// For `count` changes; without chance none survives.
    pub fn new(mut chance: Option<&'a mut Seeded>, count: usize) -> Self {
        let (first, loose) = match chance.as_mut().map(|chance| (chance.below(4), chance)) {
            None | Some((0, _)) => (0, false),
            Some((1, _)) => (count, false),
            Some((2, chance)) => {
                (usize::try_from(chance.below(count as u64 + 1)).expect("below a count"), false)
            }
            Some(_) => (0, true),
        };
        Self { chance, first, loose, seen: 0 }
    }

    /// Whether the next change survives.
    pub fn next(&mut self) -> bool {
        self.seen += 1;
        if self.loose {
            return self.chance.as_mut().is_some_and(|chance| chance.chance(50));
        }
        self.seen <= self.first
    }

    /// The chance that decides on, for what may be torn.
    pub fn chance(&mut self) -> Option<&mut Seeded> {
        // Of a row that survives whole, or as far as it goes, only the loose kind is torn too, and
        // the last of the first ones.
        if self.loose || self.seen == self.first { self.chance.as_deref_mut() } else { None }
    }
}
