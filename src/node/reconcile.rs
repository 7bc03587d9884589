//! Makes this node's partitions what the metadata says they are.
//!
//! The only place where `metadata` and `partition` meet. Takes each image with what changed in
//! it, and opens, assigns, configures and deletes; all of it synchronous, for a thread that may
//! wait for the disk.
//!
//! Invariants:
//! - A directory is served only under the topic id that it was made for, and the checkpoint files,
//!   which know names alone, never say of a topic what was true of an older one of that name.
//! - Nothing is deleted but what the metadata says was deleted: a directory that the metadata
//!   does not know is renamed aside and reported.

use super::data_dir::rename_aside;
use super::petitions::Petitions;
use crate::config::BrokerConfig;
use crate::env::clock::Clock;
use crate::env::disk::Disk;
use crate::env::spawn;
use crate::limits::PARTITION_OPENERS_MAX;
use crate::log::checkpoint::{self, HIGH_WATERMARK, LOG_START, RECOVERY_POINT};
use crate::log::flush::Flusher;
use crate::log::{LogConfig, OpenHints, Shared};
use crate::metadata::state::configs::{ConfigResource, StaticConfigs, TopicConfig};
use crate::metadata::state::{Topic, TopicChange};
use crate::metadata::{Delta, Image};
use crate::partition::fetcher::Manager;
use crate::partition::{Assignment, Checkpoint, Notices, OpenOptions, Partition, Table};
use crate::protocol::records::TimestampKind;
use crate::replica::Settings;
use crate::types::{NodeId, Offset, PartitionIndex, TopicId, TopicPartition};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The config for the speed of replicas that are far behind.
const THROTTLED_RATE: &str = "follower.replication.throttled.rate";
/// Suffix of directories whose partition was deleted, until they are gone.
const DELETED: &str = "deleted";
/// Suffix of directories that the metadata does not know.
const STRAY: &str = "stray";

/// What the reconciler works with.
#[derive(Debug)]
pub(super) struct Reconciler {
    pub(super) node: NodeId,
    pub(super) logs_dir: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) flusher: Flusher,
    pub(super) shared: Arc<Shared>,
    pub(super) config: Arc<BrokerConfig>,
    pub(super) statics: Arc<StaticConfigs>,
    pub(super) notices: Arc<dyn Notices>,
    /// Where replicas that cannot be opened are reported.
    pub(super) petitions: Arc<Petitions>,
    /// Who copies from the leaders.
    pub(super) fetchers: Arc<Manager>,
    pub(super) table: Arc<Table>,
    /// Partitions that did not open, to be tried again, with what the checkpoints say of them.
    pub(super) failed: Mutex<BTreeMap<(TopicId, PartitionIndex), Unopened>>,
    /// Held by whoever gathers and writes the checkpoint files, so that the older of two never
    /// replaces the newer.
    pub(super) checkpoints: Mutex<()>,
    /// Held by whoever opens or deletes, so that no directory is opened twice.
    pub(super) turn: Mutex<()>,
}

/// What the checkpoint files of the last run say.
#[derive(Debug, Default)]
struct Remembered {
    clean_shutdown: bool,
    flushed: BTreeMap<TopicPartition, Offset>,
    high_watermark: BTreeMap<TopicPartition, Offset>,
    log_start: BTreeMap<TopicPartition, Offset>,
}

/// What the checkpoint files say of one partition.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    clean_shutdown: bool,
    flushed: Option<Offset>,
    high_watermark: Option<Offset>,
    log_start: Option<Offset>,
}

impl Remembered {
    fn of(&self, name: &TopicPartition) -> Known {
        Known {
            clean_shutdown: self.clean_shutdown,
            flushed: self.flushed.get(name).copied(),
            high_watermark: self.high_watermark.get(name).copied(),
            log_start: self.log_start.get(name).copied(),
        }
    }
}

