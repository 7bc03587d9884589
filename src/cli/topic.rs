//! `purlin topic …`.

use super::connect::{Connect, block_on};
use super::failure::{Failure, nearest};
use super::output::{Output, table};
use crate::client::admin::{ConfigChange, ConfigEntry, CreatedTopic, NewTopic, Resource};
use crate::client::cluster::{Cluster, TopicInfo};
use crate::client::{Admin, Error};
use crate::protocol::ErrorCode;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

/// Commands about topics.
#[derive(Debug, clap::Subcommand)]
pub(super) enum TopicCommand {
    /// Create topics
    Create(CreateArgs),
    /// List topics
    List(ListArgs),
    /// Show partitions, replicas, offsets and settings of topics
    Describe(DescribeArgs),
    /// Change settings of a topic, or add partitions
    Alter(AlterArgs),
    /// Delete topics, with all their records
    Delete(DeleteArgs),
}

/// Flags of `topic create`.
#[derive(Debug, clap::Args)]
pub(super) struct CreateArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Number of partitions [default: the cluster's num.partitions]
    #[arg(short = 'p', long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Replicas of each partition [default: the cluster's default.replication.factor]
    #[arg(short = 'r', long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A setting under Kafka's name, such as retention.ms=86400000; may be repeated
    #[arg(short = 'c', long = "config", value_name = "KEY=VALUE")]
    configs: Vec<String>,
    /// Nothing to do when the topic exists already
    #[arg(long)]
    if_not_exists: bool,
    /// Check everything, create nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    output: Output,
}

/// Flags of `topic list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Show the cluster's own topics too
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    output: Output,
}

/// Flags of `topic describe`.
#[derive(Debug, clap::Args)]
pub(super) struct DescribeArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Show settings that have their default too, with what they do
    #[arg(short = 'a', long)]
    all: bool,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    output: Output,
}

/// Flags of `topic alter`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
    .args(["partitions", "configs", "delete_configs", "append", "subtract"]))]
pub(super) struct AlterArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Raise the number of partitions to this
    #[arg(short = 'p', long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Give a setting a value; may be repeated
    #[arg(short = 'c', long = "config", value_name = "KEY=VALUE")]
    configs: Vec<String>,
    /// Put a setting back to its default; may be repeated
    #[arg(short = 'd', long = "delete-config", value_name = "KEY")]
    delete_configs: Vec<String>,
    /// Add to a setting that is a list; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    append: Vec<String>,
    /// Take from a setting that is a list; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    subtract: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

/// Flags of `topic delete`.
#[derive(Debug, clap::Args)]
pub(super) struct DeleteArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Nothing to do when a topic does not exist
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(super) fn run(command: TopicCommand) -> Result<(), Failure> {
    match command {
        TopicCommand::Create(args) => block_on(create(args)),
        TopicCommand::List(args) => block_on(list(args)),
        TopicCommand::Describe(args) => block_on(describe(args)),
        TopicCommand::Alter(args) => block_on(alter(args)),
        TopicCommand::Delete(args) => block_on(delete(args)),
    }
}

/// Says on a terminal what was done; a pipe learns it from the exit code.
fn tell(text: &str) {
    if std::io::stderr().is_terminal() {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

fn pair(flag: &str, text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::Usage(format!("--{flag} '{text}' is not of the form KEY=VALUE"))),
    }
}

#[derive(Serialize)]
struct CreatedRow {
    topic: String,
    id: Option<String>,
    partitions: Option<i32>,
    replication_factor: Option<i16>,
    created: bool,
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let configs: Vec<(String, String)> =
        args.configs.iter().map(|text| pair("config", text)).collect::<Result<_, _>>()?;
    let admin = Admin::new(args.connect.cluster().await?);
    let mut rows = Vec::new();
    for name in &args.topics {
        let topic = NewTopic {
            name: name.clone(),
            partitions: args.partitions,
            replication_factor: args.replication_factor,
            configs: configs.clone(),
        };
        let row = |created: Option<CreatedTopic>| CreatedRow {
            topic: name.clone(),
            id: created.as_ref().filter(|one| !one.id.is_zero()).map(|one| one.id.to_string()),
            partitions: created.as_ref().and_then(|one| one.partitions),
            replication_factor: created.as_ref().and_then(|one| one.replication_factor),
            created: created.is_some() && !args.dry_run,
        };
        match admin.create_topic(&topic, args.dry_run).await {
            Ok(created) => rows.push(row(Some(created))),
            Err(error)
                if args.if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) =>
            {
                rows.push(row(None));
            }
            Err(error) => {
                if !rows.is_empty() {
                    print_created(&args.output, &rows)?;
                }
                let keys = configs.iter().map(|(key, _)| key.as_str());
                return Err(with_key_suggestion(&admin, error, keys).await);
            }
        }
    }
    print_created(&args.output, &rows)
}

