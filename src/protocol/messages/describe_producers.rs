//! DescribeProducers: the producers that a partition remembers. KIP-664.

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::{Offset, PartitionIndex, ProducerId, Sequence};

request!(DescribeProducersRequest => DescribeProducersResponse, DescribeProducers, 0..=0, flexible 0);

schema! {
    /// Asks for the producers of partitions.
    struct DescribeProducersRequest {
        /// The topics.
        topics: Vec<TopicRequest>, 0..;
    }

    /// A topic to describe.
    struct TopicRequest {
        /// The name.
        name: Str, 0..;
        /// The partitions.
        partition_indexes: Vec<PartitionIndex>, 0..;
    }

    /// The producers.
    struct DescribeProducersResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// The topics.
        topics: Vec<TopicResponse>, 0..;
    }

    /// One topic of the response.
    struct TopicResponse {
        /// The name.
        name: Str, 0..;
        /// The partitions.
        partitions: Vec<PartitionResponse>, 0..;
    }

    /// The producers of one partition.
    struct PartitionResponse {
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 0.., nullable 0..;
        /// The producers.
        active_producers: Vec<ProducerState>, 0..;
    }

    /// What a partition remembers of one producer.
    struct ProducerState {
        /// The producer id.
        producer_id: ProducerId, 0..;
        /// The producer epoch. 32 bits wide in this API alone.
        producer_epoch: i32, 0..;
        /// The last sequence, or -1.
        last_sequence: Sequence, 0.., default Sequence::NONE;
        /// The last timestamp in milliseconds, or -1.
        last_timestamp: i64, 0.., default -1;
        /// Epoch of the transaction coordinator that wrote last.
        coordinator_epoch: i32, 0..;
        /// First offset of the open transaction, or -1.
        current_txn_start_offset: Offset, 0.., default Offset::NONE;
    }
}
