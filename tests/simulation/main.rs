//! Runs many seeds of the simulated cluster.
//!
//! `cargo test --test simulation`. `PURLIN_SIMULATION_SEED=N` repeats one seed and prints its trace;
//! `PURLIN_SIMULATION_SEEDS` sets how many, `PURLIN_SIMULATION_FROM` the first,
//! `PURLIN_SIMULATION_SECONDS` when to stop at the latest.

#[path = "mod.rs"]
mod simulation;

use simulation::plan::{Mode, Plan};
use simulation::{Outcome, run};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What is wrong with a run, if anything; a panic of the code under test counts.
fn wrong(seed: u64, mode: Mode, skip: &BTreeSet<usize>) -> (Option<String>, Option<Outcome>) {
    match catch_unwind(AssertUnwindSafe(|| run(seed, mode, skip, false))) {
        Ok(outcome) => (outcome.violation.as_ref().map(ToString::to_string), Some(outcome)),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            (Some(format!("panic: {}", text.unwrap_or_default())), None)
        }
    }
}

/// Leaves out faults as long as something is still wrong.
fn shrink(seed: u64, mode: Mode) -> BTreeSet<usize> {
    let mut skip = BTreeSet::new();
    for at in 0..Plan::draw(seed, mode).faults.len() {
        skip.insert(at);
        if wrong(seed, mode, &skip).0.is_none() {
            skip.remove(&at);
        }
    }
    skip
}

fn fail(test: &str, seed: u64, mode: Mode, what: &str) -> ! {
    let skip = shrink(seed, mode);
    let plan = Plan::draw(seed, mode);
    let kept: Vec<String> = plan
        .faults
        .iter()
        .enumerate()
        .filter(|(at, _)| !skip.contains(at))
        .map(|(at, fault)| format!("  {at}: at {} ms {:?}", fault.at_ms, fault.kind))
        .collect();
    let skipped: Vec<String> = skip.iter().map(ToString::to_string).collect();
    panic!(
        "seed {seed}: {what}\nwith these faults alone:\n{}\nagain: PURLIN_SIMULATION_SEED={seed} \
         PURLIN_SIMULATION_SKIP={} cargo test --test simulation {test} -- --nocapture",
        kept.join("\n"),
        skipped.join(",")
    )
}

/// Runs seeds on every core; the first that fails ends the test.
fn seeds(test: &str, mode: Mode, count: u64, seconds: u64) {
    if let Some(seed) = number("PURLIN_SIMULATION_SEED") {
        let skip = std::env::var("PURLIN_SIMULATION_SKIP").unwrap_or_default();
        let skip = skip.split(',').filter_map(|at| at.parse().ok()).collect();
        println!("{:#?}", Plan::draw(seed, mode));
        let outcome = run(seed, mode, &skip, true);
        print!("{}", outcome.trace);
        assert!(outcome.violation.is_none(), "{}", outcome.violation.expect("just seen"));
        return;
    }
    let from = number("PURLIN_SIMULATION_FROM").unwrap_or(1);
    let count = number("PURLIN_SIMULATION_SEEDS").unwrap_or(count);
    let seconds = number("PURLIN_SIMULATION_SECONDS").unwrap_or(seconds);
    let begun = Instant::now();
    let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
    let (runs, events, simulated_ms, records) =
        (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failed = std::sync::Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed)
                    && begun.elapsed() < Duration::from_secs(seconds)
                {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        break;
                    }
                    let (what, outcome) = wrong(seed, mode, &BTreeSet::new());
                    if let Some(what) = what {
                        stop.store(true, Ordering::Relaxed);
                        failed.lock().expect("no panic under it").get_or_insert((seed, what));
                        break;
                    }
                    let outcome = outcome.expect("nothing was wrong");
                    runs.fetch_add(1, Ordering::Relaxed);
                    events.fetch_add(outcome.events, Ordering::Relaxed);
                    records.fetch_add(outcome.acknowledged as u64, Ordering::Relaxed);
                    let ms = u64::try_from(outcome.simulated_ms).expect("time grows");
                    simulated_ms.fetch_add(ms, Ordering::Relaxed);
                }
            });
        }
    });
    let runs = runs.into_inner();
    println!(
        "{mode:?}: {runs} seeds from {from} in {:.1} s: {:.0} a second; {} events, {} s simulated, \
         {} records acknowledged",
        begun.elapsed().as_secs_f64(),
        runs as f64 / begun.elapsed().as_secs_f64(),
        events.into_inner(),
        simulated_ms.into_inner() / 1_000,
        records.into_inner()
    );
    if let Some((seed, what)) = failed.into_inner().expect("no panic under it") {
        fail(test, seed, mode, &what);
    }
    assert!(runs > 0, "the test must have tested something");
}

#[test]
fn nothing_acknowledged_is_lost_whatever_goes_wrong() {
    seeds("nothing_acknowledged_is_lost_whatever_goes_wrong", Mode::Mixed, 20_000, 420);
}

#[test]
fn nothing_acknowledged_is_lost_when_all_nodes_lose_power_at_once() {
    let test = "nothing_acknowledged_is_lost_when_all_nodes_lose_power_at_once";
    seeds(test, Mode::PowerLoss, 10_000, 180);
}

#[test]
fn a_calm_cluster_takes_everything() {
    seeds("a_calm_cluster_takes_everything", Mode::Calm, 100, 60);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for (seed, mode) in [(11, Mode::Mixed), (12, Mode::Mixed), (13, Mode::PowerLoss)] {
        let first = run(seed, mode, &BTreeSet::new(), true);
        let second = run(seed, mode, &BTreeSet::new(), true);
        assert!(first.trace == second.trace, "seed {seed}: two runs differ");
        assert!(first.trace.len() > 10_000, "the trace of seed {seed} says nothing");
    }
}