impl Known {
    /// The checkpointed log start. It never passes the high watermark, so one that does is damage,
    /// and would cost every record below it: then the segments' own start counts.
    fn plausible_log_start(&self, name: &TopicPartition) -> Option<Offset> {
        let (start, high_watermark) = (self.log_start?, self.high_watermark);
        if high_watermark.is_some_and(|high_watermark| start > high_watermark) {
            tracing::error!(
                partition = %name, %start, ?high_watermark,
                "the checkpointed log start lies above the high watermark, so it is wrong and not used"
            );
            return None;
        }
        Some(start)
    }
}

/// A partition that did not open.
#[derive(Debug)]
pub(super) struct Unopened {
    name: TopicPartition,
    known: Known,
}

/// One partition to open.
struct Opening<'a> {
    topic: &'a Topic,
    index: PartitionIndex,
}

impl Reconciler {
    /// Opens everything that the metadata says is here, in parallel, and sets aside what it does
    /// not know. The replicas stay idle: leadership comes with the first [`Self::apply`].
    pub(super) fn open_all(&self, image: &Image, clean_shutdown: bool) {
        let remembered = self.read_checkpoints(clean_shutdown);
        self.tidy_up(image);
        let openings = image.topics().flat_map(|topic| {
            self.ours(topic).map(move |index| Opening { topic, index }).collect::<Vec<_>>()
        });
        let openings: Vec<_> = openings.collect();
        let count = openings.len();
        spawn::in_parallel("open partition", PARTITION_OPENERS_MAX, openings, |opening| {
            let name = TopicPartition::new(opening.topic.name.clone(), opening.index);
            self.open(image, &opening, remembered.of(&name), true);
        });
        // Before anything is appended: a recovery point above what recovery left would vouch for
        // bytes that are written only now, and rows of a topic that went meanwhile would be taken
        // for those of the next one of its name.
        self.write_checkpoints();
        if count > 0 {
            tracing::info!(partitions = count, clean_shutdown, "opened the partitions");
        }
    }

