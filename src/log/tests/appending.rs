//! Appends: what is stamped, what is refused.

use super::*;
use crate::protocol::records::TimestampKind;

fn refusal(log: &mut Log, batch: Bytes) -> AppendError {
    let end = log.log_end_offset();
    let error = log.append_as_leader(batch, LeaderEpoch(0), Origin::Client).expect_err("refused");
    assert_eq!(log.log_end_offset(), end, "nothing was appended");
    error
}

/// Changes a batch and makes its checksum right again.
fn changed(batch: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = batch.to_vec();
    change(&mut bytes);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

#[test]
fn batches_get_consecutive_offsets_and_survive_a_reopen() {
    let room = Room::new();
    let mut log = room.open();
    for number in 0..40 {
        let appended = append_in(&mut log, plain(3), 5);
        assert_eq!(appended.base_offset, Offset(number * 3));
        assert_eq!(appended.last_offset, Offset(number * 3 + 2));
        assert_eq!((appended.append_time, appended.duplicate), (None, false));
    }
    assert!(log.segment_count() > 3);
    let before = read_all(&log, Offset::ZERO);
    assert_eq!(before.len(), 40);
    assert!(before.iter().all(|header| header.leader_epoch == LeaderEpoch(5)));
    log.close().expect("close");
    let log = room.open();
    assert_eq!(read_all(&log, Offset::ZERO), before);
    assert_eq!(log.flushed_offset(), Offset(120));
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(5)));
    log.close().expect("close");
    let clean = OpenHints { clean_shutdown: true, ..OpenHints::default() };
    let log = Room { hints: clean, ..room }.open();
    assert_eq!(read_all(&log, Offset::ZERO), before);
}

#[test]
fn bytes_that_nobody_shares_are_stamped_in_place() {
    let mut log = Room::new().open();
    let batch = Bytes::from(plain(1).to_vec());
    let address = batch.as_ptr();
    assert_eq!(append(&mut log, batch).bytes.as_ptr(), address);
    let shared = plain(1);
    let other = shared.clone();
    append(&mut log, shared);
    assert_eq!(other[..8], [0; 8], "a shared batch is copied first");
}

#[test]
fn trap_3_shape_batch_checks() {
    let mut log = Room::new().open();
    append(&mut log, plain(1));
    let good = plain(3);
    let invalid =
        |log: &mut Log, batch| matches!(refusal(log, batch), AppendError::InvalidRecord { .. });
    assert!(invalid(&mut log, Bytes::new()));
    assert!(invalid(&mut log, changed(&good, |bytes| bytes[16] = 1)), "magic");
    assert!(invalid(&mut log, Bytes::from([&good[..], &good[..]].concat())), "two batches");
    assert!(invalid(&mut log, changed(&good, |bytes| bytes[7] = 1)), "base offset");
    assert!(invalid(&mut log, changed(&good, |bytes| bytes[57..61].fill(0))), "count 0");
    assert!(invalid(&mut log, changed(&good, |bytes| bytes[57] = 0xff)), "negative count");
    assert!(invalid(&mut log, changed(&good, |bytes| bytes[60] = 2)), "count and delta differ");
    let fewer = changed(&good, |bytes| (bytes[60], bytes[26]) = (2, 1));
    assert!(invalid(&mut log, fewer), "records left over");
    let more = changed(&good, |bytes| (bytes[60], bytes[26]) = (4, 3));
    assert!(invalid(&mut log, more), "records missing");
    assert!(invalid(&mut log, changed(&good, |bytes| bytes[22] |= 1 << 5)), "control");
    let negative = changed(&idempotent(7, 0, 3), |bytes| bytes[53..57].fill(0xff));
    assert!(invalid(&mut log, negative), "producer without a sequence");
    let widest = changed(&good, |bytes| {
        bytes[23..27].copy_from_slice(&i32::MAX.to_be_bytes());
        bytes[57..61].copy_from_slice(&i32::MIN.to_be_bytes());
    });
    assert!(invalid(&mut log, widest));
    let mut flipped = good.to_vec();
    flipped[70] ^= 1;
    assert!(matches!(refusal(&mut log, flipped.into()), AppendError::Corrupt(_)));
    assert!(matches!(refusal(&mut log, good.slice(..70)), AppendError::Corrupt(_)));
    assert!(matches!(refusal(&mut log, good.slice(..20)), AppendError::Corrupt(_)));
    append(&mut log, good);
}

