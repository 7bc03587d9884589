//! `purlin cluster health`: is all well, and if not, what exactly is degraded, and what still works.

use super::ClusterArgs;
use crate::cli::failure::Failure;
use crate::cli::node::name_some;
use crate::client::Admin;
use crate::client::admin::{ClusterInfo, ConfigEntry, QuorumInfo, Resource};
use crate::client::cluster::{PartitionInfo, Snapshot};
use crate::types::NodeId;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long one node, or the controller, may take over its answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The whole verdict.
#[derive(Serialize)]
struct Health {
    healthy: bool,
    /// `healthy`; `degraded` while all partitions can be read and written; `impaired` while some
    /// cannot, or the metadata cannot change.
    status: &'static str,
    cluster: String,
    controller: Option<i32>,
    brokers: usize,
    topics: usize,
    partitions: usize,
    /// Nodes that the controller keeps from leading: it does not hear of them.
    fenced: Vec<i32>,
    /// Nodes that do not answer here, fenced or not.
    unreachable: Vec<i32>,
    /// Partitions with replicas that are not in sync.
    under_replicated: Vec<String>,
    /// Partitions with fewer replicas in sync than `min.insync.replicas`: `acks=all` is refused.
    below_min_isr: Vec<String>,
    /// Partitions without a leader: neither read nor written.
    offline: Vec<String>,
    quorum: Option<Quorum>,
    /// All that is degraded, in sentences.
    reasons: Vec<String>,
    /// All that still works, in sentences.
    works: Vec<String>,
}

/// The metadata group.
#[derive(Serialize)]
struct Quorum {
    voters: Vec<i32>,
    /// Voters that answer.
    alive: Vec<i32>,
    /// How many of them there have to be.
    majority: usize,
    /// How many more may fail before the metadata cannot change any more.
    may_fail: usize,
}

/// What was found out, before it is judged.
struct Facts {
    cluster: ClusterInfo,
    topics: Snapshot,
    unreachable: BTreeSet<NodeId>,
    quorum: Option<QuorumInfo>,
    below_min_isr: Vec<String>,
}

pub(super) async fn run(args: ClusterArgs) -> Result<(), Failure> {
    let admin = Admin::new(args.connect.cluster().await?);
    let health = judge(gather(&admin).await?);
    args.output.one(&health, |health| Ok(as_text(health)))?;
    if health.healthy {
        return Ok(());
    }
    let count = health.reasons.len();
    let cause = format!("the cluster is {}, for {count} reasons", health.status);
    Err(Failure::new(cause, "purlin node list; purlin topic describe TOPIC"))
}

async fn gather(admin: &Admin) -> Result<Facts, Failure> {
    let cluster = admin.describe_cluster().await?;
    let topics = admin.all_topics().await?;
    let answers = cluster.brokers.iter().map(|broker| async {
        let answer = tokio::time::timeout(ANSWER_MAX, admin.answers(broker)).await;
        (!answer.unwrap_or(false)).then_some(broker.id)
    });
    let unreachable = futures::future::join_all(answers).await.into_iter().flatten().collect();
    let quorum = tokio::time::timeout(ANSWER_MAX, admin.describe_quorum()).await;
    let below_min_isr = below_min_isr(admin, &topics).await;
    Ok(Facts {
        cluster,
        topics,
        unreachable,
        quorum: quorum.ok().and_then(Result::ok),
        below_min_isr,
    })
}

/// Partitions that refuse `acks=all`. Only topics with a replica out of sync are looked at.
async fn below_min_isr(admin: &Admin, topics: &Snapshot) -> Vec<String> {
    let mut found = Vec::new();
    for topic in topics.topics.values() {
        let lacking = |one: &PartitionInfo| one.isr.len() < one.replicas.len();
        if !topic.partitions.iter().any(lacking) {
            continue;
        }
        let configs = admin.describe_configs(&Resource::Topic(topic.name.clone()), false).await;
        let minimum = configs.ok().and_then(|configs| {
            let is_it = |entry: &&ConfigEntry| entry.name == "min.insync.replicas";
            configs.iter().find(is_it)?.value.as_ref()?.parse::<usize>().ok()
        });
        for (number, one) in topic.partitions.iter().enumerate() {
            // A partition with fewer replicas than that needs all it has.
            let needed = minimum.unwrap_or(1).min(one.replicas.len());
            if one.leader.is_some() && one.isr.len() < needed {
                found.push(format!("{}-{number}", topic.name));
            }
        }
    }
    found
}

