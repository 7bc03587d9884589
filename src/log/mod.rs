//! One partition's bytes: segments, indexes, recovery, retention.
//!
//! Floor 1. Synchronous: callers hold their own lock around a [`Log`], and do without it what is
//! slow: [`ReadPlan::execute`] and [`FlushJob::run`].
//!
//! Invariants:
//! - What `flushed_offset` covers survives a power cut: bytes, file names, epochs.
//! - Segment files hold whole record batches as they were sent; only base offset, leader epoch
//!   and, where the topic asks for it, the append time are stamped.
//! - Indexes and snapshots are hints: whatever they hold, a read gives the right batches or an
//!   error. Batches are the truth, guarded by their checksums.
//! - A failed sync is final for the log.
//!
//! Must never: serve bytes whose checksum is wrong, wait for another node, or touch a file other
//! than through `env::disk`.

mod append;
pub mod checkpoint;
mod column;
mod config;
mod core;
mod damage;
pub mod dump;
mod epochs;
mod error;
mod files;
pub mod flush;
mod index;
mod lifecycle;
mod lookup;
mod producers;
mod read;
mod rebuild;
mod records;
mod recover;
mod retain;
mod scan;
mod segment;
mod segment_files;
mod shared;
mod space;
mod sync_costs;
mod tail;
mod truncate;
mod txn_index;
mod validate;

pub use self::core::{Log, OpenHints, RecoveryReport, Removed};
pub use config::{
    AbortedTransaction, ActiveProducer, Appended, LogConfig, Origin, TimestampedOffset,
};
pub use error::{AppendError, Error, RecordError};
pub use files::{read_small, replace_small};
pub use flush::FlushJob;
pub use lifecycle::CheckpointJob;
pub use read::ReadPlan;
pub use shared::{Shared, SharedBounds};

#[cfg(test)]
mod tests;
