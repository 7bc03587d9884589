//! The tasks that make the fetchers' calls, one per leader node.

use super::Throttle;
use crate::env::clock::Clock;
use crate::partition::Partition;
use crate::replica::FlushReport;
use crate::rpc::Pool;
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, TopicId};
use std::sync::{Arc, Mutex};

/// What a manager is made with.
#[derive(Debug, Clone)]
pub struct ManagerOptions {
    /// This node.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// Connections to the other nodes.
    pub pool: Pool,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// `follower.replication.throttled.rate`: bytes a second that partitions which are behind may
    /// be copied with, all together.
    pub throttled_rate: u64,
}

/// All fetchers of a node. Calls do not block; they may be made from any thread of the runtime.
#[derive(Debug)]
pub struct Manager {
    options: ManagerOptions,
    throttle: Arc<Mutex<Throttle>>,
}

impl Manager {
    /// A manager without partitions. Must be made on the runtime that its calls shall run on.
    #[must_use]
    pub fn new(options: ManagerOptions) -> Arc<Self> {
        let now_ms = options.clock.monotonic_ms();
        let throttle = Throttle::new(options.throttled_rate, now_ms);
        Arc::new(Self { options, throttle: Arc::new(Mutex::new(throttle)) })
    }

    /// Copies a partition from `leader`, reached at `address`, in `leader_epoch`, from now on; no
    /// longer from any other node. The partition must have been told to follow
    /// ([`Partition::assign`]) before.
    pub fn assign(
        &self,
        _partition: &Arc<Partition>,
        _leader: NodeId,
        _address: &str,
        _leader_epoch: LeaderEpoch,
    ) {
        let _ = (&self.options, &self.throttle);
        todo!()
    }

    /// Stops copying a partition.
    pub fn remove(&self, _topic_id: TopicId, _partition: PartitionIndex) {
        todo!()
    }

    /// This node registered anew.
    pub fn set_broker_epoch(&self, _broker_epoch: BrokerEpoch) {
        todo!()
    }

    /// A node is reached at another address now.
    pub fn set_address(&self, _leader: NodeId, _address: &str) {
        todo!()
    }

    /// The throttle's rate changed.
    pub fn set_throttled_rate(&self, _bytes_per_second: u64) {
        todo!()
    }

    /// Passes on what a partition flushed; called by
    /// [`Notices::flushed_as_follower`](crate::partition::Notices::flushed_as_follower).
    pub fn flushed(&self, _topic_id: TopicId, _partition: PartitionIndex, _report: FlushReport) {
        todo!()
    }

    /// Ends all tasks.
    pub fn stop(&self) {
        todo!()
    }
}
