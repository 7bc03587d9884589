//! `purlin cluster health`: is all well, and if not, what exactly is degraded, and what still works.

use super::ClusterArgs;
use crate::cli::failure::Failure;
use crate::cli::node::name_some;
use crate::cli::text::counted;
use crate::client::Admin;
use crate::client::admin::{ClusterInfo, ConfigEntry, QuorumInfo, Resource};
use crate::client::cluster::{PartitionInfo, Snapshot};
use crate::types::NodeId;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
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
    /// Partitions with fewer living replicas in sync than `min.insync.replicas`: `acks=all` is not
    /// answered with success.
    below_min_isr: Vec<String>,
    /// Partitions that wait with `acks=all` for a replica in sync that is down, while nobody can take
    /// it out of the ISR.
    stalled: Vec<String>,
    /// Partitions without a leader: neither read nor written.
    offline: Vec<String>,
    /// Partitions whose leader does not answer here: neither read nor written.
    leader_unreachable: Vec<String>,
    /// The metadata group; none when nobody answers for it.
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
    /// `min.insync.replicas` by topic, of those with a replica that is not in sync or does not
    /// answer, as far as brokers tell.
    min_isr: BTreeMap<String, usize>,
}

pub(super) async fn run(args: ClusterArgs) -> Result<(), Failure> {
    let admin = Admin::new(args.connect.cluster().await?);
    let health = judge(gather(&admin).await?);
    args.output.one(&health, |health| Ok(as_text(health)))?;
    if health.healthy {
        return Ok(());
    }
    let reasons = counted(health.reasons.len(), "reason");
    let cause = format!("the cluster is {}, for {reasons}", health.status);
    Err(Failure::new(cause, "purlin node list; purlin topic describe TOPIC"))
}

async fn gather(admin: &Admin) -> Result<Facts, Failure> {
    let cluster = admin.describe_cluster().await?;
    let topics = admin.all_topics().await?;
    let answers = cluster.brokers.iter().map(|broker| async {
        let answer = tokio::time::timeout(ANSWER_MAX, admin.answers(broker)).await;
        (!answer.unwrap_or(false)).then_some(broker.id)
    });
    let unreachable: BTreeSet<NodeId> =
        futures::future::join_all(answers).await.into_iter().flatten().collect();
    let quorum = tokio::time::timeout(ANSWER_MAX, admin.describe_quorum()).await;
    let min_isr = min_isr(admin, &topics, &unreachable).await;
    Ok(Facts { cluster, topics, unreachable, quorum: quorum.ok().and_then(Result::ok), min_isr })
}

/// `min.insync.replicas` of the topics where it may not be reached.
async fn min_isr(
    admin: &Admin,
    topics: &Snapshot,
    unreachable: &BTreeSet<NodeId>,
) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for topic in topics.topics.values() {
        let lacking = |one: &PartitionInfo| {
            one.isr.len() < one.replicas.len() || one.isr.iter().any(|id| unreachable.contains(id))
        };
        if !topic.partitions.iter().any(lacking) {
            continue;
        }
        let configs = admin.describe_configs(&Resource::Topic(topic.name.clone()), false).await;
        let minimum = configs.ok().and_then(|configs| {
            let is_it = |entry: &&ConfigEntry| entry.name == "min.insync.replicas";
            configs.iter().find(is_it)?.value.as_ref()?.parse::<usize>().ok()
        });
        found.extend(minimum.map(|minimum| (topic.name.clone(), minimum)));
    }
    found
}

/// What one partition takes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    All,
    /// Reads; `acks=all` waits for a replica in sync that nobody can take out of the ISR.
    Stalled,
    /// Reads; too few living replicas are in sync for `acks=all`.
    BelowMinIsr,
    /// Nothing: its leader does not answer here.
    LeaderUnreachable,
    /// Nothing: it has no leader.
    Offline,
}

