//! Answering followers: fetch sessions over the partitions of this node.
//!
//! [`ReplicaServer::begin`] and [`ReplicaServer::poll`] are synchronous, for the simulator;
//! [`ReplicaServer::fetch`] waits for news in between.
//!
//! Invariants:
//! - A partition that was answered is not answered again before the follower has named it anew, so
//!   nothing is sent twice, however many requests are under way.
//! - A request that is not the next of its session ends that session: the follower then names
//!   every partition (KIP-227), and none is silently left out.
//! - Sessions, their partitions, and the bytes of one answer are bounded.
//!
//! Must never: hold a lock across an await, or serve bytes whose checksum was not verified.

mod ready;
mod session;

pub(crate) use ready::Ready;

use crate::env::clock::Clock;
use crate::env::spawn;
use crate::limits::{
    REPLICA_CALL_MS_MAX, REPLICA_FETCH_BYTES_MAX, REPLICA_FETCH_WAIT_MS_MAX,
    REPLICA_SESSION_PARTITIONS_MAX, REPLICA_SESSIONS_MAX,
};
use crate::partition::{ReplicaAnswer, ReplicaRecords, Table};
use crate::rpc::replica::{
    FetchRequest, FetchResponse, Fetched, FetchedPartition, ReplicaError, Report, ReportResponse,
};
use crate::types::{NodeId, PartitionIndex, TopicId};
use bytes::Bytes;
use session::{Part, Session};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A partition by its topic's id.
pub(crate) type Key = (TopicId, PartitionIndex);

/// Answers the followers of this node's partitions.
#[derive(Debug)]
pub struct ReplicaServer {
    table: Arc<Table>,
    clock: Arc<dyn Clock>,
    sessions: Mutex<Sessions>,
    /// Told when a session has taken a request, for those that came too early.
    moved: Notify,
}

#[derive(Debug, Default)]
struct Sessions {
    by_replica: BTreeMap<NodeId, Arc<Mutex<Session>>>,
    last_id: i32,
}

/// A fetch that was begun and not answered yet.
#[derive(Debug)]
pub struct Fetching {
    session: Arc<Mutex<Session>>,
    ready: Arc<Ready>,
    turn: i32,
    bytes_max: usize,
    deadline_ms: i64,
}

/// What is to be sent, before cold records are read.
#[derive(Debug)]
struct Gathered {
    session_id: i32,
    session_epoch: i32,
    parts: Vec<Part>,
}

impl Fetching {
    /// When it is answered at the latest, on the server's monotonic clock.
    #[must_use]
    pub fn deadline_ms(&self) -> i64 {
        self.deadline_ms
    }

