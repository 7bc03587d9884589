//! Three replicas of two partitions against everything that can happen to them: whatever was
//! committed survives, is never seen to change, and the logs agree in the end.
//!
//! The partitions, the fetchers and the fetch sessions are the real ones, on disks in memory that
//! forget what was not synced; the controller is a small one (`controller.rs`). Each life is a
//! random one: produces with retries, flushes, fetches, lost connections, metadata that arrives
//! late, power cuts at any write or sync, clean stops, elections, ISR changes that are refused or
//! whose answer is lost, DeleteRecords, clocks that jump. All of it follows from the seed. To run
//! one again: `PURLIN_REPLICAS_SEED=N cargo test --test replicas`; `PURLIN_REPLICAS_LIVES` sets
//! how many.

mod controller;
mod node;
mod world;

use purlin::types::mutant::Mutant;
use world::{Tally, World};

const LIVES_DEFAULT: u64 = 50;
const STEPS_PER_LIFE: u64 = 600;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn live(seed: u64, steps: u64) -> Tally {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step();
    }
    world.heal_and_compare();
    world.tally
}

#[test]
fn what_was_committed_survives_on_every_replica() {
    let (first, lives) = match number("PURLIN_REPLICAS_SEED") {
        Some(seed) => (seed, 1),
        None => (
            u64::from(purlin::env::rng::positive_i32().unsigned_abs()) << 16,
            number("PURLIN_REPLICAS_LIVES").unwrap_or(LIVES_DEFAULT),
        ),
    };
    let mut all = Tally::default();
    for seed in first..first + lives {
        match std::panic::catch_unwind(|| live(seed, STEPS_PER_LIFE)) {
            Ok(tally) => all.add(tally),
            Err(panic) => {
                eprintln!(
                    "seed {seed} fails; again: PURLIN_REPLICAS_SEED={seed} cargo test --test replicas"
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{lives} lives from seed {first}, {} steps: {all:?}", lives * STEPS_PER_LIFE);
    if lives >= LIVES_DEFAULT {
        assert!(
            all.acknowledged > lives && all.elections > lives && all.crashes > lives / 2,
            "the test must have tested something: {all:?}"
        );
        assert!(all.cuts > 0 && all.retries > 0, "logs never diverged, or nothing was retried");
    }
}

/// The harness is worth something only if it finds bugs: these are put back, one at a time.
#[test]
fn known_bugs_are_found() {
    let fails = |seed| std::panic::catch_unwind(|| live(seed, STEPS_PER_LIFE)).is_err();
    {
        let mutant = Mutant::AckBeforeFlush;
        let found = (0..400).find(|seed| mutant.with(|| fails(*seed)));
        let Some(seed) = found else { panic!("{mutant} was not caught") };
        assert!(!fails(seed), "seed {seed} fails without {mutant}, too");
        println!("{mutant}: caught by seed {seed}");
    }
}