/// `gone` are the nodes that are fenced or do not answer; `elects` is whether the metadata can
/// change, so that the ISR can shrink.
fn access(
    one: &PartitionInfo,
    min_isr: Option<usize>,
    unreachable: &BTreeSet<NodeId>,
    gone: &BTreeSet<NodeId>,
    elects: bool,
) -> Access {
    let Some(leader) = one.leader else { return Access::Offline };
    if unreachable.contains(&leader) {
        return Access::LeaderUnreachable;
    }
    let alive = one.isr.iter().filter(|id| !gone.contains(id)).count();
    // A partition with fewer replicas than that needs all it has.
    if alive < min_isr.unwrap_or(1).min(one.replicas.len()) {
        return Access::BelowMinIsr;
    }
    if alive < one.isr.len() && !elects {
        return Access::Stalled;
    }
    Access::All
}

fn judge(facts: Facts) -> Health {
    let Facts { cluster, topics, unreachable, quorum, min_isr } = facts;
    let fenced: Vec<NodeId> =
        cluster.brokers.iter().filter(|broker| broker.fenced).map(|broker| broker.id).collect();
    let gone: BTreeSet<NodeId> = fenced.iter().chain(&unreachable).copied().collect();
    // Brokers go on naming who was the controller last when nobody is it any more.
    let controller = quorum.as_ref().and_then(|quorum| quorum.leader);
    let quorum = quorum.map(|quorum| count_votes(&quorum, &gone));
    let mut health = Health {
        healthy: false,
        status: "healthy",
        cluster: cluster.id.clone(),
        controller: controller.map(|node| node.0),
        brokers: cluster.brokers.len(),
        topics: topics.topics.len(),
        partitions: 0,
        fenced: fenced.iter().map(|node| node.0).collect(),
        unreachable: unreachable.iter().map(|node| node.0).collect(),
        under_replicated: Vec::new(),
        below_min_isr: Vec::new(),
        stalled: Vec::new(),
        offline: Vec::new(),
        leader_unreachable: Vec::new(),
        quorum,
        reasons: Vec::new(),
        works: Vec::new(),
    };
    let elects = metadata_works(&health);
    for topic in topics.topics.values() {
        let minimum = min_isr.get(&topic.name).copied();
        for (number, one) in topic.partitions.iter().enumerate() {
            let name = || format!("{}-{number}", topic.name);
            health.partitions += 1;
            if one.isr.len() < one.replicas.len() {
                health.under_replicated.push(name());
            }
            match access(one, minimum, &unreachable, &gone, elects) {
                Access::All => {}
                Access::Stalled => health.stalled.push(name()),
                Access::BelowMinIsr => health.below_min_isr.push(name()),
                Access::LeaderUnreachable => health.leader_unreachable.push(name()),
                Access::Offline => health.offline.push(name()),
            }
        }
    }
    health.reasons = reasons(&health, &cluster);
    health.works = works(&health);
    health.healthy = health.reasons.is_empty();
    let impaired = !elects || written(&health) < health.partitions;
    health.status = match (health.healthy, impaired) {
        (true, _) => "healthy",
        (false, false) => "degraded",
        (false, true) => "impaired",
    };
    health
}

fn count_votes(quorum: &QuorumInfo, gone: &BTreeSet<NodeId>) -> Quorum {
    let voters: Vec<i32> = quorum.voters.iter().map(|member| member.id.0).collect();
    let alive: Vec<i32> = quorum
        .voters
        .iter()
        .filter(|member| !gone.contains(&member.id))
        .map(|member| member.id.0)
        .collect();
    let majority = voters.len() / 2 + 1;
    let may_fail = alive.len().saturating_sub(majority);
    Quorum { voters, alive, majority, may_fail }
}

/// Only the controller can tell of the group, so without an answer there is none.
fn metadata_works(health: &Health) -> bool {
    let majority = |quorum: &Quorum| quorum.alive.len() >= quorum.majority;
    health.controller.is_some() && health.quorum.as_ref().is_some_and(majority)
}

/// Why the metadata cannot change, if it cannot.
fn no_controller(health: &Health) -> Option<String> {
    if metadata_works(health) {
        return None;
    }
    let cause = match &health.quorum {
        None => {
            "nobody answers for the metadata group, most likely because a majority of its voters \
                 is missing"
                .to_owned()
        }
        Some(quorum) if quorum.alive.len() < quorum.majority => format!(
            "{} of {} voters of the metadata group answer, {} have to",
            quorum.alive.len(),
            quorum.voters.len(),
            quorum.majority
        ),
        Some(_) => "the metadata group is without a leader".to_owned(),
    };
    Some(format!(
        "no controller: {cause}; nothing can be created, changed or elected until there is one"
    ))
}

