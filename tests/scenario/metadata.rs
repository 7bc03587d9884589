//! The cases of replication that the metadata decides, by number: scripts through the state
//! machine, with nothing else running.
//!
//! A partition is shown as `replicas / isr / elr / leader @ leader epoch . partition epoch`.

use purlin::metadata::liveness::{
    Beat, BrokerView, FenceReason, Input, Liveness, LivenessConfig, Output, ProbeOutcome,
};
use purlin::metadata::state::configs::ConfigResource;
use purlin::metadata::state::{
    AdmitNode, AlterConfigs, AlterPartitions, AlterReassignments, ChangeFencing, Command,
    ConfigAlteration, ConfigChange, CreateTopics, DeleteTopics, Delta, FencingChange, IsrChange,
    LeaderRecoveryState, NewTopic, Partition, Reassignment, RefusalKind, RegisterBroker,
    ReplicasFailed, Response, State, TopicSelector, apply,
};
use purlin::types::{
    BrokerEpoch, DirectoryId, IncarnationId, NodeId, PartitionIndex, TimestampMs, TopicId,
    TopicName,
};

/// The metadata of a cluster of three brokers or more, and what is done to it.
#[derive(Clone, Default)]
struct Cluster {
    state: State,
    index: u64,
    incarnations: u8,
    topics: u8,
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn directory(id: i32) -> DirectoryId {
    DirectoryId([u8::try_from(id).expect("a small id"); 16])
}

impl Cluster {
    /// Brokers 1 to `count`, unfenced.
    fn of(count: i32) -> Self {
        let mut cluster = Self::default();
        for id in 1..=count {
            cluster.admit(id, Some(id)).expect("a free id");
            cluster.start(id, true);
        }
        cluster
    }

    /// ... and topic `t` with one partition on the first three.
    fn with_topic(configs: &[(&str, &str)]) -> Self {
        let mut cluster = Self::of(3);
        cluster.create(&[1, 2, 3], configs);
        cluster
    }

    fn apply(&mut self, command: Command) -> Response {
        self.index += 1;
        apply(&mut self.state, self.index, command, &mut Delta::default())
    }

    fn admit(&mut self, dir: i32, wanted: Option<i32>) -> Result<NodeId, RefusalKind> {
        let command = AdmitNode {
            directory: directory(dir),
            wanted: wanted.map(NodeId),
            rpc: format!("host-{dir}:9192"),
            now: TimestampMs(1),
        };
        match self.apply(Command::AdmitNode(command)) {
            Response::AdmitNode(result) => result.map_err(|refusal| refusal.kind),
            other => panic!("{other:?}"),
        }
    }

    /// A new process registers from a directory.
    fn register(&mut self, id: i32, dir: i32, clean: bool) -> Result<BrokerEpoch, RefusalKind> {
        self.incarnations += 1;
        let command = RegisterBroker {
            node_id: NodeId(id),
            incarnation: IncarnationId([self.incarnations; 16]),
            endpoints: Vec::new(),
            rpc: format!("host-{id}:9192"),
            rack: None,
            directories: vec![directory(dir)],
            clean_shutdown: clean,
            features: Vec::new(),
            now: TimestampMs(2),
        };
        match self.apply(Command::RegisterBroker(command)) {
            Response::RegisterBroker(result) => result.map_err(|refusal| refusal.kind),
            other => panic!("{other:?}"),
        }
    }

    fn fencing(&mut self, id: i32, fenced: bool, in_controlled_shutdown: bool) {
        let (node_id, broker_epoch) = (NodeId(id), self.epoch(id));
        let change = FencingChange { node_id, broker_epoch, fenced, in_controlled_shutdown };
        match self.apply(Command::ChangeFencing(ChangeFencing { changes: vec![change] })) {
            Response::ChangeFencing(results) => assert_eq!(results, [Ok(())]),
            other => panic!("{other:?}"),
        }
    }

    fn fence(&mut self, id: i32) {
        self.fencing(id, true, false);
    }

    fn unfence(&mut self, id: i32) {
        self.fencing(id, false, false);
    }

    /// Registers and unfences.
    fn start(&mut self, id: i32, clean: bool) {
        self.register(id, id, clean).expect("its own directory");
        self.unfence(id);
    }

