//! CreateTopics: new topics, answered once they can be written to (KIP-4, KIP-464, KIP-525).

use std::collections::HashMap;

use super::common;
use crate::env::rng;
use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::metadata::Image;
use crate::metadata::state::configs::{ConfigEntry, ConfigLayers};
use crate::metadata::state::{
    Command, ConfigMap, CreateTopics, CreatedTopic, NewTopic, Refusal, Response,
};
use crate::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};
use crate::protocol::{ErrorCode, Str};
use crate::types::TopicId;

/// Answers the request. Every topic that was asked for appears once.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let deadline = common::admin_deadline(request.timeout_ms);
    let mut times_named: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *times_named.entry(&topic.name).or_default() += 1;
    }
    let mut rows: Vec<CreatableTopicResult> = Vec::with_capacity(times_named.len());
    let mut wanted: Vec<NewTopic> = Vec::new();
    for topic in &request.topics {
        match times_named.remove(&*topic.name) {
            // Its row is there already.
            None => {}
            Some(2..) => rows.push(failed(
                &topic.name,
                ErrorCode::InvalidRequest,
                "the topic is named more than once in the request",
            )),
            Some(_) if &*topic.name == common::CLUSTER_METADATA_TOPIC => rows.push(failed(
                &topic.name,
                ErrorCode::InvalidRequest,
                "this topic belongs to the cluster and cannot be created",
            )),
            Some(_) => wanted.push(new_topic(topic)),
        }
    }
    if !wanted.is_empty() {
        let names: Vec<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
        rows.extend(create(broker, wanted, request.validate_only).await);
        if !request.validate_only {
            common::until_served(&broker.context, &names, deadline).await;
        }
    }
    CreateTopicsResponse { topics: rows, ..Default::default() }
}

fn new_topic(topic: &CreatableTopic) -> NewTopic {
    let text = |text: &Str| text.as_str().to_owned();
    NewTopic {
        name: text(&topic.name),
        id: TopicId(rng::id_bytes()),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .iter()
            .map(|assigned| (assigned.partition_index, assigned.broker_ids.clone()))
            .collect(),
        configs: topic
            .configs
            .iter()
            .map(|config| (text(&config.name), config.value.as_ref().map(text)))
            .collect(),
    }
}

fn failed(name: &str, error_code: ErrorCode, message: &str) -> CreatableTopicResult {
    CreatableTopicResult {
        name: Str::from(name),
        error_code,
        error_message: Some(Str::from(message)),
        configs: Some(Vec::new()),
        ..Default::default()
    }
}

async fn create(
    broker: &Broker,
    wanted: Vec<NewTopic>,
    validate_only: bool,
) -> Vec<CreatableTopicResult> {
    let context = &broker.context;
    let names: Vec<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
    let command = Command::CreateTopics(CreateTopics {
        topics: wanted,
        partitions_default: context.config.partitions_default(),
        replication_factor_default: context.config.replication_factor_default(),
        validate_only,
        now: context.clock.now(),
    });
    match context.metadata.propose(command).await {
        Ok(Response::CreateTopics(results)) => {
            let image = context.metadata.image();
            let row =
                |result: crate::metadata::state::TopicResult<CreatedTopic>| match result.outcome {
                    Ok(created) => succeeded(broker, &image, &result.name, created),
                    Err(refusal) => refused(&result.name, &refusal),
                };
            results.into_iter().map(row).collect()
        }
        Ok(other) => unreachable!("CreateTopics was answered with {other:?}"),
        Err(error) => {
            let (code, message) = (errors::metadata_code(&error), error.to_string());
            names.iter().map(|name| failed(name, code, &message)).collect()
        }
    }
}

fn refused(name: &str, refusal: &Refusal) -> CreatableTopicResult {
    failed(name, errors::refusal_code(refusal.kind), &refusal.message)
}

fn succeeded(
    broker: &Broker,
    image: &Image,
    name: &str,
    created: CreatedTopic,
) -> CreatableTopicResult {
    let context = &broker.context;
    // Not from the image: when only validating, the topic is not in there.
    let set: ConfigMap = created.configs.into_iter().collect();
    let layers = ConfigLayers {
        topic: Some(&set),
        replicas: usize::try_from(created.replication_factor).unwrap_or(1),
        ..image.config_layers(None, context.node_id, &context.static_configs)
    };
    CreatableTopicResult {
        name: Str::from(name),
        topic_id: created.id,
        num_partitions: created.partitions,
        replication_factor: created.replication_factor,
        configs: Some(layers.describe_topic().into_iter().map(config).collect()),
        ..Default::default()
    }
}

fn config(entry: ConfigEntry) -> CreatableTopicConfigs {
    CreatableTopicConfigs {
        name: Str::from_static(entry.name),
        value: entry.value.map(Str::from),
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: entry.sensitive,
        ..Default::default()
    }
}
