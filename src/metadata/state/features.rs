//! Feature levels: what every node of the cluster understands, so that all may use it (KIP-584).

use super::command::UpdateFeatures;
use super::delta::Delta;
use super::model::State;
use super::response::{Refusal, RefusalKind};
use crate::limits::FEATURES_MAX;

/// Moves feature levels, each on its own.
pub(super) fn update(
    state: &mut State,
    command: &UpdateFeatures,
    delta: &mut Delta,
) -> Vec<Result<(), Refusal>> {
    let mut copy = state.clone();
    let results =
        command.levels.iter().map(|(name, level)| update_one(&mut copy, name, *level)).collect();
    if !command.validate_only && copy != *state {
        *state = copy;
        delta.features = true;
    }
    results
}

fn update_one(state: &mut State, name: &str, level: i16) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(RefusalKind::FeatureUpdateFailed, message));
    if level < 0 {
        return refuse(format!("level {level} of feature {name} is negative"));
    }
    if level == 0 {
        state.features.remove_mut(name);
        return Ok(());
    }
    let behind = state.brokers().find(|broker| {
        broker
            .features
            .iter()
            .find(|(known, _)| known == name)
            .is_none_or(|(_, most)| *most < level)
    });
    if let Some(broker) = behind {
        return refuse(format!(
            "broker {} does not understand level {level} of feature {name}: upgrade it first",
            broker.id
        ));
    }
    if state.features.get(name).is_none() && state.features.size() >= FEATURES_MAX {
        return refuse(format!("there are {FEATURES_MAX} features already"));
    }
    state.features.insert_mut(name.to_owned(), level);
    Ok(())
}
