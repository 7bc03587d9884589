//! Copying from leaders: one fetcher per leader node.
//!
//! [`Core`] is synchronous and reads no clock: the simulator drives the very code that runs in
//! production. [`Manager`] gives each core a task that makes its calls.
//!
//! Invariants:
//! - An answer is taken only for the leader epoch and the log end that its fetch asked with.
//! - After a call whose result is unknown the session begins anew and names every partition, so
//!   none is ever skipped (KIP-227).
//! - What is asked for, held and waited for is bounded.
//!
//! Must never: decide who leads.

mod core;
mod manager;
mod throttle;

pub use self::core::{Core, Options, Sent};
pub use manager::{Manager, ManagerOptions};
pub use throttle::Throttle;

#[cfg(test)]
mod tests;
