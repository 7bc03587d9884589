//! How the group's calls are put into payloads.
//!
//! The value travels as the payload's raw bytes, encoded as in the log: behind a version byte, with
//! integers of variable length. An entry that fits into the log then fits into a frame.

use super::state::codec::{self, CodecError};
use crate::rpc::{Error, Payload};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version that is written and understood.
const VERSION: u8 = 1;

/// The payload for a value.
pub(super) fn pack<T: Serialize>(value: &T) -> Payload {
    Payload::encode(&()).with_raw(vec![Bytes::from(codec::encode(VERSION, value))])
}

/// The value in a payload.
pub(super) fn unpack<T: DeserializeOwned>(payload: &Payload) -> Result<T, Error> {
    payload.decode::<()>()?;
    let whole;
    let bytes: &[u8] = match payload.raw() {
        [one] => one,
        parts => {
            whole = parts.concat();
            &whole
        }
    };
    codec::decode(VERSION, bytes).map_err(|error| match error {
        CodecError::Version { found, known } => Error::Version { found, known },
        CodecError::Malformed(what) => Error::Malformed(what),
    })
}

#[cfg(test)]
mod tests {
    use super::super::controller::{ControlAnswer, ControlCall};
    use super::super::raft::samples::{append, snapshot_answer};
    use super::super::state::{AllocateProducerIds, Command, Response};
    use super::super::{Admission, Admitted, Error, Heartbeat, HeartbeatAnswer};
    use super::*;
    use crate::rpc;
    use crate::types::{BrokerEpoch, ClusterId, DirectoryId, IncarnationId, NodeId};

    fn bytes<T: Serialize>(value: &T) -> String {
        let packed = pack(value);
        assert_eq!(packed.clone().into_parts().0.as_ref(), [1], "nothing but the version");
        packed.raw().concat().escape_ascii().to_string()
    }

    #[test]
    fn values_come_back_and_other_versions_are_refused() {
        let packed = pack(&(7u64, "text"));
        assert_eq!(unpack::<(u64, String)>(&packed).expect("whole"), (7, "text".to_owned()));
        let parts = packed.raw().concat();
        let torn = Payload::encode(&()).with_raw(vec![
            Bytes::copy_from_slice(&parts[..2]),
            Bytes::copy_from_slice(&parts[2..]),
        ]);
        assert_eq!(unpack::<(u64, String)>(&torn).expect("whole"), (7, "text".to_owned()));
        let newer = Payload::encode(&()).with_raw(vec![Bytes::from_static(b"\x02\x07")]);
        assert!(matches!(unpack::<u64>(&newer), Err(rpc::Error::Version { found: 2, known: 1 })));
        let cut = Payload::encode(&()).with_raw(vec![Bytes::from_static(b"\x01")]);
        assert!(matches!(unpack::<u64>(&cut), Err(rpc::Error::Malformed(_))));
        assert!(unpack::<u64>(&Payload::encode(&())).is_err());
    }

    /// The formats of version 1. If this fails, nodes of different releases no longer understand
    /// each other.
    #[test]
    fn golden_bytes_of_the_groups_calls() {
        let heartbeat = Heartbeat {
            node_id: NodeId(3),
            broker_epoch: BrokerEpoch(9),
            incarnation: IncarnationId([b'i'; 16]),
            applied_count: 300,
            ready: true,
            wants_shutdown: false,
        };
        let admission =
            Admission { directory: DirectoryId([b'd'; 16]), wanted: None, rpc: "h:1".to_owned() };
        let command = AllocateProducerIds { node_id: NodeId(3), broker_epoch: BrokerEpoch(9) };
        let admitted = Admitted { node_id: NodeId(4), cluster_id: ClusterId([b'c'; 16]) };
        let known = HeartbeatAnswer::Known { fenced: true, may_stop: false };
        let lost = Error::Timeout(5);
        let response = Response::Nothing;
        let found = [
            bytes(&ControlCall::Propose(Command::AllocateProducerIds(command))),
            bytes(&ControlCall::Heartbeat(heartbeat)),
            bytes(&ControlCall::Admit(admission)),
            bytes(&ControlCall::Quorum),
            bytes(&ControlCall::TakenUp { applied_count: 7 }),
            bytes(&ControlAnswer::Proposed { response, applied_count: 7 }),
            bytes(&ControlAnswer::Heartbeat(known)),
            bytes(&ControlAnswer::Admitted(Ok(admitted))),
            bytes(&ControlAnswer::failed(&lost)),
            bytes(&ControlAnswer::TakenUp),
            bytes(&append()),
            bytes(&snapshot_answer()),
        ];
        let (i, d, c) = ("i".repeat(16), "d".repeat(16), "c".repeat(16));
        let expected = [
            r"\x01\x00\x06\x06\x12".to_owned(),
            format!(r"\x01\x01\x06\x12{i}\xfb,\x01\x01\x00"),
            format!(r"\x01\x03{d}\x00\x03h:1"),
            r"\x01\x04".to_owned(),
            r"\x01\x05\x07".to_owned(),
            r"\x01\x00\x00\x07".to_owned(),
            r"\x01\x01\x00\x01\x00".to_owned(),
            format!(r"\x01\x03\x00\x08{c}"),
            r"\x01\x05\x02\x05".to_owned(),
            r"\x01\x06".to_owned(),
            r"\x01\x05\x02\x01\x01\x05\x02\x08\x00\x01\x05\x02\x07".to_owned(),
            r"\x01\x00\x05\x02\x01".to_owned(),
        ];
        assert_eq!(found, expected);
    }
}
