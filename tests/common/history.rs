//! What producers were told, what consumers were shown, and whether both can be true.
//!
//! The rules are those of Jepsen's Kafka workload that do not need transactions, and some more:
//! - what was acknowledged is in the log, at the offset that the producer was told ([`Fault::Lost`],
//!   [`Fault::Moved`]);
//! - what certainly failed is not ([`Fault::Aborted`]), and nothing that nobody sent is
//!   ([`Fault::Foreign`]);
//! - an idempotent producer's record is there once ([`Fault::Twice`]), and its records of one
//!   partition stand in the order in which they were sent ([`Fault::Disorder`]);
//! - an offset never shows two records, to anybody, at any time ([`Fault::Inconsistent`]): so no
//!   reader saw what was not committed, and no two leader epochs committed both;
//! - a reader that goes on from where it was misses nothing and sees nothing twice
//!   ([`Fault::Skipped`], [`Fault::Backwards`]);
//! - a high watermark does not go back ([`Fault::WatermarkBack`]).
//!
//! A checker that finds nothing proves nothing, so `tests/cluster/harness.rs` plants each fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A record by who sent it, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// The producer.
    pub producer: u32,
    /// Its record, counted from 0 over all partitions.
    pub number: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.producer, self.number)
    }
}

/// How sending a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Written at this offset, and counted as durable.
    Acknowledged(i64),
    /// Certainly not written.
    Failed,
    /// Nobody knows: no answer, or one that leaves it open.
    Unknown,
}

/// A record that was sent. Times count from the start of the run.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Which.
    pub id: Id,
    /// Where to.
    pub partition: i32,
    /// When it was to be sent, by plan, in µs: what waited behind a stall counts as late.
    pub intended_us: u64,
    /// When the outcome was known, in µs; the end of the run for what never was.
    pub answered_us: u64,
    /// The outcome.
    pub outcome: Outcome,
}

impl Sent {
    /// Whether it is acknowledged.
    pub fn is_acknowledged(&self) -> bool {
        matches!(self.outcome, Outcome::Acknowledged(_))
    }
}

/// One reader's way through one partition, in the order of reading.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The reader, for reports.
    pub reader: String,
    /// Partition, to offset and record, in the order of reading.
    pub seen: BTreeMap<i32, Vec<(i64, Id)>>,
}

/// A high watermark that somebody was told.
#[derive(Debug, Clone, Copy)]
pub struct Watermark {
    /// The node that said it.
    pub node: i32,
    /// The partition.
    pub partition: i32,
    /// When the question was sent, in µs.
    pub asked_us: u64,
    /// When the answer was there, in µs.
    pub answered_us: u64,
    /// The offset.
    pub offset: i64,
}

/// All that is known of a run over one topic.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Every record of every producer.
    pub sent: Vec<Sent>,
    /// What was read while the run went on.
    pub readings: Vec<Reading>,
    /// What is there after all, read from the first offset to the end.
    pub end: Reading,
    /// Watermarks that were seen.
    pub watermarks: Vec<Watermark>,
    /// Producers that may write a record more than once, since they are not idempotent.
    pub careless: BTreeSet<u32>,
    /// Whether no node that was told to stop leading could still answer: then a watermark must not
    /// go back from one node to the next either.
    pub no_zombies: bool,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Acknowledged, and nowhere.
    Lost { id: Id, partition: i32, offset: i64 },
    /// Acknowledged at one offset, and found at another only.
    Moved { id: Id, partition: i32, offset: i64, found: (i32, i64) },
    /// Said to have failed, and there.
    Aborted { id: Id, partition: i32, offset: i64 },
    /// There, and sent by nobody.
    Foreign { id: Id, partition: i32, offset: i64 },
    /// There more than once.
    Twice { id: Id, places: Vec<(i32, i64)> },
    /// Behind a later record of the same producer.
    Disorder { partition: i32, earlier: (i64, Id), later: (i64, Id) },
    /// An offset that was shown or acknowledged with two records.
    Inconsistent { partition: i32, offset: i64, one: Id, other: Option<Id>, who: String },
    /// A reader went over an offset.
    Skipped { reader: String, partition: i32, from: i64, to: i64 },
    /// A reader was shown an offset again, or an earlier one.
    Backwards { reader: String, partition: i32, from: i64, to: i64 },
    /// A high watermark below one that was known before the question was asked.
    WatermarkBack { partition: i32, before: (i32, i64), after: (i32, i64) },
}

