//! Fetch: read record batches. KIP-98 (read committed), KIP-227 (sessions), KIP-320 (leader epochs),
//! KIP-392 (preferred replica), KIP-516 (topic ids from version 13), KIP-951 (current leader).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::{
    BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, TopicId,
};
use bytes::Bytes;

request!(FetchRequest => FetchResponse, Fetch, 4..=18, flexible 12);

schema! {
    /// Reads record batches.
    struct FetchRequest {
        /// The cluster's id.
        cluster_id: Option<Str>, 12.., nullable 12.., tag 0;
        /// The replica that asks; -1 for a client.
        replica_id: NodeId, 0..=14, default NodeId::NONE;
        /// The replica that asks, from version 15 on.
        replica_state: ReplicaState, 15.., tag 1;
        /// Milliseconds to wait at most for `min_bytes` to gather.
        max_wait_ms: i32, 0..;
        /// Bytes to wait for.
        min_bytes: i32, 0..;
        /// Bytes of records to return at most; the first batch is returned whole however large it
        /// is.
        max_bytes: i32, 3.., default i32::MAX;
        /// 0: read up to the high watermark; 1: up to the last stable offset.
        isolation_level: i8, 4..;
        /// The fetch session, or 0 for none.
        session_id: i32, 7..;
        /// The session's epoch: 0 opens one, -1 closes it or goes without.
        session_epoch: i32, 7.., default -1;
        /// The topics.
        topics: Vec<FetchTopic>, 0..;
        /// What leaves the session.
        forgotten_topics_data: Vec<ForgottenTopic>, 7..;
        /// The client's rack, or empty.
        rack_id: Str, 11..;
    }

    /// Who fetches, when it is a replica.
    struct ReplicaState {
        /// The replica that asks; -1 for a client.
        replica_id: NodeId, 15.., default NodeId::NONE;
        /// The broker epoch of the replica that asks, or -1.
        replica_epoch: BrokerEpoch, 15.., default BrokerEpoch::NONE;
    }

    /// One topic to read.
    struct FetchTopic {
        /// The topic's name.
        topic: Str, 0..=12;
        /// The topic's id, or zero where it goes by name.
        topic_id: TopicId, 13..;
        /// The partitions.
        partitions: Vec<FetchPartition>, 0..;
    }

    /// One partition to read, and from where.
    struct FetchPartition {
        /// The partition.
        partition: PartitionIndex, 0..;
        /// The leader epoch that the client knows, or -1 to skip the check.
        current_leader_epoch: LeaderEpoch, 9.., default LeaderEpoch::NONE;
        /// The offset to read from.
        fetch_offset: Offset, 0..;
        /// Leader epoch of the last record that the replica has, or -1.
        last_fetched_epoch: LeaderEpoch, 12.., default LeaderEpoch::NONE;
        /// The replica's own log start offset.
        log_start_offset: Offset, 5.., default Offset::NONE;
        /// Bytes of this partition to return at most.
        partition_max_bytes: i32, 0..;
        /// The data directory that the replica is in.
        replica_directory_id: DirectoryId, 17.., tag 0;
        /// The high watermark that the replica knows; `i64::MAX` if it does not say.
        high_watermark: Offset, 18.., tag 1, default Offset(i64::MAX);
    }

    /// Partitions that leave the fetch session.
    struct ForgottenTopic {
        /// The topic's name.
        topic: Str, 7..=12;
        /// The topic's id, or zero where it goes by name.
        topic_id: TopicId, 13..;
        /// The partitions that leave.
        partitions: Vec<PartitionIndex>, 7..;
    }

    /// Record batches, and where each partition stands.
    struct FetchResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 1..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 7..;
        /// The fetch session, or 0 for none.
        session_id: i32, 7..;
        /// The answers, in the order of the request.
        responses: Vec<FetchableTopicResponse>, 0..;
        /// Where the leaders named above listen.
        node_endpoints: Vec<NodeEndpoint>, 16.., tag 0;
    }

    /// One topic of a fetch response.
    struct FetchableTopicResponse {
        /// The topic's name.
        topic: Str, 0..=12;
        /// The topic's id, or zero where it goes by name.
        topic_id: TopicId, 13..;
        /// The partitions.
        partitions: Vec<PartitionData>, 0..;
    }

    /// What was read from one partition.
    struct PartitionData {
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// The high watermark.
        high_watermark: Offset, 0..;
        /// The last stable offset.
        last_stable_offset: Offset, 4.., default Offset::NONE;
        /// The log start offset.
        log_start_offset: Offset, 5.., default Offset::NONE;
        /// Set when the replica's log diverges from the leader's: the largest epoch that both may
        /// share, and its end.
        diverging_epoch: EpochEndOffset, 12.., tag 0;
        /// The leader to turn to, when it is not this node.
        current_leader: LeaderIdAndEpoch, 12.., tag 1;
        /// The snapshot to fetch instead; unused here.
        snapshot_id: SnapshotId, 12.., tag 2;
        /// Aborted transactions that matter to the records returned; null without read committed.
        aborted_transactions: Option<Vec<AbortedTransaction>>, 4.., nullable 4..;
        /// The replica to fetch from instead, or -1.
        preferred_read_replica: NodeId, 11.., default NodeId::NONE;
        /// Record batches, as they are in the log. Empty rather than null when there are none: old
        /// clients fail on null.
        records: Option<Bytes>, 0.., nullable 0.., default Some(Bytes::new());
    }

    /// An epoch and where it ends.
    struct EpochEndOffset {
        /// The epoch.
        epoch: LeaderEpoch, 12.., default LeaderEpoch::NONE;
        /// The first offset after it, or -1.
        end_offset: Offset, 12.., default Offset::NONE;
    }

    /// The leader that the client should turn to.
    struct LeaderIdAndEpoch {
        /// The leader, or -1 for none.
        leader_id: NodeId, 12.., default NodeId::NONE;
        /// The leader epoch, or -1 if not known.
        leader_epoch: LeaderEpoch, 12.., default LeaderEpoch::NONE;
    }

    /// A snapshot of the metadata log.
    struct SnapshotId {
        /// The first offset after the epoch.
        end_offset: Offset, 0.., default Offset::NONE;
        /// The epoch.
        epoch: LeaderEpoch, 0.., default LeaderEpoch::NONE;
    }

    /// An aborted transaction that begins in or before the records returned.
    struct AbortedTransaction {
        /// The producer id of the transaction.
        producer_id: ProducerId, 4..;
        /// The transaction's first offset.
        first_offset: Offset, 4..;
    }

    /// Where a node listens.
    struct NodeEndpoint {
        /// The node.
        node_id: NodeId, 16..;
        /// Its host.
        host: Str, 16..;
        /// Its port.
        port: i32, 16..;
        /// Its rack, if it has one.
        rack: Option<Str>, 16.., nullable 16..;
    }
}
