//! What a produce answer means for each batch: done, again, in two halves, under a new producer
//! id, or never.

use super::accumulator::State;
use super::outcome::Acknowledged;
use super::sender::{Sender, Sent, partition_queue};
use super::{Acks, batch::Batch};
use crate::client::{Address, Error};
use crate::protocol::ErrorCode;
use crate::protocol::messages::produce::{PartitionProduceResponse, ProduceResponse};
use crate::types::{NodeId, Offset, TimestampMs};
use std::time::Duration;
use tokio::time::Instant;

/// What to do with one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Stored {
        base_offset: Offset,
        append_time: Option<TimestampMs>,
    },
    /// The same bytes again, after a while.
    Again(String),
    /// The same bytes again, at once: the broker said who leads by now.
    Elsewhere(String),
    /// It was not stored, and will not be under its sequence.
    OutOfSequence(String),
    /// Too large as it is.
    Split,
    Refused(Error),
}

impl Sender {
    pub(super) fn answered(
        &mut self,
        node: NodeId,
        sent: Vec<Sent>,
        answer: Result<ProduceResponse, Error>,
    ) {
        match answer {
            Ok(response) => {
                if response.throttle_time_ms > 0 {
                    let wait = Duration::from_millis(response.throttle_time_ms as u64);
                    self.quiet_until.insert(node, Instant::now() + wait);
                }
                for sent in sent {
                    let verdict = self.verdict(&sent, &response);
                    self.carry(sent, verdict);
                }
            }
            Err(error) if error.is_retriable() || error == Error::Closed => {
                self.refresh_wanted = true;
                for sent in sent {
                    self.carry(sent, Verdict::Again(error.to_string()));
                }
            }
            Err(error) => {
                for sent in sent {
                    self.carry(sent, Verdict::Refused(error.clone()));
                }
            }
        }
    }

    fn verdict(&mut self, sent: &Sent, response: &ProduceResponse) -> Verdict {
        if self.accumulator.options.acks == Acks::None {
            return Verdict::Stored { base_offset: Offset::NONE, append_time: None };
        }
        let id = self.cluster.topic(&sent.topic).map(|info| info.id);
        let answer = response
            .responses
            .iter()
            .filter(|topic| {
                *topic.name == *sent.topic || (topic.name.is_empty() && Some(topic.topic_id) == id)
            })
            .flat_map(|topic| &topic.partition_responses)
            .find(|partition| partition.index.0 == sent.partition);
        let Some(answer) = answer else {
            return Verdict::Again("the broker's answer left the partition out".to_owned());
        };
        let verdict = judge(sent, answer);
        let moved = matches!(
            answer.error_code,
            ErrorCode::NotLeaderOrFollower
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::InconsistentTopicId
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::KafkaStorageError
        );
        if moved && self.learns_leader(sent, answer, response) {
            return match verdict {
                Verdict::Again(cause) => Verdict::Elsewhere(cause),
                other => other,
            };
        }
        self.refresh_wanted |= moved;
        verdict
    }

    /// Whether the answer says who leads the partition by now, and how to get there.
    fn learns_leader(
        &self,
        sent: &Sent,
        answer: &PartitionProduceResponse,
        response: &ProduceResponse,
    ) -> bool {
        let hint = (answer.current_leader.leader_id, answer.current_leader.leader_epoch);
        let endpoint = response.node_endpoints.iter().find(|endpoint| endpoint.node_id == hint.0);
        let address = endpoint.and_then(|endpoint| {
            Some(Address::new(endpoint.host.to_string(), u16::try_from(endpoint.port).ok()?))
        });
        self.cluster.learn_leader(&sent.topic, sent.partition, hint, address)
    }

