//! Every error code of the protocol, with Kafka's names and numbers.

use std::fmt;

macro_rules! error_codes {
    ($($(#[$meta:meta])* $variant:ident = $code:literal, $name:literal, $retriable:literal, $message:literal;)*) => {
        /// An error code of the protocol. A code that this list does not have is kept as it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum ErrorCode {
            $(
                #[doc = $message]
                $(#[$meta])*
                $variant,
            )*
            /// A code that is not in the list; never one of those above.
            Other(i16),
        }

        impl ErrorCode {
            /// Every code of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code with this number.
            #[must_use]
            pub const fn from_i16(code: i16) -> Self {
                match code {
                    $($code => Self::$variant,)*
                    other => Self::Other(other),
                }
            }

            /// The number on the wire.
            #[must_use]
            pub const fn to_i16(self) -> i16 {
                match self {
                    $(Self::$variant => $code,)*
                    Self::Other(code) => code,
                }
            }

            /// Kafka's name, for instance `NOT_LEADER_OR_FOLLOWER`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(_) => "UNKNOWN",
                }
            }

            /// What it means, in a few words that fit after "error: ".
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$variant => $message,)*
                    Self::Other(_) => "an error that this version does not know",
                }
            }

            /// Whether clients try again by themselves. Those of the codes that Kafka's Java
            /// client maps to a retriable exception.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(Self::$variant => $retriable,)*
                    Self::Other(_) => false,
                }
            }
        }
    };
}

