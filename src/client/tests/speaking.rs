//! Versions and frames.

use super::fake::{Answer, Fake, USUAL, versions};
use crate::client::{Cluster, ClusterOptions, Error};
use crate::protocol::messages::api_versions::ApiVersionsRequest;
use crate::protocol::{ApiKey, ErrorCode};
use std::sync::{Arc, Mutex};

fn impatient(fake: &Fake) -> ClusterOptions {
    ClusterOptions {
        bootstrap: vec![fake.address.clone()],
        reach_timeout_ms: 200,
        connect_timeout_ms: 200,
        ..ClusterOptions::default()
    }
}

#[tokio::test]
async fn trap_1_versions_an_older_broker_answers_in_the_oldest_form() {
    let asked_for = Arc::new(Mutex::new(Vec::new()));
    let seen = asked_for.clone();
    let fake = Fake::start(USUAL, move |asked| {
        if asked.api != ApiKey::ApiVersions {
            return Answer::Usual;
        }
        seen.lock().expect("fine").push(asked.version);
        if asked.version <= 2 {
            return Answer::Usual;
        }
        let mut answer = versions();
        answer.error_code = ErrorCode::UnsupportedVersion;
        answer.api_keys.retain(|api| api.api_key == ApiKey::ApiVersions.to_i16());
        answer.api_keys[0].max_version = 2;
        asked.answer_as::<ApiVersionsRequest>(&answer, 0)
    });
    Cluster::connect(impatient(&fake)).await.expect("both find a version");
    let newest = *<ApiVersionsRequest as crate::protocol::Request>::VERSIONS.end();
    assert_eq!(asked_for.lock().expect("fine")[..2], [newest, 2]);
}

#[tokio::test]
async fn a_broker_without_a_common_version_is_named() {
    let fake = Fake::start(USUAL, |asked| match asked.api {
        ApiKey::ApiVersions => {
            let mut answer = versions();
            answer.api_keys.retain(|api| api.api_key != ApiKey::Metadata.to_i16());
            asked.answer::<ApiVersionsRequest>(&answer)
        }
        _ => Answer::Usual,
    });
    let error = Cluster::connect(impatient(&fake)).await.expect_err("no Metadata at all");
    assert!(matches!(error, Error::Unsupported { what: "Metadata", .. }), "{error}");
}

#[tokio::test]
async fn silence_and_wrong_answers_end_in_an_error_with_the_address() {
    let silent = Fake::start(USUAL, |_| Answer::Silence);
    let error = Cluster::connect(impatient(&silent)).await.expect_err("nobody answers");
    let text = error.to_string();
    assert!(text.contains(&silent.address.to_string()), "{text}");
    let wrong = Fake::start(USUAL, |asked| {
        asked.correlation_id += 1;
        asked.answer::<ApiVersionsRequest>(&versions())
    });
    let patient = ClusterOptions { reach_timeout_ms: 2_000, ..impatient(&wrong) };
    let patient = ClusterOptions { connect_timeout_ms: 2_000, ..patient };
    let error = Cluster::connect(patient).await.expect_err("answers nobody asked for");
    assert!(error.to_string().contains("nobody asked for"), "{error}");
}
