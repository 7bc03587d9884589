//! What becomes of the records of one batch.

use crate::client::Error;
use crate::types::{Offset, TimestampMs};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// Where a record was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The partition.
    pub partition: i32,
    /// The offset; [`Offset::NONE`] with `acks=0`, and where a broker no longer knows it.
    pub offset: Offset,
    /// The leader's time, where the topic asks for that.
    pub append_time: Option<TimestampMs>,
}

/// The future of one record.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub(super) outcome: Arc<Outcome>,
    /// The record's place in the batch that it was first put into.
    pub(super) index: u32,
}

impl Delivery {
    /// Waits until the record is acknowledged or given up.
    ///
    /// # Errors
    /// Why it was given up.
    pub async fn wait(&self) -> Result<Acknowledged, Error> {
        loop {
            // Registered before looking, so that no wake-up is missed.
            let woken = self.outcome.woken.notified();
            if let Some(result) = self.now() {
                return result;
            }
            woken.await;
        }
    }

    /// What is known at this moment.
    #[must_use]
    pub fn now(&self) -> Option<Result<Acknowledged, Error>> {
        let parts = self.outcome.parts.lock().expect("invariant: nothing panics under this lock");
        let part = parts
            .iter()
            .find(|part| part.first <= self.index && self.index - part.first < part.count)?;
        Some(part.result.clone().map(|base| Acknowledged {
            offset: match base.offset {
                Offset::NONE => Offset::NONE,
                offset => offset.plus(i64::from(self.index - part.first)),
            },
            ..base
        }))
    }
}

/// Shared by the deliveries of one batch. A batch that was split is done in parts.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    parts: Mutex<Vec<Part>>,
    woken: Notify,
}

#[derive(Debug)]
struct Part {
    first: u32,
    count: u32,
    /// Of the first record.
    result: Result<Acknowledged, Error>,
}

impl Outcome {
    pub(super) fn resolve(&self, first: u32, count: u32, result: Result<Acknowledged, Error>) {
        {
            let mut parts = self.parts.lock().expect("invariant: nothing panics under this lock");
            parts.push(Part { first, count, result });
        }
        self.woken.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn records_of_a_split_batch_get_their_own_results() {
        let outcome = Arc::new(Outcome::default());
        let at = |index| Delivery { outcome: outcome.clone(), index };
        let base =
            |offset| Acknowledged { partition: 1, offset: Offset(offset), append_time: None };
        outcome.resolve(0, 3, Ok(base(100)));
        assert_eq!(at(2).wait().await.map(|at| at.offset), Ok(Offset(102)));
        assert_eq!(at(3).now(), None);
        outcome.resolve(3, 2, Err(Error::Closed));
        assert_eq!(at(4).wait().await, Err(Error::Closed));
        outcome.resolve(5, 1, Ok(base(-1)));
        assert_eq!(at(5).wait().await.map(|at| at.offset), Ok(Offset::NONE));
    }
}
