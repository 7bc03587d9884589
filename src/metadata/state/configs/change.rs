//! Changing what is set for a resource.

use super::super::command::{AlterConfigs, ConfigChange, ConfigOp, ConfigOpKind};
use super::super::delta::Delta;
use super::super::model::{ConfigMap, State};
use super::super::response::{Refusal, RefusalKind};
use super::definition::{ConfigDef, ConfigKind, Dynamic};
use super::effective::{broker_definition, topic_definition};
use super::shared::SHARED;
use super::{ConfigResource, effects, value};
use crate::limits::CONFIG_VALUE_BYTES_MAX;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Changes configs, resource by resource; one that is refused stays as it is, whole.
pub(in super::super) fn alter(
    state: &mut State,
    command: &AlterConfigs,
    delta: &mut Delta,
) -> Vec<Result<(), Refusal>> {
    let mut seen: BTreeSet<&ConfigResource> = BTreeSet::new();
    let mut twice: BTreeSet<&ConfigResource> = BTreeSet::new();
    for alteration in &command.resources {
        if !seen.insert(&alteration.resource) {
            twice.insert(&alteration.resource);
        }
    }
    let before = state.clone();
    let mut results = Vec::with_capacity(command.resources.len());
    for alteration in &command.resources {
        let resource = &alteration.resource;
        let outcome = if twice.contains(resource) {
            Err(Refusal::new(
                RefusalKind::InvalidRequest,
                format!("{resource} is named more than once in one request"),
            ))
        } else {
            altered(state, resource, &alteration.change).and_then(|configs| {
                effects::check_caching(state, resource, &configs).map(|()| configs)
            })
        };
        results.push(outcome.map(|configs| {
            if !command.validate_only {
                store(state, resource, configs, delta);
            }
        }));
    }
    effects::carry_out(&before, state, &command.resources, delta);
    results
}

fn store(state: &mut State, resource: &ConfigResource, configs: ConfigMap, delta: &mut Delta) {
    let before = state.configs(resource);
    if before.map_or(configs.is_empty(), |before| *before == configs) {
        return;
    }
    delta.configs.insert(resource.clone());
    if configs.is_empty() {
        state.configs.remove_mut(resource);
    } else {
        state.configs.insert_mut(resource.clone(), Arc::new(configs));
    }
}

fn altered(
    state: &State,
    resource: &ConfigResource,
    change: &ConfigChange,
) -> Result<ConfigMap, Refusal> {
    let empty = ConfigMap::new();
    let current = state.configs(resource).unwrap_or(&empty);
    let configs = changed(resource, current, change)?;
    // As in Kafka, what is wrong with the configs is reported before what is wrong with the name.
    match resource {
        ConfigResource::Topic(name) if state.topic_by_name(name.as_str()).is_none() => {
            Err(Refusal::new(RefusalKind::UnknownTopic, format!("there is no topic '{name}'")))
        }
        ConfigResource::Broker(id) if state.broker(*id).is_none() => Err(Refusal::new(
            RefusalKind::BrokerNotRegistered,
            format!("broker {id} is not registered"),
        )),
        _ => Ok(configs),
    }
}

/// What is set after a change; refused as a whole if any part of it is wrong.
pub(in super::super) fn changed(
    resource: &ConfigResource,
    current: &ConfigMap,
    change: &ConfigChange,
) -> Result<ConfigMap, Refusal> {
    check_keys(change)?;
    let mut next = match change {
        ConfigChange::Incremental(_) => current.clone(),
        ConfigChange::Replace(_) => ConfigMap::new(),
    };
    match change {
        ConfigChange::Incremental(ops) => {
            for op in ops {
                apply_op(resource, &mut next, op)?;
            }
        }
        ConfigChange::Replace(all) => {
            for (name, value) in all {
                // `check_keys` has refused nulls.
                next.insert(name.clone(), value.clone().unwrap_or_default());
            }
        }
    }
    for (name, value) in &next {
        if current.get(name) != Some(value) {
            check_value(resource, name, value)?;
        }
    }
    check_together(resource, &next)?;
    Ok(next)
}

/// Each key once, and with a value where it needs one.
fn check_keys(change: &ConfigChange) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(RefusalKind::InvalidRequest, message));
    let keys: Vec<(&str, bool)> = match change {
        ConfigChange::Incremental(ops) => ops
            .iter()
            .map(|op| (op.name.as_str(), op.value.is_some() || op.kind == ConfigOpKind::Delete))
            .collect(),
        ConfigChange::Replace(all) => {
            all.iter().map(|(name, value)| (name.as_str(), value.is_some())).collect()
        }
    };
    let nulls: Vec<&str> = keys.iter().filter(|(_, given)| !given).map(|(name, _)| *name).collect();
    if !nulls.is_empty() {
        return refuse(format!("configs without a value: {}", nulls.join(", ")));
    }
    let mut seen = BTreeSet::new();
    match keys.iter().find(|(name, _)| !seen.insert(*name)) {
        Some((name, _)) => refuse(format!("config {name} is named more than once")),
        None => Ok(()),
    }
}