    /// Takes one image with what changed in it.
    pub(super) fn apply(&self, image: &Image, delta: &Delta) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut doomed = Vec::new();
        for (topic_id, change) in &delta.topics {
            if matches!(change, TopicChange::Deleted(_)) {
                doomed.extend(self.take_out(*topic_id, |_| true));
                self.failed().retain(|(failed, _), _| failed != topic_id);
            }
        }
        let mut openings = Vec::new();
        for (topic_id, change) in &delta.topics {
            let Some(topic) = image.topic_by_id(*topic_id) else { continue };
            if let TopicChange::Changed(changed) = change {
                let left = |index| changed.contains(&index) && !self.is_ours(topic, index);
                doomed.extend(self.take_out(*topic_id, left));
            }
            let missing = |index: &PartitionIndex| self.table.by_id(*topic_id, *index).is_none();
            openings.extend(self.ours(topic).filter(missing).map(|index| Opening { topic, index }));
        }
        // Names are free again before a new topic takes one of them.
        let doomed: Vec<PathBuf> =
            doomed.iter().filter_map(|partition| self.set_aside(partition)).collect();
        if !doomed.is_empty() {
            self.sync_names();
            // Before a new topic of an old name takes its first record: after a crash it would
            // begin where the old one was cut, and what was acknowledged below would be gone.
            self.write_checkpoints();
        }
        spawn::in_parallel("open partition", PARTITION_OPENERS_MAX, openings, |opening| {
            self.open(image, &opening, Known::default(), false);
        });
        self.configure_changed(image, delta);
        for broker in delta.brokers.iter().filter_map(|id| image.broker(*id)) {
            self.fetchers.set_address(broker.id, &broker.rpc);
            if broker.id == self.node {
                // A leader counts nothing that is said with an older registration.
                self.fetchers.set_broker_epoch(broker.epoch);
            }
        }
        self.assign_changed(image, delta);
        self.remove(doomed);
    }

    /// Tries again to open what did not open before. The image is asked for once nobody else opens
    /// or deletes: an older one could bring a deleted topic back.
    pub(super) fn retry_failed(&self, image: impl FnOnce() -> Arc<Image>) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let image = &*image();
        let failed: Vec<_> =
            self.failed().iter().map(|(place, unopened)| (*place, unopened.known)).collect();
        for ((topic_id, index), known) in failed {
            let topic = image.topic_by_id(topic_id).filter(|topic| self.is_ours(topic, index));
            let Some(topic) = topic else {
                self.failed().remove(&(topic_id, index));
                continue;
            };
            // The mark of a clean stop was for the start alone.
            let known = Known { clean_shutdown: false, ..known };
            self.open(image, &Opening { topic, index }, known, false);
            if let Some(partition) = self.table.by_id(topic_id, index) {
                self.assign(image, topic, &partition);
            }
        }
    }

    /// How many partitions did not open.
    pub(super) fn failed_count(&self) -> usize {
        self.failed().len()
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, BTreeMap<(TopicId, PartitionIndex), Unopened>> {
        // The map is only ever changed by whole inserts and removes.
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_checkpoints(&self, clean_shutdown: bool) -> Remembered {
        let read = |file| {
            checkpoint::read_offsets(&self.disk, &self.logs_dir, file).unwrap_or_else(|error| {
                tracing::warn!(%error, "a checkpoint cannot be read; recovery takes longer");
                BTreeMap::new()
            })
        };
        Remembered {
            clean_shutdown,
            flushed: read(RECOVERY_POINT),
            high_watermark: read(HIGH_WATERMARK),
            log_start: read(LOG_START),
        }
    }

    /// The partitions of a topic that have a replica here.
    fn ours<'a>(&self, topic: &'a Topic) -> impl Iterator<Item = PartitionIndex> + use<'a> {
        let node = self.node;
        topic
            .partitions()
            .filter(move |(_, partition)| partition.replicas.contains(&node))
            .map(|(index, _)| index)
    }

    fn is_ours(&self, topic: &Topic, index: PartitionIndex) -> bool {
        topic.partition(index).is_some_and(|partition| partition.replicas.contains(&self.node))
    }

    fn open(&self, image: &Image, opening: &Opening<'_>, known: Known, starting: bool) {
        let Opening { topic, index } = *opening;
        let name = TopicPartition::new(topic.name.clone(), index);
        // Noted first, so that even a panic leaves it to be tried again.
        self.failed().insert((topic.id, index), Unopened { name: name.clone(), known });
        match self.try_open(image, topic, &name, known, starting) {
            Ok(partition) => {
                self.failed().remove(&(topic.id, index));
                // A partition of an older topic id was taken out before.
                let replaced = self.table.insert(partition);
                if let Some(old) = replaced {
                    old.retire();
                }
            }
            Err(error) => {
                tracing::error!(partition = %name, error, "the partition cannot be opened; it is tried again");
                // Others have to lead it meanwhile.
                self.petitions.failed((topic.id, index));
            }
        }
    }

    fn try_open(
        &self,
        image: &Image,
        topic: &Topic,
        name: &TopicPartition,
        known: Known,
        starting: bool,
    ) -> Result<Arc<Partition>, String> {
        let dir = self.logs_dir.join(name.to_string());
        let is_its_own = self.clear_other_topic(topic, &dir)?;
        if !is_its_own && known.flushed.is_some_and(|flushed| flushed > Offset::ZERO) {
            tracing::error!(
                partition = %name, flushed = %known.flushed.unwrap_or(Offset::ZERO),
                "no directory of this topic is here, although a checkpoint names the partition: \
                 unless an older topic had the name, its records are lost; it begins empty"
            );
        }
        if !is_its_own {
            self.tell_loss(topic, name.partition, starting);
        }
        let known = if is_its_own { known } else { Known::default() };
        let hints = OpenHints {
            topic_id: Some(topic.id),
            flushed_checkpoint: known.flushed,
            log_start_checkpoint: known.plausible_log_start(name),
            clean_shutdown: known.clean_shutdown,
            shared: Some(Arc::clone(&self.shared)),
        };
        let values = image.topic_config(topic, self.node, &self.statics);
        let options = OpenOptions {
            name: name.clone(),
            topic_id: topic.id,
            node: self.node,
            dir,
            disk: Arc::clone(&self.disk),
            config: self.log_config(&values),
            settings: self.settings(image, topic, name.partition, &values),
            hints,
            high_watermark: known.high_watermark.unwrap_or(Offset::ZERO),
            clock: Arc::clone(&self.clock),
            flusher: self.flusher.clone(),
            notices: Arc::clone(&self.notices),
        };
        let (partition, report) = Partition::open(options).map_err(|error| error.to_string())?;
        if report.lost_flushed || report.damaged_from.is_some() {
            tracing::error!(
                partition = %name, ?report,
                "records that were durable before are damaged or gone: check the disk"
            );
            self.tell_loss(topic, name.partition, starting);
        } else if report.cut_bytes > 0 || report.removed_segments > 0 {
            tracing::warn!(partition = %name, ?report, "recovered after an unclean stop");
        } else if report.scanned_bytes > 0 {
            tracing::debug!(partition = %name, ?report, "recovered");
        }
        Ok(partition)
    }

    /// Has this replica taken out of what may be elected: others may have what it lacks. While the
    /// node starts, an image may be older than its registration, and show it in the ISR; later,
    /// whoever is in the ISR with nothing here got there with the topic, which is new.
    fn tell_loss(&self, topic: &Topic, index: PartitionIndex, starting: bool) {
        let Some(decided) = topic.partition(index) else { return };
        let eligible =
            decided.elr.contains(&self.node) || (starting && decided.isr.contains(&self.node));
        if eligible && decided.replicas.len() > 1 {
            self.petitions.lost((topic.id, index));
        }
    }

    /// Moves a directory away that has the name but belongs to another incarnation of the topic.
    /// Gives whether this topic's own is there.
    fn clear_other_topic(&self, topic: &Topic, dir: &std::path::Path) -> Result<bool, String> {
        if !self.disk.exists(dir).map_err(|error| error.to_string())? {
            return Ok(false);
        }
        let found = checkpoint::read_topic_id(&self.disk, dir).map_err(|e| e.to_string())?;
        match found {
            Some(found) if found != topic.id => {
                let aside = rename_aside(&self.disk, dir, &found.to_string(), STRAY)
                    .map_err(|error| error.to_string())?;
                self.sync_names();
                tracing::warn!(
                    dir = %dir.display(), aside = %aside.display(),
                    "the directory belongs to an older topic of this name; it was set aside"
                );
                Ok(false)
            }
            found => Ok(found.is_some()),
        }
    }

    /// Sets aside the directories that the metadata does not know, and removes what an earlier
    /// run began to remove.
    fn tidy_up(&self, image: &Image) {
        let entries = match self.disk.list(&self.logs_dir) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(%error, dir = %self.logs_dir.display(), "cannot be listed");
                return;
            }
        };
        for entry in entries.into_iter().filter(|entry| entry.is_dir) {
            let dir = self.logs_dir.join(&entry.name);
            if entry.name.ends_with(&format!(".{DELETED}")) {
                self.remove(vec![dir]);
                continue;
            }
            let Some(name) = TopicPartition::parse(&entry.name) else { continue };
            let known = image.topic_by_name(name.topic.as_str());
            if known.is_some_and(|topic| self.is_ours(topic, name.partition)) {
                continue;
            }
            let id = checkpoint::read_topic_id(&self.disk, &dir).ok().flatten();
            let id = id.unwrap_or(TopicId::ZERO).to_string();
            match rename_aside(&self.disk, &dir, &id, STRAY) {
                Ok(aside) => tracing::warn!(
                    dir = %dir.display(), aside = %aside.display(),
                    "the metadata does not know this partition; its directory was set aside, \
                     remove it by hand once you are sure"
                ),
                Err(error) => tracing::error!(%error, dir = %dir.display(), "cannot be set aside"),
            }
        }
        self.sync_names();
    }

    /// Replaces the checkpoint files by what is true now. When that fails, they stay as they are.
    pub(super) fn write_checkpoints(&self) {
        let _alone = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = BTreeMap::new();
        for partition in self.table.all() {
            // One that was deleted meanwhile has nothing to be remembered.
            if let Some(checkpoint) = partition.checkpoint() {
                found.insert(partition.topic_partition().clone(), checkpoint);
            }
        }
        if let Err(error) = self.save_checkpoints(&found) {
            tracing::warn!(%error, "checkpoints not written; recovery takes longer");
        }
    }

    /// Replaces the checkpoint files. What did not open keeps what they said of it.
    pub(super) fn save_checkpoints(
        &self,
        found: &BTreeMap<TopicPartition, Checkpoint>,
    ) -> Result<(), crate::log::Error> {
        let unopened: Vec<_> = self
            .failed()
            .values()
            .map(|unopened| (unopened.name.clone(), unopened.known))
            .collect();
        let write = |file: &str,
                     now: fn(&Checkpoint) -> Offset,
                     before: fn(&Known) -> Option<Offset>| {
            let kept = unopened
                .iter()
                .filter_map(|(name, known)| before(known).map(|offset| (name.clone(), offset)));
            let now = found.iter().map(|(name, found)| (name.clone(), now(found)));
            checkpoint::write_offsets(&self.disk, &self.logs_dir, file, &kept.chain(now).collect())
        };
        write(RECOVERY_POINT, |found| found.flushed, |known| known.flushed)?;
        write(HIGH_WATERMARK, |found| found.high_watermark, |known| known.high_watermark)?;
        write(LOG_START, |found| found.log_start, |known| known.log_start)
    }

    /// Makes renames among the partitions' directories durable. When that fails, a crash may bring a
    /// directory back under its old name; the next start then sets it aside.
    fn sync_names(&self) {
        if let Err(error) = self.disk.sync_dir(&self.logs_dir) {
            tracing::error!(%error, dir = %self.logs_dir.display(), "cannot be synced");
        }
    }

    /// Takes partitions of a topic out of the table, so that nobody finds them any more.
    fn take_out(
        &self,
        topic_id: TopicId,
        goes: impl Fn(PartitionIndex) -> bool,
    ) -> Vec<Arc<Partition>> {
        let of_topic = |partition: &Arc<Partition>| {
            partition.topic_id() == topic_id && goes(partition.topic_partition().partition)
        };
        let going: Vec<_> = self.table.all().into_iter().filter(of_topic).collect();
        for partition in &going {
            self.fetchers.remove(topic_id, partition.topic_partition().partition);
            self.table.remove(topic_id, partition.topic_partition().partition);
            partition.retire();
        }
        going
    }

    /// Renames a deleted partition's directory, so that its name is free.
    fn set_aside(&self, partition: &Partition) -> Option<PathBuf> {
        let dir = self.logs_dir.join(partition.topic_partition().to_string());
        match rename_aside(&self.disk, &dir, &partition.topic_id().to_string(), DELETED) {
            Ok(aside) => Some(aside),
            Err(error) => {
                tracing::error!(%error, dir = %dir.display(), "a deleted partition's directory cannot be renamed");
                None
            }
        }
    }

    fn remove(&self, dirs: Vec<PathBuf>) {
        spawn::in_parallel("remove partition", PARTITION_OPENERS_MAX, dirs, |dir| {
            if let Err(error) = self.disk.remove_dir_all(&dir) {
                tracing::error!(%error, dir = %dir.display(), "cannot be removed; the next start tries again");
            }
        });
    }

    fn configure_changed(&self, image: &Image, delta: &Delta) {
        let everywhere = delta.configs.contains(&ConfigResource::BrokerDefault)
            || delta.configs.contains(&ConfigResource::Broker(self.node));
        let changed = |topic: &&Topic| {
            everywhere || delta.configs.contains(&ConfigResource::Topic(topic.name.clone()))
        };
        if delta.configs.is_empty() {
            return;
        }
        if everywhere {
            self.fetchers.set_throttled_rate(self.throttled_rate(image));
        }
        for topic in image.topics().filter(changed) {
            let values = image.topic_config(topic, self.node, &self.statics);
            for index in self.ours(topic) {
                if let Some(partition) = self.table.by_id(topic.id, index) {
                    let settings = self.settings(image, topic, index, &values);
                    partition.configure(self.log_config(&values), settings);
                }
            }
        }
    }

    /// Bytes a second for replicas that are far behind: what is set while the node runs, else what
    /// it was started with.
    fn throttled_rate(&self, image: &Image) -> u64 {
        let layers = image.config_layers(None, self.node, &self.statics);
        let set = [layers.broker, layers.broker_default].into_iter().flatten();
        let rate = set.filter_map(|map| map.get(THROTTLED_RATE)?.parse::<u64>().ok()).next();
        rate.unwrap_or_else(|| self.config.follower_throttled_rate()).max(1)
    }

    fn assign_changed(&self, image: &Image, delta: &Delta) {
        for topic in image.topics() {
            let change = delta.topics.get(&topic.id);
            for index in self.ours(topic) {
                let concerned = match change {
                    Some(TopicChange::Changed(changed)) => changed.contains(&index),
                    Some(_) => true,
                    None => false,
                };
                if (concerned || !delta.brokers.is_empty())
                    && let Some(partition) = self.table.by_id(topic.id, index)
                {
                    if concerned {
                        // The minimum of in-sync replicas follows the number of replicas.
                        let values = image.topic_config(topic, self.node, &self.statics);
                        let settings = self.settings(image, topic, index, &values);
                        partition.configure(self.log_config(&values), settings);
                    }
                    self.assign(image, topic, &partition);
                }
            }
        }
    }

    /// Tells a partition who leads it, and the fetchers whom to copy it from.
    fn assign(&self, image: &Image, topic: &Topic, partition: &Arc<Partition>) {
        let index = partition.topic_partition().partition;
        let Some(decided) = topic.partition(index) else { return };
        if decided.leader == Some(self.node) && decided.leader_epoch > partition.leader_epoch() {
            self.petitions.counts.leaderships.add_one();
        }
        let registration =
            |id: &NodeId| image.broker(*id).filter(|broker| !broker.fenced).map(|b| b.epoch);
        partition.assign(
            self.node,
            Assignment {
                leader: decided.leader.unwrap_or(NodeId::NONE),
                leader_epoch: decided.leader_epoch,
                partition_epoch: decided.partition_epoch,
                replicas: decided.replicas.iter().map(|id| (*id, registration(id))).collect(),
                isr: decided.isr.iter().copied().collect(),
                elr: decided.elr.iter().copied().collect(),
            },
        );
        let leader = decided.leader.filter(|leader| *leader != self.node);
        match leader.and_then(|leader| image.broker(leader)) {
            Some(leader) => {
                self.fetchers.assign(partition, leader.id, &leader.rpc, decided.leader_epoch);
            }
            None => self.fetchers.remove(topic.id, index),
        }
    }

    /// The minimum of in-sync replicas is the group's, never this node's own: what may lead is
    /// worked out with it.
    fn settings(
        &self,
        image: &Image,
        topic: &Topic,
        index: PartitionIndex,
        values: &TopicConfig,
    ) -> Settings {
        let decided = topic.partition(index);
        Settings {
            min_insync_replicas: decided
                .map_or(1, |partition| image.insync_replicas_min(topic, partition)),
            write_caching: values.write_caching,
            lag_ms_max: self.config.replica_lag_ms_max(),
        }
    }

    fn log_config(&self, values: &TopicConfig) -> LogConfig {
        // Definitions keep these above zero.
        let size = |value: i32| u32::try_from(value).unwrap_or(0);
        LogConfig {
            segment_bytes: size(values.segment_bytes),
            segment_roll_ms: values.segment_ms,
            index_interval_bytes: size(values.index_interval_bytes),
            index_bytes_max: size(values.segment_index_bytes),
            retention_ms: values.retention_ms,
            retention_bytes: values.retention_bytes,
            file_delete_delay_ms: values.file_delete_delay_ms,
            message_bytes_max: size(values.message_bytes_max),
            timestamp_kind: if values.log_append_time {
                TimestampKind::LogAppendTime
            } else {
                TimestampKind::CreateTime
            },
            timestamp_before_ms_max: values.timestamp_before_ms_max,
            timestamp_after_ms_max: values.timestamp_after_ms_max,
            compact: values.compact,
            delete: values.delete,
            write_caching: values.write_caching,
            producer_expiration_ms: self.config.producer_expiration_ms(),
        }
    }
}
