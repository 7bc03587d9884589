//! The resources that have configs, as the config APIs name them, and how their changes are
//! proposed.

use super::super::dispatch::Broker;
use super::super::errors;
use crate::metadata::state::configs::ConfigResource;
use crate::metadata::state::{AlterConfigs, Command, ConfigAlteration, ConfigChange, Response};
use crate::protocol::{ErrorCode, Str};
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

/// One resource of a request: what it is, and how it is to change.
pub(super) struct Asked {
    /// Kafka's number of its kind.
    pub(super) kind: i8,
    /// Its name.
    pub(super) name: Str,
    /// The change, as far as it makes sense.
    pub(super) change: Result<ConfigChange, Refused>,
}

/// What became of one resource, with the fields that both kinds of answers have.
pub(super) struct Altered {
    /// The code.
    pub(super) error_code: ErrorCode,
    /// More about an error, for people.
    pub(super) error_message: Option<Str>,
    /// As asked.
    pub(super) resource_type: i8,
    /// As asked.
    pub(super) resource_name: Str,
}

/// Reads a resource.
pub(super) fn resource(kind: i8, name: &str) -> Result<ConfigResource, Refused> {
    let refuse = |code, message| Err(Refused { code, message });
    match kind {
        TOPIC => match TopicName::new(name) {
            Ok(name) => Ok(ConfigResource::Topic(name)),
            Err(error) => refuse(ErrorCode::InvalidTopicException, error.to_string()),
        },
        BROKER if name.is_empty() => Ok(ConfigResource::BrokerDefault),
        BROKER => match name.parse() {
            Ok(id) => Ok(ConfigResource::Broker(NodeId(id))),
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

/// As [`resource`], to be told of. What a broker was started with only that broker knows, so it
/// tells of itself alone; what is set while it runs is the whole cluster's knowledge, and any node
/// changes it.
pub(super) fn described_resource(
    kind: i8,
    name: &str,
    here: NodeId,
) -> Result<ConfigResource, Refused> {
    match resource(kind, name)? {
        ConfigResource::Broker(id) if id != here => Err(Refused {
            code: ErrorCode::InvalidRequest,
            message: format!(
                "this is broker {here}; ask broker {id} itself, or use an empty name for the defaults of all"
            ),
        }),
        known => Ok(known),
    }
}

/// Proposes the alterations that were understood, and gives every resource its outcome, in the
/// order asked.
pub(super) async fn alter(broker: &Broker, asked: Vec<Asked>, validate_only: bool) -> Vec<Altered> {
    let mut outcomes: Vec<Result<(), Refused>> = Vec::with_capacity(asked.len());
    let mut places = Vec::new();
    let mut resources: Vec<ConfigAlteration> = Vec::new();
    let mut names = Vec::with_capacity(asked.len());
    for Asked { kind, name, change } in asked {
        let understood = resource(kind, &name).and_then(|resource| Ok((resource, change?)));
        outcomes.push(match understood {
            Ok((resource, _)) if resources.iter().any(|known| known.resource == resource) => {
                let message = "the resource is named more than once in the request".to_owned();
                Err(Refused { code: ErrorCode::InvalidRequest, message })
            }
            Ok((resource, change)) => {
                places.push(outcomes.len());
                resources.push(ConfigAlteration { resource, change });
                Ok(())
            }
            Err(refused) => Err(refused),
        });
        names.push((kind, name));
    }
    for (place, result) in places.into_iter().zip(propose(broker, resources, validate_only).await) {
        outcomes[place] = result;
    }
    let rows = names.into_iter().zip(outcomes).map(|((resource_type, resource_name), outcome)| {
        let (error_code, message) =
            outcome.err().map(|refused| (refused.code, refused.message)).unzip();
        Altered {
            error_code: error_code.unwrap_or_default(),
            error_message: message.map(Str::from),
            resource_type,
            resource_name,
        }
    });
    rows.collect()
}

async fn propose(
    broker: &Broker,
    resources: Vec<ConfigAlteration>,
    validate_only: bool,
) -> Vec<Result<(), Refused>> {
    let count = resources.len();
    if count == 0 {
        return Vec::new();
    }
    let command = Command::AlterConfigs(AlterConfigs { resources, validate_only });
    match broker.context.metadata.propose(command).await {
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
            vec![Err(refused); count]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_9_describe_broker_resource() {
        let here = NodeId(3);
        let described = |kind, name| described_resource(kind, name, here);
        assert_eq!(described(BROKER, "3"), Ok(ConfigResource::Broker(here)));
        assert_eq!(described(BROKER, ""), Ok(ConfigResource::BrokerDefault));
        for (kind, name) in [(BROKER, "4"), (BROKER, "x"), (8, "3"), (16, "client"), (0, "")] {
            let refused = described(kind, name).expect_err("refused");
            assert_eq!(refused.code, ErrorCode::InvalidRequest, "{kind} {name}");
        }
        let bad = described(TOPIC, "no such/topic").expect_err("refused");
        assert_eq!(bad.code, ErrorCode::InvalidTopicException);
    }

    #[test]
    fn trap_9_routing_any_node_changes_the_configs_of_any_broker() {
        assert_eq!(resource(BROKER, "4"), Ok(ConfigResource::Broker(NodeId(4))));
        let refused = resource(BROKER, "x").expect_err("refused");
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
    }
}
