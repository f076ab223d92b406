//! Requests about names and attributes: handed on to the folder beneath, as they are.
//!
//! Names are durable at once as far as the layer is concerned: what was made, renamed or removed stays so when writes are lost.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, UTIME_NOW,
        UTIME_OMIT, XattrFlags, chmod, chownat, fstatvfs, getxattr, linkat, listxattr, mkdirat,
        mknodat, openat, readlinkat, removexattr, renameat_with, setxattr, symlinkat, unlinkat,
        utimensat,
    },
    io::Errno,
    process::{Gid, Uid},
};

use super::{
    Layer,
    gate::Work,
    table::Handle,
    wire::{Answer, ROOT, Request, decode_device},
};

/// What of a request to set attributes is meant; see linux/fuse.h.
const SET_MODE: u32 = 1;
const SET_UID: u32 = 1 << 1;
const SET_GID: u32 = 1 << 2;
const SET_SIZE: u32 = 1 << 3;
const SET_ATIME: u32 = 1 << 4;
const SET_MTIME: u32 = 1 << 5;
const SET_ATIME_NOW: u32 = 1 << 7;
const SET_MTIME_NOW: u32 = 1 << 8;
/// The bits of a mode that change who runs a program.
const SET_ID_BITS: u32 = 0o6000;
/// The largest answer about extended attributes, in bytes.
const XATTR_MAX_BYTES: usize = 64 << 10;

fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

