//! `purlin node …`.

use super::connect::{Connect, block_on};
use super::failure::Failure;
use super::output::Output;
use crate::client::Admin;
use crate::config::{NodeFlags, StartMode};
use crate::node;
use serde::Serialize;

/// Commands about nodes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum NodeCommand {
    /// Make a new cluster with this machine as its first node, and serve
    Init(NewNode),
    /// Make this machine another node of a cluster, and serve
    Join(JoinFlags),
    /// Serve with the node that a directory holds
    Start(NodeFlags),
    /// Show the nodes of a cluster
    List(ListArgs),
}

/// Flags of `node init`.
#[derive(Debug, clap::Args)]
pub(super) struct NewNode {
    #[command(flatten)]
    node: NodeFlags,
    /// Start the node that the directory holds, if it holds one: for containers and units
    #[arg(long)]
    or_start: bool,
}

/// Flags of `node join`.
#[derive(Debug, clap::Args)]
pub(super) struct JoinFlags {
    /// Nodes of the cluster, by their rpc addresses, tried in turn [env: PURLIN_SEED]
    #[arg(long, value_name = "RPC_ADDR,…")]
    seed: Option<String>,
    #[command(flatten)]
    new: NewNode,
}

/// Flags of `node list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    output: Output,
}

impl NodeCommand {
    /// Whether the process becomes a node.
    pub(super) fn serves(&self) -> bool {
        matches!(self, Self::Init(_) | Self::Join(_) | Self::Start(_))
    }
}

pub(super) fn run(command: NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::Init(new) => serve_new(StartMode::Init, &new.node, new.or_start),
        NodeCommand::Join(JoinFlags { seed, new }) => {
            let flags = NodeFlags { seed, ..new.node };
            serve_new(StartMode::Join, &flags, new.or_start)
        }
        NodeCommand::Start(flags) => serve(StartMode::Start, &flags),
        NodeCommand::List(args) => block_on(list(args)),
    }
}

fn serve(mode: StartMode, flags: &NodeFlags) -> Result<(), Failure> {
    Ok(node::run(node::load_config(mode, flags)?)?)
}

fn serve_new(mode: StartMode, flags: &NodeFlags, or_start: bool) -> Result<(), Failure> {
    let config = node::load_config(mode, flags)?;
    if or_start && node::holds_node(&config.data_dir)? {
        return serve(StartMode::Start, flags);
    }
    Ok(node::run(config)?)
}

#[derive(Serialize)]
struct NodeRow {
    node: i32,
    address: String,
    rack: Option<String>,
    state: &'static str,
    controller: bool,
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let admin = Admin::new(args.connect.cluster().await?);
    let cluster = admin.describe_cluster().await?;
    let rows: Vec<NodeRow> = cluster
        .brokers
        .iter()
        .map(|broker| NodeRow {
            node: broker.id.0,
            address: broker.address.to_string(),
            rack: broker.rack.clone(),
            state: if broker.fenced { "fenced" } else { "active" },
            controller: cluster.controller == Some(broker.id),
        })
        .collect();
    args.output.rows(&["node", "address", "rack", "state", "controller"], &rows)
}
