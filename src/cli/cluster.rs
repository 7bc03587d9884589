//! `purlin cluster …`.

use super::connect::{Connect, block_on};
use super::failure::Failure;
use super::output::{Output, table};
use crate::client::Admin;
use serde::Serialize;

/// Commands about the cluster.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ClusterCommand {
    /// Show the cluster's id, controller, brokers and how much it holds
    Describe(ClusterArgs),
    /// Say whether all is well, and if not why; exit code 1 when it is not
    Health(ClusterArgs),
}

/// Flags of both.
#[derive(Debug, clap::Args)]
pub(super) struct ClusterArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Describe(args) => block_on(describe(args)),
        ClusterCommand::Health(args) => block_on(health(args)),
    }
}

#[derive(Serialize)]
struct Description {
    cluster: String,
    controller: Option<i32>,
    brokers: Vec<BrokerRow>,
    topics: usize,
    partitions: usize,
}

#[derive(Serialize)]
struct BrokerRow {
    node: i32,
    address: String,
    rack: Option<String>,
    state: &'static str,
    controller: bool,
    leaders: usize,
    replicas: usize,
}

async fn gather(args: &ClusterArgs) -> Result<(Description, Vec<String>), Failure> {
    let admin = Admin::new(args.connect.cluster().await?);
    let info = admin.describe_cluster().await?;
    let snapshot = admin.all_topics().await?;
    let partitions: Vec<_> = snapshot.topics.values().flat_map(|topic| &topic.partitions).collect();
    let brokers = info
        .brokers
        .iter()
        .map(|broker| BrokerRow {
            node: broker.id.0,
            address: broker.address.to_string(),
            rack: broker.rack.clone(),
            state: if broker.fenced { "fenced" } else { "active" },
            controller: info.controller == Some(broker.id),
            leaders: partitions.iter().filter(|one| one.leader == Some(broker.id)).count(),
            replicas: partitions.iter().filter(|one| one.replicas.contains(&broker.id)).count(),
        })
        .collect();
    let mut reasons = Vec::new();
    if info.controller.is_none() {
        reasons.push("no controller".to_owned());
    }
    for broker in info.brokers.iter().filter(|broker| broker.fenced) {
        reasons.push(format!("node {} is fenced", broker.id));
    }
    for topic in snapshot.topics.values() {
        for (number, partition) in topic.partitions.iter().enumerate() {
            if partition.leader.is_none() {
                reasons.push(format!("{}-{number} has no leader", topic.name));
            } else if partition.isr.len() < partition.replicas.len() {
                let (isr, all) = (partition.isr.len(), partition.replicas.len());
                reasons
                    .push(format!("{}-{number} has {isr} of {all} replicas in sync", topic.name));
            }
        }
    }
    let description = Description {
        cluster: info.id,
        controller: info.controller.map(|node| node.0),
        brokers,
        topics: snapshot.topics.len(),
        partitions: partitions.len(),
    };
    Ok((description, reasons))
}

async fn describe(args: ClusterArgs) -> Result<(), Failure> {
    let (description, _) = gather(&args).await?;
    args.output.one(&description, |it| {
        let controller = it.controller.map_or("none".to_owned(), |node| node.to_string());
        let columns = ["node", "address", "rack", "state", "controller", "leaders", "replicas"];
        Ok(format!(
            "cluster {}\ncontroller {controller}, {} topics, {} partitions\n\n{}",
            it.cluster,
            it.topics,
            it.partitions,
            table(&columns, &it.brokers)?
        ))
    })
}

/// Reasons that a table shows; JSON has them all.
const REASONS_SHOWN_MAX: usize = 50;

#[derive(Serialize)]
struct Health {
    healthy: bool,
    cluster: String,
    controller: Option<i32>,
    brokers: usize,
    topics: usize,
    partitions: usize,
    reasons: Vec<String>,
}

async fn health(args: ClusterArgs) -> Result<(), Failure> {
    let (description, reasons) = gather(&args).await?;
    let health = Health {
        healthy: reasons.is_empty(),
        cluster: description.cluster,
        controller: description.controller,
        brokers: description.brokers.len(),
        topics: description.topics,
        partitions: description.partitions,
        reasons,
    };
    args.output.one(&health, |it| {
        let verdict = if it.healthy { "healthy" } else { "not healthy" };
        let mut text = format!(
            "{verdict}: {} brokers, {} topics, {} partitions\n",
            it.brokers, it.topics, it.partitions
        );
        for reason in it.reasons.iter().take(REASONS_SHOWN_MAX) {
            text.push_str(&format!("  {reason}\n"));
        }
        if it.reasons.len() > REASONS_SHOWN_MAX {
            text.push_str(&format!("  … and {} more\n", it.reasons.len() - REASONS_SHOWN_MAX));
        }
        Ok(text)
    })?;
    if health.healthy {
        Ok(())
    } else {
        let count = health.reasons.len();
        let next = "purlin node list; purlin topic list";
        Err(Failure::new(format!("the cluster is not healthy, for {count} reasons"), next))
    }
}
