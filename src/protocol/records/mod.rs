//! Record batches, format version 2 (KIP-98), as they travel and as they lie in segment files.
//!
//! A broker needs [`BatchHeader`], [`BatchIter`] and [`scan_records`], none of which allocates by
//! what a batch says; a client packs with [`BatchBuilder`] and unpacks with [`decode_records`].
//!
//! Invariants:
//! - Nothing here trusts a count, a length or a codec's claim: unpacking ends at a limit that the
//!   caller gives, and records that do not fill their lengths exactly are refused.
//! - A checksum is only checked by [`BatchHeader::parse_checked`]; the others read batches whose
//!   checksum was checked before.

mod batches;
mod builder;
pub mod codec;
mod control;
mod decode;
mod header;
mod scan;
pub(crate) mod varint;

pub use batches::BatchIter;
pub use builder::{BatchBuilder, record_bytes};
pub use control::{ControlKind, ControlRecord};
pub use decode::{Header, Record, Records, decode_records};
pub use header::{BatchError, BatchHeader, Compression, TimestampKind};
pub use scan::{RecordMeta, scan_records};
