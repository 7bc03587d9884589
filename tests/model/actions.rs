//! What can happen in the model, and what it does to the world.

use super::check;
use super::storage::index;
use super::world::{Config, Message, PARTITION, TOPIC, Told, World};
use purlin::metadata::state::{
    AlterPartitions, Command, ElectLeaders, ElectionKind, IsrChange, LeaderRecoveryState, Response,
};
use purlin::replica::{self, Effect, FetchClaim, Input, Role, Verdict};
use purlin::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset};

/// One thing that can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A client writes one record to a node that believes to lead.
    Produce(NodeId),
    Flush(NodeId),
    /// A follower asks its leader for more.
    Fetch(NodeId),
    /// A message arrives, and may arrive again.
    Deliver {
        at: usize,
        again: bool,
    },
    Lose(usize),
    /// A node applies the next state of the metadata, or skips to the newest.
    Learn {
        node: NodeId,
        newest: bool,
    },
    /// A leader sends its open proposal once more.
    Propose(NodeId),
    /// Followers have lagged for too long.
    Lag(NodeId),
    /// The power goes, and so many unflushed records survive.
    Crash {
        node: NodeId,
        kept: usize,
    },
    Restart(NodeId),
    Fence(NodeId),
    Unfence(NodeId),
    ElectUncleanly,
    Reassign {
        cancel: bool,
    },
}

impl Action {
    /// Faults, which a random walk takes less often than progress.
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Crash { .. }
                | Self::Fence(_)
                | Self::Lag(_)
                | Self::Lose(_)
                | Self::ElectUncleanly
                | Self::Reassign { .. }
                | Self::Deliver { again: true, .. }
        )
    }
}

/// What may happen next.
pub fn possible(world: &World, config: &Config, actions: &mut Vec<Action>) {
    if world.violation.is_some() {
        return;
    }
    for node in &world.nodes {
        if node.up {
            of_running(world, config, node.id, actions);
        } else {
            actions.push(Action::Restart(node.id));
            if !world.metadata.broker(node.id).expect("registered").fenced {
                actions.push(Action::Fence(node.id));
            }
        }
    }
    for (at, message) in world.network.iter().enumerate() {
        let earlier = &world.network[..at];
        let overtakes = |sender: &NodeId| {
            earlier.iter().any(|one| matches!(one, Message::Alter { from, .. } if from == sender))
        };
        if earlier.contains(message)
            || matches!(message, Message::Alter { from, .. } if overtakes(from))
        {
            continue;
        }
        actions.push(Action::Deliver { at, again: false });
        // A call to the controller is repeated by its node alone (`Propose`).
        let may_repeat = !matches!(message, Message::Alter { .. });
        if may_repeat && world.spent.repeats < config.repeats_max {
            actions.push(Action::Deliver { at, again: true });
        }
        if world.spent.losses < config.losses_max {
            actions.push(Action::Lose(at));
        }
    }
    let partition = world.partition();
    if config.unclean && partition.leader.is_none() && world.spent.unclean < 1 {
        actions.push(Action::ElectUncleanly);
    }
    if let Some(target) = &config.target {
        if !world.spent.reassigned {
            actions.push(Action::Reassign { cancel: false });
        } else if target.iter().any(|id| partition.adding.contains(&NodeId(*id))) {
            actions.push(Action::Reassign { cancel: true });
        }
    }
}

fn of_running(world: &World, config: &Config, id: NodeId, actions: &mut Vec<Action>) {
    let node = world.node(id);
    let partition = world.partition();
    let behind = world.images.len() - 1 - node.image;
    if behind > 0 {
        actions.push(Action::Learn { node: id, newest: false });
    }
    if behind > 1 {
        actions.push(Action::Learn { node: id, newest: true });
    }
    let room = partition.leader_epoch.0 < config.leader_epoch_max
        && partition.partition_epoch.0 < config.partition_epoch_max;
    let registered = world.metadata.broker(id).expect("registered");
    let fenced = registered.fenced;
    if fenced {
        // The controller waits until the broker has seen its own registration.
        let seen = world.images[node.image].registration(id) == Some(registered.epoch);
        if seen && node.broker_epoch == registered.epoch {
            actions.push(Action::Unfence(id));
        }
    } else if world.spent.fences < config.fences_max && room {
        actions.push(Action::Fence(id));
    }
    if world.spent.crashes < config.crashes_max && room {
        let loose = node.storage.records.len() - node.storage.flushed;
        actions.extend((0..=loose).map(|kept| Action::Crash { node: id, kept }));
    }
    let Some(replica) = &node.replica else { return };
    if node.storage.flushed < node.storage.records.len() {
        actions.push(Action::Flush(id));
    }
    match replica.role() {
        Role::Leader(_) => {
            if world.spent.values < config.values_max && replica.has_enough_replicas() {
                actions.push(Action::Produce(id));
            }
            if world.spent.shrinks < config.shrinks_max && room {
                actions.push(Action::Lag(id));
            }
            let under_way =
                |message: &Message| matches!(message, Message::Alter { from, .. } if *from == id);
            if node.proposal.is_some() && !world.network.iter().any(under_way) {
                actions.push(Action::Propose(id));
            }
        }
        Role::Follower(follower) => {
            let epoch = follower.epoch();
            let waits = world.network.iter().any(|message| match message {
                Message::Fetch { claim, .. } => claim.follower == id && claim.leader_epoch == epoch,
                Message::Answer { to, epoch: of, .. } => *to == id && *of == epoch,
                _ => false,
            });
            if !waits {
                actions.push(Action::Fetch(id));
            }
        }
        _ => {}
    }
}

