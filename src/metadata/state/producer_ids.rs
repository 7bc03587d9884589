//! Producer ids, handed out in blocks.

use super::brokers::registered;
use super::command::AllocateProducerIds;
use super::delta::Delta;
use super::model::State;
use super::response::{ProducerIdBlock, Refusal, RefusalKind};
use crate::limits::PRODUCER_ID_BLOCK;
use crate::types::ProducerId;

/// Takes the next block. What a broker does not use of it is lost, which never matters: there are
/// enough.
pub(super) fn allocate(
    state: &mut State,
    command: &AllocateProducerIds,
    delta: &mut Delta,
) -> Result<ProducerIdBlock, Refusal> {
    registered(state, command.node_id, command.broker_epoch)?;
    let first = state.producer_id_next;
    let Some(next) = first.0.checked_add(i64::from(PRODUCER_ID_BLOCK)) else {
        return Err(Refusal::new(RefusalKind::PolicyViolation, "all producer ids are used up"));
    };
    state.producer_id_next = ProducerId(next);
    delta.producer_ids = true;
    Ok(ProducerIdBlock { first, count: PRODUCER_ID_BLOCK })
}
