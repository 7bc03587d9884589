//! The files, byte by byte.

use super::*;
use crate::env::disk::OpenMode;

fn bytes(room: &Room, name: &str) -> Vec<u8> {
    let file = room.disk.open(&dir().join(name), OpenMode::Read).expect(name);
    let mut bytes = vec![0; usize::try_from(file.len().expect("length")).expect("small")];
    file.read_at(&mut bytes, 0).expect("read");
    bytes
}

/// A room with one closed log of several segments, and the names of its segments' files.
fn closed() -> (Room, Vec<String>) {
    let room = Room::new();
    let mut log = room.open();
    for number in 0..60 {
        append_in(&mut log, build(Compression::None, 2, "value", NOW + number * 10).build(), 1);
    }
    log.close().expect("close");
    let names = room.disk.list(&dir()).expect("list").into_iter().map(|entry| entry.name);
    let bases = names.filter_map(|name| name.strip_suffix(".log").map(str::to_owned)).collect();
    (room, bases)
}

/// What Kafka's dump tool checks: each entry is the last offset of the batch at its position.
#[test]
fn trap_12_index_entries_point_at_batches() {
    let (room, bases) = closed();
    assert!(bases.len() > 3);
    let mut entries = 0;
    for base in bases {
        let log = bytes(&room, &format!("{base}.log"));
        let index = bytes(&room, &format!("{base}.index"));
        assert_eq!(index.len() % 8, 0);
        for entry in index.chunks(8) {
            let relative = u32::from_be_bytes(entry[..4].try_into().expect("four"));
            let position = u32::from_be_bytes(entry[4..].try_into().expect("four")) as usize;
            let header = BatchHeader::parse(&log[position..]).expect("a batch");
            let first: i64 = base.parse().expect("digits");
            assert_eq!(header.last_offset().0, first + i64::from(relative));
            assert!(position > 200, "one entry after the interval");
            entries += 1;
        }
    }
    assert!(entries > 5);
}

#[test]
fn trap_12_timeindex_grows_and_ends_with_the_largest() {
    let (room, bases) = closed();
    for base in bases {
        let log = bytes(&room, &format!("{base}.log"));
        let index = bytes(&room, &format!("{base}.timeindex"));
        let (rows, rest) = index.as_chunks::<12>();
        assert!(rest.is_empty());
        let mut before = -1;
        let mut last = 0;
        for row in rows {
            let timestamp = i64::from_be_bytes(row[..8].try_into().expect("eight"));
            assert!(timestamp > before);
            before = timestamp;
            last = u32::from_be_bytes(row[8..].try_into().expect("four"));
        }
        let headers: Vec<_> = BatchIter::new(&log).map(|batch| batch.expect("whole").0).collect();
        let largest = headers.iter().map(|header| header.max_timestamp.0).max().expect("batches");
        assert_eq!(before, largest, "a final entry at roll and at close");
        let first: i64 = base.parse().expect("digits");
        let offset = first + i64::from(last);
        assert!(headers.iter().any(|header| header.last_offset().0 == offset));
    }
}

#[test]
fn a_segments_files_are_kafkas() {
    let (room, bases) = closed();
    let names: Vec<String> =
        room.disk.list(&dir()).expect("list").into_iter().map(|entry| entry.name).collect();
    let first = &bases[0];
    assert_eq!(first, "00000000000000000000");
    for suffix in ["index", "timeindex"] {
        assert!(names.contains(&format!("{first}.{suffix}")));
    }
    let last = "00000000000000000120.snapshot".to_owned();
    assert!(names.contains(&last), "a snapshot at the end: {names:?}");
    assert_eq!(bytes(&room, &last).len(), 10);
    assert_eq!(bytes(&room, "leader-epoch-checkpoint"), b"0\n1\n1 0\n");
}

/// The snapshots' files, and with them the names, do not pile up.
#[test]
fn every_file_belongs_to_a_segment_or_to_the_end() {
    let mut room = Room::new();
    room.hints.clean_shutdown = true;
    for round in 0..6 {
        let mut log = room.open();
        for number in 0..7 {
            append(&mut log, idempotent(round, number, 1));
        }
        log.close().expect("close");
    }
    let log = room.open();
    let names = room.disk.list(&dir()).expect("list");
    let snapshots = names.iter().filter(|entry| entry.name.ends_with(".snapshot")).count();
    assert!(snapshots <= log.segment_count() + 1, "{names:?}");
}

#[test]
fn a_log_that_is_given_up_leaves_no_file_open_and_no_read_to_be_served() {
    let mut room = Room::new();
    let disk: Arc<dyn Disk> = Arc::new(room.disk.clone());
    let bounds = SharedBounds { tail_bytes_max: 0, ..SharedBounds::default() };
    let shared = Shared::with_bounds(disk, Path::new("/data"), bounds);
    room.hints.shared = Some(Arc::clone(&shared));
    let mut log = room.open();
    for _ in 0..40 {
        append(&mut log, plain(1));
    }
    flush(&mut log);
    let plan = log.read(Offset::ZERO, ALL, 400, true).expect("plan");
    assert!(!plan.execute().expect("there").is_empty());
    assert!(shared.open_files.count() > 0);
    drop(log);
    assert!(matches!(plan.execute(), Err(Error::Moved)), "another topic may have the name");
    drop(plan);
    assert_eq!(shared.open_files.count(), 0, "an open file keeps its room after it is removed");
}
