//! Long random lives of the state: whatever is asked, in whatever order, what must hold holds.
//!
//! Beside the state runs a ghost that knows which replicas hold everything committed. Leaders
//! commit at random, wherever they may; then only the ISR is sure to have it all.

use super::state::configs::{self, ConfigResource, SharedConfig};
use super::state::tests::{Script, admission, create_topics, registration};
use super::state::*;
use crate::env::rng::Seeded;
use crate::types::{NodeId, PartitionEpoch, PartitionIndex, TopicId, TopicName};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

const BROKERS: u64 = 5;

struct Life {
    script: Script,
    rng: Seeded,
    log: Vec<(u64, Command, Response)>,
    /// Per partition, who holds everything that was committed.
    whole: BTreeMap<(TopicId, PartitionIndex), BTreeSet<NodeId>>,
    incarnation: u8,
}

/// Repeat one with `PURLIN_STATE_SEED=N cargo test --lib metadata::random_lives`.
#[test]
fn whatever_happens_in_whatever_order_the_rules_hold_and_replays_agree() {
    let seeds = match std::env::var("PURLIN_STATE_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("a number");
            seed..seed + 1
        }
        Err(_) => 0..60,
    };
    for seed in seeds {
        let lived = std::panic::catch_unwind(|| live(seed, 250));
        assert!(
            lived.is_ok(),
            "seed {seed}; again: PURLIN_STATE_SEED={seed} cargo test --lib \
             metadata::random_lives"
        );
    }
}

fn live(seed: u64, steps: usize) {
    let mut life = Life {
        script: Script::default(),
        rng: Seeded::new(seed),
        log: Vec::new(),
        whole: BTreeMap::new(),
        incarnation: 0,
    };
    for _ in 0..steps {
        let command = life.command();
        life.run(command);
        life.commit_somewhere();
    }
    // The same commands give the same state and the same answers, anywhere.
    let mut again = State::default();
    for (index, command, response) in life.log {
        let answer = apply(&mut again, index, command, &mut Delta::default());
        assert_eq!(answer, response);
    }
    assert_eq!(again, life.script.state);
    let hash = |state: &State| {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish()
    };
    assert_eq!(hash(&again), hash(&life.script.state));
    let mut loader = record::Loader::default();
    record::visit(&again, |key, value| loader.add(&key, &value).expect("a record"));
    assert_eq!(loader.finish(), Ok(again));
}

impl Life {
    fn run(&mut self, command: Command) {
        let before = self.script.state.clone();
        let response = self.script.apply(command.clone());
        let after = self.script.state.clone();
        assert_eq!(self.script.delta, Delta::between(&before, &after), "{command:?}");
        check_steps(&before, &after, &command);
        self.follow(&before, &after, &command);
        self.log.push((self.script.index, command, response));
    }

    /// What a change means for who holds what.
    fn follow(&mut self, before: &State, after: &State, command: &Command) {
        let unclean = match command {
            Command::RegisterBroker(registered) if !registered.clean_shutdown => {
                let same = before.broker(registered.node_id).map(|b| b.incarnation);
                (same != Some(registered.incarnation)).then_some(registered.node_id)
            }
            _ => None,
        };
        let failed = match command {
            Command::ReplicasFailed(failed) => Some(failed.node_id),
            _ => None,
        };
        self.whole.retain(|(topic, _), _| after.topic_by_id(*topic).is_some());
        for topic in after.topics() {
            let caching = SharedConfig::of(
                after.configs(&ConfigResource::Topic(topic.name.clone())),
                after.configs(&ConfigResource::BrokerDefault),
            )
            .write_caching;
            for (index, p) in topic.partitions() {
                let old = before.topic_by_id(topic.id).and_then(|topic| topic.partition(index));
                let whole = self.whole.entry((topic.id, index)).or_default();
                if caching {
                    unclean.map(|id| whole.remove(&id));
                }
                let lost = |id: &NodeId| failed == Some(*id) && p.offline.contains(id);
                whole.retain(|id| p.replicas.contains(id) && !lost(id));
                let asked = matches!(command, Command::AlterPartitions(_));
                let recovers = !asked
                    && old.is_some_and(|old| {
                        let eligible = |id: &NodeId| old.isr.contains(id) || old.elr.contains(id);
                        p.leader.is_some_and(|leader| !eligible(&leader))
                    });
                if recovers {
                    // What the new leader has is what counts.
                    whole.clear();
                }
                if p.replicas.len() == 1 {
                    whole.extend(p.replicas.iter().copied());
                }
                // The protocol lets in who has caught up; a first leader has everything.
                let grown = |id: &&NodeId| !old.is_some_and(|old| old.isr.contains(*id));
                if asked || old.is_none() || recovers {
                    whole.extend(p.isr.iter().filter(grown).copied());
                }
                let eligible = p.isr.iter().chain(&p.elr);
                let missing: Vec<&NodeId> = eligible.filter(|id| !whole.contains(id)).collect();
                assert!(
                    missing.is_empty(),
                    "{missing:?} may lead {}-{index} and lack what was committed: {p:?} after \
                     {command:?}; before: {old:?}",
                    topic.name
                );
            }
        }
    }

