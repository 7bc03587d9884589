//! InitProducerId: an id and epoch for an idempotent or transactional producer. KIP-98, KIP-360
//! (a producer may go on under its old id), KIP-890.
//!
//! Version 6 (two-phase commit, KIP-939) is still unstable in Kafka, so it is not served.

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::{ProducerEpoch, ProducerId};

request!(InitProducerIdRequest => InitProducerIdResponse, InitProducerId, 0..=5, flexible 2);

schema! {
    /// Asks for a producer id.
    struct InitProducerIdRequest {
        /// The transactional id, or null for a producer without transactions.
        transactional_id: Option<Str>, 0.., nullable 0..;
        /// Milliseconds after which an idle transaction is aborted.
        transaction_timeout_ms: i32, 0..;
        /// The producer id.
        producer_id: ProducerId, 3.., default ProducerId::NONE;
        /// The producer epoch.
        producer_epoch: ProducerEpoch, 3.., default ProducerEpoch::NONE;
    }

    /// A producer id and its epoch.
    struct InitProducerIdResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// The producer id.
        producer_id: ProducerId, 0.., default ProducerId::NONE;
        /// The producer epoch.
        producer_epoch: ProducerEpoch, 0..;
    }
}
