//! Kafka's topic configs (4.x), and ours.

use super::definition::{ConfigDef, ConfigKind, Dynamic, Synonym, Valid};
use super::effective::ConfigLayers;
use super::shared::SharedConfig;

/// A broker config in the same unit.
const fn same(name: &'static str) -> Synonym {
    Synonym { name, scale: 1 }
}

const MS_PER_MINUTE: i64 = 60_000;
const MS_PER_HOUR: i64 = 60 * MS_PER_MINUTE;

const fn define(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    valid: Valid,
    synonyms: &'static [Synonym],
    doc: &'static str,
) -> ConfigDef {
    // Topic configs always change while brokers run.
    let dynamic = Dynamic::ClusterWide;
    ConfigDef { name, kind, default: Some(default), valid, synonyms, dynamic, doc }
}

use ConfigKind::{Boolean, Double, Int, List, Long, String as Text};

/// Largest value of a 64-bit config: Kafka's "never".
const NEVER: &str = "9223372036854775807";

/// The codecs that `compression.type` takes.
pub(super) const COMPRESSION_TYPES: &[&str] =
    &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// The policies that `cleanup.policy` takes.
pub(super) const CLEANUP_POLICIES: &[&str] = &["compact", "delete"];

/// Every topic config, sorted by name.
pub static TOPIC_CONFIGS: &[ConfigDef] = &[
    define(
        "cleanup.policy",
        List,
        "delete",
        Valid::ListOf(CLEANUP_POLICIES),
        &[same("log.cleanup.policy")],
        "What happens to old segments: 'delete' drops them by age and size, 'compact' keeps the \
         last record of every key; both may be given.",
    ),
    define(
        "compression.gzip.level",
        Int,
        "-1",
        Valid::DefaultOrBetween(-1, 1, 9),
        &[same("compression.gzip.level")],
        "The level to recompress with where compression.type is gzip; -1 is the codec's own \
         default.",
    ),
    define(
        "compression.lz4.level",
        Int,
        "9",
        Valid::Between(1, 17),
        &[same("compression.lz4.level")],
        "The level to recompress with where compression.type is lz4.",
    ),
    define(
        "compression.type",
        Text,
        "producer",
        Valid::OneOf(COMPRESSION_TYPES),
        &[same("compression.type")],
        "The codec that batches are stored in; 'producer' keeps them as they were sent.",
    ),
    define(
        "compression.zstd.level",
        Int,
        "3",
        Valid::Between(-131_072, 22),
        &[same("compression.zstd.level")],
        "The level to recompress with where compression.type is zstd.",
    ),
    define(
        "delete.retention.ms",
        Long,
        "86400000",
        Valid::AtLeast(0),
        &[same("log.cleaner.delete.retention.ms")],
        "How long a compacted topic keeps tombstones, in milliseconds, so that readers get to see \
         them.",
    ),
    define(
        "file.delete.delay.ms",
        Long,
        "60000",
        Valid::AtLeast(0),
        &[same("log.segment.delete.delay.ms")],
        "How long a removed segment's files stay on disk, in milliseconds, for readers that are \
         still in them.",
    ),
    define(
        "flush.messages",
        Long,
        NEVER,
        Valid::AtLeast(1),
        &[same("log.flush.interval.messages")],
        "Forces a sync after so many records. What is acknowledged with acks=all is synced anyway, \
         unless write.caching is on.",
    ),
    define(
        "flush.ms",
        Long,
        NEVER,
        Valid::AtLeast(0),
        &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        "Forces a sync after so many milliseconds. What is acknowledged with acks=all is synced \
         anyway, unless write.caching is on.",
    ),
    define(
        "follower.replication.throttled.replicas",
        List,
        "",
        Valid::ThrottledReplicas,
        &[],
        "Replicas whose fetching is throttled: a list of partition:broker, or '*' for all.",
    ),
    define(
        "index.interval.bytes",
        Int,
        "4096",
        Valid::AtLeast(0),
        &[same("log.index.interval.bytes")],
        "Bytes of records between two entries of a segment's offset index.",
    ),
    define(
        "leader.replication.throttled.replicas",
        List,
        "",
        Valid::ThrottledReplicas,
        &[],
        "Replicas that leaders serve throttled: a list of partition:broker, or '*' for all.",
    ),
    define(
        "local.retention.bytes",
        Long,
        "-2",
        Valid::AtLeast(-2),
        &[same("log.local.retention.bytes")],
        "With remote storage, the bytes to keep locally; -2 follows retention.bytes. Remote storage \
         is not offered, so this changes nothing.",
    ),
    define(
        "local.retention.ms",
        Long,
        "-2",
        Valid::AtLeast(-2),
        &[same("log.local.retention.ms")],
        "With remote storage, the milliseconds to keep locally; -2 follows retention.ms. Remote \
         storage is not offered, so this changes nothing.",
    ),
    define(
        "max.compaction.lag.ms",
        Long,
        NEVER,
        Valid::AtLeast(1),
        &[same("log.cleaner.max.compaction.lag.ms")],
        "The longest that a record may stay uncompacted, in milliseconds.",
    ),
    define(
        "max.message.bytes",
        Int,
        "1048588",
        Valid::AtLeast(0),
        &[same("message.max.bytes")],
        "Bytes of the largest record batch, as stored.",
    ),
    define(
        "message.timestamp.after.max.ms",
        Long,
        "3600000",
        Valid::AtLeast(0),
        &[same("log.message.timestamp.after.max.ms")],
        "How far a record's own timestamp may lie after the broker's clock, in milliseconds. \
         Records that lie further off are refused.",
    ),
    define(
        "message.timestamp.before.max.ms",
        Long,
        NEVER,
        Valid::AtLeast(0),
        &[same("log.message.timestamp.before.max.ms")],
        "How far a record's own timestamp may lie before the broker's clock, in milliseconds. \
         Records that lie further off are refused.",
    ),
    define(
        "message.timestamp.type",
        Text,
        "CreateTime",
        Valid::OneOf(&["CreateTime", "LogAppendTime"]),
        &[same("log.message.timestamp.type")],
        "Whose clock a record's timestamp comes from: the producer's, or the broker's at the \
         append.",
    ),
    define(
        "min.cleanable.dirty.ratio",
        Double,
        "0.5",
        Valid::BetweenFractions(0.0, 1.0),
        &[same("log.cleaner.min.cleanable.ratio")],
        "How much of a compacted log has to be uncompacted before the next pass, as a fraction.",
    ),
    define(
        "min.compaction.lag.ms",
        Long,
        "0",
        Valid::AtLeast(0),
        &[same("log.cleaner.min.compaction.lag.ms")],
        "The shortest that a record stays uncompacted, in milliseconds.",
    ),
    define(
        "min.insync.replicas",
        Int,
        "1",
        Valid::AtLeast(1),
        &[same("min.insync.replicas")],
        "How many replicas have to be in sync for acks=all writes to be taken, and for the high \
         watermark to move. Where it is not set: 2 for partitions with 3 or more replicas, else 1.",
    ),
    define(
        "preallocate",
        Boolean,
        "false",
        Valid::Any,
        &[same("log.preallocate")],
        "Whether a new segment's file gets its full size at once.",
    ),
    define(
        "remote.log.copy.disable",
        Boolean,
        "false",
        Valid::Any,
        &[],
        "Stops copying to remote storage, which is not offered.",
    ),
    define(
        "remote.log.delete.on.disable",
        Boolean,
        "false",
        Valid::Any,
        &[],
        "Deletes remote data when remote storage, which is not offered, is disabled.",
    ),
    define(
        "remote.storage.enable",
        Boolean,
        "false",
        Valid::OneOf(&["false"]),
        &[],
        "Remote storage is not offered: only 'false' is taken.",
    ),
    define(
        "retention.bytes",
        Long,
        "-1",
        Valid::Any,
        &[same("log.retention.bytes")],
        "Bytes that a partition keeps before its oldest segments are deleted; -1 for no bound.",
    ),
    define(
        "retention.ms",
        Long,
        "604800000",
        Valid::AtLeast(-1),
        &[
            same("log.retention.ms"),
            Synonym { name: "log.retention.minutes", scale: MS_PER_MINUTE },
            Synonym { name: "log.retention.hours", scale: MS_PER_HOUR },
        ],
        "Milliseconds that a partition keeps records before their segments are deleted; -1 for no \
         bound.",
    ),
    define(
        "segment.bytes",
        Int,
        "1073741824",
        Valid::AtLeast(14),
        &[same("log.segment.bytes")],
        "Bytes of a segment file before the next one is begun. Also the largest batch that fits.",
    ),
    define(
        "segment.index.bytes",
        Int,
        "10485760",
        Valid::AtLeast(4),
        &[same("log.index.size.max.bytes")],
        "Bytes of a segment's offset index before the next segment is begun.",
    ),
    define(
        "segment.jitter.ms",
        Long,
        "0",
        Valid::AtLeast(0),
        &[
            same("log.roll.jitter.ms"),
            Synonym { name: "log.roll.jitter.hours", scale: MS_PER_HOUR },
        ],
        "The most that is taken off segment.ms at random, in milliseconds, so that partitions do \
         not begin new segments all at once.",
    ),
    define(
        "segment.ms",
        Long,
        "604800000",
        Valid::AtLeast(1),
        &[same("log.roll.ms"), Synonym { name: "log.roll.hours", scale: MS_PER_HOUR }],
        "Milliseconds before a segment that has records is closed, full or not, so that retention \
         and compaction can work on it.",
    ),
    define(
        "unclean.leader.election.enable",
        Boolean,
        "false",
        Valid::Any,
        &[same("unclean.leader.election.enable")],
        "Whether a replica that lacks committed records may lead when nobody else is left. Loses \
         data.",
    ),
    define(
        "write.caching",
        Boolean,
        "false",
        Valid::Any,
        &[same("write.caching")],
        "Whether acks=all is answered from the page cache, before the disk has it: faster, and a \
         power cut on all replicas at once loses acknowledged records.",
    ),
];

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
    /// `min.insync.replicas`, where it is set. What counts for a partition is
    /// [`State::insync_replicas_min`](super::super::State::insync_replicas_min).
    pub insync_replicas_min: Option<i32>,
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
        let read = |name: &str| layers.topic_value(name);
        let shared = SharedConfig::of(layers.topic, layers.broker_default);
        let policies = read("cleanup.policy");
        let has_policy = |policy: &str| {
            policies.split(',').any(|entry| entry.trim().eq_ignore_ascii_case(policy))
        };
        let long = |name: &str| number(&read(name));
        let int = |name: &str| clamp(number(&read(name)));
        let flag = |name: &str| read(name).trim().eq_ignore_ascii_case("true");
        Self {
            delete: has_policy("delete"),
            compact: has_policy("compact"),
            compression_type: read("compression.type"),
            delete_retention_ms: long("delete.retention.ms"),
            file_delete_delay_ms: long("file.delete.delay.ms"),
            flush_messages: long("flush.messages"),
            flush_ms: long("flush.ms"),
            index_interval_bytes: int("index.interval.bytes"),
            compaction_lag_ms_max: long("max.compaction.lag.ms"),
            message_bytes_max: int("max.message.bytes"),
            timestamp_after_ms_max: long("message.timestamp.after.max.ms"),
            timestamp_before_ms_max: long("message.timestamp.before.max.ms"),
            log_append_time: read("message.timestamp.type").trim() == "LogAppendTime",
            cleanable_dirty_ratio_min: read("min.cleanable.dirty.ratio")
                .trim()
                .parse()
                .unwrap_or(0.5),
            compaction_lag_ms_min: long("min.compaction.lag.ms"),
            insync_replicas_min: shared.insync_replicas_min,
            preallocate: flag("preallocate"),
            retention_bytes: long("retention.bytes"),
            retention_ms: long("retention.ms"),
            segment_bytes: int("segment.bytes"),
            segment_index_bytes: int("segment.index.bytes"),
            segment_jitter_ms: long("segment.jitter.ms"),
            segment_ms: long("segment.ms"),
            unclean_leader_election: shared.unclean_leader_election,
            write_caching: shared.write_caching,
        }
    }
}

/// A number that was checked when it was set, or is a default; anything else counts as 0.
fn number(text: &str) -> i64 {
    text.trim().parse().unwrap_or(0)
}

fn clamp(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX })
}