fn print_created(output: &Output, rows: &[CreatedRow]) -> Result<(), Failure> {
    output.rows(&["topic", "id", "partitions", "replication_factor", "created"], rows)
}

/// Adds the nearest key that exists to an error about a setting that does not.
async fn with_key_suggestion<'a>(
    admin: &Admin,
    error: Error,
    keys: impl Iterator<Item = &'a str>,
) -> Failure {
    let mut failure = Failure::from(error.clone());
    if error.code() != Some(ErrorCode::InvalidConfig) {
        return failure;
    }
    let known = known_keys(admin).await;
    if let Failure::Failed { cause, .. } = &mut failure
        && !cause.contains("did you mean")
    {
        for wrong in keys.filter(|key| !known.is_empty() && !known.iter().any(|k| k == key)) {
            if let Some(near) = nearest(wrong, known.iter().map(String::as_str)) {
                cause.push_str(&format!("; for '{wrong}', did you mean '{near}'?"));
            }
        }
    }
    failure
}

/// Refuses to put a setting back that does not exist: brokers take that for done.
async fn refuse_unknown(admin: &Admin, keys: &[String]) -> Result<(), Failure> {
    if keys.is_empty() {
        return Ok(());
    }
    let known = known_keys(admin).await;
    let Some(wrong) = keys.iter().find(|key| !known.is_empty() && !known.contains(key)) else {
        return Ok(());
    };
    let near = nearest(wrong, known.iter().map(String::as_str));
    let near = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
    Err(Failure::new(
        format!("topics have no setting '{wrong}'{near}"),
        "purlin topic describe --all, which lists every setting",
    ))
}

/// The settings that topics have, learned from any topic; none when there is no topic.
async fn known_keys(admin: &Admin) -> Vec<String> {
    let Ok(snapshot) = admin.all_topics().await else { return Vec::new() };
    let Some(any) = snapshot.topics.keys().next() else { return Vec::new() };
    let described = admin.describe_configs(&Resource::Topic(any.clone()), false).await;
    described.unwrap_or_default().into_iter().map(|entry| entry.name).collect()
}

#[derive(Serialize)]
struct TopicRow {
    topic: String,
    id: Option<String>,
    partitions: usize,
    replication_factor: usize,
    internal: bool,
    under_replicated: usize,
    leaderless: usize,
}

impl TopicRow {
    fn new(topic: &TopicInfo) -> Self {
        Self {
            topic: topic.name.clone(),
            id: (!topic.id.is_zero()).then(|| topic.id.to_string()),
            partitions: topic.partitions.len(),
            replication_factor: topic.partitions.first().map_or(0, |one| one.replicas.len()),
            internal: topic.internal,
            under_replicated: topic
                .partitions
                .iter()
                .filter(|one| one.isr.len() < one.replicas.len())
                .count(),
            leaderless: topic.partitions.iter().filter(|one| one.leader.is_none()).count(),
        }
    }
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let admin = Admin::new(args.connect.cluster().await?);
    let snapshot = admin.all_topics().await?;
    let rows: Vec<TopicRow> = snapshot
        .topics
        .values()
        .filter(|topic| args.internal || !topic.internal)
        .map(|topic| TopicRow::new(topic))
        .collect();
    let columns = ["topic", "partitions", "replication_factor", "under_replicated", "leaderless"];
    args.output.rows(&columns, &rows)
}

#[derive(Serialize)]
struct Description {
    topic: String,
    id: Option<String>,
    internal: bool,
    partitions: Vec<PartitionRow>,
    configs: Vec<ConfigRow>,
}

#[derive(Serialize)]
struct PartitionRow {
    partition: usize,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    offline: Vec<i32>,
    log_start_offset: Option<i64>,
    log_end_offset: Option<i64>,
    bytes: Option<i64>,
}

#[derive(Serialize)]
struct ConfigRow {
    key: String,
    value: Option<String>,
    source: &'static str,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    documentation: Option<String>,
}

async fn describe(args: DescribeArgs) -> Result<(), Failure> {
    let cluster = args.connect.cluster().await?;
    let admin = Admin::new(cluster.clone());
    let mut descriptions = Vec::new();
    for name in &args.topics {
        let topic = cluster.require_topic(name).await?;
        let configs = admin.describe_configs(&Resource::Topic(name.clone()), args.all).await?;
        let shown = |entry: &ConfigEntry| args.all || entry.source == "topic";
        let configs = configs.into_iter().filter(shown).map(config_row).collect();
        descriptions.push(Description {
            topic: name.clone(),
            id: (!topic.id.is_zero()).then(|| topic.id.to_string()),
            internal: topic.internal,
            partitions: partition_rows(&cluster, &admin, &topic).await?,
            configs,
        });
    }
    if args.output.format == super::output::Format::Table {
        let mut out = std::io::stdout().lock();
        for (place, description) in descriptions.iter().enumerate() {
            let gap = if place == 0 { "" } else { "\n" };
            write!(out, "{gap}{}", describe_as_text(description, args.all)?)?;
        }
        return Ok(out.flush()?);
    }
    args.output.rows(&[], &descriptions)
}

