//! The Kafka wire: primitives, messages by API, record batches.
//!
//! Floor 0. Bytes in, values out, and back; no sockets, no state.
//!
//! Invariant: decoding never allocates by a count from the wire before it has checked that count
//! against the bytes that are left. Decoding never panics, whatever the bytes.
//!
//! Must never: know about connections, logs, or what a request means.

mod api_key;
mod error_code;
pub mod header;
pub mod messages;
pub mod primitives;
pub mod records;
pub mod sample;
pub mod schema;
mod str;

pub use api_key::ApiKey;
pub use error_code::ErrorCode;
pub use header::{RequestHeader, ResponseHeader};
pub use messages::{SERVED, ServedApi};
pub use primitives::{DecodeError, Reader, TaggedFields, Writer};
pub use schema::{Message, Request};
pub use str::Str;