impl History {
    /// Every fault; none is what a test wants.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let places = self.places();
        self.check_outcomes(&places, &mut faults);
        self.check_repetition(&places, &mut faults);
        self.check_order(&mut faults);
        self.check_consistency(&mut faults);
        for reading in self.readings.iter().chain([&self.end]) {
            check_steps(reading, &mut faults);
        }
        self.check_watermarks(&mut faults);
        faults
    }

    /// Prints the counts, and fails with the first faults if there are any.
    ///
    /// # Panics
    /// When there is a fault; the text has the number of all and the first twenty.
    pub fn assert_faultless(&self, what: &str) {
        println!("{what}: {}", self.summary());
        let faults = self.faults();
        let some: Vec<String> = faults.iter().take(20).map(|fault| format!("{fault:?}")).collect();
        assert!(faults.is_empty(), "{what}: {} faults:\n{}", faults.len(), some.join("\n"));
    }

    /// How many records there are of each kind.
    pub fn summary(&self) -> String {
        let count = |wanted: fn(&Outcome) -> bool| {
            self.sent.iter().filter(|sent| wanted(&sent.outcome)).count()
        };
        let rows = |reading: &Reading| reading.seen.values().map(Vec::len).sum::<usize>();
        format!(
            "{} sent, {} acknowledged, {} failed, {} unknown; {} in the log, {} read on the way, {} \
             watermarks",
            self.sent.len(),
            count(|outcome| matches!(outcome, Outcome::Acknowledged(_))),
            count(|outcome| *outcome == Outcome::Failed),
            count(|outcome| *outcome == Outcome::Unknown),
            rows(&self.end),
            self.readings.iter().map(rows).sum::<usize>(),
            self.watermarks.len(),
        )
    }

    /// How many acknowledged records are nowhere.
    pub fn lost(&self) -> usize {
        let faults = self.faults();
        faults.iter().filter(|fault| matches!(fault, Fault::Lost { .. })).count()
    }

    fn places(&self) -> BTreeMap<Id, Vec<(i32, i64)>> {
        let mut places: BTreeMap<Id, Vec<(i32, i64)>> = BTreeMap::new();
        for (partition, rows) in &self.end.seen {
            for (offset, id) in rows {
                places.entry(*id).or_default().push((*partition, *offset));
            }
        }
        places
    }

    fn check_outcomes(&self, places: &BTreeMap<Id, Vec<(i32, i64)>>, faults: &mut Vec<Fault>) {
        let mut known = BTreeSet::new();
        for sent in &self.sent {
            known.insert(sent.id);
            let (id, partition) = (sent.id, sent.partition);
            let found = places.get(&id).map(Vec::as_slice).unwrap_or_default();
            match (sent.outcome, found) {
                (Outcome::Acknowledged(offset), []) => {
                    faults.push(Fault::Lost { id, partition, offset });
                }
                // A negative offset: librdkafka learnt from the answer to a repeated batch that the
                // first copy is there, and not where.
                (Outcome::Acknowledged(offset), [first, ..])
                    if (offset >= 0 && !found.contains(&(partition, offset)))
                        || found.iter().all(|place| place.0 != partition) =>
                {
                    faults.push(Fault::Moved { id, partition, offset, found: *first });
                }
                (Outcome::Failed, [(partition, offset), ..]) => {
                    faults.push(Fault::Aborted { id, partition: *partition, offset: *offset });
                }
                _ => {}
            }
        }
        for (id, found) in places.iter().filter(|(id, _)| !known.contains(id)) {
            for (partition, offset) in found {
                faults.push(Fault::Foreign { id: *id, partition: *partition, offset: *offset });
            }
        }
    }

    fn check_repetition(&self, places: &BTreeMap<Id, Vec<(i32, i64)>>, faults: &mut Vec<Fault>) {
        for (id, found) in places {
            if found.len() > 1 && !self.careless.contains(&id.producer) {
                faults.push(Fault::Twice { id: *id, places: found.clone() });
            }
        }
    }

    fn check_order(&self, faults: &mut Vec<Fault>) {
        for (partition, rows) in &self.end.seen {
            let mut last: BTreeMap<u32, (i64, Id)> = BTreeMap::new();
            for (offset, id) in rows {
                if self.careless.contains(&id.producer) {
                    continue;
                }
                let before = last.insert(id.producer, (*offset, *id));
                if let Some(before) = before.filter(|before| before.1.number > id.number) {
                    let (partition, earlier, later) = (*partition, before, (*offset, *id));
                    faults.push(Fault::Disorder { partition, earlier, later });
                }
            }
        }
    }

    /// Compares what acknowledgements and readers said of an offset with what is there.
    fn check_consistency(&self, faults: &mut Vec<Fault>) {
        let mut there: BTreeMap<(i32, i64), Id> = BTreeMap::new();
        let mut differs = |place: (i32, i64), one: Id, other: Option<Id>, who: &str| {
            let (partition, offset) = place;
            let who = who.to_owned();
            faults.push(Fault::Inconsistent { partition, offset, one, other, who });
        };
        for (partition, rows) in &self.end.seen {
            for (offset, id) in rows {
                let place = (*partition, *offset);
                if let Some(other) = there.insert(place, *id).filter(|other| other != id) {
                    differs(place, *id, Some(other), "the end");
                }
            }
        }
        for reading in &self.readings {
            for (partition, rows) in &reading.seen {
                for (offset, id) in rows {
                    let place = (*partition, *offset);
                    let other = there.get(&place).copied();
                    if other != Some(*id) {
                        differs(place, *id, other, &reading.reader);
                    }
                }
            }
        }
        // What was acknowledged at an offset that holds another record now: two commits. Where
        // there is nothing at all, it is lost, which is said elsewhere.
        for sent in &self.sent {
            let Outcome::Acknowledged(offset) = sent.outcome else { continue };
            let place = (sent.partition, offset);
            if let Some(other) = there.get(&place).copied().filter(|other| *other != sent.id) {
                differs(place, sent.id, Some(other), "its producer");
            }
        }
    }

    /// A question that was sent after an answer had come must not be answered with less. Between
    /// nodes that holds only where the earlier node had stopped; a zombie may go on saying what it
    /// knew.
    fn check_watermarks(&self, faults: &mut Vec<Fault>) {
        let mut groups: BTreeMap<(i32, Option<i32>), Vec<Watermark>> = BTreeMap::new();
        for mark in &self.watermarks {
            groups.entry((mark.partition, Some(mark.node))).or_default().push(*mark);
            if self.no_zombies {
                groups.entry((mark.partition, None)).or_default().push(*mark);
            }
        }
        for ((partition, _), marks) in groups {
            let mut answered = marks.clone();
            answered.sort_by_key(|mark| mark.answered_us);
            let mut asked = marks;
            asked.sort_by_key(|mark| mark.asked_us);
            let mut known = answered.into_iter().peekable();
            let mut highest: Option<Watermark> = None;
            for mark in asked {
                while let Some(before) = known.next_if(|known| known.answered_us < mark.asked_us) {
                    if highest.is_none_or(|highest| highest.offset < before.offset) {
                        highest = Some(before);
                    }
                }
                if let Some(before) = highest.filter(|before| before.offset > mark.offset) {
                    let (before, after) = ((before.node, before.offset), (mark.node, mark.offset));
                    faults.push(Fault::WatermarkBack { partition, before, after });
                }
            }
        }
    }
}

