//! AlterConfigs: the given configs replace all that were set (KIP-133).

use super::resources::{self, Altered, Refused};
use crate::kafka::dispatch::{Broker, Call};
use crate::metadata::state::{ConfigAlteration, ConfigChange};
use crate::protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use crate::protocol::{ErrorCode, Str};
use crate::types::NodeId;

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let here = broker.context.node_id;
    let asked = request.resources.iter().map(|resource| read(resource, here)).collect();
    let outcomes = resources::alter(broker, asked, request.validate_only).await;
    let rows =
        request.resources.into_iter().zip(outcomes).map(|(asked, outcome)| row(asked, outcome));
    AlterConfigsResponse { responses: rows.collect(), ..Default::default() }
}

fn read(asked: &AlterConfigsResource, here: NodeId) -> Result<ConfigAlteration, Refused> {
    let resource = resources::resource(asked.resource_type, &asked.resource_name, here)?;
    let configs = asked.configs.iter().map(|config| {
        (config.name.as_str().to_owned(), config.value.as_ref().map(|value| value.to_string()))
    });
    Ok(ConfigAlteration { resource, change: ConfigChange::Replace(configs.collect()) })
}

fn row(asked: AlterConfigsResource, outcome: Altered) -> AlterConfigsResourceResponse {
    let refused = outcome.err();
    AlterConfigsResourceResponse {
        error_code: refused.as_ref().map_or(ErrorCode::None, |refused| refused.code),
        error_message: refused.map(|refused| Str::from(refused.message)),
        resource_type: asked.resource_type,
        resource_name: asked.resource_name,
        ..Default::default()
    }
}