/// Does it. `None` when nothing changes.
pub fn act(world: &mut World, config: &Config, action: Action) -> Option<()> {
    match action {
        Action::Produce(id) => {
            let value = world.spent.values;
            world.spent.values += 1;
            let node = world.node_mut(id);
            let epoch = node.replica.as_ref()?.leader_epoch();
            node.storage.append(epoch, value);
            let end = node.storage.end();
            step(world, id, Input::Appended { end });
        }
        Action::Flush(id) => {
            let node = world.node_mut(id);
            node.storage.flush();
            let upto = node.storage.view().flushed;
            step(world, id, Input::Flushed { upto });
        }
        Action::Fetch(id) => fetch(world, id)?,
        Action::Deliver { at, again } => {
            let message = if again { world.network[at].clone() } else { world.network.remove(at) };
            world.spent.repeats += u8::from(again);
            deliver(world, message);
        }
        Action::Lose(at) => {
            world.spent.losses += 1;
            world.network.remove(at);
        }
        Action::Learn { node, newest } => {
            let last = world.images.len() - 1;
            let entry = world.node_mut(node);
            entry.image = if newest { last } else { entry.image + 1 };
            learn(world, config, node);
        }
        Action::Propose(id) => {
            let proposal = world.node(id).proposal.clone()?;
            propose(world, id, proposal);
        }
        Action::Lag(id) => {
            world.spent.shrinks += 1;
            let now_ms = world.now_ms();
            step(world, id, Input::Tick { now_ms });
        }
        Action::Crash { node, kept } => crash(world, config, node, kept),
        Action::Restart(id) => {
            let node = world.node_mut(id);
            node.up = true;
            node.incarnation += 1;
            world.register(id, false);
            learn(world, config, id);
        }
        Action::Fence(id) => {
            world.spent.fences += u8::from(world.node(id).up);
            world.change_fencing(id, true);
        }
        Action::Unfence(id) => world.change_fencing(id, false),
        Action::ElectUncleanly => {
            world.spent.unclean += 1;
            world.apply(Command::ElectLeaders(ElectLeaders {
                kind: ElectionKind::Unclean,
                partitions: None,
            }));
        }
        Action::Reassign { cancel } => {
            world.spent.reassigned = true;
            let target = config.target.as_ref()?.iter().copied().map(NodeId).collect();
            world.reassign((!cancel).then_some(target));
        }
    }
    world.tidy();
    check::look(world, config);
    Some(())
}

fn crash(world: &mut World, config: &Config, id: NodeId, kept: usize) {
    world.spent.crashes += 1;
    let node = world.node_mut(id);
    let before = node.storage.records.len();
    node.storage.lose_power(kept);
    let lost = node.storage.records.len() < before;
    node.up = false;
    node.replica = None;
    node.proposal = None;
    if lost && config.write_caching {
        world.lossy.insert(id);
    }
    // Its connections went with it: no answer reaches the next process.
    world.network.retain(|message| match message {
        Message::Answer { to, .. } | Message::Refused { to, .. } => *to != id,
        _ => true,
    });
}

