//! The one place where errors of other rooms become Kafka's codes.
//!
//! Invariant: a code is only sent where Kafka sends it. Clients treat others as fatal: Java ends a
//! consumer on REQUEST_TIMED_OUT in a fetch, and producers lose count of their sequences on
//! UNKNOWN_SERVER_ERROR in a produce. "Don't know" is therefore NOT_LEADER_OR_FOLLOWER, after
//! which clients look again.

use super::fetch_session::SessionError;
use crate::log::{AppendError, RecordError};
use crate::metadata;
use crate::metadata::state::RefusalKind;
use crate::partition;
use crate::protocol::ErrorCode;

/// Why a batch was not taken, as Produce reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProduceFailure {
    /// The code.
    pub(super) code: ErrorCode,
    /// About the batch, for people (Produce 8 and later).
    pub(super) message: Option<String>,
    /// About single records, by their place in the batch (Produce 8 and later).
    pub(super) records: Vec<RecordError>,
}

impl From<ErrorCode> for ProduceFailure {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, records: Vec::new() }
    }
}

/// The code for what a partition said.
pub(super) fn partition_code(error: &partition::Error) -> ErrorCode {
    use partition::Error as E;
    match error {
        E::NotLeader => ErrorCode::NotLeaderOrFollower,
        E::FencedEpoch => ErrorCode::FencedLeaderEpoch,
        E::UnknownEpoch => ErrorCode::UnknownLeaderEpoch,
        E::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        E::OffsetNotAvailable => ErrorCode::OffsetNotAvailable,
        E::Timeout => ErrorCode::RequestTimedOut,
        E::NotEnoughReplicas => ErrorCode::NotEnoughReplicas,
        E::NotEnoughReplicasAfterAppend => ErrorCode::NotEnoughReplicasAfterAppend,
        // Damaged bytes are a failure of this replica's storage: clients look for another leader.
        // CORRUPT_MESSAGE would end a Java consumer.
        E::Storage(_) | E::Corrupt(_) => ErrorCode::KafkaStorageError,
        E::Append(error) => append_code(error),
    }
}

/// The code for why a log refused a batch.
fn append_code(error: &AppendError) -> ErrorCode {
    use AppendError as E;
    match error {
        E::OutOfOrderSequence(_) => ErrorCode::OutOfOrderSequenceNumber,
        E::InvalidProducerEpoch(_) => ErrorCode::InvalidProducerEpoch,
        E::InvalidTransactionState(_) => ErrorCode::InvalidTxnState,
        E::CoordinatorFenced(_) => ErrorCode::TransactionCoordinatorFenced,
        E::InvalidRecord { .. } => ErrorCode::InvalidRecord,
        E::Corrupt(_) => ErrorCode::CorruptMessage,
        E::TooLarge { .. } => ErrorCode::MessageTooLarge,
        E::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
        E::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
        E::UnsupportedCodec(_) => ErrorCode::UnsupportedCompressionType,
        // Only a leader takes client batches, and those have no offsets yet.
        E::UnexpectedOffset { .. } => ErrorCode::NotLeaderOrFollower,
        E::DiskFull(_) | E::Failed(_) => ErrorCode::KafkaStorageError,
    }
}

/// What Produce reports for what a partition said.
pub(super) fn produce_failure(error: &partition::Error, version: i16) -> ProduceFailure {
    let code = match partition_code(error) {
        // Clients of that age don't know the code, and look for the leader again on this one.
        ErrorCode::KafkaStorageError if version <= 3 => ErrorCode::NotLeaderOrFollower,
        code => code,
    };
    let (message, records) = match error {
        partition::Error::Append(
            AppendError::InvalidRecord { message, records }
            | AppendError::InvalidTimestamp { message, records },
        ) => (Some(message.clone()), records.clone()),
        partition::Error::Append(error) => (Some(error.to_string()), Vec::new()),
        _ => (None, Vec::new()),
    };
    ProduceFailure { code, message, records }
}

