//! Metadata: brokers, topics and who leads their partitions; and topics that come to be because
//! somebody asked for them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::common::{self, CLUSTER_OPERATIONS, TOPIC_OPERATIONS};
use crate::env::{rng, spawn};
use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::view::View;
use crate::limits;
use crate::metadata;
use crate::metadata::state::{Command, CreateTopics, NewTopic, Partition, Response, Topic};
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::{ErrorCode, Str};
use crate::types::{NodeId, PartitionIndex, TopicId, TopicName};

/// First version in which an empty list means "no topics" rather than "all".
const EMPTY_IS_NONE_SINCE: i16 = 1;
/// First version that may name topics by id.
const TOPIC_IDS_SINCE: i16 = 12;
/// First version with an error for a leader that has no such listener.
const LISTENER_ERROR_SINCE: i16 = 6;

/// How long an answer waits for news of a leader whose connections just broke.
const DOUBT: Duration = Duration::from_millis(limits::METADATA_DOUBT_MS.unsigned_abs());

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Arc<Broker>,
    call: &Call,
    request: MetadataRequest,
) -> MetadataResponse {
    let context = &broker.context;
    let deadline = Instant::now() + DOUBT;
    let (image, mut topics) = loop {
        let image = context.metadata.image();
        let view = View::of(context, &image);
        let topics = Lookup { broker, view, version: call.version }.topics(&request);
        // A leader that may be gone: better told a moment later than wrong.
        let in_doubt = context.metadata.in_doubt();
        let left = deadline.saturating_duration_since(Instant::now());
        if !names_leader(&topics, &in_doubt)
            || !context.metadata.wait_beyond(image.applied_count(), left).await
        {
            break (image, topics);
        }
    };
    let view = View::of(context, &image);
    if request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.error_code.is_ok()) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let cluster_authorized_operations =
        if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN };
    MetadataResponse {
        brokers: brokers(view),
        cluster_id: Some(Str::from(image.cluster_id().to_string())),
        controller_id: view.controller(),
        topics,
        cluster_authorized_operations,
        ..Default::default()
    }
}

/// Whether a topic has a partition that one of `nodes` leads.
fn names_leader(topics: &[MetadataResponseTopic], nodes: &BTreeSet<NodeId>) -> bool {
    let mut partitions = topics.iter().flat_map(|topic| &topic.partitions);
    !nodes.is_empty() && partitions.any(|partition| nodes.contains(&partition.leader_id))
}

fn brokers(view: View<'_>) -> Vec<MetadataResponseBroker> {
    let addresses =
        view.brokers_and_departed().into_iter().filter_map(|broker| view.address(broker));
    addresses
        .map(|address| MetadataResponseBroker {
            node_id: address.node_id,
            host: address.host,
            port: address.port,
            rack: address.rack,
            ..Default::default()
        })
        .collect()
}

struct Lookup<'a> {
    broker: &'a Arc<Broker>,
    view: View<'a>,
    version: i16,
}

impl Lookup<'_> {
    fn topics(&self, request: &MetadataRequest) -> Vec<MetadataResponseTopic> {
        let named = match &request.topics {
            Some(named) if !named.is_empty() || self.version >= EMPTY_IS_NONE_SINCE => named,
            // All topics. That never creates any.
            _ => return self.view.image.topics().map(|topic| self.found(topic)).collect(),
        };
        if named.iter().any(|topic| self.is_malformed(topic)) {
            return named.iter().map(|topic| failed(topic, ErrorCode::InvalidRequest)).collect();
        }
        let may_create =
            request.allow_auto_topic_creation && self.broker.context.config.auto_create_topics();
        let mut asked = BTreeSet::new();
        let mut missing = Vec::new();
        let mut rows = Vec::with_capacity(named.len());
        for topic in named {
            // Each topic once, however often it is named.
            if !asked.insert((topic.topic_id, topic.name.clone())) {
                continue;
            }
            rows.push(self.one(topic, may_create, &mut missing));
        }
        if !missing.is_empty() {
            AutoCreations::begin(self.broker, missing);
        }
        rows
    }

    /// Whether the topic is named in a way that the version does not know.
    fn is_malformed(&self, topic: &MetadataRequestTopic) -> bool {
        if self.version < TOPIC_IDS_SINCE {
            topic.name.is_none() || !topic.topic_id.is_zero()
        } else {
            topic.name.is_none() && topic.topic_id.is_zero()
        }
    }

    fn one(
        &self,
        topic: &MetadataRequestTopic,
        may_create: bool,
        missing: &mut Vec<TopicName>,
    ) -> MetadataResponseTopic {
        if !topic.topic_id.is_zero() {
            return match self.view.image.topic_by_id(topic.topic_id) {
                Some(found) => self.found(found),
                None => MetadataResponseTopic {
                    error_code: ErrorCode::UnknownTopicId,
                    name: None,
                    topic_id: topic.topic_id,
                    ..Default::default()
                },
            };
        }
        let name = topic.name.as_deref().unwrap_or_default();
        if let Some(found) = self.view.image.topic_by_name(name) {
            return self.found(found);
        }
        let Ok(valid) = TopicName::new(name) else {
            return failed(topic, ErrorCode::InvalidTopicException);
        };
        // Internal topics are made by their coordinators, with configs of their own.
        if may_create && !common::is_internal(name) && name != common::CLUSTER_METADATA_TOPIC {
            missing.push(valid);
        }
        failed(topic, ErrorCode::UnknownTopicOrPartition)
    }

    fn found(&self, topic: &Topic) -> MetadataResponseTopic {
        let rows = topic
            .partitions()
            .map(|(index, state)| partition(self.view, self.version, index, state));
        MetadataResponseTopic {
            name: Some(Str::from(topic.name.as_str())),
            topic_id: topic.id,
            is_internal: common::is_internal(topic.name.as_str()),
            partitions: rows.collect(),
            ..Default::default()
        }
    }
}

