//! Incremental fetches (KIP-227): what a consumer fetches is remembered, so that its requests and
//! our answers only carry what changed.
//!
//! Invariants:
//! - Sessions and the partitions in them are bounded; when there is no room, a fetch is answered
//!   without a session (id 0), which every client understands.
//! - Session ids are random, so that a client with a session of an earlier process never hits one
//!   of this process by chance.
//! - A partition that was answered with an error is answered again next time, whether or not it
//!   changed.
//!
//! Must never: read a partition or build a response; see `handlers::fetch`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::env::rng;
use crate::limits;
use crate::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

/// The id that means "no session".
const NO_SESSION: i32 = 0;
/// The epoch of a request that opens a session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that closes its session, or wants none.
const FINAL_EPOCH: i32 = -1;

/// A topic as the client named it. One session only ever holds one kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum TopicRef {
    /// By id: Fetch 13 and later.
    Id(TopicId),
    /// By name. Not checked: it may be no topic's name at all.
    Name(Arc<str>),
}

/// A partition as the client named it.
pub(super) type PartitionKey = (TopicRef, PartitionIndex);

/// What the client wants of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Where to read from.
    pub(super) fetch_offset: Offset,
    /// Bytes of this partition at most.
    pub(super) bytes_max: i32,
    /// The leader epoch that the client believes in, or none.
    pub(super) current_leader_epoch: LeaderEpoch,
    /// The epoch of the last record that the client has, or none.
    pub(super) last_fetched_epoch: LeaderEpoch,
}

/// What the answer for one partition held, as far as sessions care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// High watermark in the answer.
    pub(super) high_watermark: Offset,
    /// Log start offset in the answer.
    pub(super) log_start_offset: Offset,
    /// Whether there are records.
    pub(super) has_records: bool,
    /// Whether there is an error.
    pub(super) has_error: bool,
    /// Whether there is something else that the client must see: a diverging epoch or a
    /// preferred replica.
    pub(super) has_news: bool,
}

/// The session part of a fetch request.
#[derive(Debug)]
pub(super) struct SessionRequest {
    /// Session id, 0 for none.
    pub(super) session_id: i32,
    /// Session epoch.
    pub(super) session_epoch: i32,
    /// Whether topics are named by id.
    pub(super) uses_topic_ids: bool,
    /// Partitions to fetch: all, or those that were added or changed.
    pub(super) wanted: Vec<(PartitionKey, Wanted)>,
    /// Partitions to fetch no longer.
    pub(super) forgotten: Vec<PartitionKey>,
}

/// Why a session cannot be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SessionError {
    /// There is no such session (any more): the client opens a new one.
    #[error("no such fetch session")]
    NotFound,
    /// The request is not the next one of the session.
    #[error("not the next epoch of the fetch session")]
    Epoch,
    /// The session names topics by id and the request by name, or the other way round.
    #[error("topic names and topic ids are mixed in one fetch session")]
    MixedIds,
}

/// A fetch that may go ahead.
#[derive(Debug)]
pub(super) struct Plan {
    /// What to fetch, in order.
    pub(super) wanted: Vec<(PartitionKey, Wanted)>,
    kind: PlanKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlanKind {
    Sessionless,
    Full { uses_topic_ids: bool },
    Incremental { id: i32, epoch: i32 },
}

/// What goes into the response.
#[derive(Debug)]
pub(super) struct Answered<T> {
    /// Session id for the response.
    pub(super) session_id: i32,
    /// An error of the whole response.
    pub(super) error: Option<SessionError>,
    /// The partitions to list.
    pub(super) partitions: Vec<(PartitionKey, T)>,
}

/// All sessions of a node.
#[derive(Debug)]
pub(super) struct SessionCache {
    inner: Mutex<Inner>,
    sessions_max: usize,
    partitions_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<i32, Session>,
    /// Over all sessions.
    partitions: usize,
}

#[derive(Debug)]
struct Session {
    uses_topic_ids: bool,
    /// The epoch that the next request must have.
    epoch: i32,
    created: Instant,
    last_used: Instant,
    partitions: Ordered,
}

/// Partitions in the order in which they are to be served: one that got data goes to the end.
#[derive(Debug, Default)]
struct Ordered {
    by_key: HashMap<PartitionKey, u64>,
    by_place: BTreeMap<u64, (PartitionKey, Cached)>,
    next_place: u64,
}

#[derive(Debug, Clone, Copy)]
struct Cached {
    wanted: Wanted,
    /// What the client was told last; `NONE` forces an answer.
    high_watermark: Offset,
    log_start_offset: Offset,
}

impl Ordered {
    fn len(&self) -> usize {
        self.by_key.len()
    }

