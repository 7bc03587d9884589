//! DescribeQuorum: the Raft group behind the metadata: its leader, and how far each member is.
//! KIP-595, KIP-836 (times), KIP-853 (directories and endpoints).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::{DirectoryId, NodeId, Offset, PartitionIndex};

request!(DescribeQuorumRequest => DescribeQuorumResponse, DescribeQuorum, 0..=2, flexible 0);

schema! {
    /// Asks for the group.
    struct DescribeQuorumRequest {
        /// The topics: `__cluster_metadata`.
        topics: Vec<TopicData>, 0..;
    }

    /// A topic to describe.
    struct TopicData {
        /// Its name.
        topic_name: Str, 0..;
        /// Its partitions: 0.
        partitions: Vec<PartitionData>, 0..;
    }

    /// A partition to describe.
    struct PartitionData {
        /// The partition.
        partition_index: PartitionIndex, 0..;
    }

    /// The group.
    struct DescribeQuorumResponse {
        /// What went wrong with the request as a whole, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 2.., nullable 2..;
        /// The topics.
        topics: Vec<TopicDescription>, 0..;
        /// The members' endpoints.
        nodes: Vec<Node>, 2..;
    }

    /// A topic.
    struct TopicDescription {
        /// Its name.
        topic_name: Str, 0..;
        /// Its partitions.
        partitions: Vec<PartitionDescription>, 0..;
    }

    /// A partition.
    struct PartitionDescription {
        /// The partition.
        partition_index: PartitionIndex, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 2.., nullable 2..;
        /// Who leads the group, or -1.
        leader_id: NodeId, 0..;
        /// The leader's epoch: the term.
        leader_epoch: i32, 0..;
        /// The end of what is committed.
        high_watermark: Offset, 0..;
        /// The members that vote.
        current_voters: Vec<ReplicaState>, 0..;
        /// The members that only learn.
        observers: Vec<ReplicaState>, 0..;
    }

    /// How far a member is.
    struct ReplicaState {
        /// The member.
        replica_id: NodeId, 0..;
        /// Its directory.
        replica_directory_id: DirectoryId, 2..;
        /// The end of its log, or -1.
        log_end_offset: Offset, 0.., default Offset::NONE;
        /// When the leader last heard of it, in milliseconds since 1970, or -1.
        last_fetch_timestamp: i64, 1.., default -1;
        /// When it last had all that the leader had, in milliseconds since 1970, or -1.
        last_caught_up_timestamp: i64, 1.., default -1;
    }

    /// A member's endpoints.
    struct Node {
        /// The member.
        node_id: NodeId, 2..;
        /// Its endpoints.
        listeners: Vec<Listener>, 2..;
    }

    /// An endpoint.
    struct Listener {
        /// The listener's name.
        name: Str, 2..;
        /// Its host.
        host: Str, 2..;
        /// Its port.
        port: u16, 2..;
    }
}
