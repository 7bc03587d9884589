//! ApiVersions: what is served, in which versions (KIP-35, KIP-511, KIP-584).

use crate::kafka::connection::Answer;
use crate::kafka::dispatch::{Broker, Call};
use crate::protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use crate::protocol::messages::{SERVED, ServedApi};
use crate::protocol::{ApiKey, ErrorCode, Str};

/// Clients since this version can read a supported feature whose lowest level is 0; older Java
/// clients fail on it and lose the connection (KAFKA-17011).
const FEATURES_FROM_ZERO_SINCE: i16 = 4;

/// Characters of a client's software name or version that may stand at neither end.
const INNER_CHARACTERS: [char; 2] = ['-', '.'];

/// Answers a version that is too new: in the layout of version 0, which every client reads, with
/// the versions of this API alone. The body of the request was not looked at.
pub(in crate::kafka) fn refuse_version(call: &Call) -> Answer {
    let versions = SERVED.iter().filter(|api| api.key == ApiKey::ApiVersions);
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion,
        api_keys: versions.map(row).collect(),
        ..Default::default()
    };
    let oldest = Call { version: 0, ..call.clone() };
    oldest.answer::<ApiVersionsRequest>(&response)
}

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    call: &Call,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    if call.version >= 3
        && !(is_software_name(&request.client_software_name)
            && is_software_name(&request.client_software_version))
    {
        let error_code = ErrorCode::InvalidRequest;
        return ApiVersionsResponse { error_code, ..Default::default() };
    }
    let image = broker.context.metadata.image();
    // Nothing finalized means that no epoch is known either: clients then ignore the list.
    let finalized: Vec<_> = image.state().features().map(finalized_feature).collect();
    let epoch = if finalized.is_empty() {
        -1
    } else {
        i64::try_from(image.applied_count()).unwrap_or(i64::MAX)
    };
    ApiVersionsResponse {
        api_keys: SERVED.iter().map(row).collect(),
        supported_features: supported_features(call.version),
        finalized_features_epoch: epoch,
        finalized_features: finalized,
        ..Default::default()
    }
}

fn row(api: &ServedApi) -> ApiVersion {
    ApiVersion {
        api_key: api.key.to_i16(),
        min_version: api.advertised_min,
        max_version: *api.versions.end(),
        ..Default::default()
    }
}

fn finalized_feature((name, level): (&str, i16)) -> FinalizedFeatureKey {
    FinalizedFeatureKey {
        name: Str::from(name),
        max_version_level: level,
        min_version_level: level,
        ..Default::default()
    }
}

/// Features of which this binary knows levels.
fn supported_features(version: i16) -> Vec<SupportedFeatureKey> {
    // Name, lowest and highest level.
    const FEATURES: [(&str, i16, i16); 0] = [];
    FEATURES
        .iter()
        .filter(|(_, level_min, _)| *level_min > 0 || version >= FEATURES_FROM_ZERO_SINCE)
        .map(|(name, level_min, level_max)| SupportedFeatureKey {
            name: Str::from_static(name),
            min_version: *level_min,
            max_version: *level_max,
            ..Default::default()
        })
        .collect()
}

/// Letters, digits, `-` and `.`, the latter two not at the ends.
fn is_software_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(INNER_CHARACTERS)
        && !text.ends_with(INNER_CHARACTERS)
        && text.chars().all(|c| c.is_ascii_alphanumeric() || INNER_CHARACTERS.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::header::decode_response;
    use bytes::{Bytes, BytesMut};

    /// What librdkafka 2.0.2 asks of a broker before it enables a feature: API and the range of
    /// versions of which one must be advertised.
    type Need = (i16, i16, i16);
    const LIBRDKAFKA_2_0_2: [(&str, &[Need]); 7] = [
        ("MsgVer2", &[(0, 3, 3), (1, 4, 4)]),
        ("ApiVersion", &[(18, 0, 0)]),
        ("BrokerGroupCoordinator", &[(10, 0, 0)]),
        ("LZ4", &[(10, 0, 0)]),
        ("OffsetTime", &[(2, 1, 1)]),
        ("IdempotentProducer", &[(22, 0, 0)]),
        ("ZSTD", &[(0, 7, 7), (1, 10, 10)]),
    ];

    fn range(key: i16) -> Option<(i16, i16)> {
        let row = SERVED.iter().map(row).find(|row| row.api_key == key)?;
        Some((row.min_version, row.max_version))
    }

    #[test]
    fn trap_1_versions_advertising_produce_from_v3() {
        assert_eq!(range(0), Some((0, 13)));
        for (feature, needs) in LIBRDKAFKA_2_0_2 {
            for (key, from, to) in needs {
                let (min, max) = range(*key).expect("served");
                assert!(*from <= max && min <= *to, "{feature} needs API {key} {from}-{to}");
            }
        }
    }

    #[test]
    fn trap_1_versions_min_raised_above_what_old_clients_send() {
        // kafkajs takes the lower of its own maximum and ours, and never looks at our minimum.
        let kafkajs = [(0, 7), (1, 11), (3, 6), (2, 3), (10, 2), (19, 3), (22, 1)];
        for (key, newest) in kafkajs {
            let (min, max) = range(key).expect("served");
            assert!(min <= newest && newest <= max, "API {key}");
        }
    }

    #[test]
    fn trap_client_choices_librdkafka_2_0_old_maxima() {
        for (key, version) in [(1, 11), (3, 4), (2, 2), (19, 4)] {
            let (min, max) = range(key).expect("served");
            assert!(min <= version && version <= max, "API {key}");
        }
    }

    #[test]
    fn trap_1_versions_topic_id_apis_without_topic_id_metadata() {
        assert_eq!((range(0), range(1)), (Some((0, 13)), Some((4, 18))));
        assert_eq!(range(3), Some((0, 13)), "ids are told by Metadata 10 and later");
    }

    #[test]
    fn trap_1_telemetry_advertised_but_unimplemented() {
        assert_eq!((range(71), range(72)), (None, None));
    }

    #[test]
    fn trap_15_versions_api_versions_v99_closes_the_connection() {
        let call = Call { version: 99, correlation_id: 7, client_id: None };
        let mut frame = BytesMut::new();
        for chunk in refuse_version(&call).chunks {
            frame.extend_from_slice(&chunk);
        }
        let body = Bytes::from(frame).slice(4..);
        let (header, response) =
            decode_response::<ApiVersionsRequest>(body, 0).expect("the layout of version 0");
        assert_eq!(header.correlation_id, 7);
        assert_eq!(response.error_code, ErrorCode::UnsupportedVersion);
        let [row] = &response.api_keys[..] else { panic!("one row: {response:?}") };
        assert_eq!((row.api_key, row.min_version, row.max_version), (18, 0, 4));
    }

    #[test]
    fn trap_1_versions_client_software_fields_not_validated() {
        for good in ["apache-kafka-java", "4.0.0", "a", "librdkafka"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".1", "1.", "a b", "a_b", "ä"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }

    #[test]
    fn trap_1_versions_supported_feature_with_min_0_shown_to_old_clients() {
        assert!(supported_features(3).iter().all(|feature| feature.min_version > 0));
    }
}
