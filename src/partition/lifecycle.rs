//! Opening, roles, settings, retention, checkpoints, and the end.

use super::waiters::{Outcome, Sessions, Waiters, Watchers};
use super::{Aftermath, Error, Inner, Notices, Partition};
use crate::env::clock::Clock;
use crate::env::disk::Disk;
use crate::log::flush::Flusher;
use crate::log::{Log, LogConfig, OpenHints, RecoveryReport, Removed};
use crate::replica::{self, Input, LogView, Settings};
use crate::types::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicId, TopicPartition,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// All that is needed to open a partition.
#[derive(Debug)]
pub struct OpenOptions {
    /// Topic and partition by name.
    pub name: TopicPartition,
    /// The topic's id.
    pub topic_id: TopicId,
    /// This node.
    pub node: NodeId,
    /// The partition's directory; made if it is missing.
    pub dir: PathBuf,
    /// Where that is.
    pub disk: Arc<dyn Disk>,
    /// The log's settings.
    pub config: LogConfig,
    /// The replication settings.
    pub settings: Settings,
    /// What is known about the log.
    pub hints: OpenHints,
    /// The high watermark of the last checkpoint; zero if there is none.
    pub high_watermark: Offset,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// The node's flusher.
    pub flusher: Flusher,
    /// Who listens to the partition.
    pub notices: Arc<dyn Notices>,
}

/// What the metadata says about a partition that has a replica here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Who leads; [`NodeId::NONE`] for nobody.
    pub leader: NodeId,
    /// Counts the leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts the changes of replicas and ISR.
    pub partition_epoch: PartitionEpoch,
    /// Every replica with its registration; `None` for a broker that is fenced or unknown.
    pub replicas: Vec<(NodeId, Option<BrokerEpoch>)>,
    /// The in-sync replicas.
    pub isr: BTreeSet<NodeId>,
    /// Who may be elected although not in sync (KIP-966).
    pub elr: BTreeSet<NodeId>,
}

/// What the node's checkpoint files remember of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Recovery starts here: what lies before is flushed, and so is what is derived from it.
    pub flushed: Offset,
    /// The high watermark.
    pub high_watermark: Offset,
    /// The log start offset.
    pub log_start: Offset,
}

/// How long the end of a partition waits for a flush that is under way.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);

impl Partition {
    /// Opens the partition's log, recovering what a crash left. The replica is idle until
    /// [`Self::assign`].
    ///
    /// # Errors
    /// Those of the disk, and a directory of another topic id.
    pub fn open(options: OpenOptions) -> Result<(Arc<Self>, RecoveryReport), Error> {
        let clock = Arc::clone(&options.clock);
        let (log, report) =
            Log::open(options.disk, &options.dir, options.config, clock, options.hints)?;
        let view = LogView {
            start: log.log_start_offset(),
            end: log.log_end_offset(),
            flushed: log.flushed_offset(),
        };
        let replica =
            replica::State::new(options.node, options.settings, view, options.high_watermark);
        let inner = Inner {
            log: Some(log),
            replica,
            waiters: Waiters::default(),
            failure: None,
            ending: false,
            isr: BTreeSet::new(),
            elr: BTreeSet::new(),
            replica_count: 0,
            follower_starts: BTreeMap::new(),
            checkpointed: view.flushed,
        };
        let partition = Arc::new_cyclic(|myself| Self {
            name: options.name,
            topic_id: options.topic_id,
            node: options.node,
            inner: Mutex::new(inner),
            watchers: Watchers::default(),
            sessions: Sessions::default(),
            flusher: options.flusher,
            clock: options.clock,
            notices: options.notices,
            myself: myself.clone(),
        });
        Ok((partition, report))
    }

    /// Takes what the metadata decided. An older decision than the one in force changes nothing.
    pub fn assign(&self, node: NodeId, assignment: Assignment) {
        let Assignment { leader, leader_epoch: epoch, partition_epoch, replicas, isr, elr } =
            assignment;
        let is_replica = replicas.iter().any(|(replica, _)| *replica == node);
        let now_ms = self.monotonic_ms();
        let aftermath = {
            let mut inner = self.lock();
            let (in_sync, eligible, replica_count) = (isr.clone(), elr.clone(), replicas.len());
            let mut aftermath = inner.step(if leader == node && is_replica {
                Input::Lead { epoch, partition_epoch, replicas, isr, elr, now_ms }
            } else if leader == NodeId::NONE || !is_replica {
                Input::Stand { epoch }
            } else {
                Input::Follow { leader, epoch }
            });
            if inner.replica.leader_epoch() == epoch {
                (inner.isr, inner.elr) = (in_sync, eligible);
                inner.replica_count = replica_count;
            }
            // What sessions know of followers may have been reset.
            aftermath.followers = true;
            aftermath
        };
        self.finish(aftermath);
    }

    /// Takes new settings of the topic.
    pub fn configure(&self, config: LogConfig, settings: Settings) {
        let aftermath = {
            let mut inner = self.lock();
            if let Some(log) = inner.log.as_mut() {
                log.set_config(config);
            }
            inner.step(Input::Configured(settings))
        };
        self.finish(aftermath);
    }