fn judge(facts: Facts) -> Health {
    let Facts { cluster, topics, unreachable, quorum, below_min_isr } = facts;
    let named = |is_so: fn(&PartitionInfo) -> bool| -> Vec<String> {
        let of = topics.topics.values().flat_map(|topic| {
            let numbered = topic.partitions.iter().enumerate();
            numbered.filter(|(_, one)| is_so(one)).map(|(n, _)| format!("{}-{n}", topic.name))
        });
        of.collect()
    };
    let fenced: Vec<NodeId> =
        cluster.brokers.iter().filter(|broker| broker.fenced).map(|broker| broker.id).collect();
    let quorum = quorum.map(|quorum| count_votes(&quorum, &fenced, &unreachable));
    let mut health = Health {
        healthy: false,
        status: "healthy",
        cluster: cluster.id.clone(),
        controller: cluster.controller.map(|node| node.0),
        brokers: cluster.brokers.len(),
        topics: topics.topics.len(),
        partitions: topics.topics.values().map(|topic| topic.partitions.len()).sum(),
        fenced: fenced.iter().map(|node| node.0).collect(),
        unreachable: unreachable.iter().map(|node| node.0).collect(),
        under_replicated: named(|one| one.isr.len() < one.replicas.len()),
        below_min_isr,
        offline: named(|one| one.leader.is_none()),
        quorum,
        reasons: Vec::new(),
        works: Vec::new(),
    };
    health.reasons = reasons(&health, &cluster);
    health.works = works(&health);
    let impaired =
        !health.offline.is_empty() || !health.below_min_isr.is_empty() || !metadata_works(&health);
    health.healthy = health.reasons.is_empty();
    health.status = match (health.healthy, impaired) {
        (true, _) => "healthy",
        (false, false) => "degraded",
        (false, true) => "impaired",
    };
    health
}

fn count_votes(quorum: &QuorumInfo, fenced: &[NodeId], unreachable: &BTreeSet<NodeId>) -> Quorum {
    let voters: Vec<i32> = quorum.voters.iter().map(|member| member.id.0).collect();
    let lives = |id: &NodeId| !fenced.contains(id) && !unreachable.contains(id);
    let alive: Vec<i32> =
        quorum.voters.iter().map(|member| member.id).filter(lives).map(|id| id.0).collect();
    let majority = voters.len() / 2 + 1;
    let may_fail = alive.len().saturating_sub(majority);
    Quorum { voters, alive, majority, may_fail }
}

fn metadata_works(health: &Health) -> bool {
    health.controller.is_some()
        && health.quorum.as_ref().is_none_or(|quorum| quorum.alive.len() >= quorum.majority)
}

/// What is wrong, the worst first.
fn reasons(health: &Health, cluster: &ClusterInfo) -> Vec<String> {
    let mut reasons = Vec::new();
    if !metadata_works(health) {
        reasons.push(
            "no controller: a majority of the metadata group's voters is missing, so nothing can be \
             created, changed or elected until it is back"
                .to_owned(),
        );
    }
    for broker in &cluster.brokers {
        let (id, address) = (broker.id, &broker.address);
        let silent = health.unreachable.contains(&id.0);
        match (broker.fenced, silent) {
            (true, true) => {
                reasons.push(format!("node {id} is down: fenced, and no answer at {address}"))
            }
            (true, false) => {
                reasons.push(format!("node {id} is fenced: the controller does not hear of it"))
            }
            (false, true) => reasons.push(format!("node {id} does not answer at {address}")),
            (false, false) => {}
        }
    }
    let all = health.partitions;
    let mut count = |names: &[String], what: &str| {
        if !names.is_empty() {
            reasons.push(format!(
                "{} of {all} partitions {what}: {}",
                names.len(),
                name_some(names)
            ));
        }
    };
    count(&health.offline, "are offline (no leader: neither read nor written)");
    count(
        &health.below_min_isr,
        "have fewer replicas in sync than min.insync.replicas (reads work, acks=all is refused)",
    );
    count(&health.under_replicated, "are under-replicated");
    if let Some(quorum) = &health.quorum
        && quorum.alive.len() < quorum.voters.len()
        && quorum.alive.len() >= quorum.majority
    {
        reasons.push(format!(
            "{} of {} voters of the metadata group answer: {} more may fail",
            quorum.alive.len(),
            quorum.voters.len(),
            quorum.may_fail
        ));
    }
    reasons
}

