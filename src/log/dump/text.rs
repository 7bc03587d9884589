//! Checkpoints and properties.

use super::{Entry, problem};
use crate::env::disk::DiskFile;
use crate::limits;
use crate::log::error::Error;
use crate::types::{LeaderEpoch, Offset};
use std::path::Path;

/// The file's lines with their numbers, or what is wrong with it.
fn lines(file: &dyn DiskFile, path: &Path) -> Result<Result<Vec<(u64, String)>, Entry>, Error> {
    let length = file.len().map_err(Error::io(path))?;
    if length > limits::DUMP_SMALL_FILE_BYTES_MAX {
        return Ok(Err(problem(0, format!("{length} bytes are too many for such a file"))));
    }
    // The bound was checked above.
    let mut bytes = vec![0; length as usize];
    let read = file.read_at(&mut bytes, 0).map_err(Error::io(path))?;
    bytes.truncate(read);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ok((1..).zip(text.lines().map(str::to_owned)).collect()))
}

/// The rows of a checkpoint, after its version and count.
fn rows(
    file: &dyn DiskFile,
    path: &Path,
    row: impl Fn(&str) -> Option<Entry>,
) -> Result<Vec<Entry>, Error> {
    let lines = match lines(file, path)? {
        Ok(lines) => lines,
        Err(entry) => return Ok(vec![entry]),
    };
    // Made, and not written yet.
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let mut entries = Vec::new();
    let mut count = None;
    for (number, line) in lines {
        match number {
            1 if line != "0" => entries.push(problem(1, format!("version '{line}' is not 0"))),
            1 => {}
            2 => count = line.parse::<usize>().ok(),
            _ => {
                let unreadable = || problem(number, format!("'{line}' cannot be read"));
                entries.push(row(&line).unwrap_or_else(unreadable));
            }
        }
    }
    let rows = entries.iter().filter(|entry| !matches!(entry, Entry::Problem { .. })).count();
    match count {
        None => entries.insert(0, problem(2, "the number of rows is missing")),
        Some(count) if count != rows => {
            entries.push(problem(2, format!("{count} rows are announced, {rows} are there")));
        }
        Some(_) => {}
    }
    Ok(entries)
}

pub(super) fn epochs(file: &dyn DiskFile, path: &Path) -> Result<Vec<Entry>, Error> {
    rows(file, path, |line| {
        let (epoch, start) = line.split_once(' ')?;
        let leader_epoch = LeaderEpoch(epoch.parse().ok()?);
        Some(Entry::Epoch { leader_epoch, start_offset: Offset(start.parse().ok()?) })
    })
}

pub(super) fn offsets(file: &dyn DiskFile, path: &Path) -> Result<Vec<Entry>, Error> {
    rows(file, path, |line| {
        let mut fields = line.rsplitn(3, ' ');
        let offset = Offset(fields.next()?.parse().ok()?);
        let partition = fields.next()?.parse().ok()?;
        let topic = fields.next()?.to_owned();
        Some(Entry::PartitionOffset { topic, partition, offset })
    })
}

pub(super) fn properties(file: &dyn DiskFile, path: &Path) -> Result<Vec<Entry>, Error> {
    let lines = match lines(file, path)? {
        Ok(lines) => lines,
        Err(entry) => return Ok(vec![entry]),
    };
    let mut entries = Vec::new();
    for (number, line) in lines {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        // `meta.properties` has '=', `partition.metadata` has ':'.
        entries.push(match line.split_once(['=', ':']) {
            Some((key, value)) => {
                let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
                Entry::Property { key, value }
            }
            None => problem(number, format!("'{line}' cannot be read")),
        });
    }
    Ok(entries)
}