    fn create(&mut self, replicas: &[i32], configs: &[(&str, &str)]) {
        self.topics += 1;
        let new = NewTopic {
            name: "t".to_owned(),
            id: TopicId([self.topics; 16]),
            partitions: -1,
            replication_factor: -1,
            assignments: vec![(PartitionIndex(0), nodes(replicas))],
            configs: configs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())))
                .collect(),
        };
        let command = CreateTopics {
            topics: vec![new],
            partitions_default: 1,
            replication_factor_default: -1,
            validate_only: false,
            now: TimestampMs(3),
        };
        match self.apply(Command::CreateTopics(command)) {
            Response::CreateTopics(results) => assert!(results[0].outcome.is_ok(), "{results:?}"),
            other => panic!("{other:?}"),
        }
    }

    fn epoch(&self, id: i32) -> BrokerEpoch {
        self.state.broker(NodeId(id)).expect("registered").epoch
    }

    fn topic_id(&self) -> TopicId {
        self.state.topic_by_name("t").expect("there").id
    }

    fn partition(&self) -> Partition {
        let topic = self.state.topic_by_name("t").expect("there");
        topic.partition(PartitionIndex(0)).expect("there").clone()
    }

    fn leader(&self) -> i32 {
        self.partition().leader.expect("a leader").0
    }

    fn insync_min(&self) -> usize {
        let name = TopicName::new("t").expect("a name");
        self.state.insync_replicas_min(&name, &self.partition())
    }

    /// A change as the leader sees things now; it may be sent later.
    fn prepare(&self, isr: &[i32]) -> AlterPartitions {
        let p = self.partition();
        let leader = p.leader.expect("a leader");
        let change = IsrChange {
            topic_id: self.topic_id(),
            partition: PartitionIndex(0),
            leader_epoch: p.leader_epoch,
            partition_epoch: p.partition_epoch,
            isr: isr.iter().map(|id| (NodeId(*id), self.epoch(*id))).collect(),
            lost: Vec::new(),
            recovery: LeaderRecoveryState::Recovered,
        };
        let broker_epoch = self.epoch(leader.0);
        AlterPartitions { node_id: leader, broker_epoch, changes: vec![change] }
    }

    fn send(&mut self, command: AlterPartitions) -> Result<Partition, RefusalKind> {
        match self.apply(Command::AlterPartitions(command)) {
            Response::AlterPartitions(mut results) => results.remove(0).map_err(|r| r.kind),
            other => panic!("{other:?}"),
        }
    }

    fn isr(&mut self, isr: &[i32]) {
        let command = self.prepare(isr);
        self.send(command).expect("an up-to-date leader");
    }

    fn reassign(&mut self, replicas: Option<&[i32]>) -> Result<(), RefusalKind> {
        let command = AlterReassignments {
            partitions: vec![Reassignment {
                topic: "t".to_owned(),
                partition: PartitionIndex(0),
                replicas: replicas.map(nodes),
            }],
            allow_replication_factor_change: true,
        };
        match self.apply(Command::AlterReassignments(command)) {
            Response::AlterReassignments(mut results) => results.remove(0).map_err(|r| r.kind),
            other => panic!("{other:?}"),
        }
    }

    fn storage_failed(&mut self, id: i32, topic: TopicId) -> Result<(), RefusalKind> {
        let command = ReplicasFailed {
            node_id: NodeId(id),
            broker_epoch: self.epoch(id),
            partitions: vec![(topic, PartitionIndex(0))],
            usable: false,
        };
        match self.apply(Command::ReplicasFailed(command)) {
            Response::ReplicasFailed(mut results) => results.remove(0).map_err(|r| r.kind),
            other => panic!("{other:?}"),
        }
    }

    fn view(&self, id: i32) -> BrokerView {
        let broker = self.state.broker(NodeId(id)).expect("registered");
        BrokerView {
            node_id: broker.id,
            broker_epoch: broker.epoch,
            incarnation: broker.incarnation,
            fenced: broker.fenced,
            in_controlled_shutdown: broker.in_controlled_shutdown,
            index: self.index,
        }
    }
}

