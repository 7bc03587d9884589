//! CreateTopics: new topics, with their settings. KIP-4, KIP-525 (settings in the answer).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::{NodeId, PartitionIndex, TopicId};

request!(CreateTopicsRequest => CreateTopicsResponse, CreateTopics, 2..=7, flexible 5);

schema! {
    /// Creates topics.
    struct CreateTopicsRequest {
        /// The topics.
        topics: Vec<CreatableTopic>, 0..;
        /// Milliseconds that the client is ready to wait.
        timeout_ms: i32, 0.., default 60_000;
        /// Check only, and change nothing.
        validate_only: bool, 1..;
    }

    /// A topic to create.
    struct CreatableTopic {
        /// The name.
        name: Str, 0..;
        /// How many partitions; -1 for the default.
        num_partitions: i32, 0..;
        /// How many replicas of each; -1 for the default.
        replication_factor: i16, 0..;
        /// Which brokers the partitions go to, if the client chooses.
        assignments: Vec<CreatableReplicaAssignment>, 0..;
        /// The settings.
        configs: Vec<CreatableTopicConfig>, 0..;
    }

    /// Which brokers one partition goes to.
    struct CreatableReplicaAssignment {
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// The brokers, the preferred leader first.
        broker_ids: Vec<NodeId>, 0..;
    }

    /// A setting of the new topic.
    struct CreatableTopicConfig {
        /// The name.
        name: Str, 0..;
        /// The value.
        value: Option<Str>, 0.., nullable 0..;
    }

    /// What became of each topic.
    struct CreateTopicsResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 2..;
        /// The topics.
        topics: Vec<CreatableTopicResult>, 0..;
    }

    /// What became of one topic.
    struct CreatableTopicResult {
        /// The name.
        name: Str, 0..;
        /// The topic's id, or zero where it goes by name.
        topic_id: TopicId, 7..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 1.., nullable 0..;
        /// Why the settings are not in the response, if they are not.
        topic_config_error_code: ErrorCode, 5.., tag 0;
        /// How many partitions it has, or -1.
        num_partitions: i32, 5.., default -1;
        /// How many replicas each has, or -1.
        replication_factor: i16, 5.., default -1;
        /// The settings that apply, or null.
        configs: Option<Vec<CreatableTopicConfigs>>, 5.., nullable 5..;
    }

    /// A setting as it applies to the new topic.
    struct CreatableTopicConfigs {
        /// The name.
        name: Str, 5..;
        /// The value.
        value: Option<Str>, 5.., nullable 5..;
        /// Whether it cannot be changed.
        read_only: bool, 5..;
        /// Where the value comes from, by Kafka's numbers.
        config_source: i8, 5.., default -1;
        /// Whether the value is a secret, and left out.
        is_sensitive: bool, 5..;
    }
}