/// What the node makes of the metadata that it has applied.
fn learn(world: &mut World, config: &Config, id: NodeId) {
    let node = world.node(id);
    let image = world.images[node.image].clone();
    let partition = &image.partition;
    // A process acts on nothing that was decided before it registered: in an old epoch it could
    // lead once more, over a log that has lost records of that very epoch.
    if image.registration(id) != Some(node.broker_epoch) {
        return;
    }
    if !partition.replicas.contains(&id) {
        let node = world.node_mut(id);
        node.replica = None;
        node.proposal = None;
        node.storage = super::storage::Storage::default();
        world.lossy.remove(&id);
        return;
    }
    if node.replica.is_none() {
        let view = node.storage.view();
        let made = replica::State::new(id, config.settings(), view, Offset::ZERO);
        world.node_mut(id).replica = Some(made);
    }
    let epoch = partition.leader_epoch;
    let input = match partition.leader {
        Some(leader) if leader == id => Input::Lead {
            epoch,
            partition_epoch: partition.partition_epoch,
            replicas: partition.replicas.iter().map(|id| (*id, current(&image, *id))).collect(),
            isr: partition.isr.iter().copied().collect(),
            elr: partition.elr.iter().copied().collect(),
            now_ms: world.now_ms(),
        },
        Some(leader) => Input::Follow { leader, epoch },
        None => Input::Stand { epoch },
    };
    step(world, id, input);
    let node = world.node_mut(id);
    let leads = node.replica.as_ref().and_then(replica::State::leader);
    let answered = node.proposal.as_ref().is_some_and(|proposal| {
        leads.is_none_or(|leader| {
            leader.epoch() != proposal.leader_epoch
                || leader.partition_epoch() > proposal.partition_epoch
        })
    });
    if answered {
        node.proposal = None;
    }
}

fn current(image: &super::world::Image, id: NodeId) -> Option<BrokerEpoch> {
    image.brokers.iter().find(|(node, _, fenced)| *node == id && !fenced).map(|found| found.1)
}

fn claim(world: &World, id: NodeId) -> Option<FetchClaim> {
    let node = world.node(id);
    let follower = node.replica.as_ref()?.follower()?;
    Some(FetchClaim {
        follower: id,
        broker_epoch: node.broker_epoch,
        leader_epoch: follower.epoch(),
        end: node.storage.end(),
        last_epoch: node.storage.latest_epoch(),
    })
}

fn fetch(world: &mut World, id: NodeId) -> Option<()> {
    let node = world.node(id);
    let to = node.replica.as_ref()?.follower()?.leader();
    let flushed = node.storage.view().flushed;
    let claim = claim(world, id)?;
    world.network.push(Message::Fetch { to, claim, flushed });
    Some(())
}

fn deliver(world: &mut World, message: Message) {
    match message {
        Message::Fetch { to, claim, flushed } => fetched(world, to, claim, flushed),
        Message::Report { to, claim, flushed } => {
            let FetchClaim { follower, broker_epoch, leader_epoch, end, .. } = claim;
            let now_ms = world.now_ms();
            let report =
                Input::Reported { follower, leader_epoch, broker_epoch, end, flushed, now_ms };
            step(world, to, report);
        }
        Message::Answer { to, incarnation, epoch, asked, answer } => {
            if world.node(to).incarnation == incarnation {
                answered(world, to, epoch, asked, &answer);
            }
        }
        Message::Alter { from, call, broker_epoch, proposal } => {
            alter(world, from, call, broker_epoch, &proposal);
        }
        Message::Refused { to, call, partition_epoch } => {
            if world.node(to).call == call {
                world.node_mut(to).proposal = None;
                step(world, to, Input::IsrRefused { partition_epoch });
            }
        }
    }
}

/// A fetch reaches a node that may lead.
fn fetched(world: &mut World, to: NodeId, claim: FetchClaim, flushed: Offset) {
    let node = world.node(to);
    let Some(replica) = &node.replica else { return };
    let verdict = replica.judge(&claim, node.storage.epoch_end(claim.last_epoch));
    let told = match verdict {
        Verdict::Serve => {
            let FetchClaim { follower, broker_epoch, leader_epoch, end, .. } = claim;
            let now_ms = world.now_ms();
            let input =
                Input::Fetched { follower, leader_epoch, broker_epoch, end, flushed, now_ms };
            step(world, to, input);
            let node = world.node(to);
            let Some(replica) = &node.replica else { return };
            let from = index(end).min(node.storage.records.len());
            let records = node.storage.records[from..].to_vec();
            Told::Records { high_watermark: replica.high_watermark(), records }
        }
        Verdict::Diverging { epoch, end } => Told::Diverging { epoch, end },
        Verdict::OutOfRange => {
            let view = node.storage.view();
            Told::OutOfRange { start: view.start, end: view.end }
        }
        // An error changes nothing at the follower; it asks again.
        _ => return,
    };
    let incarnation = world.node(claim.follower).incarnation;
    world.network.push(Message::Answer {
        to: claim.follower,
        incarnation,
        epoch: claim.leader_epoch,
        asked: claim.end,
        answer: told,
    });
}

