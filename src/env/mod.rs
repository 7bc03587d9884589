//! The only door to the world: clock, randomness, tasks, shutdown, disk.
//!
//! Floor 0. Everything above reaches time, chance, threads and files through here, so that tests
//! and the simulator can put their own world in its place.
//!
//! Invariant: no other module calls `SystemTime::now`, `std::fs`, `tokio::fs`, `tokio::spawn` or
//! a random number generator.
//!
//! Must never: know what a record, a topic or a node is.

pub mod clock;
pub mod descriptors;
pub mod disk;
pub mod disk_memory;
pub mod lock;
pub mod rng;
pub mod shutdown;
pub mod spawn;
