//! Where one partition of a consumer stands.

use crate::client::Error;
use crate::types::{Offset, ProducerId};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Position {
    /// Offset of the next record to be handed out.
    pub(super) handed_out: Offset,
    /// Offset of the next fetch.
    pub(super) fetch_from: Offset,
    /// Nothing at or after this is wanted.
    pub(super) stop_at: Option<Offset>,
    /// What the last fetch told of the end.
    pub(super) end_known: Option<Offset>,
    pub(super) fetching: bool,
    /// Producers whose open transaction at this point will have been aborted.
    pub(super) aborting: BTreeSet<ProducerId>,
    troubled_since: Option<Instant>,
}

impl Position {
    pub(super) fn new(offset: Offset) -> Self {
        Self {
            handed_out: offset,
            fetch_from: offset,
            stop_at: None,
            end_known: None,
            fetching: false,
            aborting: BTreeSet::new(),
            troubled_since: None,
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.stop_at.is_some_and(|end| self.handed_out >= end)
    }

    /// Whether all that is wanted was fetched.
    pub(super) fn is_fetched(&self) -> bool {
        self.stop_at.is_some_and(|end| self.fetch_from >= end)
    }

    pub(super) fn fine(&mut self, end: Offset) {
        self.troubled_since = None;
        self.end_known = Some(end);
    }

    /// Notes that something keeps the partition from being read, and gives up after a while.
    pub(super) fn trouble(&mut self, what: &str, patience_ms: u64) -> Result<(), Error> {
        let patience = Duration::from_millis(patience_ms);
        let since = *self.troubled_since.get_or_insert_with(Instant::now);
        if since.elapsed() < patience {
            return Ok(());
        }
        let seconds = patience_ms as f64 / 1000.0;
        Err(Error::Settings(format!("nothing could be read for {seconds:.1} s: {what}")))
    }

    pub(super) fn trouble_of(&mut self, error: &Error, patience_ms: u64) -> Result<(), Error> {
        self.trouble("", patience_ms).map_err(|_| error.clone())
    }
}
