//! FindCoordinator: who coordinates a group or a transaction.
//!
//! There are no coordinators yet. The API is served all the same, because librdkafka takes its
//! presence for LZ4 support; the answer is the one that makes clients wait and ask again.

use crate::kafka::dispatch::{Broker, Call};
use crate::protocol::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use crate::protocol::{ErrorCode, Str};
use crate::types::NodeId;

/// Kinds of keys: group, transactional id, share group (version 6 and later).
const KEY_TYPES: std::ops::RangeInclusive<i8> = 0..=1;
const NO_PORT: i32 = -1;
/// First version with several keys in one request.
const BATCHED_SINCE: i16 = 4;

/// Answers the request.
pub(in crate::kafka) async fn handle(
    _: &Broker,
    call: &Call,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let error_code = if KEY_TYPES.contains(&request.key_type) {
        ErrorCode::CoordinatorNotAvailable
    } else {
        ErrorCode::InvalidRequest
    };
    let error_message = Some(Str::from_static(error_code.message()));
    if call.version < BATCHED_SINCE {
        return FindCoordinatorResponse {
            error_code,
            error_message,
            node_id: NodeId::NONE,
            port: NO_PORT,
            ..Default::default()
        };
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| Coordinator {
        key,
        error_code,
        error_message: error_message.clone(),
        node_id: NodeId::NONE,
        port: NO_PORT,
        ..Default::default()
    });
    FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() }
}
