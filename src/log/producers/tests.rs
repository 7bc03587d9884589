//! Tests of the producers' state: sequences, epochs, snapshots.

use super::*;
use crate::types::LeaderEpoch;

const NOW: TimestampMs = TimestampMs(1_000_000);

fn header(id: i64, epoch: i16, sequence: i32, count: i32, offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(offset),
        batch_length: 49,
        leader_epoch: LeaderEpoch(0),
        crc: 0,
        attributes: 0,
        last_offset_delta: count - 1,
        base_timestamp: NOW,
        max_timestamp: NOW,
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(sequence),
        record_count: count,
    }
}

fn transactional(mut header: BatchHeader) -> BatchHeader {
    header.attributes |= 1 << 4;
    header
}

fn apply(producers: &mut Producers, header: &BatchHeader) {
    assert!(producers.apply(header, None, NOW, NOW).is_none());
}

fn end(producers: &mut Producers, id: i64, offset: i64, kind: ControlKind) -> Option<Completed> {
    let mut header = transactional(header(id, 0, -1, 1, offset));
    header.attributes |= 1 << 5;
    let marker = ControlRecord { kind, coordinator_epoch: 3 };
    producers.apply(&header, Some((marker, NOW)), NOW, NOW)
}

fn check(producers: &Producers, header: &BatchHeader) -> Result<Option<i64>, AppendError> {
    let seen = producers.check(header, None, Origin::Client)?;
    Ok(seen.map(|seen| seen.first_offset.0))
}

#[test]
fn trap_4_dedupe_last_five_batches() {
    let mut producers = Producers::default();
    for number in 0..7 {
        apply(&mut producers, &header(1, 0, number * 2, 2, i64::from(number) * 10));
    }
    for number in 2..7 {
        let found = check(&producers, &header(1, 0, number * 2, 2, 0)).expect("duplicate");
        assert_eq!(found, Some(i64::from(number) * 10));
    }
    let part = check(&producers, &header(1, 0, 12, 1, 0));
    assert!(matches!(part, Err(AppendError::OutOfOrderSequence(_))), "only exact ranges");
    assert_eq!(check(&producers, &header(1, 0, 14, 3, 0)).expect("next"), None);
}

/// A duplicate that is older than the five kept is out of order, never "duplicate sequence".
#[test]
fn trap_4_sequence_duplicate_older_than_window() {
    let mut producers = Producers::default();
    for number in 0..6 {
        apply(&mut producers, &header(1, 0, number, 1, i64::from(number)));
    }
    let old = check(&producers, &header(1, 0, 0, 1, 0));
    assert!(matches!(old, Err(AppendError::OutOfOrderSequence(_))));
}

#[test]
fn trap_4_sequence_unknown_producer_is_accepted() {
    let producers = Producers::default();
    assert_eq!(check(&producers, &header(1, 3, 77, 1, 0)).expect("any first sequence"), None);
}

#[test]
fn trap_4_sequence_codes() {
    let mut producers = Producers::default();
    apply(&mut producers, &header(1, 4, 0, 5, 0));
    let gap = check(&producers, &header(1, 4, 6, 1, 0));
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence(_))));
    let older = check(&producers, &header(1, 3, 5, 1, 0));
    assert!(matches!(older, Err(AppendError::InvalidProducerEpoch(_))));
    let newer = check(&producers, &header(1, 5, 5, 1, 0));
    assert!(matches!(newer, Err(AppendError::OutOfOrderSequence(_))));
    assert_eq!(check(&producers, &header(1, 5, 0, 1, 0)).expect("new epoch from 0"), None);
}

#[test]
fn trap_4_sequence_counts_records_and_wraps() {
    let mut producers = Producers::default();
    apply(&mut producers, &header(1, 0, i32::MAX - 1, 4, 0));
    assert_eq!(check(&producers, &header(1, 0, 2, 1, 0)).expect("wrapped"), None);
    let found = check(&producers, &header(1, 0, i32::MAX - 1, 4, 9)).expect("duplicate");
    assert_eq!(found, Some(0));
    apply(&mut producers, &header(1, 0, 2, 1, 4));
    let none = header(-1, -1, -1, 1, 0);
    assert_eq!(check(&producers, &none).expect("negative ids mean none"), None);
    let restored = restore(&producers);
    assert_eq!(check(&restored, &header(1, 0, 2, 1, 0)).expect("duplicate"), Some(4));
    assert_eq!(check(&restored, &header(1, 0, 3, 1, 0)).expect("next"), None);
}

fn restore(producers: &Producers) -> Producers {
    let mut restored = Producers::default();
    for row in decode(&encode(producers)).expect("valid") {
        restored.restore(row, NOW);
    }
    restored
}

