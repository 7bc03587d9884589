//! The vocabulary: ids, epochs, offsets and times as newtypes, and the invariant catalogue.
//!
//! Floor 0. Pure values only.
//!
//! Invariant: two things that must not be mixed up (an offset and an epoch, a node id and a
//! partition index) never share a type. Arithmetic on offsets lives here and nowhere else.
//!
//! Must never: do I/O, read a clock, or import any other module of this crate.

mod epochs;
mod ids;
pub mod invariant;
pub mod mutant;
mod names;
mod offsets;
mod time;

pub use epochs::{BrokerEpoch, LeaderEpoch, PartitionEpoch, ProducerEpoch};
pub use ids::{ClusterId, DirectoryId, IncarnationId, NodeId, PartitionIndex, ProducerId, TopicId};
pub use names::{NameError, TopicName, TopicPartition};
pub use offsets::{Offset, Sequence};
pub use time::{DurationMs, TimestampMs};