/// A leader's answer reaches a follower.
fn answered(world: &mut World, to: NodeId, epoch: LeaderEpoch, asked: Offset, told: &Told) {
    let node = world.node(to);
    if node.replica.is_none() {
        return;
    }
    let answer = told.answer(&node.storage);
    let records = match told {
        Told::Records { records, .. } => records.clone(),
        _ => Vec::new(),
    };
    step_with(world, to, Input::Answered { leader_epoch: epoch, asked, answer }, &records);
}

fn propose(world: &mut World, id: NodeId, proposal: replica::IsrProposal) {
    let node = world.node_mut(id);
    node.proposal = Some(proposal.clone());
    node.call += 1;
    let (call, broker_epoch) = (node.call, node.broker_epoch);
    world.network.push(Message::Alter { from: id, call, broker_epoch, proposal });
}

fn alter(
    world: &mut World,
    from: NodeId,
    call: u8,
    broker_epoch: BrokerEpoch,
    proposal: &replica::IsrProposal,
) {
    let own = |id: NodeId| if id == from { Some(broker_epoch) } else { None };
    let isr: Option<Vec<_>> =
        proposal.isr.iter().map(|(id, epoch)| Some((*id, epoch.or_else(|| own(*id))?))).collect();
    let Some(isr) = isr else { return };
    world.mistaken |= !proposal.lost.is_empty();
    let response = world.apply(Command::AlterPartitions(AlterPartitions {
        node_id: from,
        broker_epoch,
        changes: vec![IsrChange {
            topic_id: TOPIC,
            partition: PARTITION,
            leader_epoch: proposal.leader_epoch,
            partition_epoch: proposal.partition_epoch,
            isr,
            lost: proposal.lost.clone(),
            recovery: LeaderRecoveryState::Recovered,
        }],
    }));
    let Response::AlterPartitions(results) = response else {
        panic!("another answer than asked for: {response:?}");
    };
    let node = world.node(from);
    // The answer goes to the process that asked, if it still lives.
    let refused = results
        .iter()
        .any(|result| result.as_ref().is_err_and(|refusal| refusal.kind.settles_isr_change()));
    if refused && node.up && node.broker_epoch == broker_epoch {
        let refused =
            Message::Refused { to: from, call, partition_epoch: proposal.partition_epoch };
        world.network.push(refused);
    }
}

fn step(world: &mut World, id: NodeId, input: Input) {
    step_with(world, id, input, &[]);
}

/// Feeds the replica, and carries out what it says, as `purlin::partition` does.
fn step_with(world: &mut World, id: NodeId, input: Input, records: &[(LeaderEpoch, u8)]) {
    let Some(replica) = world.node_mut(id).replica.as_mut() else { return };
    for effect in replica::step(replica, input) {
        carry_out(world, id, effect, records);
    }
}

fn carry_out(world: &mut World, id: NodeId, effect: Effect, records: &[(LeaderEpoch, u8)]) {
    match effect {
        Effect::RecordEpoch { epoch, start } => {
            world.node_mut(id).storage.assign_epoch(epoch, start);
        }
        Effect::AdvanceHighWatermark(high_watermark) => {
            check::committed(world, id, high_watermark);
        }
        Effect::ProposeIsr(proposal) => {
            propose(world, id, proposal);
        }
        Effect::AppendAnswered => {
            if records.is_empty() {
                return;
            }
            let node = world.node_mut(id);
            for (epoch, value) in records {
                node.storage.append(*epoch, *value);
            }
            let end = node.storage.end();
            step(world, id, Input::Appended { end });
        }
        Effect::ReportFlushed(report) => {
            let Some(mut claim) = claim(world, id) else { return };
            claim.end = report.end;
            claim.leader_epoch = report.leader_epoch;
            let to = report.leader;
            world.network.push(Message::Report { to, claim, flushed: report.flushed });
        }
        Effect::Truncate { to, unclean } => {
            check::cut(world, id, to, unclean);
            let node = world.node_mut(id);
            node.storage.truncate(to);
            let view = node.storage.view();
            step(world, id, Input::Cut(view));
        }
        Effect::Restart { at, unclean } => {
            check::cut(world, id, at, unclean);
            let node = world.node_mut(id);
            node.storage.truncate(Offset::ZERO);
            let view = node.storage.view();
            step(world, id, Input::Cut(view));
        }
        Effect::RequestFlush
        | Effect::LeadershipLost
        | Effect::LowerHighWatermark(_)
        | Effect::FetchAgain(_)
        | Effect::GiveUpLeadership
        | Effect::RaiseStart(_) => {}
    }
}

/// The first image reaches a node.
pub fn begin(world: &mut World, config: &Config, id: NodeId) {
    learn(world, config, id);
}
