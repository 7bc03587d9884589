//! The kernel's requests, handed over to the volume.

use super::volume::{Attributes, ROOT};
use super::{Shared, lock};
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the kernel may keep what it was told: only it changes anything.
const KEEP: Duration = Duration::from_secs(3600);

/// What statfs calls a block.
const BLOCK: u64 = 4096;

/// The room that a disk without a limit says it has.
const ROOM: u64 = 1 << 40;

/// A volume that answers the kernel.
pub struct Served {
    volume: Shared,
    /// What a directory held when it was opened: names that go away while it is read must not move
    /// the others.
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    next: u64,
    open: HashMap<u64, Vec<(OsString, u64, bool)>>,
}

impl Served {
    /// Answers for this volume.
    pub fn new(volume: Shared) -> Self {
        Self { volume, lists: Mutex::default() }
    }
}

fn attributes(found: &Attributes) -> FileAttr {
    let changed =
        UNIX_EPOCH + Duration::from_millis(u64::try_from(found.changed_ms).unwrap_or_default());
    FileAttr {
        ino: INodeNo(found.ino),
        size: found.length,
        blocks: found.length.div_ceil(512),
        atime: changed,
        mtime: changed,
        ctime: changed,
        crtime: changed,
        kind: kind(found.is_dir),
        perm: found.mode,
        nlink: if found.is_dir { 2 } else { 1 },
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn kind(is_dir: bool) -> FileType {
    if is_dir { FileType::Directory } else { FileType::RegularFile }
}

fn permissions(mode: u32, umask: u32) -> u16 {
    u16::try_from(mode & !umask & 0o7777).unwrap_or(0o600)
}

/// An error of the volume as the kernel's. One of the store that has no number is EIO.
fn number(error: io::Error) -> Errno {
    Errno::from(error)
}

fn answer_empty(result: io::Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(number(error)),
    }
}

fn answer_entry(result: io::Result<Attributes>, reply: ReplyEntry) {
    match result {
        Ok(found) => reply.entry(&KEEP, &attributes(&found), Generation(0)),
        Err(error) => reply.error(number(error)),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(lock(&self.volume).lookup(parent.0, name), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match lock(&self.volume).attributes(ino.0) {
            Ok(found) => reply.attr(&KEEP, &attributes(&found)),
            Err(error) => reply.error(number(error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut volume = lock(&self.volume);
        let mut result = Ok(());
        if let Some(length) = size {
            result = volume.set_len(ino.0, length);
        }
        if let Some(mode) = mode {
            result = result.and_then(|()| volume.set_mode(ino.0, permissions(mode, 0)));
        }
        match result.and_then(|()| volume.attributes(ino.0)) {
            Ok(found) => reply.attr(&KEEP, &attributes(&found)),
            Err(error) => reply.error(number(error)),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = lock(&self.volume).make(parent.0, name, permissions(mode, umask), true);
        answer_entry(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(lock(&self.volume).remove(parent.0, name, false), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(lock(&self.volume).remove(parent.0, name, true), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let renamed = lock(&self.volume).rename((parent.0, name), (newparent.0, newname));
        answer_empty(renamed, reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut volume = lock(&self.volume);
        let made = volume.make(parent.0, name, permissions(mode, umask), false);
        let opened = made.and_then(|found| volume.open(found.ino).map(|()| found));
        match opened {
            Ok(found) => reply.created(
                &KEEP,
                &attributes(&found),
                Generation(0),
                FileHandle(0),
                FopenFlags::empty(),
            ),
            Err(error) => reply.error(number(error)),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match lock(&self.volume).open(ino.0) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(number(error)),
        }
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.volume).close(ino.0);
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let count = usize::try_from(size).unwrap_or(usize::MAX);
        match lock(&self.volume).read(ino.0, offset, count) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(number(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match lock(&self.volume).write(ino.0, offset, data) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(number(error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Closing a file keeps nothing.
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer_empty(lock(&self.volume).sync(ino.0), reply);
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match lock(&self.volume).list(ino.0) {
            Ok(names) => {
                let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
                lists.next += 1;
                let handle = lists.next;
                lists.open.insert(handle, names);
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(error) => reply.error(number(error)),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(names) = lists.open.get(&fh.0) else { return reply.error(Errno::EBADF) };
        // Nobody asks for the parent's number.
        let dots = [(OsString::from("."), ino.0, true), (OsString::from(".."), ROOT, true)];
        let all = dots.iter().chain(names).zip(1..);
        for ((name, ino, is_dir), next) in all.skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            if reply.add(INodeNo(*ino), next, kind(*is_dir), name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&fh.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer_empty(lock(&self.volume).sync_dir(ino.0), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let volume = lock(&self.volume);
        let total = volume.bytes_max.unwrap_or(ROOM);
        let free = total.saturating_sub(volume.bytes_used());
        let block = u32::try_from(BLOCK).unwrap_or(u32::MAX);
        reply.statfs(
            total / BLOCK,
            free / BLOCK,
            free / BLOCK,
            1 << 20,
            1 << 20,
            block,
            255,
            block,
        );
    }
}
