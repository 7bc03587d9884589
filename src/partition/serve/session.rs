//! The fetch session of one follower: what it asked for, and what it was told.

use super::{Key, Ready};
use crate::limits::{REPLICA_CATCH_UP_BYTES_MAX, REPLICA_PARTITION_BYTES_MAX};
use crate::partition::waiters::SessionGuard;
use crate::partition::{Partition, ReplicaAnswer, ReplicaFetch, ReplicaRecords, Table};
use crate::replica::FetchClaim;
use crate::rpc::replica::{FetchPartition, ReplicaError};
use crate::types::{BrokerEpoch, NodeId, Offset};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One partition of a session.
#[derive(Debug)]
struct Held {
    asked: FetchPartition,
    partition: Arc<Partition>,
    /// High watermark and log start that the follower was told.
    told: Option<(Offset, Offset)>,
    /// Whether what it asked has been looked at.
    counted: bool,
    /// Whether it was answered: it has to be named anew before there is more.
    answered: bool,
    _guard: SessionGuard,
}

/// What a partition has for the follower; cold records are still to be read.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) key: Key,
    pub(super) partition: Option<Arc<Partition>>,
    pub(super) outcome: Result<ReplicaAnswer, ReplicaError>,
}

/// One follower's session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: i32,
    pub(super) replica: NodeId,
    pub(super) broker_epoch: BrokerEpoch,
    /// The number that the next request must have.
    pub(super) next_epoch: i32,
    /// The newest request: an older one that still waits is to be answered.
    pub(super) turn: i32,
    pub(super) closed: bool,
    pub(super) used_ms: i64,
    pub(super) ready: Arc<Ready>,
    partitions: BTreeMap<Key, Held>,
    /// What was named and is not here.
    missing: Vec<Part>,
}

impl Session {
    pub(super) fn new(id: i32, replica: NodeId, broker_epoch: BrokerEpoch) -> Self {
        Self {
            id,
            replica,
            broker_epoch,
            next_epoch: 0,
            turn: 0,
            closed: false,
            used_ms: 0,
            ready: Arc::default(),
            partitions: BTreeMap::new(),
            missing: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.partitions.len()
    }

    pub(super) fn forget(&mut self, key: Key) {
        self.partitions.remove(&key);
    }

    /// Takes what the follower says of one partition.
    pub(super) fn name(&mut self, asked: FetchPartition, table: &Table, now_ms: i64) {
        let key = (asked.topic_id, asked.partition);
        let Some(partition) = table.by_id(key.0, key.1) else {
            self.partitions.remove(&key);
            let outcome = Err(ReplicaError::UnknownPartition);
            self.missing.push(Part { key, partition: None, outcome });
            return;
        };
        let told = Some((asked.high_watermark, asked.log_start));
        match self.partitions.get_mut(&key) {
            Some(held) if Arc::ptr_eq(&held.partition, &partition) => {
                held.asked = asked;
                held.told = told;
                (held.counted, held.answered) = (false, false);
            }
            _ => {
                let guard = partition.join_session(Arc::clone(&self.ready));
                let (counted, answered) = (false, false);
                self.partitions
                    .insert(key, Held { asked, partition, told, counted, answered, _guard: guard });
            }
        }
        self.ready.push(key, true, now_ms);
    }

    /// Collects what there is for the follower, within the bounds: first from partitions whose
    /// producers may wait for it, then from those in which it is behind.
    pub(super) fn gather(&mut self, now_ms: i64, bytes_max: usize, quiet_too: bool) -> Vec<Part> {
        let mut parts = std::mem::take(&mut self.missing);
        let keys = self.ready.take(now_ms, quiet_too || !parts.is_empty());
        let replica = self.replica;
        let counts = |key: &Key| {
            self.partitions.get(key).is_some_and(|held| held.partition.counts_replica(replica))
        };
        let (live, behind): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(counts);
        let mut room = Room::new(bytes_max);
        let mut left = Vec::new();
        for (key, is_behind) in live
            .into_iter()
            .map(|key| (key, false))
            .chain(behind.into_iter().map(|key| (key, true)))
        {
            match self.look(key, is_behind, &mut room) {
                Look::Nothing => {}
                Look::Later => left.push(key),
                Look::Part(part) => parts.push(part),
            }
        }
        self.ready.put_back(left);
        parts
    }

    fn look(&mut self, key: Key, is_behind: bool, room: &mut Room) -> Look {
        let (replica, broker_epoch) = (self.replica, self.broker_epoch);
        let Some(held) = self.partitions.get_mut(&key) else { return Look::Nothing };
        if held.answered {
            return Look::Nothing;
        }
        let room_here = room.left(is_behind).min(REPLICA_PARTITION_BYTES_MAX);
        let asked = &held.asked;
        let fetch = ReplicaFetch {
            claim: FetchClaim {
                follower: replica,
                broker_epoch,
                leader_epoch: asked.leader_epoch,
                end: asked.end,
                last_epoch: asked.last_epoch,
            },
            flushed: asked.flushed,
            log_start: asked.log_start,
            bytes_max: room_here,
            at_least_one: room.takes_any(is_behind),
            fresh: !held.counted,
        };
        let outcome = held.partition.fetch_as_replica(&fetch);
        if outcome.is_ok() {
            held.counted = true;
        }
        if let Ok(ReplicaAnswer::Records { high_watermark, log_start, log_end, records, .. }) =
            &outcome
        {
            let bytes = records.bytes_max(room_here);
            if bytes == 0 {
                if fetch.claim.end < *log_end {
                    return Look::Later;
                }
                let told = Some((*high_watermark, *log_start));
                if held.told == told {
                    return Look::Nothing;
                }
                held.told = told;
            } else {
                room.take(bytes, is_behind);
                held.answered = true;
            }
        } else {
            held.answered = true;
        }
        Look::Part(Part { key, partition: Some(Arc::clone(&held.partition)), outcome })
    }
}

impl ReplicaRecords {
    /// How many bytes these are at most, before they are read.
    fn bytes_max(&self, asked: usize) -> usize {
        match self {
            Self::Ready(chunks) => chunks.iter().map(bytes::Bytes::len).sum(),
            Self::Cold(_) => asked.max(1),
        }
    }
}

enum Look {
    Nothing,
    /// There is something, and no room for it in this answer.
    Later,
    Part(Part),
}

/// Bytes that an answer may still take.
struct Room {
    all: usize,
    behind: usize,
    live_taken: bool,
    behind_taken: bool,
}

impl Room {
    fn new(all: usize) -> Self {
        let behind = REPLICA_CATCH_UP_BYTES_MAX;
        Self { all, behind, live_taken: false, behind_taken: false }
    }

    /// Whether one batch may go in whatever its size. One of each kind, or a large batch that has
    /// to be caught up with would wait for ever while others are written to.
    fn takes_any(&self, is_behind: bool) -> bool {
        if is_behind { !self.behind_taken } else { !self.live_taken }
    }

    fn left(&self, is_behind: bool) -> usize {
        if is_behind { self.all.min(self.behind) } else { self.all }
    }

    fn take(&mut self, bytes: usize, is_behind: bool) {
        if is_behind {
            self.behind_taken = true;
        } else {
            self.live_taken = true;
        }
        self.all = self.all.saturating_sub(bytes);
        if is_behind {
            self.behind = self.behind.saturating_sub(bytes);
        }
    }
}
