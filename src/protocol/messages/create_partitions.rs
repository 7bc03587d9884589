//! CreatePartitions: more partitions for existing topics. KIP-195.

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::NodeId;

request!(CreatePartitionsRequest => CreatePartitionsResponse, CreatePartitions, 0..=3, flexible 2);

schema! {
    /// Adds partitions.
    struct CreatePartitionsRequest {
        /// The topics.
        topics: Vec<CreatePartitionsTopic>, 0..;
        /// Milliseconds that the client is ready to wait.
        timeout_ms: i32, 0..;
        /// Check only, and change nothing.
        validate_only: bool, 0..;
    }

    /// A topic to add partitions to.
    struct CreatePartitionsTopic {
        /// The name.
        name: Str, 0..;
        /// How many partitions there shall be.
        count: i32, 0..;
        /// Which brokers the new partitions go to, or null to leave it to the broker.
        assignments: Option<Vec<CreatePartitionsAssignment>>, 0.., nullable 0..;
    }

    /// Which brokers one new partition goes to.
    struct CreatePartitionsAssignment {
        /// The brokers, the preferred leader first.
        broker_ids: Vec<NodeId>, 0..;
    }

    /// What became of each topic.
    struct CreatePartitionsResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// The answers, in the order of the request.
        results: Vec<CreatePartitionsTopicResult>, 0..;
    }

    /// What became of one topic.
    struct CreatePartitionsTopicResult {
        /// The name.
        name: Str, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 0.., nullable 0..;
    }
}
