//! Small text files, in Kafka's formats.
//!
//! Each is replaced in one durable step. Offset checkpoints are hints: one that is missing or
//! malformed reads as empty, and a log without a checkpoint is scanned as a whole. Identities
//! (`meta.properties`, `partition.metadata`) are not: a malformed one is an error.

use super::error::Error;
use super::files;
use crate::env::disk::{Disk, OpenMode};
use crate::types::{ClusterId, DirectoryId, NodeId, Offset, TopicId, TopicPartition};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Flushed offsets: up to where no log has to be scanned after a crash. Never write more than
/// [`super::Log::flushed_offset`] said, and after a truncation or a recovery that ended below what
/// is written here, write the file again before the log is appended to.
pub const RECOVERY_POINT: &str = "recovery-point-offset-checkpoint";
/// High watermarks.
pub const HIGH_WATERMARK: &str = "replication-offset-checkpoint";
/// Log start offsets that lie inside of a segment.
pub const LOG_START: &str = "log-start-offset-checkpoint";
/// Identity of a data directory.
pub const META_PROPERTIES: &str = "meta.properties";
/// Identity of a partition directory.
pub const PARTITION_METADATA: &str = "partition.metadata";
/// Left by a shutdown in good order.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

/// What `meta.properties` says about a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    /// `node.id`.
    pub node_id: NodeId,
    /// `cluster.id`.
    pub cluster_id: ClusterId,
    /// `directory.id`.
    pub directory_id: DirectoryId,
}