/// `replicas / isr / elr / leader @ leader epoch . partition epoch`
fn show(p: &Partition) -> String {
    let list = |ids: &[NodeId]| ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",");
    let leader = p.leader.map_or("-".to_owned(), |id| id.0.to_string());
    let (replicas, isr, elr) = (list(&p.replicas), list(&p.isr), list(&p.elr));
    format!("{replicas} / {isr} / {elr} / {leader} @ {}.{}", p.leader_epoch, p.partition_epoch)
}

#[test]
fn scenario_07_an_expansion_in_flight_is_decided_before_or_after_the_leader_dies_never_both() {
    let mut cluster = Cluster::with_topic(&[]);
    cluster.isr(&[1, 2]);
    let expansion = cluster.prepare(&[1, 2, 3]);
    // It arrives first: the follower is in sync, and may lead.
    let mut first = cluster.clone();
    first.send(expansion.clone()).expect("up to date");
    first.fence(1);
    assert_eq!(show(&first.partition()), "1,2,3 / 2,3 /  / 2 @ 1.3");
    // The leader dies first: what it asked for counts for nothing.
    cluster.fence(1);
    assert_eq!(cluster.send(expansion), Err(RefusalKind::FencedLeaderEpoch));
    assert_eq!(show(&cluster.partition()), "1,2,3 / 2 / 1 / 2 @ 1.2");
}

#[test]
fn scenario_08_a_leader_that_was_cut_off_can_no_longer_shrink_its_isr() {
    let mut cluster = Cluster::with_topic(&[]);
    let shrink = cluster.prepare(&[1]);
    cluster.fence(1);
    assert_eq!(cluster.leader(), 2);
    assert_eq!(cluster.send(shrink.clone()), Err(RefusalKind::FencedLeaderEpoch));
    // Back, and still with the old request in its hands.
    cluster.unfence(1);
    assert_eq!(cluster.send(shrink), Err(RefusalKind::FencedLeaderEpoch));
    assert_eq!(show(&cluster.partition()), "1,2,3 / 2,3 /  / 2 @ 1.1");
}

#[test]
fn scenario_09_a_request_sent_twice_takes_effect_once() {
    let mut cluster = Cluster::with_topic(&[]);
    let shrink = cluster.prepare(&[1, 2]);
    let answer = cluster.send(shrink.clone()).expect("up to date");
    // The answer was lost, and the leader asks again: it learns that something has changed.
    assert_eq!(cluster.send(shrink), Err(RefusalKind::InvalidUpdateVersion));
    assert_eq!(cluster.partition(), answer);
}

#[test]
fn scenario_10_a_fencing_overtakes_an_expansion() {
    let mut cluster = Cluster::with_topic(&[]);
    cluster.isr(&[1, 2]);
    let expansion = cluster.prepare(&[1, 2, 3]);
    cluster.fence(2);
    assert_eq!(cluster.send(expansion), Err(RefusalKind::InvalidUpdateVersion));
    assert_eq!(show(&cluster.partition()), "1,2,3 / 1 / 2 / 1 @ 0.2");
}

#[test]
fn scenario_11_who_is_fenced_or_about_to_stop_cannot_join_however_well_it_caught_up() {
    let mut cluster = Cluster::with_topic(&[]);
    cluster.isr(&[1, 2]);
    cluster.fence(3);
    let expansion = cluster.prepare(&[1, 2, 3]);
    assert_eq!(cluster.send(expansion), Err(RefusalKind::IneligibleReplica));
    cluster.fencing(3, false, true);
    let expansion = cluster.prepare(&[1, 2, 3]);
    assert_eq!(cluster.send(expansion), Err(RefusalKind::IneligibleReplica));
    cluster.unfence(3);
    cluster.isr(&[1, 2, 3]);
}

#[test]
fn scenario_12_who_caught_up_and_came_back_empty_is_not_who_the_leader_means() {
    let mut cluster = Cluster::with_topic(&[]);
    cluster.isr(&[1, 2]);
    let expansion = cluster.prepare(&[1, 2, 3]);
    cluster.start(3, false);
    assert_eq!(cluster.send(expansion), Err(RefusalKind::IneligibleReplica));
    // The leader's own registration counts as well.
    let mut expansion = cluster.prepare(&[1, 2, 3]);
    expansion.broker_epoch = BrokerEpoch(1);
    assert_eq!(cluster.send(expansion), Err(RefusalKind::StaleBrokerEpoch));
}

