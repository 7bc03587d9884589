//! What one seed stands for: the size of the cluster, the weather on the network, the load, and the
//! list of faults. All drawn before the run begins, so that faults can be left out one by one.

use purlin::env::rng::Seeded;

/// What kind of run a seed is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every kind of fault, in any order.
    Mixed,
    /// All nodes lose power at once, again and again, under load.
    PowerLoss,
    /// No faults at all: what fails here is wrong without any.
    Calm,
}

/// One fault, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub at_ms: i64,
    pub kind: FaultKind,
}

/// What happens to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// A node loses power in the middle of one of its next writes, and comes back later.
    PowerCut { node: i32, changes: u64, back_after_ms: i64 },
    /// A process is killed; its page cache stays.
    Kill { node: i32, back_after_ms: i64 },
    /// Every node loses power at the same moment.
    PowerCutAll { back_after_ms: i64 },
    /// A process stands still, and goes on as if nothing had happened.
    Pause { node: i32, for_ms: i64 },
    /// Nothing passes from one node to another; the way back stays open.
    Cut { from: i32, to: i32, for_ms: i64 },
    /// A node and the rest do not hear each other; `clients` stay with it.
    Isolate { node: i32, for_ms: i64 },
    /// Two halves that overlap in nobody.
    Split { side: Vec<i32>, for_ms: i64 },
    /// The next sync of a file fails for good.
    SyncFails { node: i32 },
    /// The disk takes no more bytes for a while.
    DiskFull { node: i32, for_ms: i64 },
    /// The controller steps down.
    ControllerChanges,
    /// A node's applied metadata lags behind.
    SlowMetadata { node: i32, for_ms: i64 },
    /// The partition moves to other replicas.
    Reassign { partition: i32, replicas: Vec<i32> },
    /// The preferred replicas lead again.
    PreferredLeaders,
    /// The wall clock of a node jumps.
    ClockJump { node: i32, by_ms: i64 },
}

/// Everything that a seed decides before the run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub nodes: i32,
    pub partitions: i32,
    pub insync_min: i32,
    pub producers: u32,
    pub batches_per_producer: u64,
    pub loss_percent: u64,
    pub repeat_percent: u64,
    pub delay_ms_max: u64,
    pub flush_ms_max: u64,
    pub faults: Vec<Fault>,
    /// Faults are over from here on.
    pub calm_from_ms: i64,
}

impl Plan {
    pub fn draw(seed: u64, mode: Mode) -> Self {
        let mut rng = Seeded::new(seed);
        let nodes = if rng.chance(75) { 3 } else { 3 + small(rng.below(3)) };
        let partitions = 1 + small(rng.below(2));
        let calm_from_ms = 2_000;
        let mut plan = Self {
            seed,
            nodes,
            partitions,
            insync_min: if rng.chance(85) { 2 } else { 1 },
            producers: 1 + u32::try_from(rng.below(2)).expect("small"),
            batches_per_producer: 6 + rng.below(14),
            loss_percent: [0, 0, 1, 5][usize::try_from(rng.below(4)).expect("small")],
            repeat_percent: [0, 0, 2, 5][usize::try_from(rng.below(4)).expect("small")],
            delay_ms_max: 1 + rng.below(12),
            flush_ms_max: 1 + rng.below(20),
            faults: Vec::new(),
            calm_from_ms,
        };
        match mode {
            Mode::Calm => {
                plan.loss_percent = 0;
                plan.repeat_percent = 0;
            }
            Mode::PowerLoss => {
                for _ in 0..1 + rng.below(3) {
                    let at_ms = 20 + big(rng.below(900));
                    let back_after_ms = 20 + big(rng.below(300));
                    plan.faults
                        .push(Fault { at_ms, kind: FaultKind::PowerCutAll { back_after_ms } });
                }
            }
            Mode::Mixed => {
                for _ in 0..1 + rng.below(6) {
                    let at_ms = big(rng.below(1_500));
                    let kind = plan.draw_fault(&mut rng);
                    plan.faults.push(Fault { at_ms, kind });
                }
            }
        }
        plan.faults.sort_by_key(|fault| fault.at_ms);
        plan
    }

    fn draw_fault(&self, rng: &mut Seeded) -> FaultKind {
        let node = 1 + small(rng.below(u64::try_from(self.nodes).expect("few")));
        let other = 1 + node % self.nodes;
        let span = 100 + big(rng.below(1_400));
        match rng.below(20) {
            0..=3 => FaultKind::PowerCut { node, changes: rng.below(8), back_after_ms: span },
            4 | 5 => FaultKind::Kill { node, back_after_ms: span },
            6 => FaultKind::PowerCutAll { back_after_ms: 20 + span / 4 },
            7 | 8 => FaultKind::Pause { node, for_ms: 400 + span },
            9 => FaultKind::Cut { from: node, to: other, for_ms: span },
            10 | 11 => FaultKind::Isolate { node, for_ms: span },
            12 => FaultKind::Split { side: vec![node, other], for_ms: span },
            13 => FaultKind::SyncFails { node },
            14 => FaultKind::DiskFull { node, for_ms: span },
            15 => FaultKind::ControllerChanges,
            16 => FaultKind::SlowMetadata { node, for_ms: span },
            17 => {
                let mut replicas: Vec<i32> = (1..=self.nodes).collect();
                for at in (1..replicas.len()).rev() {
                    replicas.swap(at, usize::try_from(rng.below(at as u64 + 1)).expect("few"));
                }
                replicas.truncate(2 + usize::try_from(rng.below(2)).expect("few"));
                let partition = small(rng.below(u64::try_from(self.partitions).expect("few")));
                FaultKind::Reassign { partition, replicas }
            }
            18 => FaultKind::PreferredLeaders,
            _ => FaultKind::ClockJump { node, by_ms: 3_600_000 * (1 - 2 * big(rng.below(2))) },
        }
    }
}

fn small(number: u64) -> i32 {
    i32::try_from(number).expect("a small number")
}

fn big(number: u64) -> i64 {
    i64::try_from(number).expect("a small number")
}