error_codes! {
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR", false,
        "the server failed in a way it did not expect";
    #[default]
    None = 0, "NONE", false,
        "no error";
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE", false,
        "the offset lies outside the partition's log";
    CorruptMessage = 2, "CORRUPT_MESSAGE", true,
        "the record batch is damaged, or does not match its checksum";
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION", true,
        "no such topic or partition is known here";
    InvalidFetchSize = 4, "INVALID_FETCH_SIZE", false,
        "the fetch size is not valid";
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE", true,
        "the partition has no leader for the moment";
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER", true,
        "this broker is not the leader, or not a replica, of the partition";
    RequestTimedOut = 7, "REQUEST_TIMED_OUT", true,
        "the request took longer than its time limit";
    BrokerNotAvailable = 8, "BROKER_NOT_AVAILABLE", false,
        "the broker is not available";
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE", true,
        "the replica is not available here";
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE", false,
        "the record batch is larger than the topic or broker allows";
    StaleControllerEpoch = 11, "STALE_CONTROLLER_EPOCH", false,
        "the controller has moved on";
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE", false,
        "the metadata of the committed offset is too large";
    NetworkException = 13, "NETWORK_EXCEPTION", true,
        "the connection ended before the answer";
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS", true,
        "the coordinator is still loading its state";
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE", true,
        "the coordinator is not available";
    NotCoordinator = 16, "NOT_COORDINATOR", true,
        "this broker is not the coordinator";
    InvalidTopicException = 17, "INVALID_TOPIC_EXCEPTION", false,
        "the topic's name is not valid, or the topic may not be used like this";
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE", false,
        "the record batch is larger than a segment";
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS", true,
        "too few replicas are in sync; nothing was written";
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", true,
        "the records were written, but to too few in-sync replicas";
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS", false,
        "acks is neither -1, 0 nor 1";
    IllegalGeneration = 22, "ILLEGAL_GENERATION", false,
        "the group's generation is not this one";
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL", false,
        "the member's protocols do not fit the group's";
    InvalidGroupId = 24, "INVALID_GROUP_ID", false,
        "the group id is not valid";
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID", false,
        "the group does not know this member";
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT", false,
        "the session timeout is outside the range that the broker allows";
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS", false,
        "the group is rebalancing; the member has to join again";
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE", false,
        "the commit is too large";
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED", false,
        "access to the topic is denied";
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED", false,
        "access to the group is denied";
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED", false,
        "access to the cluster is denied";
    InvalidTimestamp = 32, "INVALID_TIMESTAMP", false,
        "a record's timestamp is outside the range that the topic allows";
    UnsupportedSaslMechanism = 33, "UNSUPPORTED_SASL_MECHANISM", false,
        "the SASL mechanism is not enabled";
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE", false,
        "the request does not fit the state of the SASL exchange";
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION", false,
        "this version of the API is not supported";
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS", false,
        "the topic exists already";
    InvalidPartitions = 37, "INVALID_PARTITIONS", false,
        "the number of partitions is not valid";
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR", false,
        "the replication factor is below 1 or above the number of brokers";
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT", false,
        "the replica assignment is not valid";
    InvalidConfig = 40, "INVALID_CONFIG", false,
        "a setting is not valid";
    NotController = 41, "NOT_CONTROLLER", true,
        "this node is not the controller";
    InvalidRequest = 42, "INVALID_REQUEST", false,
        "the request contradicts itself or the protocol";
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", false,
        "the stored message format does not support the request";
    PolicyViolation = 44, "POLICY_VIOLATION", false,
        "the request is against a policy";
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", false,
        "a sequence number is missing before this batch";
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER", false,
        "this sequence number was stored before";
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH", false,
        "a newer epoch of the producer exists";
    InvalidTxnState = 48, "INVALID_TXN_STATE", false,
        "the transaction is not in a state for this";
    InvalidProducerIdMapping = 49, "INVALID_PRODUCER_ID_MAPPING", false,
        "the producer id does not belong to this transactional id";
    InvalidTransactionTimeout = 50, "INVALID_TRANSACTION_TIMEOUT", false,
        "the transaction timeout is longer than the broker allows";
    ConcurrentTransactions = 51, "CONCURRENT_TRANSACTIONS", true,
        "another operation on the transaction is under way";
    TransactionCoordinatorFenced = 52, "TRANSACTION_COORDINATOR_FENCED", false,
        "another transaction coordinator has taken over";
    TransactionalIdAuthorizationFailed = 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", false,
        "access to the transactional id is denied";
    SecurityDisabled = 54, "SECURITY_DISABLED", false,
        "no security is set up";
    OperationNotAttempted = 55, "OPERATION_NOT_ATTEMPTED", false,
        "not attempted, because another part of the request failed";
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR", true,
        "the disk failed or is full";
    LogDirNotFound = 57, "LOG_DIR_NOT_FOUND", false,
        "the log directory does not exist";
    SaslAuthenticationFailed = 58, "SASL_AUTHENTICATION_FAILED", false,
        "authentication failed";
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID", false,
        "nothing is known of this producer any more";
    ReassignmentInProgress = 60, "REASSIGNMENT_IN_PROGRESS", false,
        "the partition is being reassigned";
    DelegationTokenAuthDisabled = 61, "DELEGATION_TOKEN_AUTH_DISABLED", false,
        "delegation tokens are not enabled";
    DelegationTokenNotFound = 62, "DELEGATION_TOKEN_NOT_FOUND", false,
        "the delegation token does not exist";
    DelegationTokenOwnerMismatch = 63, "DELEGATION_TOKEN_OWNER_MISMATCH", false,
        "the delegation token belongs to someone else";
    DelegationTokenRequestNotAllowed = 64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", false,
        "delegation tokens may not be asked for on this connection";
    DelegationTokenAuthorizationFailed = 65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", false,
        "access to the delegation token is denied";
    DelegationTokenExpired = 66, "DELEGATION_TOKEN_EXPIRED", false,
        "the delegation token has expired";
    InvalidPrincipalType = 67, "INVALID_PRINCIPAL_TYPE", false,
        "the type of principal is not supported";
    NonEmptyGroup = 68, "NON_EMPTY_GROUP", false,
        "the group has members";
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND", false,
        "the group does not exist";
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND", true,
        "the fetch session does not exist";
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH", true,
        "the fetch session's epoch is not the next one";
    ListenerNotFound = 72, "LISTENER_NOT_FOUND", true,
        "the leader has no listener of this name";
    TopicDeletionDisabled = 73, "TOPIC_DELETION_DISABLED", false,
        "topics may not be deleted here";
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH", true,
        "the leader epoch is older than the broker's";
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH", true,
        "the leader epoch is newer than the broker's";
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE", false,
        "the compression is not supported in this version";
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH", false,
        "the broker has registered anew since";
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE", true,
        "the new leader does not know its high watermark yet";
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED", false,
        "the member needs an id first; it is in the answer";
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE", true,
        "the preferred leader is not available";
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED", false,
        "the group is full";
    FencedInstanceId = 82, "FENCED_INSTANCE_ID", false,
        "another member has the same group instance id";
    EligibleLeadersNotAvailable = 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", true,
        "no replica may become leader";
    ElectionNotNeeded = 84, "ELECTION_NOT_NEEDED", true,
        "the partition needs no election";
    NoReassignmentInProgress = 85, "NO_REASSIGNMENT_IN_PROGRESS", false,
        "no reassignment is under way";
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC", false,
        "the group is subscribed to the topic";
    InvalidRecord = 87, "INVALID_RECORD", false,
        "a record failed the broker's checks";
    UnstableOffsetCommit = 88, "UNSTABLE_OFFSET_COMMIT", true,
        "a transaction holds offsets back";
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED", true,
        "the quota is used up for the moment";
    ProducerFenced = 90, "PRODUCER_FENCED", false,
        "a newer producer has the same transactional id";
    ResourceNotFound = 91, "RESOURCE_NOT_FOUND", false,
        "the resource does not exist";
    DuplicateResource = 92, "DUPLICATE_RESOURCE", false,
        "the resource is named twice";
    UnacceptableCredential = 93, "UNACCEPTABLE_CREDENTIAL", false,
        "the credential does not meet the requirements";
    InconsistentVoterSet = 94, "INCONSISTENT_VOTER_SET", false,
        "one side is not among the expected voters";
    InvalidUpdateVersion = 95, "INVALID_UPDATE_VERSION", false,
        "the feature's version is not valid";
    FeatureUpdateFailed = 96, "FEATURE_UPDATE_FAILED", false,
        "the features could not be updated";
    PrincipalDeserializationFailure = 97, "PRINCIPAL_DESERIALIZATION_FAILURE", false,
        "the forwarded principal could not be read";
    SnapshotNotFound = 98, "SNAPSHOT_NOT_FOUND", false,
        "the snapshot does not exist";
    PositionOutOfRange = 99, "POSITION_OUT_OF_RANGE", false,
        "the position lies outside the snapshot";
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID", true,
        "no topic with this id is known here";
    DuplicateBrokerRegistration = 101, "DUPLICATE_BROKER_REGISTRATION", false,
        "a live broker has this id";
    BrokerIdNotRegistered = 102, "BROKER_ID_NOT_REGISTERED", false,
        "no broker is registered with this id";
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID", true,
        "the log's topic id is another one";
    InconsistentClusterId = 104, "INCONSISTENT_CLUSTER_ID", false,
        "the cluster id is another one";
    TransactionalIdNotFound = 105, "TRANSACTIONAL_ID_NOT_FOUND", false,
        "the transactional id does not exist";
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR", true,
        "the fetch session mixes topic names and topic ids";
    IneligibleReplica = 107, "INELIGIBLE_REPLICA", false,
        "the proposed ISR has a replica that may not be in it";
    NewLeaderElected = 108, "NEW_LEADER_ELECTED", false,
        "the change was made, and the partition has a new leader";
    OffsetMovedToTieredStorage = 109, "OFFSET_MOVED_TO_TIERED_STORAGE", false,
        "the offset is in tiered storage";
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH", false,
        "the member's epoch is fenced; it has to join again";
    UnreleasedInstanceId = 111, "UNRELEASED_INSTANCE_ID", false,
        "the group instance id is still in use";
    UnsupportedAssignor = 112, "UNSUPPORTED_ASSIGNOR", false,
        "the group does not support the assignor";
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH", false,
        "the member's epoch is old";
    MismatchedEndpointType = 114, "MISMATCHED_ENDPOINT_TYPE", false,
        "the endpoint is of another type";
    UnsupportedEndpointType = 115, "UNSUPPORTED_ENDPOINT_TYPE", false,
        "endpoints of this type are not supported";
    UnknownControllerId = 116, "UNKNOWN_CONTROLLER_ID", false,
        "the controller id is not known";
    UnknownSubscriptionId = 117, "UNKNOWN_SUBSCRIPTION_ID", false,
        "the telemetry subscription is not known";
    TelemetryTooLarge = 118, "TELEMETRY_TOO_LARGE", false,
        "the telemetry is too large";
    InvalidRegistration = 119, "INVALID_REGISTRATION", false,
        "the broker's registration is not valid";
    TransactionAbortable = 120, "TRANSACTION_ABORTABLE", false,
        "the transaction failed; it can be aborted";
    InvalidRecordState = 121, "INVALID_RECORD_STATE", false,
        "the record is not in a state for this";
    ShareSessionNotFound = 122, "SHARE_SESSION_NOT_FOUND", true,
        "the share session does not exist";
    InvalidShareSessionEpoch = 123, "INVALID_SHARE_SESSION_EPOCH", true,
        "the share session's epoch is not the next one";
    FencedStateEpoch = 124, "FENCED_STATE_EPOCH", false,
        "the share group's state epoch is another one";
    InvalidVoterKey = 125, "INVALID_VOTER_KEY", false,
        "the voter's key is another one";
    DuplicateVoter = 126, "DUPLICATE_VOTER", false,
        "the voter is in the set already";
    VoterNotFound = 127, "VOTER_NOT_FOUND", false,
        "the voter is not in the set";
    InvalidRegularExpression = 128, "INVALID_REGULAR_EXPRESSION", false,
        "the regular expression is not valid";
    RebootstrapRequired = 129, "REBOOTSTRAP_REQUIRED", false,
        "the client's metadata is too old; it has to bootstrap again";
    StreamsInvalidTopology = 130, "STREAMS_INVALID_TOPOLOGY", false,
        "the streams topology is not valid";
    StreamsInvalidTopologyEpoch = 131, "STREAMS_INVALID_TOPOLOGY_EPOCH", false,
        "the streams topology epoch is not valid";
    StreamsTopologyFenced = 132, "STREAMS_TOPOLOGY_FENCED", false,
        "the streams topology epoch is old";
    ShareSessionLimitReached = 133, "SHARE_SESSION_LIMIT_REACHED", true,
        "no more share sessions are possible";
}

