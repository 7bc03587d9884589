//! Ids for idempotent producers, taken from the metadata group in blocks (KIP-730).
//!
//! Invariant: an id is handed out once, by one node. A block that was taken and not used up when
//! the process ends is lost, which costs nothing but numbers.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::context::Context;
use super::errors;
use crate::metadata::Response;
use crate::metadata::state::{AllocateProducerIds, Command};
use crate::protocol::ErrorCode;
use crate::types::ProducerId;

/// The ids that this node may still hand out.
#[derive(Debug)]
pub(super) struct ProducerIds {
    blocks: Mutex<VecDeque<Range<i64>>>,
    /// One block is asked for at a time.
    refill: Semaphore,
}

impl Default for ProducerIds {
    fn default() -> Self {
        Self { blocks: Mutex::default(), refill: Semaphore::new(1) }
    }
}

impl ProducerIds {
    /// A fresh id.
    pub(super) async fn next(&self, context: &Context) -> Result<ProducerId, ErrorCode> {
        if let Some(id) = self.take() {
            return Ok(id);
        }
        let _turn = self.refill.acquire().await.expect("invariant: never closed");
        // Whoever had the turn before may have brought a block.
        if let Some(id) = self.take() {
            return Ok(id);
        }
        let block = allocate(context).await?;
        self.lock().push_back(block);
        // A block that holds nothing at all is refused below rather than asked for in a loop.
        self.take().ok_or(ErrorCode::CoordinatorLoadInProgress)
    }

    fn take(&self) -> Option<ProducerId> {
        let mut blocks = self.lock();
        loop {
            match blocks.front_mut()?.next() {
                Some(id) => return Some(ProducerId(id)),
                None => blocks.pop_front(),
            };
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Range<i64>>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn allocate(context: &Context) -> Result<Range<i64>, ErrorCode> {
    let image = context.metadata.image();
    let broker = image.broker(context.node_id).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let command = Command::AllocateProducerIds(AllocateProducerIds {
        node_id: context.node_id,
        broker_epoch: broker.epoch,
    });
    match context.metadata.propose(command).await {
        Ok(Response::AllocateProducerIds(Ok(block))) => {
            Ok(block.first.0..block.first.0.saturating_add(i64::from(block.count)))
        }
        Ok(Response::AllocateProducerIds(Err(refusal))) => {
            tracing::warn!(%refusal, "no producer ids were handed out");
            Err(ErrorCode::CoordinatorLoadInProgress)
        }
        Ok(other) => unreachable!("AllocateProducerIds was answered with {other:?}"),
        Err(error) => {
            tracing::warn!(%error, code = %errors::metadata_code(&error), "no producer ids");
            // The code that producers wait on: others end an idempotent producer.
            Err(ErrorCode::CoordinatorLoadInProgress)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_the_blocks_in_turn_and_never_twice() {
        let ids = ProducerIds::default();
        assert_eq!(ids.take(), None);
        ids.lock().extend([5..7, 7..7, 100..101]);
        let taken: Vec<_> = std::iter::from_fn(|| ids.take()).map(|id| id.0).collect();
        assert_eq!(taken, [5, 6, 100]);
        assert_eq!(ids.take(), None);
    }
}
