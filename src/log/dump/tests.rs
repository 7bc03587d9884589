//! Tests of the dump: every file kind, whole and damaged.

use super::*;
use crate::env::disk::DiskFile;
use crate::env::disk_memory::MemoryDisk;
use crate::protocol::records::{BatchBuilder, Compression, Header};

fn file(disk: &MemoryDisk, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(Path::new(name), OpenMode::CreateOrTruncate).expect("opens");
    file.write_all_at(bytes, 0).expect("writes");
    file
}

fn entries(disk: &MemoryDisk, name: &str, deep: bool) -> (Kind, Vec<Entry>) {
    let (kind, entries) = dump(disk, Path::new(name), deep).expect("a known kind");
    (kind, entries.collect::<Result<_, _>>().expect("reads"))
}

fn problems(entries: &[Entry]) -> Vec<&str> {
    let mut found = Vec::new();
    for entry in entries {
        if let Entry::Problem { problem, .. } = entry {
            found.push(problem.as_str());
        }
    }
    found
}

fn batch(base: i64, values: &[&str], codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    builder.set_position(Offset(base), LeaderEpoch(4));
    let header = [Header { key: Bytes::from("h"), value: None }];
    for value in values {
        builder.append(TimestampMs(1_000), Some(b"k"), Some(value.as_bytes()), &header);
    }
    builder.build().to_vec()
}

#[test]
fn a_segment_shows_batches_records_and_the_first_damage() {
    let disk = MemoryDisk::new();
    let name = "/00000000000000000100.log";
    let mut bytes = batch(100, &["a", "b"], Compression::Zstd);
    let second = bytes.len();
    bytes.extend(batch(102, &["c"], Compression::None));
    file(&disk, name, &bytes);
    let (kind, all) = entries(&disk, name, true);
    assert_eq!(kind, Kind::Segment);
    assert_eq!(all.len(), 5, "two batches, three records: {all:?}");
    let Entry::Batch(first) = &all[0] else { panic!("{all:?}") };
    assert_eq!((first.base_offset, first.last_offset, first.count), (Offset(100), Offset(101), 2));
    assert_eq!((first.compression, first.is_valid), ("zstd", true));
    let Entry::Record(record) = &all[2] else { panic!("{all:?}") };
    assert_eq!((record.offset, record.value.as_deref()), (Offset(101), Some(&b"b"[..])));
    assert_eq!(record.headers, [(Bytes::from("h"), None)]);
    assert_eq!(entries(&disk, name, false).1.len(), 2, "headers alone");

    // A flipped bit in the second batch, and half of a third.
    *bytes.last_mut().expect("not empty") ^= 1;
    bytes.extend(&batch(103, &["d"], Compression::None)[..40]);
    file(&disk, name, &bytes);
    let (_, all) = entries(&disk, name, true);
    let found = problems(&all);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("checksum") && found[1].contains("40 bytes"), "{found:?}");
    let at = all.iter().find_map(|entry| match entry {
        Entry::Problem { position, .. } => Some(*position),
        _ => None,
    });
    assert_eq!(at, Some(second as u64));
}

#[test]
fn indexes_show_their_entries_and_what_does_not_ascend() {
    let disk = MemoryDisk::new();
    let mut bytes = Vec::new();
    for (relative, position) in [(9u32, 4_096u32), (19, 8_192), (5, 9_000), (0, 0), (0, 0)] {
        bytes.extend(relative.to_be_bytes());
        bytes.extend(position.to_be_bytes());
    }
    let name = "/00000000000000000100.index";
    file(&disk, name, &bytes);
    let (_, all) = entries(&disk, name, false);
    assert_eq!(all[0], Entry::Position { offset: Offset(109), position: 4_096 });
    assert_eq!(problems(&all).len(), 2, "one that does not ascend, and zeros: {all:?}");

    let mut bytes = 77i64.to_be_bytes().to_vec();
    bytes.extend(5u32.to_be_bytes());
    file(&disk, "/00000000000000000100.timeindex", &bytes);
    let (_, all) = entries(&disk, "/00000000000000000100.timeindex", false);
    assert_eq!(all, [Entry::Time { timestamp: TimestampMs(77), offset: Offset(105) }]);
}

#[test]
fn text_files_show_their_rows() {
    let disk = MemoryDisk::new();
    file(&disk, "/leader-epoch-checkpoint", b"0\n2\n0 0\n3 120\n");
    let (kind, all) = entries(&disk, "/leader-epoch-checkpoint", false);
    assert_eq!((kind, problems(&all).len(), all.len()), (Kind::LeaderEpochs, 0, 2));
    file(&disk, "/replication-offset-checkpoint", b"0\n3\nmy topic 0 17\nnonsense\n");
    let (_, all) = entries(&disk, "/replication-offset-checkpoint", false);
    let topic = "my topic".to_owned();
    assert_eq!(all[0], Entry::PartitionOffset { topic, partition: 0, offset: Offset(17) });
    assert_eq!(problems(&all).len(), 2, "a row and the count: {all:?}");
    file(&disk, "/partition.metadata", b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA\n");
    let (_, all) = entries(&disk, "/partition.metadata", false);
    assert_eq!(all.len(), 2);
    assert!(dump(&disk, Path::new("/holiday.jpg"), false).is_err());
}