    /// A leader commits where it may: only who is in sync is sure to have that.
    fn commit_somewhere(&mut self) {
        let state = &self.script.state;
        for topic in state.topics() {
            for (index, p) in topic.partitions() {
                let enough = p.isr.len() >= state.insync_replicas_min(&topic.name, p);
                if enough && p.leader.is_some() && self.rng.chance(50) {
                    let isr = p.isr.iter().copied().collect();
                    self.whole.insert((topic.id, index), isr);
                }
            }
        }
    }

    fn node(&mut self) -> NodeId {
        NodeId(i32::try_from(1 + self.rng.below(BROKERS)).expect("small"))
    }

    fn some_nodes(&mut self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = (0..=self.rng.below(3)).map(|_| self.node()).collect();
        let mut seen = BTreeSet::new();
        nodes.retain(|id| seen.insert(*id));
        nodes
    }

    fn some_partition(&mut self) -> Option<(TopicName, TopicId, PartitionIndex, Partition)> {
        let state = &self.script.state;
        let all: Vec<_> = (state.topics())
            .flat_map(|topic| {
                topic.partitions().map(|(i, p)| (topic.name.clone(), topic.id, i, p.clone()))
            })
            .collect();
        let at = usize::try_from(self.rng.below(all.len() as u64)).expect("small");
        all.into_iter().nth(at)
    }

    fn command(&mut self) -> Command {
        match self.rng.below(100) {
            0..10 => self.registration(),
            10..30 => self.fencing(),
            30..36 => self.new_topic(),
            36..70 => self.isr_change(),
            70..78 => self.reassignment(),
            78..84 => self.election(),
            84..92 => self.config(),
            92..96 => self.failure(),
            96..97 => self.more_or_fewer(),
            97..98 => Command::UnregisterBroker(UnregisterBroker { node_id: self.node() }),
            _ => {
                let wanted = self.rng.chance(50).then(|| self.node());
                let dir = i32::try_from(1 + self.rng.below(7)).expect("small");
                Command::AdmitNode(AdmitNode { wanted, ..admission(dir) })
            }
        }
    }

    fn registration(&mut self) -> Command {
        let id = self.node().0;
        if self.script.state.node(NodeId(id)).is_none() {
            return Command::AdmitNode(admission(id));
        }
        if self.rng.chance(80) {
            self.incarnation = self.incarnation.wrapping_add(1);
        }
        let mut command = registration(id, self.incarnation, self.rng.chance(50));
        // Whoever was admitted under that id, mostly.
        if let Some(node) = self.script.state.node(NodeId(id)).filter(|_| self.rng.chance(95)) {
            command.directories = vec![node.directory];
        }
        Command::RegisterBroker(command)
    }

    fn fencing(&mut self) -> Command {
        let change = |life: &mut Self, node_id: NodeId| FencingChange {
            node_id,
            broker_epoch: life.script.epoch(node_id.0),
            fenced: life.rng.chance(40),
            in_controlled_shutdown: life.rng.chance(15),
        };
        let nodes = self.some_nodes();
        let changes = nodes.into_iter().map(|id| change(self, id)).collect();
        Command::ChangeFencing(ChangeFencing { changes })
    }

    fn new_topic(&mut self) -> Command {
        let name = format!("topic-{}", self.rng.below(4));
        let factor = i16::try_from(1 + self.rng.below(4)).expect("small");
        let count = i32::try_from(1 + self.rng.below(3)).expect("small");
        let mut new = self.script.new_topic(&name, count, factor);
        if self.rng.chance(30) {
            new.configs = vec![("write.caching".into(), Some("true".into()))];
        }
        Command::CreateTopics(create_topics(vec![new], false))
    }

    fn isr_change(&mut self) -> Command {
        let Some((_, topic_id, partition, p)) = self.some_partition() else {
            return self.registration();
        };
        let leader = p.leader.unwrap_or(NodeId(1));
        let late = PartitionEpoch(p.partition_epoch.0 - i32::from(self.rng.chance(10)));
        let keep: Vec<bool> = p.replicas.iter().map(|_| self.rng.chance(70)).collect();
        let members = p.replicas.iter().zip(keep).filter(|(id, keep)| **id == leader || *keep);
        let change = IsrChange {
            topic_id,
            partition,
            leader_epoch: p.leader_epoch,
            partition_epoch: late,
            isr: members.map(|(id, _)| (*id, self.script.epoch(id.0))).collect(),
            lost: Vec::new(),
            recovery: LeaderRecoveryState::Recovered,
        };
        let broker_epoch = self.script.epoch(leader.0);
        let changes = vec![change];
        Command::AlterPartitions(AlterPartitions { node_id: leader, broker_epoch, changes })
    }

