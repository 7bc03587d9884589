//! Fetch: records from partitions that this node holds, at once or as soon as there are enough
//! (KIP-227, KIP-320, KIP-392, KIP-951).
//!
//! A fetch that finds too little watches its partitions and is woken by them; nothing is polled.
//! While it waits it holds no records.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::common;
use crate::kafka::budget::Lease;
use crate::kafka::connection::Outcome;
use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::kafka::fetch_session::{
    Answered, PartitionKey, Plan, Seen, SessionRequest, TopicRef, Wanted,
};
use crate::kafka::metrics::Metrics;
use crate::kafka::view::NodeAddress;
use crate::limits;
use crate::partition::Isolation;
use crate::protocol::ErrorCode;
use crate::protocol::messages::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, NodeEndpoint,
    PartitionData,
};
use crate::protocol::{Str, messages};
use crate::types::{NodeId, Offset};

mod read;

use read::{Limits, Reader};

/// First version that names topics by id.
const TOPIC_IDS_SINCE: i16 = 13;
/// First version whose replica id is in the replica state.
const REPLICA_STATE_SINCE: i16 = 15;
/// Time that a fetch waits for memory when it asked for no wait itself.
const MEMORY_WAIT_MIN: Duration = Duration::from_secs(1);

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Arc<Broker>,
    call: &Call,
    request: FetchRequest,
) -> Outcome {
    let session = session_request(call.version, &request);
    let begun = broker.sessions.begin(session);
    Metrics::set(&broker.context.metrics.fetch_sessions, broker.sessions.len() as u64);
    let plan = match begun {
        Ok(plan) => plan,
        Err(error) => {
            let error_code = errors::session_code(error);
            let response = FetchResponse { error_code, ..Default::default() };
            return Outcome::Answer(call.answer::<FetchRequest>(&response));
        }
    };
    let (rows, lease) = if is_replica(call.version, &request) {
        (refuse_replica(&plan), None)
    } else {
        fetch(broker, call, &request, &plan).await
    };
    let response = respond(broker, plan, rows);
    Outcome::Answer(call.paid_answer::<FetchRequest>(&response, lease))
}

/// One partition of an answer.
struct Row {
    data: PartitionData,
    /// Where the client should go instead.
    endpoint: Option<NodeAddress>,
}

impl Row {
    fn failed(key: &PartitionKey, error_code: ErrorCode) -> Self {
        // Zero records, never null: librdkafka and Sarama fail on null.
        let data = PartitionData {
            partition_index: key.1,
            error_code,
            high_watermark: Offset::NONE,
            ..Default::default()
        };
        Self { data, endpoint: None }
    }

    fn record_bytes(&self) -> usize {
        self.data.records.as_ref().map_or(0, bytes::Bytes::len)
    }

    fn diverges(&self) -> bool {
        self.data.diverging_epoch != EpochEndOffset::default()
    }

    /// Whether the client is sent to another replica.
    fn leads_away(&self) -> bool {
        self.data.preferred_read_replica != NodeId::NONE
    }

    fn seen(&self) -> Seen {
        Seen {
            high_watermark: self.data.high_watermark,
            log_start_offset: self.data.log_start_offset,
            has_records: self.record_bytes() > 0,
            has_error: self.data.error_code.is_err(),
            has_news: self.diverges() || self.leads_away(),
        }
    }
}

fn session_request(version: i16, request: &FetchRequest) -> SessionRequest {
    let uses_topic_ids = version >= TOPIC_IDS_SINCE;
    let topic_ref = |name: &Str, id| {
        if uses_topic_ids { TopicRef::Id(id) } else { TopicRef::Name(Arc::from(name.as_str())) }
    };
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let topic_ref = topic_ref(&topic.topic, topic.topic_id);
        for partition in &topic.partitions {
            wanted.push((
                (topic_ref.clone(), partition.partition),
                Wanted {
                    fetch_offset: partition.fetch_offset,
                    bytes_max: partition.partition_max_bytes,
                    current_leader_epoch: partition.current_leader_epoch,
                    last_fetched_epoch: partition.last_fetched_epoch,
                },
            ));
        }
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let topic_ref = topic_ref(&topic.topic, topic.topic_id);
        forgotten.extend(topic.partitions.iter().map(|index| (topic_ref.clone(), *index)));
    }
    SessionRequest {
        session_id: request.session_id,
        session_epoch: request.session_epoch,
        uses_topic_ids,
        wanted,
        forgotten,
    }
}

