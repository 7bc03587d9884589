//! ListConfigResources: what has configs. KIP-714 (client metrics), KIP-1142 (all kinds).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};

request!(
    ListConfigResourcesRequest => ListConfigResourcesResponse,
    ListConfigResources, 0..=1, flexible 0
);

schema! {
    /// Asks for what has configs.
    struct ListConfigResourcesRequest {
        /// The kinds, by Kafka's numbers; empty for all.
        resource_types: Vec<i8>, 1..;
    }

    /// What has configs.
    struct ListConfigResourcesResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// The resources.
        config_resources: Vec<ConfigResource>, 0..;
    }

    /// One resource.
    struct ConfigResource {
        /// Its name.
        resource_name: Str, 0..;
        /// Its kind; 16 stands for client metrics.
        resource_type: i8, 1.., default 16;
    }
}
