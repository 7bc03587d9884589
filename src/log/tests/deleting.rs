//! What goes: retention, DeleteRecords, truncation.

use super::*;

fn filled(room: &Room, batches: i64) -> Log {
    let mut log = room.open();
    for number in 0..batches {
        append_in(&mut log, build(Compression::None, 2, "value", NOW + number * 1000).build(), 0);
    }
    flush(&mut log);
    log
}

fn names(room: &Room) -> Vec<String> {
    room.disk.list(&dir()).expect("list").into_iter().map(|entry| entry.name).collect()
}

#[test]
fn truncation_takes_producers_epochs_and_bytes_back() {
    let room = Room::new();
    let mut log = room.open();
    for number in 0..20 {
        append_in(&mut log, idempotent(1, number * 2, 2), number / 5);
    }
    flush(&mut log);
    let plan = log.read(Offset(0), ALL, 100, true).expect("plan");
    log.truncate_to(Offset(21)).expect("truncate");
    assert_eq!(log.log_end_offset(), Offset(20), "a batch goes as a whole");
    assert_eq!(log.flushed_offset(), Offset(20));
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(1)));
    assert_eq!(log.epoch_end_offset(LeaderEpoch(1)), (LeaderEpoch(1), Offset(20)));
    assert!(plan.bytes_if_cached().is_some() || matches!(plan.execute(), Err(Error::Moved)));
    let again = append_in(&mut log, idempotent(1, 20, 2), 7);
    assert_eq!((again.duplicate, again.base_offset), (false, Offset(20)));
    assert!(append_in(&mut log, idempotent(1, 18, 2), 7).duplicate);
    drop(log);
    assert_eq!(room.open().log_end_offset(), Offset(22));
}

/// State that outlives the batches that it speaks of would acknowledge a lost write.
#[test]
fn trap_4_dedupe_state_does_not_outlive_the_log() {
    let mut room = Room::new();
    let mut log = room.open();
    append(&mut log, plain(1));
    append(&mut log, idempotent(1, 0, 1));
    log.truncate_to(Offset(1)).expect("truncate");
    assert!(log.producers().is_empty());
    let again = append(&mut log, idempotent(1, 0, 1));
    assert_eq!((again.duplicate, again.base_offset), (false, Offset(1)));
    log.close().expect("close");
    room.hints.clean_shutdown = true;
    let mut log = room.open();
    log.truncate_to(Offset(1)).expect("truncate");
    assert!(log.producers().is_empty(), "a snapshot beyond the end is no source");
    let again = append(&mut log, idempotent(1, 0, 1));
    assert_eq!((again.duplicate, again.base_offset), (false, Offset(1)));
}

#[test]
fn a_read_that_a_truncation_overtakes_says_so() {
    let mut room = Room::new();
    let bounds = SharedBounds { tail_bytes_max: 0, ..SharedBounds::default() };
    let disk: Arc<dyn Disk> = Arc::new(room.disk.clone());
    room.hints.shared = Some(Shared::with_bounds(disk, Path::new("/data"), bounds));
    let mut log = filled(&room, 10);
    let plan = log.read(Offset(0), ALL, 100, true).expect("plan");
    assert!(plan.bytes_if_cached().is_none());
    let before = plan.execute().expect("whole");
    log.truncate_to(Offset(18)).expect("truncate");
    assert!(matches!(plan.execute(), Err(Error::Moved)), "though its bytes are still there");
    let plan = log.read(Offset(0), ALL, 100, true).expect("plan");
    assert_eq!(plan.execute().expect("whole"), before);
    log.delete().expect("delete");
    let gone = plan.execute();
    assert!(gone.is_err() || gone.is_ok_and(|bytes| bytes == before), "what was open stays");
    assert!(!room.disk.exists(&dir()).expect("exists"));
}

