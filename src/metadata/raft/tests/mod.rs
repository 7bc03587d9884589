//! The shell against openraft's own suite, against power cuts, and as a whole group of one.

mod crash_group;
mod crash_store;
mod group;
mod loopback;
mod members;
mod mesh;
mod suite;

use super::super::{
    ControllerOptions, MetadataOptions, NoPeers, RaftTiming, SnapshotOptions, StartAs,
};
use crate::env::clock::SystemClock;
use crate::env::disk::Disk;
use crate::types::{ClusterId, NodeId};
use std::path::Path;
use std::sync::Arc;

const CLUSTER: ClusterId = ClusterId([3; 16]);

/// Node 1, with its state store in a real directory.
fn options(disk: Arc<dyn Disk>, state_dir: &Path) -> MetadataOptions {
    MetadataOptions {
        disk,
        dir: "/data/metadata".into(),
        state_dir: state_dir.to_owned(),
        cluster_id: CLUSTER,
        node_id: NodeId(1),
        rpc: "127.0.0.1:9192".to_owned(),
        start_as: StartAs::Founder,
        peers: Arc::new(NoPeers),
        timing: RaftTiming::default(),
        snapshots: SnapshotOptions::default(),
        controller: ControllerOptions::default(),
        clock: Arc::new(SystemClock),
    }
}

/// A small repeatable source of numbers: splitmix64.
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Seeds of a randomised test: one given by hand, or a few fixed ones and one that is new each
/// time.
fn seeds(fixed: u64) -> Vec<u64> {
    match std::env::var("PURLIN_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("PURLIN_TEST_SEED is a number")],
        Err(_) => {
            let fresh = u64::from(crate::env::rng::positive_i32().unsigned_abs());
            (1..=fixed).chain([fresh]).collect()
        }
    }
}

/// Names the seed when a test fails under it.
struct SaySeed(u64, &'static str);

impl Drop for SaySeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again with: PURLIN_TEST_SEED={} cargo test --lib {}", self.0, self.1);
        }
    }
}
