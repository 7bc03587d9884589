//! `purlin topic describe`.

use crate::cli::connect::Connect;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, table};
use crate::client::Admin;
use crate::client::admin::{ConfigEntry, Resource};
use crate::client::cluster::{Cluster, PartitionInfo, TopicInfo};
use crate::types::NodeId;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

/// Flags of `topic describe`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct DescribeArgs {
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
    /// Replicas outside of the ISR that may lead all the same.
    elr: Vec<i32>,
    offline: Vec<i32>,
    /// Replicas that a move under way adds and removes.
    adding: Vec<i32>,
    removing: Vec<i32>,
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

pub(super) async fn run(args: DescribeArgs) -> Result<(), Failure> {
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
    if args.output.format == crate::cli::output::Format::Table {
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
        for ((name, partition), usage) in admin.usage(*node).await.unwrap_or_default() {
            if name == topic.name {
                sizes.insert((partition, node.0), usage.bytes);
            }
        }
    }
    // Brokers that know of no ELR or of no moves leave those columns empty.
    let states = admin.partitions(&topic.name).await.unwrap_or_default();
    let moving = admin.moving().await.unwrap_or_default();
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    let row = |(number, partition): (usize, &PartitionInfo)| {
        let index = number as i32;
        let leader = partition.leader.map(|leader| leader.0);
        let range = offsets.get(&index);
        let state = states.iter().find(|state| state.partition == index);
        let way = moving.get(&(topic.name.clone(), index));
        PartitionRow {
            partition: number,
            leader,
            leader_epoch: partition.leader_epoch.0,
            replicas: ids(&partition.replicas),
            isr: ids(&partition.isr),
            elr: state.map_or_else(Vec::new, |state| ids(&state.elr)),
            offline: ids(&partition.offline),
            adding: way.map_or_else(Vec::new, |way| ids(&way.adding)),
            removing: way.map_or_else(Vec::new, |way| ids(&way.removing)),
            log_start_offset: range.map(|(start, _)| start.0),
            log_end_offset: range.map(|(_, end)| end.0),
            bytes: leader.and_then(|leader| sizes.get(&(index, leader)).copied()),
        }
    };
    Ok(topic.partitions.iter().enumerate().map(row).collect())
}

/// Whether a column has anything to say of a partition.
type IsSo = fn(&PartitionRow) -> bool;

fn describe_as_text(description: &Description, all: bool) -> Result<String, Failure> {
    let id = description.id.as_deref().unwrap_or("-");
    let internal = if description.internal { ", internal" } else { "" };
    let mut text = format!("topic {} (id {id}{internal})\n\n", description.topic);
    let mut columns = vec!["partition", "leader", "leader_epoch", "replicas", "isr"];
    // What is rarely so is shown only when it is.
    let rare: [(&str, IsSo); 4] = [
        ("elr", |row| !row.elr.is_empty()),
        ("offline", |row| !row.offline.is_empty()),
        ("adding", |row| !row.adding.is_empty()),
        ("removing", |row| !row.removing.is_empty()),
    ];
    for (column, is_so) in rare {
        if description.partitions.iter().any(is_so) {
            columns.push(column);
        }
    }
    columns.extend(["log_start_offset", "log_end_offset", "bytes"]);
    text.push_str(&table(&columns, &description.partitions)?);
    if !description.configs.is_empty() {
        text.push('\n');
        let columns: &[&str] =
            if all { &["key", "value", "source", "documentation"] } else { &["key", "value"] };
        text.push_str(&table(columns, &description.configs)?);
    }
    Ok(text)
}
