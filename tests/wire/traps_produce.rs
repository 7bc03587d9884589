//! Section 3: produce and record validation. The compression rows of section 15 are here too.

use crate::harness::{
    Client, Topic, batch, batch_with, fetch_request, now, patched, produce_request, row_of,
};
use bytes::Bytes;
use purlin::protocol::messages::produce::ProduceRequest;
use purlin::protocol::records::{BatchBuilder, BatchHeader, Compression, decode_records};
use purlin::protocol::{ErrorCode, Str};
use purlin::types::{ProducerEpoch, ProducerId, Sequence, TimestampMs};

const UNPACKED_MAX: usize = 1 << 20;

/// Where fields of a batch begin.
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const MAX_TIMESTAMP: usize = 35;
const RECORD_COUNT: usize = 57;

fn refused(client: &mut Client, topic: &Topic, batch: Bytes) -> ErrorCode {
    let row = client.produce(topic, batch);
    assert_eq!((row.base_offset.0, row.log_append_time_ms), (-1, -1), "{row:?}");
    row.error_code
}

#[test]
fn trap_3_size_max_message_bytes_ignored() {
    let mut client = Client::shared();
    let topic = client.create("small", 1, &[("max.message.bytes", "1000")]);
    let large = "x".repeat(1500);
    assert_eq!(refused(&mut client, &topic, batch(&[&large])), ErrorCode::MessageTooLarge);
    // The batch counts as it was sent: packed small is small enough.
    let row = client.produce(&topic, batch_with(Compression::Gzip, &[&large]));
    assert_eq!(row.error_code, ErrorCode::None);
}

#[test]
fn trap_3_shape_batch_checks() {
    let mut client = Client::shared();
    let topic = client.create("shape", 1, &[]);
    let good = batch(&["a", "b"]);
    let two = Bytes::from([&good[..], &good[..]].concat());
    let with_offset = patched(&good, 0, &5i64.to_be_bytes());
    let no_count = patched(&good, RECORD_COUNT, &0i32.to_be_bytes());
    let negative_count = patched(&good, RECORD_COUNT, &(-1i32).to_be_bytes());
    let other_delta = patched(&good, LAST_OFFSET_DELTA, &7i32.to_be_bytes());
    let huge_delta = patched(&good, LAST_OFFSET_DELTA, &i32::MAX.to_be_bytes());
    let control = patched(&good, ATTRIBUTES, &0x20i16.to_be_bytes());
    let mut old_magic = good.to_vec();
    old_magic[16] = 1;
    let mut with_pid = BatchBuilder::new(Compression::None);
    with_pid.set_producer(ProducerId(5), ProducerEpoch(0), Sequence(-1));
    with_pid.append(now(), None, Some(b"x"), &[]);
    let cases = [
        ("two batches", two),
        ("base offset", with_offset),
        ("no records", no_count),
        ("negative count", negative_count),
        ("delta and count", other_delta),
        ("huge delta", huge_delta),
        ("control batch", control),
        ("old format", Bytes::from(old_magic)),
        ("producer without sequence", with_pid.build()),
    ];
    for (what, batch) in cases {
        assert_eq!(refused(&mut client, &topic, batch), ErrorCode::InvalidRecord, "{what}");
    }
    let request = produce_request(&topic, None, -1);
    let row = client.call(&request, 9).responses[0].partition_responses[0].clone();
    assert_eq!(row.error_code, ErrorCode::InvalidRecord, "null records");
    assert!(row.error_message.is_some());

    let mut damaged = good.to_vec();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert_eq!(refused(&mut client, &topic, Bytes::from(damaged)), ErrorCode::CorruptMessage);
    // Nothing of all that was stored.
    assert_eq!(client.produce(&topic, good).base_offset.0, 0);
}

#[test]
fn trap_3_epoch_rejecting_clients_partition_leader_epoch() {
    let mut client = Client::shared();
    let topic = client.create("epoch", 1, &[]);
    for epoch in [0i32, -1, 77] {
        let mut batch = batch(&["x"]).to_vec();
        batch[12..16].copy_from_slice(&epoch.to_be_bytes());
        let row = client.produce(&topic, Bytes::from(batch));
        assert_eq!(row.error_code, ErrorCode::None, "epoch {epoch}");
    }
    let records = client.fetch(&topic, 0).records.expect("never null");
    let header = BatchHeader::parse_checked(&records).expect("a batch");
    assert!((0..77).contains(&header.leader_epoch.0), "overwritten by the leader's own");
}