#[test]
fn trap_15_compression_unknown_codec_bits() {
    let mut log = Room::new().open();
    for codec in 5..8 {
        let batch = changed(&plain(1), |bytes| bytes[22] |= codec);
        assert!(matches!(refusal(&mut log, batch), AppendError::UnsupportedCodec(_)));
    }
}

#[test]
fn compressed_batches_are_unpacked_to_be_checked_and_stored_as_sent() {
    let mut log = Room::new().open();
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let batch = build(codec, 20, "a value that repeats", NOW).build();
        let appended = append(&mut log, batch.clone());
        assert_eq!(appended.bytes[21..], batch[21..], "only the stamped fields changed");
        let lying = changed(&batch, |bytes| (bytes[60], bytes[26]) = (19, 18));
        assert!(matches!(refusal(&mut log, lying), AppendError::InvalidRecord { .. }));
        let garbage = changed(&batch, |bytes| bytes[61..].fill(7));
        assert!(matches!(refusal(&mut log, garbage), AppendError::InvalidRecord { .. }));
    }
}

#[test]
fn trap_3_size_limits() {
    let mut room = Room::new();
    room.config.message_bytes_max = 300;
    room.config.segment_bytes = 250;
    let mut log = room.open();
    let large = builder(1, &"x".repeat(300)).build();
    assert!(matches!(refusal(&mut log, large), AppendError::TooLarge { bytes_max: 300, .. }));
    let middle = builder(1, &"x".repeat(200)).build();
    let error = refusal(&mut log, middle);
    assert!(matches!(error, AppendError::LargerThanSegment { bytes_max: 250, .. }));
}

#[test]
fn trap_3_epoch_of_client_is_overwritten() {
    let mut log = Room::new().open();
    for lie in [0, -1, 99] {
        let mut batch = plain(1).to_vec();
        batch[12..16].copy_from_slice(&i32::to_be_bytes(lie));
        append_in(&mut log, batch.into(), 4);
    }
    assert!(read_all(&log, Offset::ZERO).iter().all(|batch| batch.leader_epoch.0 == 4));
}

#[test]
fn trap_3_compaction_keyless_record() {
    let mut room = Room::new();
    room.config.compact = true;
    let mut log = room.open();
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(TimestampMs(NOW), Some(b"key"), Some(b"a"), &[]);
    batch.append(TimestampMs(NOW), None, Some(b"b"), &[]);
    batch.append(TimestampMs(NOW), Some(b""), None, &[]);
    let AppendError::InvalidRecord { records, .. } = refusal(&mut log, batch.build()) else {
        panic!("another error");
    };
    let indexes: Vec<i32> = records.iter().map(|record| record.index).collect();
    assert_eq!(indexes, [1], "an empty key is a key");
}

#[test]
fn trap_3_timestamps_create_time_range() {
    let mut room = Room::new();
    room.config.timestamp_before_ms_max = 1000;
    room.config.timestamp_after_ms_max = 500;
    let mut log = room.open();
    let at = |time| build(Compression::None, 1, "v", time).build();
    append(&mut log, at(NOW - 1000));
    append(&mut log, at(NOW + 500));
    append(&mut log, at(-1));
    for time in [NOW - 1001, NOW + 501, i64::MIN, i64::MAX] {
        let AppendError::InvalidTimestamp { records, .. } = refusal(&mut log, at(time)) else {
            panic!("another error");
        };
        assert_eq!(records.len(), 1);
    }
}

