//! The bytes of one file: as programs see them, as the platter has them, and what lies between.

use crate::env::rng::Seeded;

/// A power cut keeps or loses each of these on its own.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// One file's content.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// What was done since the last sync, oldest first.
    pending: Vec<Change>,
}

impl Content {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.current
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        overwrite(&mut self.current, at, bytes);
        self.pending.push(Change::Write { at, bytes: bytes.to_vec() });
    }

    pub(super) fn set_len(&mut self, length: usize) {
        self.current.resize(length, 0);
        self.pending.push(Change::SetLen(length));
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { at, bytes } => overwrite(&mut self.durable, at, &bytes),
                Change::SetLen(length) => self.durable.resize(length, 0),
            }
        }
    }

    /// A sync that failed: the pages count as clean from now on, but are on no platter.
    pub(super) fn sync_failed(&mut self) {
        self.pending.clear();
    }

    pub(super) fn flip_bit(&mut self, byte: usize, bit: u8) {
        self.current[byte] ^= 1 << bit;
        if let Some(stored) = self.durable.get_mut(byte) {
            *stored ^= 1 << bit;
        }
        for change in &mut self.pending {
            if let Change::Write { at, bytes } = change
                && let Some(written) = byte.checked_sub(*at).and_then(|index| bytes.get_mut(index))
            {
                *written ^= 1 << bit;
            }
        }
    }

    /// Keeps what was synced, and of the rest what chance says.
    pub(super) fn crash(&mut self, rng: &mut Seeded) {
        let pending = std::mem::take(&mut self.pending);
        let count = pending.len();
        match rng.below(5) {
            0 => {}
            1 => pending.into_iter().for_each(|change| self.keep(change)),
            2 => {
                // A prefix, whose last change is torn.
                let whole = rng.below(count as u64 + 1) as usize;
                for (index, change) in pending.into_iter().enumerate().take(whole + 1) {
                    if index < whole {
                        self.keep(change);
                    } else {
                        self.keep_torn(change, rng);
                    }
                }
            }
            3 => {
                for change in pending {
                    if rng.chance(50) {
                        self.keep(change);
                    }
                }
            }
            _ => {
                for change in pending {
                    match rng.below(3) {
                        0 => {}
                        1 => self.keep(change),
                        _ => self.keep_torn(change, rng),
                    }
                }
            }
        }
        self.current.clone_from(&self.durable);
    }

    fn keep(&mut self, change: Change) {
        match change {
            Change::Write { at, bytes } => overwrite(&mut self.durable, at, &bytes),
            Change::SetLen(length) => self.durable.resize(length, 0),
        }
    }

    fn keep_torn(&mut self, change: Change, rng: &mut Seeded) {
        let Change::Write { at, bytes } = change else {
            return;
        };
        if rng.chance(50) {
            let kept = rng.below(bytes.len() as u64 + 1) as usize;
            overwrite(&mut self.durable, at, &bytes[..kept]);
            return;
        }
        let mut from = 0;
        while from < bytes.len() {
            let to = bytes.len().min((at + from) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - at);
            if rng.chance(50) {
                overwrite(&mut self.durable, at + from, &bytes[from..to]);
            } else if rng.chance(50) && self.durable.len() < at + to {
                // The length reached the platter, the bytes did not.
                self.durable.resize(at + to, 0);
            }
            from = to;
        }
    }
}

fn overwrite(target: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if at == target.len() {
        target.extend_from_slice(bytes);
        return;
    }
    if target.len() < at + bytes.len() {
        target.resize(at + bytes.len(), 0);
    }
    target[at..at + bytes.len()].copy_from_slice(bytes);
}
