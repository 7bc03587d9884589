//! What followers and leaders of partitions tell each other: the typed values of the `Replica`
//! service.
//!
//! A follower asks with its end and the epoch of its last record; the leader answers with records,
//! or with the place where the two logs part (KIP-595's form of truncation by epoch). Fetch sessions
//! are incremental, as KIP-227's: after the first request only partitions whose numbers changed are
//! named.
//!
//! Record bytes are no part of the encoded values. They travel raw behind them
//! ([`Payload`]), so that the leader's cached batches go to the socket, and from the
//! socket to the follower's log, without a copy.

use super::{Error, Payload};
use crate::limits::RPC_COPIED_RECORD_BYTES_MAX;
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId};
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// A follower's request for everything new in the partitions that it copies from one leader node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// The follower.
    pub replica: NodeId,
    /// Its registration, so that a fetch from before its restart counts for nothing.
    pub broker_epoch: BrokerEpoch,
    /// The session that this continues; 0 to begin one.
    pub session_id: i32,
    /// The number of this request within the session; 0 for the first, which names every partition.
    pub session_epoch: i32,
    /// Bytes of records that the answer may have; one batch is sent even where it is larger.
    pub bytes_max: u32,
    /// Milliseconds that the leader may wait for something new.
    pub wait_ms_max: u32,
    /// Partitions that are new to the session, or whose numbers changed.
    pub partitions: Vec<FetchPartition>,
    /// Partitions that leave the session.
    pub forgotten: Vec<(TopicId, PartitionIndex)>,
}

/// Where a follower stands in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader epoch in which the follower follows.
    pub leader_epoch: LeaderEpoch,
    /// The end of the follower's log: what it wants next.
    pub end: Offset,
    /// The epoch of the follower's last record; [`LeaderEpoch::NONE`] when it has none.
    pub last_epoch: LeaderEpoch,
    /// Up to where the follower's log is on its disk.
    pub flushed: Offset,
    /// Where the follower's log starts.
    pub log_start: Offset,
    /// The high watermark that the follower knows.
    pub high_watermark: Offset,
}

/// A leader's answer to a [`FetchRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchResponse {
    /// Why the whole request was refused; the rest is empty then.
    pub error: Option<ReplicaError>,
    /// The session to continue; 0 when the leader keeps none.
    pub session_id: i32,
    /// The number of the request that this answers.
    pub session_epoch: i32,
    /// Partitions with news.
    pub partitions: Vec<FetchedPartition>,
    /// The record bytes of all partitions, in their order and in any pieces: partition by partition
    /// they add up to its [`Fetched::record_bytes`]. See [`FetchResponse::into_partitions`].
    #[serde(skip)]
    pub records: Vec<Bytes>,
}

/// What a leader says about one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The news, or why there are none.
    pub outcome: Result<Fetched, ReplicaError>,
}

/// News of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The leader's high watermark.
    pub high_watermark: Offset,
    /// Where the leader's log starts.
    pub log_start: Offset,
    /// How many of the answer's record bytes belong to this partition.
    pub record_bytes: u32,
    /// The logs differ: the largest epoch of the leader that is not above the follower's last one,
    /// and where that epoch ends at the leader. No records come with it.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// The follower's end as the leader counts it, where the follower is in neither the maximal
    /// ISR nor the ELR: what it has above that is needed by nobody, and if it is damaged it may be
    /// cut.
    pub spared_above: Option<Offset>,
}

/// A follower's word that more of its logs is on its disk, sent as soon as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The follower.
    pub replica: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// What was flushed.
    pub partitions: Vec<ReportPartition>,
}

/// How far one partition's log is on a follower's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader epoch in which the follower follows.
    pub leader_epoch: LeaderEpoch,
    /// The end of the follower's log.
    pub end: Offset,
    /// Up to where it is on the follower's disk.
    pub flushed: Offset,
}

/// A leader's answer to a [`Report`]: only what it did not accept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportResponse {
    /// Why the whole report was refused.
    pub error: Option<ReplicaError>,
    /// Partitions whose report was refused.
    pub failed: Vec<(TopicId, PartitionIndex, ReplicaError)>,
}

