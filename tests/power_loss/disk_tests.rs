//! The disk of the power-loss tests keeps what was synced, may lose the rest, and does fail where
//! it is told to.

use crate::disk::{Cut, Fault, On, PowerDisk};
use purlin::env::disk::{Disk as _, OpenMode, RealDisk};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// A disk in a directory of its own.
struct Bench {
    disk: PowerDisk,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = crate::common::scratch("power-disk-");
        let (store, at) = (folder.path().join("store"), folder.path().join("mount"));
        fs::create_dir(&store).expect("made");
        fs::create_dir(&at).expect("made");
        let disk = PowerDisk::mount(&store, &at).unwrap_or_else(|error| panic!("{error}"));
        Self { disk, _folder: folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    fn names(&self, below: &str) -> Vec<String> {
        let list = RealDisk.list(&self.path(below)).expect("listed");
        list.into_iter().map(|entry| entry.name).collect()
    }

    /// A file with synced content and a synced name.
    fn durable(&self, name: &str, bytes: &[u8]) -> File {
        let path = self.path(name);
        let mut options = File::options();
        let mut file =
            options.read(true).write(true).create_new(true).open(&path).expect("a new file");
        file.write_all(bytes).expect("written");
        file.sync_data().expect("synced");
        RealDisk.sync_dir(path.parent().expect("a parent")).expect("synced");
        file
    }

    fn cut(&mut self, cut: Cut) -> crate::disk::Losses {
        self.disk.power_cycle(cut).expect("cut and mounted again")
    }
}

#[test]
fn what_was_synced_survives_and_the_rest_goes() {
    let mut bench = Bench::new();
    let file = bench.durable("kept", b"synced");
    file.write_all_at(b"SYN", 0).expect("written");
    file.write_all_at(b" and more", 6).expect("written");
    assert_eq!(fs::read(bench.path("kept")).expect("read"), b"SYNced and more");
    let unsynced = File::create(bench.path("no-name")).expect("made");
    unsynced.sync_all().expect("synced");
    drop((file, unsynced));
    let losses = bench.cut(Cut::Everything);
    assert_eq!((losses.writes, losses.names), (2, 1), "{losses:?}");
    assert_eq!(bench.names(""), ["kept"], "a synced file without a synced name is gone");
    assert_eq!(fs::read(bench.path("kept")).expect("read"), b"synced");
    let losses = bench.cut(Cut::Everything);
    assert_eq!(losses, crate::disk::Losses::default(), "what is left is durable");
}

#[test]
fn cutting_and_growing_a_file_comes_back_too() {
    let mut bench = Bench::new();
    let file = bench.durable("file", b"0123456789");
    file.set_len(4).expect("cut");
    file.write_all_at(b"xy", 8).expect("written over a hole");
    assert_eq!(fs::read(bench.path("file")).expect("read"), b"0123\0\0\0\0xy");
    drop(file);
    bench.cut(Cut::Everything);
    assert_eq!(fs::read(bench.path("file")).expect("read"), b"0123456789");
    let file = File::options().write(true).open(bench.path("file")).expect("opened");
    file.set_len(4).expect("cut");
    file.sync_data().expect("synced");
    drop(file);
    bench.cut(Cut::Everything);
    assert_eq!(fs::read(bench.path("file")).expect("read"), b"0123");
}

#[test]
fn names_come_and_go_with_their_directory() {
    let mut bench = Bench::new();
    for name in ["removed", "renamed", "target"] {
        bench.durable(name, name.as_bytes());
    }
    fs::remove_file(bench.path("removed")).expect("removed");
    fs::rename(bench.path("renamed"), bench.path("target")).expect("renamed");
    fs::create_dir(bench.path("folder")).expect("made");
    bench.durable("folder/inside", b"in a folder without a durable name");
    assert_eq!(bench.names(""), ["folder", "target"]);
    bench.cut(Cut::Everything);
    assert_eq!(bench.names(""), ["removed", "renamed", "target"]);
    assert_eq!(fs::read(bench.path("target")).expect("read"), b"target");

    fs::remove_file(bench.path("removed")).expect("removed");
    fs::rename(bench.path("renamed"), bench.path("target")).expect("renamed");
    fs::create_dir(bench.path("folder")).expect("made");
    bench.durable("folder/inside", b"kept");
    RealDisk.sync_dir(bench.disk.path()).expect("synced");
    bench.cut(Cut::Everything);
    assert_eq!(bench.names(""), ["folder", "target"]);
    assert_eq!(fs::read(bench.path("target")).expect("read"), b"renamed");
    assert_eq!(fs::read(bench.path("folder/inside")).expect("read"), b"kept");
}

#[test]
fn a_move_between_directories_is_one_step() {
    for sync in ["", "to", "from"] {
        let mut bench = Bench::new();
        for folder in ["from", "to"] {
            fs::create_dir(bench.path(folder)).expect("made");
        }
        bench.durable("from/file", b"x");
        RealDisk.sync_dir(bench.disk.path()).expect("synced");
        fs::rename(bench.path("from/file"), bench.path("to/file")).expect("moved");
        if !sync.is_empty() {
            RealDisk.sync_dir(&bench.path(sync)).expect("synced");
        }
        bench.cut(Cut::Everything);
        let places = (bench.names("from").len(), bench.names("to").len());
        assert_eq!(places, if sync.is_empty() { (1, 0) } else { (0, 1) }, "synced: {sync:?}");
    }
}

#[test]
fn an_open_file_without_a_name_lives_until_it_is_closed() {
    let bench = Bench::new();
    let file = bench.durable("file", b"still here");
    fs::remove_file(bench.path("file")).expect("removed");
    RealDisk.sync_dir(bench.disk.path()).expect("synced");
    let mut bytes = [0; 10];
    file.read_exact_at(&mut bytes, 0).expect("read");
    assert_eq!(&bytes, b"still here");
}

#[test]
fn a_directory_can_be_removed_while_it_is_read() {
    let bench = Bench::new();
    fs::create_dir(bench.path("many")).expect("made");
    for number in 0..500 {
        File::create(bench.path(&format!("many/{number}"))).expect("made");
    }
    assert_eq!(bench.names("many").len(), 500);
    fs::remove_dir_all(bench.path("many")).expect("removed");
    assert!(bench.names("").is_empty());
}

/// Over many seeds, each kind of ending is there: nothing, all, the first ones, a torn one.
#[test]
fn a_cut_by_seed_may_leave_any_part_of_what_was_not_synced() {
    let mut bench = Bench::new();
    let (mut none, mut all, mut torn, mut loose) = (0, 0, 0, 0);
    let before = vec![b'.'; 4096];
    drop(bench.durable("file", &before));
    for seed in 0..200 {
        let file = File::options().write(true).open(bench.path("file")).expect("opened");
        file.write_all_at(&before, 0).expect("written");
        file.set_len(4096).expect("cut");
        file.sync_data().expect("synced");
        for (letter, position) in [(b'a', 0), (b'b', 1024), (b'c', 2048), (b'd', 4096)] {
            file.write_all_at(&[letter; 1024], position).expect("written");
        }
        drop(file);
        bench.cut(Cut::Seeded(seed));
        let bytes = fs::read(bench.path("file")).expect("read");
        assert!(bytes.len() >= 4096, "what was synced is there");
        let count = |letter: u8| bytes.iter().filter(|byte| **byte == letter).count();
        let counts = [b'a', b'b', b'c', b'd'].map(count);
        let strange = bytes.iter().filter(|byte| !b".abcd\0".contains(byte)).count();
        assert_eq!(strange, 0, "nothing comes from nowhere");
        none += u32::from(counts == [0; 4]);
        all += u32::from(counts == [1024; 4]);
        torn += u32::from(counts.iter().any(|count| *count != 0 && *count != 1024));
        loose += u32::from(counts[0] == 0 && counts[1] + counts[2] + counts[3] > 0);
    }
    println!(
        "of 200 cuts: {none} left nothing, {all} all, {torn} a torn write, {loose} loose ones"
    );
    assert!(none > 10 && all > 10 && torn > 10 && loose > 10);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let life = |seed: u64| {
        let mut bench = Bench::new();
        let file = bench.durable("file", b"");
        for number in 0..50u64 {
            let bytes = [u8::try_from(number % 200).expect("small"); 700];
            file.write_all_at(&bytes, number * 300).expect("written");
            File::create(bench.path(&format!("name-{number}"))).expect("made");
        }
        drop(file);
        bench.cut(Cut::Seeded(seed));
        (bench.names(""), fs::read(bench.path("file")).expect("read"))
    };
    let lives: Vec<_> = (0..8).map(life).collect();
    assert_eq!(lives, (0..8).map(life).collect::<Vec<_>>());
    assert!(lives.iter().any(|one| *one != lives[0]), "other seeds give other endings");
}

#[test]
fn a_failed_sync_loses_its_bytes_for_good() {
    let mut bench = Bench::new();
    let file = bench.durable("file", b"first ");
    file.write_all_at(b"second ", 6).expect("written");
    let fault = |on| Fault { on, path_part: "file".to_owned(), skip: 0, times: 1, errno: 5 };
    bench.disk.inject(fault(On::Sync));
    let failed = file.sync_data().expect_err("the sync fails");
    assert_eq!(failed.raw_os_error(), Some(5));
    file.write_all_at(b"third", 13).expect("written");
    file.sync_data().expect("a later sync succeeds");
    assert_eq!(fs::read(bench.path("file")).expect("read"), b"first second third");
    drop(file);
    bench.cut(Cut::Everything);
    assert_eq!(fs::read(bench.path("file")).expect("read"), b"first \0\0\0\0\0\0\0third");
}

#[test]
fn writes_and_names_fail_where_they_are_told_to() {
    let bench = Bench::new();
    let fault = |on, skip, errno| Fault { on, path_part: String::new(), skip, times: 1, errno };
    let file = bench.durable("file", b"x");
    bench.disk.inject(fault(On::Write, 1, 28));
    file.write_all_at(b"a", 1).expect("the first one passes");
    let full = file.write_all_at(b"b", 2).expect_err("the second fails");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    file.write_all_at(b"b", 2).expect("the third passes");
    bench.disk.inject(fault(On::Name, 0, 5));
    File::create(bench.path("other")).expect_err("fails");
    bench.disk.inject(fault(On::SyncDir, 0, 5));
    RealDisk.sync_dir(bench.disk.path()).expect_err("fails");
    bench.disk.inject(fault(On::Read, 0, 5));
    bench.disk.lift_faults();
    assert_eq!(fs::read(bench.path("file")).expect("read"), b"xab");
}

#[test]
fn a_full_disk_says_so_and_shows_its_room() {
    let bench = Bench::new();
    bench.disk.set_capacity(Some(64 * 1024));
    let path = bench.path("file");
    let file = RealDisk.open(&path, OpenMode::CreateNew).expect("made");
    file.write_all_at(&[1; 60 * 1024], 0).expect("fits");
    let full = file.write_all_at(&[1; 8 * 1024], 60 * 1024).expect_err("does not fit");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    let space = RealDisk.space(&path).expect("known");
    assert_eq!((space.total_bytes, space.available_bytes), (64 * 1024, 4096));
    file.write_all_at(&[2; 8 * 1024], 0).expect("what is there can be written over");
}

#[test]
fn a_device_that_lies_about_syncs_loses_everything() {
    let mut bench = Bench::new();
    bench.disk.ignore_syncs(true);
    drop(bench.durable("file", b"said to be synced"));
    bench.cut(Cut::Everything);
    assert!(bench.names("").is_empty());
}

#[test]
fn without_power_every_request_fails() {
    let mut bench = Bench::new();
    let file = bench.durable("file", b"x");
    bench.disk.power_off();
    file.write_all_at(b"y", 0).expect_err("no power");
    file.sync_data().expect_err("no power");
    drop(file);
    bench.cut(Cut::Everything);
    assert_eq!(fs::read(bench.path("file")).expect("read"), b"x");
}
