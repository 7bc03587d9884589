//! UpdateFeatures: raises or lowers levels that all brokers understand (KIP-584, KIP-778).

use std::collections::BTreeSet;

use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::metadata::Image;
use crate::metadata::state::{Command, Response, UpdateFeatures};
use crate::protocol::messages::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use crate::protocol::{ErrorCode, Str};

/// First version with kinds of changes in place of a flag.
const KINDS_SINCE: i16 = 1;
/// First version in which all features change or none, and only one error is reported.
const ALL_OR_NOTHING_SINCE: i16 = 2;

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

type Outcome = Result<(), (ErrorCode, String)>;

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    call: &Call,
    request: UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    let mut named = BTreeSet::new();
    if let Some(twice) = request.feature_updates.iter().find(|row| !named.insert(&*row.feature)) {
        let message = format!("feature '{}' is named more than once", &*twice.feature);
        return failed(ErrorCode::InvalidRequest, message);
    }
    let image = broker.context.metadata.image();
    let mut outcomes: Vec<Outcome> =
        request.feature_updates.iter().map(|row| check(&image, row, call.version)).collect();
    let all_or_nothing = call.version >= ALL_OR_NOTHING_SINCE;
    if all_or_nothing && outcomes.iter().all(Result::is_ok) && !request.validate_only {
        // Nothing may change if one of them cannot.
        propose(broker, &request, &mut outcomes, true).await;
    }
    if !all_or_nothing || outcomes.iter().all(Result::is_ok) {
        propose(broker, &request, &mut outcomes, request.validate_only).await;
    }
    if all_or_nothing {
        return match outcomes.into_iter().find_map(Result::err) {
            Some((code, message)) => failed(code, message),
            None => UpdateFeaturesResponse::default(),
        };
    }
    let rows = request.feature_updates.into_iter().zip(outcomes).map(|(asked, outcome)| {
        let (error_code, message) = outcome.err().unzip();
        UpdatableFeatureResult {
            feature: asked.feature,
            error_code: error_code.unwrap_or_default(),
            error_message: message.map(Str::from),
            ..Default::default()
        }
    });
    UpdateFeaturesResponse { results: rows.collect(), ..Default::default() }
}

fn failed(error_code: ErrorCode, message: String) -> UpdateFeaturesResponse {
    UpdateFeaturesResponse {
        error_code,
        error_message: Some(Str::from(message)),
        ..Default::default()
    }
}

/// Whether the change goes in the direction that its kind says.
fn check(image: &Image, asked: &FeatureUpdateKey, version: i16) -> Outcome {
    let refuse = |code, message| Err((code, message));
    let kind = match (version >= KINDS_SINCE, asked.allow_downgrade) {
        (true, _) => asked.upgrade_type,
        (false, true) => SAFE_DOWNGRADE,
        (false, false) => UPGRADE,
    };
    if !(UPGRADE..=UNSAFE_DOWNGRADE).contains(&kind) {
        return refuse(ErrorCode::InvalidRequest, format!("there is no kind of upgrade {kind}"));
    }
    let features = image.state().features();
    let now = features.into_iter().find(|(name, _)| *name == &*asked.feature);
    let now = now.map_or(0, |(_, level)| level);
    let (name, wanted) = (&*asked.feature, asked.max_version_level);
    if wanted < now && kind == UPGRADE {
        let message =
            format!("feature '{name}' is at {now}; ask for a downgrade to get to {wanted}");
        return refuse(ErrorCode::InvalidUpdateVersion, message);
    }
    if wanted > now && kind != UPGRADE {
        let message = format!("feature '{name}' is at {now}; {wanted} is no downgrade");
        return refuse(ErrorCode::InvalidUpdateVersion, message);
    }
    Ok(())
}

/// Proposes the changes that were not refused yet, and notes what became of them.
async fn propose(
    broker: &Broker,
    request: &UpdateFeaturesRequest,
    outcomes: &mut [Outcome],
    validate_only: bool,
) {
    let (mut places, mut levels) = (Vec::new(), Vec::new());
    for (place, (row, outcome)) in request.feature_updates.iter().zip(&*outcomes).enumerate() {
        if outcome.is_ok() {
            places.push(place);
            levels.push((row.feature.as_str().to_owned(), row.max_version_level.max(0)));
        }
    }
    if levels.is_empty() {
        return;
    }
    let command = Command::UpdateFeatures(UpdateFeatures { levels, validate_only });
    let results: Vec<Outcome> = match broker.context.metadata.propose(command).await {
        Ok(Response::UpdateFeatures(results)) => results
            .into_iter()
            .map(|result| {
                result.map_err(|refusal| (errors::refusal_code(refusal.kind), refusal.message))
            })
            .collect(),
        Ok(other) => unreachable!("UpdateFeatures was answered with {other:?}"),
        Err(error) => {
            vec![Err((errors::metadata_code(&error), error.to_string())); places.len()]
        }
    };
    for (place, result) in places.into_iter().zip(results) {
        outcomes[place] = result;
    }
}
