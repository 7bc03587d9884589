//! InitProducerId: a fresh id for an idempotent producer (KIP-98, KIP-360).

use crate::kafka::dispatch::{Broker, Call};
use crate::protocol::ErrorCode;
use crate::protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::types::{ProducerEpoch, ProducerId};

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match allocate(broker, &request).await {
        Ok(producer_id) => InitProducerIdResponse {
            producer_id,
            producer_epoch: ProducerEpoch::ZERO,
            ..Default::default()
        },
        Err(error_code) => InitProducerIdResponse {
            error_code,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            ..Default::default()
        },
    }
}

async fn allocate(
    broker: &Broker,
    request: &InitProducerIdRequest,
) -> Result<ProducerId, ErrorCode> {
    // A producer knows both its id and its epoch, or neither.
    let knows_id = request.producer_id != ProducerId::NONE;
    if knows_id != (request.producer_epoch != ProducerEpoch::NONE) {
        return Err(ErrorCode::InvalidRequest);
    }
    match request.transactional_id.as_deref() {
        // Without a transaction the old id and epoch don't matter: a new id is always safe.
        None => broker.producer_ids.next(&broker.context).await,
        Some("") => Err(ErrorCode::InvalidRequest),
        // As a Kafka broker says while it can't reach its transaction coordinators.
        Some(_) => Err(ErrorCode::CoordinatorNotAvailable),
    }
}
