//! What the files of a member hold, for people: see `purlin log dump`.

use super::super::state::codec;
use super::checked_file;
use super::types::Entry;
use super::{entry, snapshots, vote};
use crate::env::disk::{Disk, OpenMode};
use openraft::EntryPayload;
use std::path::Path;

/// Names and values of what a vote, mark or snapshot holds; nothing for any other file.
///
/// # Errors
/// Says why a file that begins like one of ours cannot be read.
pub fn describe_file(
    disk: &dyn Disk,
    path: &Path,
) -> Option<Result<Vec<(&'static str, String)>, String>> {
    let mut magic = checked_file::Magic::default();
    let file = disk.open(path, OpenMode::Read).ok()?;
    if file.read_at(&mut magic, 0).ok()? < magic.len() {
        return None;
    }
    let (dir, name) = (path.parent()?, path.file_name()?.to_str()?);
    let result = match magic {
        vote::VOTE_MAGIC => vote::read_as(disk, dir, name, magic).map(|vote| vote.map(of_vote)),
        vote::PURGED_MAGIC => vote::read_as(disk, dir, name, magic)
            .map(|id| id.map(|id: super::types::LogId| vec![("purged_up_to", id.to_string())])),
        vote::FLUSHED_MAGIC => vote::read_as(disk, dir, name, magic)
            .map(|end| end.map(|end: u64| vec![("flushed_below", end.to_string())])),
        snapshots::MAGIC => snapshots::read_at(disk, dir, name).map(|loaded| {
            loaded.map(|(meta, payload)| {
                let last = meta.last_log_id.map_or("none".to_owned(), |id| id.to_string());
                vec![
                    ("snapshot_id", meta.snapshot_id),
                    ("last_log_id", last),
                    ("membership", format!("{:?}", meta.last_membership)),
                    ("state_bytes", payload.len().to_string()),
                ]
            })
        }),
        _ => return None,
    };
    Some(match result {
        Ok(Some(fields)) => Ok(fields),
        // It was there a moment ago.
        Ok(None) => Err("the file is gone".to_owned()),
        Err(error) => Err(error.to_string()),
    })
}

fn of_vote(vote: super::types::Vote) -> Vec<(&'static str, String)> {
    vec![
        ("term", vote.leader_id.term.to_string()),
        ("node", vote.leader_id.node_id.to_string()),
        ("committed", vote.committed.to_string()),
    ]
}

/// The entry of the group that a record's value holds, as text.
///
/// # Errors
/// Says why it is none.
pub fn describe_entry(value: &[u8]) -> Result<String, String> {
    let entry: Entry = codec::decode(entry::VERSION, value).map_err(|error| error.to_string())?;
    Ok(match entry.payload {
        EntryPayload::Blank => "blank: a new term began".to_owned(),
        EntryPayload::Normal(command) => format!("{command:?}"),
        EntryPayload::Membership(membership) => format!("{membership:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::types::Vote;
    use super::*;
    use crate::env::disk_memory::MemoryDisk;

    #[test]
    fn a_vote_can_be_read_and_a_damaged_one_is_an_error() {
        let disk = MemoryDisk::new();
        let dir = Path::new("/raft");
        disk.create_dir_all(dir).expect("made");
        vote::save_vote(&disk, dir, &Vote::new(7, 3)).expect("written");
        let path = dir.join("vote");
        let fields = describe_file(&disk, &path).expect("ours").expect("whole");
        assert_eq!(fields[0], ("term", "7".to_owned()));
        assert_eq!(fields[1], ("node", "3".to_owned()));
        let file = disk.open(&path, OpenMode::Write).expect("there");
        file.write_all_at(&[0xff], 21).expect("written");
        assert!(describe_file(&disk, &path).expect("ours").is_err());
        file.write_all_at(b"other   ", 0).expect("written");
        assert!(describe_file(&disk, &path).is_none());
        assert!(describe_entry(b"nonsense").is_err());
    }
}