#[test]
fn trap_3_timestamps_log_append_time() {
    let room = Room::new();
    let claims = changed(&plain(1), |bytes| bytes[22] |= 1 << 3);
    let refused = refusal(&mut room.open(), claims.clone());
    assert!(matches!(refused, AppendError::InvalidTimestamp { .. }));

    let room = Room { config: room.config.clone(), ..Room::new() };
    let mut config = room.config.clone();
    config.timestamp_kind = TimestampKind::LogAppendTime;
    let room = Room { config, ..room };
    let mut log = room.open();
    assert!(matches!(refusal(&mut log, claims), AppendError::InvalidTimestamp { .. }));
    let appended = append(&mut log, build(Compression::Lz4, 3, "v", 5).build());
    assert_eq!(appended.append_time, Some(TimestampMs(NOW)));
    let header = BatchHeader::parse_checked(&appended.bytes).expect("the checksum is right");
    assert_eq!(header.timestamp_kind(), TimestampKind::LogAppendTime);
    assert_eq!(header.max_timestamp, TimestampMs(NOW));
    let found = log.offset_for_timestamp(TimestampMs(NOW), ALL).expect("read").expect("found");
    assert_eq!((found.offset, found.timestamp), (Offset(0), TimestampMs(NOW)));
    let found = log.offset_for_timestamp(TimestampMs(6), ALL).expect("read").expect("found");
    assert_eq!(found.timestamp, TimestampMs(NOW), "time queries use the leader's time");

    let batch = idempotent(1, 0, 2);
    append(&mut log, batch.clone());
    room.clock.advance(50);
    let again = append(&mut log, batch);
    assert_eq!((again.duplicate, again.append_time), (true, Some(TimestampMs(NOW))));
}

/// Some producers leave the header's largest timestamp at -1, or lie.
#[test]
fn trap_3_timestamps_header_max_is_not_trusted() {
    for lie in [-1, NOW + 1_000_000] {
        let room = Room::new();
        let mut log = room.open();
        let batch = changed(&plain(3), |bytes| {
            bytes[35..43].copy_from_slice(&i64::to_be_bytes(lie));
        });
        let appended = append(&mut log, batch.clone());
        assert_eq!(appended.bytes[16..], batch[16..], "stored as sent");
        let max = |log: &Log| log.max_timestamp(ALL).expect("read").expect("found").timestamp;
        assert_eq!(max(&log), TimestampMs(NOW + 2));
        let late = |log: &Log| log.offset_for_timestamp(TimestampMs(NOW + 3), ALL).expect("read");
        assert_eq!(late(&log), None);
        drop(log);
        let log = room.open();
        assert_eq!(max(&log), TimestampMs(NOW + 2), "after a recovery too");
        assert_eq!(late(&log), None);
    }
}

#[test]
fn trap_4_dedupe_answers_with_the_original() {
    let room = Room::new();
    let mut log = room.open();
    append(&mut log, plain(5));
    let first = append(&mut log, idempotent(1, 0, 2));
    append(&mut log, plain(5));
    let again = append(&mut log, idempotent(1, 0, 2));
    assert!(again.duplicate);
    assert_eq!((again.base_offset, again.last_offset), (first.base_offset, first.last_offset));
    assert_eq!(log.log_end_offset(), Offset(12));
    drop(log);
    let mut log = room.open();
    assert_eq!(append(&mut log, idempotent(1, 0, 2)).base_offset, first.base_offset);
    let gap = refusal(&mut log, idempotent(1, 3, 1));
    assert!(matches!(gap, AppendError::OutOfOrderSequence(_)));
}

/// The window of five survives a clean stop, though a snapshot holds one batch only.
#[test]
fn trap_4_state_survives_a_restart() {
    let mut room = Room::new();
    let mut log = room.open();
    for number in 0..8 {
        append(&mut log, idempotent(1, number, 1));
    }
    log.close().expect("close");
    room.hints.clean_shutdown = true;
    let mut log = room.open();
    for number in 3..8 {
        let again = append(&mut log, idempotent(1, number, 1));
        assert_eq!((again.duplicate, again.base_offset.0), (true, i64::from(number)));
    }
    append(&mut log, idempotent(1, 8, 1));
}

