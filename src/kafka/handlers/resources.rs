//! The resources that have configs, as the config APIs name them, and how their changes are
//! proposed.

use super::super::dispatch::Broker;
use super::super::errors;
use crate::metadata::state::configs::ConfigResource;
use crate::metadata::state::{AlterConfigs, Command, ConfigAlteration, Response};
use crate::protocol::ErrorCode;
use crate::types::{NodeId, TopicName};

/// Kafka's number for topics.
pub(super) const TOPIC: i8 = 2;
/// Kafka's number for brokers; an empty name stands for all of them.
pub(super) const BROKER: i8 = 4;

/// Why one resource was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// The code.
    pub(super) code: ErrorCode,
    /// For people.
    pub(super) message: String,
}

/// The outcome for one resource.
pub(super) type Altered = Result<(), Refused>;

/// Reads a resource. Broker configs are only told and taken by that broker itself.
pub(super) fn resource(kind: i8, name: &str, here: NodeId) -> Result<ConfigResource, Refused> {
    let refuse = |code, message| Err(Refused { code, message });
    match kind {
        TOPIC => match TopicName::new(name) {
            Ok(name) => Ok(ConfigResource::Topic(name)),
            Err(error) => refuse(ErrorCode::InvalidTopicException, error.to_string()),
        },
        BROKER if name.is_empty() => Ok(ConfigResource::BrokerDefault),
        BROKER => match name.parse() {
            Ok(id) if NodeId(id) == here => Ok(ConfigResource::Broker(here)),
            Ok(id) => refuse(
                ErrorCode::InvalidRequest,
                format!("this is broker {here}; ask broker {id} itself, or use an empty name"),
            ),
            Err(_) => refuse(
                ErrorCode::InvalidRequest,
                format!("a broker's name is its number, not '{name}'"),
            ),
        },
        other => refuse(
            ErrorCode::InvalidRequest,
            format!("resources of type {other} have no configs here"),
        ),
    }
}

/// Proposes the alterations that were understood, and gives every resource its outcome, in the
/// order asked.
pub(super) async fn alter(
    broker: &Broker,
    asked: Vec<Result<ConfigAlteration, Refused>>,
    validate_only: bool,
) -> Vec<Altered> {
    let mut outcomes = Vec::with_capacity(asked.len());
    let mut places = Vec::new();
    let mut resources: Vec<ConfigAlteration> = Vec::new();
    for item in asked {
        match item {
            Ok(item) if resources.iter().any(|known| known.resource == item.resource) => {
                let message = "the resource is named more than once in the request".to_owned();
                outcomes.push(Err(Refused { code: ErrorCode::InvalidRequest, message }));
            }
            Ok(item) => {
                places.push(outcomes.len());
                outcomes.push(Ok(()));
                resources.push(item);
            }
            Err(refused) => outcomes.push(Err(refused)),
        }
    }
    if resources.is_empty() {
        return outcomes;
    }
    let command = Command::AlterConfigs(AlterConfigs { resources, validate_only });
    let results: Vec<Altered> = match broker.context.metadata.propose(command).await {
        Ok(Response::AlterConfigs(results)) => results
            .into_iter()
            .map(|result| {
                result.map_err(|refusal| Refused {
                    code: errors::refusal_code(refusal.kind),
                    message: refusal.message,
                })
            })
            .collect(),
        Ok(other) => unreachable!("AlterConfigs was answered with {other:?}"),
        Err(error) => {
            let refused =
                Refused { code: errors::metadata_code(&error), message: error.to_string() };
            vec![Err(refused); places.len()]
        }
    };
    for (place, result) in places.into_iter().zip(results) {
        outcomes[place] = result;
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_9_describe_broker_resource() {
        let here = NodeId(3);
        assert_eq!(resource(BROKER, "3", here), Ok(ConfigResource::Broker(here)));
        assert_eq!(resource(BROKER, "", here), Ok(ConfigResource::BrokerDefault));
        for (kind, name) in [(BROKER, "4"), (BROKER, "x"), (8, "3"), (16, "client"), (0, "")] {
            let refused = resource(kind, name, here).expect_err("refused");
            assert_eq!(refused.code, ErrorCode::InvalidRequest, "{kind} {name}");
        }
        let bad = resource(TOPIC, "no such/topic", here).expect_err("refused");
        assert_eq!(bad.code, ErrorCode::InvalidTopicException);
    }
}