/// What can be relied on now.
fn works(health: &Health) -> Vec<String> {
    let all = health.partitions;
    let read = all - health.offline.len();
    let written = read - health.below_min_isr.len();
    let mut works = Vec::new();
    if all > 0 {
        works.push(format!("reads: {read} of {all} partitions"));
        works.push(format!("writes with acks=all: {written} of {all} partitions"));
    }
    if metadata_works(health) {
        let may_fail = health.quorum.as_ref().map_or(0, |quorum| quorum.may_fail);
        let bears = match may_fail {
            0 => "no voter more may fail".to_owned(),
            1 => "1 voter more may fail".to_owned(),
            n => format!("{n} voters more may fail"),
        };
        works.push(format!("metadata changes and failover ({bears})"));
    }
    works
}

fn as_text(health: &Health) -> String {
    let plural =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut text = format!(
        "{}: {}, {}, {}\n",
        health.status,
        plural(health.brokers, "node"),
        plural(health.topics, "topic"),
        plural(health.partitions, "partition")
    );
    for reason in &health.reasons {
        text.push_str(&format!("  {reason}\n"));
    }
    let head = if health.healthy { "" } else { "still works:\n" };
    text.push_str(head);
    for one in &health.works {
        text.push_str(&format!("  {one}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Address;
    use crate::client::admin::{ClusterBroker, QuorumMember};
    use crate::client::cluster::TopicInfo;
    use crate::types::{LeaderEpoch, TopicId};
    use std::sync::Arc;

    fn facts(fenced: &[i32], isr: &[i32], below: bool) -> Facts {
        let nodes = [1, 2, 3];
        let broker = |id: i32| ClusterBroker {
            id: NodeId(id),
            address: Address::new("h", 9000 + id as u16),
            rack: None,
            fenced: fenced.contains(&id),
        };
        let member = |id: i32| QuorumMember {
            id: NodeId(id),
            log_end: None,
            heard_at_ms: None,
            caught_up_at_ms: None,
        };
        let ids = |ids: &[i32]| ids.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
        let partition = PartitionInfo {
            leader: isr.first().map(|id| NodeId(*id)),
            leader_epoch: LeaderEpoch(0),
            replicas: ids(&nodes),
            isr: ids(isr),
            offline: ids(fenced),
        };
        let topic = TopicInfo {
            name: "orders".to_owned(),
            id: TopicId::ZERO,
            internal: false,
            partitions: vec![partition],
        };
        let mut topics = Snapshot::default();
        topics.topics.insert("orders".to_owned(), Arc::new(topic));
        Facts {
            cluster: ClusterInfo {
                id: "c".to_owned(),
                controller: Some(NodeId(1)),
                brokers: nodes.map(broker).to_vec(),
            },
            topics,
            unreachable: ids(fenced).into_iter().collect(),
            quorum: Some(QuorumInfo {
                leader: Some(NodeId(1)),
                term: 1,
                high_watermark: 10,
                voters: nodes.map(member).to_vec(),
                learners: Vec::new(),
            }),
            below_min_isr: if below { vec!["orders-0".to_owned()] } else { Vec::new() },
        }
    }

    #[test]
    fn health_says_what_is_degraded_and_what_still_works() {
        let health = judge(facts(&[], &[1, 2, 3], false));
        assert!(health.healthy, "{:?}", health.reasons);
        assert!(as_text(&health).contains("1 voter more may fail"), "{}", as_text(&health));

        let health = judge(facts(&[2], &[1, 3], false));
        assert_eq!(health.status, "degraded");
        let text = as_text(&health);
        for part in [
            "node 2 is down",
            "h:9002",
            "1 of 1 partitions are under-replicated: orders-0",
            "writes with acks=all: 1 of 1",
            "0 more may fail",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }

        let health = judge(facts(&[2, 3], &[1], true));
        assert_eq!(health.status, "impaired");
        let text = as_text(&health);
        for part in ["no controller", "acks=all is refused", "reads: 1 of 1", "acks=all: 0 of 1"] {
            assert!(text.contains(part), "{part} in {text}");
        }

        let health = judge(facts(&[1, 2, 3], &[], false));
        assert!(as_text(&health).contains("1 of 1 partitions are offline"), "{}", as_text(&health));
    }
}
