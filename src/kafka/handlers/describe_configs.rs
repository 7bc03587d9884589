//! DescribeConfigs: every config with its value, source and type (KIP-133, KIP-226, KIP-569).

use super::resources::{self, Refused};
use crate::kafka::dispatch::{Broker, Call};
use crate::metadata::Image;
use crate::metadata::state::configs::{
    ConfigEntry, ConfigResource, ConfigSource, ConfigSynonymValue,
};
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::protocol::{ErrorCode, Str};

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let image = broker.context.metadata.image();
    let results =
        request.resources.iter().map(|resource| match entries(broker, &image, resource) {
            Ok(entries) => DescribeConfigsResult {
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                configs: entries
                    .into_iter()
                    .filter(|entry| is_wanted(resource, entry))
                    .map(|entry| {
                        row(entry, request.include_synonyms, request.include_documentation)
                    })
                    .collect(),
                ..Default::default()
            },
            Err(refused) => DescribeConfigsResult {
                error_code: refused.code,
                error_message: Some(Str::from(refused.message)),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                ..Default::default()
            },
        });
    DescribeConfigsResponse { results: results.collect(), ..Default::default() }
}

/// No list of keys, or an empty one, means all.
fn is_wanted(resource: &DescribeConfigsResource, entry: &ConfigEntry) -> bool {
    match &resource.configuration_keys {
        Some(keys) if !keys.is_empty() => keys.iter().any(|key| &**key == entry.name),
        _ => true,
    }
}

fn entries(
    broker: &Broker,
    image: &Image,
    asked: &DescribeConfigsResource,
) -> Result<Vec<ConfigEntry>, Refused> {
    let context = &broker.context;
    let here = context.node_id;
    let resource = resources::described_resource(asked.resource_type, &asked.resource_name, here)?;
    match resource {
        ConfigResource::Topic(name) => {
            let topic = image.topic_by_name(name.as_str()).ok_or_else(|| {
                let message = format!("there is no topic '{name}'");
                Refused { code: ErrorCode::UnknownTopicOrPartition, message }
            })?;
            let layers = image.config_layers(Some(topic), context.node_id, &context.static_configs);
            Ok(layers.describe_topic())
        }
        ConfigResource::Broker(_) => {
            let layers = image.config_layers(None, context.node_id, &context.static_configs);
            Ok(layers.describe_broker())
        }
        // Of the defaults of all brokers, only what was set is listed.
        ConfigResource::BrokerDefault => {
            let layers = image.config_layers(None, context.node_id, &context.static_configs);
            let set = layers.describe_broker().into_iter().filter_map(cluster_default);
            Ok(set.collect())
        }
    }
}

/// The entry as it stands for all brokers; nothing when it was not set for all.
fn cluster_default(mut entry: ConfigEntry) -> Option<ConfigEntry> {
    entry.synonyms.retain(|synonym| synonym.source == ConfigSource::BrokerDefault);
    let set = entry.synonyms.first()?;
    entry.value = if entry.sensitive { None } else { set.value.clone() };
    entry.source = ConfigSource::BrokerDefault;
    Some(entry)
}

fn row(
    entry: ConfigEntry,
    with_synonyms: bool,
    with_documentation: bool,
) -> DescribeConfigsResourceResult {
    let synonyms = if with_synonyms { entry.synonyms } else { Vec::new() };
    DescribeConfigsResourceResult {
        name: Str::from_static(entry.name),
        value: entry.value.filter(|_| !entry.sensitive).map(Str::from),
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: entry.sensitive,
        synonyms: synonyms.into_iter().map(synonym).collect(),
        config_type: entry.kind.wire(),
        documentation: with_documentation.then(|| Str::from_static(entry.doc)),
        ..Default::default()
    }
}

fn synonym(value: ConfigSynonymValue) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym {
        name: Str::from_static(value.name),
        value: value.value.map(Str::from),
        source: value.source as i8,
        ..Default::default()
    }
}
