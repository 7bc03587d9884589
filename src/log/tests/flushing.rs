//! Flushes: what is on disk when, and what a failed one ends.

use super::flush::{FlushTarget, Flusher};
use super::*;
use crate::env::disk_memory::OpKind;
use crate::limits;
use std::io;
use std::sync::{Condvar, Mutex};

/// A log with its lock, as a partition holds it.
struct Target {
    log: Mutex<Log>,
    flushed: Condvar,
}

impl FlushTarget for Target {
    fn start_flush(&self) -> Option<FlushJob> {
        self.log.lock().expect("lock").start_flush()
    }

    fn finish_flush(&self, job: FlushJob, result: io::Result<()>) {
        // The log remembers a failure.
        let _ = self.log.lock().expect("lock").finish_flush(job, result);
        self.flushed.notify_all();
    }
}

impl Target {
    fn open(room: &Room, number: usize) -> Arc<Self> {
        let disk: Arc<dyn Disk> = Arc::new(room.disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(room.clock.clone());
        let dir = PathBuf::from(format!("/data/t-{number}"));
        let hints = OpenHints::default();
        let log = Log::open(disk, &dir, room.config.clone(), clock, hints).expect("open").0;
        Arc::new(Self { log: Mutex::new(log), flushed: Condvar::new() })
    }

    fn append(&self) -> Offset {
        append(&mut self.log.lock().expect("lock"), plain(1)).last_offset.next()
    }

    /// Waits for the flushed offset, or for the end of the log's life.
    fn wait(&self, upto: Offset) -> bool {
        let log = self.log.lock().expect("lock");
        let pending = |log: &mut Log| log.flushed_offset() < upto && log.failure().is_none();
        let log = self.flushed.wait_while(log, pending).expect("lock");
        log.flushed_offset() >= upto
    }
}

fn flusher(room: &Room, threads: usize) -> Flusher {
    Flusher::start(Arc::new(room.disk.clone()), Path::new("/data"), threads).expect("threads")
}

#[test]
fn one_flush_serves_all_that_was_appended_before_it_began() {
    let room = Room::new();
    let mut log = room.open();
    for _ in 0..3 {
        append(&mut log, plain(1));
    }
    let job = log.start_flush().expect("dirty");
    assert_eq!(job.upto(), Offset(3));
    append(&mut log, plain(1));
    assert!(log.start_flush().is_none(), "one at a time");
    let result = job.run();
    assert_eq!(log.finish_flush(job, result).expect("flush"), Offset(3));
    assert_eq!(flush(&mut log), Offset(4));
    assert!(log.start_flush().is_none(), "nothing is dirty");
}

#[test]
fn a_truncation_lowers_what_a_flush_under_way_may_claim() {
    let room = Room::new();
    let mut log = room.open();
    for _ in 0..5 {
        append(&mut log, plain(1));
    }
    let job = log.start_flush().expect("dirty");
    log.truncate_to(Offset(2)).expect("truncate");
    append_in(&mut log, plain(2), 1);
    let result = job.run();
    assert_eq!(log.finish_flush(job, result).expect("flush"), Offset(2));
}

#[test]
fn many_threads_and_many_logs_all_get_flushed() {
    for file_system_sync in [false, true] {
        let room = Room::new();
        room.disk.support_sync_file_system(file_system_sync);
        let flusher = flusher(&room, 3);
        let targets: Vec<Arc<Target>> = (0..20).map(|number| Target::open(&room, number)).collect();
        for _ in 0..20 {
            let asked: Vec<Offset> = targets
                .iter()
                .map(|target| {
                    let upto = target.append();
                    flusher.request(Arc::clone(target) as Arc<dyn FlushTarget>);
                    upto
                })
                .collect();
            for (target, upto) in targets.iter().zip(asked) {
                assert!(target.wait(upto));
            }
        }
        room.disk.crash(7);
        for number in 0..20 {
            let target = Target::open(&room, number);
            assert_eq!(target.log.lock().expect("lock").log_end_offset(), Offset(20));
        }
    }
}

/// Nobody can say which file a failed sync of the file system lost.
#[test]
fn a_failed_sync_of_the_file_system_fails_every_log_that_it_was_for() {
    let room = Room::new();
    room.disk.support_sync_file_system(true);
    let targets: Vec<Arc<Target>> = (0..12).map(|number| Target::open(&room, number)).collect();
    let failed = |target: &&Arc<Target>| target.log.lock().expect("lock").failure().is_some();
    let upto: Vec<Offset> = targets.iter().map(|target| target.append()).collect();
    room.disk.fail(OpKind::SyncFileSystem, "", 0, io::ErrorKind::Other);
    let flusher = flusher(&room, 1);
    for target in &targets {
        flusher.request(Arc::clone(target) as Arc<dyn FlushTarget>);
    }
    let waited = targets.iter().zip(upto).filter(|(target, upto)| !target.wait(*upto)).count();
    assert_eq!(targets.iter().filter(failed).count(), waited, "failed, or durable");
}

#[test]
fn a_panicking_target_does_not_stop_the_flusher() {
    struct Bomb;
    impl FlushTarget for Bomb {
        fn start_flush(&self) -> Option<FlushJob> {
            panic!("on purpose")
        }
        fn finish_flush(&self, _: FlushJob, _: io::Result<()>) {}
    }
    let room = Room::new();
    let flusher = flusher(&room, 1);
    flusher.request(Arc::new(Bomb));
    let target = Target::open(&room, 0);
    let upto = target.append();
    flusher.request(Arc::clone(&target) as Arc<dyn FlushTarget>);
    assert!(target.wait(upto));
}

/// The system tells an error of a file system once. Whoever asks next is told that all is well,
/// whatever became of its files, so nobody may ask again.
#[test]
fn a_file_system_whose_sync_failed_is_not_asked_again() {
    let room = Room::new();
    room.disk.support_sync_file_system(true);
    let flusher = flusher(&room, 0);
    let targets: Vec<_> =
        (0..2 * limits::FLUSH_FILE_SYSTEM_FROM).map(|number| Target::open(&room, number)).collect();
    let (first, second) = targets.split_at(limits::FLUSH_FILE_SYSTEM_FROM);
    let flush = |targets: &[Arc<Target>]| {
        for target in targets {
            target.append();
            flusher.request(Arc::clone(target) as Arc<dyn FlushTarget>);
        }
        flusher.flush_waiting();
    };
    room.disk.fail(OpKind::SyncFileSystem, "", 0, io::ErrorKind::Other);
    flush(first);
    assert!(first.iter().all(|target| target.log.lock().expect("lock").failure().is_some()));
    // Whoever asks again finds out here.
    room.disk.fail(OpKind::SyncFileSystem, "", 0, io::ErrorKind::Other);
    flush(second);
    assert!(second.iter().all(|target| target.wait(Offset(1))));
}
