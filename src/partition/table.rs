//! The partitions that live on this node.

use super::Partition;
use crate::types::{PartitionIndex, TopicId, TopicPartition};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;
use tokio::time::Instant;

/// All partitions of this node, by name and by topic id. A name and an id always lead to the same
/// partition: a topic that is created anew replaces the old one under both.
#[derive(Debug)]
pub struct Table {
    inner: RwLock<Inner>,
    /// Counts the insertions, for those who wait for one.
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    by_name: BTreeMap<TopicPartition, Arc<Partition>>,
    by_id: HashMap<(TopicId, PartitionIndex), Arc<Partition>>,
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self { inner: RwLock::default(), version: watch::Sender::new(0) }
    }

    /// The partition of that name.
    #[must_use]
    pub fn get(&self, name: &TopicPartition) -> Option<Arc<Partition>> {
        self.read().by_name.get(name).cloned()
    }

    /// The partition of that topic id.
    #[must_use]
    pub fn by_id(&self, topic_id: TopicId, partition: PartitionIndex) -> Option<Arc<Partition>> {
        self.read().by_id.get(&(topic_id, partition)).cloned()
    }

    /// All partitions, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Partition>> {
        self.read().by_name.values().cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().by_name.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a partition; returns the one of an older topic id that had the name.
    pub fn insert(&self, partition: Arc<Partition>) -> Option<Arc<Partition>> {
        let name = partition.topic_partition().clone();
        let replaced = {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            let replaced = inner.by_name.insert(name.clone(), Arc::clone(&partition));
            if let Some(old) = &replaced {
                inner.by_id.remove(&(old.topic_id(), name.partition));
            }
            inner.by_id.insert((partition.topic_id(), name.partition), partition);
            replaced
        };
        self.version.send_modify(|version| *version += 1);
        replaced
    }

    /// Removes the partition of that topic id; a newer one under the same name stays.
    pub fn remove(&self, topic_id: TopicId, partition: PartitionIndex) -> Option<Arc<Partition>> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let removed = inner.by_id.remove(&(topic_id, partition))?;
        inner.by_name.remove(removed.topic_partition());
        Some(removed)
    }

    /// Waits until the partition is here, at most until `deadline`.
    pub async fn wait_for(
        &self,
        topic_id: TopicId,
        partition: PartitionIndex,
        deadline: Instant,
    ) -> Option<Arc<Partition>> {
        let mut version = self.version.subscribe();
        loop {
            version.borrow_and_update();
            if let Some(found) = self.by_id(topic_id, partition) {
                return Some(found);
            }
            match tokio::time::timeout_at(deadline, version.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return None,
            }
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        // The maps are only ever changed by whole inserts and removes.
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}