impl Layer {
    /// Finds a name, and notes that the kernel was told of it.
    fn find(&self, parent: u64, name: &[u8]) -> Result<(u64, Stat), Errno> {
        let parent = self.table().get(parent)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&parent.fd, os(name), flags, Mode::empty())?;
        self.enter(name, fd)
    }

    fn enter(&self, name: &[u8], fd: OwnedFd) -> Result<(u64, Stat), Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        let inode = self.table().enter(name, fd, &stat);
        Ok((inode.node, stat))
    }

    pub(super) fn lookup(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (node, stat) = self.find(request.node, request.name()?)?;
        Ok(Answer::entry(node, &stat))
    }

    pub(super) fn getattr(&self, request: &Request<'_>) -> Result<Answer, Errno> {
        Ok(Answer::stat(&self.table().get(request.node)?.stat()?))
    }

    pub(super) fn setattr(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let inode = self.table().get(request.node)?;
        let valid = request.u32()?;
        let (_, _handle) = (request.u32()?, request.u64()?);
        let size = request.u64()?;
        let _lock_owner = request.u64()?;
        let (atime, mtime, _ctime) = (request.u64()?, request.u64()?, request.u64()?);
        let (atime_ns, mtime_ns, _) = (request.u32()?, request.u32()?, request.u32()?);
        let mode = request.u32()?;
        let _ = request.u32()?;
        let (uid, gid) = (request.u32()?, request.u32()?);
        let is = |what: u32| valid & what != 0;
        if is(SET_SIZE) {
            self.gate.pass(Work::Write, inode.ours)?;
            self.resize(&inode, size)?;
        }
        if is(SET_UID) || is(SET_GID) {
            let uid = is(SET_UID).then(|| Uid::from_raw(uid));
            let gid = is(SET_GID).then(|| Gid::from_raw(gid));
            chownat(&inode.fd, "", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if is(SET_MODE) {
            chmod(inode.link(), Mode::from_raw_mode(mode & 0o7777))?;
        }
        if is(SET_ATIME) || is(SET_MTIME) {
            let time = |set: bool, now: bool, s: u64, ns: u32| Timespec {
                tv_sec: s.cast_signed(),
                tv_nsec: match (set, now) {
                    (false, _) => UTIME_OMIT,
                    (true, true) => UTIME_NOW,
                    (true, false) => i64::from(ns),
                },
            };
            let times = Timestamps {
                last_access: time(is(SET_ATIME), is(SET_ATIME_NOW), atime, atime_ns),
                last_modification: time(is(SET_MTIME), is(SET_MTIME_NOW), mtime, mtime_ns),
            };
            utimensat(CWD, inode.link(), &times, AtFlags::empty())?;
        }
        Ok(Answer::stat(&inode.stat()?))
    }

    pub(super) fn readlink(&self, request: &Request<'_>) -> Result<Answer, Errno> {
        let inode = self.table().get(request.node)?;
        Ok(Answer(readlinkat(&inode.fd, "", Vec::new())?.into_bytes()))
    }

    /// What was just made belongs to whoever asked, or in a folder that hands its group on, to that.
    fn give_to(&self, request: &Request<'_>, name: &[u8]) -> Result<(), Errno> {
        if request.uid == 0 && request.gid == 0 {
            return Ok(());
        }
        let parent = self.table().get(request.node)?;
        let hands_on = parent.stat()?.st_mode & 0o2000 != 0;
        let gid = (!hands_on).then(|| Gid::from_raw(request.gid));
        let uid = Some(Uid::from_raw(request.uid));
        chownat(&parent.fd, os(name), uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn made(&self, request: &Request<'_>, name: &[u8]) -> Result<Answer, Errno> {
        self.give_to(request, name)?;
        let (node, stat) = self.find(request.node, name)?;
        Ok(Answer::entry(node, &stat))
    }

    pub(super) fn symlink(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (name, target) = (request.name()?, request.name()?);
        let parent = self.table().get(request.node)?;
        symlinkat(os(target), &parent.fd, os(name))?;
        self.made(request, name)
    }

    pub(super) fn mknod(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (mode, device) = (request.u32()?, request.u32()?);
        let _umask_and_padding = request.u64()?;
        let name = request.name()?;
        let parent = self.table().get(request.node)?;
        let kind = FileType::from_raw_mode(mode);
        let rights = Mode::from_raw_mode(mode & 0o7777);
        mknodat(&parent.fd, os(name), kind, rights, decode_device(device))?;
        self.made(request, name)
    }

    pub(super) fn mkdir(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (mode, _umask) = (request.u32()?, request.u32()?);
        let name = request.name()?;
        let parent = self.table().get(request.node)?;
        mkdirat(&parent.fd, os(name), Mode::from_raw_mode(mode & 0o7777))?;
        self.made(request, name)
    }

    pub(super) fn unlink(&self, request: &mut Request<'_>, at: AtFlags) -> Result<Answer, Errno> {
        let parent = self.table().get(request.node)?;
        unlinkat(&parent.fd, os(request.name()?), at)?;
        Ok(Answer::default())
    }

    pub(super) fn rename(&self, request: &mut Request<'_>, flags: bool) -> Result<Answer, Errno> {
        let to = self.table().get(request.u64()?)?;
        let flags = if flags {
            let bits = request.u32()?;
            let _padding = request.u32()?;
            RenameFlags::from_bits(bits).ok_or(Errno::INVAL)?
        } else {
            RenameFlags::empty()
        };
        let from = self.table().get(request.node)?;
        let (old, new) = (request.name()?, request.name()?);
        renameat_with(&from.fd, os(old), &to.fd, os(new), flags)?;
        Ok(Answer::default())
    }

    pub(super) fn link(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let inode = self.table().get(request.u64()?)?;
        let name = request.name()?;
        let parent = self.table().get(request.node)?;
        let follow = AtFlags::SYMLINK_FOLLOW;
        linkat(CWD, inode.link(), &parent.fd, os(name), follow)?;
        let (node, stat) = self.find(request.node, name)?;
        Ok(Answer::entry(node, &stat))
    }

    pub(super) fn create(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (flags, mode) = (request.u32()?, request.u32()?);
        let _umask_and_flags = request.u64()?;
        let name = request.name()?;
        let parent = self.table().get(request.node)?;
        let flags = OFlags::from_bits_retain(flags);
        let how = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let how = how | (flags & OFlags::EXCL);
        let rights = Mode::from_raw_mode(mode & 0o7777);
        let fd = openat(&parent.fd, os(name), how, rights)?;
        self.give_to(request, name)?;
        // What was opened, whatever has that name by now.
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let named = openat(CWD, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let (node, stat) = self.enter(name, named)?;
        let inode = self.table().get(node)?;
        let handle = self.handles().add(Handle::file(inode, fd, flags));
        Ok(Answer::entry(node, &stat).open(handle))
    }

    pub(super) fn statfs(&self) -> Result<Answer, Errno> {
        let root = self.table().get(ROOT)?;
        Ok(Answer::statfs(&fstatvfs(&root.fd)?))
    }

    pub(super) fn setxattr(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let inode = self.table().get(request.node)?;
        let (size, flags) = (request.u32()?, request.u32()?);
        let name = request.name()?;
        let value = request.bytes(size as usize)?;
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        setxattr(inode.link(), os(name), value, flags)?;
        Ok(Answer::default())
    }

    /// The value of one, or their names if no name is given.
    pub(super) fn getxattr(&self, request: &mut Request<'_>, one: bool) -> Result<Answer, Errno> {
        let inode = self.table().get(request.node)?;
        let (size, _) = (request.u32()?, request.u32()?);
        let mut buffer = vec![0; XATTR_MAX_BYTES];
        let count = if one {
            let name = os(request.name()?);
            getxattr(inode.link(), name, &mut buffer[..])?
        } else {
            listxattr(inode.link(), &mut buffer[..])?
        };
        if size == 0 {
            let count = u32::try_from(count).map_err(|_| Errno::TOOBIG)?;
            return Ok(Answer::default().u32(count).u32(0));
        }
        if count > size as usize {
            return Err(Errno::RANGE);
        }
        buffer.truncate(count);
        Ok(Answer(buffer))
    }

    pub(super) fn removexattr(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let inode = self.table().get(request.node)?;
        removexattr(inode.link(), os(request.name()?))?;
        Ok(Answer::default())
    }

    /// A write by whoever may not: nobody becomes another user by this file any more.
    pub(super) fn take_rights_away(&self, node: u64) -> Result<(), Errno> {
        let inode = self.table().get(node)?;
        let mode = inode.stat()?.st_mode & 0o7777;
        if mode & SET_ID_BITS != 0 {
            chmod(inode.link(), Mode::from_raw_mode(mode & !SET_ID_BITS))?;
        }
        Ok(())
    }
}
