//! What a node does by the clock: retention, checkpoints, ISR upkeep, second attempts.

use super::reconcile::Reconciler;
use crate::env::shutdown::Shutdown;
use crate::env::spawn;
use crate::metadata;
use crate::partition::{Notices, Table};
use crate::replica::IsrProposal;
use crate::types::{TopicId, TopicPartition};
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
            for partition in reconciler.table.all() {
                // Topics with write.caching flush through this alone.
                partition.request_flush();
                // The offsets are taken for all together, below.
                let _ = partition.checkpoint();
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
    while sleep(UPKEEP_INTERVAL, &mut shutdown).await {
        for partition in reconciler.table.all() {
            partition.tick();
        }
        if reconciler.failed_count() > 0 {
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
