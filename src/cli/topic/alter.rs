//! `purlin topic alter`.

use super::{pair, refuse_unknown, tell, with_key_suggestion};
use crate::cli::connect::Connect;
use crate::cli::failure::Failure;
use crate::cli::layout::{carry_out, layout};
use crate::client::Admin;
use crate::client::admin::{ConfigChange, Resource};
use crate::metadata::state::plan::plan_replication_factor;

/// Flags of `topic alter`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
    .args(["partitions", "replication_factor", "configs", "delete_configs", "append", "subtract"]))]
pub(in crate::cli) struct AlterArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC", required_unless_present = "all")]
    topic: Option<String>,
    /// Every topic, the cluster's own among them; for --replication-factor alone
    #[arg(long, requires = "replication_factor", conflicts_with_all = ["topic", "partitions",
        "configs", "delete_configs", "append", "subtract"])]
    all: bool,
    /// Raise the number of partitions to this
    #[arg(short = 'p', long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Give each partition this many replicas, and wait until they are in sync
    #[arg(short = 'r', long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// With --replication-factor: begin, and do not wait
    #[arg(long, requires = "replication_factor")]
    no_wait: bool,
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

pub(super) async fn run(args: AlterArgs) -> Result<(), Failure> {
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
    let admin = Admin::new(cluster.clone());
    let Some(topic) = &args.topic else {
        return replicate(&admin, None, &args).await;
    };
    cluster.require_topic(topic).await?;
    refuse_unknown(&admin, &args.delete_configs).await?;
    let look = format!("purlin topic describe {topic}");
    if !changes.is_empty() {
        let resource = Resource::Topic(topic.clone());
        if let Err(error) = admin.alter_configs(&resource, &changes, false).await {
            let keys = changes.iter().map(ConfigChange::name);
            return Err(with_key_suggestion(&admin, error, keys, Some(&look)).await);
        }
    }
    if let Some(count) = args.partitions {
        let added = admin.add_partitions(topic, count).await;
        added.map_err(|error| Failure::of_change(error, &look))?;
    }
    if args.replication_factor.is_some() {
        replicate(&admin, Some(topic), &args).await?;
    }
    tell(&format!("topic '{topic}' is altered"));
    Ok(())
}

/// Gives the partitions of a topic, or of all, the wanted number of replicas.
async fn replicate(admin: &Admin, topic: Option<&String>, args: &AlterArgs) -> Result<(), Failure> {
    let Some(wanted) = args.replication_factor else { return Ok(()) };
    let layout = layout(admin).await?;
    let topics = topic.map(std::slice::from_ref);
    let plan = plan_replication_factor(&layout, topics, wanted)
        .map_err(|refusal| Failure::new(refusal.message, "purlin node list"))?;
    let what = format!("raising or lowering to {wanted} replicas");
    carry_out(admin, &what, &plan, !args.no_wait).await?;
    let name = topic.map_or_else(|| "every topic".to_owned(), |topic| format!("topic '{topic}'"));
    let done = if args.no_wait { "is on its way to" } else { "has" };
    tell(&format!("{name} {done} {wanted} replicas of each partition ({} changed)", plan.len()));
    Ok(())
}
