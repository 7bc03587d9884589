//! A line that shows how far long work is: on a terminal only.

use super::text::bytes_for_people;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// How often the line is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Counts records and bytes, and shows them if somebody looks.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    begun: Instant,
    drawn: Instant,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Progress {
    /// Shown when `wanted` and stderr is a terminal.
    pub(super) fn new(wanted: bool) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        let bar = shown.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let plain = ProgressStyle::default_spinner();
            bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or(plain));
            bar
        });
        let now = Instant::now();
        Self { bar, begun: now, drawn: now, records: 0, bytes: 0 }
    }

    pub(super) fn add(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
        if let Some(bar) = &self.bar
            && self.drawn.elapsed() >= DRAW_EVERY
        {
            bar.set_message(self.text());
            bar.tick();
            self.drawn = Instant::now();
        }
    }

    /// `12 records, 1.2 kB in 0.3 s (40 records/s, 4.0 kB/s)`.
    pub(super) fn text(&self) -> String {
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let plural = if self.records == 1 { "" } else { "s" };
        format!(
            "{} record{plural}, {} in {seconds:.1} s ({:.0} records/s, {}/s)",
            self.records,
            bytes_for_people(self.bytes),
            self.records as f64 / seconds,
            bytes_for_people((self.bytes as f64 / seconds) as u64),
        )
    }

    /// Takes the line away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// One line about work that goes on elsewhere: on a terminal only.
#[derive(Debug)]
pub(super) struct StatusLine(Option<ProgressBar>);

impl StatusLine {
    /// Shown when stderr is a terminal.
    pub(super) fn new() -> Self {
        Self(Progress::new(true).bar)
    }

    /// Replaces the line.
    pub(super) fn show(&self, text: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(text.to_owned());
            bar.tick();
        }
    }

    /// Takes the line away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
