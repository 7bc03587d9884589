//! What a node does by the clock: retention, checkpoints, ISR upkeep, second attempts.

use super::petitions::Petitions;
use super::reconcile::Reconciler;
use crate::env::shutdown::Shutdown;
use crate::env::spawn;
use crate::metadata;
use crate::partition::fetcher::Manager;
use crate::partition::{Notices, Table};
use crate::replica::{FlushReport, IsrProposal};
use crate::types::{TopicId, TopicPartition};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// Time between two looks for partitions that did not open, and at most between two looks for
/// followers that fell behind.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Looks for followers that fell behind, in the time that they may be behind for.
const LOOKS_PER_LAG_MAX: u64 = 4;

/// How soon a moved log start is checkpointed. Others that move meanwhile are written along.
const CHECKPOINT_SOON: Duration = Duration::from_millis(500);

/// What partitions tell the node.
#[derive(Debug, Default)]
pub(super) struct NodeNotices {
    checkpoint_soon: Notify,
    pub(super) petitions: Arc<Petitions>,
    /// Who writes the checkpoints; set once the node has them.
    reconciler: OnceLock<Weak<Reconciler>>,
    /// Who copies from leaders; set once the node is registered.
    fetchers: OnceLock<Arc<Manager>>,
}

impl NodeNotices {
    /// Takes the parts that themselves need the notices. Done once, before any partition opens.
    pub(super) fn connect(&self, reconciler: &Arc<Reconciler>, fetchers: Arc<Manager>) {
        let first = self.reconciler.set(Arc::downgrade(reconciler)).is_ok()
            && self.fetchers.set(fetchers).is_ok();
        assert!(first, "a node's notices are connected once");
    }
}

impl Notices for NodeNotices {
    fn isr_wanted(&self, partition: &TopicPartition, topic_id: TopicId, proposal: IsrProposal) {
        self.petitions.isr((topic_id, partition.partition), proposal);
    }

    fn storage_failed(&self, partition: &TopicPartition, topic_id: TopicId, reason: &str) {
        tracing::error!(
            %partition, reason,
            "the partition is stopped on this node, and others take over; check the disk, then \
             restart the node"
        );
        self.petitions.failed((topic_id, partition.partition));
    }

    fn log_start_moved(&self, _: &TopicPartition) {
        self.checkpoint_soon.notify_one();
    }

    fn flushed_as_follower(
        &self,
        partition: &TopicPartition,
        topic_id: TopicId,
        report: FlushReport,
    ) {
        if let Some(fetchers) = self.fetchers.get() {
            fetchers.flushed(topic_id, partition.partition, report);
        }
    }

    fn recovery_point_lowered(&self, _: &TopicPartition) {
        if let Some(reconciler) = self.reconciler.get().and_then(Weak::upgrade) {
            reconciler.write_checkpoints();
        }
    }
}

/// Applies retention now and then, until the shutdown.
pub(super) async fn retain(table: Arc<Table>, interval: Duration, mut shutdown: Shutdown) {
    while sleep(interval, &mut shutdown).await {
        let table = Arc::clone(&table);
        spawn::blocking("retention", move || {
            for partition in table.all() {
                match partition.apply_retention() {
                    Ok(removed) if removed.is_empty() => {}
                    Ok(removed) => tracing::info!(
                        partition = %partition.topic_partition(),
                        segments = removed.len(),
                        bytes = removed.iter().map(|segment| segment.bytes).sum::<u64>(),
                        "retention removed old segments"
                    ),
                    Err(error) => {
                        tracing::error!(partition = %partition.topic_partition(), %error, "retention failed");
                    }
                }
            }
        })
        .await;
    }
}

/// Writes the checkpoint files now and then, and soon after a log start moved, until the
/// shutdown.
pub(super) async fn checkpoint(
    reconciler: Arc<Reconciler>,
    notices: Arc<NodeNotices>,
    interval: Duration,
    mut shutdown: Shutdown,
) {
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(interval) => {}
            () = notices.checkpoint_soon.notified() => {
                if !sleep(CHECKPOINT_SOON, &mut shutdown).await {
                    return;
                }
            }
        }
        let reconciler = Arc::clone(&reconciler);
        spawn::blocking("checkpoint", move || {
            for partition in reconciler.table.all() {
                // Topics with write.caching flush through this alone.
                partition.request_flush();
                // The offsets are taken for all together, below.
                partition.advance_recovery_point();
            }
            reconciler.write_checkpoints();
        })
        .await;
    }
}

/// Lets laggards leave their ISRs and opens what did not open, now and then, until the shutdown.
pub(super) async fn keep_up(
    reconciler: Arc<Reconciler>,
    metadata: metadata::Handle,
    mut shutdown: Shutdown,
) {
    let lag_ms_max = u64::try_from(reconciler.config.replica_lag_ms_max()).unwrap_or(0);
    let interval = Duration::from_millis((lag_ms_max / LOOKS_PER_LAG_MAX).max(50));
    let interval = interval.min(UPKEEP_INTERVAL);
    let mut tried = tokio::time::Instant::now();
    while sleep(interval, &mut shutdown).await {
        for partition in reconciler.table.all() {
            partition.tick();
        }
        if reconciler.failed_count() > 0 && tried.elapsed() >= UPKEEP_INTERVAL {
            tried = tokio::time::Instant::now();
            let (reconciler, metadata) = (Arc::clone(&reconciler), metadata.clone());
            let retry = move || reconciler.retry_failed(|| metadata.image());
            spawn::blocking("open partition", retry).await;
        }
    }
}

/// Sleeps; false when the shutdown came first.
async fn sleep(span: Duration, shutdown: &mut Shutdown) -> bool {
    tokio::select! {
        () = shutdown.wait() => false,
        () = tokio::time::sleep(span) => true,
    }
}