/// What is wrong, the worst first.
fn reasons(health: &Health, cluster: &ClusterInfo) -> Vec<String> {
    let mut reasons: Vec<String> = no_controller(health).into_iter().collect();
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
        &health.leader_unreachable,
        "have a leader that does not answer (neither read nor written)",
    );
    count(
        &health.below_min_isr,
        "have fewer living replicas in sync than min.insync.replicas (reads work, acks=all does not)",
    );
    count(
        &health.stalled,
        "wait for a replica in sync that is down, and no controller takes it out of the ISR (reads \
         work, acks=all does not)",
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

/// Partitions that can be read.
fn read(health: &Health) -> usize {
    health.partitions - health.offline.len() - health.leader_unreachable.len()
}

/// Partitions that take writes with `acks=all`.
fn written(health: &Health) -> usize {
    read(health) - health.below_min_isr.len() - health.stalled.len()
}

/// What can be relied on now.
fn works(health: &Health) -> Vec<String> {
    let all = health.partitions;
    let (read, written) = (read(health), written(health));
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
    let mut text = format!(
        "{}: {}, {}, {}\n",
        health.status,
        counted(health.brokers, "node"),
        counted(health.topics, "topic"),
        counted(health.partitions, "partition")
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

    fn facts(fenced: &[i32], isr: &[i32], min_isr: usize) -> Facts {
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
            min_isr: BTreeMap::from([("orders".to_owned(), min_isr)]),
        }
    }

    #[test]
    fn health_says_what_is_degraded_and_what_still_works() {
        let health = judge(facts(&[], &[1, 2, 3], 2));
        assert!(health.healthy, "{:?}", health.reasons);
        assert!(as_text(&health).contains("1 voter more may fail"), "{}", as_text(&health));

        let health = judge(facts(&[2], &[1, 3], 2));
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

        let health = judge(facts(&[2, 3], &[1], 2));
        assert_eq!(health.status, "impaired");
        let text = as_text(&health);
        for part in ["no controller", "acks=all does not", "reads: 1 of 1", "acks=all: 0 of 1"] {
            assert!(text.contains(part), "{part} in {text}");
        }

        let health = judge(facts(&[1, 2, 3], &[], 2));
        assert!(as_text(&health).contains("1 of 1 partitions are offline"), "{}", as_text(&health));
    }

    /// As a survivor tells it that heard nothing since: nobody fenced, the old ISR.
    fn survivor(isr: &[i32], unreachable: &[i32], min_isr: usize) -> Health {
        let mut facts = facts(&[], isr, min_isr);
        facts.unreachable = unreachable.iter().map(|id| NodeId(*id)).collect();
        facts.quorum = None;
        judge(facts)
    }

    #[test]
    fn a_lost_majority_leaves_only_what_living_leaders_can_do_alone() {
        let health = survivor(&[1, 2, 3], &[1, 2], 2);
        let text = as_text(&health);
        assert_eq!((health.status, health.controller), ("impaired", None));
        for part in [
            "no controller: nobody answers",
            "orders-0",
            "leader that does not answer",
            "reads: 0 of 1",
            "acks=all: 0 of 1",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("metadata changes"), "{text}");

        let text = as_text(&survivor(&[3, 1, 2], &[1, 2], 2));
        for part in ["fewer living replicas", "reads: 1 of 1", "acks=all: 0 of 1"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        // Enough live, but nobody takes the third one out of the ISR.
        let text = as_text(&survivor(&[3, 1, 2], &[2], 2));
        for part in ["takes it out of the ISR", "reads: 1 of 1", "acks=all: 0 of 1"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(as_text(&survivor(&[3], &[1, 2], 1)).contains("acks=all: 1 of 1"));
    }

    #[test]
    fn voters_that_do_not_answer_do_not_count() {
        let mut facts = facts(&[], &[1, 2, 3], 2);
        facts.unreachable = BTreeSet::from([NodeId(2), NodeId(3)]);
        let text = as_text(&judge(facts));
        assert!(text.contains("1 of 3 voters of the metadata group answer, 2 have to"), "{text}");
        assert!(!text.contains("metadata changes"), "{text}");
    }
}
