//! Purlin: a Kafka-class replicated log in one binary.
//!
//! The modules stand on floors, and imports go down only; `tests/tidy.rs` holds the table.
//! `docs/ARCHITECTURE.md` walks through a produce and a fetch.

#![warn(missing_docs, unreachable_pub)]
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used)]

pub mod cli;
pub mod client;
pub mod config;
pub mod env;
pub mod kafka;
pub mod limits;
pub mod log;
pub mod metadata;
pub mod node;
pub mod partition;
pub mod protocol;
pub mod replica;
pub mod rpc;
pub mod types;
