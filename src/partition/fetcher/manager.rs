//! The tasks that make the fetchers' calls, one per leader node.

use super::{Core, Options, Sent, Throttle};
use crate::env::clock::Clock;
use crate::env::spawn;
use crate::limits::REPLICA_CALL_MS_MAX;
use crate::partition::Partition;
use crate::replica::FlushReport;
use crate::rpc::replica::{FetchResponse, Report, ReportResponse};
use crate::rpc::{self, Pool};
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, TopicId};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// What a manager is made with.
#[derive(Debug, Clone)]
pub struct ManagerOptions {
    /// This node.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// Connections to the other nodes.
    pub pool: Pool,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// `follower.replication.throttled.rate`: bytes a second that partitions which are behind may
    /// be copied with, all together.
    pub throttled_rate: u64,
}

/// All fetchers of a node. Calls do not block; they may be made from any thread.
#[derive(Debug)]
pub struct Manager {
    pool: Pool,
    clock: Arc<dyn Clock>,
    node: NodeId,
    throttle: Arc<Mutex<Throttle>>,
    runtime: tokio::runtime::Handle,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    broker_epoch: BrokerEpoch,
    /// By leader node. A fetcher without partitions rests; there are no more than nodes.
    workers: BTreeMap<NodeId, Arc<Worker>>,
    assigned: BTreeMap<(TopicId, PartitionIndex), NodeId>,
    stopped: bool,
}

/// One fetcher and its task.
#[derive(Debug)]
struct Worker {
    leader: NodeId,
    pool: Pool,
    clock: Arc<dyn Clock>,
    state: Mutex<WorkerState>,
    /// What was flushed since the last report. Under a lock of its own, so that the flusher never
    /// waits for an answer that is being worked on. One entry a partition.
    flushed: Mutex<BTreeMap<(TopicId, PartitionIndex), FlushReport>>,
    wake: Notify,
}