impl MetaProperties {
    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Malformed`], and those of the disk.
    pub fn read(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<Option<Self>, Error> {
        let path = data_dir.join(META_PROPERTIES);
        let Some(bytes) = files::read_small(&**disk, &path)? else {
            return Ok(None);
        };
        let malformed = |what: String| Error::Malformed { path: path.clone(), what };
        let text = String::from_utf8(bytes).map_err(|_| malformed("not text".to_owned()))?;
        let values: BTreeMap<&str, &str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with(['#', '!']))
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let value = |key: &str| {
            values.get(key).copied().ok_or_else(|| malformed(format!("{key} is missing")))
        };
        let bad = |key: &str| malformed(format!("{key} is not valid"));
        if value("version")? != "1" {
            return Err(bad("version"));
        }
        Ok(Some(Self {
            node_id: NodeId(value("node.id")?.parse().map_err(|_| bad("node.id"))?),
            cluster_id: ClusterId::parse(value("cluster.id")?).ok_or_else(|| bad("cluster.id"))?,
            directory_id: DirectoryId::parse(value("directory.id")?)
                .ok_or_else(|| bad("directory.id"))?,
        }))
    }

    /// Writes the file, durably.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write(&self, disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<(), Error> {
        let path = data_dir.join(META_PROPERTIES);
        let text = format!(
            "node.id={}\nversion=1\ndirectory.id={}\ncluster.id={}\n",
            self.node_id, self.directory_id, self.cluster_id
        );
        files::replace_small(&**disk, &path, text.as_bytes()).map_err(Error::io(&path))
    }
}

/// The rows of a checkpoint: a version line, a count, one row per line. `None` when malformed.
pub(super) fn parse_rows(text: &str) -> Option<Vec<&str>> {
    let mut lines = text.lines();
    if lines.next()? != "0" {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let rows: Vec<&str> = lines.collect();
    (rows.len() == count).then_some(rows)
}

/// The text of a checkpoint with these rows.
pub(super) fn encode_rows(rows: impl Iterator<Item = String>) -> String {
    let rows: Vec<String> = rows.collect();
    let mut text = format!("0\n{}\n", rows.len());
    for row in rows {
        text.push_str(&row);
        text.push('\n');
    }
    text
}

fn parse_offsets(text: &str) -> Option<BTreeMap<TopicPartition, Offset>> {
    let mut offsets = BTreeMap::new();
    for row in parse_rows(text)? {
        let mut fields = row.rsplitn(3, ' ');
        let offset = Offset(fields.next()?.parse().ok()?);
        let partition = fields.next()?;
        let topic = fields.next()?;
        offsets.insert(TopicPartition::parse(&format!("{topic}-{partition}"))?, offset);
    }
    Some(offsets)
}

/// Reads a file of offsets by partition. A missing or malformed one reads as empty: it is a hint.
///
/// # Errors
/// Those of the disk.
pub fn read_offsets(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    file: &str,
) -> Result<BTreeMap<TopicPartition, Offset>, Error> {
    let path = data_dir.join(file);
    let bytes = files::read_small(&**disk, &path)?.unwrap_or_default();
    if bytes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let parsed = std::str::from_utf8(&bytes).ok().and_then(parse_offsets);
    if parsed.is_none() {
        tracing::warn!(path = %path.display(), "malformed checkpoint; logs will be scanned");
    }
    Ok(parsed.unwrap_or_default())
}

/// Replaces a file of offsets by partition, in one durable step.
///
/// # Errors
/// Those of the disk.
pub fn write_offsets(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    file: &str,
    offsets: &BTreeMap<TopicPartition, Offset>,
) -> Result<(), Error> {
    let path = data_dir.join(file);
    let row = |(partition, offset): (&TopicPartition, &Offset)| {
        format!("{} {} {offset}", partition.topic, partition.partition)
    };
    let text = encode_rows(offsets.iter().map(row));
    files::replace_small(&**disk, &path, text.as_bytes()).map_err(Error::io(&path))
}

/// The topic id in a partition directory's `partition.metadata`; `None` when there is no file.
///
/// # Errors
/// [`Error::Malformed`], and those of the disk.
pub fn read_topic_id(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Option<TopicId>, Error> {
    let path = dir.join(PARTITION_METADATA);
    let Some(bytes) = files::read_small(&**disk, &path)? else {
        return Ok(None);
    };
    let parsed = std::str::from_utf8(&bytes).ok().and_then(|text| {
        let mut lines = text.lines();
        let version = lines.next()?.strip_prefix("version:")?.trim();
        let id = lines.next()?.strip_prefix("topic_id:")?.trim();
        (version == "0").then(|| TopicId::parse(id))?
    });
    match parsed {
        Some(id) => Ok(Some(id)),
        None => Err(Error::Malformed { path, what: "no version and topic_id".to_owned() }),
    }
}

/// Writes a partition directory's `partition.metadata`, durably.
pub(super) fn write_topic_id(disk: &dyn Disk, dir: &Path, id: TopicId) -> Result<(), Error> {
    let path = dir.join(PARTITION_METADATA);
    let text = format!("version: 0\ntopic_id: {id}\n");
    files::replace_small(disk, &path, text.as_bytes()).map_err(Error::io(&path))
}

/// Marks the data directory as left in good order: the last thing before the process ends.
///
/// # Errors
/// Those of the disk.
pub fn write_clean_shutdown(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<(), Error> {
    let path = data_dir.join(CLEAN_SHUTDOWN);
    files::replace_small(&**disk, &path, b"{\"version\":0}").map_err(Error::io(&path))
}

/// Whether the mark is there. It is removed, durably, so that a crash later does not find it.
///
/// # Errors
/// Those of the disk.
pub fn take_clean_shutdown(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<bool, Error> {
    let path = data_dir.join(CLEAN_SHUTDOWN);
    match disk.open(&path, OpenMode::Read) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io(&path)(error)),
    }
    disk.remove_file(&path).map_err(Error::io(&path))?;
    disk.sync_dir(data_dir).map_err(Error::io(data_dir))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk_memory::MemoryDisk;
    use crate::types::{PartitionIndex, TopicName};

    fn disk() -> Arc<dyn Disk> {
        Arc::new(MemoryDisk::new())
    }

    fn text(disk: &Arc<dyn Disk>, name: &str) -> String {
        let bytes = files::read_small(&**disk, &Path::new("/").join(name)).expect("read");
        String::from_utf8(bytes.expect("there")).expect("text")
    }

    #[test]
    fn trap_12_text_files_offset_checkpoint() {
        let disk = disk();
        let name = TopicName::new("a-b").expect("valid");
        let offsets = BTreeMap::from([
            (TopicPartition::new(name.clone(), PartitionIndex(0)), Offset(5)),
            (TopicPartition::new(name, PartitionIndex(11)), Offset(1 << 40)),
        ]);
        write_offsets(&disk, Path::new("/"), RECOVERY_POINT, &offsets).expect("write");
        assert_eq!(text(&disk, RECOVERY_POINT), "0\n2\na-b 0 5\na-b 11 1099511627776\n");
        let read = read_offsets(&disk, Path::new("/"), RECOVERY_POINT).expect("read");
        assert_eq!(read, offsets);
        for bad in ["1\n0\n", "0\n3\na 0 1\n", "0\n1\na 0 x\n", "\0\0\0", "0\n"] {
            files::replace_small(&*disk, Path::new("/bad"), bad.as_bytes()).expect("write");
            let read = read_offsets(&disk, Path::new("/"), "bad").expect("a hint only");
            assert!(read.is_empty(), "{bad:?}");
        }
    }

    #[test]
    fn trap_12_text_files_partition_metadata() {
        let disk = disk();
        let id = TopicId([7; 16]);
        assert_eq!(read_topic_id(&disk, Path::new("/")).expect("read"), None);
        write_topic_id(&*disk, Path::new("/"), id).expect("write");
        let expected = "version: 0\ntopic_id: BwcHBwcHBwcHBwcHBwcHBw\n";
        assert_eq!(text(&disk, PARTITION_METADATA), expected);
        assert_eq!(read_topic_id(&disk, Path::new("/")).expect("read"), Some(id));
        files::replace_small(&*disk, &Path::new("/").join(PARTITION_METADATA), b"version: 1")
            .expect("write");
        assert!(read_topic_id(&disk, Path::new("/")).is_err());
    }

    #[test]
    fn trap_12_text_files_meta_properties() {
        let disk = disk();
        let properties = MetaProperties {
            node_id: NodeId(3),
            cluster_id: ClusterId([1; 16]),
            directory_id: DirectoryId([2; 16]),
        };
        assert_eq!(MetaProperties::read(&disk, Path::new("/")).expect("read"), None);
        properties.write(&disk, Path::new("/")).expect("write");
        assert!(text(&disk, META_PROPERTIES).contains("version=1\n"));
        let read = MetaProperties::read(&disk, Path::new("/")).expect("read");
        assert_eq!(read, Some(properties));
        let commented = "#\n# Fri\nversion=1\nnode.id=x\n";
        files::replace_small(&*disk, &Path::new("/").join(META_PROPERTIES), commented.as_bytes())
            .expect("write");
        assert!(MetaProperties::read(&disk, Path::new("/")).is_err());
    }

    #[test]
    fn the_clean_mark_is_found_once() {
        let disk = disk();
        assert!(!take_clean_shutdown(&disk, Path::new("/")).expect("read"));
        write_clean_shutdown(&disk, Path::new("/")).expect("write");
        assert!(take_clean_shutdown(&disk, Path::new("/")).expect("read"));
        assert!(!take_clean_shutdown(&disk, Path::new("/")).expect("read"));
    }
}
