//! Administration: topics, partitions, settings, the cluster.

mod replicas;

pub use replicas::{Move, Moving, PartitionState, QuorumInfo, QuorumMember, ReplicaUsage};

use super::cluster::{Cluster, Purpose, Snapshot};
use super::connection::Connection;
use super::consumer::{Isolation, OffsetQuery, list_offsets};
use super::{Address, Error};
use crate::protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use crate::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use crate::protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use crate::protocol::messages::describe_cluster::DescribeClusterRequest;
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use crate::protocol::{ErrorCode, Request, Str};
use crate::types::{NodeId, Offset, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often an administrative request is sent again because the controller moved.
const CONTROLLER_ATTEMPTS_MAX: u32 = 20;

/// A topic to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// The name.
    pub name: String,
    /// How many partitions; by the cluster's default when not given.
    pub partitions: Option<i32>,
    /// How many replicas of each; by the cluster's default when not given.
    pub replication_factor: Option<i16>,
    /// Settings that differ from the defaults.
    pub configs: Vec<(String, String)>,
}

/// What became of a topic that was created, or checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; all zero when it was only checked.
    pub id: TopicId,
    /// How many partitions it has, if the broker says.
    pub partitions: Option<i32>,
    /// How many replicas each has, if the broker says.
    pub replication_factor: Option<i16>,
}

/// Which thing a setting belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A topic by name.
    Topic(String),
    /// A broker; none means the default of all.
    Broker(Option<NodeId>),
}

/// A setting as it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The name.
    pub name: String,
    /// The value; none for a secret.
    pub value: Option<String>,
    /// Where the value comes from: `topic`, `broker`, `cluster`, `static`, `default`, `unknown`.
    pub source: &'static str,
    /// Whether it cannot be changed.
    pub read_only: bool,
    /// What it does, if that was asked for.
    pub documentation: Option<String>,
}

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Gives it a value.
    Set(String, String),
    /// Back to the default.
    Delete(String),
    /// Adds to a list.
    Append(String, String),
    /// Takes from a list.
    Subtract(String, String),
}

/// The cluster as one broker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Its id.
    pub id: String,
    /// The broker to send administrative requests to.
    pub controller: Option<NodeId>,
    /// The brokers.
    pub brokers: Vec<ClusterBroker>,
}

/// One broker of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterBroker {
    /// Its id.
    pub id: NodeId,
    /// Where it listens for clients.
    pub address: Address,
    /// Its rack, if it has one.
    pub rack: Option<String>,
    /// Whether it is fenced, if the broker says.
    pub fenced: bool,
}

/// Administrative requests. Cheap to make from a cluster.
#[derive(Debug, Clone)]
pub struct Admin {
    cluster: Arc<Cluster>,
}

