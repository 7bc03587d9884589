//! The task that drains a producer's batches: groups them by leader, keeps a few requests open
//! per broker, and goes on with whatever each answer asks for.

use super::Acks;
use super::accumulator::{Accumulator, Identity, PartitionQueue, State};
use super::batch::Batch;
use crate::client::cluster::{Cluster, Purpose, TopicInfo};
use crate::client::connection::Connection;
use crate::client::{Error, cluster::Backoff};
use crate::limits;
use crate::protocol::messages::init_producer_id::InitProducerIdRequest;
use crate::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use crate::protocol::{ErrorCode, Str};
use crate::types::{NodeId, PartitionIndex, TopicId};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The last version that names topics, for brokers whose metadata has no topic ids.
const VERSION_BY_NAME_MAX: i16 = 12;

pub(super) struct Sender {
    pub(super) cluster: Arc<Cluster>,
    pub(super) accumulator: Arc<Accumulator>,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
    open_requests: HashMap<NodeId, usize>,
    connecting: HashSet<NodeId>,
    /// Brokers that asked for silence, or could not be reached a moment ago.
    pub(super) quiet_until: HashMap<NodeId, Instant>,
    refreshing: bool,
    pub(super) refresh_wanted: bool,
    refresh_not_before: Instant,
    identifying: bool,
    /// What went wrong last, for batches that run out of time.
    pub(super) trouble: Option<String>,
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) batch: Batch,
}

enum Event {
    Answered { node: NodeId, sent: Vec<Sent>, answer: Result<ProduceResponse, Error> },
    Connected { node: NodeId, result: Result<(), Error> },
    Refreshed(Result<(), Error>),
    Identified(Result<Identity, Error>),
}

/// What can be done at one moment.
#[derive(Default)]
struct Plan {
    requests: BTreeMap<NodeId, Request>,
    connect: HashSet<NodeId>,
    leaderless: bool,
    identity_wanted: bool,
    wake: Option<Instant>,
}

#[derive(Default)]
struct Request {
    sent: Vec<Sent>,
    bytes: usize,
}

impl Plan {
    fn wake_at(&mut self, moment: Instant) {
        self.wake = Some(self.wake.map_or(moment, |wake| wake.min(moment)));
    }
}

impl Sender {
    pub(super) fn new(cluster: Arc<Cluster>, accumulator: Arc<Accumulator>) -> Self {
        Self {
            cluster,
            accumulator,
            events: FuturesUnordered::new(),
            open_requests: HashMap::new(),
            connecting: HashSet::new(),
            quiet_until: HashMap::new(),
            refreshing: false,
            refresh_wanted: false,
            refresh_not_before: Instant::now(),
            identifying: false,
            trouble: None,
        }
    }

    /// Gets the first producer id, so that a cluster that hands none out is found at the start.
    pub(super) async fn acquire_producer_id(&mut self) -> Result<(), Error> {
        if self.accumulator.options.idempotence {
            let identity = identify(self.cluster.clone()).await?;
            self.accumulator.lock().identity = Some(identity);
        }
        Ok(())
    }

