//! Disks that fail or fill up.

use super::*;
use crate::env::disk_memory::OpKind;
use std::io::ErrorKind;

fn uncached(room: &mut Room) {
    let bounds = SharedBounds { tail_bytes_max: 0, ..SharedBounds::default() };
    let disk: Arc<dyn Disk> = Arc::new(room.disk.clone());
    room.hints.shared = Some(Shared::with_bounds(disk, Path::new("/data"), bounds));
}

fn log_file(base: i64) -> PathBuf {
    dir().join(format!("{base:020}.log"))
}

/// Case 31: never retried into an acknowledgement.
#[test]
fn a_failed_sync_is_final() {
    let room = Room::new();
    let mut log = room.open();
    append(&mut log, plain(1));
    flush(&mut log);
    append(&mut log, plain(1));
    room.disk.fail(OpKind::SyncData, ".log", 0, ErrorKind::Other);
    let job = log.start_flush().expect("something to sync");
    let result = job.run();
    assert!(matches!(log.finish_flush(job, result), Err(Error::Failed(_))));
    assert_eq!(log.flushed_offset(), Offset(1));
    assert!(log.start_flush().is_none());
    let refused = log.append_as_leader(plain(1), LeaderEpoch(0), Origin::Client);
    assert!(matches!(refused, Err(AppendError::Failed(_))));
    assert!(log.failure().is_some());
    assert_eq!(bases(&log), [0, 1], "reading goes on");
    assert!(log.close().is_err(), "no clean mark for a failed log");
}

/// A flush that fails while the log is closed is told the error; the sync of closing is not.
#[test]
fn a_log_is_not_closed_well_while_a_flush_of_it_runs() {
    let room = Room::new();
    let mut log = room.open();
    append(&mut log, plain(1));
    let job = log.start_flush().expect("something to sync");
    assert!(log.close().is_err(), "no clean mark");
    drop(job);
    let mut log = room.open();
    append_in(&mut log, plain(1), 4);
    flush(&mut log);
    let job = log.start_checkpoint().expect("whole").expect("the epochs have changed");
    assert!(log.start_checkpoint().expect("whole").is_none(), "one at a time");
    assert!(log.recovery_point() < log.flushed_offset(), "not before it is written");
    let result = job.run();
    log.finish_checkpoint(&job, result).expect("written");
    assert_eq!(log.recovery_point(), log.flushed_offset());
    log.close().expect("closes");
}

/// The recovery point of a log that was opened again is its end: what an earlier one vouched for
/// stays vouched for, elections in between or not.
#[test]
fn opening_does_not_take_the_recovery_point_back() {
    let room = Room::new();
    let mut log = room.open();
    append(&mut log, plain(3));
    flush(&mut log);
    log.checkpoint().expect("written");
    append_in(&mut log, plain(2), 7);
    flush(&mut log);
    assert_eq!(log.recovery_point(), Offset(3), "the epoch is not in the file yet");
    drop(log);
    let log = room.open();
    assert_eq!((log.recovery_point(), log.flushed_offset()), (Offset(5), Offset(5)));
}

#[test]
fn a_failed_write_is_cut_off_and_final() {
    let room = Room::new();
    let mut log = room.open();
    append(&mut log, plain(1));
    room.disk.fail(OpKind::Write, ".log", 0, ErrorKind::Other);
    let refused = log.append_as_leader(plain(1), LeaderEpoch(0), Origin::Client);
    assert!(matches!(refused, Err(AppendError::Failed(_))));
    drop(log);
    let (log, report) = room.open_reporting();
    assert_eq!((bases(&log), report.cut_bytes), (vec![0], 0));
}

/// Case 32: refused before a partial append; metadata goes on; recovers by itself.
#[test]
fn a_full_disk_refuses_clients_first_and_recovers() {
    let mut room = Room::new();
    room.disk.set_capacity(100_000);
    let bounds = SharedBounds { reserve_bytes: 60_000, ..SharedBounds::default() };
    let disk: Arc<dyn Disk> = Arc::new(room.disk.clone());
    room.hints.shared = Some(Shared::with_bounds(disk, Path::new("/data"), bounds));
    let mut log = room.open();
    let large = || builder(1, &"x".repeat(500)).build();
    let mut appended = 0;
    let refused = loop {
        match log.append_as_leader(large(), LeaderEpoch(0), Origin::Client) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
        assert!(appended < 200, "the reserve is left alone");
    };
    assert!(matches!(refused, AppendError::DiskFull(_)), "{refused}");
    assert!(appended > 30);
    let end = log.log_end_offset();
    log.append_as_leader(large(), LeaderEpoch(0), Origin::Raft).expect("the reserve is for this");
    room.disk.set_capacity(200_000);
    assert_eq!(append(&mut log, large()).base_offset, end.next());
}

#[test]
fn a_disk_that_fills_up_within_a_write_leaves_no_part() {
    let mut room = Room::new();
    let bounds = SharedBounds { reserve_bytes: 0, ..SharedBounds::default() };
    let disk: Arc<dyn Disk> = Arc::new(room.disk.clone());
    room.hints.shared = Some(Shared::with_bounds(disk, Path::new("/data"), bounds));
    let mut log = room.open();
    append(&mut log, plain(1));
    // The guard was told of plenty of room; then it went.
    room.disk.set_capacity(300);
    let refused =
        log.append_as_leader(builder(1, &"x".repeat(500)).build(), LeaderEpoch(0), Origin::Client);
    assert!(matches!(refused, Err(AppendError::DiskFull(_))));
    assert!(log.failure().is_none());
    room.disk.set_capacity(100_000);
    append(&mut log, plain(1));
    flush(&mut log);
    drop(log);
    assert_eq!(bases(&room.open()), [0, 1]);
}

