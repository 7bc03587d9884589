//! `purlin node list`.

use crate::cli::connect::Connect;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::client::admin::{ClusterBroker, ConfigEntry, QuorumInfo, Resource};
use crate::client::{Admin, cluster::Snapshot};
use crate::metadata::state::configs::{DRAIN, VERSION};
use serde::Serialize;
use std::time::Duration;

/// How long one node may take to tell of itself: a list must not hang on a node that is down.
const TELL_MAX: Duration = Duration::from_secs(2);

/// Flags of `node list`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
pub(in crate::cli) struct NodeRow {
    pub(in crate::cli) node: i32,
    pub(in crate::cli) address: String,
    pub(in crate::cli) rack: Option<String>,
    /// `active`, `draining`, or `fenced`.
    pub(in crate::cli) state: &'static str,
    pub(in crate::cli) controller: bool,
    /// `voter` or `learner` of the metadata group.
    pub(in crate::cli) role: Option<&'static str>,
    pub(in crate::cli) version: Option<String>,
    pub(in crate::cli) leaders: usize,
    pub(in crate::cli) replicas: usize,
    /// Offsets that its replicas are behind the high watermarks, all together.
    pub(in crate::cli) lag: Option<i64>,
}

pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let admin = Admin::new(args.connect.cluster().await?);
    let rows = rows(&admin).await?;
    let columns = [
        "node",
        "address",
        "rack",
        "state",
        "controller",
        "role",
        "version",
        "leaders",
        "replicas",
        "lag",
    ];
    args.output.rows(&columns, &rows)
}

/// Every node of the cluster, with what it tells of itself.
pub(in crate::cli) async fn rows(admin: &Admin) -> Result<Vec<NodeRow>, Failure> {
    let cluster = admin.describe_cluster().await?;
    let topics = admin.all_topics().await?;
    let quorum = tokio::time::timeout(TELL_MAX, admin.describe_quorum()).await;
    let quorum = quorum.ok().and_then(Result::ok);
    let all = cluster.brokers.iter().map(|broker| {
        row(admin, broker, cluster.controller == Some(broker.id), quorum.as_ref(), &topics)
    });
    Ok(futures::future::join_all(all).await)
}

async fn row(
    admin: &Admin,
    broker: &ClusterBroker,
    controller: bool,
    quorum: Option<&QuorumInfo>,
    topics: &Snapshot,
) -> NodeRow {
    let about = async {
        let resource = Resource::Broker(Some(broker.id));
        (admin.describe_configs(&resource, false).await.ok(), admin.usage(broker.id).await.ok())
    };
    let told = async {
        if broker.fenced { None } else { tokio::time::timeout(TELL_MAX, about).await.ok() }
    };
    let (configs, usage) = told.await.unwrap_or_default();
    let config = |name: &str| {
        let named = |entry: &&ConfigEntry| entry.name == name;
        configs.iter().flatten().find(named).and_then(|entry| entry.value.clone())
    };
    let partitions = || topics.topics.values().flat_map(|topic| &topic.partitions);
    let role = quorum.and_then(|quorum| {
        let among = |members: &[crate::client::admin::QuorumMember]| {
            members.iter().any(|member| member.id == broker.id)
        };
        let learner = among(&quorum.learners).then_some("learner");
        if among(&quorum.voters) { Some("voter") } else { learner }
    });
    NodeRow {
        node: broker.id.0,
        address: broker.address.to_string(),
        rack: broker.rack.clone(),
        state: match config(DRAIN).as_deref() {
            _ if broker.fenced => "fenced",
            Some("true") => "draining",
            _ => "active",
        },
        controller,
        role,
        version: config(VERSION),
        leaders: partitions().filter(|one| one.leader == Some(broker.id)).count(),
        replicas: partitions().filter(|one| one.replicas.contains(&broker.id)).count(),
        lag: usage.map(|usage| usage.values().map(|one| one.lag).sum()),
    }
}
