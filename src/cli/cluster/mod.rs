//! `purlin cluster …`.

mod health;

use super::connect::{Connect, block_on};
use super::failure::Failure;
use super::node::{NodeRow, node_rows};
use super::output::{Output, table};
use super::text::counted;
use crate::client::Admin;
use serde::Serialize;

/// Commands about the cluster.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ClusterCommand {
    /// Show the cluster's id, controller, nodes and how much it holds
    Describe(ClusterArgs),
    /// Say whether all is well; if not, what is degraded and what still works; then exit code 1
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
        ClusterCommand::Health(args) => block_on(health::run(args)),
    }
}

#[derive(Serialize)]
struct Description {
    cluster: String,
    controller: Option<i32>,
    /// Raft's term of the metadata group, and its committed end.
    term: Option<i32>,
    metadata_end: Option<i64>,
    brokers: Vec<NodeRow>,
    topics: usize,
    partitions: usize,
}

async fn describe(args: ClusterArgs) -> Result<(), Failure> {
    let admin = Admin::new(args.connect.cluster().await?);
    let info = admin.describe_cluster().await?;
    let snapshot = admin.all_topics().await?;
    let quorum = admin.describe_quorum().await.ok();
    let description = Description {
        cluster: info.id,
        controller: info.controller.map(|node| node.0),
        term: quorum.as_ref().map(|quorum| quorum.term),
        metadata_end: quorum.as_ref().map(|quorum| quorum.high_watermark),
        brokers: node_rows(&admin).await?,
        topics: snapshot.topics.len(),
        partitions: snapshot.topics.values().map(|topic| topic.partitions.len()).sum(),
    };
    args.output.one(&description, |it| {
        let controller = it.controller.map_or("none".to_owned(), |node| node.to_string());
        let term = it.term.map_or(String::new(), |term| format!(" (term {term})"));
        let columns =
            ["node", "address", "rack", "state", "controller", "role", "leaders", "replicas"];
        Ok(format!(
            "cluster {}\ncontroller {controller}{term}, {}, {}\n\n{}",
            it.cluster,
            counted(it.topics, "topic"),
            counted(it.partitions, "partition"),
            table(&columns, &it.brokers)?
        ))
    })
}