    /// When there may be an answer although nothing else happens.
    #[must_use]
    pub fn wakes_at_ms(&self) -> i64 {
        self.ready.due_at_ms().unwrap_or(i64::MAX).min(self.deadline_ms)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic leaves of a session is still a set of partitions; the follower's next request
    // that does not fit it ends it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReplicaServer {
    /// A server without sessions, for the partitions of `table`.
    #[must_use]
    pub fn new(table: Arc<Table>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (sessions, moved) = (Mutex::default(), Notify::new());
        Arc::new(Self { table, clock, sessions, moved })
    }

    /// Takes a request into its session. `caller` is the proven sender.
    ///
    /// # Errors
    /// Why the whole request is refused.
    pub fn begin(&self, caller: NodeId, request: FetchRequest) -> Result<Fetching, ReplicaError> {
        if request.replica != caller {
            return Err(ReplicaError::NotReplica);
        }
        let now_ms = self.clock.monotonic_ms();
        let session = self.session_of(&request, now_ms)?;
        let mut held = lock(&session);
        held.used_ms = now_ms;
        held.turn = request.session_epoch;
        held.next_epoch = request.session_epoch.checked_add(1).unwrap_or(1);
        for key in request.forgotten {
            held.forget(key);
        }
        if held.len() + request.partitions.len() > REPLICA_SESSION_PARTITIONS_MAX {
            held.closed = true;
            return Err(ReplicaError::Busy);
        }
        for asked in request.partitions {
            held.name(asked, &self.table, now_ms);
        }
        let ready = Arc::clone(&held.ready);
        drop(held);
        // Whoever waits in this session has to make room.
        ready.notify.notify_waiters();
        self.moved.notify_waiters();
        let wait_ms = request.wait_ms_max.min(REPLICA_FETCH_WAIT_MS_MAX);
        Ok(Fetching {
            session,
            ready,
            turn: request.session_epoch,
            bytes_max: request.bytes_max.min(REPLICA_FETCH_BYTES_MAX) as usize,
            deadline_ms: now_ms.saturating_add(i64::from(wait_ms)),
        })
    }

    /// The session that a request continues, or a new one.
    fn session_of(
        &self,
        request: &FetchRequest,
        now_ms: i64,
    ) -> Result<Arc<Mutex<Session>>, ReplicaError> {
        let mut sessions = lock(&self.sessions);
        if request.session_id == 0 {
            // A follower has one fetcher for this node, so its older session is over.
            if let Some(old) = sessions.by_replica.remove(&request.replica) {
                close(&old);
            }
            sessions.make_room(now_ms);
            sessions.last_id = sessions.last_id.checked_add(1).unwrap_or(1);
            let id = sessions.last_id;
            let session = Session::new(id, request.replica, request.broker_epoch);
            let session = Arc::new(Mutex::new(session));
            sessions.by_replica.insert(request.replica, Arc::clone(&session));
            return Ok(session);
        }
        let Some(session) = sessions.by_replica.get(&request.replica).cloned() else {
            return Err(ReplicaError::SessionNotFound);
        };
        let held = lock(&session);
        if held.id != request.session_id || held.broker_epoch != request.broker_epoch || held.closed
        {
            return Err(ReplicaError::SessionNotFound);
        }
        if held.next_epoch != request.session_epoch {
            drop(held);
            sessions.by_replica.remove(&request.replica);
            close(&session);
            return Err(ReplicaError::SessionEpoch);
        }
        drop(held);
        Ok(session)
    }

    /// The answer, if there is news, or the time is up, or a later request took the turn. May wait
    /// for the disk.
    pub fn poll(&self, fetching: &Fetching) -> Option<FetchResponse> {
        match self.gather(fetching)? {
            Ok(gathered) => Some(gathered.finish()),
            Err(error) => Some(FetchResponse::refused(error)),
        }
    }

    fn gather(&self, fetching: &Fetching) -> Option<Result<Gathered, ReplicaError>> {
        let now_ms = self.clock.monotonic_ms();
        let mut session = lock(&fetching.session);
        if session.closed {
            return Some(Err(ReplicaError::SessionNotFound));
        }
        let (session_id, session_epoch) = (session.id, fetching.turn);
        if session.turn != fetching.turn {
            // A later request waits: it gets the news.
            return Some(Ok(Gathered { session_id, session_epoch, parts: Vec::new() }));
        }
        let late = now_ms >= fetching.deadline_ms;
        let parts = session.gather(now_ms, fetching.bytes_max, late);
        (late || !parts.is_empty()).then_some(Ok(Gathered { session_id, session_epoch, parts }))
    }

    /// Answers a request, once there is news.
    pub async fn fetch(&self, caller: NodeId, request: FetchRequest) -> FetchResponse {
        self.wait_for_turn(&request).await;
        let fetching = match self.begin(caller, request) {
            Ok(fetching) => fetching,
            Err(error) => return FetchResponse::refused(error),
        };
        loop {
            let news = fetching.ready.notify.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            match self.gather(&fetching) {
                Some(Ok(gathered)) if gathered.is_cold() => {
                    let read = spawn::blocking("cold replica read", || gathered.finish()).await;
                    return read.unwrap_or_else(|| FetchResponse::refused(ReplicaError::Busy));
                }
                Some(Ok(gathered)) => return gathered.finish(),
                Some(Err(error)) => return FetchResponse::refused(error),
                None => {}
            }
            let wait_ms = fetching.wakes_at_ms().saturating_sub(self.clock.monotonic_ms()).max(1);
            let wait = Duration::from_millis(wait_ms.unsigned_abs());
            tokio::select! {
                () = news => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Requests of one session may overtake each other on their way through this node: the second
    /// of two waits a little for the first.
    async fn wait_for_turn(&self, request: &FetchRequest) {
        let patience = Duration::from_millis(REPLICA_CALL_MS_MAX / 10);
        let in_turn = async {
            loop {
                let moved = self.moved.notified();
                tokio::pin!(moved);
                moved.as_mut().enable();
                if !self.is_early(request) {
                    return;
                }
                moved.await;
            }
        };
        // If the first was lost, the session ends as it should.
        let _ = tokio::time::timeout(patience, in_turn).await;
    }

    fn is_early(&self, request: &FetchRequest) -> bool {
        let session = lock(&self.sessions).by_replica.get(&request.replica).cloned();
        request.session_id != 0
            && session.is_some_and(|session| {
                let session = lock(&session);
                session.id == request.session_id
                    && session.next_epoch.checked_add(1) == Some(request.session_epoch)
            })
    }

    /// Takes a follower's report.
    pub fn report(&self, caller: NodeId, report: &Report) -> ReportResponse {
        if report.replica != caller {
            let error = Some(ReplicaError::NotReplica);
            return ReportResponse { error, failed: Vec::new() };
        }
        let mut failed = Vec::new();
        for entry in &report.partitions {
            let known = self.table.by_id(entry.topic_id, entry.partition);
            let taken = match known {
                Some(partition) => {
                    partition.report_from_replica(report.replica, report.broker_epoch, entry)
                }
                None => Err(ReplicaError::UnknownPartition),
            };
            if let Err(error) = taken {
                failed.push((entry.topic_id, entry.partition, error));
            }
        }
        ReportResponse { error: None, failed }
    }

    /// Forgets the session of a follower, for instance when its connection was lost.
    pub fn forget(&self, replica: NodeId) {
        if let Some(session) = lock(&self.sessions).by_replica.remove(&replica) {
            close(&session);
        }
    }

    /// How many sessions there are.
    #[must_use]
    pub fn session_count(&self) -> usize {
        lock(&self.sessions).by_replica.len()
    }
}

fn close(session: &Mutex<Session>) {
    let mut session = lock(session);
    session.closed = true;
    session.ready.notify.notify_waiters();
}

impl Sessions {
    /// Evicts the session that was not used for the longest time, if there are too many.
    fn make_room(&mut self, now_ms: i64) {
        while self.by_replica.len() >= REPLICA_SESSIONS_MAX {
            let used = |session: &Mutex<Session>| lock(session).used_ms;
            let oldest = self.by_replica.iter().min_by_key(|(_, session)| used(session));
            let Some(replica) = oldest.map(|(replica, _)| *replica) else { return };
            if let Some(session) = self.by_replica.remove(&replica) {
                tracing::warn!(%replica, now_ms, "too many fetch sessions; the oldest was closed");
                close(&session);
            }
        }
    }
}

impl Gathered {
    fn is_cold(&self) -> bool {
        self.parts.iter().any(|part| {
            matches!(
                part.outcome,
                Ok(ReplicaAnswer::Records { records: ReplicaRecords::Cold(_), .. })
            )
        })
    }

    /// Reads what is on disk, and puts the answer together.
    fn finish(self) -> FetchResponse {
        let mut records = Vec::new();
        let mut partitions = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            let (topic_id, partition) = part.key;
            let outcome = part.finish().map(|(fetched, chunks)| {
                records.extend(chunks);
                fetched
            });
            partitions.push(FetchedPartition { topic_id, partition, outcome });
        }
        let (session_id, session_epoch) = (self.session_id, self.session_epoch);
        FetchResponse { error: None, session_id, session_epoch, partitions, records }
    }
}

impl Part {
    fn finish(self) -> Result<(Fetched, Vec<Bytes>), ReplicaError> {
        match self.outcome? {
            ReplicaAnswer::Diverging { high_watermark, log_start, epoch, end } => {
                let diverging = Some((epoch, end));
                let (record_bytes, spared_above) = (0, None);
                let fetched =
                    Fetched { high_watermark, log_start, record_bytes, diverging, spared_above };
                Ok((fetched, Vec::new()))
            }
            ReplicaAnswer::Records { high_watermark, log_start, records, spared_above, .. } => {
                let chunks = match (records, self.partition) {
                    (ReplicaRecords::Ready(chunks), _) => chunks,
                    (ReplicaRecords::Cold(plan), Some(partition)) => {
                        vec![partition.read_for_replica(&plan)?]
                    }
                    (ReplicaRecords::Cold(_), None) => return Err(ReplicaError::Busy),
                };
                let bytes: usize = chunks.iter().map(Bytes::len).sum();
                let record_bytes = u32::try_from(bytes).map_err(|_| ReplicaError::Busy)?;
                let diverging = None;
                let fetched =
                    Fetched { high_watermark, log_start, record_bytes, diverging, spared_above };
                Ok((fetched, chunks))
            }
        }
    }
}