fn config_row(entry: ConfigEntry) -> ConfigRow {
    ConfigRow {
        key: entry.name,
        value: entry.value,
        source: entry.source,
        read_only: entry.read_only,
        documentation: entry.documentation,
    }
}

async fn partition_rows(
    cluster: &Arc<Cluster>,
    admin: &Admin,
    topic: &TopicInfo,
) -> Result<Vec<PartitionRow>, Failure> {
    let offsets = admin.offsets(&topic.name).await?;
    let mut sizes: BTreeMap<(i32, i32), i64> = BTreeMap::new();
    for node in cluster.snapshot().brokers.keys() {
        // Sizes are a courtesy: a broker that does not tell them leaves a gap.
        for ((name, partition), bytes) in admin.sizes(*node).await.unwrap_or_default() {
            if name == topic.name {
                sizes.insert((partition, node.0), bytes);
            }
        }
    }
    let ids = |nodes: &[crate::types::NodeId]| nodes.iter().map(|node| node.0).collect();
    let row = |(number, partition): (usize, &crate::client::cluster::PartitionInfo)| {
        let index = number as i32;
        let leader = partition.leader.map(|leader| leader.0);
        let range = offsets.get(&index);
        PartitionRow {
            partition: number,
            leader,
            leader_epoch: partition.leader_epoch.0,
            replicas: ids(&partition.replicas),
            isr: ids(&partition.isr),
            offline: ids(&partition.offline),
            log_start_offset: range.map(|(start, _)| start.0),
            log_end_offset: range.map(|(_, end)| end.0),
            bytes: leader.and_then(|leader| sizes.get(&(index, leader)).copied()),
        }
    };
    Ok(topic.partitions.iter().enumerate().map(row).collect())
}

fn describe_as_text(description: &Description, all: bool) -> Result<String, Failure> {
    let id = description.id.as_deref().unwrap_or("-");
    let internal = if description.internal { ", internal" } else { "" };
    let mut text = format!("topic {} (id {id}{internal})\n\n", description.topic);
    let columns = [
        "partition",
        "leader",
        "leader_epoch",
        "replicas",
        "isr",
        "log_start_offset",
        "log_end_offset",
        "bytes",
    ];
    text.push_str(&table(&columns, &description.partitions)?);
    if !description.configs.is_empty() {
        text.push('\n');
        let columns: &[&str] =
            if all { &["key", "value", "source", "documentation"] } else { &["key", "value"] };
        text.push_str(&table(columns, &description.configs)?);
    }
    Ok(text)
}

async fn alter(args: AlterArgs) -> Result<(), Failure> {
    let mut changes = Vec::new();
    for text in &args.configs {
        let (key, value) = pair("config", text)?;
        changes.push(ConfigChange::Set(key, value));
    }
    for key in &args.delete_configs {
        changes.push(ConfigChange::Delete(key.clone()));
    }
    for text in &args.append {
        let (key, value) = pair("append", text)?;
        changes.push(ConfigChange::Append(key, value));
    }
    for text in &args.subtract {
        let (key, value) = pair("subtract", text)?;
        changes.push(ConfigChange::Subtract(key, value));
    }
    let cluster = args.connect.cluster().await?;
    cluster.require_topic(&args.topic).await?;
    let admin = Admin::new(cluster);
    refuse_unknown(&admin, &args.delete_configs).await?;
    if !changes.is_empty() {
        let resource = Resource::Topic(args.topic.clone());
        if let Err(error) = admin.alter_configs(&resource, &changes, false).await {
            let keys = changes.iter().map(ConfigChange::name);
            return Err(with_key_suggestion(&admin, error, keys).await);
        }
    }
    if let Some(count) = args.partitions {
        admin.add_partitions(&args.topic, count).await?;
    }
    tell(&format!("topic '{}' is altered", args.topic));
    Ok(())
}

async fn delete(args: DeleteArgs) -> Result<(), Failure> {
    let cluster = args.connect.cluster().await?;
    let admin = Admin::new(cluster.clone());
    for name in &args.topics {
        match admin.delete_topic(name).await {
            Ok(()) => tell(&format!("topic '{name}' is deleted")),
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                if args.if_exists {
                    continue;
                }
                let known = admin.all_topics().await?.topics.keys().cloned().collect();
                return Err(Error::UnknownTopic { topic: name.clone(), known }.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
