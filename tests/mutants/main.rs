//! Puts every known bug of `types::mutant` back, one at a time, and waits for the model or the
//! simulation to find it. A bug that nobody finds fails the test: then the tools are blind there, or
//! the guard is not needed.
//!
//! `cargo test --test mutants -- --nocapture` prints what caught each. `PURLIN_MUTANT=NAME` tries one
//! alone; `PURLIN_MUTANT_ROUNDS` sets how long to look before giving up.

#[path = "../model/mod.rs"]
#[allow(dead_code, reason = "each of these tests uses a part")]
mod model;
#[path = "../simulation/mod.rs"]
#[allow(dead_code, reason = "each of these tests uses a part")]
mod simulation;

mod scripts;

use model::{Cluster, Walk, configs};
use purlin::types::mutant::Mutant;
use simulation::plan::Mode;
use stateright::{Checker as _, HasDiscoveries, Model as _};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// States of each configuration of the model that one round walks through.
const STATES: usize = 12_000;
/// Seeds of the simulation that one round runs.
const SEEDS: u64 = 60;
const ROUNDS: u64 = 12;

/// What found a bug.
struct Catch {
    by: String,
    after: String,
}

/// What a panic of the code under test says.
const ASSERTION: &str = "an assertion of the code";

fn script(mutant: Mutant) -> Option<Catch> {
    let failed = |script: &fn() -> purlin::types::invariant::Check| {
        let outcome = catch_unwind(AssertUnwindSafe(|| mutant.with(script)));
        match outcome {
            Ok(check) => check.err().map(|violation| violation.invariant.to_string()),
            Err(_) => Some(ASSERTION.to_owned()),
        }
    };
    scripts::ALL.iter().zip(1..).find_map(|((name, script), count)| {
        let by = failed(script)?;
        Some(Catch { by: format!("script, {name}: {by}"), after: format!("{count} scripts") })
    })
}

fn walk(mutant: Mutant, round: u64) -> Option<Catch> {
    let mut walked = 0;
    for config in configs() {
        let name = config.name;
        let cluster = Cluster { mutant: Some(mutant), ..Cluster::new(config).walking() };
        let checker = cluster
            .checker()
            .target_state_count(STATES)
            .target_max_depth(80)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_simulation(round * 1_000, Walk { fault_percent: 10 + 10 * (round % 3) })
            .join();
        walked += checker.state_count();
        if let Some(path) = checker.discovery("the catalogue") {
            let found = path.last_state().violation.clone().expect("a violation");
            return Some(Catch {
                by: format!("model, {name}: {}", found.invariant),
                after: format!(
                    "{walked} states of round {round}, in {} steps",
                    path.into_actions().len()
                ),
            });
        }
    }
    None
}

fn simulate(mutant: Mutant, round: u64) -> Option<Catch> {
    for seed in round * SEEDS..(round + 1) * SEEDS {
        let mode = if seed % 3 == 0 { Mode::PowerLoss } else { Mode::Mixed };
        let run = || simulation::run(seed, mode, &BTreeSet::new(), false);
        let by = match catch_unwind(AssertUnwindSafe(|| mutant.with(run))) {
            Ok(outcome) => match outcome.violation {
                Some(violation) => violation.invariant.to_string(),
                None => continue,
            },
            Err(_) => ASSERTION.to_owned(),
        };
        return Some(Catch {
            by: format!("simulation, {mode:?}: {by}"),
            after: format!("seed {seed}, the {}th", seed + 1),
        });
    }
    None
}

fn hunt(mutant: Mutant, rounds: u64) -> Option<Catch> {
    let rounds = 0..rounds;
    script(mutant).or_else(|| {
        rounds.clone().find_map(|round| walk(mutant, round).or_else(|| simulate(mutant, round)))
    })
}

#[test]
fn the_scripts_hold_as_long_as_nothing_is_broken() {
    for (name, script) in scripts::ALL {
        assert_eq!(script(), Ok(()), "{name}");
    }
}

#[test]
fn every_known_bug_is_found() {
    // Bugs make assertions fail: only those of this test itself are to be printed.
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !Mutant::ALL.iter().any(|mutant| mutant.is_active()) {
            loud(panic);
        }
    }));
    let wanted = std::env::var("PURLIN_MUTANT").ok();
    let rounds = std::env::var("PURLIN_MUTANT_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS);
    let mutants: Vec<Mutant> = Mutant::ALL
        .iter()
        .copied()
        .filter(|mutant| wanted.as_ref().is_none_or(|name| name == mutant.name()))
        .collect();
    assert!(!mutants.is_empty(), "there is no mutant of that name");
    let (next, survivors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    println!("| mutant | caught by | after |\n|---|---|---|");
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match hunt(*mutant, rounds) {
                        Some(Catch { by, after }) => println!("| {mutant} | {by} | {after} |"),
                        None => {
                            println!("| {mutant} | nobody | {rounds} rounds |");
                            survivors.lock().expect("no panic under it").push(*mutant);
                        }
                    }
                }
            });
        }
    });
    let survivors = survivors.into_inner().expect("no panic under it");
    assert!(
        survivors.is_empty(),
        "nothing found {survivors:?}; again: PURLIN_MUTANT=NAME cargo test --test mutants"
    );
}
