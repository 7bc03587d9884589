//! One conformance suite for every `Disk`, run against the machine's and the one in memory, and
//! what only the one in memory can show: what a power cut may and may not take.

use purlin::env::disk::{Disk, DiskFile, OpenMode, RealDisk};
use purlin::env::disk_memory::{MemoryDisk, OpKind};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Every promise of `env::disk` that can be seen without cutting the power.
fn conforms(disk: &dyn Disk, root: &Path) {
    files_hold_what_was_written(disk, root);
    open_modes_do_what_they_say(disk, root);
    names_come_move_and_go(disk, root);
    open_files_outlive_their_names(disk, root);
    assert!(disk.space(root).expect("space").available_bytes > 0);
    disk.sync_file_system(root).expect("supported or not, no error");
}

fn contents(file: &Arc<dyn DiskFile>) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len().expect("length")).expect("small")];
    let read = file.read_at(&mut bytes, 0).expect("read");
    bytes.truncate(read);
    bytes
}

fn files_hold_what_was_written(disk: &dyn Disk, root: &Path) {
    let path = root.join("file");
    let file = disk.open(&path, OpenMode::CreateNew).expect("create");
    assert!(file.is_empty().expect("length"));
    file.write_all_at(b"hello", 0).expect("write");
    file.write_all_at(b"LL", 2).expect("overwrite");
    file.write_all_at(b"!", 8).expect("write past the end");
    assert_eq!(contents(&file), b"heLLo\0\0\0!");
    let mut part = [9; 4];
    assert_eq!(file.read_at(&mut part, 7).expect("read"), 2);
    assert_eq!(&part[..2], b"\0!");
    assert_eq!(file.read_at(&mut part, 100).expect("read past the end"), 0);
    file.set_len(3).expect("cut");
    file.set_len(5).expect("grow");
    assert_eq!(contents(&file), b"heL\0\0");
    file.sync_data().expect("sync");
    let again = disk.open(&path, OpenMode::Read).expect("open again");
    assert_eq!(contents(&again), b"heL\0\0");
    assert_eq!(again.len().expect("length"), 5);
}

