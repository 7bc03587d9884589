//! IncrementalAlterConfigs: only the named configs change (KIP-339).

use super::resources::{self, Altered, Refused};
use crate::kafka::dispatch::{Broker, Call};
use crate::metadata::state::{ConfigAlteration, ConfigChange, ConfigOp, ConfigOpKind};
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use crate::protocol::{ErrorCode, Str};
use crate::types::NodeId;

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let here = broker.context.node_id;
    let asked = request.resources.iter().map(|resource| read(resource, here)).collect();
    let outcomes = resources::alter(broker, asked, request.validate_only).await;
    let rows =
        request.resources.into_iter().zip(outcomes).map(|(asked, outcome)| row(asked, outcome));
    IncrementalAlterConfigsResponse { responses: rows.collect(), ..Default::default() }
}

fn read(asked: &AlterConfigsResource, here: NodeId) -> Result<ConfigAlteration, Refused> {
    let resource = resources::resource(asked.resource_type, &asked.resource_name, here)?;
    let changes = asked.configs.iter().map(op).collect::<Result<_, _>>()?;
    Ok(ConfigAlteration { resource, change: ConfigChange::Incremental(changes) })
}

fn op(config: &AlterableConfig) -> Result<ConfigOp, Refused> {
    let kind = match config.config_operation {
        0 => ConfigOpKind::Set,
        1 => ConfigOpKind::Delete,
        2 => ConfigOpKind::Append,
        3 => ConfigOpKind::Subtract,
        other => {
            let message = format!("there is no config operation {other}");
            return Err(Refused { code: ErrorCode::InvalidRequest, message });
        }
    };
    Ok(ConfigOp {
        name: config.name.as_str().to_owned(),
        kind,
        value: config.value.as_ref().map(|value| value.to_string()),
    })
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
