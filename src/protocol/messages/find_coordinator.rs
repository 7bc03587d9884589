//! FindCoordinator: which broker coordinates a group or a transactional id. KIP-699 (many keys in
//! one request, from version 4).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::NodeId;

request!(FindCoordinatorRequest => FindCoordinatorResponse, FindCoordinator, 0..=6, flexible 3);

schema! {
    /// Asks for coordinators.
    struct FindCoordinatorRequest {
        /// What is coordinated: a group id or a transactional id.
        key: Str, 0..=3;
        /// 0: group; 1: transactional id; 2: share group.
        key_type: i8, 1..;
        /// What is coordinated: group ids or transactional ids.
        coordinator_keys: Vec<Str>, 4..;
    }

    /// The coordinators: one up to version 3, a list from version 4.
    struct FindCoordinatorResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 1..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..=3;
        /// More about the error, for people.
        error_message: Option<Str>, 1..=3, nullable 1..=3;
        /// The node.
        node_id: NodeId, 0..=3;
        /// Its host.
        host: Str, 0..=3;
        /// Its port.
        port: i32, 0..=3;
        /// The coordinators, one for each key.
        coordinators: Vec<Coordinator>, 4..;
    }

    /// The coordinator of one key.
    struct Coordinator {
        /// What is coordinated: a group id or a transactional id.
        key: Str, 4..;
        /// The node.
        node_id: NodeId, 4..;
        /// Its host.
        host: Str, 4..;
        /// Its port.
        port: i32, 4..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 4..;
        /// More about the error, for people.
        error_message: Option<Str>, 4.., nullable 4..;
    }
}
