//! Which leader epoch began where (KIP-101, KIP-279), and `leader-epoch-checkpoint`.
//!
//! The file is written now and then, not with every flush: an election would else cost three syncs
//! more before its first acknowledgement. Until it is written, recovery has to read the batches
//! from where it may be wrong ([`Epochs::unsaved_from`]).
//!
//! Invariant: entries grow strictly in epoch and in start offset, but for the last, which may
//! begin where the log ends.

use super::checkpoint::{encode_rows, parse_rows};
use crate::types::mutant::Mutant;
use crate::types::{LeaderEpoch, Offset};

/// The file's name.
pub(super) const FILE: &str = "leader-epoch-checkpoint";

/// The epochs of one log.
#[derive(Debug, Clone, Default)]
pub(super) struct Epochs {
    entries: Vec<(LeaderEpoch, Offset)>,
    /// Whether the file is older than the entries.
    pub(super) dirty: bool,
    /// Below this offset the file is right.
    unsaved_from: Option<Offset>,
    /// Counts the changes, so that one during a write is noticed.
    changes: u64,
}

impl Epochs {
    /// Reads the file's text. `None` when it is malformed or not in order.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rows = parse_rows(text)?;
        let mut epochs = Self::default();
        for row in rows {
            let (epoch, start) = row.split_once(' ')?;
            let entry = (LeaderEpoch(epoch.parse().ok()?), Offset(start.parse().ok()?));
            if epochs.entries.last().is_some_and(|last| entry.0 <= last.0 || entry.1 < last.1) {
                return None;
            }
            epochs.entries.push(entry);
        }
        Some(epochs)
    }

    /// Where the batches have to be read at recovery, since the file may be wrong from there on.
    pub(super) fn unsaved_from(&self) -> Option<Offset> {
        self.unsaved_from
    }

    /// What tells these entries from earlier and later ones.
    pub(super) fn version(&self) -> u64 {
        self.changes
    }

    /// The file now holds the entries of this version.
    pub(super) fn saved(&mut self, version: u64) {
        if version == self.changes {
            self.dirty = false;
            self.unsaved_from = None;
        }
    }

    fn changed_from(&mut self, offset: Offset) {
        self.unsaved_from = Some(self.unsaved_from.map_or(offset, |from| from.min(offset)));
        self.changed();
    }

    fn changed(&mut self) {
        self.dirty = true;
        self.changes += 1;
    }

    /// The file's text.
    pub(super) fn encode(&self) -> String {
        encode_rows(self.entries.iter().map(|(epoch, start)| format!("{epoch} {start}")))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where the oldest epoch that is known begins.
    pub(super) fn first_start(&self) -> Option<Offset> {
        self.entries.first().map(|(_, start)| *start)
    }

    /// Adds the entries of `later`, which follow those that are here.
    pub(super) fn continue_with(&mut self, later: &Self) {
        let (dirty, unsaved_from) = (self.dirty, self.unsaved_from);
        for (epoch, start) in &later.entries {
            self.assign(*epoch, *start);
        }
        (self.dirty, self.unsaved_from) = (dirty, unsaved_from);
    }

    pub(super) fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// Records that `epoch` begins at `start`. Later or larger entries contradict it and go. An
    /// epoch that is known already, or unknown as such, changes nothing.
    pub(super) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        if !epoch.is_known() || self.entries.last().is_some_and(|last| last.0 >= epoch) {
            return;
        }
        while self.entries.last().is_some_and(|last| last.1 >= start) {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
        self.changed_from(start);
    }

    /// Where `epoch` ended: the largest epoch up to it, and the offset at which the next began.
    /// Both unknown when `epoch` is unknown or newer than all.
    pub(super) fn end_offset(&self, epoch: LeaderEpoch, end: Offset) -> (LeaderEpoch, Offset) {
        let later = self.entries.partition_point(|entry| entry.0 <= epoch);
        let before = later.checked_sub(1).and_then(|index| self.entries.get(index));
        match (before, self.entries.get(later)) {
            _ if !epoch.is_known() => (LeaderEpoch::NONE, Offset::NONE),
            (Some(last), None) if last.0 == epoch => (epoch, end),
            (_, None) => (LeaderEpoch::NONE, Offset::NONE),
            // Older than all that is left: the follower goes on where the log starts.
            (None, Some(next)) => (epoch, next.1),
            (Some(found), Some(next)) => (found.0, next.1),
        }
    }

    /// The epoch in which the record at `offset` was appended.
    pub(super) fn epoch_for(&self, offset: Offset) -> Option<LeaderEpoch> {
        let later = self.entries.partition_point(|entry| entry.1 <= offset);
        later.checked_sub(1).and_then(|index| self.entries.get(index)).map(|entry| entry.0)
    }

    /// Forgets what began at `end` or later.
    pub(super) fn truncate_from_end(&mut self, end: Offset) {
        if Mutant::EpochsNotRolledBack.is_active() {
            return;
        }
        while self.entries.last().is_some_and(|last| last.1 >= end) {
            self.entries.pop();
            self.changed_from(end);
        }
    }

    /// Forgets what ended before `start`; the epoch that holds it now begins there.
    pub(super) fn truncate_from_start(&mut self, start: Offset) {
        let later = self.entries.partition_point(|entry| entry.1 <= start);
        if later == 0 {
            return;
        }
        if later > 1 {
            self.entries.drain(..later - 1);
            // More than enough in the file does no harm: it is cut when it is read.
            self.changed();
        }
        if let Some(first) = self.entries.first_mut()
            && first.1 != start
        {
            first.1 = start;
            self.changed();
        }
    }

    /// Leaves the file as it is where it says the same already.
    pub(super) fn spare_the_file(&mut self, in_file: &Self) {
        if self.entries == in_file.entries {
            self.dirty = in_file.dirty;
            self.unsaved_from = in_file.unsaved_from;
        }
    }

    /// Forgets everything; the log then begins at `offset`.
    pub(super) fn clear(&mut self, offset: Offset) {
        self.entries.clear();
        self.changed_from(offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> Epochs {
        let mut epochs = Epochs::default();
        for (epoch, start) in entries {
            epochs.assign(LeaderEpoch(*epoch), Offset(*start));
        }
        epochs
    }

    fn entries(epochs: &Epochs) -> Vec<(i32, i64)> {
        epochs.entries.iter().map(|(epoch, start)| (epoch.0, start.0)).collect()
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = epochs(&[(2, 10), (4, 20), (7, 30)]);
        let ask = |epoch| {
            let (found, end) = epochs.end_offset(LeaderEpoch(epoch), Offset(45));
            (found.0, end.0)
        };
        assert_eq!(ask(7), (7, 45));
        assert_eq!(ask(6), (4, 30));
        assert_eq!(ask(4), (4, 30));
        assert_eq!(ask(2), (2, 20));
        assert_eq!(ask(1), (1, 10), "older than all that is left");
        assert_eq!(ask(8), (-1, -1));
        assert_eq!(ask(-1), (-1, -1));
    }

    /// KAFKA-7415: an election without a write leaves an entry at the log's end, and the next one
    /// takes its place.
    #[test]
    fn an_epoch_without_records_gives_way() {
        let mut epochs = epochs(&[(1, 0), (2, 10), (3, 10)]);
        assert_eq!(entries(&epochs), [(1, 0), (3, 10)]);
        epochs.assign(LeaderEpoch(3), Offset(50));
        assert_eq!(entries(&epochs), [(1, 0), (3, 10)], "known already");
        epochs.truncate_from_end(Offset(10));
        assert_eq!(entries(&epochs), [(1, 0)], "truncating at the end still trims");
    }

    #[test]
    fn both_ends_can_be_cut() {
        let mut cut = epochs(&[(1, 0), (2, 10), (3, 20)]);
        cut.dirty = false;
        cut.truncate_from_start(Offset(15));
        assert_eq!(entries(&cut), [(2, 15), (3, 20)]);
        assert!(cut.dirty);
        assert_eq!(cut.epoch_for(Offset(14)), None);
        assert_eq!(cut.epoch_for(Offset(19)), Some(LeaderEpoch(2)));
        assert_eq!(cut.epoch_for(Offset(99)), Some(LeaderEpoch(3)));
        cut.truncate_from_start(Offset(20));
        assert_eq!(entries(&cut), [(3, 20)]);
    }

    #[test]
    fn the_text_is_kafkas_and_bad_text_is_refused() {
        let original = epochs(&[(1, 0), (5, 77)]);
        assert_eq!(original.encode(), "0\n2\n1 0\n5 77\n");
        let read = Epochs::parse(&original.encode()).expect("valid");
        assert_eq!(entries(&read), [(1, 0), (5, 77)]);
        for bad in ["", "1\n0\n", "0\n2\n1 0\n", "0\n1\nx 0\n", "0\n2\n5 0\n4 9\n", "0\n1\n\0\0"] {
            assert!(Epochs::parse(bad).is_none(), "{bad:?}");
        }
    }
}
