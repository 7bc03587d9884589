//! The end of a run: is everything there, once, in order, everywhere, and does all work again?

use super::clients::decode;
use super::{Sim, TOPIC};
use purlin::types::invariant::LogImage;
use purlin::types::invariant::{Check, Invariant, ProducerLog, check, log_matching};
use purlin::types::{NodeId, Offset, PartitionIndex, ProducerId};
use std::collections::BTreeSet;

impl Sim {
    /// Whether all is healed, all that was to be sent is answered, and all replicas are equal.
    pub fn is_done(&self) -> bool {
        self.calm
            && self.producers.iter().all(|one| one.is_done(self.plan.batches_per_producer))
            && self.what_is_missing().is_none()
    }

    fn what_is_missing(&self) -> Option<String> {
        let state = self.group.newest();
        for node in &self.nodes {
            if !node.up {
                return Some(format!("node {} is down", node.id));
            }
            if let Some((index, why)) = node.unopened.first_key_value() {
                return Some(format!("node {} did not open partition {index}: {why}", node.id));
            }
            if state.broker(node.id).is_none_or(|broker| broker.fenced) {
                return Some(format!("broker {} is fenced", node.id));
            }
        }
        let topic = state.topic_by_id(TOPIC)?;
        for (index, partition) in topic.partitions() {
            let Some(leader) = partition.leader else {
                return Some(format!("partition {index} has no leader: {partition:?}"));
            };
            if !partition.adding.is_empty() || !partition.removing.is_empty() {
                return Some(format!("partition {index} is still moving: {partition:?}"));
            }
            let (isr, replicas): (BTreeSet<_>, BTreeSet<_>) =
                (partition.isr.iter().collect(), partition.replicas.iter().collect());
            if isr != replicas {
                return Some(format!("partition {index} lacks replicas: {partition:?}"));
            }
            let offsets = |id: NodeId| self.node(id).partition(index)?.offsets().ok();
            let Some(wanted) = offsets(leader) else {
                return Some(format!("partition {index} is not open at its leader {leader}"));
            };
            for replica in &partition.replicas {
                let found = offsets(*replica);
                let equal = found.is_some_and(|found| {
                    found.log_end == wanted.log_end && wanted.high_watermark == wanted.log_end
                });
                if !equal {
                    return Some(format!(
                        "partition {index}: leader {leader} has {wanted:?}, replica {replica} {found:?}"
                    ));
                }
            }
        }
        None
    }

    /// The time is up.
    pub fn stuck(&mut self) {
        let missing = self
            .what_is_missing()
            .unwrap_or_else(|| "a producer still waits for its answers".to_owned());
        let what = format!("after {} ms: {missing}", self.now_ms);
        self.broken(check(Invariant::EventuallyWritable, false, || what));
    }

    /// Holds the whole history against what is stored.
    pub fn finish(&mut self) {
        let verdict = self.verdict();
        self.broken(verdict);
    }

    fn verdict(&self) -> Check {
        let state = self.group.newest();
        let Some(topic) = state.topic_by_id(TOPIC) else { return Ok(()) };
        let mut found = std::collections::BTreeMap::new();
        for (index, partition) in topic.partitions() {
            let Some(leader) = partition.leader else { continue };
            let rows = self.replicas_agree(index, leader, &partition.replicas)?;
            let mut producers = ProducerLog::default();
            for (offset, (_, id)) in rows.iter().enumerate() {
                let offset = i64::try_from(offset).expect("small");
                let number = i64::try_from(id.1).expect("small");
                producers.note(ProducerId(i64::from(id.0)), number)?;
                found.insert(*id, (index.0, offset));
                let shown = self.shown.get(&(index.0, offset));
                check(Invariant::ConsistentRead, shown.is_none_or(|shown| shown == id), || {
                    format!(
                        "partition {index}, offset {offset}: {shown:?} was shown, {id:?} is there"
                    )
                })?;
            }
            for ((of, offset), id) in &self.shown {
                let there = usize::try_from(*offset).ok().and_then(|at| rows.get(at));
                check(Invariant::LeaderCompleteness, *of != index.0 || there.is_some(), || {
                    format!("partition {index}: {id:?} was shown at {offset}, and is gone")
                })?;
            }
        }
        for (id, place) in &self.acknowledged {
            check(Invariant::LeaderCompleteness, found.get(id) == Some(place), || {
                format!("{id:?} was acknowledged at {place:?}, and is at {:?}", found.get(id))
            })?;
        }
        Ok(())
    }

    fn replicas_agree(
        &self,
        index: PartitionIndex,
        leader: NodeId,
        replicas: &[NodeId],
    ) -> Result<Vec<(purlin::types::LeaderEpoch, super::Id)>, purlin::types::invariant::Violation>
    {
        let wanted = self.stored(leader, index);
        let rows: Vec<_> = decode(&wanted).into_iter().map(|(_, epoch, id)| (epoch, id)).collect();
        for replica in replicas {
            let stored = self.stored(*replica, index);
            if stored == wanted {
                continue;
            }
            let theirs: Vec<_> =
                decode(&stored).into_iter().map(|(_, epoch, id)| (epoch, id)).collect();
            let end = |rows: &Vec<_>| Offset(i64::try_from(rows.len()).expect("small"));
            let image = |node, records, high_watermark| LogImage {
                node,
                start: Offset::ZERO,
                records,
                high_watermark,
            };
            log_matching(
                &image(leader, &rows[..], end(&rows)),
                &image(*replica, &theirs[..], end(&rows)),
            )?;
            check(Invariant::LogMatching, false, || {
                format!("partition {index}: nodes {leader} and {replica} store other bytes")
            })?;
        }
        Ok(rows)
    }
}
