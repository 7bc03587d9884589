//! Power cuts at every write and every sync of a log's life: what was flushed survives, nothing
//! appears that was not appended, nothing appears twice, and producers know what the log holds.
//!
//! Each seed's life is first lived without a cut, to count its writes, syncs, cuts and renames;
//! then again with the power cut at each of them. After the crash the log is opened and compared
//! with the model, lives on, and crashes once more.
//!
//! A failure prints how to repeat it: `PURLIN_SEED=<seed> PURLIN_CUT=<change> cargo test --test
//! log_crash`.

mod log_world;

use log_world::World;
use std::sync::atomic::{AtomicU64, Ordering};

/// The least number of power cuts of one run.
const CRASHES: u64 = 10_000;
const STEPS: usize = 45;
const STEPS_AFTER: usize = 6;

/// Lives until the power goes. Gives the changes that the disk has seen.
fn live(world: &mut World, steps: usize) -> u64 {
    for _ in 0..steps {
        if !world.step() {
            break;
        }
    }
    world.disk.changes()
}

fn crash_at(seed: u64, cut: u64) {
    let mut world = World::new(seed);
    world.disk.cut_power_at(world.disk.changes() + cut);
    if world.open(false).is_ok() {
        live(&mut world, STEPS);
    }
    world.crash(seed.wrapping_mul(1_000_003).wrapping_add(cut));
    // And again, soon after: a recovery must itself survive.
    let soon = world.disk.changes() + cut % 40;
    world.disk.cut_power_at(soon);
    live(&mut world, STEPS_AFTER);
    world.crash(cut);
}

fn changes_of(seed: u64) -> u64 {
    let mut world = World::new(seed);
    let before = world.disk.changes();
    world.open(false).expect("open");
    live(&mut world, STEPS) - before
}

fn guarded(seed: u64, cut: u64) {
    if let Err(panic) = std::panic::catch_unwind(|| crash_at(seed, cut)) {
        eprintln!("repeat with: PURLIN_SEED={seed} PURLIN_CUT={cut} cargo test --test log_crash");
        std::panic::resume_unwind(panic);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn a_power_cut_anywhere_loses_nothing_that_was_flushed() {
    if let Some(seed) = number("PURLIN_SEED") {
        let cuts = number("PURLIN_CUT").map_or(0..changes_of(seed), |cut| cut..cut + 1);
        cuts.for_each(|cut| guarded(seed, cut));
        return;
    }
    let done = AtomicU64::new(0);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while done.load(Ordering::Relaxed) < CRASHES {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let changes = changes_of(seed);
                    for cut in 0..changes {
                        guarded(seed, cut);
                    }
                    // Each cut is followed by a second one.
                    done.fetch_add(2 * changes, Ordering::Relaxed);
                }
            });
        }
    });
    let done = done.load(Ordering::Relaxed);
    println!("{done} power cuts in {} lives", next.load(Ordering::Relaxed));
    assert!(done >= CRASHES);
}