#[test]
fn a_reset_log_starts_where_it_is_told() {
    let room = Room::new();
    for at in [0, 7, 20, 40, 1000] {
        let mut log = filled(&room, 20);
        log.reset_to(Offset(at)).expect("reset");
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(at), Offset(at)));
        assert_eq!((log.size_bytes(), log.latest_epoch()), (0, None));
        let appended = append_in(&mut log, plain(2), 9);
        assert_eq!(appended.base_offset, Offset(at));
        drop(log);
        let mut log = room.open();
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(at), Offset(at + 2)));
        log.reset_to(Offset(0)).expect("reset");
        assert!(log.close().is_ok());
    }
}

#[test]
fn delete_records_moves_the_start_and_drops_whole_segments() {
    let mut room = Room::new();
    let mut log = filled(&room, 60);
    let segments = log.segment_count();
    assert!(segments > 4);
    assert!(log.raise_log_start(Offset(0)).expect("nothing to do").is_empty());
    let removed = log.raise_log_start(Offset(61)).expect("raise");
    assert!(!removed.is_empty());
    assert_eq!(log.segment_count(), segments - removed.len());
    assert!(removed.iter().all(|gone| !room.disk.exists(&gone.path).expect("exists")));
    assert_eq!(log.log_start_offset(), Offset(61));
    assert!(matches!(log.read(Offset(60), ALL, 1, true), Err(Error::OutOfRange { .. })));
    let first = read_all(&log, Offset(61));
    assert_eq!(first[0].base_offset, Offset(60), "the whole batch around the start");
    assert_eq!(log.epoch_for_offset(Offset(61)), Some(LeaderEpoch(0)));
    drop(log);
    room.hints.log_start_checkpoint = Some(Offset(61));
    assert_eq!(room.open().log_start_offset(), Offset(61));
    room.hints.log_start_checkpoint = Some(Offset(500));
    let log = room.open();
    let ends = (log.log_start_offset(), log.log_end_offset());
    assert_eq!(ends, (Offset(500), Offset(500)), "the checkpoint is ahead of what is left");
}

#[test]
fn retention_by_time_stops_at_the_high_watermark() {
    let mut room = Room::new();
    room.config.retention_ms = 10_000;
    room.config.timestamp_after_ms_max = i64::MAX;
    let mut log = filled(&room, 60);
    let now = TimestampMs(NOW + 1_000_000);
    assert!(log.apply_retention(now, Offset(3)).expect("retain").is_empty());
    let partly = log.apply_retention(TimestampMs(NOW + 40_000), ALL).expect("retain");
    assert!(!partly.is_empty());
    let start = log.log_start_offset();
    assert!(start > Offset(0) && start <= Offset(60), "30 s are gone, 20 more are young");
    log.apply_retention(now, Offset(120)).expect("retain");
    let ends = (log.log_start_offset(), log.log_end_offset(), log.size_bytes());
    assert_eq!(ends, (Offset(120), Offset(120), 0), "the last segment goes too");
    assert_eq!(append(&mut log, plain(1)).base_offset, Offset(120));
    let left: Vec<String> = names(&room).into_iter().filter(|name| name.contains("0.")).collect();
    assert!(left.iter().all(|name| name.starts_with("00000000000000000120")), "{left:?}");
}

/// The segment's largest timestamp decides, and one without timestamps counts from its making.
#[test]
fn trap_3_timestamps_without_a_time_do_not_pin_data() {
    let mut room = Room::new();
    room.config.retention_ms = 10_000;
    let mut log = room.open();
    for _ in 0..30 {
        append(&mut log, build(Compression::None, 1, "value", -1).build());
    }
    assert!(log.apply_retention(TimestampMs(NOW + 9_000), ALL).expect("retain").is_empty());
    assert!(!log.apply_retention(TimestampMs(NOW + 11_000), ALL).expect("retain").is_empty());
}

#[test]
fn retention_by_size_keeps_at_least_that_much() {
    let mut room = Room::new();
    room.config.retention_bytes = 2_500;
    let mut log = filled(&room, 60);
    log.apply_retention(TimestampMs(NOW), ALL).expect("retain");
    assert!((2_500..3_500).contains(&log.size_bytes()), "{}", log.size_bytes());
    room.config.retention_bytes = 0;
    room.config.delete = false;
    log.set_config(room.config.clone());
    assert!(log.apply_retention(TimestampMs(NOW), ALL).expect("retain").is_empty());
}
