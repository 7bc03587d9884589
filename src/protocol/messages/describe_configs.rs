//! DescribeConfigs: the settings of topics and brokers, and where their values come from. KIP-133,
//! KIP-226 (synonyms), KIP-569 (types and documentation).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};

request!(DescribeConfigsRequest => DescribeConfigsResponse, DescribeConfigs, 1..=4, flexible 4);

schema! {
    /// Asks for settings.
    struct DescribeConfigsRequest {
        /// The topics and brokers.
        resources: Vec<DescribeConfigsResource>, 0..;
        /// Whether to return the synonyms.
        include_synonyms: bool, 1..;
        /// Whether to return the documentation.
        include_documentation: bool, 3..;
    }

    /// A topic or broker to describe.
    struct DescribeConfigsResource {
        /// 2: topic; 4: broker; others by Kafka's numbers.
        resource_type: i8, 0..;
        /// The topic's name or the broker's id.
        resource_name: Str, 0..;
        /// The settings to return, or null for all.
        configuration_keys: Option<Vec<Str>>, 0.., nullable 0..;
    }

    /// The settings.
    struct DescribeConfigsResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// The answers, in the order of the request.
        results: Vec<DescribeConfigsResult>, 0..;
    }

    /// The settings of one topic or broker.
    struct DescribeConfigsResult {
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 0.., nullable 0..;
        /// 2: topic; 4: broker; others by Kafka's numbers.
        resource_type: i8, 0..;
        /// The topic's name or the broker's id.
        resource_name: Str, 0..;
        /// The settings.
        configs: Vec<DescribeConfigsResourceResult>, 0..;
    }

    /// One setting.
    struct DescribeConfigsResourceResult {
        /// The name.
        name: Str, 0..;
        /// The value.
        value: Option<Str>, 0.., nullable 0..;
        /// Whether it cannot be changed.
        read_only: bool, 0..;
        /// Where the value comes from, by Kafka's numbers.
        config_source: i8, 1.., default -1;
        /// Whether the value is a secret, and left out.
        is_sensitive: bool, 0..;
        /// Where the value could come from.
        synonyms: Vec<DescribeConfigsSynonym>, 1..;
        /// The type of the value, by Kafka's numbers.
        config_type: i8, 3..;
        /// What the setting does.
        documentation: Option<Str>, 3.., nullable 0..;
    }

    /// A place that the value could come from, in the order of preference.
    struct DescribeConfigsSynonym {
        /// The name.
        name: Str, 1..;
        /// The value.
        value: Option<Str>, 1.., nullable 0..;
        /// Where the value comes from, by Kafka's numbers.
        source: i8, 1..;
    }
}
