//! The storage of one replica in the model: a list that forgets what was not flushed.
//!
//! It keeps the rules of `purlin::log` that replication depends on: leader epochs are recorded with
//! their start, an epoch without records gives way to the next, a truncation takes epochs back, and
//! of what a power cut finds unflushed nothing is certain.

use purlin::replica::LogView;
use purlin::types::{LeaderEpoch, Offset};

/// What a record carries: a number that no other write has.
pub type Value = u8;

/// One replica's log. Offsets begin at zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Storage {
    pub records: Vec<(LeaderEpoch, Value)>,
    /// How many of them survive a power cut.
    pub flushed: usize,
    epochs: Vec<(LeaderEpoch, usize)>,
    epochs_flushed: Vec<(LeaderEpoch, usize)>,
}

pub fn offset(index: usize) -> Offset {
    Offset(i64::try_from(index).expect("a small log"))
}

pub fn index(offset: Offset) -> usize {
    usize::try_from(offset.0).expect("an offset of the model")
}

impl Storage {
    pub fn view(&self) -> LogView {
        LogView { start: Offset::ZERO, end: self.end(), flushed: offset(self.flushed) }
    }

    pub fn end(&self) -> Offset {
        offset(self.records.len())
    }

    pub fn append(&mut self, epoch: LeaderEpoch, value: Value) {
        self.assign_epoch(epoch, self.end());
        self.records.push((epoch, value));
    }

    pub fn assign_epoch(&mut self, epoch: LeaderEpoch, start: Offset) {
        let start = index(start);
        if self.epochs.last().is_some_and(|(latest, _)| *latest >= epoch) {
            return;
        }
        while self.epochs.last().is_some_and(|(_, begun)| *begun >= start) {
            self.epochs.pop();
        }
        self.epochs.push((epoch, start));
    }

    pub fn latest_epoch(&self) -> LeaderEpoch {
        self.epochs.last().map_or(LeaderEpoch::NONE, |(epoch, _)| *epoch)
    }

    /// The largest epoch up to the one asked for, and where it ended.
    pub fn epoch_end(&self, asked: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let later = self.epochs.partition_point(|(epoch, _)| *epoch <= asked);
        let before = later.checked_sub(1).map(|at| self.epochs[at]);
        match (before, self.epochs.get(later)) {
            _ if !asked.is_known() => (LeaderEpoch::NONE, Offset::NONE),
            (Some((epoch, _)), None) if epoch == asked => (epoch, self.end()),
            (_, None) => (LeaderEpoch::NONE, Offset::NONE),
            (None, Some((_, start))) => (asked, offset(*start)),
            (Some((epoch, _)), Some((_, start))) => (epoch, offset(*start)),
        }
    }

    pub fn flush(&mut self) {
        self.flushed = self.records.len();
        self.epochs_flushed.clone_from(&self.epochs);
    }

    pub fn truncate(&mut self, to: Offset) {
        let to = index(to);
        self.records.truncate(to);
        self.flushed = self.flushed.min(to);
        for epochs in [&mut self.epochs, &mut self.epochs_flushed] {
            while epochs.last().is_some_and(|(_, start)| *start >= to) {
                epochs.pop();
            }
        }
    }

    /// The power goes, and `kept` of the unflushed records are there afterwards.
    pub fn lose_power(&mut self, kept: usize) {
        self.records.truncate((self.flushed + kept).min(self.records.len()));
        // Opening reads the file of epochs, as far as it goes, and then the batches.
        let end = self.records.len();
        self.epochs = std::mem::take(&mut self.epochs_flushed);
        self.epochs.retain(|(_, start)| *start <= end);
        for at in 0..end {
            self.assign_epoch(self.records[at].0, offset(at));
        }
        // Opening flushes what it found.
        self.flush();
    }
}
