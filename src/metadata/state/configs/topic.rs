//! Kafka's topic configs, and ours.

use super::{ConfigDef, ConfigLayers};

/// Every topic config, sorted by name.
pub static TOPIC_CONFIGS: &[ConfigDef] = &[];

/// The values that count for one topic, as numbers. -1 means "no limit" where Kafka has it so.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy` contains `delete`.
    pub delete: bool,
    /// `cleanup.policy` contains `compact`.
    pub compact: bool,
    /// `compression.type`: `producer`, or the codec that the broker would recompress with.
    pub compression_type: String,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`
    pub file_delete_delay_ms: i64,
    /// `flush.messages`
    pub flush_messages: i64,
    /// `flush.ms`
    pub flush_ms: i64,
    /// `index.interval.bytes`
    pub index_interval_bytes: i32,
    /// `max.compaction.lag.ms`
    pub compaction_lag_ms_max: i64,
    /// `max.message.bytes`
    pub message_bytes_max: i32,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_ms_max: i64,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    /// `min.cleanable.dirty.ratio`
    pub cleanable_dirty_ratio_min: f64,
    /// `min.compaction.lag.ms`
    pub compaction_lag_ms_min: i64,
    /// `min.insync.replicas`
    pub insync_replicas_min: i32,
    /// `preallocate`
    pub preallocate: bool,
    /// `retention.bytes`
    pub retention_bytes: i64,
    /// `retention.ms`
    pub retention_ms: i64,
    /// `segment.bytes`
    pub segment_bytes: i32,
    /// `segment.index.bytes`
    pub segment_index_bytes: i32,
    /// `segment.jitter.ms`
    pub segment_jitter_ms: i64,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `unclean.leader.election.enable`
    pub unclean_leader_election: bool,
    /// `write.caching`: answer `acks=all` from the page cache.
    pub write_caching: bool,
}

impl TopicConfig {
    /// The values that count, given all that is set.
    #[must_use]
    pub fn effective(layers: &ConfigLayers<'_>) -> Self {
        let _ = layers;
        todo!()
    }
}
