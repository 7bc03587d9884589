//! DeleteTopics: remove topics by name, or by id from version 6 (KIP-516).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::TopicId;

request!(DeleteTopicsRequest => DeleteTopicsResponse, DeleteTopics, 1..=6, flexible 4);

schema! {
    /// Deletes topics.
    struct DeleteTopicsRequest {
        /// The topics.
        topics: Vec<DeleteTopicState>, 6..;
        /// The names.
        topic_names: Vec<Str>, 0..=5;
        /// Milliseconds that the client is ready to wait.
        timeout_ms: i32, 0..;
    }

    /// A topic by name or by id.
    struct DeleteTopicState {
        /// The name.
        name: Option<Str>, 6.., nullable 6..;
        /// The topic's id, or zero where it goes by name.
        topic_id: TopicId, 6..;
    }

    /// What became of each topic.
    struct DeleteTopicsResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 1..;
        /// The answers, in the order of the request.
        responses: Vec<DeletableTopicResult>, 0..;
    }

    /// What became of one topic.
    struct DeletableTopicResult {
        /// The name.
        name: Option<Str>, 0.., nullable 6..;
        /// The topic's id, or zero where it goes by name.
        topic_id: TopicId, 6..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 5.., nullable 5..;
    }
}
