//! The replication cases of the list of 48 scenarios, by number, as scripts over real partitions:
//! leaders, fetch sessions and fetchers of the project on disks in memory. What touches the
//! metadata alone is in `tests/scenario/metadata`.

mod damage;
mod epochs;
mod isr;
mod loss;
mod serving;
mod trio;
