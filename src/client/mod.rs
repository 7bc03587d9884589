//! A native Kafka client: producer, consumer without a group, admin. The commands, `bench` and
//! `torture` stand on it; it speaks to any Kafka broker.
//!
//! Floor 5. It knows the wire (`protocol`) and nothing of how a broker works inside.
//!
//! Invariants:
//! - Records of one partition are sent, retried and handed out in order.
//! - With idempotence a record that was acknowledged is stored once, whatever was retried.
//! - Every queue and buffer has a bound: a producer that is ahead of its broker waits, a consumer
//!   that is slow stops fetching.
//! - An error names the address that was tried, how long, and what the broker said.
//!
//! Must never: import the broker's rooms, or hold a lock across an await.

pub mod address;
pub mod admin;
pub mod cluster;
pub mod connection;
pub mod consumer;
pub mod error;
pub mod partitioner;
pub mod producer;

pub use address::Address;
pub use admin::Admin;
pub use cluster::{Cluster, ClusterOptions};
pub use consumer::{Consumer, ConsumerOptions, StartAt};
pub use error::Error;
pub use producer::{Producer, ProducerOptions, ProducerRecord};

#[cfg(test)]
mod tests;
