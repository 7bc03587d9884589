//! CreatePartitions: more partitions for topics that exist (KIP-195).

use std::collections::HashMap;

use super::common;
use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::metadata::state::{Command, CreatePartitions, MorePartitions, Response};
use crate::protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};
use crate::protocol::{ErrorCode, Str};

/// Answers the request. Every topic that was asked for appears once.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let deadline = common::admin_deadline(request.timeout_ms);
    let mut times_named: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *times_named.entry(&topic.name).or_default() += 1;
    }
    let mut rows = Vec::with_capacity(times_named.len());
    let mut wanted = Vec::new();
    for topic in &request.topics {
        match times_named.remove(&*topic.name) {
            None => {}
            Some(2..) => rows.push(row(
                &topic.name,
                ErrorCode::InvalidRequest,
                Some("the topic is named more than once in the request"),
            )),
            Some(_) => wanted.push(more(topic)),
        }
    }
    if !wanted.is_empty() {
        let names: Vec<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
        rows.extend(create(broker, wanted, request.validate_only).await);
        if !request.validate_only {
            common::until_served(&broker.context, &names, deadline).await;
        }
    }
    CreatePartitionsResponse { results: rows, ..Default::default() }
}

fn more(topic: &CreatePartitionsTopic) -> MorePartitions {
    MorePartitions {
        name: topic.name.as_str().to_owned(),
        count: topic.count,
        assignments: topic
            .assignments
            .as_ref()
            .map(|rows| rows.iter().map(|row| row.broker_ids.clone()).collect()),
    }
}

fn row(name: &str, error_code: ErrorCode, message: Option<&str>) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult {
        name: Str::from(name),
        error_code,
        error_message: message.map(Str::from),
        ..Default::default()
    }
}

async fn create(
    broker: &Broker,
    topics: Vec<MorePartitions>,
    validate_only: bool,
) -> Vec<CreatePartitionsTopicResult> {
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let command = Command::CreatePartitions(CreatePartitions { topics, validate_only });
    match broker.context.metadata.propose(command).await {
        Ok(Response::CreatePartitions(results)) => results
            .into_iter()
            .map(|result| match result.outcome {
                Ok(()) => row(&result.name, ErrorCode::None, None),
                Err(refusal) => {
                    let code = errors::refusal_code(refusal.kind);
                    row(&result.name, code, Some(&refusal.message))
                }
            })
            .collect(),
        Ok(other) => unreachable!("CreatePartitions was answered with {other:?}"),
        Err(error) => {
            let (code, message) = (errors::metadata_code(&error), error.to_string());
            names.iter().map(|name| row(name, code, Some(&message))).collect()
        }
    }
}
