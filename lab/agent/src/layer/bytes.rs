//! Requests about what is in files and folders: reading, writing, syncing, and keeping what is not durable.
//!
//! Laws:
//! - what is written is written to the folder beneath at once, so that a layer that dies loses nothing of it; kept are the old bytes;
//! - durable is what was there when the layer began, what `fsync`, `fdatasync` or `msync` was asked for, and what was written or allocated
//!   with `O_SYNC` or `O_DSYNC`. The kernel hands neither `sync` nor `syncfs` to a layer: what only they made durable is taken as lost;
//! - a sync that fails makes nothing durable;
//! - nothing is lost while anybody has a file open to be written: a file that changes under a process is no power cut.

use std::{
    io::IoSlice,
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{
        Dir, FallocateFlags, FileType, OFlags, SeekFrom, fallocate, fdatasync, fsync, ftruncate,
        seek,
    },
    io::{Errno, ReadWriteFlags, pread, pwrite, pwritev2},
};

use super::{
    Layer,
    gate::Work,
    table::{Handle, Inode},
    undo::{Old, Undo},
    wire::{
        Answer, FSYNC_DATA_ONLY, OPEN_DSYNC, Request, WRITE_KILL_SUIDGID, WRITE_MAX_BYTES,
        forget_content,
    },
};

/// The most old bytes that are kept in memory, of all files together.
const MEMORY_MAX_BYTES: u64 = 256 << 20;
/// How long whoever wrote may take to be gone.
const WRITERS_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two looks at that.
const WRITERS_PAUSE: Duration = Duration::from_millis(10);
/// Where `seek` is to look for data and for holes.
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

/// What was lost of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its name in the folder.
    pub name: String,
    /// Bytes that are as they were.
    pub put_back_bytes: u64,
    /// Bytes that it is shorter, or longer, than before.
    pub cut_off_bytes: i64,
    /// Its length now.
    pub length_bytes: u64,
}

impl Layer {
    fn file(&self, number: u64) -> Result<Arc<Handle>, Errno> {
        self.handles().get(number)
    }

    pub(super) fn open(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let inode = self.table().get(request.node)?;
        let flags = OFlags::from_bits_retain(request.u32()?);
        // Neither appending nor aligned: the kernel says where each byte goes. To keep old bytes they must be read.
        let fd = inode.open(flags.intersects(OFlags::WRONLY | OFlags::RDWR))?;
        let handle = self.handles().add(Handle::file(inode, fd, flags));
        Ok(Answer::default().open(handle))
    }

    pub(super) fn opendir(&self, request: &Request<'_>) -> Result<Answer, Errno> {
        let inode = self.table().get(request.node)?;
        let handle = Handle::Folder {
            inode,
            entries: std::sync::Mutex::default(),
        };
        Ok(Answer::default().open(self.handles().add(handle)))
    }

    pub(super) fn release(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let handle = request.u64()?;
        self.handles().remove(handle);
        Ok(Answer::default())
    }

    pub(super) fn readdir(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (handle, offset, size) = (request.u64()?, request.u64()?, request.u32()?);
        let handle = self.file(handle)?;
        let Handle::Folder { inode, entries } = &*handle else {
            return Err(Errno::NOTDIR);
        };
        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 {
            entries.clear();
            for entry in Dir::new(inode.open(false)?)? {
                let entry = entry?;
                let kind = match entry.file_type() {
                    FileType::Unknown => 0,
                    known => known.as_raw_mode() >> 12,
                };
                entries.push((entry.ino(), kind, entry.file_name().to_bytes().to_vec()));
            }
        }
        let mut answer = Answer::default();
        let from = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
        for (at, (ino, kind, name)) in entries.iter().enumerate().skip(from) {
            if !answer.add_entry(size as usize, *ino, at as u64 + 1, *kind, name) {
                break;
            }
        }
        Ok(answer)
    }

