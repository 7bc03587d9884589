//! Record batches, format version 2 (KIP-98), as they travel and as they lie in segment files.

mod header;

pub use header::{BatchError, BatchHeader, Compression, TimestampKind};