impl Admin {
    /// Over a cluster that was reached.
    #[must_use]
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.cluster.options().request_timeout_ms).unwrap_or(i32::MAX)
    }

    /// Sends a request to the controller, again while that moves. A request whose outcome is
    /// unknown is not repeated.
    async fn to_controller<R: Request>(
        &self,
        request: &R,
        moved: impl Fn(&R::Response) -> bool,
    ) -> Result<R::Response, Error> {
        let mut backoff = self.cluster.backoff();
        loop {
            let connection = self.controller().await?;
            let answer = connection.call(request).await?;
            if !moved(&answer) || backoff.attempts >= CONTROLLER_ATTEMPTS_MAX {
                return Ok(answer);
            }
            backoff.wait().await;
            self.cluster.refresh(Some(&[])).await?;
        }
    }

    /// The controller, or any broker when that one cannot be reached: brokers pass requests on.
    async fn controller(&self) -> Result<Connection, Error> {
        match self.cluster.controller().await {
            Err(error) if error.is_retriable() => self.cluster.any_connection().await,
            result => result,
        }
    }

    /// Creates a topic, or only checks whether that would work.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason, and those of reaching it.
    pub async fn create_topic(
        &self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<CreatedTopic, Error> {
        let config = |(name, value): &(String, String)| CreatableTopicConfig {
            name: Str::from(name.as_str()),
            value: Some(Str::from(value.as_str())),
            ..CreatableTopicConfig::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: Str::from(topic.name.as_str()),
                num_partitions: topic.partitions.unwrap_or(-1),
                replication_factor: topic.replication_factor.unwrap_or(-1),
                configs: topic.configs.iter().map(config).collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: self.timeout_ms(),
            validate_only,
            ..CreateTopicsRequest::default()
        };
        let answer = self
            .to_controller(&request, |answer| {
                answer.topics.iter().any(|topic| moved(topic.error_code))
            })
            .await?;
        let what = format!("creating topic '{}'", topic.name);
        let Some(result) = answer.topics.first() else { return Err(left_out(what)) };
        check(what, result.error_code, result.error_message.as_deref())?;
        Ok(CreatedTopic {
            id: result.topic_id,
            partitions: (result.num_partitions > 0).then_some(result.num_partitions),
            replication_factor: (result.replication_factor > 0)
                .then_some(result.replication_factor),
        })
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason, and those of reaching it.
    pub async fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState {
                name: Some(Str::from(name)),
                ..DeleteTopicState::default()
            }],
            topic_names: vec![Str::from(name)],
            timeout_ms: self.timeout_ms(),
            ..DeleteTopicsRequest::default()
        };
        let answer = self
            .to_controller(&request, |answer| {
                answer.responses.iter().any(|topic| moved(topic.error_code))
            })
            .await?;
        let what = format!("deleting topic '{name}'");
        let Some(result) = answer.responses.first() else { return Err(left_out(what)) };
        check(what, result.error_code, result.error_message.as_deref())
    }

    /// Raises the number of partitions of a topic to `count`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason, and those of reaching it.
    pub async fn add_partitions(&self, name: &str, count: i32) -> Result<(), Error> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: Str::from(name),
                count,
                assignments: None,
                ..CreatePartitionsTopic::default()
            }],
            timeout_ms: self.timeout_ms(),
            ..CreatePartitionsRequest::default()
        };
        let answer = self
            .to_controller(&request, |answer| {
                answer.results.iter().any(|topic| moved(topic.error_code))
            })
            .await?;
        let what = format!("adding partitions to topic '{name}'");
        let Some(result) = answer.results.first() else { return Err(left_out(what)) };
        check(what, result.error_code, result.error_message.as_deref())
    }

    /// The settings of a topic or broker, by name.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason, and those of reaching it.
    pub async fn describe_configs(
        &self,
        resource: &Resource,
        documentation: bool,
    ) -> Result<Vec<ConfigEntry>, Error> {
        let (resource_type, name) = resource.on_wire();
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type,
                resource_name: Str::from(name.as_str()),
                configuration_keys: None,
                ..DescribeConfigsResource::default()
            }],
            include_documentation: documentation,
            ..DescribeConfigsRequest::default()
        };
        let answer = match resource {
            // A broker answers for itself alone.
            Resource::Broker(Some(node)) => {
                self.cluster.connection(*node, Purpose::Control).await?.call(&request).await?
            }
            _ => self.cluster.ask_any(&request).await?,
        };
        let what = format!("the settings of {resource}");
        let Some(result) = answer.results.first() else { return Err(left_out(what)) };
        check(what, result.error_code, result.error_message.as_deref())?;
        let mut entries: Vec<ConfigEntry> = result
            .configs
            .iter()
            .map(|config| ConfigEntry {
                name: config.name.to_string(),
                value: config.value.as_ref().map(ToString::to_string),
                source: source_name(config.config_source),
                read_only: config.read_only,
                documentation: config.documentation.as_ref().map(ToString::to_string),
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Changes settings of a topic or broker, all or none.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason, and those of reaching it.
    pub async fn alter_configs(
        &self,
        resource: &Resource,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), Error> {
        let (resource_type, name) = resource.on_wire();
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type,
                resource_name: Str::from(name.as_str()),
                configs: changes.iter().map(ConfigChange::on_wire).collect(),
                ..AlterConfigsResource::default()
            }],
            validate_only,
            ..IncrementalAlterConfigsRequest::default()
        };
        let answer = match resource {
            // A broker takes the changes of its own settings; while it is down, any other does.
            Resource::Broker(Some(node)) => match self.cluster.broker(*node).await {
                Ok(connection) => connection.call(&request).await?,
                Err(_) => self.cluster.ask_any(&request).await?,
            },
            _ => {
                let moved = |answer: &IncrementalAlterConfigsResponse| {
                    answer.responses.iter().any(|resource| moved(resource.error_code))
                };
                self.to_controller(&request, moved).await?
            }
        };
        let what = format!("changing settings of {resource}");
        let Some(result) = answer.responses.first() else { return Err(left_out(what)) };
        check(what, result.error_code, result.error_message.as_deref())
    }

    /// The cluster's id, controller and brokers.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason, and those of reaching it.
    pub async fn describe_cluster(&self) -> Result<ClusterInfo, Error> {
        let request = DescribeClusterRequest { include_fenced_brokers: true, ..Default::default() };
        let answer = self.cluster.ask_any(&request).await?;
        let message = answer.error_message.as_deref();
        check("the cluster".to_owned(), answer.error_code, message)?;
        let mut brokers: Vec<ClusterBroker> = answer
            .brokers
            .iter()
            .map(|broker| ClusterBroker {
                id: broker.broker_id,
                address: Address::new(
                    broker.host.to_string(),
                    u16::try_from(broker.port).unwrap_or(0),
                ),
                rack: broker.rack.as_ref().map(ToString::to_string),
                fenced: broker.is_fenced,
            })
            .collect();
        brokers.sort_by_key(|broker| broker.id);
        let controller = answer.controller_id;
        Ok(ClusterInfo {
            id: answer.cluster_id.to_string(),
            controller: (controller != NodeId::NONE).then_some(controller),
            brokers,
        })
    }

    /// Metadata of all topics.
    ///
    /// # Errors
    /// Those of [`Cluster::refresh`].
    pub async fn all_topics(&self) -> Result<Snapshot, Error> {
        self.cluster.refresh(None).await?;
        Ok(self.cluster.snapshot())
    }

    /// Log start offset and end of each partition of a topic whose leader answers.
    ///
    /// # Errors
    /// Those of [`list_offsets`].
    pub async fn offsets(&self, name: &str) -> Result<BTreeMap<i32, (Offset, Offset)>, Error> {
        let topic = self.cluster.require_topic(name).await?;
        let led: Vec<i32> = (0_i32..)
            .zip(&topic.partitions)
            .filter(|(_, partition)| partition.leader.is_some())
            .map(|(number, _)| number)
            .collect();
        let isolation = Isolation::ReadUncommitted;
        let earliest =
            list_offsets(&self.cluster, name, &led, OffsetQuery::Earliest, isolation).await?;
        let latest =
            list_offsets(&self.cluster, name, &led, OffsetQuery::Latest, isolation).await?;
        Ok(earliest
            .into_iter()
            .filter_map(|(number, start)| Some((number, (start, *latest.get(&number)?))))
            .collect())
    }
}

