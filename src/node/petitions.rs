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
    AlterPartitions, Command, IsrChange, LeaderRecoveryState, RefusalKind, ReplicasFailed, Response,
};
use crate::metadata::{self, Handle, Image};
use crate::partition::Table;
use crate::replica::IsrProposal;
use crate::types::{BrokerEpoch, PartitionIndex, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

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
    /// Changes whenever failures were answered.
    told: watch::Sender<()>,
    pub(super) counts: Counts,
}

/// Bounded by the partitions of this node: a newer wish replaces the older one.
#[derive(Debug, Default)]
struct Waiting {
    isr: BTreeMap<Place, IsrProposal>,
    /// Replicas without storage.
    failed: BTreeSet<Place>,
    /// Replicas that lack records which they once had on disk.
    lost: BTreeSet<Place>,
    /// What is being told of both. Asked again until it is answered.
    telling: BTreeSet<Place>,
}

/// What waits, taken out to be proposed.
struct Batch {
    isr: Vec<(Place, IsrProposal)>,
    failed: Vec<Place>,
    lost: Vec<Place>,
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

    /// A replica lacks records that it once had on disk: it must not be elected for them.
    pub(super) fn lost(&self, place: Place) {
        self.waiting().lost.insert(place);
        self.soon.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Only ever changed by whole inserts and removes.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Batch {
        let mut waiting = self.waiting();
        let mut isr = Vec::new();
        while isr.len() < ISR_CHANGES_PER_COMMAND_MAX
            && let Some(first) = waiting.isr.pop_first()
        {
            isr.push(first);
        }
        let failed = first_of(&mut waiting.failed);
        let lost = first_of(&mut waiting.lost);
        waiting.telling.extend(failed.iter().chain(&lost));
        Batch { isr, failed, lost }
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
        waiting.isr.is_empty() && waiting.failed.is_empty() && waiting.lost.is_empty()
    }

    /// These were told, but for those that have to be told again.
    fn told(&self, places: &[Place], usable: bool, again: Vec<Place>) {
        {
            let mut waiting = self.waiting();
            waiting.telling.retain(|place| !places.contains(place));
            if usable { &mut waiting.lost } else { &mut waiting.failed }.extend(again);
        }
        self.told.send_replace(());
    }

    /// Waits until the controller has answered for every failure and loss that was found so far.
    /// Before that this node must not say that it is ready: it could be elected for what it lost.
    pub(super) async fn all_told(&self) {
        let mut news = self.told.subscribe();
        loop {
            {
                let waiting = self.waiting();
                if waiting.failed.is_empty()
                    && waiting.lost.is_empty()
                    && waiting.telling.is_empty()
                {
                    return;
                }
            }
            if news.changed().await.is_err() {
                return;
            }
        }
    }
}

fn first_of(places: &mut BTreeSet<Place>) -> Vec<Place> {
    let mut first = Vec::new();
    while first.len() < ISR_CHANGES_PER_COMMAND_MAX
        && let Some(place) = places.pop_first()
    {
        first.push(place);
    }
    first
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
        let Batch { isr, failed, lost } = petitions.take();
        // Failures first: they move leaderships, which settles the wishes of those partitions.
        let mut again = !tell_failures(&petitions, &broker, failed, false).await;
        again |= !tell_failures(&petitions, &broker, lost, true).await;
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
        lost: wish.lost.clone(),
        recovery: LeaderRecoveryState::Recovered,
    }
}

/// Gives whether everything was answered.
async fn tell_failures(
    petitions: &Petitions,
    broker: &Broker,
    failed: Vec<Place>,
    usable: bool,
) -> bool {
    if failed.is_empty() {
        return true;
    }
    let command = Command::ReplicasFailed(ReplicasFailed {
        node_id: broker.node_id(),
        broker_epoch: broker.epoch(),
        partitions: failed.clone(),
        usable,
    });
    let fate = propose(&broker.metadata, command).await;
    let again = told_again(&failed, fate);
    let done = again.is_empty();
    petitions.told(&failed, usable, again);
    done
}

/// What has to be told again. Said twice it changes nothing more.
fn told_again(failed: &[Place], fate: Fate<Response>) -> Vec<Place> {
    let results = match fate {
        Fate::Answered(Response::ReplicasFailed(results)) => results,
        Fate::Answered(other) => {
            unreachable!("invariant: ReplicasFailed is answered in kind, not {other:?}")
        }
        Fate::NotDone | Fate::Unknown => return failed.to_vec(),
    };
    let mut again = Vec::new();
    for (place, result) in failed.iter().zip(results) {
        match result {
            Ok(()) => {}
            // A newer registration of this process knows nothing of it.
            Err(refusal)
                if matches!(
                    refusal.kind,
                    RefusalKind::StaleBrokerEpoch | RefusalKind::BrokerNotRegistered
                ) =>
            {
                again.push(*place);
            }
            Err(refusal) => {
                let (topic, partition) = place;
                tracing::warn!(%topic, %partition, %refusal, "a failed replica stays as it is");
            }
        }
    }
    again
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::state::Refusal;

    const PLACE: Place = (TopicId([3; 16]), PartitionIndex(0));

    fn is_all_told(petitions: &Petitions) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let waiting =
            async { tokio::time::timeout(Duration::ZERO, petitions.all_told()).await.is_ok() };
        runtime.expect("a runtime").block_on(waiting)
    }

    /// The first time nobody takes it, the second time its fate is unknown, the third time the
    /// process has a newer registration.
    #[test]
    fn a_node_is_not_ready_before_the_controller_knows_what_it_lost() {
        let petitions = Petitions::default();
        assert!(is_all_told(&petitions));
        petitions.lost(PLACE);
        let stale = Err(Refusal::new(RefusalKind::StaleBrokerEpoch, "registered anew"));
        let stale = Fate::Answered(Response::ReplicasFailed(vec![stale]));
        for fate in [Fate::NotDone, Fate::Unknown, stale] {
            assert!(!is_all_told(&petitions));
            let batch = petitions.take();
            assert_eq!(batch.lost, [PLACE], "it is told again");
            assert!(!is_all_told(&petitions), "no answer yet");
            petitions.told(&batch.lost, true, told_again(&batch.lost, fate));
        }
        assert!(!is_all_told(&petitions));
        let batch = petitions.take();
        let fate = Fate::Answered(Response::ReplicasFailed(vec![Ok(())]));
        petitions.told(&batch.lost, true, told_again(&batch.lost, fate));
        assert!(is_all_told(&petitions) && petitions.is_empty());
    }
}