/// Case 28: found on read, never served.
#[test]
fn a_flipped_bit_is_never_served() {
    let mut room = Room::new();
    uncached(&mut room);
    let mut log = room.open();
    for _ in 0..5 {
        append(&mut log, plain(2));
    }
    flush(&mut log);
    let bytes = append(&mut log, plain(2)).bytes.len() as u64;
    room.disk.flip_bit(&log_file(0), 2 * bytes + 70, 3);
    let read = |from| log.read(Offset(from), ALL, 10_000, true).expect("plan").execute();
    assert_eq!(BatchIter::new(&read(0).expect("the first two")).count(), 2);
    assert!(matches!(read(4), Err(Error::Corrupt { offset: Offset(4), .. })));
    assert_eq!(BatchIter::new(&read(6).expect("behind it")).count(), 3);
    drop(log);

    // It was flushed, and what follows is whole: only the damaged batch is lost.
    room.hints.flushed_checkpoint = Some(Offset(10));
    let (log, report) = room.open_reporting();
    assert_eq!((report.damaged_batches, report.cut_bytes), (1, 0));
    assert_eq!(log.log_end_offset(), Offset(12));
    let damaged = log.read(Offset(4), ALL, 10_000, true).expect("plan").execute();
    assert!(matches!(damaged, Err(Error::Corrupt { .. })));
    drop(log);

    // Not known to be flushed: the log ends before it.
    room.hints.flushed_checkpoint = None;
    let (log, report) = room.open_reporting();
    assert_eq!(log.log_end_offset(), Offset(4));
    assert_eq!(report.cut_bytes, 4 * bytes);
}

/// Case 27: cut at the first bad batch.
#[test]
fn a_torn_tail_is_cut() {
    let room = Room::new();
    let mut log = room.open();
    for _ in 0..3 {
        append(&mut log, plain(1));
    }
    let size = log.size_bytes();
    drop(log);
    let file = room.disk.open(&log_file(0), crate::env::disk::OpenMode::Write).expect("open");
    file.set_len(size - 5).expect("tear");
    let (mut log, report) = room.open_reporting();
    assert_eq!((bases(&log), report.cut_bytes), (vec![0, 1], size / 3 - 5));
    assert_eq!(append(&mut log, plain(1)).base_offset, Offset(2));
}

/// Case 29: whatever the small files hold, the log opens, and says the same.
#[test]
fn damaged_indexes_and_snapshots_never_matter() {
    for clean_shutdown in [true, false] {
        for damage in [&b""[..], b"x", &[0; 24], &[0xff; 240], &[7; 34]] {
            let mut room = Room::new();
            uncached(&mut room);
            let mut log = room.open();
            for number in 0..60 {
                append_in(&mut log, idempotent(1, number * 2, 2), number / 20);
            }
            let expected = read_all(&log, Offset(0));
            let producers = log.producers();
            log.close().expect("close");
            for entry in room.disk.list(&dir()).expect("list") {
                if !entry.name.ends_with(".log") && entry.name != "partition.metadata" {
                    let path = dir().join(&entry.name);
                    let mode = crate::env::disk::OpenMode::CreateOrTruncate;
                    let file = room.disk.open(&path, mode).expect("open");
                    file.write_all_at(damage, 0).expect("damage");
                }
            }
            room.hints.clean_shutdown = clean_shutdown;
            let mut log = room.open();
            for from in (0..120).step_by(7) {
                let bytes = log.read(Offset(from), ALL, 1, true).expect("plan").execute();
                let bytes = bytes.expect("right in spite of the index");
                let header = BatchHeader::parse(&bytes).expect("a batch");
                assert_eq!(header.base_offset, Offset(from / 2 * 2));
            }
            assert_eq!(read_all(&log, Offset(0)), expected);
            assert_eq!(log.producers(), producers);
            assert_eq!(log.epoch_end_offset(LeaderEpoch(1)), (LeaderEpoch(1), Offset(80)));
            let max = log.max_timestamp(ALL).expect("read").expect("found");
            assert_eq!(max.timestamp, TimestampMs(NOW + 1));
            log.checkpoint().expect("repairs what was found");
            assert_eq!(read_all(&log, Offset(0)), expected);
        }
    }
}

/// Case 24: a directory of another incarnation of the topic is not touched.
#[test]
fn a_directory_of_another_topic_id_is_refused() {
    let mut room = Room::new();
    room.hints.topic_id = Some(TopicId([1; 16]));
    drop(room.open());
    let disk: Arc<dyn Disk> = Arc::new(room.disk.clone());
    let clock: Arc<dyn Clock> = Arc::new(room.clock.clone());
    let hints = OpenHints { topic_id: Some(TopicId([2; 16])), ..OpenHints::default() };
    let error = Log::open(disk, &dir(), room.config.clone(), clock, hints).expect_err("refused");
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    drop(room.open());
}

#[test]
fn an_idle_log_holds_one_file_open_at_most() {
    let mut room = Room::new();
    let bounds = SharedBounds { open_files_max: 2, ..SharedBounds::default() };
    let disk: Arc<dyn Disk> = Arc::new(room.disk.clone());
    let shared = Shared::with_bounds(disk, Path::new("/data"), bounds);
    room.hints.shared = Some(Arc::clone(&shared));
    let mut log = room.open();
    for _ in 0..60 {
        append(&mut log, plain(2));
    }
    flush(&mut log);
    let pinned = log.segments.iter().filter(|segment| segment.files.is_pinned()).count();
    assert_eq!(pinned, 1, "only the segment that is written to");
    read_all(&log, Offset(0));
    assert!(shared.open_files.count() <= 2);
}