    /// The controller refused, for certain, the ISR that was asked for at `partition_epoch`. Not to
    /// be called when the result is unknown, nor when the refusal says that the partition epoch is
    /// old: see [`Input::IsrRefused`].
    pub fn isr_refused(&self, partition_epoch: PartitionEpoch) {
        self.step(Input::IsrRefused { partition_epoch });
    }

    /// Lets followers that fell behind leave the ISR, and those that caught up join it. Called now
    /// and then, well more often than `replica.lag.time.max.ms`.
    pub fn tick(&self) {
        self.step(Input::Tick { now_ms: self.monotonic_ms() });
    }

    /// Asks for a flush of everything appended so far. Topics with `write.caching` flush through
    /// this alone.
    pub fn request_flush(&self) {
        self.finish(Aftermath { flush: true, ..Aftermath::default() });
    }

    /// Removes what the topic's retention does not keep. May wait for the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] and [`Error::Corrupt`]; the replica is stopped if it could not remove.
    pub fn apply_retention(&self) -> Result<Vec<Removed>, Error> {
        let now = self.clock.now();
        let (result, aftermath) = {
            let mut inner = self.lock();
            if inner.failure.is_some() {
                return Ok(Vec::new());
            }
            let high_watermark = inner.replica.high_watermark();
            let Some(log) = inner.log.as_mut() else { return Ok(Vec::new()) };
            match log.apply_retention(now, high_watermark) {
                Ok(removed) if removed.is_empty() => (Ok(removed), Aftermath::default()),
                Ok(removed) => {
                    let start = log.log_start_offset();
                    let mut aftermath = inner.step(Input::StartRaised { start });
                    aftermath.wake = true;
                    (Ok(removed), aftermath)
                }
                Err(error) => {
                    // What cannot be read just now may be read later; what cannot be written
                    // or removed has failed the log.
                    let failed = log.failure().map(str::to_owned);
                    let aftermath = failed.map(|reason| inner.fail(&reason));
                    (Err(error.into()), aftermath.unwrap_or_default())
                }
            }
        };
        self.finish(aftermath);
        if result.as_ref().is_ok_and(|removed| !removed.is_empty()) {
            self.notices.log_start_moved(&self.name);
        }
        result
    }

    /// What to remember in the node's checkpoint files; `None` once closed or deleted. Moves on
    /// only with [`Self::advance_recovery_point`].
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let mut inner = self.lock();
        let high_watermark = inner.replica.high_watermark();
        let log = inner.log.as_mut()?;
        let (flushed, log_start) = (log.recovery_point(), log.log_start_offset());
        inner.checkpointed = flushed;
        Some(Checkpoint { flushed, high_watermark, log_start })
    }

    /// Writes the files of this partition that a later recovery point builds on. Waits for the
    /// disk, without the lock. Trouble is logged: recovery then takes longer.
    pub fn advance_recovery_point(&self) {
        let begin = |log: &mut Log| log.start_checkpoint();
        let begun = self.lock().log.as_mut().map_or(Ok(None), begin);
        let done = begun.and_then(|job| {
            let Some(job) = job else { return Ok(()) };
            let result = job.run();
            let mut inner = self.lock();
            inner.log.as_mut().map_or(Ok(()), |log| log.finish_checkpoint(&job, result))
        });
        if let Err(error) = done {
            tracing::warn!(partition = %self.name, %error, "checkpoint not written; recovery takes longer");
        }
    }

    /// Flushes and closes the log. Everyone who waits is told that this node does not lead. The
    /// values are what the last checkpoint should say; `None` when it was closed before.
    ///
    /// # Errors
    /// When the log cannot be flushed, or its storage had failed before.
    pub fn close(&self) -> Result<Option<Checkpoint>, Error> {
        let log = self.take_log();
        let (failure, high_watermark) = {
            let inner = self.lock();
            (inner.failure.clone(), inner.replica.high_watermark())
        };
        let Some(log) = log else { return Ok(None) };
        if let Some(reason) = failure {
            return Err(Error::Storage(reason));
        }
        let log_start = log.log_start_offset();
        let flushed = log.close()?;
        Ok(Some(Checkpoint { flushed, high_watermark, log_start }))
    }

    /// Takes the log away, because the topic is deleted or moved elsewhere. Everyone who waits is
    /// told that this node does not lead. What to do with the directory is the node's affair.
    pub fn retire(&self) {
        drop(self.take_log());
    }

    /// Takes the log, once no flush of it is under way. An unfinished one could report an error
    /// that a later sync of the same file would not repeat, or write into the directory of a
    /// partition that is made anew under this name.
    fn take_log(&self) -> Option<Log> {
        let begun = Instant::now();
        let log = loop {
            let mut inner = self.lock();
            inner.ending = true;
            inner.waiters.fail_all(Outcome::NotLeader);
            let flushing = inner.log.as_ref().is_some_and(Log::is_flushing);
            if !flushing || begun.elapsed() > FLUSH_PATIENCE {
                break inner.log.take();
            }
            drop(inner);
            std::thread::sleep(Duration::from_millis(1));
        };
        self.finish(Aftermath { wake: true, followers: true, ..Aftermath::default() });
        log
    }
}
