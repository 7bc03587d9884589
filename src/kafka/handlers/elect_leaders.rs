//! ElectLeaders: gives partitions back to their preferred leaders, or to any replica that is left
//! (KIP-183, KIP-460).

use std::collections::{BTreeMap, BTreeSet};

use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::errors;
use crate::metadata::state::{Command, ElectLeaders, ElectionKind, ElectionResult, Response};
use crate::protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use crate::protocol::{ErrorCode, Str};
use crate::types::PartitionIndex;

/// First version with kinds of elections; older ones mean the preferred replica.
const KINDS_SINCE: i16 = 1;

/// The partitions of a request, each once; `None` for all.
type Asked = Option<BTreeSet<(String, PartitionIndex)>>;

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    call: &Call,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let asked: Asked = request.topic_partitions.map(|topics| {
        let rows = topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|index| (topic.topic.as_str().to_owned(), *index))
        });
        rows.collect()
    });
    let Some(kind) = kind(request.election_type, call.version) else {
        let message = format!("there is no kind of election {}", request.election_type);
        return failed(asked, ErrorCode::InvalidRequest, &message);
    };
    let partitions = asked.clone().map(|asked| asked.into_iter().collect());
    let command = Command::ElectLeaders(ElectLeaders { kind, partitions });
    match broker.context.metadata.propose(command).await {
        Ok(Response::ElectLeaders(results)) => respond(results.into_iter().map(row)),
        Ok(other) => unreachable!("ElectLeaders was answered with {other:?}"),
        Err(error) => failed(asked, errors::metadata_code(&error), &error.to_string()),
    }
}

fn kind(number: i8, version: i16) -> Option<ElectionKind> {
    match number {
        _ if version < KINDS_SINCE => Some(ElectionKind::Preferred),
        0 => Some(ElectionKind::Preferred),
        1 => Some(ElectionKind::Unclean),
        _ => None,
    }
}

/// The same error for the whole and for every row: version 0 has no error for the whole.
fn failed(asked: Asked, error_code: ErrorCode, message: &str) -> ElectLeadersResponse {
    let rows = asked.unwrap_or_default().into_iter().map(|(topic, partition_id)| {
        let error_message = Some(Str::from(message));
        (topic, PartitionResult { partition_id, error_code, error_message, ..Default::default() })
    });
    ElectLeadersResponse { error_code, ..respond(rows) }
}

fn row(result: ElectionResult) -> (String, PartitionResult) {
    let refusal = result.outcome.err();
    let code = |refusal: &crate::metadata::state::Refusal| errors::refusal_code(refusal.kind);
    let row = PartitionResult {
        partition_id: result.partition,
        error_code: refusal.as_ref().map_or(ErrorCode::None, code),
        error_message: refusal.map(|refusal| Str::from(refusal.message)),
        ..Default::default()
    };
    (result.topic, row)
}

/// Rows by topic.
fn respond(rows: impl Iterator<Item = (String, PartitionResult)>) -> ElectLeadersResponse {
    let mut by_topic: BTreeMap<String, Vec<PartitionResult>> = BTreeMap::new();
    for (topic, row) in rows {
        by_topic.entry(topic).or_default().push(row);
    }
    let topics = by_topic.into_iter().map(|(topic, partition_result)| ReplicaElectionResult {
        topic: Str::from(topic),
        partition_result,
        ..Default::default()
    });
    ElectLeadersResponse { replica_election_results: topics.collect(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::state::{Refusal, RefusalKind};

    #[test]
    fn trap_9_tools_leader_election_codes() {
        let refused = |partition, kind| ElectionResult {
            topic: "t".to_owned(),
            partition: PartitionIndex(partition),
            outcome: Err(Refusal::new(kind, "why")),
        };
        let results = [
            refused(0, RefusalKind::ElectionNotNeeded),
            refused(1, RefusalKind::PreferredLeaderNotAvailable),
            refused(2, RefusalKind::EligibleLeadersNotAvailable),
        ];
        let response = respond(results.into_iter().map(row));
        let [topic] = &response.replica_election_results[..] else { panic!("one topic") };
        let codes: Vec<i16> =
            topic.partition_result.iter().map(|row| row.error_code.to_i16()).collect();
        assert_eq!(codes, [84, 80, 83]);
        assert_eq!(response.error_code, ErrorCode::None, "errors are those of their rows");
    }

    #[test]
    fn kinds_came_with_version_1() {
        assert_eq!(kind(1, 0), Some(ElectionKind::Preferred));
        assert_eq!(kind(1, 1), Some(ElectionKind::Unclean));
        assert_eq!(kind(2, 2), None);
        let asked = BTreeSet::from([("t".to_owned(), PartitionIndex(3))]);
        let response = failed(Some(asked), ErrorCode::InvalidRequest, "no");
        assert_eq!(response.error_code, ErrorCode::InvalidRequest);
        let row = &response.replica_election_results[0].partition_result[0];
        assert_eq!(row.error_code, ErrorCode::InvalidRequest, "version 0 has the rows alone");
    }
}
