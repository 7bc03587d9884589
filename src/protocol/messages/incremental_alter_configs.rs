//! IncrementalAlterConfigs: change single settings of topics and brokers. KIP-339.

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};

request!(IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse, IncrementalAlterConfigs, 0..=1, flexible 1);

schema! {
    /// Changes settings.
    struct IncrementalAlterConfigsRequest {
        /// The topics and brokers.
        resources: Vec<AlterConfigsResource>, 0..;
        /// Check only, and change nothing.
        validate_only: bool, 0..;
    }

    /// A topic or broker to change.
    struct AlterConfigsResource {
        /// 2: topic; 4: broker; others by Kafka's numbers.
        resource_type: i8, 0..;
        /// The topic's name or the broker's id.
        resource_name: Str, 0..;
        /// The settings.
        configs: Vec<AlterableConfig>, 0..;
    }

    /// A setting.
    struct AlterableConfig {
        /// The name.
        name: Str, 0..;
        /// 0: set; 1: delete; 2: append; 3: subtract.
        config_operation: i8, 0..;
        /// The value.
        value: Option<Str>, 0.., nullable 0..;
    }

    /// What became of each resource.
    struct IncrementalAlterConfigsResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// The answers, in the order of the request.
        responses: Vec<AlterConfigsResourceResponse>, 0..;
    }

    /// What became of one resource.
    struct AlterConfigsResourceResponse {
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 0.., nullable 0..;
        /// 2: topic; 4: broker; others by Kafka's numbers.
        resource_type: i8, 0..;
        /// The topic's name or the broker's id.
        resource_name: Str, 0..;
    }
}