impl ErrorCode {
    /// Whether this is "no error".
    #[must_use]
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether this is an error.
    #[must_use]
    pub const fn is_err(self) -> bool {
        !self.is_ok()
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self::from_i16(code)
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> Self {
        code.to_i16()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(code) => write!(f, "UNKNOWN({code})"),
            known => f.write_str(known.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_numbers_map_one_to_one_and_unknown_ones_are_kept() {
        for code in i16::MIN..=i16::MAX {
            assert_eq!(ErrorCode::from_i16(code).to_i16(), code);
        }
        assert_eq!(ErrorCode::ALL.len(), 135);
        assert_eq!(ErrorCode::from_i16(6), ErrorCode::NotLeaderOrFollower);
        assert_eq!(ErrorCode::from_i16(3000).to_string(), "UNKNOWN(3000)");
        assert_eq!(ErrorCode::InvalidTopicException.to_string(), "INVALID_TOPIC_EXCEPTION");
    }

    #[test]
    fn retrying_is_as_in_kafka() {
        use ErrorCode as E;
        for code in [E::NotLeaderOrFollower, E::KafkaStorageError, E::NotEnoughReplicas] {
            assert!(code.is_retriable(), "{code}");
        }
        for code in [E::UnknownServerError, E::OutOfOrderSequenceNumber, E::MessageTooLarge] {
            assert!(!code.is_retriable(), "{code}");
        }
    }
}