    fn get_mut(&mut self, key: &PartitionKey) -> Option<&mut Cached> {
        let place = self.by_key.get(key)?;
        self.by_place.get_mut(place).map(|(_, cached)| cached)
    }

    fn push(&mut self, key: PartitionKey, cached: Cached) {
        self.remove(&key);
        self.by_key.insert(key.clone(), self.next_place);
        self.by_place.insert(self.next_place, (key, cached));
        self.next_place += 1;
    }

    fn remove(&mut self, key: &PartitionKey) -> Option<Cached> {
        let place = self.by_key.remove(key)?;
        self.by_place.remove(&place).map(|(_, cached)| cached)
    }

    fn move_to_end(&mut self, key: &PartitionKey) {
        if let Some(cached) = self.remove(key) {
            self.push(key.clone(), cached);
        }
    }

    fn wanted(&self) -> Vec<(PartitionKey, Wanted)> {
        self.by_place.values().map(|(key, cached)| (key.clone(), cached.wanted)).collect()
    }
}

impl Cached {
    /// Takes note of an answer. Says whether the client must be sent it.
    fn note(&mut self, seen: &Seen) -> bool {
        let changed = self.high_watermark != seen.high_watermark
            || self.log_start_offset != seen.log_start_offset;
        // After an error the next answer counts as changed, so that the client learns it is over.
        self.high_watermark = if seen.has_error { Offset::NONE } else { seen.high_watermark };
        self.log_start_offset = seen.log_start_offset;
        changed || seen.has_records || seen.has_error || seen.has_news
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

impl Default for SessionCache {
    fn default() -> Self {
        Self::new(limits::FETCH_SESSIONS_MAX, limits::FETCH_SESSION_PARTITIONS_MAX)
    }
}

impl SessionCache {
    /// A cache with room for so many sessions, and partitions over all of them.
    pub(super) fn new(sessions_max: usize, partitions_max: usize) -> Self {
        Self { inner: Mutex::default(), sessions_max, partitions_max }
    }

    /// Sessions that are open.
    pub(super) fn len(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Begins a fetch: finds out what is to be fetched.
    pub(super) fn begin(&self, request: SessionRequest) -> Result<Plan, SessionError> {
        let mut inner = self.lock();
        if matches!(request.session_epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            if request.session_id != NO_SESSION {
                inner.remove(request.session_id);
            }
            let kind = if request.session_epoch == FINAL_EPOCH {
                PlanKind::Sessionless
            } else {
                PlanKind::Full { uses_topic_ids: request.uses_topic_ids }
            };
            return Ok(Plan { wanted: last_of_each(request.wanted), kind });
        }
        inner.resume(request, self.partitions_max)
    }

    /// Ends a fetch: remembers what is answered, and leaves out what the client knows already.
    pub(super) fn finish<T>(
        &self,
        plan: Plan,
        mut answers: Vec<(PartitionKey, T)>,
        seen: impl Fn(&T) -> Seen,
    ) -> Answered<T> {
        match plan.kind {
            PlanKind::Sessionless => {
                Answered { session_id: NO_SESSION, error: None, partitions: answers }
            }
            PlanKind::Full { uses_topic_ids } => {
                let wanted: HashMap<PartitionKey, Wanted> = plan.wanted.into_iter().collect();
                let mut partitions = Ordered::default();
                for (key, answer) in &answers {
                    let Some(wanted) = wanted.get(key) else { continue };
                    let mut cached = Cached {
                        wanted: *wanted,
                        high_watermark: Offset::NONE,
                        log_start_offset: Offset::NONE,
                    };
                    cached.note(&seen(answer));
                    partitions.push(key.clone(), cached);
                }
                let session_id = self.create(uses_topic_ids, partitions);
                Answered { session_id, error: None, partitions: answers }
            }
            PlanKind::Incremental { id, epoch } => {
                let mut inner = self.lock();
                let session = inner.sessions.get_mut(&id).filter(|held| held.epoch == epoch);
                let Some(session) = session else {
                    // The session was closed, or used by another request, in the meantime.
                    let error = Some(SessionError::Epoch);
                    return Answered { session_id: id, error, partitions: Vec::new() };
                };
                answers.retain(|(key, answer)| {
                    let seen = seen(answer);
                    let Some(cached) = session.partitions.get_mut(key) else { return true };
                    let tell = cached.note(&seen);
                    if seen.has_records {
                        session.partitions.move_to_end(key);
                    }
                    tell
                });
                Answered { session_id: id, error: None, partitions: answers }
            }
        }
    }

    fn create(&self, uses_topic_ids: bool, partitions: Ordered) -> i32 {
        let mut inner = self.lock();
        let now = Instant::now();
        while inner.sessions.len() >= self.sessions_max
            || inner.partitions + partitions.len() > self.partitions_max
        {
            if !inner.evict_for(partitions.len(), now) {
                return NO_SESSION;
            }
        }
        let id = loop {
            let id = rng::positive_i32();
            if id != NO_SESSION && !inner.sessions.contains_key(&id) {
                break id;
            }
        };
        inner.partitions += partitions.len();
        let epoch = next_epoch(INITIAL_EPOCH);
        let session = Session { uses_topic_ids, epoch, created: now, last_used: now, partitions };
        inner.sessions.insert(id, session);
        id
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.partitions.len();
        }
    }

    fn resume(
        &mut self,
        request: SessionRequest,
        partitions_max: usize,
    ) -> Result<Plan, SessionError> {
        let id = request.session_id;
        let session = self.sessions.get_mut(&id).ok_or(SessionError::NotFound)?;
        if session.epoch != request.session_epoch {
            return Err(SessionError::Epoch);
        }
        if session.uses_topic_ids != request.uses_topic_ids {
            return Err(SessionError::MixedIds);
        }
        let before = session.partitions.len();
        for (key, wanted) in &request.wanted {
            match session.partitions.get_mut(key) {
                Some(cached) => cached.wanted = *wanted,
                None => session.partitions.push(
                    key.clone(),
                    Cached {
                        wanted: *wanted,
                        high_watermark: Offset::NONE,
                        log_start_offset: Offset::NONE,
                    },
                ),
            }
        }
        for key in &request.forgotten {
            session.partitions.remove(key);
        }
        let (after, wanted) = (session.partitions.len(), session.partitions.wanted());
        session.epoch = next_epoch(session.epoch);
        session.last_used = Instant::now();
        let kind = PlanKind::Incremental { id, epoch: session.epoch };
        self.partitions = self.partitions - before + after;
        if after == 0 {
            // Nothing is left to fetch: the session is over.
            self.remove(id);
            return Ok(Plan { wanted: last_of_each(request.wanted), kind: PlanKind::Sessionless });
        }
        if self.partitions > partitions_max {
            // It outgrew the bound: the client starts again, and is answered without a session.
            self.remove(id);
            return Err(SessionError::NotFound);
        }
        Ok(Plan { wanted, kind })
    }

    /// Makes room for a session of `size` partitions at the cost of one that is unused, or of one
    /// that is smaller and was there for a while.
    fn evict_for(&mut self, size: usize, now: Instant) -> bool {
        let age_min = Duration::from_millis(limits::FETCH_SESSION_IDLE_MS);
        let oldest = self.sessions.iter().min_by_key(|(id, session)| (session.last_used, **id));
        let stale = oldest
            .filter(|(_, session)| now.duration_since(session.last_used) > age_min)
            .map(|(id, _)| *id);
        let smaller = || {
            self.sessions
                .iter()
                .filter(|(_, session)| now.duration_since(session.created) > age_min)
                .map(|(id, session)| (session.partitions.len(), *id))
                .min()
                .filter(|(partitions, _)| *partitions <= size)
                .map(|(_, id)| id)
        };
        let Some(id) = stale.or_else(smaller) else { return false };
        self.remove(id);
        true
    }
}

/// Each partition once: a client that names one twice means the last.
fn last_of_each(wanted: Vec<(PartitionKey, Wanted)>) -> Vec<(PartitionKey, Wanted)> {
    let mut places: HashMap<PartitionKey, usize> = HashMap::with_capacity(wanted.len());
    let mut out: Vec<(PartitionKey, Wanted)> = Vec::with_capacity(wanted.len());
    for (key, wanted) in wanted {
        match places.get(&key) {
            Some(place) => out[*place].1 = wanted,
            None => {
                places.insert(key.clone(), out.len());
                out.push((key, wanted));
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "fetch_session_tests.rs"]
mod tests;
