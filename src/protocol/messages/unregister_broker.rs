//! UnregisterBroker: takes a broker out of the cluster for good. KIP-500.

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::NodeId;

request!(
    UnregisterBrokerRequest => UnregisterBrokerResponse,
    UnregisterBroker, 0..=0, flexible 0
);

schema! {
    /// Takes a broker out.
    struct UnregisterBrokerRequest {
        /// The broker.
        broker_id: NodeId, 0..;
    }

    /// Whether it is out.
    struct UnregisterBrokerResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 0.., nullable 0..;
    }
}