/// That a follower has to reach the start of the leader's epoch is the leader's to know. The state
/// sees to it that no older leader's opinion counts.
#[test]
fn scenario_13_what_an_older_leader_knew_of_a_follower_does_not_let_it_in() {
    let mut cluster = Cluster::with_topic(&[]);
    cluster.isr(&[1, 2]);
    let of_one = cluster.prepare(&[1, 2, 3]);
    cluster.fence(1);
    cluster.unfence(1);
    assert_eq!(cluster.leader(), 2);
    let mut as_if_of_two = of_one;
    as_if_of_two.node_id = NodeId(2);
    as_if_of_two.broker_epoch = cluster.epoch(2);
    assert_eq!(cluster.send(as_if_of_two), Err(RefusalKind::FencedLeaderEpoch));
}

#[test]
fn scenario_14_a_replica_that_went_and_came_back_at_once_is_a_new_one_to_the_leader() {
    let mut cluster = Cluster::with_topic(&[]);
    let before = cluster.partition();
    let count_3 = cluster.prepare(&[1, 2, 3]);
    cluster.reassign(Some(&[1, 2])).expect("removed");
    cluster.reassign(Some(&[1, 2, 3])).expect("added again");
    let after = cluster.partition();
    assert_eq!(show(&after), "1,2,3 / 1,2 /  / 1 @ 1.2");
    assert!(after.leader_epoch > before.leader_epoch, "what was known of 3 is of an older epoch");
    assert_eq!(cluster.send(count_3), Err(RefusalKind::FencedLeaderEpoch));
}

#[test]
fn scenario_16_below_the_minimum_nothing_is_committed_and_who_left_may_lead() {
    let mut cluster = Cluster::with_topic(&[]);
    assert_eq!(cluster.insync_min(), 2, "of three, where nothing is set");
    cluster.isr(&[1]);
    let p = cluster.partition();
    assert_eq!(show(&p), "1,2,3 / 1 / 2,3 / 1 @ 0.1");
    assert!(p.isr.len() < cluster.insync_min(), "the leader takes no acks=all write");
    cluster.fence(1);
    assert_eq!(show(&cluster.partition()), "1,2,3 / 2 / 1,3 / 2 @ 1.2");
}

#[test]
fn scenario_17_the_last_in_sync_that_lost_its_page_cache_does_not_lead_the_elr_does() {
    let mut cluster = Cluster::with_topic(&[("write.caching", "true")]);
    cluster.isr(&[1, 2]);
    cluster.isr(&[1]);
    cluster.fence(2);
    assert_eq!(show(&cluster.partition()), "1,2,3 / 1 / 2 / 1 @ 0.2");
    cluster.fence(1);
    cluster.start(1, false);
    assert_eq!(show(&cluster.partition()), "1,2,3 /  / 2 / - @ 1.4");
    // Broker 3 left when the ISR was large enough: it lacks what was committed since.
    cluster.start(3, true);
    assert_eq!(cluster.partition().leader, None);
    cluster.unfence(2);
    let p = cluster.partition();
    assert_eq!(show(&p), "1,2,3 / 2 /  / 2 @ 2.5");
    assert_eq!(p.recovery, LeaderRecoveryState::Recovered, "nothing is missing");
}

#[test]
fn scenario_18_an_unclean_stop_costs_isr_and_elr_before_any_leadership_where_writes_are_cached() {
    for caching in ["true", "false"] {
        let mut cluster = Cluster::with_topic(&[("write.caching", caching)]);
        cluster.isr(&[1]);
        cluster.fence(2);
        cluster.fence(3);
        cluster.fence(1);
        assert_eq!(show(&cluster.partition()), "1,2,3 /  / 1,2,3 / - @ 1.2");
        // One command: between losing its place and leading there is no state.
        cluster.register(2, 2, false).expect("registers");
        let excluded = caching == "true";
        assert_eq!(!cluster.partition().elr.contains(&NodeId(2)), excluded);
        cluster.unfence(2);
        assert_eq!(cluster.partition().leader.is_none(), excluded, "write.caching={caching}");
        cluster.start(3, true);
        assert_eq!(cluster.leader(), if excluded { 3 } else { 2 });
    }
}