#[derive(Debug)]
struct WorkerState {
    core: Core,
    address: String,
    stopped: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // After a panic inside a fetcher its session may be half told: the leader refuses what does
    // not fit, and the session begins anew.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Manager {
    /// A manager without partitions. Its calls are made on the runtime that it is made on.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(options: ManagerOptions) -> Arc<Self> {
        let ManagerOptions { node, broker_epoch, pool, clock, throttled_rate } = options;
        let throttle = Throttle::new(throttled_rate, clock.monotonic_ms());
        let (workers, assigned) = (BTreeMap::new(), BTreeMap::new());
        Arc::new(Self {
            pool,
            clock,
            node,
            throttle: Arc::new(Mutex::new(throttle)),
            runtime: tokio::runtime::Handle::current(),
            inner: Mutex::new(Inner { broker_epoch, workers, assigned, stopped: false }),
        })
    }

    /// Copies a partition from `leader`, reached at `address`, in `leader_epoch`, from now on; no
    /// longer from any other node. The partition must have been told to follow
    /// ([`Partition::assign`]) before.
    pub fn assign(
        &self,
        partition: &Arc<Partition>,
        leader: NodeId,
        address: &str,
        leader_epoch: LeaderEpoch,
    ) {
        let key = (partition.topic_id(), partition.topic_partition().partition);
        let mut inner = lock(&self.inner);
        if inner.stopped {
            return;
        }
        if let Some(before) = inner.assigned.insert(key, leader).filter(|node| *node != leader)
            && let Some(worker) = inner.workers.get(&before)
        {
            lock(&worker.state).core.remove(key.0, key.1);
        }
        let broker_epoch = inner.broker_epoch;
        let worker = inner
            .workers
            .entry(leader)
            .or_insert_with(|| self.start_worker(leader, address, broker_epoch));
        {
            let mut state = lock(&worker.state);
            if state.address != address {
                address.clone_into(&mut state.address);
            }
            state.core.add(Arc::clone(partition), leader_epoch);
        }
        worker.wake.notify_one();
    }

    /// Stops copying a partition.
    pub fn remove(&self, topic_id: TopicId, partition: PartitionIndex) {
        let mut inner = lock(&self.inner);
        if let Some(leader) = inner.assigned.remove(&(topic_id, partition))
            && let Some(worker) = inner.workers.get(&leader)
        {
            lock(&worker.state).core.remove(topic_id, partition);
        }
    }

    /// This node registered anew.
    pub fn set_broker_epoch(&self, broker_epoch: BrokerEpoch) {
        let mut inner = lock(&self.inner);
        inner.broker_epoch = broker_epoch;
        for worker in inner.workers.values() {
            lock(&worker.state).core.set_broker_epoch(broker_epoch);
            worker.wake.notify_one();
        }
    }

    /// A node is reached at another address now.
    pub fn set_address(&self, leader: NodeId, address: &str) {
        if let Some(worker) = lock(&self.inner).workers.get(&leader) {
            address.clone_into(&mut lock(&worker.state).address);
        }
    }

    /// The throttle's rate changed.
    pub fn set_throttled_rate(&self, bytes_per_second: u64) {
        lock(&self.throttle).set_rate(bytes_per_second, self.clock.monotonic_ms());
    }

    /// Passes on what a partition flushed; called by
    /// [`Notices::flushed_as_follower`](crate::partition::Notices::flushed_as_follower).
    pub fn flushed(&self, topic_id: TopicId, partition: PartitionIndex, report: FlushReport) {
        let worker = lock(&self.inner).workers.get(&report.leader).cloned();
        if let Some(worker) = worker {
            lock(&worker.flushed).insert((topic_id, partition), report);
            worker.wake.notify_one();
        }
    }

    /// How many partitions are known to be behind what their leaders have committed.
    #[must_use]
    pub fn behind_count(&self) -> usize {
        let workers: Vec<_> = lock(&self.inner).workers.values().cloned().collect();
        workers.iter().map(|worker| lock(&worker.state).core.behind_count()).sum()
    }

    /// Ends all tasks. Nothing is copied any more.
    pub fn stop(&self) {
        let mut inner = lock(&self.inner);
        inner.stopped = true;
        inner.assigned.clear();
        for worker in std::mem::take(&mut inner.workers).into_values() {
            lock(&worker.state).stopped = true;
            worker.wake.notify_one();
        }
    }

    fn start_worker(&self, leader: NodeId, address: &str, epoch: BrokerEpoch) -> Arc<Worker> {
        let options = Options::new(self.node, epoch, leader, Arc::clone(&self.throttle));
        let (core, address) = (Core::new(options), address.to_owned());
        let worker = Arc::new(Worker {
            leader,
            pool: self.pool.clone(),
            clock: Arc::clone(&self.clock),
            state: Mutex::new(WorkerState { core, address, stopped: false }),
            flushed: Mutex::default(),
            wake: Notify::new(),
        });
        let _in_runtime = self.runtime.enter();
        spawn::spawn("replica fetcher", Arc::clone(&worker).run());
        worker
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A call that ended.
enum Done {
    Fetch(u64, Result<FetchResponse, rpc::Error>),
    Report(Report, Result<ReportResponse, rpc::Error>),
}

type Calls = FuturesUnordered<BoxFuture<'static, Done>>;

impl Worker {
    async fn run(self: Arc<Self>) {
        let mut calls = Calls::new();
        // One report at a time: what is flushed meanwhile goes with the next.
        let mut reporting = false;
        loop {
            let wait_ms = {
                let mut state = lock(&self.state);
                if state.stopped {
                    return;
                }
                for ((topic_id, partition), report) in std::mem::take(&mut *lock(&self.flushed)) {
                    state.core.flushed(topic_id, partition, report);
                }
                let now_ms = self.clock.monotonic_ms();
                while let Some(sent) = state.core.next_request(now_ms) {
                    calls.push(self.fetch(&state.address, sent));
                }
                if !reporting && let Some(report) = state.core.flush_report() {
                    calls.push(self.report(&state.address, report));
                    reporting = true;
                }
                state.core.wakes_at_ms().map(|at_ms| at_ms.saturating_sub(now_ms).max(1))
            };
            let timer = async {
                match wait_ms {
                    Some(ms) => tokio::time::sleep(Duration::from_millis(ms.unsigned_abs())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                Some(done) = calls.next() => {
                    reporting &= !matches!(done, Done::Report(..));
                    self.take(done);
                }
                () = timer => {}
            }
        }
    }

    fn take(&self, done: Done) {
        let now_ms = self.clock.monotonic_ms();
        let mut state = lock(&self.state);
        match done {
            Done::Fetch(id, Ok(response)) => state.core.on_response(now_ms, id, response),
            Done::Fetch(id, Err(error)) => {
                tracing::debug!(leader = %self.leader, %error, "a fetch was not answered");
                state.core.on_failure(now_ms, id);
            }
            Done::Report(report, Ok(response)) => state.core.on_report(&report, Some(&response)),
            Done::Report(report, Err(error)) => {
                tracing::debug!(leader = %self.leader, %error, "a report was not answered");
                state.core.on_report(&report, None);
            }
        }
    }

    fn fetch(&self, address: &str, sent: Sent) -> BoxFuture<'static, Done> {
        let peer = self.pool.bulk(self.leader, address);
        let wait_ms = u64::from(sent.request.wait_ms_max) + REPLICA_CALL_MS_MAX;
        Box::pin(async move {
            let answer = peer.fetch(&sent.request, Duration::from_millis(wait_ms)).await;
            Done::Fetch(sent.id, answer)
        })
    }

    fn report(&self, address: &str, report: Report) -> BoxFuture<'static, Done> {
        let peer = self.pool.bulk(self.leader, address);
        Box::pin(async move {
            let patience = Duration::from_millis(REPLICA_CALL_MS_MAX);
            let answer = peer.report(&report, patience).await;
            Done::Report(report, answer)
        })
    }
}
