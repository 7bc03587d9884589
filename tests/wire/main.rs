//! The client port over real sockets: a whole node in this process, and a client that can send
//! anything, also what no real client would.
//!
//! Tests named `trap_<section>_<area>_<slug>` each stand for one of the compatibility traps that
//! other brokers fell into (docs/decisions/100-compat-differences.md).

mod cluster;
mod harness;
mod hostile;
mod traps_admin;
mod traps_cluster;
mod traps_connection;
mod traps_fetch;
mod traps_idempotence;
mod traps_list_offsets;
mod traps_metadata;
mod traps_produce;
