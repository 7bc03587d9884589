//! Registrations of brokers, and who of them may lead.

use super::command::{ChangeFencing, FencingChange, RegisterBroker};
use super::delta::Delta;
use super::election::Standings;
use super::model::{Broker, Partition, State};
use super::nodes;
use super::response::{Refusal, RefusalKind};
use super::sweep::sweep;
use crate::types::mutant::Mutant;
use crate::types::{BrokerEpoch, NodeId};
use std::sync::Arc;

/// Registers a broker, fenced: it may lead once it says that it is ready.
pub(super) fn register(
    state: &mut State,
    index: u64,
    command: RegisterBroker,
    delta: &mut Delta,
) -> Result<BrokerEpoch, Refusal> {
    let id = command.node_id;
    nodes::check_admitted(state, id, &command.directories)?;
    check_features(state, &command)?;
    let known = state.broker(id).filter(|before| before.incarnation == command.incarnation);
    if let Some(before) = known {
        // A retry whose first answer got lost.
        return Ok(before.epoch);
    }
    nodes::reached_at(state, id, &command.rpc, delta);
    let epoch = BrokerEpoch(i64::try_from(index).unwrap_or(i64::MAX));
    let broker = Broker {
        id,
        incarnation: command.incarnation,
        epoch,
        endpoints: command.endpoints,
        rpc: command.rpc,
        rack: command.rack,
        directories: command.directories,
        features: command.features,
        fenced: !Mutant::RegistrationKeepsIsr.is_active(),
        in_controlled_shutdown: false,
        registered_at: command.now,
    };
    state.brokers.insert_mut(id, Arc::new(broker));
    delta.brokers.insert(id);
    start_over(state, id, !command.clean_shutdown, delta);
    Ok(epoch)
}

/// Whatever a broker's last incarnation led or held in sync, this one has yet to prove itself.
/// After an unclean stop it may have lost what it had not synced: it is not eligible any more where
/// acknowledgements did not wait for the disk. Storage that had failed is trusted again as far as
/// the new incarnation could open it; it reports anew what it could not.
fn start_over(state: &mut State, id: NodeId, unclean: bool, delta: &mut Delta) {
    let standings = Standings::of(state);
    let concerned = |partition: &Partition| {
        partition.isr.contains(&id)
            || partition.elr.contains(&id)
            || partition.offline.contains(&id)
    };
    sweep(state, delta, &standings, concerned, |election, config, partition| {
        let before = partition.clone();
        partition.offline.retain(|offline| *offline != id);
        let lossy = unclean && config.write_caching && !Mutant::LossyStopKeepsEligible.is_active();
        let excluded: &[NodeId] = if lossy { &[id] } else { &[] };
        election.settle(partition, &before, excluded)
    });
}

fn check_features(state: &State, command: &RegisterBroker) -> Result<(), Refusal> {
    for (name, level) in state.features() {
        let understood =
            command.features.iter().find(|(known, _)| known == name).map_or(0, |(_, most)| *most);
        if understood < level {
            return Err(Refusal::new(
                RefusalKind::UnsupportedVersion,
                format!(
                    "the cluster uses level {level} of feature {name}; this node's version \
                     understands at most {understood}: upgrade it"
                ),
            ));
        }
    }
    Ok(())
}

/// Fences and unfences, then holds the elections that follow.
pub(super) fn change_fencing(
    state: &mut State,
    command: ChangeFencing,
    delta: &mut Delta,
) -> Vec<Result<(), Refusal>> {
    let results: Vec<Result<bool, Refusal>> =
        command.changes.iter().map(|change| change_one(state, change, delta)).collect();
    let changed: Vec<NodeId> = (command.changes.iter().zip(&results))
        .filter(|(_, result)| matches!(result, Ok(true)))
        .map(|(change, _)| change.node_id)
        .collect();
    if !changed.is_empty() {
        let standings = Standings::of(state);
        let concerned = |partition: &Partition| {
            partition.leader.is_none() || changed.iter().any(|id| partition.isr.contains(id))
        };
        sweep(state, delta, &standings, concerned, |election, _, partition| {
            let before = partition.clone();
            election.settle(partition, &before, &[])
        });
    }
    results.into_iter().map(|result| result.map(|_| ())).collect()
}

/// Whether anything changed.
fn change_one(
    state: &mut State,
    change: &FencingChange,
    delta: &mut Delta,
) -> Result<bool, Refusal> {
    let before = registered(state, change.node_id, change.broker_epoch)?;
    let same = before.fenced == change.fenced
        && before.in_controlled_shutdown == change.in_controlled_shutdown;
    if same {
        return Ok(false);
    }
    let mut broker = Broker::clone(before);
    broker.fenced = change.fenced;
    broker.in_controlled_shutdown = change.in_controlled_shutdown;
    state.brokers.insert_mut(change.node_id, Arc::new(broker));
    delta.brokers.insert(change.node_id);
    Ok(true)
}

/// The broker, if this is its current registration.
pub(super) fn registered(
    state: &State,
    id: NodeId,
    epoch: BrokerEpoch,
) -> Result<&Arc<Broker>, Refusal> {
    let Some(broker) = state.broker(id) else {
        return Err(Refusal::new(
            RefusalKind::BrokerNotRegistered,
            format!("broker {id} is not registered"),
        ));
    };
    if broker.epoch != epoch {
        return Err(Refusal::new(
            RefusalKind::StaleBrokerEpoch,
            format!("broker {id} is registered with epoch {}, not {epoch}", broker.epoch),
        ));
    }
    Ok(broker)
}
