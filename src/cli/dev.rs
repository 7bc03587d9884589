//! `purlin dev`: a cluster on this machine, for as long as the command runs.

use super::failure::Failure;
use super::text::counted;
use crate::config::{NodeFlags, StartMode};
use crate::env::disk::{Disk as _, RealDisk};
use crate::env::rng;
use crate::node::{self, RunningNode};
use crate::types::DirectoryId;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The port of the first node's client listener, if it is free; the others follow.
const FIRST_PORT: u16 = 9092;

/// Flags of `dev`.
#[derive(Debug, clap::Args)]
pub(super) struct DevArgs {
    /// How many nodes
    #[arg(short = 'n', long, value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// One broker setting of every node under Kafka's name; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// A directory that goes with its owner.
struct Throwaway(PathBuf);

impl Drop for Throwaway {
    fn drop(&mut self) {
        if let Err(error) = RealDisk.remove_dir_all(&self.0) {
            tracing::warn!(%error, dir = %self.0.display(), "cannot be removed; remove it by hand");
        }
    }
}

pub(super) fn run(args: &DevArgs) -> Result<(), Failure> {
    let dir = std::env::temp_dir().join(format!("purlin-dev-{}", DirectoryId(rng::id_bytes())));
    RealDisk.create_dir_all(&dir)?;
    let dir = Throwaway(dir);
    let mut nodes: Vec<RunningNode> = Vec::new();
    for number in 0..args.nodes {
        let seed = nodes.first().map(|first| first.rpc_address().to_string());
        nodes.push(start(&dir.0, number, seed, &args.set)?);
    }
    let Some(first) = nodes.first() else { return Ok(()) };
    // From here on Ctrl-C ends the command in good order.
    let mut signals = first.listen_for_signals()?;
    say(&dir.0, &nodes)?;
    first.wait_for_signal(&mut signals);
    // What they hold goes with them, so nothing is handed over.
    nodes.into_iter().for_each(RunningNode::abandon);
    Ok(())
}

/// Starts one node, on the next port by number or, where that is taken, on any.
fn start(
    dir: &Path,
    number: u16,
    seed: Option<String>,
    set: &[String],
) -> Result<RunningNode, Failure> {
    let mode = if seed.is_none() { StartMode::Init } else { StartMode::Join };
    let any = || Some("127.0.0.1:0".to_owned());
    let data_dir = dir.join(format!("node-{}", number + 1));
    let flags = |kafka: Option<String>| NodeFlags {
        seed: seed.clone(),
        data_dir: Some(data_dir.clone()),
        kafka,
        rpc: any(),
        admin: any(),
        set: set.to_vec(),
        ..NodeFlags::default()
    };
    let wanted = Some(format!("127.0.0.1:{}", FIRST_PORT + number));
    match node::start(node::load_config(mode, &flags(wanted))?) {
        Err(node::Error::PortTaken { .. }) => {
            Ok(node::start(node::load_config(mode, &flags(any()))?)?)
        }
        result => Ok(result?),
    }
}

fn say(dir: &Path, nodes: &[RunningNode]) -> Result<(), Failure> {
    let bootstrap: Vec<String> =
        nodes.iter().map(|node| node.kafka_address().to_string()).collect();
    let bootstrap = bootstrap.join(",");
    let mut out = std::io::stdout().lock();
    for node in nodes {
        writeln!(out, "{}", node.ready_line())?;
    }
    writeln!(
        out,
        "\n{} in {}; Ctrl-C stops them and removes it\n\n  \
         export PURLIN_BOOTSTRAP={bootstrap}\n  \
         purlin topic create hello -p 3\n  \
         echo world | purlin produce hello\n  \
         purlin consume hello --from-beginning --exit-at-end",
        counted(nodes.len(), "node"),
        dir.display()
    )?;
    Ok(out.flush()?)
}