/// Why a leader does not answer a follower, by what the follower does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum ReplicaError {
    /// The request is of an older leader epoch: wait for the metadata.
    #[error("the request is of an older leader epoch")]
    FencedLeaderEpoch,
    /// The request is of a newer leader epoch than this node knows: ask again.
    #[error("the request is of a leader epoch that this node does not know yet")]
    UnknownLeaderEpoch,
    /// This node does not lead the partition: wait for the metadata.
    #[error("this node does not lead the partition")]
    NotLeader,
    /// This node has no such partition (yet): wait for the metadata.
    #[error("this node has no such partition")]
    UnknownPartition,
    /// The asking node is no replica of the partition: wait for the metadata.
    #[error("the asking node is not a replica of the partition")]
    NotReplica,
    /// The asking node's registration is not the current one.
    #[error("the asking node's broker epoch is not the current one")]
    StaleBrokerEpoch,
    /// The wanted offset is not in the leader's log: begin at its start, or cut to its end.
    #[error("the wanted offset is not in the leader's log, which spans {start} to {end}")]
    OffsetOutOfRange {
        /// The leader's log start offset.
        start: Offset,
        /// The leader's log end offset.
        end: Offset,
    },
    /// The leader's storage failed.
    #[error("the leader's storage failed")]
    Storage,
    /// The session is not known (any more): begin a new one.
    #[error("the fetch session is not known")]
    SessionNotFound,
    /// The request is not the next one of its session: begin a new one.
    #[error("the request is not the next of its fetch session")]
    SessionEpoch,
    /// What the session knows of the partition may be out of date, because its replicas changed:
    /// name it again.
    #[error("the partition's replicas changed: name it again")]
    NameAgain,
    /// The leader has its hands full, or is starting or stopping: ask again later.
    #[error("the leader cannot answer now")]
    Busy,
}

impl FetchRequest {
    /// The request as it travels.
    #[must_use]
    pub fn encode(&self) -> Payload {
        Payload::encode(self)
    }
}

impl FetchResponse {
    /// An answer that refuses the whole request.
    #[must_use]
    pub fn refused(error: ReplicaError) -> Self {
        Self {
            error: Some(error),
            session_id: 0,
            session_epoch: 0,
            partitions: Vec::new(),
            records: Vec::new(),
        }
    }

    /// The answer as it travels: the record bytes behind the rest, not copied.
    #[must_use]
    pub fn encode(mut self) -> Payload {
        let records = std::mem::take(&mut self.records);
        Payload::encode(&self).with_raw(records)
    }

    /// Reads what [`FetchResponse::encode`] made.
    ///
    /// # Errors
    /// [`Error::Version`] and [`Error::Malformed`], also when the bytes are not as many as the
    /// partitions say.
    pub fn decode(payload: Payload) -> Result<Self, Error> {
        let mut response: Self = payload.decode()?;
        response.records = payload.into_raw();
        let named = response.record_bytes_named();
        let found: u64 = response.records.iter().map(|piece| piece.len() as u64).sum();
        if named != found {
            return Err(Error::Malformed(format!("{found} record bytes where {named} were named")));
        }
        Ok(response)
    }

    fn record_bytes_named(&self) -> u64 {
        let named = |p: &FetchedPartition| p.outcome.as_ref().map_or(0, |f| f.record_bytes);
        self.partitions.iter().map(|p| u64::from(named(p))).sum()
    }

    /// Each partition with its record bytes. They are slices of the frame that they came in, so
    /// nothing is copied; except where a partition's bytes lie in more than one piece, or are so few
    /// that they would hold on to a much larger frame for as long as they are kept.
    ///
    /// # Errors
    /// [`Error::Malformed`] when there are fewer bytes than the partitions say.
    pub fn into_partitions(self) -> Result<Vec<(FetchedPartition, Bytes)>, Error> {
        let frame_bytes: usize = self.records.iter().map(Bytes::len).sum();
        let mut pieces = Pieces { rest: self.records.into_iter(), current: Bytes::new() };
        let give = |partition: FetchedPartition| {
            let wanted = partition.outcome.as_ref().map_or(0, |f| f.record_bytes) as usize;
            let bytes = pieces.take(wanted).ok_or_else(|| {
                Error::Malformed("fewer record bytes than the partitions name".to_owned())
            })?;
            let few = bytes.len() <= RPC_COPIED_RECORD_BYTES_MAX && bytes.len() * 8 < frame_bytes;
            Ok((partition, if few { Bytes::copy_from_slice(&bytes) } else { bytes }))
        };
        self.partitions.into_iter().map(give).collect()
    }
}

/// A run of bytes in pieces.
struct Pieces {
    rest: std::vec::IntoIter<Bytes>,
    current: Bytes,
}

impl Pieces {
    /// The next `wanted` bytes, in one piece; nothing when there are fewer.
    fn take(&mut self, wanted: usize) -> Option<Bytes> {
        while self.current.is_empty() && wanted > 0 {
            self.current = self.rest.next()?;
        }
        if self.current.len() >= wanted {
            return Some(self.current.split_to(wanted));
        }
        let mut joined = BytesMut::new();
        loop {
            let missing = wanted - joined.len();
            joined.extend_from_slice(&self.current.split_to(missing.min(self.current.len())));
            if joined.len() == wanted {
                return Some(joined.freeze());
            }
            self.current = self.rest.next()?;
        }
    }
}