    /// Runs until the producer is closed and nothing is left.
    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            let plan = self.plan(now);
            let wake = plan.wake;
            let sent_some = !plan.requests.is_empty();
            self.carry_out(plan, now);
            if sent_some {
                continue;
            }
            if self.accumulator.is_empty() && self.accumulator.lock().closed {
                return;
            }
            let wake = wake.unwrap_or_else(|| now + Duration::from_secs(1));
            tokio::select! {
                Some(event) = self.events.next(), if !self.events.is_empty() => self.handle(event),
                () = self.accumulator.work.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn plan(&mut self, now: Instant) -> Plan {
        let accumulator = self.accumulator.clone();
        let mut guard = accumulator.lock();
        let mut plan = Plan::default();
        let names: Vec<Arc<str>> = guard.topics.keys().cloned().collect();
        for name in names {
            let info = self.cluster.topic(&name);
            let count = guard.topics.get(&name).map_or(0, |topic| topic.partitions.len());
            for partition in 0..count {
                self.expire(&mut guard, &name, partition, now);
                self.plan_partition(&mut guard, &mut plan, &name, partition, info.as_deref(), now);
            }
        }
        plan
    }

    /// Gives batches up that waited too long.
    fn expire(&self, state: &mut State, topic: &Arc<str>, partition: usize, now: Instant) {
        let limit_ms = self.accumulator.options.delivery_timeout_ms;
        loop {
            let Some(queue) = partition_queue(state, topic, partition) else { return };
            let late = |batch: &Batch| batch.created + Duration::from_millis(limit_ms) <= now;
            if !queue.waiting.front().is_some_and(late) {
                return;
            }
            let Some(batch) = queue.waiting.pop_front() else { return };
            let last = batch.last_error.clone().or_else(|| self.trouble.clone());
            let error = Error::DeliveryTimeout {
                topic: topic.to_string(),
                partition: partition as i32,
                waited_ms: limit_ms,
                last: last.unwrap_or_else(|| "it was never sent".to_owned()),
            };
            self.accumulator.resolve(state, batch, Err(error));
        }
    }

    fn plan_partition(
        &self,
        state: &mut State,
        plan: &mut Plan,
        topic: &Arc<str>,
        partition: usize,
        info: Option<&TopicInfo>,
        now: Instant,
    ) {
        let options = &self.accumulator.options;
        let shared_identity = state.identity;
        let hurry = self.accumulator.hurries(state);
        let Some(queue) = partition_queue(state, topic, partition) else { return };
        let Some(front) = queue.waiting.front() else { return };
        if self.is_held(queue, front, hurry, plan, now) {
            return;
        }
        let leader = info.and_then(|info| info.partitions.get(partition)?.leader);
        let Some(node) = leader else {
            plan.leaderless = true;
            return;
        };
        if !self.has_room(node, front, plan, now) {
            return;
        }
        let again = front.attempts > 0;
        if options.idempotence && front.stamp.is_none() {
            let Some(identity) = queue.identity.or(shared_identity) else {
                plan.identity_wanted = true;
                return;
            };
            let count = front.count();
            let stamp = queue.stamp(identity, count);
            if let Some(front) = queue.waiting.front_mut() {
                front.stamp = Some(stamp);
            }
        }
        let Some(mut batch) = queue.waiting.pop_front() else { return };
        batch.close();
        queue.under_way.insert(batch.order());
        queue.alone = again;
        // Only a request with something in it is entered: an empty one would count as progress.
        let request = plan.requests.entry(node).or_default();
        request.bytes += batch.bytes();
        request.sent.push(Sent { topic: topic.clone(), partition: partition as i32, batch });
    }

    /// Whether the partition's first batch has to wait for time or for those under way.
    fn is_held(
        &self,
        queue: &PartitionQueue,
        front: &Batch,
        hurry: bool,
        plan: &mut Plan,
        now: Instant,
    ) -> bool {
        let options = &self.accumulator.options;
        plan.wake_at(front.created + Duration::from_millis(options.delivery_timeout_ms));
        if let Some(moment) = queue.paused_until.filter(|moment| *moment > now) {
            plan.wake_at(moment);
            return true;
        }
        let again = front.attempts > 0;
        if queue.alone || (again && !queue.under_way.is_empty()) {
            return true;
        }
        let at_once = if options.idempotence {
            options.in_flight_max.min(limits::CLIENT_PARTITION_IN_FLIGHT_MAX)
        } else {
            options.in_flight_max
        };
        if queue.under_way.len() >= at_once {
            return true;
        }
        let due = front.created + Duration::from_millis(options.linger_ms);
        let lingers = !hurry && front.is_open() && !again && due > now;
        if lingers {
            plan.wake_at(due);
        }
        lingers
    }

    /// Whether the broker can be sent the batch now.
    fn has_room(&self, node: NodeId, front: &Batch, plan: &mut Plan, now: Instant) -> bool {
        let options = &self.accumulator.options;
        if let Some(moment) = self.quiet_until.get(&node).filter(|moment| **moment > now) {
            plan.wake_at(*moment);
            return false;
        }
        if self.cluster.open_connection(node, Purpose::Produce).is_none() {
            plan.connect.insert(node);
            return false;
        }
        // Without an answer there is nothing to pair requests with: one after the other.
        let requests_max = if options.acks == Acks::None { 1 } else { options.in_flight_max };
        if self.open_requests.get(&node).copied().unwrap_or(0) >= requests_max {
            return false;
        }
        let planned = plan.requests.get(&node).map_or(0, |request| request.bytes);
        planned == 0 || planned + front.bytes() <= limits::CLIENT_REQUEST_BYTES_MAX
    }

    fn carry_out(&mut self, plan: Plan, now: Instant) {
        for (node, request) in plan.requests {
            self.dispatch(node, request.sent);
        }
        for node in plan.connect {
            if self.connecting.insert(node) {
                let cluster = self.cluster.clone();
                self.events.push(Box::pin(async move {
                    let result = cluster.connection(node, Purpose::Produce).await.map(drop);
                    Event::Connected { node, result }
                }));
            }
        }
        let wanted = self.refresh_wanted || plan.leaderless || self.cluster.is_stale();
        if wanted && !self.refreshing && self.refresh_not_before <= now {
            self.refreshing = true;
            self.refresh_wanted = false;
            let backoff = Duration::from_millis(self.cluster.options().retry_backoff_ms);
            self.refresh_not_before = now + backoff;
            self.events.push(Box::pin(refresh(self.cluster.clone(), self.accumulator.clone())));
        }
        if plan.identity_wanted && !self.identifying {
            self.identifying = true;
            let cluster = self.cluster.clone();
            self.events.push(Box::pin(async move { Event::Identified(identify(cluster).await) }));
        }
    }

    fn dispatch(&mut self, node: NodeId, mut sent: Vec<Sent>) {
        *self.open_requests.entry(node).or_default() += 1;
        for sent in &mut sent {
            if sent.batch.attempts > 0 {
                self.accumulator.lock().totals.retries += 1;
            }
            sent.batch.attempts += 1;
        }
        let (request, by_name) = self.request(&mut sent);
        let Some(connection) = self.cluster.open_connection(node, Purpose::Produce) else {
            let error = Error::Closed;
            let answered = Event::Answered { node, sent, answer: Err(error) };
            self.events.push(Box::pin(async move { answered }));
            return;
        };
        let options = &self.accumulator.options;
        if options.acks == Acks::None {
            self.events.push(Box::pin(send_only(connection, request, node, sent)));
            return;
        }
        // The broker keeps to the time limit by itself; a little more, and the connection is lost.
        let timeout = Duration::from_millis(options.request_timeout_ms + 1_000);
        let version_max = if by_name { VERSION_BY_NAME_MAX } else { i16::MAX };
        // Begun here and not in the future: the order of requests is the order of this loop.
        let begun = connection.begin(&request, timeout, version_max);
        self.events.push(Box::pin(async move {
            let answer = match begun {
                Ok(pending) => pending.wait().await,
                Err(error) => Err(error),
            };
            Event::Answered { node, sent, answer }
        }));
    }

    /// The request, and whether it must name topics because an id is not known.
    fn request(&self, sent: &mut [Sent]) -> (ProduceRequest, bool) {
        let mut by_name = false;
        let mut topics: Vec<TopicProduceData> = Vec::new();
        for sent in sent {
            let records = sent.batch.pack();
            let data = PartitionProduceData {
                index: PartitionIndex(sent.partition),
                records: Some(records),
                ..PartitionProduceData::default()
            };
            match topics.last_mut() {
                Some(last) if *last.name == *sent.topic => last.partition_data.push(data),
                _ => {
                    let info = self.cluster.topic(&sent.topic);
                    let topic_id = info.map_or(TopicId::ZERO, |info| info.id);
                    by_name |= topic_id.is_zero();
                    topics.push(TopicProduceData {
                        name: Str::from(&*sent.topic),
                        topic_id,
                        partition_data: vec![data],
                        ..TopicProduceData::default()
                    });
                }
            }
        }
        let options = &self.accumulator.options;
        let request = ProduceRequest {
            acks: options.acks.to_i16(),
            timeout_ms: i32::try_from(options.request_timeout_ms).unwrap_or(i32::MAX),
            topic_data: topics,
            ..ProduceRequest::default()
        };
        (request, by_name)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Answered { node, sent, answer } => {
                if let Some(open) = self.open_requests.get_mut(&node) {
                    *open = open.saturating_sub(1);
                }
                self.answered(node, sent, answer);
            }
            Event::Connected { node, result } => {
                self.connecting.remove(&node);
                if let Err(error) = result {
                    self.trouble = Some(error.to_string());
                    let wait = Duration::from_millis(self.cluster.options().retry_backoff_ms);
                    self.quiet_until.insert(node, Instant::now() + wait);
                    self.refresh_wanted = true;
                }
            }
            Event::Refreshed(result) => {
                self.refreshing = false;
                if let Err(error) = result {
                    self.trouble = Some(error.to_string());
                    self.refresh_wanted = true;
                }
            }
            Event::Identified(result) => {
                self.identifying = false;
                match result {
                    Ok(identity) => self.accumulator.lock().identity = Some(identity),
                    Err(error) => self.trouble = Some(error.to_string()),
                }
            }
        }
    }
}

