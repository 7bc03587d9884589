//! `purlin node …`.

mod drain;
mod list;
mod remove;

pub(super) use drain::name_some;
pub(super) use list::{NodeRow, rows as node_rows};

use super::connect::block_on;
use super::failure::Failure;
use crate::config::{NodeFlags, StartMode};
use crate::node;

/// Commands about nodes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum NodeCommand {
    /// Make a new cluster with this machine as its first node, and serve
    Init(InitFlags),
    /// Make this machine another node of a cluster, and serve
    Join(JoinFlags),
    /// Serve with the node that a directory holds
    Start(NodeFlags),
    /// Show the nodes of a cluster
    List(list::ListArgs),
    /// Move leadership away from a node, and keep it away
    Drain(drain::DrainArgs),
    /// Take a node out of the cluster for good, its replicas moved away first
    Remove(remove::RemoveArgs),
}

/// What `node init` and `node join` have in common.
#[derive(Debug, clap::Args)]
pub(super) struct NewNode {
    #[command(flatten)]
    node: NodeFlags,
    /// Start the node that the directory holds, if it holds one: for containers and units
    #[arg(long)]
    or_start: bool,
}

/// Flags of `node init`.
#[derive(Debug, clap::Args)]
pub(super) struct InitFlags {
    /// Machines that may have a cluster already, by their rpc addresses: if one answers, no second
    /// cluster is made [env: PURLIN_SEED]
    #[arg(long, value_name = "RPC_ADDR,…")]
    seed: Vec<String>,
    #[command(flatten)]
    new: NewNode,
}

/// Flags of `node join`.
#[derive(Debug, clap::Args)]
pub(super) struct JoinFlags {
    /// Nodes of the cluster, by their rpc addresses, tried in turn [env: PURLIN_SEED]
    #[arg(long, value_name = "RPC_ADDR,…")]
    seed: Vec<String>,
    #[command(flatten)]
    new: NewNode,
}

impl NodeCommand {
    /// Whether the process becomes a node.
    pub(super) fn serves(&self) -> bool {
        matches!(self, Self::Init(_) | Self::Join(_) | Self::Start(_))
    }
}

pub(super) fn run(command: NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::Init(InitFlags { seed, new }) => serve_new(StartMode::Init, seed, new),
        NodeCommand::Join(JoinFlags { seed, new }) => serve_new(StartMode::Join, seed, new),
        NodeCommand::Start(flags) => serve(StartMode::Start, &flags),
        NodeCommand::List(args) => block_on(list::run(args)),
        NodeCommand::Drain(args) => block_on(drain::run(args)),
        NodeCommand::Remove(args) => block_on(remove::run(args)),
    }
}

fn serve(mode: StartMode, flags: &NodeFlags) -> Result<(), Failure> {
    Ok(node::run(node::load_config(mode, flags)?)?)
}

fn serve_new(mode: StartMode, seeds: Vec<String>, new: NewNode) -> Result<(), Failure> {
    let seed = (!seeds.is_empty()).then(|| seeds.join(","));
    let flags = NodeFlags { seed, ..new.node };
    let config = node::load_config(mode, &flags)?;
    if new.or_start && node::holds_node(&config.data_dir)? {
        return serve(StartMode::Start, &flags);
    }
    Ok(node::run(config)?)
}