impl Resource {
    fn on_wire(&self) -> (i8, String) {
        match self {
            Self::Topic(name) => (2, name.clone()),
            Self::Broker(Some(node)) => (4, node.to_string()),
            Self::Broker(None) => (4, String::new()),
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic '{name}'"),
            Self::Broker(Some(node)) => write!(f, "broker {node}"),
            Self::Broker(None) => f.write_str("all brokers"),
        }
    }
}

impl ConfigChange {
    /// The setting's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Set(name, _)
            | Self::Delete(name)
            | Self::Append(name, _)
            | Self::Subtract(name, _) => name,
        }
    }

    fn on_wire(&self) -> AlterableConfig {
        let (name, config_operation, value) = match self {
            Self::Set(name, value) => (name, 0, Some(value)),
            Self::Delete(name) => (name, 1, None),
            Self::Append(name, value) => (name, 2, Some(value)),
            Self::Subtract(name, value) => (name, 3, Some(value)),
        };
        AlterableConfig {
            name: Str::from(name.as_str()),
            config_operation,
            value: value.map(|value| Str::from(value.as_str())),
            ..AlterableConfig::default()
        }
    }
}

fn moved(code: ErrorCode) -> bool {
    code == ErrorCode::NotController
}

fn check(what: String, code: ErrorCode, message: Option<&str>) -> Result<(), Error> {
    match code {
        ErrorCode::None => Ok(()),
        code => Err(Error::refused(what, code, message)),
    }
}

fn left_out(what: String) -> Error {
    let message = Some("the broker's answer left it out");
    Error::refused(what, ErrorCode::UnknownServerError, message)
}

fn source_name(source: i8) -> &'static str {
    match source {
        1 => "topic",
        2 => "broker",
        3 => "cluster",
        4 => "static",
        5 => "default",
        _ => "unknown",
    }
}
