//! DeleteTopics, by name or by id (KIP-516).

use std::collections::BTreeMap;

use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::metadata::state::{Command, DeleteTopics, DeletedTopic, Response, TopicSelector};
use crate::protocol::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::protocol::{ErrorCode, Str};

/// First version that names topics by id, and gives them in a structure.
const STATES_SINCE: i16 = 6;

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    call: &Call,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let asked: Vec<DeleteTopicState> = if call.version >= STATES_SINCE {
        request.topics
    } else {
        let by_name = |name| DeleteTopicState { name: Some(name), ..Default::default() };
        request.topic_names.into_iter().map(by_name).collect()
    };
    let mut rows: Vec<DeletableTopicResult> = Vec::with_capacity(asked.len());
    let mut times_named: BTreeMap<TopicSelector, usize> = BTreeMap::new();
    let mut selectors = Vec::new();
    for topic in &asked {
        match selector(topic) {
            Some(selector) => {
                let times = times_named.entry(selector.clone()).or_default();
                *times += 1;
                if *times == 1 {
                    selectors.push(selector);
                }
            }
            None => rows.push(failed(
                topic.name.clone(),
                topic,
                ErrorCode::InvalidRequest,
                "give either the name or the id of a topic",
            )),
        }
    }
    selectors.retain(|selector| {
        let repeated = times_named.get(selector) > Some(&1);
        if repeated {
            let (name, topic) = described(selector);
            let message = "the topic is named more than once in the request";
            rows.push(failed(name, &topic, ErrorCode::InvalidRequest, message));
        }
        !repeated
    });
    if !selectors.is_empty() {
        rows.extend(delete(broker, selectors).await);
    }
    DeleteTopicsResponse { responses: rows, ..Default::default() }
}

/// The topic that is meant, if it is named in exactly one way.
fn selector(topic: &DeleteTopicState) -> Option<TopicSelector> {
    match (&topic.name, topic.topic_id) {
        (Some(name), id) if id.is_zero() => Some(TopicSelector::Name(name.as_str().to_owned())),
        (None, id) if !id.is_zero() => Some(TopicSelector::Id(id)),
        _ => None,
    }
}

fn described(selector: &TopicSelector) -> (Option<Str>, DeleteTopicState) {
    let mut topic = DeleteTopicState::default();
    match selector {
        TopicSelector::Name(name) => topic.name = Some(Str::from(name.as_str())),
        TopicSelector::Id(id) => topic.topic_id = *id,
    }
    (topic.name.clone(), topic)
}

fn failed(
    name: Option<Str>,
    topic: &DeleteTopicState,
    error_code: ErrorCode,
    message: &str,
) -> DeletableTopicResult {
    DeletableTopicResult {
        name,
        topic_id: topic.topic_id,
        error_code,
        error_message: Some(Str::from(message)),
        ..Default::default()
    }
}

async fn delete(broker: &Broker, selectors: Vec<TopicSelector>) -> Vec<DeletableTopicResult> {
    let command = Command::DeleteTopics(DeleteTopics { topics: selectors.clone() });
    match broker.context.metadata.propose(command).await {
        Ok(Response::DeleteTopics(results)) => results.into_iter().map(row).collect(),
        Ok(other) => unreachable!("DeleteTopics was answered with {other:?}"),
        Err(error) => {
            let (code, message) = (errors::metadata_code(&error), error.to_string());
            let row = |selector| {
                let (name, topic) = described(selector);
                failed(name, &topic, code, &message)
            };
            selectors.iter().map(row).collect()
        }
    }
}

fn row(result: DeletedTopic) -> DeletableTopicResult {
    let refusal = result.outcome.err();
    DeletableTopicResult {
        name: result.name.map(Str::from),
        topic_id: result.id,
        error_code: refusal
            .as_ref()
            .map_or(ErrorCode::None, |refusal| errors::refusal_code(refusal.kind)),
        error_message: refusal.map(|refusal| Str::from(refusal.message)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TopicId;

    #[test]
    fn trap_9_delete_name_or_id_exactly_one() {
        let id = TopicId([7; 16]);
        let state = |name: Option<&str>, topic_id| DeleteTopicState {
            name: name.map(Str::from),
            topic_id,
            ..Default::default()
        };
        assert_eq!(
            selector(&state(Some("a"), TopicId::ZERO)),
            Some(TopicSelector::Name("a".to_owned()))
        );
        assert_eq!(selector(&state(None, id)), Some(TopicSelector::Id(id)));
        assert_eq!(selector(&state(Some("a"), id)), None);
        assert_eq!(selector(&state(None, TopicId::ZERO)), None);
    }
}