#[test]
fn trap_4_state_expires_by_our_clock() {
    let mut producers = Producers::default();
    let mut old = header(1, 0, 0, 1, 0);
    old.max_timestamp = TimestampMs(5);
    producers.apply(&old, None, TimestampMs(5), NOW);
    producers.expire(TimestampMs(NOW.0 + 99), 100, Offset::ZERO);
    assert!(!producers.is_empty(), "an old timestamp expires nobody");
    producers.expire(TimestampMs(NOW.0 + 100), 100, Offset::ZERO);
    assert!(producers.is_empty());
}

#[test]
fn trap_4_abort_reused_sequences() {
    let mut producers = Producers::default();
    apply(&mut producers, &transactional(header(1, 0, 0, 2, 10)));
    let completed = end(&mut producers, 1, 12, ControlKind::Abort).expect("one was open");
    assert!(completed.aborted);
    assert_eq!(check(&producers, &header(1, 0, 0, 2, 0)).expect("again from 0"), None);
    assert_eq!(check(&producers, &header(1, 0, 2, 2, 0)).expect("or on from there"), None);
    apply(&mut producers, &transactional(header(1, 0, 0, 2, 13)));
    let found = check(&producers, &transactional(header(1, 0, 0, 2, 0))).expect("duplicate");
    assert_eq!(found, Some(13), "never the aborted one");
}

#[test]
fn open_transactions_hold_the_last_stable_offset() {
    let mut producers = Producers::default();
    apply(&mut producers, &transactional(header(1, 0, 0, 5, 10)));
    apply(&mut producers, &transactional(header(2, 0, 0, 5, 15)));
    assert_eq!(producers.last_stable_offset(Offset(20)), Offset(10));
    assert_eq!(producers.last_stable_offset(Offset(7)), Offset(7));
    let plain = producers.check(&header(1, 0, 5, 1, 0), None, Origin::Client);
    assert!(matches!(plain, Err(AppendError::InvalidTransactionState(_))));
    let first = end(&mut producers, 1, 20, ControlKind::Commit).expect("was open");
    assert_eq!((first.first_offset, first.last_stable_offset), (Offset(10), Offset(15)));
    assert_eq!(producers.last_stable_offset(Offset(20)), Offset(10), "the marker is not committed");
    assert_eq!(producers.last_stable_offset(Offset(21)), Offset(15));
    let second = end(&mut producers, 2, 21, ControlKind::Abort).expect("was open");
    assert_eq!(second.last_stable_offset, Offset(22));
    assert_eq!(producers.last_stable_offset(Offset(22)), Offset(22));
    let marker = ControlRecord { kind: ControlKind::Commit, coordinator_epoch: 2 };
    let fenced = producers.check(&header(1, 0, -1, 1, 0), Some(marker), Origin::Coordinator);
    assert!(matches!(fenced, Err(AppendError::CoordinatorFenced(_))));
    assert!(end(&mut producers, 1, 30, ControlKind::Commit).is_none(), "nothing was open");
}

#[test]
fn trap_12_snapshot_layout() {
    let mut producers = Producers::default();
    apply(&mut producers, &transactional(header(7, 2, 4, 3, 100)));
    let bytes = encode(&producers);
    assert_eq!(bytes.len(), 10 + 46);
    assert_eq!(bytes[..2], [0, 1]);
    let crc = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
    assert_eq!(crc, crc32c::crc32c(&bytes[6..]));
    let mut expected = vec![0, 0, 0, 1];
    expected.extend(7i64.to_be_bytes());
    expected.extend(2i16.to_be_bytes());
    expected.extend(6i32.to_be_bytes());
    expected.extend(102i64.to_be_bytes());
    expected.extend(2i32.to_be_bytes());
    expected.extend(NOW.0.to_be_bytes());
    expected.extend((-1i32).to_be_bytes());
    expected.extend(100i64.to_be_bytes());
    assert_eq!(bytes[6..], expected);
    for byte in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[byte] ^= 4;
        assert!(decode(&damaged).is_none(), "byte {byte}");
        assert!(decode(&bytes[..byte]).is_none(), "cut at {byte}");
    }
}

#[test]
fn windows_are_filled_again_behind_a_snapshot() {
    let mut producers = Producers::default();
    for number in 0..4 {
        apply(&mut producers, &header(1, 0, number, 1, i64::from(number)));
    }
    let mut restored = restore(&producers);
    assert!(check(&restored, &header(1, 0, 2, 1, 0)).is_err());
    for number in (0..4).rev() {
        restored.recall(&header(1, 0, number, 1, i64::from(number)), NOW);
    }
    for number in 0..4 {
        let found = check(&restored, &header(1, 0, number, 1, 0)).expect("duplicate");
        assert_eq!(found, Some(i64::from(number)));
    }
}
