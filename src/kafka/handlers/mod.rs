//! What each API does: one file per API, requests in, responses out.
//!
//! Invariant: an error of one topic or partition is an error of its own row, and leaves the other
//! rows alone.

pub(super) mod alter_configs;
pub(super) mod alter_partition_reassignments;
pub(super) mod alter_replica_log_dirs;
pub(super) mod api_versions;
mod common;
pub(super) mod create_partitions;
pub(super) mod create_topics;
pub(super) mod delete_records;
pub(super) mod delete_topics;
pub(super) mod describe_cluster;
pub(super) mod describe_configs;
pub(super) mod describe_log_dirs;
pub(super) mod describe_producers;
pub(super) mod describe_quorum;
pub(super) mod describe_topic_partitions;
pub(super) mod elect_leaders;
pub(super) mod fetch;
pub(super) mod find_coordinator;
pub(super) mod incremental_alter_configs;
pub(super) mod init_producer_id;
pub(super) mod list_config_resources;
pub(super) mod list_offsets;
pub(super) mod list_partition_reassignments;
pub(super) mod metadata;
pub(super) mod offset_for_leader_epoch;
pub(super) mod produce;
mod resources;
pub(super) mod unregister_broker;
pub(super) mod update_features;

pub(super) use metadata::AutoCreations;