    fn reassignment(&mut self) -> Command {
        let Some((topic, _, partition, _)) = self.some_partition() else {
            return self.registration();
        };
        let replicas = self.rng.chance(70).then(|| self.some_nodes());
        let partitions = vec![Reassignment { topic: topic.to_string(), partition, replicas }];
        let allow_replication_factor_change = self.rng.chance(90);
        Command::AlterReassignments(AlterReassignments {
            partitions,
            allow_replication_factor_change,
        })
    }

    fn election(&mut self) -> Command {
        let unclean = self.rng.chance(20);
        let kind = if unclean { ElectionKind::Unclean } else { ElectionKind::Preferred };
        let one = self.some_partition().map(|(topic, _, index, _)| (topic.to_string(), index));
        let partitions = self.rng.chance(70).then(|| one.into_iter().collect());
        Command::ElectLeaders(ElectLeaders { kind, partitions })
    }

    fn config(&mut self) -> Command {
        let topic = self.some_partition().map(|(topic, ..)| ConfigResource::Topic(topic));
        let (resource, name, value) = match (self.rng.below(4), topic) {
            (0, _) | (_, None) => {
                let value = if self.rng.chance(60) { "false" } else { "true" };
                (ConfigResource::Broker(self.node()), configs::DRAIN, value.to_owned())
            }
            (1, Some(topic)) => {
                let value = if self.rng.chance(80) { "false" } else { "true" };
                (topic, "unclean.leader.election.enable", value.to_owned())
            }
            (2, Some(topic)) => (topic, "min.insync.replicas", (1 + self.rng.below(3)).to_string()),
            (_, Some(_)) => {
                let value = (1 + self.rng.below(3)).to_string();
                (ConfigResource::BrokerDefault, "min.insync.replicas", value)
            }
        };
        let kind = if self.rng.chance(70) { ConfigOpKind::Set } else { ConfigOpKind::Delete };
        let op = ConfigOp { name: name.to_owned(), kind, value: Some(value) };
        let change = ConfigChange::Incremental(vec![op]);
        let resources = vec![ConfigAlteration { resource, change }];
        Command::AlterConfigs(AlterConfigs { resources, validate_only: self.rng.chance(5) })
    }

    fn failure(&mut self) -> Command {
        let Some((_, topic, index, p)) = self.some_partition() else { return self.registration() };
        let at = usize::try_from(self.rng.below(p.replicas.len() as u64)).expect("small");
        let node_id = p.replicas[at];
        let broker_epoch = self.script.epoch(node_id.0);
        let partitions = vec![(topic, index)];
        Command::ReplicasFailed(ReplicasFailed { node_id, broker_epoch, partitions, usable: false })
    }

    fn more_or_fewer(&mut self) -> Command {
        let Some((topic, id, ..)) = self.some_partition() else { return self.registration() };
        if self.rng.chance(50) {
            return Command::DeleteTopics(DeleteTopics { topics: vec![TopicSelector::Id(id)] });
        }
        let topics = vec![MorePartitions { name: topic.into(), count: 4, assignments: None }];
        Command::CreatePartitions(CreatePartitions { topics, validate_only: false })
    }
}

/// Epochs count exactly what happened.
fn check_steps(before: &State, after: &State, command: &Command) {
    for topic in after.topics() {
        let Some(old_topic) = before.topic_by_id(topic.id) else { continue };
        for (index, new) in topic.partitions() {
            let Some(old) = old_topic.partition(index) else { continue };
            let what = || format!("{}-{index}: {old:?} -> {new:?} by {command:?}", topic.name);
            let partition_steps = new.partition_epoch.0 - old.partition_epoch.0;
            let leader_steps = new.leader_epoch.0 - old.leader_epoch.0;
            assert_eq!(partition_steps > 0, old != new, "{}", what());
            let one = !matches!(command, Command::AlterConfigs(_));
            assert!((0..=1).contains(&partition_steps) || !one, "{}", what());
            let gone = old.replicas.iter().any(|id| !new.replicas.contains(id));
            assert_eq!(leader_steps, i32::from(old.leader != new.leader || gone), "{}", what());
        }
    }
    for broker in after.brokers() {
        let old = before.broker(broker.id);
        assert!(old.is_none_or(|old| old.epoch <= broker.epoch), "{broker:?}");
    }
    for node in before.nodes() {
        let new = after.node(node.id).expect("never forgotten");
        assert_eq!(new.directory, node.directory, "never given to another");
    }
}
