//! Hands applied metadata to whoever reads it.
//!
//! Invariant: what a subscriber is given is an image and the delta that leads from the image it
//! was given before to this one, however slow it is and however much happened in between.

use super::image::Image;
use super::state::{Delta, State};
use crate::types::{ClusterId, NodeId};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use tokio::sync::{Notify, watch};

/// The current image, and who wants to hear of the next.
#[derive(Debug)]
pub(super) struct Publisher {
    /// Read on every request, so it has a lock of its own.
    image: RwLock<Arc<Image>>,
    readers: Mutex<Readers>,
    /// How many entries went into the image.
    applied: watch::Sender<u64>,
    /// The same, when something changed last.
    changed: AtomicU64,
    /// How many entries the node's partitions follow.
    taken_up: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Readers {
    closed: bool,
    mailboxes: Vec<Weak<Mailbox>>,
}

#[derive(Debug)]
struct Mailbox {
    /// What changed since the last take.
    pending: Mutex<Option<Delta>>,
    notify: Notify,
}

impl Publisher {
    pub(super) fn new(cluster_id: ClusterId) -> Arc<Self> {
        Arc::new(Self {
            image: RwLock::new(Arc::new(Image::empty(cluster_id))),
            readers: Mutex::default(),
            applied: watch::Sender::new(0),
            changed: AtomicU64::new(0),
            taken_up: watch::Sender::new(0),
        })
    }

    pub(super) fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new state was applied.
    pub(super) fn publish(&self, state: State, applied_count: u64, delta: Delta) {
        if !delta.is_empty() {
            self.changed.store(applied_count, Ordering::Release);
        }
        let brokers = delta.brokers.clone();
        self.change(delta, |image| {
            let before = image.clone();
            image.state = state;
            image.applied_count = applied_count;
            image.note_departures(&before, &brokers);
        });
        self.applied.send_replace(applied_count);
    }

    /// The node's partitions are what an image says that so many entries went into.
    pub(super) fn set_taken_up(&self, applied_count: u64) {
        self.taken_up.send_if_modified(|taken_up| {
            let grows = *taken_up < applied_count;
            *taken_up = applied_count.max(*taken_up);
            grows
        });
    }

    /// Waits until the node's partitions follow so many entries; for ever, if they never do.
    pub(super) async fn wait_taken_up(&self, applied_count: u64) {
        self.wait_applied(applied_count).await;
        // Entries that change nothing are not taken up.
        let changed = self.changed.load(Ordering::Acquire);
        let _ = self.taken_up.subscribe().wait_for(|taken_up| *taken_up >= changed).await;
    }

    /// Waits until so many entries are applied; for ever, if they never are.
    pub(super) async fn wait_applied(&self, applied_count: u64) {
        // The sender lives as long as this.
        let _ = self.applied.subscribe().wait_for(|count| *count >= applied_count).await;
    }

    /// Somebody else leads the group, or nobody.
    pub(super) fn set_controller(&self, controller: Option<NodeId>) {
        if self.image().controller() != controller {
            let delta = Delta { controller: true, ..Delta::default() };
            self.change(delta, |image| image.controller = controller);
        }
    }

    /// The one place that changes the image, so that images and deltas stay in step: readers are
    /// locked throughout.
    fn change(&self, delta: Delta, change: impl FnOnce(&mut Image)) {
        let mut readers = self.readers();
        let mut next = Image::clone(&self.image());
        change(&mut next);
        *self.image.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        if delta.is_empty() {
            return;
        }
        readers.mailboxes.retain(|mailbox| {
            let Some(mailbox) = mailbox.upgrade() else { return false };
            mailbox.pending().get_or_insert_default().merge(delta.clone());
            mailbox.notify.notify_one();
            true
        });
    }

    /// Tells every subscriber that nothing more will come.
    pub(super) fn close(&self) {
        let mut readers = self.readers();
        readers.closed = true;
        for mailbox in readers.mailboxes.drain(..).filter_map(|mailbox| mailbox.upgrade()) {
            mailbox.notify.notify_one();
        }
    }

    pub(super) fn subscribe(self: &Arc<Self>) -> Subscription {
        let mut readers = self.readers();
        let everything = Delta::everything(self.image().state());
        let mailbox =
            Arc::new(Mailbox { pending: Mutex::new(Some(everything)), notify: Notify::new() });
        if !readers.closed {
            readers.mailboxes.push(Arc::downgrade(&mailbox));
        }
        drop(readers);
        Subscription { publisher: Arc::clone(self), mailbox }
    }
}

impl Mailbox {
    fn pending(&self) -> MutexGuard<'_, Option<Delta>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Images as they come, with what changed since the last one taken. A reader that is slow gets
/// several changes merged into one delta, and misses nothing.
#[derive(Debug)]
pub struct Subscription {
    publisher: Arc<Publisher>,
    mailbox: Arc<Mailbox>,
}

impl Subscription {
    /// Waits for the next change. The first call returns at once, with a delta that names
    /// everything there is. `None` when the metadata has been shut down.
    pub async fn next(&mut self) -> Option<(Arc<Image>, Delta)> {
        loop {
            if let Some(change) = self.take() {
                return Some(change);
            }
            if self.publisher.readers().closed {
                return self.take();
            }
            // A notification that came before is kept by `notify_one`.
            self.mailbox.notify.notified().await;
        }
    }

    /// The image and the delta that belong together.
    fn take(&self) -> Option<(Arc<Image>, Delta)> {
        let _in_step = self.publisher.readers();
        let delta = self.mailbox.pending().take()?;
        Some((self.publisher.image(), delta))
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::Script;
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_gets_one_delta_for_everything_it_missed() {
        let publisher = Publisher::new(ClusterId([1; 16]));
        let mut script = Script::with_brokers(2);
        let publish = |script: &Script| {
            publisher.publish(script.state.clone(), script.index, script.delta.clone());
        };
        publish(&script);
        let mut reader = publisher.subscribe();
        let (first, everything) = reader.next().await.expect("open");
        assert_eq!(everything, Delta::everything(first.state()));

        let before = first.state().clone();
        for name in ["a", "b", "c"] {
            let topic = script.new_topic(name, 2, 1);
            let command = super::super::state::tests::create_topics(vec![topic], false);
            script.apply(super::super::Command::CreateTopics(command));
            publish(&script);
        }
        publisher.set_controller(Some(NodeId(1)));
        publisher.set_controller(Some(NodeId(1)));
        let (image, delta) = reader.next().await.expect("open");
        assert_eq!(image.state(), &script.state);
        let expected = Delta { controller: true, ..Delta::between(&before, &script.state) };
        assert_eq!(delta, expected);

        let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), reader.next());
        assert!(waiting.await.is_err(), "nothing new");
        script.apply(super::super::Command::RegisterBroker(
            super::super::state::tests::registration(1, 2, true),
        ));
        publish(&script);
        publisher.close();
        assert!(reader.next().await.is_some(), "what came before the end is still delivered");
        assert!(reader.next().await.is_none());
        assert!(publisher.subscribe().next().await.is_some());
    }
}
