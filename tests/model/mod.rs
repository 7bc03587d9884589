//! The replication protocol as a stateright model: the real `purlin::replica::step` on every node
//! and the real `purlin::metadata::state::apply` on the controller, over small logs that forget
//! what was not flushed, and a network that loses, repeats and reorders.
//!
//! Bounded by [`world::Config`]: each configuration lets a few things happen a few times.

pub mod actions;
mod check;
pub mod storage;
pub mod world;

use actions::Action;
use purlin::env::rng::Seeded;
use purlin::types::invariant::{Invariant, Violation};
use purlin::types::mutant::Mutant;
use stateright::{Chooser, Expectation, Model, Property};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Config, World};

/// One configuration, with a known bug put back or none.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub config: Config,
    pub mutant: Option<Mutant>,
    /// Whether this is for a random walk, which goes on where a search would stop.
    pub walks: bool,
}

impl Cluster {
    pub fn new(config: Config) -> Self {
        Self { config, mutant: None, walks: false }
    }

    pub fn walking(self) -> Self {
        Self { walks: true, ..self }
    }

    fn under<T>(&self, work: impl FnOnce() -> T) -> T {
        match self.mutant {
            Some(mutant) => mutant.with(work),
            None => work(),
        }
    }
}

impl Model for Cluster {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut world = World::new(&self.config);
        for id in 1..=self.config.nodes {
            actions::begin(&mut world, &self.config, purlin::types::NodeId(id));
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions::possible(world, &self.config, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.steps += u32::from(self.walks);
        // The real code's own assertions count as well.
        let acted = catch_unwind(AssertUnwindSafe(|| {
            self.under(|| actions::act(&mut next, &self.config, action))
        }));
        match acted {
            Ok(done) => done.map(|()| next),
            Err(panic) => {
                let what = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                    .unwrap_or_default();
                let named = Invariant::ALL.iter().find(|one| what.contains(one.name()));
                let invariant = named.copied().unwrap_or(Invariant::OffsetOrder);
                next = world.clone();
                next.violation = Some(Violation { invariant, what });
                Some(next)
            }
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn holds(_: &Cluster, world: &World) -> bool {
            world.violation.is_none()
        }
        fn commits(_: &Cluster, world: &World) -> bool {
            world.committed.len() > 1
        }
        fn fails_over(_: &Cluster, world: &World) -> bool {
            !world.committed.is_empty() && world.partition().leader_epoch.0 > 0
        }
        vec![
            Property::always("the catalogue", holds),
            // A model in which nothing happens would hold anything.
            Property {
                expectation: Expectation::Sometimes,
                name: "two commits",
                condition: commits,
            },
            Property {
                expectation: Expectation::Sometimes,
                name: "a commit and a failover",
                condition: fails_over,
            },
        ]
    }
}

/// Chooses by seed, and takes a fault only every few times that one comes up.
#[derive(Debug, Clone)]
pub struct Walk {
    /// In how many of a hundred cases a fault is taken.
    pub fault_percent: u64,
}

impl Chooser<Cluster> for Walk {
    type State = Seeded;

    fn new_state(&self, seed: u64) -> Seeded {
        Seeded::new(seed)
    }

    fn choose_initial_state(&self, _: &mut Seeded, _: &[World]) -> usize {
        0
    }

    fn choose_action(&self, rng: &mut Seeded, _: &World, actions: &[Action]) -> usize {
        let count = actions.len() as u64;
        for _ in 0..8 {
            let pick = usize::try_from(rng.below(count)).expect("small");
            if !actions[pick].is_fault() || rng.chance(self.fault_percent) {
                return pick;
            }
        }
        usize::try_from(rng.below(count)).expect("small")
    }
}

/// Every configuration that is checked.
pub fn configs() -> Vec<Config> {
    let small = Config::small;
    vec![
        small("three replicas, min ISR 2"),
        Config { insync_min: 1, fences_max: 2, ..small("three replicas, min ISR 1") },
        Config {
            crashes_max: 0,
            fences_max: 3,
            shrinks_max: 2,
            ..small("fencing and lag, no crash")
        },
        Config { crashes_max: 3, fences_max: 0, repeats_max: 0, ..small("crashes alone") },
        Config { write_caching: true, crashes_max: 1, ..small("write.caching") },
        Config { unclean: true, crashes_max: 3, ..small("unclean election") },
        Config {
            nodes: 4,
            target: Some(vec![2, 3, 4]),
            partition_epoch_max: 12,
            crashes_max: 1,
            ..small("reassignment")
        },
    ]
}
