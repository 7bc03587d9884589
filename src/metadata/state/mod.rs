//! The metadata state machine: [`apply`] and what it decides.
//!
//! Pure. One file per kind of record; `apply` is total (every command has an answer in every
//! state) and deterministic (two nodes that apply the same commands at the same indexes hold equal
//! states and gave equal answers).
//!
//! Invariants: a topic's name and id map to each other; every partition has replicas, its ISR and
//! ELR are disjoint parts of them, its leader is in its ISR; epochs only grow; a producer id is
//! handed out once.
//!
//! Must never: touch a clock, randomness, a file or a task, iterate a hash map, or panic on any
//! command.

mod brokers;
pub mod codec;
mod command;
pub mod configs;
mod delta;
mod election;
mod elections;
mod features;
mod isr;
mod model;
mod nodes;
mod partitions;
mod placement;
pub mod plan;
mod producer_ids;
mod reassignments;
pub mod record;
mod response;
mod sweep;
mod topics;

pub use command::{
    AdmitNode, AllocateProducerIds, AlterConfigs, AlterPartitions, AlterReassignments,
    ChangeFencing, Command, ConfigAlteration, ConfigChange, ConfigOp, ConfigOpKind,
    CreatePartitions, CreateTopics, DeleteTopics, ElectLeaders, ElectionKind, Endpoint,
    FencingChange, IsrChange, LeaderRecoveryState, MorePartitions, NewTopic, Reassignment,
    RegisterBroker, ReplicasFailed, TopicSelector, UnregisterBroker, UpdateFeatures,
};
pub use delta::{Delta, TopicChange};
pub use model::{Broker, ConfigMap, Node, Partition, State, Topic};
pub use response::{
    CreatedTopic, DeletedTopic, ElectionResult, ProducerIdBlock, Refusal, RefusalKind, Response,
    TopicResult,
};

/// Applies the command at a Raft index. Returns the answer for whoever proposed it, and adds what
/// changed to `delta`.
pub fn apply(state: &mut State, index: u64, command: Command, delta: &mut Delta) -> Response {
    match command {
        Command::RegisterBroker(command) => {
            Response::RegisterBroker(brokers::register(state, index, command, delta))
        }
        Command::ChangeFencing(command) => {
            Response::ChangeFencing(brokers::change_fencing(state, command, delta))
        }
        Command::CreateTopics(command) => {
            Response::CreateTopics(topics::create(state, command, delta))
        }
        Command::DeleteTopics(command) => {
            Response::DeleteTopics(topics::delete(state, command, delta))
        }
        Command::CreatePartitions(command) => {
            Response::CreatePartitions(partitions::create(state, command, delta))
        }
        Command::AlterConfigs(command) => {
            Response::AlterConfigs(configs::alter(state, &command, delta))
        }
        Command::AllocateProducerIds(command) => {
            Response::AllocateProducerIds(producer_ids::allocate(state, &command, delta))
        }
        Command::UpdateFeatures(command) => {
            Response::UpdateFeatures(features::update(state, &command, delta))
        }
        Command::AdmitNode(command) => Response::AdmitNode(nodes::admit(state, command, delta)),
        Command::UnregisterBroker(command) => {
            Response::UnregisterBroker(nodes::unregister(state, &command, delta))
        }
        Command::AlterPartitions(command) => {
            Response::AlterPartitions(isr::alter(state, &command, delta))
        }
        Command::ElectLeaders(command) => {
            Response::ElectLeaders(elections::elect(state, &command, delta))
        }
        Command::AlterReassignments(command) => {
            Response::AlterReassignments(reassignments::alter(state, command, delta))
        }
        Command::ReplicasFailed(command) => {
            Response::ReplicasFailed(isr::replicas_failed(state, &command, delta))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
