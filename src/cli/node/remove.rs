//! `purlin node remove`.

use super::drain;
use crate::cli::connect::Connect;
use crate::cli::failure::Failure;
use crate::cli::layout::{carry_out, layout};
use crate::cli::topic::tell;
use crate::client::Admin;
use crate::metadata::state::plan::plan_removal;
use crate::types::NodeId;
use std::io::Write as _;

/// Rounds of planning: topics may come while the first plan is carried out.
const ROUNDS_MAX: usize = 10;

/// Flags of `node remove`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RemoveArgs {
    /// The node
    #[arg(value_name = "NODE", value_parser = clap::value_parser!(i32).range(0..))]
    node: i32,
    /// Show which replicas would move where, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(super) async fn run(args: RemoveArgs) -> Result<(), Failure> {
    let admin = Admin::new(args.connect.cluster().await?);
    let node = NodeId(args.node);
    drain::require(&admin, node).await?;
    let mut plan = plan(&admin, node, "nothing was changed").await?;
    if args.dry_run {
        let mut out = std::io::stdout().lock();
        for one in &plan {
            let ids =
                |ids: &[NodeId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let to = one.replicas.as_deref().map_or_else(String::new, ids);
            writeln!(out, "{}-{} -> {to}", one.topic, one.partition)?;
        }
        return Ok(());
    }
    // From here on nothing new is put there, and it leads only what it alone can lead.
    drain::begin(&admin, node).await?;
    let so_far = format!(
        "it is drained, and the replicas that were moved stay where they are; to let it lead again: \
         purlin node drain {node} --undo"
    );
    let mut rounds = 0;
    while !plan.is_empty() {
        rounds += 1;
        if rounds > ROUNDS_MAX {
            return Err(Failure::new(
                format!("node {node} gets new replicas as fast as they are moved away"),
                format!("purlin node remove {node}, again"),
            ));
        }
        carry_out(&admin, &format!("moving replicas off node {node}"), &plan, true).await?;
        plan = self::plan(&admin, node, &so_far).await?;
    }
    let unregistered = admin.unregister(node).await;
    unregistered.map_err(|error| Failure::of_change(error, "purlin node list"))?;
    tell(&format!(
        "node {node} is removed: if its process still runs, it ends by itself; its data directory \
         can be deleted, and its id is not given out again"
    ));
    Ok(())
}

/// What has to move off the node. A refusal says `so_far`: what was done already.
async fn plan(
    admin: &Admin,
    node: NodeId,
    so_far: &str,
) -> Result<Vec<crate::metadata::state::Reassignment>, Failure> {
    let layout = layout(admin).await?;
    plan_removal(&layout, node).map_err(|refusals| {
        let mut reasons: Vec<String> =
            refusals.into_iter().map(|refusal| refusal.message).collect();
        reasons.dedup();
        Failure::new(
            format!("node {node} cannot be removed: {} ({so_far})", drain::name_some(&reasons)),
            "purlin cluster health",
        )
    })
}