/// The code that Fetch reports.
pub(super) fn fetch_code(error: &partition::Error, version: i16) -> ErrorCode {
    match partition_code(error) {
        ErrorCode::KafkaStorageError if version <= 5 => ErrorCode::NotLeaderOrFollower,
        // None of Fetch's codes, and fatal in the Java client.
        ErrorCode::RequestTimedOut => ErrorCode::NotLeaderOrFollower,
        code => code,
    }
}

/// The code that ListOffsets reports.
pub(super) fn list_offsets_code(error: &partition::Error, version: i16) -> ErrorCode {
    match partition_code(error) {
        ErrorCode::OffsetNotAvailable if version <= 4 => ErrorCode::LeaderNotAvailable,
        code => code,
    }
}

/// The code for a proposal that got no answer.
pub(super) fn metadata_code(error: &metadata::Error) -> ErrorCode {
    use metadata::Error as E;
    match error {
        E::NotController { .. } => ErrorCode::NotController,
        E::TooLarge { .. } => ErrorCode::InvalidRequest,
        // Retriable, and honest: the change may have happened.
        E::Overloaded | E::Timeout(_) | E::Unknown(_) | E::Stopped | E::Failed(_) => {
            ErrorCode::RequestTimedOut
        }
    }
}

/// The code for an item that the metadata group refused.
pub(super) fn refusal_code(kind: RefusalKind) -> ErrorCode {
    use RefusalKind as K;
    match kind {
        K::UnknownTopic => ErrorCode::UnknownTopicOrPartition,
        K::UnknownTopicId => ErrorCode::UnknownTopicId,
        K::InvalidTopic => ErrorCode::InvalidTopicException,
        K::TopicExists => ErrorCode::TopicAlreadyExists,
        K::InvalidPartitions => ErrorCode::InvalidPartitions,
        K::InvalidReplicationFactor => ErrorCode::InvalidReplicationFactor,
        K::InvalidReplicaAssignment => ErrorCode::InvalidReplicaAssignment,
        K::InvalidConfig => ErrorCode::InvalidConfig,
        K::InvalidRequest => ErrorCode::InvalidRequest,
        K::PolicyViolation => ErrorCode::PolicyViolation,
        K::StaleBrokerEpoch => ErrorCode::StaleBrokerEpoch,
        K::DuplicateBroker => ErrorCode::DuplicateBrokerRegistration,
        K::BrokerNotRegistered => ErrorCode::BrokerIdNotRegistered,
        K::FeatureUpdateFailed => ErrorCode::FeatureUpdateFailed,
        K::UnsupportedVersion => ErrorCode::UnsupportedVersion,
        K::FencedLeaderEpoch => ErrorCode::FencedLeaderEpoch,
        K::InvalidUpdateVersion => ErrorCode::InvalidUpdateVersion,
        K::IneligibleReplica => ErrorCode::IneligibleReplica,
        K::ElectionNotNeeded => ErrorCode::ElectionNotNeeded,
        K::PreferredLeaderNotAvailable => ErrorCode::PreferredLeaderNotAvailable,
        K::EligibleLeadersNotAvailable => ErrorCode::EligibleLeadersNotAvailable,
        K::NoReassignmentInProgress => ErrorCode::NoReassignmentInProgress,
        K::ReassignmentInProgress => ErrorCode::ReassignmentInProgress,
        K::NotAttempted => ErrorCode::OperationNotAttempted,
    }
}

/// The code for a fetch session that cannot be continued.
pub(super) fn session_code(error: SessionError) -> ErrorCode {
    match error {
        SessionError::NotFound => ErrorCode::FetchSessionIdNotFound,
        SessionError::Epoch => ErrorCode::InvalidFetchSessionEpoch,
        SessionError::MixedIds => ErrorCode::FetchSessionTopicIdError,
    }
}
