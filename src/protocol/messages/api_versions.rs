//! ApiVersions: which APIs, versions and features the broker has. The first request of most clients.
//! KIP-35, KIP-511 (client software), KIP-584 (features).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};

request!(ApiVersionsRequest => ApiVersionsResponse, ApiVersions, 0..=4, flexible 3);

schema! {
    /// Asks what the broker speaks, and says who asks.
    struct ApiVersionsRequest {
        /// The client's name.
        client_software_name: Str, 3..;
        /// The client's version.
        client_software_version: Str, 3..;
    }

    /// What the broker speaks.
    struct ApiVersionsResponse {
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// The APIs.
        api_keys: Vec<ApiVersion>, 0..;
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 1..;
        /// The features that this broker could use. Older clients fail on one whose lowest version
        /// is 0, so it is left out below version 4.
        supported_features: Vec<SupportedFeatureKey>, 3.., tag 0;
        /// Counts the changes to the finalized features; -1 if not known.
        finalized_features_epoch: i64, 3.., tag 1, default -1;
        /// The features that the cluster uses.
        finalized_features: Vec<FinalizedFeatureKey>, 3.., tag 2;
        /// Unused here.
        zk_migration_ready: bool, 3.., tag 3;
    }

    /// An API and its range of versions.
    struct ApiVersion {
        /// The API's number. Plain, because a broker may have APIs that we do not know.
        api_key: i16, 0..;
        /// Lowest version.
        min_version: i16, 0..;
        /// Highest version.
        max_version: i16, 0..;
    }

    /// A feature that the broker could use.
    struct SupportedFeatureKey {
        /// The name.
        name: Str, 3..;
        /// Lowest version.
        min_version: i16, 3..;
        /// Highest version.
        max_version: i16, 3..;
    }

    /// A feature that the cluster uses.
    struct FinalizedFeatureKey {
        /// The name.
        name: Str, 3..;
        /// Highest version in use.
        max_version_level: i16, 3..;
        /// Lowest version in use.
        min_version_level: i16, 3..;
    }
}
