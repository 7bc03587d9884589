//! UnregisterBroker: takes a node out of the cluster for good.

use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::metadata::state::{Command, Response, UnregisterBroker};
use crate::protocol::messages::unregister_broker::{
    UnregisterBrokerRequest, UnregisterBrokerResponse,
};
use crate::protocol::{ErrorCode, Str};

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    let command = Command::UnregisterBroker(UnregisterBroker { node_id: request.broker_id });
    let (error_code, message) = match broker.context.metadata.propose(command).await {
        Ok(Response::UnregisterBroker(Ok(()))) => (ErrorCode::None, None),
        Ok(Response::UnregisterBroker(Err(refusal))) => {
            (errors::refusal_code(refusal.kind), Some(refusal.message))
        }
        Ok(other) => unreachable!("UnregisterBroker was answered with {other:?}"),
        Err(error) => (errors::metadata_code(&error), Some(error.to_string())),
    };
    UnregisterBrokerResponse {
        error_code,
        error_message: message.map(Str::from),
        ..Default::default()
    }
}