    fn carry(&mut self, sent: Sent, verdict: Verdict) {
        let accumulator = self.accumulator.clone();
        let mut guard = accumulator.lock();
        let state = &mut *guard;
        let Sent { topic, partition, mut batch } = sent;
        let Some(queue) = partition_queue(state, &topic, partition as usize) else { return };
        queue.under_way.remove(&batch.order());
        queue.alone = false;
        match verdict {
            Verdict::Stored { base_offset, append_time } => {
                queue.paused_until = None;
                let stored = Acknowledged { partition, offset: base_offset, append_time };
                accumulator.resolve(state, batch, Ok(stored));
            }
            Verdict::Refused(error) => accumulator.resolve(state, batch, Err(error)),
            Verdict::Again(cause) => {
                let wait = self.backoff_after(batch.attempts);
                queue.paused_until = Some(Instant::now() + wait);
                batch.last_error = Some(cause.clone());
                self.trouble = Some(cause);
                queue.put_back(batch);
            }
            Verdict::Elsewhere(cause) => {
                queue.paused_until = None;
                batch.last_error = Some(cause);
                queue.put_back(batch);
            }
            Verdict::OutOfSequence(cause) => {
                batch.last_error = Some(cause);
                out_of_sequence(state, &topic, partition as usize, batch);
            }
            Verdict::Split => match batch.split() {
                Ok((first, second)) => {
                    let number = first.number;
                    queue.put_back(first);
                    queue.put_back(second);
                    state.split(number);
                }
                Err(refused) => {
                    let (batch, error) = *refused;
                    accumulator.resolve(state, batch, Err(error));
                }
            },
        }
    }

    fn backoff_after(&self, attempts: u32) -> Duration {
        let first_ms = self.cluster.options().retry_backoff_ms;
        let doubled = first_ms.saturating_mul(1 << attempts.saturating_sub(1).min(10));
        Duration::from_millis(doubled.min(first_ms.saturating_mul(10)))
    }
}

/// The broker did not store the batch, because its sequence does not follow the last one there.
///
/// While an earlier batch of the partition is open, that one is the reason: the batch goes again
/// after it. Otherwise the sequence will never fit (an earlier batch was given up, or the broker
/// lost what it knew), and since nothing is stored under it, a new producer id is safe.
fn out_of_sequence(state: &mut State, topic: &str, partition: usize, mut batch: Batch) {
    let old = batch.stamp.map(|stamp| stamp.identity);
    let Some(queue) = partition_queue(state, topic, partition) else { return };
    let earlier_under_way = queue.under_way.first().is_some_and(|first| *first < batch.order());
    let earlier_waiting = queue.waiting.front().is_some_and(|front| front.order() < batch.order());
    if earlier_under_way || earlier_waiting {
        queue.put_back(batch);
        return;
    }
    tracing::debug!(topic, partition, "a batch goes under a new producer id");
    batch.stamp = None;
    if queue.identity == old {
        queue.identity = None;
    }
    queue.put_back(batch);
    if state.identity == old {
        state.identity = None;
    }
}

fn judge(sent: &Sent, answer: &PartitionProduceResponse) -> Verdict {
    let code = answer.error_code;
    let said = || match &answer.error_message {
        Some(message) if !message.is_empty() => format!("{}: {message}", code.name()),
        _ => code.name().to_owned(),
    };
    match code {
        ErrorCode::None => {
            let time = answer.log_append_time_ms;
            let append_time = (time >= 0).then_some(TimestampMs(time));
            Verdict::Stored { base_offset: answer.base_offset, append_time }
        }
        // Stored before, at an offset that the broker no longer knows.
        ErrorCode::DuplicateSequenceNumber => {
            Verdict::Stored { base_offset: Offset::NONE, append_time: None }
        }
        ErrorCode::OutOfOrderSequenceNumber
        | ErrorCode::UnknownProducerId
        | ErrorCode::InvalidProducerEpoch
            if sent.batch.stamp.is_some() =>
        {
            Verdict::OutOfSequence(said())
        }
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge if sent.batch.count() > 1 => {
            Verdict::Split
        }
        code if code.is_retriable() => Verdict::Again(said()),
        code => {
            let mut message = answer.error_message.as_ref().map(ToString::to_string);
            // The first record that was refused says more than the batch.
            let first = answer.record_errors.first();
            if let Some(text) = first.and_then(|error| error.batch_index_error_message.as_ref()) {
                message = Some(text.to_string());
            }
            let what = format!("writing to {}-{}", sent.topic, sent.partition);
            Verdict::Refused(Error::Refused { what, code, message })
        }
    }
}
