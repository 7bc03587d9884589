//! AlterConfigs: the given configs replace all that were set (KIP-133).

use super::resources::{self, Asked};
use crate::kafka::dispatch::{Broker, Call};
use crate::metadata::state::ConfigChange;
use crate::protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let asked = request.resources.into_iter().map(read).collect();
    let rows = resources::alter(broker, asked, request.validate_only).await;
    let rows = rows.into_iter().map(|row| AlterConfigsResourceResponse {
        error_code: row.error_code,
        error_message: row.error_message,
        resource_type: row.resource_type,
        resource_name: row.resource_name,
        ..Default::default()
    });
    AlterConfigsResponse { responses: rows.collect(), ..Default::default() }
}

fn read(asked: AlterConfigsResource) -> Asked {
    let configs = asked.configs.iter().map(|config| {
        (config.name.as_str().to_owned(), config.value.as_ref().map(|value| value.to_string()))
    });
    let change = Ok(ConfigChange::Replace(configs.collect()));
    Asked { kind: asked.resource_type, name: asked.resource_name, change }
}