/// Whether the request claims to come from a replica. Replicas fetch from the node port, never
/// from here: a consumer that pretends to be one must not move the high watermark (CVE-2018-1288).
fn is_replica(version: i16, request: &FetchRequest) -> bool {
    let replica = if version >= REPLICA_STATE_SINCE {
        request.replica_state.replica_id
    } else {
        request.replica_id
    };
    replica.0 >= 0
}

fn refuse_replica(plan: &Plan) -> Vec<(PartitionKey, Row)> {
    let refuse = |(key, _): &(PartitionKey, Wanted)| {
        // As Kafka answers a replica that has no right to be one.
        (key.clone(), Row::failed(key, ErrorCode::TopicAuthorizationFailed))
    };
    plan.wanted.iter().map(refuse).collect()
}

/// Reads until there is enough, the time is up, or something happened that the client must know.
async fn fetch(
    broker: &Broker,
    call: &Call,
    request: &FetchRequest,
    plan: &Plan,
) -> (Vec<(PartitionKey, Row)>, Option<Lease>) {
    let config = &broker.context.config;
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(config.fetch_bytes_max());
    let bytes_min = usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max);
    let wait_ms = request.max_wait_ms.clamp(0, limits::FETCH_WAIT_MS_MAX).unsigned_abs();
    let deadline = Instant::now() + Duration::from_millis(u64::from(wait_ms));
    let isolation = Isolation::from_wire(request.isolation_level);
    let rack = &*request.rack_id;
    let reader = Reader { broker, version: call.version, isolation, rack, plan };
    let limits =
        Limits { bytes_max, memory_deadline: deadline.max(Instant::now() + MEMORY_WAIT_MIN) };

    let mut pass = reader.read(&limits).await;
    if pass.is_enough(bytes_min) || wait_ms == 0 {
        return (pass.rows, pass.lease);
    }
    let wake = Arc::new(Notify::new());
    let watches: Vec<_> =
        reader.hosted().map(|partition| partition.watch(Arc::clone(&wake))).collect();
    let all_watched = watches.iter().all(Option::is_some);
    loop {
        // Again after the watches were set, and after each wake: nothing can slip through.
        drop(pass);
        pass = reader.read(&limits).await;
        let now = Instant::now();
        if pass.is_enough(bytes_min) || now >= deadline {
            return (pass.rows, pass.lease);
        }
        // What was read and is not enough must not be held while waiting.
        pass.rows.clear();
        pass.lease = None;
        let until = if all_watched { deadline } else { deadline.min(now + common::UNWATCHED_LOOK) };
        let _ = timeout_at(until, wake.notified()).await;
    }
}

fn respond(broker: &Broker, plan: Plan, rows: Vec<(PartitionKey, Row)>) -> FetchResponse {
    let Answered { session_id, error, partitions } = broker.sessions.finish(plan, rows, Row::seen);
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut node_endpoints: Vec<NodeEndpoint> = Vec::new();
    let mut last_topic: Option<TopicRef> = None;
    let mut record_bytes = 0;
    for ((topic, _), row) in partitions {
        record_bytes += row.record_bytes();
        if let Some(address) = row.endpoint
            && !node_endpoints.iter().any(|known| known.node_id == address.node_id)
        {
            node_endpoints.push(messages::fetch::NodeEndpoint {
                node_id: address.node_id,
                host: address.host,
                port: address.port,
                rack: address.rack,
                ..Default::default()
            });
        }
        if last_topic.as_ref() != Some(&topic) {
            responses.push(new_topic(&topic));
            last_topic = Some(topic);
        }
        if let Some(last) = responses.last_mut() {
            last.partitions.push(row.data);
        }
    }
    Metrics::add(&broker.context.metrics.fetch_bytes, record_bytes as u64);
    Metrics::set(&broker.context.metrics.fetch_sessions, broker.sessions.len() as u64);
    FetchResponse {
        error_code: error.map_or(ErrorCode::None, errors::session_code),
        session_id,
        responses,
        node_endpoints,
        ..Default::default()
    }
}

fn new_topic(topic: &TopicRef) -> FetchableTopicResponse {
    let mut response = FetchableTopicResponse::default();
    match topic {
        TopicRef::Id(id) => response.topic_id = *id,
        TopicRef::Name(name) => response.topic = Str::from(&**name),
    }
    response
}