fn open_modes_do_what_they_say(disk: &dyn Disk, root: &Path) {
    let path = root.join("modes");
    let kind = |mode| disk.open(&path, mode).expect_err("refused").kind();
    assert_eq!(kind(OpenMode::Read), ErrorKind::NotFound);
    assert_eq!(kind(OpenMode::Write), ErrorKind::NotFound);
    let file = disk.open(&path, OpenMode::CreateOrWrite).expect("create");
    file.write_all_at(b"kept", 0).expect("write");
    assert_eq!(kind(OpenMode::CreateNew), ErrorKind::AlreadyExists);
    assert_eq!(contents(&disk.open(&path, OpenMode::CreateOrWrite).expect("open")), b"kept");
    assert_eq!(contents(&disk.open(&path, OpenMode::Write).expect("open")), b"kept");
    assert_eq!(contents(&disk.open(&path, OpenMode::CreateOrTruncate).expect("open")), b"");
    let orphan = root.join("no/such/file");
    let error = disk.open(&orphan, OpenMode::CreateOrWrite).expect_err("no parent");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

fn names_come_move_and_go(disk: &dyn Disk, root: &Path) {
    let dir = root.join("a/b");
    disk.create_dir_all(&dir).expect("make");
    disk.create_dir_all(&dir).expect("again is fine");
    for name in ["z", "m"] {
        disk.open(&dir.join(name), OpenMode::CreateNew).expect("create");
    }
    disk.create_dir_all(&dir.join("inner")).expect("make");
    let names = |path: &Path| -> Vec<(String, bool)> {
        let entries = disk.list(path).expect("list");
        entries.into_iter().map(|entry| (entry.name, entry.is_dir)).collect()
    };
    let named = |name: &str, is_dir| (name.to_owned(), is_dir);
    assert_eq!(names(&dir), [named("inner", true), named("m", false), named("z", false)]);
    disk.open(&dir.join("z"), OpenMode::Write).expect("open").write_all_at(b"z", 0).expect("write");
    disk.rename(&dir.join("z"), &dir.join("m")).expect("rename over");
    assert_eq!(contents(&disk.open(&dir.join("m"), OpenMode::Read).expect("open")), b"z");
    assert_eq!(names(&dir), [named("inner", true), named("m", false)]);
    disk.rename(&dir, &root.join("moved")).expect("rename a directory");
    assert!(!disk.exists(&dir).expect("exists"));
    assert!(disk.exists(&root.join("moved/m")).expect("exists"));
    disk.sync_dir(&root.join("moved")).expect("sync");
    disk.remove_file(&root.join("moved/m")).expect("remove");
    assert_eq!(
        disk.remove_file(&root.join("moved/m")).expect_err("gone").kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        disk.rename(&root.join("none"), &root.join("any")).expect_err("gone").kind(),
        ErrorKind::NotFound
    );
    disk.remove_dir_all(&root.join("moved")).expect("remove");
    assert_eq!(disk.list(&root.join("moved")).expect_err("gone").kind(), ErrorKind::NotFound);
    assert_eq!(
        disk.remove_dir_all(&root.join("moved")).expect_err("gone").kind(),
        ErrorKind::NotFound
    );
}

fn open_files_outlive_their_names(disk: &dyn Disk, root: &Path) {
    let path = root.join("unlinked");
    let file = disk.open(&path, OpenMode::CreateNew).expect("create");
    file.write_all_at(b"still here", 0).expect("write");
    disk.remove_file(&path).expect("remove");
    assert_eq!(contents(&file), b"still here");
    let other = disk.open(&path, OpenMode::CreateNew).expect("a new file of the name");
    assert!(other.is_empty().expect("length"));
    assert_eq!(contents(&file), b"still here");
}

#[test]
fn the_machines_disk_conforms() {
    let dir = tempfile::tempdir().expect("temporary directory");
    conforms(&RealDisk, dir.path());
}

#[test]
fn the_disk_in_memory_conforms() {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/root")).expect("make");
    conforms(&disk, Path::new("/root"));
    disk.support_sync_file_system(true);
    assert!(disk.sync_file_system(Path::new("/root")).expect("sync"));
}

fn file_with(disk: &MemoryDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(Path::new(path), OpenMode::CreateOrWrite).expect("open");
    file.write_all_at(bytes, 0).expect("write");
    file
}

fn after_crash(disk: &MemoryDisk, path: &str, seed: u64) -> Option<Vec<u8>> {
    disk.crash(seed);
    disk.open(Path::new(path), OpenMode::Read).ok().map(|file| contents(&file))
}

#[test]
fn what_was_synced_survives_every_crash() {
    for seed in 0..200 {
        let disk = MemoryDisk::new();
        let file = file_with(&disk, "/file", b"synced");
        file.sync_data().expect("sync");
        disk.sync_dir(Path::new("/")).expect("sync");
        file.write_all_at(b"more", 6).expect("write");
        let found = after_crash(&disk, "/file", seed).expect("the name was synced");
        assert!(found.starts_with(b"synced"), "seed {seed}: {found:?}");
        assert!(file.len().is_err(), "a file that was open before the crash is dead");
    }
}

#[test]
fn what_was_not_synced_meets_every_fate() {
    let mut fates = BTreeSet::new();
    for seed in 0..400 {
        let disk = MemoryDisk::new();
        let file = file_with(&disk, "/file", b"");
        file.sync_data().expect("sync");
        disk.sync_dir(Path::new("/")).expect("sync");
        file.write_all_at(&[1; 600], 0).expect("write");
        file.write_all_at(&[2; 600], 600).expect("write");
        let found = after_crash(&disk, "/file", seed).expect("the name was synced");
        fates.insert(match (found.contains(&1), found.contains(&2), found.len()) {
            (false, false, _) => "lost",
            (true, true, 1200) if !found.contains(&0) => "kept",
            (false, true, _) => "only the later write",
            (true, false, 600) => "only the earlier write",
            _ => "torn",
        });
    }
    let all = ["kept", "lost", "only the earlier write", "only the later write", "torn"];
    assert_eq!(fates, BTreeSet::from(all));
}

#[test]
fn names_need_a_directory_sync() {
    let mut fates = BTreeSet::new();
    for seed in 0..100 {
        let disk = MemoryDisk::new();
        file_with(&disk, "/old", b"old").sync_data().expect("sync");
        disk.sync_dir(Path::new("/")).expect("sync");
        file_with(&disk, "/new", b"new").sync_data().expect("sync");
        disk.rename(Path::new("/new"), Path::new("/old")).expect("rename");
        fates.insert(after_crash(&disk, "/old", seed).expect("one of the two"));
    }
    assert_eq!(fates, BTreeSet::from([b"old".to_vec(), b"new".to_vec()]));
}

#[test]
fn a_failed_sync_loses_the_bytes_for_good() {
    let disk = MemoryDisk::new();
    let file = file_with(&disk, "/file", b"doomed");
    disk.sync_dir(Path::new("/")).expect("sync");
    disk.fail(OpKind::SyncData, "file", 0, ErrorKind::Other);
    file.sync_data().expect_err("injected");
    file.sync_data().expect("a second sync proves nothing");
    assert_eq!(contents(&file), b"doomed");
    assert_eq!(after_crash(&disk, "/file", 1), Some(Vec::new()));
}

#[test]
fn power_can_be_cut_at_any_change_and_comes_back() {
    let disk = MemoryDisk::new();
    let file = file_with(&disk, "/file", b"one");
    file.sync_data().expect("sync");
    disk.sync_dir(Path::new("/")).expect("sync");
    disk.cut_power_at(disk.changes() + 1);
    file.write_all_at(b"two", 3).expect("before the cut");
    file.sync_data().expect_err("the cut");
    file.len().expect_err("dark");
    disk.exists(Path::new("/file")).expect_err("dark");
    disk.crash(3);
    let file = disk.open(Path::new("/file"), OpenMode::Write).expect("light");
    assert!(contents(&file).starts_with(b"one"));
    file.sync_data().expect("light");
}

#[test]
fn a_full_disk_takes_what_fits_and_recovers() {
    let disk = MemoryDisk::new();
    disk.set_capacity(10);
    let file = file_with(&disk, "/file", b"12345678");
    let error = file.write_all_at(b"9abc", 8).expect_err("full");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(contents(&file), b"123456789a");
    assert_eq!(disk.space(Path::new("/")).expect("space").available_bytes, 0);
    file.set_len(4).expect("cut");
    file.write_all_at(b"ok", 4).expect("room again");
}

#[test]
fn a_fork_goes_its_own_way() {
    let disk = MemoryDisk::new();
    let file = file_with(&disk, "/file", b"common");
    let fork = disk.fork();
    file.write_all_at(b"changed", 0).expect("write");
    let copy = fork.open(&PathBuf::from("/file"), OpenMode::Read).expect("open");
    assert_eq!(contents(&copy), b"common");
    disk.flip_bit(Path::new("/file"), 0, 0);
    assert_eq!(contents(&file)[0], b'c' ^ 1);
}