/// A reader goes from one offset to the next.
fn check_steps(reading: &Reading, faults: &mut Vec<Fault>) {
    for (partition, rows) in &reading.seen {
        for pair in rows.windows(2) {
            let (from, to) = (pair[0].0, pair[1].0);
            let (reader, partition) = (reading.reader.clone(), *partition);
            if to <= from {
                faults.push(Fault::Backwards { reader, partition, from, to });
            } else if to > from + 1 {
                faults.push(Fault::Skipped { reader, partition, from, to });
            }
        }
    }
}

/// The longest time without an acknowledgement of any one partition, within a window of time, in
/// µs: each partition counts for itself, so that those that go on do not hide those that stand. A
/// partition without one in the whole window counts with the window.
pub fn longest_gap_us(sent: &[Sent], from_us: u64, to_us: u64) -> u64 {
    let mut times: BTreeMap<i32, Vec<u64>> = BTreeMap::new();
    for sent in sent {
        let times = times.entry(sent.partition).or_insert_with(|| vec![from_us, to_us]);
        if sent.is_acknowledged() && (from_us..=to_us).contains(&sent.answered_us) {
            times.push(sent.answered_us);
        }
    }
    let mut longest = 0;
    for times in times.values_mut() {
        times.sort_unstable();
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        longest = longest.max(gaps.max().unwrap_or(0));
    }
    longest
}

/// From intended time to acknowledgement, in µs, ascending, of records that were to be sent within a
/// window.
pub fn latencies_us(sent: &[Sent], from_us: u64, to_us: u64) -> Vec<u64> {
    let within = sent
        .iter()
        .filter(|sent| sent.is_acknowledged() && (from_us..=to_us).contains(&sent.intended_us));
    let mut all: Vec<u64> =
        within.map(|sent| sent.answered_us.saturating_sub(sent.intended_us)).collect();
    all.sort_unstable();
    all
}

/// The value at a percentage of an ascending list: the smallest that at least that many do not
/// exceed; 0 for an empty list.
pub fn percentile(ascending: &[u64], percent: usize) -> u64 {
    let rank = (ascending.len() * percent).div_ceil(100).max(1);
    ascending.get(rank - 1).copied().unwrap_or(0)
}