/// What was acknowledged without a sync does not become durable by a change of the config: whoever
/// is down may have lost it.
#[test]
fn scenario_18_switching_write_caching_off_costs_those_that_are_down_their_eligibility() {
    let off = |cluster: &mut Cluster| {
        let resource = ConfigResource::Topic(TopicName::new("t").expect("a name"));
        let change = ConfigChange::Replace(vec![("write.caching".into(), Some("false".into()))]);
        let resources = vec![ConfigAlteration { resource, change }];
        let command = AlterConfigs { resources, validate_only: false };
        match cluster.apply(Command::AlterConfigs(command)) {
            Response::AlterConfigs(mut results) => results.remove(0).map_err(|r| r.kind),
            other => panic!("{other:?}"),
        }
    };
    let mut cluster = Cluster::with_topic(&[("write.caching", "true")]);
    cluster.isr(&[1, 2]);
    cluster.fence(2);
    assert_eq!(show(&cluster.partition()), "1,2,3 / 1 / 2 / 1 @ 0.2");
    let mut leaderless = cluster.clone();
    off(&mut cluster).expect("taken");
    assert_eq!(show(&cluster.partition()), "1,2,3 / 1 /  / 1 @ 0.3");
    cluster.start(2, false);
    cluster.fence(1);
    assert_eq!(cluster.partition().leader, None, "it may lack acknowledged records");
    cluster.unfence(1);
    assert_eq!(cluster.leader(), 1);
    // Where nobody leads, nobody knows yet who has everything.
    leaderless.fence(1);
    assert_eq!(off(&mut leaderless), Err(RefusalKind::PolicyViolation));
    leaderless.unfence(1);
    off(&mut leaderless).expect("taken");
}

/// One-way drops look the same from here: somebody cannot be heard, or cannot hear.
#[test]
fn scenario_22_whoever_cannot_reach_the_controller_loses_its_leaderships_and_nothing_else() {
    let mut cluster = Cluster::with_topic(&[]);
    // The leader still sees followers and clients, and knows nothing of what follows.
    let old = cluster.partition();
    let still_leading = cluster.prepare(&[1, 2, 3]);
    cluster.fence(1);
    let new = cluster.partition();
    assert!(new.leader_epoch > old.leader_epoch);
    assert!(!new.isr.contains(&NodeId(1)), "it can't commit without those that left it");
    assert_eq!(cluster.send(still_leading), Err(RefusalKind::FencedLeaderEpoch));
    // Healed: it comes back as a follower.
    cluster.unfence(1);
    assert_eq!(cluster.leader(), 2);
    cluster.isr(&[1, 2, 3]);
}

#[test]
fn scenario_24_a_topic_made_anew_is_another_and_the_old_ones_id_finds_nothing() {
    let mut cluster = Cluster::with_topic(&[]);
    cluster.fence(3);
    let old = cluster.topic_id();
    let of_old = cluster.prepare(&[1]);
    let topics = vec![TopicSelector::Name("t".to_owned())];
    cluster.apply(Command::DeleteTopics(DeleteTopics { topics }));
    cluster.create(&[3, 1, 2], &[]);
    assert_ne!(cluster.topic_id(), old);
    assert_eq!(show(&cluster.partition()), "3,1,2 / 1,2 /  / 1 @ 0.0", "fresh epochs");
    // Whoever slept through it still speaks of the old one.
    cluster.start(3, false);
    assert_eq!(cluster.send(of_old), Err(RefusalKind::UnknownTopicId));
    assert_eq!(cluster.storage_failed(3, old), Err(RefusalKind::UnknownTopicId));
    assert_eq!(show(&cluster.partition()), "3,1,2 / 1,2 /  / 1 @ 0.0");
}