pub(super) fn partition_queue<'a>(
    state: &'a mut State,
    topic: &str,
    partition: usize,
) -> Option<&'a mut PartitionQueue> {
    state.topics.get_mut(topic)?.partitions.get_mut(partition)
}

async fn send_only(
    connection: Connection,
    request: ProduceRequest,
    node: NodeId,
    sent: Vec<Sent>,
) -> Event {
    let answer = connection.send_only(&request, VERSION_BY_NAME_MAX).await;
    // No answer means: as good as stored.
    Event::Answered { node, sent, answer: answer.map(|()| ProduceResponse::default()) }
}

async fn refresh(cluster: Arc<Cluster>, accumulator: Arc<Accumulator>) -> Event {
    let names: Vec<Arc<str>> = accumulator.lock().topics.keys().cloned().collect();
    let asked: Vec<&str> = names.iter().map(|name| &**name).collect();
    let result = cluster.refresh(Some(&asked)).await;
    for name in names {
        if let Some(info) = cluster.topic(&name) {
            accumulator.learn(&info);
        }
    }
    Event::Refreshed(result)
}

async fn identify(cluster: Arc<Cluster>) -> Result<Identity, Error> {
    let request = InitProducerIdRequest {
        transaction_timeout_ms: i32::MAX,
        ..InitProducerIdRequest::default()
    };
    let mut backoff = Backoff::new(cluster.options().retry_backoff_ms);
    let begun = Instant::now();
    loop {
        let answer = cluster.ask_any(&request).await?;
        let code = answer.error_code;
        if code == ErrorCode::None {
            return Ok(Identity { id: answer.producer_id, epoch: answer.producer_epoch });
        }
        let error = Error::refused("a producer id was asked for", code, None);
        let limit = Duration::from_millis(cluster.options().request_timeout_ms);
        if !code.is_retriable() || begun.elapsed() > limit {
            return Err(error);
        }
        backoff.wait().await;
    }
}
