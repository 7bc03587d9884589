//! Checks the model of replication, within bounds.
//!
//! `cargo test --test model` searches every configuration breadth first and by random walks for
//! about a minute. `PURLIN_MODEL_STATES` sets the states per configuration and search (60,000
//! unless told), `PURLIN_MODEL_SEED` the seed of the walks, `PURLIN_MODEL_FAULTS` how often in a hundred
//! times they take a fault that they could take.

#[path = "mod.rs"]
mod model;

use model::{Cluster, Walk, configs};
use stateright::{Checker, Model};
use std::time::{Duration, Instant};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Fails with the shortest way to the broken invariant that the search found.
fn report(name: &str, kind: &str, checker: &impl Checker<Cluster>, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    let states = checker.state_count();
    println!(
        "{name:28} {kind:14} {states:>9} states ({:>8} unique), depth {:>3}, {:>7.0} a second",
        checker.unique_state_count(),
        checker.max_depth(),
        states as f64 / seconds
    );
    if let Some(path) = checker.discovery("the catalogue") {
        let last = path.last_state().violation.clone();
        let steps: Vec<String> = path
            .into_vec()
            .iter()
            .map(|(world, action)| format!("{}\n  {action:?}", world.summary()))
            .collect();
        let what = last.expect("a violation");
        panic!("{name}, {kind}: {what}\nby\n{}", steps.join("\n"));
    }
}

#[test]
fn replication_keeps_the_catalogue_in_every_reachable_state_within_bounds() {
    let states = usize::try_from(number("PURLIN_MODEL_STATES").unwrap_or(60_000)).expect("fits");
    let seed = number("PURLIN_MODEL_SEED").unwrap_or(1);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let fault_percent = number("PURLIN_MODEL_FAULTS").unwrap_or(20);
    // One thread walks the same way twice.
    let walkers = if number("PURLIN_MODEL_SEED").is_some() { 1 } else { threads };
    println!(
        "PURLIN_MODEL_SEED={seed} PURLIN_MODEL_STATES={states} PURLIN_MODEL_FAULTS={fault_percent}"
    );
    for config in configs() {
        let name = config.name;
        let begun = Instant::now();
        let breadth = Cluster::new(config.clone())
            .checker()
            .threads(threads)
            .target_state_count(states)
            .spawn_bfs()
            .join();
        report(name, "breadth first", &breadth, begun);
        let begun = Instant::now();
        let walks = Cluster::new(config)
            .walking()
            .checker()
            .threads(walkers)
            .target_state_count(states)
            .target_max_depth(80)
            .timeout(Duration::from_secs(600))
            .spawn_simulation(seed, Walk { fault_percent })
            .join();
        report(name, "random walks", &walks, begun);
        for wanted in ["two commits", "a commit and a failover"] {
            assert!(walks.discovery(wanted).is_some(), "{name}: the model never sees {wanted}");
        }
    }
}