/// Whether a second process is let in while the first lives is for the controller to find out,
/// by session and probe. The state sees to it that the first has nothing to say any more.
#[test]
fn scenario_25_of_two_processes_with_one_id_only_the_last_registered_counts() {
    let mut cluster = Cluster::with_topic(&[]);
    let mut liveness = liveness(&cluster);
    let first = cluster.view(1);
    let of_first = cluster.prepare(&[1, 2]);
    cluster.register(1, 1, true).expect("the same directory");
    assert_eq!(show(&cluster.partition()), "1,2,3 / 2,3 /  / 2 @ 1.1", "the second proves itself");
    assert_eq!(cluster.send(of_first), Err(RefusalKind::StaleBrokerEpoch));
    liveness.step(1_000, Input::Registered(cluster.view(1)));
    let beat = beat(&first);
    assert_eq!(liveness.step(1_010, Input::Heartbeat(beat)), [], "it keeps no session alive");
    assert!(liveness.answer(NodeId(1), first.broker_epoch).unknown);
    // While the first lives, it answers at its address: that is what tells.
    let mut cluster = Cluster::with_topic(&[]);
    let mut liveness = self::liveness(&cluster);
    cluster.index += 1;
    let probe = liveness.step(1_000, Input::Suspected(NodeId(2)));
    let (node_id, broker_epoch) = (NodeId(2), cluster.epoch(2));
    assert_eq!(probe, [Output::Probe { node_id, broker_epoch }]);
    let alive = ProbeOutcome::Alive(cluster.view(2).incarnation);
    assert_eq!(liveness.step(1_010, Input::Probed { node_id, broker_epoch, outcome: alive }), []);
    let other = ProbeOutcome::Alive(IncarnationId([200; 16]));
    let reason = FenceReason::Replaced;
    assert_eq!(
        liveness.step(1_020, Input::Probed { node_id, broker_epoch, outcome: other }),
        [Output::Fence { node_id, broker_epoch, reason }]
    );
}

fn liveness(cluster: &Cluster) -> Liveness {
    let config = LivenessConfig { session_ms: 1_000, heartbeat_ms: 100, repeat_ms: 300 };
    let mut liveness = Liveness::new(config);
    let views = cluster.state.brokers().map(|broker| cluster.view(broker.id.0)).collect();
    liveness.step(900, Input::TermStarted(views));
    liveness
}

fn beat(view: &BrokerView) -> Beat {
    Beat {
        node_id: view.node_id,
        broker_epoch: view.broker_epoch,
        incarnation: view.incarnation,
        applied_index: view.index,
        ready: true,
        wants_shutdown: false,
    }
}

#[test]
fn scenario_26_whoever_comes_with_an_empty_disk_is_not_the_node_it_was() {
    let mut cluster = Cluster::with_topic(&[]);
    cluster.fence(3);
    // The same machine, a new directory, the old id: refused both ways.
    assert_eq!(cluster.admit(33, Some(3)), Err(RefusalKind::DuplicateBroker));
    assert_eq!(cluster.register(3, 33, false), Err(RefusalKind::DuplicateBroker));
    // Under a new id it holds nothing and is in no ISR.
    assert_eq!(cluster.admit(33, None), Ok(NodeId(4)));
    cluster.register(4, 33, false).expect("admitted");
    cluster.unfence(4);
    assert!(!cluster.partition().replicas.contains(&NodeId(4)));
    // It takes the place of the old one by copying.
    cluster.reassign(Some(&[1, 2, 4])).expect("started");
    cluster.isr(&[1, 2, 4]);
    assert_eq!(show(&cluster.partition()), "1,2,4 / 1,2,4 /  / 1 @ 1.3");
}

#[test]
fn scenario_33_a_dead_data_directory_loses_its_leaderships_while_its_heartbeats_live() {
    let mut cluster = Cluster::with_topic(&[]);
    let topic = cluster.topic_id();
    cluster.storage_failed(1, topic).expect("reported");
    assert_eq!(show(&cluster.partition()), "1,2,3 / 2,3 /  / 2 @ 1.1");
    assert!(cluster.state.is_active(NodeId(1)));
    let back = cluster.prepare(&[1, 2, 3]);
    assert_eq!(cluster.send(back), Err(RefusalKind::IneligibleReplica));
    // Not even as the last resort, until it was restarted and could open its log.
    cluster.fence(2);
    cluster.fence(3);
    assert_eq!(cluster.partition().leader, None);
    cluster.start(1, true);
    assert_eq!(cluster.partition().leader, None, "2 and 3 hold what was committed");
    cluster.unfence(3);
    assert_eq!(cluster.leader(), 3);
    cluster.isr(&[1, 3]);
}

