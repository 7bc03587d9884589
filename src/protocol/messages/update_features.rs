//! UpdateFeatures: raises or lowers the levels of the cluster's features. KIP-584, KIP-778 (kinds
//! of downgrades), KIP-1022.

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};

request!(UpdateFeaturesRequest => UpdateFeaturesResponse, UpdateFeatures, 0..=2, flexible 0);

schema! {
    /// Asks for other levels.
    struct UpdateFeaturesRequest {
        /// Milliseconds that the client is ready to wait.
        timeout_ms: i32, 0.., default 60_000;
        /// The features.
        feature_updates: Vec<FeatureUpdateKey>, 0..;
        /// Check only, and change nothing.
        validate_only: bool, 1..;
    }

    /// A feature and its new level.
    struct FeatureUpdateKey {
        /// Its name.
        feature: Str, 0..;
        /// The new level; below 1 takes the feature away.
        max_version_level: i16, 0..;
        /// Whether the level may go down.
        allow_downgrade: bool, 0..=0;
        /// 1: upgrade; 2: downgrade that loses nothing; 3: downgrade that may lose something.
        upgrade_type: i8, 1.., default 1;
    }

    /// What became of the levels.
    struct UpdateFeaturesResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// What went wrong with the request as a whole, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 0.., nullable 0..;
        /// The features. Since version 2 all of them change, or none does.
        results: Vec<UpdatableFeatureResult>, 0..=1;
    }

    /// What became of one feature.
    struct UpdatableFeatureResult {
        /// Its name.
        feature: Str, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 0.., nullable 0..;
    }
}