#[test]
fn trap_3_timestamps_trusting_header_max_timestamp() {
    let mut client = Client::shared();
    let topic = client.create("maxtime", 1, &[]);
    let time = now();
    let lied = patched(&batch(&["x"]), MAX_TIMESTAMP, &(-1i64).to_be_bytes());
    assert_eq!(client.produce(&topic, lied).error_code, ErrorCode::None);
    // The record is found by its own time.
    let found = crate::traps_list_offsets::at_time(&mut client, &topic, time.0 - 60_000);
    assert_eq!(found.offset.0, 0);
    assert!(found.timestamp >= time.0);
}

#[test]
fn trap_3_timestamps_create_time_range() {
    let mut client = Client::shared();
    let topic = client.create("range", 1, &[("message.timestamp.before.max.ms", "1000000")]);
    let mut stamped = |time: TimestampMs| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(now(), None, Some(b"fine"), &[]);
        builder.append(time, None, Some(b"x"), &[]);
        client.produce(&topic, builder.build())
    };
    let hour = 3_600_000;
    let late = stamped(TimestampMs(now().0 + 2 * hour));
    assert_eq!(late.error_code, ErrorCode::InvalidTimestamp, "later than an hour from now");
    assert_eq!(late.record_errors[0].batch_index, 1);
    let early = stamped(TimestampMs(now().0 - 2_000_000));
    assert_eq!(early.error_code, ErrorCode::InvalidTimestamp);
    assert_eq!(stamped(now()).base_offset.0, 0, "refused batches leave nothing");
}

#[test]
fn trap_3_timestamps_32_bit_delta() {
    let mut client = Client::shared();
    let topic = client.create("delta", 1, &[]);
    let mut builder = BatchBuilder::new(Compression::None);
    // 60 days: far more milliseconds than 32 bits hold.
    let early = TimestampMs(now().0 - 60 * 24 * 3_600_000);
    builder.append(early, None, Some(b"old"), &[]);
    builder.append(now(), None, Some(b"new"), &[]);
    assert_eq!(client.produce(&topic, builder.build()).error_code, ErrorCode::None);
    let found = crate::traps_list_offsets::at_time(&mut client, &topic, early.0 + 1);
    assert_eq!(found.offset.0, 1);
}

#[test]
fn trap_3_timestamps_log_append_time() {
    let mut client = Client::shared();
    let topic = client.create("append", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let before = now();
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(TimestampMs(1), None, Some(b"x"), &[]);
    let row = client.produce(&topic, builder.build());
    assert_eq!(row.error_code, ErrorCode::None);
    assert!(row.log_append_time_ms >= before.0);
    let records = client.fetch(&topic, 0).records.expect("never null");
    let header = BatchHeader::parse_checked(&records).expect("the checksum was made anew");
    assert_eq!(header.max_timestamp.0, row.log_append_time_ms);
    assert_ne!(header.attributes & 8, 0);
    let found = crate::traps_list_offsets::at_time(&mut client, &topic, before.0);
    assert_eq!(found.timestamp, row.log_append_time_ms);

    let plain = client.create("create", 1, &[]);
    assert_eq!(client.produce(&plain, batch(&["x"])).log_append_time_ms, -1);
    let claimed = patched(&batch(&["x"]), ATTRIBUTES, &8i16.to_be_bytes());
    assert_eq!(refused(&mut client, &plain, claimed), ErrorCode::InvalidTimestamp);
}

#[test]
fn trap_3_compaction_keyless_record_on_compacted_topic() {
    let mut client = Client::shared();
    let topic = client.create("compacted", 1, &[("cleanup.policy", "compact")]);
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(now(), Some(b"k"), Some(b"v"), &[]);
    builder.append(now(), None, Some(b"v"), &[]);
    let row = client.produce(&topic, builder.build());
    assert_eq!(row.error_code, ErrorCode::InvalidRecord);
    assert!(row.error_message.is_some());
    let [error] = &row.record_errors[..] else { panic!("one record: {row:?}") };
    assert_eq!(error.batch_index, 1);
    assert!(error.batch_index_error_message.is_some());
}

#[test]
fn trap_3_codec_framings_are_stored_unchanged() {
    let mut client = Client::shared();
    let topic = client.create("codecs", 1, &[]);
    let value = "a line of text that packs well ".repeat(40);
    let mut offset = 0;
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let sent = batch_with(codec, &[&value, &value]);
        let row = client.produce(&topic, sent.clone());
        assert_eq!((row.error_code, row.base_offset.0), (ErrorCode::None, offset), "{codec:?}");
        let read = client.fetch(&topic, offset).records.expect("never null");
        assert_eq!(read[16..], sent[16..], "{codec:?} is stored as it was sent");
        offset += 2;
    }
}

