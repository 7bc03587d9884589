//! A log behaves as a plain list: random appends, rolls, truncations, retention, DeleteRecords,
//! look-ups by time, elections and restarts, on a disk in memory.
//!
//! A failure prints its seed; run it again with `PURLIN_SEED=<seed> cargo test --test log_model`.

mod log_world;

use log_world::World;

const SEEDS: u64 = 150;
const STEPS: usize = 200;

fn live(seed: u64) {
    let mut world = World::new(seed);
    world.open(false).expect("open");
    for _ in 0..STEPS {
        assert!(world.step(), "nothing fails here");
    }
    world.check_contents();
    world.check_reads();
}

#[test]
fn a_log_is_a_list() {
    let seeds = match std::env::var("PURLIN_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("PURLIN_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| live(seed)) {
            eprintln!("repeat with: PURLIN_SEED={seed} cargo test --test log_model");
            std::panic::resume_unwind(panic);
        }
    }
}