#[test]
fn followers_take_what_a_leader_stamped() {
    let (leader, follower) = (Room::new(), Room::new());
    let (mut leader, mut copy) = (leader.open(), follower.open());
    let mut bytes = Vec::new();
    for number in 0..30 {
        let batch = if number % 2 == 0 { plain(2) } else { idempotent(1, number / 2, 1) };
        bytes.extend_from_slice(&append_in(&mut leader, batch, number / 10).bytes);
    }
    let appended =
        copy.append_as_follower(Bytes::from(bytes.clone()), Origin::Replica).expect("append");
    assert_eq!(appended.last_offset.next(), leader.log_end_offset());
    assert_eq!(read_all(&copy, Offset::ZERO), read_all(&leader, Offset::ZERO));
    assert_eq!(copy.producers(), leader.producers());
    assert_eq!(copy.latest_epoch(), Some(LeaderEpoch(2)));
    assert_eq!(copy.epoch_end_offset(LeaderEpoch(0)), leader.epoch_end_offset(LeaderEpoch(0)));
    assert!(copy.segment_count() > 1);
    let old = copy
        .append_as_follower(Bytes::from(bytes.clone()), Origin::Replica)
        .expect_err("already there");
    assert!(matches!(old, AppendError::UnexpectedOffset { .. }));
    let mut flipped = append_in(&mut leader, plain(1), 9).bytes.to_vec();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let error =
        copy.append_as_follower(Bytes::from(flipped), Origin::Replica).expect_err("damaged");
    assert!(matches!(error, AppendError::Corrupt(_)));
}

#[test]
fn transactions_reach_the_index_and_the_last_stable_offset() {
    use crate::protocol::records::{ControlKind, ControlRecord};
    let room = Room::new();
    let mut log = room.open();
    let data = |id, sequence| {
        let mut batch = builder(2, "value");
        batch.set_producer(ProducerId(id), ProducerEpoch(0), Sequence(sequence));
        batch.set_transactional(true);
        batch.build()
    };
    let marker = |id, kind| {
        let record = ControlRecord { kind, coordinator_epoch: 1 };
        let mut batch = BatchBuilder::new(Compression::None);
        batch.append(TimestampMs(NOW), Some(&record.key()), Some(&record.value()), &[]);
        batch.set_producer(ProducerId(id), ProducerEpoch(0), Sequence(-1));
        batch.set_transactional(true);
        batch.set_control(true);
        batch.build()
    };
    append(&mut log, plain(1));
    append(&mut log, data(1, 0));
    append(&mut log, data(2, 0));
    assert_eq!(log.last_stable_offset(log.log_end_offset()), Offset(1));
    let end = |log: &mut Log, id, kind| {
        log.append_as_leader(marker(id, kind), LeaderEpoch(0), Origin::Coordinator).expect("end");
    };
    end(&mut log, 1, ControlKind::Abort);
    end(&mut log, 2, ControlKind::Commit);
    append(&mut log, plain(10));
    flush(&mut log);
    let check = |log: &Log| {
        assert_eq!(log.last_stable_offset(log.log_end_offset()), log.log_end_offset());
        let aborted = log.aborted_transactions(Offset(0), ALL).expect("read");
        assert_eq!(aborted.len(), 1);
        assert_eq!(aborted[0].producer_id, ProducerId(1));
        assert_eq!((aborted[0].first_offset, aborted[0].last_offset), (Offset(1), Offset(5)));
        assert_eq!(aborted[0].last_stable_offset, Offset(3));
        assert!(log.aborted_transactions(Offset(6), ALL).expect("read").is_empty());
        assert!(log.aborted_transactions(Offset(0), Offset(1)).expect("read").is_empty());
    };
    check(&log);
    drop(log);
    check(&room.open());
    room.disk
        .open(&dir().join("00000000000000000000.txnindex"), crate::env::disk::OpenMode::Write)
        .expect("open")
        .write_all_at(b"damage", 0)
        .expect("write");
    let mut clean = Room { hints: OpenHints::default(), ..Room::new() };
    clean.disk = room.disk.clone();
    clean.hints.clean_shutdown = true;
    let mut log = clean.open();
    check(&log);
    log.truncate_to(Offset(5)).expect("truncate");
    assert!(log.aborted_transactions(Offset(0), ALL).expect("read").is_empty());
    assert_eq!(log.last_stable_offset(log.log_end_offset()), Offset(1), "open again");
}
