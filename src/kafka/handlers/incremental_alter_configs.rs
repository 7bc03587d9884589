//! IncrementalAlterConfigs: only the named configs change (KIP-339).

use super::resources::{self, Asked, Refused};
use crate::kafka::dispatch::{Broker, Call};
use crate::metadata::state::{ConfigChange, ConfigOp, ConfigOpKind};
use crate::protocol::ErrorCode;
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let asked = request.resources.into_iter().map(read).collect();
    let rows = resources::alter(broker, asked, request.validate_only).await;
    let rows = rows.into_iter().map(|row| AlterConfigsResourceResponse {
        error_code: row.error_code,
        error_message: row.error_message,
        resource_type: row.resource_type,
        resource_name: row.resource_name,
        ..Default::default()
    });
    IncrementalAlterConfigsResponse { responses: rows.collect(), ..Default::default() }
}

fn read(asked: AlterConfigsResource) -> Asked {
    let changes: Result<Vec<ConfigOp>, Refused> = asked.configs.iter().map(op).collect();
    let change = changes.map(ConfigChange::Incremental);
    Asked { kind: asked.resource_type, name: asked.resource_name, change }
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
