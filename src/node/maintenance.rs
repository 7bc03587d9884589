//! What a node does by the clock: retention, checkpoints, ISR upkeep, second attempts.

use super::reconcile::Reconciler;
use crate::env::shutdown::Shutdown;
use crate::env::spawn;
use crate::log::checkpoint::{self, HIGH_WATERMARK, LOG_START, RECOVERY_POINT};
use crate::metadata;
use crate::partition::{Checkpoint, Notices, Table};
use crate::replica::IsrProposal;
use crate::types::{Offset, TopicId, TopicPartition};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Time between two looks for followers that fell behind, and for partitions that did not open.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How soon a moved log start is checkpointed. Others that move meanwhile are written along.
const CHECKPOINT_SOON: Duration = Duration::from_millis(500);

/// What partitions tell the node.
#[derive(Debug, Default)]
pub(super) struct NodeNotices {
    checkpoint_soon: Notify,
}

impl Notices for NodeNotices {
    fn isr_wanted(&self, partition: &TopicPartition, _: TopicId, proposal: IsrProposal) {
        // A partition with one replica never asks; more replicas come with replication.
        tracing::warn!(%partition, ?proposal, "an ISR change was asked for, and stays open");
    }

    fn storage_failed(&self, partition: &TopicPartition, _: TopicId, reason: &str) {
        tracing::error!(
            %partition, reason,
            "the partition is stopped on this node; check the disk, then restart the node"
        );
    }

    fn log_start_moved(&self, _: &TopicPartition) {
        self.checkpoint_soon.notify_one();
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
            let mut found = BTreeMap::new();
            for partition in reconciler.table.all() {
                // Topics with write.caching flush through this alone.
                partition.request_flush();
                if let Some(checkpoint) = partition.checkpoint() {
                    found.insert(partition.topic_partition().clone(), checkpoint);
                }
            }
            if let Err(error) = write_checkpoints(&reconciler, &found) {
                tracing::warn!(%error, "checkpoints not written; recovery takes longer");
            }
        })
        .await;
    }
}

/// Replaces the checkpoint files.
pub(super) fn write_checkpoints(
    reconciler: &Reconciler,
    found: &BTreeMap<TopicPartition, Checkpoint>,
) -> Result<(), crate::log::Error> {
    let write = |file: &str, value: fn(&Checkpoint) -> Offset| {
        let offsets = found.iter().map(|(name, found)| (name.clone(), value(found))).collect();
        let dir: &Path = &reconciler.logs_dir;
        checkpoint::write_offsets(&reconciler.disk, dir, file, &offsets)
    };
    write(RECOVERY_POINT, |found| found.flushed)?;
    write(HIGH_WATERMARK, |found| found.high_watermark)?;
    write(LOG_START, |found| found.log_start)
}

/// Lets laggards leave their ISRs and opens what did not open, now and then, until the shutdown.
pub(super) async fn keep_up(
    reconciler: Arc<Reconciler>,
    metadata: metadata::Handle,
    mut shutdown: Shutdown,
) {
    while sleep(UPKEEP_INTERVAL, &mut shutdown).await {
        for partition in reconciler.table.all() {
            partition.tick();
        }
        if reconciler.failed_count() > 0 {
            let (reconciler, image) = (Arc::clone(&reconciler), metadata.image());
            spawn::blocking("open partition", move || reconciler.retry_failed(&image)).await;
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
