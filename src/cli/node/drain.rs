//! `purlin node drain`.

use crate::cli::connect::Connect;
use crate::cli::failure::Failure;
use crate::cli::layout::LOOK_EVERY;
use crate::cli::progress::StatusLine;
use crate::cli::text::counted;
use crate::cli::topic::tell;
use crate::client::admin::{ConfigChange, Resource};
use crate::client::cluster::Snapshot;
use crate::client::{Admin, Error};
use crate::metadata::state::configs::DRAIN;
use crate::types::NodeId;
use std::time::{Duration, Instant};

/// How long leaderships may take to move.
const MOVE_MAX: Duration = Duration::from_secs(30);

/// Partitions that an error names.
const NAMED_MAX: usize = 5;

/// Flags of `node drain`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct DrainArgs {
    /// The node
    #[arg(value_name = "NODE", value_parser = clap::value_parser!(i32).range(0..))]
    node: i32,
    /// Let the node lead again
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(super) async fn run(args: DrainArgs) -> Result<(), Failure> {
    let admin = Admin::new(args.connect.cluster().await?);
    let node = NodeId(args.node);
    require(&admin, node).await?;
    if args.undo {
        let put_back = [ConfigChange::Delete(DRAIN.to_owned())];
        admin
            .alter_configs(&Resource::Broker(Some(node)), &put_back, false)
            .await
            .map_err(|error| undecided(error, node))?;
        // What is preferred here comes back at once, and not at the controller's next look.
        admin.elect_preferred(None).await.map_err(|error| undecided(error, node))?;
        tell(&format!("node {node} may lead again"));
        return Ok(());
    }
    begin(&admin, node).await?;
    let kept = wait(&admin, node).await?;
    if kept.is_empty() {
        tell(&format!("node {node} leads nothing; to undo: purlin node drain {node} --undo"));
        return Ok(());
    }
    Err(Failure::new(
        format!(
            "node {node} goes on leading {}, with no other replica in sync: {}",
            counted(kept.len(), "partition"),
            name_some(&kept)
        ),
        "purlin topic alter --all --replication-factor 3, so that others can take over; \
         or purlin cluster health, if there should be others",
    ))
}

/// Fails unless the cluster has the node.
pub(super) async fn require(admin: &Admin, node: NodeId) -> Result<(), Failure> {
    let cluster = admin.describe_cluster().await?;
    if cluster.brokers.iter().any(|broker| broker.id == node) {
        return Ok(());
    }
    let ids: Vec<String> = cluster.brokers.iter().map(|broker| broker.id.to_string()).collect();
    let cause = format!("the cluster has no node {node}; it has {}", ids.join(", "));
    Err(Failure::new(cause, "purlin node list"))
}

/// Marks the node as one that is to lead nothing.
pub(super) async fn begin(admin: &Admin, node: NodeId) -> Result<(), Failure> {
    let drain = [ConfigChange::Set(DRAIN.to_owned(), "true".to_owned())];
    let resource = Resource::Broker(Some(node));
    admin.alter_configs(&resource, &drain, false).await.map_err(|error| undecided(error, node))
}

/// A change of the node that failed, or whose outcome is unknown.
fn undecided(error: Error, node: NodeId) -> Failure {
    Failure::of_change(error, &format!("purlin node list, for the state of node {node}"))
}

/// Waits until the node leads nothing that another could lead, and names what it leads still.
pub(super) async fn wait(admin: &Admin, node: NodeId) -> Result<Vec<String>, Failure> {
    let line = StatusLine::new();
    let begun = Instant::now();
    loop {
        let (movable, kept) = led(&admin.all_topics().await?, node);
        if movable == 0 || begun.elapsed() > MOVE_MAX {
            line.finish();
            return Ok(kept);
        }
        line.show(&format!("node {node} still leads {}", counted(movable, "partition")));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How many partitions that the node leads others could lead; and the names of all that it leads.
fn led(topics: &Snapshot, node: NodeId) -> (usize, Vec<String>) {
    let mut movable = 0;
    let mut names = Vec::new();
    for topic in topics.topics.values() {
        for (number, one) in topic.partitions.iter().enumerate() {
            if one.leader == Some(node) {
                movable += usize::from(one.isr.len() > 1);
                names.push(format!("{}-{number}", topic.name));
            }
        }
    }
    (movable, names)
}

/// The first few names.
pub(in crate::cli) fn name_some(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}
