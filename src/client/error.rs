//! What can go wrong for a client, by what its caller does next.

use super::Address;
use crate::protocol::ErrorCode;
use crate::protocol::records::BatchError;
use crate::types::Offset;
use std::fmt;

/// A failed call. Cheap enough to clone: every record of a failed batch gets its copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No address of the list answered. Is a broker running there?
    #[error("no broker can be reached: {}", Tried(attempts, *waited_ms))]
    Unreachable {
        /// Each address, with what came of it.
        attempts: Vec<Attempt>,
        /// How long all of it took.
        waited_ms: u64,
    },
    /// The connection ended under a call, whose outcome is unknown.
    #[error("the connection to {address} ended: {cause}")]
    Disconnected {
        /// The broker.
        address: Address,
        /// What the system said.
        cause: String,
    },
    /// The broker took longer than it was given; the outcome is unknown.
    #[error("{address} did not answer {what} within {waited_ms} ms")]
    Timeout {
        /// The broker.
        address: Address,
        /// The request.
        what: &'static str,
        /// How long was waited.
        waited_ms: u64,
    },
    /// The peer sent what no Kafka broker sends.
    #[error("{address} does not speak the Kafka protocol: {cause}")]
    Protocol {
        /// The peer.
        address: Address,
        /// What was wrong.
        cause: String,
    },
    /// The broker has no version of a request that this client has.
    #[error("{address} serves no version of {what} that this client speaks")]
    Unsupported {
        /// The broker.
        address: Address,
        /// The request.
        what: &'static str,
    },
    /// The broker refused.
    #[error("{what}: {}{}", code.name(), Said(message))]
    Refused {
        /// What was asked, and of what.
        what: String,
        /// The broker's code.
        code: ErrorCode,
        /// The broker's words, if it had any.
        message: Option<String>,
    },
    /// No such topic. `known` are the names that exist, for a suggestion.
    #[error("topic '{topic}' does not exist")]
    UnknownTopic {
        /// The name that was asked for.
        topic: String,
        /// The topics that the cluster has.
        known: Vec<String>,
    },
    /// The topic has fewer partitions.
    #[error("topic '{topic}' has no partition {partition}; it has {count}, numbered from 0")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition that was asked for.
        partition: i32,
        /// How many there are.
        count: usize,
    },
    /// The offset is outside of what the partition holds.
    #[error(
        "offset {asked} of {topic}-{partition} is out of range: it holds {earliest} to {latest} \
         (exclusive)"
    )]
    OffsetOutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What was asked for.
        asked: Offset,
        /// The log start offset.
        earliest: Offset,
        /// The offset after the last readable record.
        latest: Offset,
    },
    /// Bytes that came back are not what a producer wrote.
    #[error("{topic}-{partition} at offset {offset}: {cause}")]
    Corrupt {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Base offset of the batch.
        offset: Offset,
        /// What is wrong.
        cause: BatchError,
    },
    /// One record larger than the client may hold or the topic may take.
    #[error("a record of {bytes} bytes is larger than the limit of {bytes_max}")]
    RecordTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The record waited for `delivery_timeout_ms` and was given up; it may or may not be stored
    /// if it was ever sent.
    #[error("no acknowledgement for {topic}-{partition} within {waited_ms} ms: {last}")]
    DeliveryTimeout {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// How long was waited.
        waited_ms: u64,
        /// What the last attempt met.
        last: String,
    },
    /// Settings that contradict one another.
    #[error("{0}")]
    Settings(String),
    /// The producer or connection was closed by its owner.
    #[error("the client is closed")]
    Closed,
}

/// One try to reach an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried.
    pub address: Address,
    /// What came of it.
    pub cause: String,
    /// How often.
    pub times: u32,
}

struct Tried<'a>(&'a [Attempt], u64);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, attempt) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            let plural = if attempt.times == 1 { "once" } else { "times" };
            write!(f, "{separator}tried {} ", attempt.address)?;
            if attempt.times != 1 {
                write!(f, "{} ", attempt.times)?;
            }
            write!(f, "{plural}: {}", attempt.cause)?;
        }
        write!(f, " (gave up after {:.1} s)", self.1 as f64 / 1000.0)
    }
}

struct Said<'a>(&'a Option<String>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(message) if !message.is_empty() => write!(f, ": {message}"),
            _ => Ok(()),
        }
    }
}

impl Error {
    /// An error code as the answer to `what`.
    pub(crate) fn refused(what: impl Into<String>, code: ErrorCode, message: Option<&str>) -> Self {
        Self::Refused { what: what.into(), code, message: message.map(str::to_owned) }
    }

    /// Whether trying again, perhaps with fresh metadata, can help.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Disconnected { .. } | Self::Timeout { .. } => true,
            Self::Refused { code, .. } => code.is_retriable(),
            _ => false,
        }
    }

    /// The broker's code, if a broker spoke.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_broker_is_named_with_address_and_time() {
        let error = Error::Unreachable {
            attempts: vec![Attempt {
                address: Address::new("127.0.0.1", 9092),
                cause: "connection refused".to_owned(),
                times: 12,
            }],
            waited_ms: 3012,
        };
        assert_eq!(
            error.to_string(),
            "no broker can be reached: tried 127.0.0.1:9092 12 times: connection refused \
             (gave up after 3.0 s)"
        );
        assert!(error.is_retriable());
    }
}
