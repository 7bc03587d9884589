//! ListConfigResources: what has configs (KIP-1142; version 0, KIP-714, asks for client metrics).

use super::resources::{BROKER, TOPIC};
use crate::kafka::dispatch::{Broker, Call};
use crate::protocol::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use crate::protocol::{ErrorCode, Str};

/// Loggers of a broker, subscriptions to client metrics, and groups: nothing of these has configs
/// here, so none is listed.
const WITHOUT_CONFIGS: [i8; 3] = [8, 16, 32];
/// First version that asks for kinds.
const KINDS_SINCE: i16 = 1;

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    call: &Call,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    if call.version < KINDS_SINCE {
        return ListConfigResourcesResponse::default();
    }
    let known = |kind: &i8| [TOPIC, BROKER].contains(kind) || WITHOUT_CONFIGS.contains(kind);
    if !request.resource_types.iter().all(known) {
        let error_code = ErrorCode::UnsupportedVersion;
        return ListConfigResourcesResponse { error_code, ..Default::default() };
    }
    let wants = |kind| request.resource_types.is_empty() || request.resource_types.contains(&kind);
    let image = broker.context.metadata.image();
    let mut config_resources = Vec::new();
    let mut list = |resource_type, resource_name| {
        let row = ConfigResource { resource_name, resource_type, ..Default::default() };
        config_resources.push(row);
    };
    if wants(TOPIC) {
        image.topics().for_each(|topic| list(TOPIC, Str::from(topic.name.as_str())));
    }
    if wants(BROKER) {
        image.brokers().for_each(|broker| list(BROKER, Str::from(broker.id.to_string())));
    }
    ListConfigResourcesResponse { config_resources, ..Default::default() }
}
