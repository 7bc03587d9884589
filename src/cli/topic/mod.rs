//! `purlin topic …`.

mod alter;
mod describe;

use super::connect::{Connect, block_on};
use super::failure::{Failure, nearest};
use super::output::Output;
use crate::client::admin::{CreatedTopic, NewTopic, Resource};
use crate::client::cluster::TopicInfo;
use crate::client::{Admin, Error};
use crate::protocol::ErrorCode;
use serde::Serialize;
use std::io::Write as _;

/// Commands about topics.
#[derive(Debug, clap::Subcommand)]
pub(super) enum TopicCommand {
    /// Create topics
    Create(CreateArgs),
    /// List topics
    List(ListArgs),
    /// Show partitions, replicas, offsets and settings of topics
    Describe(describe::DescribeArgs),
    /// Change settings of a topic, add partitions, or change the number of replicas
    Alter(alter::AlterArgs),
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
    /// Replicas of each partition [default: one per node, up to 3]
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
        TopicCommand::Describe(args) => block_on(describe::run(args)),
        TopicCommand::Alter(args) => block_on(alter::run(args)),
        TopicCommand::Delete(args) => block_on(delete(args)),
    }
}

/// Says what was done: the only output of a command that changes something and shows no table. That
/// nobody reads it is no failure of what was done.
pub(super) fn tell(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
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
                let look = (!args.dry_run).then(|| format!("purlin topic describe {name}"));
                return Err(with_key_suggestion(&admin, error, keys, look.as_deref()).await);
            }
        }
    }
    print_created(&args.output, &rows)
}

fn print_created(output: &Output, rows: &[CreatedRow]) -> Result<(), Failure> {
    output.rows(&["topic", "id", "partitions", "replication_factor", "created"], rows)
}

/// Adds the nearest key that exists to an error about a setting that does not. `look` shows whether
/// a change of unknown outcome was made; a mere check needs none.
async fn with_key_suggestion<'a>(
    admin: &Admin,
    error: Error,
    keys: impl Iterator<Item = &'a str>,
    look: Option<&str>,
) -> Failure {
    if error.code() != Some(ErrorCode::InvalidConfig) {
        return match look {
            Some(look) => Failure::of_change(error, look),
            None => error.into(),
        };
    }
    let mut failure = Failure::from(error);
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
            Err(error) => return Err(Failure::of_change(error, "purlin topic list")),
        }
    }
    Ok(())
}
