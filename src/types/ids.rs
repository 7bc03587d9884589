//! Ids of nodes, clusters, topics, partitions and producers.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// A process of the cluster; the same number as Kafka's broker id. Never negative for a real
    /// node; -1 on the wire means "none".
    NodeId,
    i32
);
number_id!(
    /// The number of a partition within its topic, from 0.
    PartitionIndex,
    i32
);
number_id!(
    /// An idempotent producer. Handed out once, never again; negative means "none".
    ProducerId,
    i64
);

impl NodeId {
    /// "No node", for instance no leader.
    pub const NONE: Self = Self(-1);
}

impl ProducerId {
    /// A producer without idempotence.
    pub const NONE: Self = Self(-1);
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// The id that stands for "none" on the wire.
            pub const ZERO: Self = Self([0; 16]);

            /// Reads the form that [`fmt::Display`] writes: 22 characters of URL-safe base64.
            /// Nothing for any other text.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
                Some(Self(bytes.try_into().ok()?))
            }

            /// Whether this is the "none" id.
            #[must_use]
            pub fn is_zero(self) -> bool {
                self.0 == [0; 16]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

random_id!(
    /// A cluster, fixed at `node init`. Printed as Kafka prints its cluster ids.
    ClusterId
);
random_id!(
    /// One incarnation of a topic name: a topic that is deleted and created again gets a new one
    /// (KIP-516).
    TopicId
);
random_id!(
    /// One start of a node process, so that two processes with one node id are told apart.
    IncarnationId
);
random_id!(
    /// One data directory, kept in its `meta.properties` (KIP-858).
    DirectoryId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_print_and_parse_as_kafka_uuids() {
        let id =
            TopicId([0x4d, 0x5a, 0x0b, 0x10, 0xff, 0xee, 0x41, 0x02, 0x80, 0x00, 1, 2, 3, 4, 5, 6]);
        let text = id.to_string();
        assert_eq!(text.len(), 22);
        assert_eq!(TopicId::parse(&text), Some(id));
        assert_eq!(TopicId::parse("short"), None);
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    }
}
