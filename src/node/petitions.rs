//! What this node's partitions want from the controller: other ISRs, and to be rid of replicas
//! whose storage failed. Gathered, and proposed in batches.
//!
//! Invariants:
//! - At most one batch is under way, so the wishes of a partition are proposed in order.
//! - A wish that was refused for certain is handed back to its partition. One whose fate is unknown
//!   is proposed again as it was: the leader counts with the union meanwhile, and if the change did
//!   happen, the newer partition epoch refuses the repetition.

use super::broker::Broker;
use super::counts::Counts;
use crate::env::shutdown::Shutdown;
use crate::limits::ISR_CHANGES_PER_COMMAND_MAX;
use crate::metadata::state::{
    AlterPartitions, Command, IsrChange, LeaderRecoveryState, ReplicasFailed, Response,
};
use crate::metadata::{self, Handle, Image};
use crate::partition::Table;
use crate::replica::IsrProposal;
use crate::types::{BrokerEpoch, PartitionIndex, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How long one batch may take before its fate counts as unknown.
const ANSWER: Duration = Duration::from_secs(3);
/// Before what failed is proposed again.
const PAUSE: Duration = Duration::from_millis(50);

type Place = (TopicId, PartitionIndex);

/// The wishes that wait.
#[derive(Debug, Default)]
pub(super) struct Petitions {
    waiting: Mutex<Waiting>,
    soon: Notify,
    pub(super) counts: Counts,
}

/// Bounded by the partitions of this node: a newer wish replaces the older one.
#[derive(Debug, Default)]
struct Waiting {
    isr: BTreeMap<Place, IsrProposal>,
    failed: BTreeSet<Place>,
}

/// What came of a batch.
enum Fate<T> {
    /// One outcome for each item.
    Answered(T),
    /// It certainly did not happen.
    NotDone,
    /// Nobody knows.
    Unknown,
}

impl Petitions {
    /// A leader wants another ISR.
    pub(super) fn isr(&self, place: Place, proposal: IsrProposal) {
        self.waiting().isr.insert(place, proposal);
        self.soon.notify_one();
    }

    /// A replica lost its storage.
    pub(super) fn failed(&self, place: Place) {
        self.waiting().failed.insert(place);
        self.soon.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Only ever changed by whole inserts and removes.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> (Vec<(Place, IsrProposal)>, Vec<Place>) {
        let mut waiting = self.waiting();
        let mut isr = Vec::new();
        while isr.len() < ISR_CHANGES_PER_COMMAND_MAX
            && let Some(first) = waiting.isr.pop_first()
        {
            isr.push(first);
        }
        let mut failed = Vec::new();
        while failed.len() < ISR_CHANGES_PER_COMMAND_MAX
            && let Some(first) = waiting.failed.pop_first()
        {
            failed.push(first);
        }
        (isr, failed)
    }

    /// Puts wishes back, unless their partition has a newer one by now.
    fn put_back(&self, wishes: Vec<(Place, IsrProposal)>) {
        let mut waiting = self.waiting();
        for (place, proposal) in wishes {
            waiting.isr.entry(place).or_insert(proposal);
        }
    }

    fn is_empty(&self) -> bool {
        let waiting = self.waiting();
        waiting.isr.is_empty() && waiting.failed.is_empty()
    }
}

/// Proposes what waits, batch by batch, until the shutdown.
pub(super) async fn carry(
    petitions: Arc<Petitions>,
    broker: Arc<Broker>,
    table: Arc<Table>,
    mut shutdown: Shutdown,
) {
    loop {
        if petitions.is_empty() {
            tokio::select! {
                () = shutdown.wait() => return,
                () = petitions.soon.notified() => {}
            }
        }
        let (isr, failed) = petitions.take();
        // Failures first: they move leaderships, which settles the wishes of those partitions.
        let mut again = !tell_failures(&petitions, &broker, failed).await;
        again |= !propose_isrs(&petitions, &broker, &table, isr).await;
        if again {
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

/// Gives whether everything was answered.
async fn propose_isrs(
    petitions: &Petitions,
    broker: &Broker,
    table: &Table,
    wishes: Vec<(Place, IsrProposal)>,
) -> bool {
    if wishes.is_empty() {
        return true;
    }
    let before = broker.metadata.image();
    let changes = wishes.iter().map(|(place, wish)| change(broker, *place, wish)).collect();
    let command = Command::AlterPartitions(AlterPartitions {
        node_id: broker.node_id(),
        broker_epoch: broker.epoch(),
        changes,
    });
    let refuse = |(topic, partition): Place, wish: &IsrProposal| {
        if let Some(partition) = table.by_id(topic, partition) {
            partition.isr_refused(wish.partition_epoch);
        }
    };
    match propose(&broker.metadata, command).await {
        Fate::Answered(Response::AlterPartitions(results)) => {
            for ((place, wish), result) in wishes.iter().zip(results) {
                match result {
                    // What was agreed comes with the metadata.
                    Ok(_) => count(petitions, &before, *place, wish),
                    Err(refusal) => {
                        tracing::debug!(topic = %place.0, partition = %place.1, %refusal, "no other ISR");
                        petitions.counts.isr_refused.add_one();
                        // Otherwise this may answer a repetition of what was done.
                        if refusal.kind.settles_isr_change() {
                            refuse(*place, wish);
                        }
                    }
                }
            }
            true
        }
        Fate::Answered(other) => {
            unreachable!("invariant: AlterPartitions is answered in kind, not {other:?}")
        }
        Fate::NotDone | Fate::Unknown => {
            petitions.put_back(wishes);
            false
        }
    }
}

/// Counts what a change did to the size of an ISR.
fn count(petitions: &Petitions, before: &Image, (topic, partition): Place, wish: &IsrProposal) {
    let known = before.topic_by_id(topic).and_then(|topic| topic.partition(partition));
    match known.map(|known| known.isr.len().cmp(&wish.isr.len())) {
        Some(std::cmp::Ordering::Greater) => petitions.counts.isr_shrinks.add_one(),
        Some(std::cmp::Ordering::Less) => petitions.counts.isr_expands.add_one(),
        _ => {}
    }
}

fn change(broker: &Broker, (topic_id, partition): Place, wish: &IsrProposal) -> IsrChange {
    let me = broker.node_id();
    let member = |(node, epoch): &(_, Option<BrokerEpoch>)| {
        let own = (*node == me).then(|| broker.epoch());
        // A member without a registration is refused, as it should be.
        (*node, own.or(*epoch).unwrap_or(BrokerEpoch(-1)))
    };
    IsrChange {
        topic_id,
        partition,
        leader_epoch: wish.leader_epoch,
        partition_epoch: wish.partition_epoch,
        isr: wish.isr.iter().map(member).collect(),
        recovery: LeaderRecoveryState::Recovered,
    }
}

/// Gives whether everything was answered.
async fn tell_failures(petitions: &Petitions, broker: &Broker, failed: Vec<Place>) -> bool {
    if failed.is_empty() {
        return true;
    }
    let command = Command::ReplicasFailed(ReplicasFailed {
        node_id: broker.node_id(),
        broker_epoch: broker.epoch(),
        partitions: failed.clone(),
    });
    match propose(&broker.metadata, command).await {
        Fate::Answered(Response::ReplicasFailed(results)) => {
            for ((topic, partition), result) in failed.iter().zip(results) {
                if let Err(refusal) = result {
                    tracing::warn!(%topic, %partition, %refusal, "a failed replica stays as it is");
                }
            }
            true
        }
        Fate::Answered(other) => {
            unreachable!("invariant: ReplicasFailed is answered in kind, not {other:?}")
        }
        // Said twice it changes nothing more.
        Fate::NotDone | Fate::Unknown => {
            petitions.waiting().failed.extend(failed);
            false
        }
    }
}

async fn propose(metadata: &Handle, command: Command) -> Fate<Response> {
    match tokio::time::timeout(ANSWER, metadata.propose(command)).await {
        Ok(Ok(response)) => Fate::Answered(response),
        Ok(Err(error @ (metadata::Error::NotController { .. } | metadata::Error::Overloaded))) => {
            tracing::debug!(%error, "the controller was not reached");
            Fate::NotDone
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "whether the ISRs changed is not known");
            Fate::Unknown
        }
        Err(_) => Fate::Unknown,
    }
}
