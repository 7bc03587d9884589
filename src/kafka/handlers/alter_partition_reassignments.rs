//! AlterPartitionReassignments: moves partitions to other brokers, or gives a move up (KIP-455,
//! KIP-860). A move that was begun goes on by itself.

use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::metadata::state::{AlterReassignments, Command, Reassignment, Response};
use crate::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ReassignablePartitionResponse, ReassignableTopic, ReassignableTopicResponse,
};
use crate::protocol::{ErrorCode, Str};

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let allow_replication_factor_change = request.allow_replication_factor_change;
    let command = Command::AlterReassignments(AlterReassignments {
        partitions: request.topics.iter().flat_map(reassignments).collect(),
        allow_replication_factor_change,
    });
    let response = match broker.context.metadata.propose(command).await {
        Ok(Response::AlterReassignments(results)) => {
            let outcomes = results.into_iter().map(|result| match result {
                Ok(()) => (ErrorCode::None, None),
                Err(refusal) => (errors::refusal_code(refusal.kind), Some(refusal.message)),
            });
            AlterPartitionReassignmentsResponse {
                responses: rows(&request.topics, outcomes),
                ..Default::default()
            }
        }
        Ok(other) => unreachable!("AlterReassignments was answered with {other:?}"),
        Err(error) => AlterPartitionReassignmentsResponse {
            error_code: errors::metadata_code(&error),
            error_message: Some(Str::from(error.to_string())),
            ..Default::default()
        },
    };
    AlterPartitionReassignmentsResponse { allow_replication_factor_change, ..response }
}

fn reassignments(topic: &ReassignableTopic) -> impl Iterator<Item = Reassignment> {
    topic.partitions.iter().map(|partition| Reassignment {
        topic: topic.name.as_str().to_owned(),
        partition: partition.partition_index,
        replicas: partition.replicas.clone(),
    })
}

/// Puts the outcomes, which come in the order of the request, into its shape.
fn rows(
    topics: &[ReassignableTopic],
    mut outcomes: impl Iterator<Item = (ErrorCode, Option<String>)>,
) -> Vec<ReassignableTopicResponse> {
    let row = |topic: &ReassignableTopic| ReassignableTopicResponse {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .zip(&mut outcomes)
            .map(|(partition, (error_code, message))| ReassignablePartitionResponse {
                partition_index: partition.partition_index,
                error_code,
                error_message: message.map(Str::from),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    topics.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::state::RefusalKind;
    use crate::protocol::messages::alter_partition_reassignments::ReassignablePartition;
    use crate::types::{NodeId, PartitionIndex};

    fn topic(name: &str, indexes: &[i32]) -> ReassignableTopic {
        let partition = |index: &i32| ReassignablePartition {
            partition_index: PartitionIndex(*index),
            replicas: (*index != 1).then(|| vec![NodeId(1), NodeId(2)]),
            ..Default::default()
        };
        ReassignableTopic {
            name: Str::from(name),
            partitions: indexes.iter().map(partition).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn trap_9_tools_reassignment_each_partition_gets_its_own_code() {
        let topics = [topic("a", &[0, 1]), topic("b", &[7])];
        let asked: Vec<Reassignment> = topics.iter().flat_map(reassignments).collect();
        assert_eq!(asked[1].replicas, None, "null gives the move up");
        let no_move = errors::refusal_code(RefusalKind::NoReassignmentInProgress);
        assert_eq!(no_move.to_i16(), 85);
        let outcomes = [
            (ErrorCode::None, None),
            (no_move, Some("nothing moves".to_owned())),
            (ErrorCode::UnknownTopicOrPartition, None),
        ];
        let rows = rows(&topics, outcomes.into_iter());
        let codes: Vec<(i32, i16)> = rows
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|row| (row.partition_index.0, row.error_code.to_i16()))
            .collect();
        assert_eq!(codes, [(0, 0), (1, 85), (7, 3)]);
    }
}