fn partition(
    view: View<'_>,
    version: i16,
    index: PartitionIndex,
    state: &Partition,
) -> MetadataResponsePartition {
    let (error_code, leader_id) = match view.reachable_leader(state) {
        Ok(leader) => (ErrorCode::None, leader),
        Err(ErrorCode::ListenerNotFound) if version < LISTENER_ERROR_SINCE => {
            (ErrorCode::LeaderNotAvailable, NodeId::NONE)
        }
        Err(code) => (code, NodeId::NONE),
    };
    MetadataResponsePartition {
        error_code,
        partition_index: index,
        leader_id,
        leader_epoch: state.leader_epoch,
        replica_nodes: state.replicas.clone(),
        isr_nodes: state.isr.clone(),
        offline_replicas: view.offline(state),
        ..Default::default()
    }
}

fn failed(topic: &MetadataRequestTopic, error_code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code,
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        is_internal: topic.name.as_deref().is_some_and(common::is_internal),
        ..Default::default()
    }
}

/// Topics that are being created because somebody asked for them. The one who asked first is told
/// that the topic is unknown, and asks again soon.
#[derive(Debug, Default)]
pub(in crate::kafka) struct AutoCreations(Mutex<BTreeSet<TopicName>>);

impl AutoCreations {
    /// Creates the topics in the background, as far as that is not under way, and within
    /// [`limits::AUTO_CREATIONS_IN_FLIGHT_MAX`].
    fn begin(broker: &Arc<Broker>, wanted: Vec<TopicName>) {
        let fresh: Vec<TopicName> = {
            let mut running = broker.auto_creations.lock();
            wanted
                .into_iter()
                .filter(|name| {
                    running.len() < limits::AUTO_CREATIONS_IN_FLIGHT_MAX
                        && running.insert(name.clone())
                })
                .collect()
        };
        if fresh.is_empty() {
            return;
        }
        let ends = Ends { broker: Arc::clone(broker), names: fresh };
        spawn::spawn("topic creation", async move {
            create(&ends.broker, &ends.names).await;
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<TopicName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the names off the list, however the creation ends.
struct Ends {
    broker: Arc<Broker>,
    names: Vec<TopicName>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        let mut running = self.broker.auto_creations.lock();
        for name in &self.names {
            running.remove(name);
        }
    }
}

async fn create(broker: &Broker, names: &[TopicName]) {
    let context = &broker.context;
    let topics = names.iter().map(|name| NewTopic {
        name: name.as_str().to_owned(),
        id: TopicId(rng::id_bytes()),
        partitions: -1,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: Vec::new(),
    });
    let command = Command::CreateTopics(CreateTopics {
        topics: topics.collect(),
        partitions_default: context.config.partitions_default(),
        replication_factor_default: context.config.replication_factor_default(),
        validate_only: false,
        now: context.clock.now(),
    });
    let answer: Result<Response, metadata::Error> = context.metadata.propose(command).await;
    match answer {
        Ok(Response::CreateTopics(results)) => {
            for result in results {
                match result.outcome {
                    Ok(_) => tracing::info!(topic = result.name, "topic created on first use"),
                    Err(refusal) => {
                        tracing::warn!(topic = result.name, %refusal, "topic not created on first use");
                    }
                }
            }
        }
        Ok(other) => tracing::error!(?other, "CreateTopics was answered with something else"),
        Err(error) => tracing::warn!(%error, "topics not created on first use"),
    }
}