/// Every broker is killed at every phase of a move, and comes back or not: at no time do fewer
/// hold what was committed than an acknowledgement needs, and in the end the move is done or
/// taken back.
#[test]
fn scenario_35_a_reassignment_survives_a_kill_of_anybody_at_any_phase() {
    for phase in 0..4 {
        for victim in 1..=5 {
            for comes_back in [true, false] {
                for cancel in [false, true] {
                    reassign_with_a_kill(phase, victim, comes_back, cancel);
                }
            }
        }
    }
}

fn reassign_with_a_kill(phase: usize, victim: i32, comes_back: bool, cancel: bool) {
    let what = format!("phase {phase}, victim {victim}, back {comes_back}, cancel {cancel}");
    let mut cluster = Cluster::of(5);
    cluster.create(&[1, 2, 3], &[]);
    let enough = |cluster: &Cluster| {
        let p = cluster.partition();
        assert!(p.isr.len() + p.elr.len() >= cluster.insync_min(), "{what}: {}", show(&p));
        assert!(p.leader.is_some(), "{what}: {}", show(&p));
    };
    let target = [4, 5, 3];
    let mut killed = false;
    for now in 0..4 {
        match now {
            0 => cluster.reassign(Some(&target)).expect("started"),
            1 => join(&mut cluster, 4),
            2 => join(&mut cluster, 5),
            _ => {}
        }
        enough(&cluster);
        if now == phase {
            cluster.fence(victim);
            killed = true;
            enough(&cluster);
            if cancel {
                // Refused only where it is done already.
                let moving = cluster.partition().is_reassigning();
                assert_eq!(cluster.reassign(None).is_ok(), moving, "{what}");
            }
        }
    }
    assert!(killed);
    if comes_back {
        cluster.start(victim, true);
    }
    // Everybody who lives and is a replica catches up.
    for id in cluster.partition().replicas {
        if cluster.state.is_active(id) {
            join(&mut cluster, id.0);
        }
    }
    enough(&cluster);
    let p = cluster.partition();
    // A target that is gone for good leaves the move open, to be replaced or cancelled.
    let stuck = !comes_back && !cancel && phase < 3 && [4, 5].contains(&victim);
    assert_eq!(p.is_reassigning(), stuck && p.replicas.len() > 3, "{what}: {}", show(&p));
    if p.is_reassigning() {
        cluster.reassign(None).expect("taken back");
        enough(&cluster);
        assert_eq!(cluster.partition().replicas.len(), 3, "{what}");
    }
}

/// The leader lets a broker into the ISR, if it may.
fn join(cluster: &mut Cluster, id: i32) {
    let p = cluster.partition();
    if !p.replicas.contains(&NodeId(id)) || !cluster.state.is_active(NodeId(id)) {
        return;
    }
    let mut isr: Vec<i32> = p.isr.iter().map(|id| id.0).collect();
    if !isr.contains(&id) {
        isr.push(id);
        cluster.isr(&isr);
    }
}

#[test]
fn scenario_48_a_leader_of_an_unclean_election_is_recovering_until_it_says_otherwise() {
    let mut cluster = Cluster::with_topic(&[]);
    cluster.isr(&[1, 2]);
    cluster.fence(1);
    cluster.fence(2);
    assert_eq!(show(&cluster.partition()), "1,2,3 /  / 1,2 / - @ 2.3", "3 may lack something");
    let change = ConfigChange::Replace(vec![(
        "unclean.leader.election.enable".to_owned(),
        Some("true".to_owned()),
    )]);
    let resource = ConfigResource::Topic(TopicName::new("t").expect("a name"));
    let resources = vec![ConfigAlteration { resource, change }];
    cluster.apply(Command::AlterConfigs(AlterConfigs { resources, validate_only: false }));
    let p = cluster.partition();
    assert_eq!(show(&p), "1,2,3 / 3 /  / 3 @ 3.4", "who held more is not eligible any more");
    assert_eq!(p.recovery, LeaderRecoveryState::Recovering);
    // Nobody joins a leader that has not recovered, and it stays so over its own death.
    cluster.unfence(1);
    let mut early = cluster.prepare(&[1, 3]);
    early.changes[0].recovery = LeaderRecoveryState::Recovering;
    assert_eq!(cluster.send(early), Err(RefusalKind::InvalidRequest));
    cluster.isr(&[1, 3]);
    assert_eq!(cluster.partition().recovery, LeaderRecoveryState::Recovered);
}
