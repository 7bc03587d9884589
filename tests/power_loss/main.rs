//! Power loss under the real binary: every node on a disk of its own that forgets what was not
//! synced, load, the power of all of them cut at once, again and again.

mod bench;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod disk_tests;
mod faults;
mod rounds;
