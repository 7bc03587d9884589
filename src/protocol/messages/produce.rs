//! Produce: append record batches to partitions. KIP-98 (versions 3 on), KIP-467 (record errors),
//! KIP-951 (current leader), KIP-516 (topic ids from version 13).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId};
use bytes::Bytes;

request!(ProduceRequest => ProduceResponse, Produce, 3..=13, flexible 9);

schema! {
    /// Appends record batches to partitions.
    struct ProduceRequest {
        /// The transactional id, or null for a producer without transactions.
        transactional_id: Option<Str>, 3.., nullable 3..;
        /// Who must have the records before the answer: 0 nobody (and no answer is sent), 1 the
        /// leader, -1 every in-sync replica.
        acks: i16, 0..;
        /// Milliseconds that the client is ready to wait.
        timeout_ms: i32, 0..;
        /// The topics.
        topic_data: Vec<TopicProduceData>, 0..;
    }

    /// One topic of a produce request.
    struct TopicProduceData {
        /// The name.
        name: Str, 0..=12;
        /// The topic's id, or zero where it goes by name.
        topic_id: TopicId, 13..;
        /// The partitions.
        partition_data: Vec<PartitionProduceData>, 0..;
    }

    /// One partition of a produce request.
    struct PartitionProduceData {
        /// The partition.
        index: PartitionIndex, 0..;
        /// Record batches, as they are in the log.
        records: Option<Bytes>, 0.., nullable 0..;
    }

    /// What became of each batch.
    struct ProduceResponse {
        /// The answers, in the order of the request.
        responses: Vec<TopicProduceResponse>, 0..;
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 1..;
        /// Where the leaders named above listen.
        node_endpoints: Vec<NodeEndpoint>, 10.., tag 0;
    }

    /// One topic of a produce response.
    struct TopicProduceResponse {
        /// The name.
        name: Str, 0..=12;
        /// The topic's id, or zero where it goes by name.
        topic_id: TopicId, 13..;
        /// The partitions.
        partition_responses: Vec<PartitionProduceResponse>, 0..;
    }

    /// What became of the batch for one partition.
    struct PartitionProduceResponse {
        /// The partition.
        index: PartitionIndex, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// Offset of the first record of the batch.
        base_offset: Offset, 0..;
        /// The leader's time of the append, or -1 where the topic keeps the producer's times.
        log_append_time_ms: i64, 2.., default -1;
        /// The log start offset.
        log_start_offset: Offset, 5.., default Offset::NONE;
        /// The records because of which the batch was refused.
        record_errors: Vec<BatchIndexAndErrorMessage>, 8..;
        /// More about the error, for people.
        error_message: Option<Str>, 8.., nullable 8..;
        /// The leader to turn to, when it is not this node.
        current_leader: LeaderIdAndEpoch, 10.., tag 0;
    }

    /// A record that was refused.
    struct BatchIndexAndErrorMessage {
        /// The record's place in the batch.
        batch_index: i32, 8..;
        /// Why it was refused.
        batch_index_error_message: Option<Str>, 8.., nullable 8..;
    }

    /// The leader that the client should turn to.
    struct LeaderIdAndEpoch {
        /// The leader, or -1 for none.
        leader_id: NodeId, 10.., default NodeId::NONE;
        /// The leader epoch, or -1 if not known.
        leader_epoch: LeaderEpoch, 10.., default LeaderEpoch::NONE;
    }

    /// Where a node listens.
    struct NodeEndpoint {
        /// The node.
        node_id: NodeId, 10..;
        /// Its host.
        host: Str, 10..;
        /// Its port.
        port: i32, 10..;
        /// Its rack, if it has one.
        rack: Option<Str>, 10.., nullable 10..;
    }
}
