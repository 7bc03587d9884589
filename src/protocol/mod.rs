//! The Kafka wire: primitives, messages by API, record batches.
//!
//! Floor 0. Bytes in, values out, and back; no sockets, no state.
//!
//! Invariant: decoding never allocates by a count from the wire before it has checked that count
//! against the bytes that are left. Decoding never panics, whatever the bytes.
//!
//! Must never: know about connections, logs, or what a request means.

pub mod records;
