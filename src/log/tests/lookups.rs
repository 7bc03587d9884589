//! Look-ups by offset and by time.

use super::*;

/// A log whose timestamps go up and down.
fn wavy() -> (Room, Log, Vec<i64>) {
    let mut room = Room::new();
    room.config.timestamp_after_ms_max = i64::MAX;
    let mut log = room.open();
    let times: Vec<i64> =
        (0..80).map(|number| NOW + number * 50 + (number * 37 % 11) * 40).collect();
    for time in &times {
        append(&mut log, build(Compression::None, 1, "value", *time).build());
    }
    (room, log, times)
}

#[test]
fn the_first_record_at_or_after_a_time_is_found() {
    let (_room, log, times) = wavy();
    for target in (NOW - 100..NOW + 5_000).step_by(23) {
        let found = log.offset_for_timestamp(TimestampMs(target), ALL).expect("read");
        let expected = times.iter().position(|time| *time >= target);
        assert_eq!(found.map(|found| found.offset.0 as usize), expected, "{target}");
        let bounded = log.offset_for_timestamp(TimestampMs(target), Offset(30)).expect("read");
        let expected = times[..30].iter().position(|time| *time >= target);
        assert_eq!(bounded.map(|found| found.offset.0 as usize), expected, "{target} below 30");
    }
}

#[test]
fn the_largest_timestamp_is_found_below_a_bound() {
    let (_room, mut log, times) = wavy();
    for upto in 1..80 {
        let found = log.max_timestamp(Offset(upto as i64)).expect("read").expect("some");
        let largest = times[..upto].iter().max().expect("some");
        assert_eq!(found.timestamp, TimestampMs(*largest));
        assert_eq!(found.offset.0 as usize, times.iter().position(|time| time == largest).unwrap());
    }
    assert_eq!(log.max_timestamp(Offset(0)).expect("read"), None);
    log.raise_log_start(Offset(79)).expect("raise");
    let found = log.max_timestamp(ALL).expect("read").expect("some");
    assert_eq!(found.offset, Offset(79), "what lies below the log start does not count");
}

#[test]
fn trap_5_position_inside_a_batch_gets_the_whole_batch() {
    let room = Room::new();
    let mut log = room.open();
    append(&mut log, plain(10));
    append(&mut log, plain(10));
    for cached in [true, false] {
        let bytes = log.read(Offset(13), ALL, 1, true).expect("plan").execute().expect("read");
        let header = BatchHeader::parse(&bytes).expect("batch");
        assert_eq!((header.base_offset, header.total_bytes()), (Offset(10), bytes.len()));
        if cached {
            log.tail.truncate(Offset(0));
        }
    }
}

#[test]
fn trap_5_range_only_outside_of_the_log() {
    let room = Room::new();
    let mut log = room.open();
    append(&mut log, plain(10));
    log.raise_log_start(Offset(4)).expect("raise");
    let read = |from, upto| log.read(Offset(from), Offset(upto), 100, true);
    for outside in [3, 11] {
        let asked = Offset(outside);
        let expected = (asked, Offset(4), Offset(10));
        let Err(Error::OutOfRange { asked, start, end }) = read(outside, 10) else {
            panic!("{outside} is inside");
        };
        assert_eq!((asked, start, end), expected);
    }
    let empty = |from, upto| read(from, upto).expect("in range").execute().expect("read");
    assert!(empty(10, 10).is_empty(), "at the end");
    assert!(empty(7, 5).is_empty(), "between high watermark and end");
}

#[test]
fn trap_5_size_first_batch_larger_than_bytes_max() {
    let room = Room::new();
    let mut log = room.open();
    let large = builder(1, &"x".repeat(700)).build();
    append(&mut log, large.clone());
    append(&mut log, plain(1));
    for _ in 0..2 {
        let read = |forced| {
            let plan = log.read(Offset(0), ALL, 100, forced).expect("plan");
            plan.execute().expect("read").len()
        };
        assert_eq!((read(true), read(false)), (large.len(), 0));
        log.tail.truncate(Offset(0));
    }
}

/// Sealed segments end where the next begins, though no file says so.
#[test]
fn trap_11_restart_sealed_segments_keep_their_end() {
    let room = Room::new();
    let mut log = room.open();
    for _ in 0..40 {
        append(&mut log, plain(3));
    }
    let expected = bases(&log);
    log.close().expect("close");
    let mut room = room;
    room.hints.clean_shutdown = true;
    let (log, report) = room.open_reporting();
    assert_eq!(report.scanned_bytes, 0);
    assert_eq!(bases(&log), expected);
}
