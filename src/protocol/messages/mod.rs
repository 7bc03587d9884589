//! The requests and responses, one module for each API, named as in Apache Kafka's schemas.
//!
//! [`SERVED`] is the table of the APIs that have a module here: what can be decoded, and what is
//! advertised.

pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod api_versions;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod list_config_resources;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod unregister_broker;
pub mod update_features;

use super::ApiKey;
use super::schema::Request;
use std::ops::RangeInclusive;

/// An API that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedApi {
    /// The API.
    pub key: ApiKey,
    /// The versions that can be decoded.
    pub versions: RangeInclusive<i16>,
    /// The lowest version that ApiVersions names. It is the lowest that can be decoded, except for
    /// Produce: see [`SERVED`].
    pub advertised_min: i16,
    /// The first flexible version; `i16::MAX` if there is none.
    pub flexible_from: i16,
}

const fn api<R: Request>() -> ServedApi {
    let versions = R::VERSIONS;
    let advertised_min = *versions.start();
    ServedApi { key: R::KEY, versions, advertised_min, flexible_from: R::FLEXIBLE_FROM }
}

/// Every API that is served, by ascending number.
///
/// Produce is advertised from version 0, though 3 is the lowest that is served: librdkafka before
/// 2.11.1 looks for exact old versions there, and without them silently gives up compression
/// (KAFKA-18659).
pub static SERVED: [ServedApi; 27] = [
    ServedApi { advertised_min: 0, ..api::<produce::ProduceRequest>() },
    api::<fetch::FetchRequest>(),
    api::<list_offsets::ListOffsetsRequest>(),
    api::<metadata::MetadataRequest>(),
    api::<find_coordinator::FindCoordinatorRequest>(),
    api::<api_versions::ApiVersionsRequest>(),
    api::<create_topics::CreateTopicsRequest>(),
    api::<delete_topics::DeleteTopicsRequest>(),
    api::<delete_records::DeleteRecordsRequest>(),
    api::<init_producer_id::InitProducerIdRequest>(),
    api::<offset_for_leader_epoch::OffsetForLeaderEpochRequest>(),
    api::<describe_configs::DescribeConfigsRequest>(),
    api::<alter_configs::AlterConfigsRequest>(),
    api::<alter_replica_log_dirs::AlterReplicaLogDirsRequest>(),
    api::<describe_log_dirs::DescribeLogDirsRequest>(),
    api::<create_partitions::CreatePartitionsRequest>(),
    api::<elect_leaders::ElectLeadersRequest>(),
    api::<incremental_alter_configs::IncrementalAlterConfigsRequest>(),
    api::<alter_partition_reassignments::AlterPartitionReassignmentsRequest>(),
    api::<list_partition_reassignments::ListPartitionReassignmentsRequest>(),
    api::<describe_quorum::DescribeQuorumRequest>(),
    api::<update_features::UpdateFeaturesRequest>(),
    api::<describe_cluster::DescribeClusterRequest>(),
    api::<describe_producers::DescribeProducersRequest>(),
    api::<unregister_broker::UnregisterBrokerRequest>(),
    api::<list_config_resources::ListConfigResourcesRequest>(),
    api::<describe_topic_partitions::DescribeTopicPartitionsRequest>(),
];

/// The served API with this key.
#[must_use]
pub fn served(key: ApiKey) -> Option<&'static ServedApi> {
    SERVED.iter().find(|api| api.key == key)
}