    pub(super) fn read(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (handle, offset, size) = (request.u64()?, request.u64()?, request.u32()?);
        let handle = self.file(handle)?;
        let Handle::File { inode, fd, .. } = &*handle else {
            return Err(Errno::ISDIR);
        };
        self.gate.pass(Work::Read, inode.ours)?;
        let mut buffer = vec![0; (size as usize).min(WRITE_MAX_BYTES)];
        let mut count = 0;
        while count < buffer.len() {
            match pread(fd, &mut buffer[count..], offset + count as u64) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(count);
        Ok(Answer(buffer))
    }

    pub(super) fn write(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (handle, offset, size) = (request.u64()?, request.u64()?, request.u32()?);
        let (how, _lock_owner) = (request.u32()?, request.u64()?);
        let (flags, _padding) = (request.u32()?, request.u32()?);
        let data = request.bytes(size as usize)?;
        let handle = self.file(handle)?;
        let Handle::File { inode, fd, .. } = &*handle else {
            return Err(Errno::ISDIR);
        };
        let at_once = flags & OPEN_DSYNC != 0;
        self.gate.pass(Work::Write, inode.ours)?;
        if how & WRITE_KILL_SUIDGID != 0 {
            self.take_rights_away(request.node)?;
        }
        // One whose sync fails has written all the same, and is not durable.
        let refused = at_once.then(|| self.gate.pass(Work::Sync, inode.ours).err());
        let refused = refused.flatten();
        let at_once = at_once && refused.is_none();
        let mut undo = inode.undo();
        let (from, to) = (offset, offset + u64::from(size));
        if !at_once {
            self.keep(inode, &mut undo, from, to)?;
        }
        let sync = if at_once {
            ReadWriteFlags::DSYNC
        } else {
            ReadWriteFlags::empty()
        };
        let mut count = 0;
        while count < data.len() {
            match pwritev2(
                fd,
                &[IoSlice::new(&data[count..])],
                from + count as u64,
                sync,
            ) {
                Ok(0) => return Err(Errno::IO),
                Ok(more) => count += more,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        if at_once {
            inode.change(&mut undo, |undo| {
                if let Some(undo) = undo {
                    undo.settle(from, to);
                }
            });
        }
        match refused {
            Some(error) => Err(error),
            None => Ok(Answer::default().u32(size).u32(0)),
        }
    }

    pub(super) fn fsync(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (handle, flags) = (request.u64()?, request.u32()?);
        let handle = self.file(handle)?;
        let Handle::File { inode, fd, .. } = &*handle else {
            return Err(Errno::ISDIR);
        };
        self.gate.pass(Work::Sync, inode.ours)?;
        let mut undo = inode.undo();
        if flags & FSYNC_DATA_ONLY != 0 {
            fdatasync(fd)?;
        } else {
            fsync(fd)?;
        }
        inode.change(&mut undo, |undo| *undo = None);
        Ok(Answer::default())
    }

    pub(super) fn fsyncdir(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let handle = self.file(request.u64()?)?;
        let Handle::Folder { inode, .. } = &*handle else {
            return Err(Errno::NOTDIR);
        };
        self.gate.pass(Work::Sync, inode.ours)?;
        fsync(inode.open(false)?)?;
        Ok(Answer::default())
    }

    pub(super) fn fallocate(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (handle, offset, length) = (request.u64()?, request.u64()?, request.u64()?);
        let mode = FallocateFlags::from_bits(request.u32()?).ok_or(Errno::OPNOTSUPP)?;
        let known =
            FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE;
        if !known.contains(mode) {
            return Err(Errno::OPNOTSUPP);
        }
        let handle = self.file(handle)?;
        let Handle::File {
            inode, fd, at_once, ..
        } = &*handle
        else {
            return Err(Errno::ISDIR);
        };
        self.gate.pass(Work::Write, inode.ours)?;
        let refused = at_once.then(|| self.gate.pass(Work::Sync, inode.ours).err());
        let refused = refused.flatten();
        // ext4 and xfs do so: raft makes its segments in this way, and syncs them by no other.
        let at_once = *at_once && refused.is_none();
        let mut undo = inode.undo();
        let changes = mode.intersects(FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE);
        let end = offset.checked_add(length).ok_or(Errno::FBIG)?;
        let end = if changes { end } else { offset };
        if !at_once {
            self.keep(inode, &mut undo, offset, end)?;
        }
        fallocate(fd, mode, offset, length)?;
        if at_once {
            fdatasync(fd)?;
            let length = inode.stat()?.st_size.cast_unsigned();
            inode.change(&mut undo, |undo| {
                if let Some(undo) = undo {
                    undo.settle(offset, end.min(length));
                    undo.reach(length);
                }
            });
        }
        refused.map_or(Ok(Answer::default()), Err)
    }

    pub(super) fn lseek(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (handle, offset, whence) = (request.u64()?, request.u64()?, request.u32()?);
        let handle = self.file(handle)?;
        let Handle::File { fd, .. } = &*handle else {
            return Err(Errno::ISDIR);
        };
        let to = match whence {
            SEEK_DATA => SeekFrom::Data(offset),
            SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        Ok(Answer::default().u64(seek(fd, to)?))
    }

    /// Gives a file another length.
    pub(super) fn resize(&self, inode: &Inode, length: u64) -> Result<(), Errno> {
        let fd = inode.open(true)?;
        let mut undo = inode.undo();
        self.keep(inode, &mut undo, length, u64::MAX)?;
        ftruncate(fd, length)
    }

    /// Before the bytes from..to change, and perhaps the length: keeps what is needed to go back.
    fn keep(
        &self,
        inode: &Inode,
        undo: &mut Option<Undo>,
        from: u64,
        to: u64,
    ) -> Result<(), Errno> {
        if undo.is_none() {
            let length = inode.stat()?.st_size.cast_unsigned();
            *undo = Some(Undo::new(length));
        }
        let missing = undo.as_ref().map(|undo| undo.missing(from, to));
        let missing = missing.unwrap_or_default();
        if missing.is_empty() {
            return Ok(());
        }
        let more: u64 = missing.iter().map(|(from, to)| to - from).sum();
        if self.table().memory_bytes().saturating_add(more) > MEMORY_MAX_BYTES {
            self.given_up.fetch_add(1, Ordering::Relaxed);
            inode.change(undo, |undo| *undo = None);
            return Ok(());
        }
        let fd = inode.open(false)?;
        for (from, to) in missing {
            let mut old = vec![0; usize::try_from(to - from).map_err(|_| Errno::FBIG)?];
            read_up_to(&fd, &mut old, from)?;
            inode.change(undo, |undo| {
                if let Some(undo) = undo {
                    undo.keep(from, Old::Bytes(old));
                }
            });
        }
        Ok(())
    }

    /// How many files have changes that are not durable.
    pub(super) fn unsynced(&self) -> usize {
        let all = self.table().all();
        all.iter().filter(|inode| inode.undo().is_some()).count()
    }

    /// Waits until nobody can write any more; the name of a file that is open to be written after a while.
    pub(super) fn wait_for_writers(&self) -> Result<(), String> {
        let give_up = Instant::now() + WRITERS_LIMIT;
        loop {
            // A process that has ended closes its files a moment later.
            let Some(inode) = self.handles().written() else {
                return Ok(());
            };
            if Instant::now() >= give_up {
                let name = inode.name(&self.folder);
                return Err(format!(
                    "{name} is still open to be written: nothing is lost while its process runs"
                ));
            }
            thread::sleep(WRITERS_PAUSE);
        }
    }

    /// Loses what is not durable; what that was, by name. Whoever changed it does not run any more.
    pub(super) fn lose(&self) -> Result<Vec<Lost>, Errno> {
        let all = self.table().all();
        let (mut lost, mut changed) = (Vec::new(), Vec::new());
        for inode in &all {
            let mut held = inode.undo();
            if let Some(undo) = held.as_ref()
                && inode.stat()?.st_nlink > 0
                && let Some(one) = self.go_back(inode, undo)?
            {
                lost.push(one);
                changed.push(inode.node);
            }
            inode.change(&mut held, |undo| *undo = None);
        }
        self.table().tidy();
        // Nothing is held meanwhile: the kernel may have to write before it forgets.
        for node in changed {
            self.say(&forget_content(node));
        }
        lost.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(lost)
    }

    /// None if it is as it was.
    fn go_back(&self, inode: &Inode, undo: &Undo) -> Result<Option<Lost>, Errno> {
        let fd = inode.open(true)?;
        let length = inode.stat()?.st_size;
        for (at, old) in undo.old() {
            match old {
                Old::Bytes(bytes) => write_all(&fd, bytes, at)?,
                Old::Zeros(count) => {
                    let mut at = at;
                    let end = at + count;
                    while at < end {
                        let step = (end - at).min(WRITE_MAX_BYTES as u64);
                        write_all(&fd, &vec![0; usize::try_from(step).unwrap_or(0)], at)?;
                        at += step;
                    }
                }
            }
        }
        ftruncate(&fd, undo.durable_bytes())?;
        fsync(&fd)?;
        let lost = Lost {
            name: inode.name(&self.folder),
            put_back_bytes: undo.old_bytes(),
            cut_off_bytes: length - undo.durable_bytes().cast_signed(),
            length_bytes: undo.durable_bytes(),
        };
        Ok((lost.put_back_bytes > 0 || lost.cut_off_bytes != 0).then_some(lost))
    }
}

fn read_up_to(fd: &impl std::os::fd::AsFd, buffer: &mut [u8], at: u64) -> Result<(), Errno> {
    let mut count = 0;
    while count < buffer.len() {
        match pread(fd, &mut buffer[count..], at + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_all(fd: &impl std::os::fd::AsFd, bytes: &[u8], at: u64) -> Result<(), Errno> {
    let mut count = 0;
    while count < bytes.len() {
        match pwrite(fd, &bytes[count..], at + count as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(more) => count += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