#[test]
fn trap_15_compression_raw_snappy_from_librdkafka() {
    let mut client = Client::shared();
    let topic = client.create("snappy", 1, &[]);
    let plain = batch(&["raw snappy, without any framing"]);
    let packed = snap::raw::Encoder::new().compress_vec(&plain[61..]).expect("packs");
    let mut raw = [&plain[..61], &packed].concat();
    let length = i32::try_from(raw.len() - 12).expect("short");
    raw[8..12].copy_from_slice(&length.to_be_bytes());
    let raw = patched(&Bytes::from(raw), ATTRIBUTES, &2i16.to_be_bytes());
    assert_eq!(client.produce(&topic, raw.clone()).error_code, ErrorCode::None);
    let read = client.fetch(&topic, 0).records.expect("never null");
    assert_eq!(read[16..], raw[16..], "passed on untouched");
    let mut records = decode_records(&read, UNPACKED_MAX).expect("unpacks");
    let record = records.next().expect("a record").expect("well-formed");
    assert_eq!(record.value.as_deref(), Some(&b"raw snappy, without any framing"[..]));
}

#[test]
fn trap_15_compression_unknown_codec_bits_are_never_stored() {
    let mut client = Client::shared();
    let topic = client.create("bits", 1, &[]);
    for bits in 5..8i16 {
        let unknown = patched(&batch(&["x"]), ATTRIBUTES, &bits.to_be_bytes());
        assert_eq!(
            refused(&mut client, &topic, unknown),
            ErrorCode::UnsupportedCompressionType,
            "codec {bits}"
        );
    }
    assert_eq!(client.fetch(&topic, 0).high_watermark.0, 0);
}

#[test]
fn trap_3_codec_zstd_under_old_produce_or_fetch() {
    let mut client = Client::shared();
    let topic = client.create("zstd", 1, &[]);
    let zstd = || batch_with(Compression::Zstd, &["x"]);
    let old = client.produce_as(&topic, zstd(), 6, -1);
    assert_eq!(old.error_code, ErrorCode::UnsupportedCompressionType);
    assert_eq!(client.produce_as(&topic, zstd(), 7, -1).error_code, ErrorCode::None);
    let old = row_of(&client.call(&fetch_request(&topic, 0), 9));
    assert_eq!(old.error_code, ErrorCode::UnsupportedCompressionType);
    assert_eq!(row_of(&client.call(&fetch_request(&topic, 0), 10)).error_code, ErrorCode::None);
}

#[test]
fn trap_3_errors_unknown_topics_and_partitions() {
    let mut client = Client::shared();
    let topic = client.create("known", 1, &[]);
    let unknown = Topic { name: Str::from_static("nobody-knows-me"), ..topic.clone() };
    assert_eq!(refused(&mut client, &unknown, batch(&["x"])), ErrorCode::UnknownTopicOrPartition);
    let mut request = produce_request(&topic, Some(batch(&["x"])), -1);
    request.topic_data[0].partition_data[0].index = purlin::types::PartitionIndex(3);
    let row = client.call(&request, 9).responses[0].partition_responses[0].clone();
    assert_eq!(row.error_code, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn trap_3_internal_writes_to_internal_topics() {
    let mut client = Client::shared();
    let topic =
        Topic { name: Str::from_static("__consumer_offsets"), id: purlin::types::TopicId::ZERO };
    assert_eq!(refused(&mut client, &topic, batch(&["x"])), ErrorCode::InvalidTopicException);
}

#[test]
fn trap_3_acks_other_acks_values() {
    let mut client = Client::shared();
    let topic = client.create("acks", 1, &[]);
    for acks in [2, -2, 127] {
        let request: ProduceRequest = produce_request(&topic, Some(batch(&["x"])), acks);
        let row = client.call(&request, 9).responses[0].partition_responses[0].clone();
        assert_eq!(row.error_code, ErrorCode::InvalidRequiredAcks, "acks {acks}");
    }
    assert_eq!(client.produce_as(&topic, batch(&["x"]), 9, 1).base_offset.0, 0);
}

#[test]
fn trap_3_acks_min_insync_replicas_counts_at_most_the_replicas_there_are() {
    let mut client = Client::shared();
    let topic = client.create("isr", 1, &[("min.insync.replicas", "2")]);
    assert_eq!(client.produce(&topic, batch(&["x"])).error_code, ErrorCode::None);
}

#[test]
fn a_transactional_batch_is_refused_while_nobody_coordinates() {
    let mut client = Client::shared();
    let topic = client.create("txn", 1, &[]);
    let mut builder = BatchBuilder::new(Compression::None);
    builder.set_producer(client.producer_id(), ProducerEpoch(0), Sequence(0));
    builder.set_transactional(true);
    builder.append(now(), None, Some(b"x"), &[]);
    assert_eq!(refused(&mut client, &topic, builder.build()), ErrorCode::InvalidTxnState);
}