fn apply_op(
    resource: &ConfigResource,
    configs: &mut ConfigMap,
    op: &ConfigOp,
) -> Result<(), Refusal> {
    let given = op.value.as_deref().unwrap_or_default();
    match op.kind {
        ConfigOpKind::Set => {
            configs.insert(op.name.clone(), given.to_owned());
        }
        ConfigOpKind::Delete => {
            configs.remove(&op.name);
        }
        ConfigOpKind::Append | ConfigOpKind::Subtract => {
            let definition = definition(resource, &op.name)?;
            let word = if op.kind == ConfigOpKind::Append { "APPEND" } else { "SUBTRACT" };
            if definition.kind != ConfigKind::List {
                return Err(Refusal::new(
                    RefusalKind::InvalidConfig,
                    format!("{word} works on lists only, and {} is not one", op.name),
                ));
            }
            let current = configs
                .get(&op.name)
                .map_or(definition.default.unwrap_or_default(), String::as_str);
            let mut list: Vec<&str> = value::entries(current).collect();
            for entry in value::entries(given) {
                if op.kind == ConfigOpKind::Subtract {
                    list.retain(|have| *have != entry);
                } else if !list.contains(&entry) {
                    list.push(entry);
                }
            }
            let joined = list.join(",");
            configs.insert(op.name.clone(), joined);
        }
    }
    Ok(())
}

fn definition(resource: &ConfigResource, name: &str) -> Result<&'static ConfigDef, Refusal> {
    let (found, of) = match resource {
        ConfigResource::Topic(_) => (topic_definition(name), "topic"),
        ConfigResource::Broker(_) | ConfigResource::BrokerDefault => {
            (broker_definition(name), "broker")
        }
    };
    found.ok_or_else(|| {
        Refusal::new(RefusalKind::InvalidConfig, format!("there is no {of} config named {name}"))
    })
}

fn check_value(resource: &ConfigResource, name: &str, text: &str) -> Result<(), Refusal> {
    let definition = definition(resource, name)?;
    if text.len() > CONFIG_VALUE_BYTES_MAX {
        return Err(Refusal::new(
            RefusalKind::InvalidConfig,
            format!("the value of {name} is longer than {CONFIG_VALUE_BYTES_MAX} bytes"),
        ));
    }
    let refuse = |message: String| Err(Refusal::new(RefusalKind::InvalidRequest, message));
    match (resource, definition.dynamic) {
        (ConfigResource::Broker(_) | ConfigResource::BrokerDefault, Dynamic::ReadOnly) => {
            return refuse(format!(
                "{name} is read from the settings at the start, and cannot be changed while the \
                 node runs"
            ));
        }
        (ConfigResource::BrokerDefault, Dynamic::PerBroker) => {
            return refuse(format!("{name} is set for each broker, not for all at once"));
        }
        (ConfigResource::Broker(_), _) if SHARED.contains(&name) => {
            return refuse(format!(
                "{name} must be the same on every broker: set it for a topic, or for all brokers \
                 at once"
            ));
        }
        _ => {}
    }
    value::check(definition, text).map_err(|message| {
        // Kafka answers bad broker configs with INVALID_REQUEST, and clients know it so.
        let kind = match resource {
            ConfigResource::Topic(_) => RefusalKind::InvalidConfig,
            ConfigResource::Broker(_) | ConfigResource::BrokerDefault => {
                RefusalKind::InvalidRequest
            }
        };
        Refusal::new(kind, message)
    })
}

/// Values that are fine one by one and contradict each other.
fn check_together(resource: &ConfigResource, configs: &ConfigMap) -> Result<(), Refusal> {
    if !matches!(resource, ConfigResource::Topic(_)) {
        return Ok(());
    }
    let number = |name: &str| {
        let text = configs.get(name).map(String::as_str).or(topic_definition(name)?.default)?;
        text.trim().parse::<i64>().ok()
    };
    let (least, most) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"));
    match (least, most) {
        (Some(least), Some(most)) if least > most => Err(Refusal::new(
            RefusalKind::InvalidConfig,
            format!(
                "conflict topic config setting min.compaction.lag.ms ({least}) > \
                 max.compaction.lag.ms ({most})"
            ),
        )),
        _ => Ok(()),
    }
}
