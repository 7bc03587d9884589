//! Damaged bytes: never served, and repaired from another replica.
//!
//! A leader that finds some gives up, if another in-sync replica has the records. A follower asks
//! its leader from the damage on, which makes the leader take it out of ISR and ELR; once it is out,
//! and the leader has answered that it counts no more than that, it cuts its log there, and copies.
//! It must not cut while it may still be elected.

use super::follow::view_of;
use super::{Aftermath, Inner, Partition};
use crate::log::{self, Log, ReadPlan};
use crate::rpc::replica::ReplicaError;
use crate::types::{LeaderEpoch, NodeId, Offset};
use bytes::Bytes;

impl Partition {
    /// The first offset from which on this replica's bytes cannot be trusted, if there is one.
    #[must_use]
    pub fn damaged_from(&self) -> Option<Offset> {
        self.lock().log.as_ref().and_then(Log::damaged_from)
    }

    /// The leader of `epoch` counts with nothing of this replica's log above an offset: see
    /// [`Fetched::spared_above`](crate::rpc::replica::Fetched::spared_above).
    pub(super) fn spared_above(&self, epoch: LeaderEpoch, offset: Offset) {
        let aftermath = self.lock().repair(self.node, epoch, offset);
        self.finish(aftermath);
    }

    /// Reads cold records for a follower. May wait for the disk.
    pub(super) fn read_for_replica(&self, plan: &ReadPlan) -> Result<Bytes, ReplicaError> {
        match plan.execute() {
            // Deleted meanwhile, or the first batch is larger than what is left of the answer.
            Ok(bytes) if bytes.is_empty() => Err(ReplicaError::NameAgain),
            Ok(bytes) => Ok(bytes),
            Err(log::Error::Moved) => Err(ReplicaError::NameAgain),
            Err(error @ log::Error::Corrupt { .. }) => {
                self.found_damage(&error);
                Err(ReplicaError::Storage)
            }
            // Nothing is wrong with the disk.
            Err(error) if error.is_shortage() => Err(ReplicaError::Busy),
            Err(error) => {
                self.fail(&error.to_string());
                Err(ReplicaError::Storage)
            }
        }
    }

    /// Remembers damage that a read has found, and gives up the leadership if another replica can
    /// take it.
    pub(super) fn found_damage(&self, error: &log::Error) {
        let log::Error::Corrupt { offset, .. } = error else { return };
        tracing::error!(partition = %self.name, %error, "damaged bytes are not served");
        let aftermath = {
            let mut inner = self.lock();
            let Some(log) = inner.log.as_mut() else { return };
            if let Err(error) = log.mark_damaged(*offset) {
                tracing::error!(partition = %self.name, %error, "the damage is not remembered");
            }
            let others = inner.replica.leader().is_some_and(|leader| leader.isr().len() > 1);
            if others {
                inner.fail(&format!("{error}; another replica has the records: restart the node"))
            } else {
                Aftermath::default()
            }
        };
        self.finish(aftermath);
    }
}

impl Inner {
    /// Where the log ends for the leader: at the damage, if the leader can do without this replica.
    pub(super) fn trusted_end(&self, log: &Log, node: NodeId) -> Offset {
        let end = log.log_end_offset();
        let needed = self.replica.settings().min_insync_replicas.min(self.replica_count).max(1);
        let spared = !self.isr.contains(&node) || self.isr.len() > needed;
        match log.damaged_from() {
            Some(from) if spared => from.min(end),
            _ => end,
        }
    }

    /// Cuts damage away, if this replica follows and will not be elected: by the metadata it is in
    /// neither the ISR nor the ELR, and the leader has said that it does not count with what lies
    /// above `spared_above`, where the damage begins. The metadata alone would not do: the leader
    /// may know of a fetch at the full end, and be about to ask for this replica's return.
    fn repair(&mut self, node: NodeId, epoch: LeaderEpoch, spared_above: Offset) -> Aftermath {
        let safe = !self.isr.contains(&node) && !self.elr.contains(&node);
        let follows = self.replica.follower().is_some_and(|follower| follower.epoch() == epoch);
        let from = self.log.as_ref().and_then(Log::damaged_from);
        let usable = self.failure.is_none() && !self.ending;
        let (Some(from), Some(log)) = (from, self.log.as_mut()) else {
            return Aftermath::default();
        };
        let end = log.log_end_offset();
        if !(safe && follows && usable && from.min(end) == spared_above) {
            return Aftermath::default();
        }
        let dir = log.dir().display();
        tracing::warn!(%dir, %from, %end, "cutting damaged records, to copy them from the leader");
        match log.truncate_to(from) {
            Ok(()) => {
                let view = view_of(log);
                self.was_cut(view)
            }
            Err(error) => self.fail(&error.to_string()),
        }
    }
}
