//! The kernel's file system protocol, as bytes: what a request holds, and what an answer looks like. Pure.
//!
//! ```text
//! request   len:u32 opcode:u32 unique:u64 nodeid:u64 uid:u32 gid:u32 pid:u32 pad:u32   then the operation's own, then names, NUL-ended
//! answer    len:u32 error:i32 unique:u64                                              then the operation's own; error is 0 or -errno
//! ```
//!
//! All numbers are the machine's own. The raw protocol and no library: what is needed of it is this file, it takes no crate and no
//! unsafe code, and many threads may read from one channel. Source: linux/fuse.h, protocol 7.33.

use rustix::{
    fs::{Stat, StatVfs},
    io::Errno,
};

/// The protocol's version that is answered; an older kernel's is taken.
pub const MAJOR: u32 = 7;
/// See [`MAJOR`].
pub const MINOR: u32 = 33;
/// The oldest that is spoken: 4.20, which knows large requests.
pub const MINOR_MIN: u32 = 28;
/// The most bytes of one write.
pub const WRITE_MAX_BYTES: usize = 1 << 20;
/// Room for a request: the largest write with what stands before it.
pub const REQUEST_BYTES: usize = WRITE_MAX_BYTES + 4096;
/// The root's number.
pub const ROOT: u64 = 1;

/// Bytes of a request's head.
const HEAD_BYTES: usize = 40;
/// Bytes of a page, by which the largest request is told.
const PAGE_BYTES: usize = 4096;
/// What of the kernel's offers is taken: reads at a time, large writes, direct writes at a time, lookups at a time, large requests, and
/// that it says when a write is to take rights away.
const WANTED: u32 = 1 | 1 << 5 | 1 << 15 | 1 << 18 | 1 << 22 | 1 << 28;
/// How many requests of the background wait at most.
const BACKGROUND_MAX: u16 = 64;

/// Of a write: it takes the file's rights to become another user away.
pub const WRITE_KILL_SUIDGID: u32 = 1 << 2;
/// Of a file that is open, or of one write: it is durable at once. What was opened with `O_SYNC` has this bit too; rustix calls by
/// this name what has both.
pub const OPEN_DSYNC: u32 = libc::O_DSYNC.cast_unsigned();
/// Of a sync: data only.
pub const FSYNC_DATA_ONLY: u32 = 1;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Lookup,
    Forget,
    Getattr,
    Setattr,
    Readlink,
    Symlink,
    Mknod,
    Mkdir,
    Unlink,
    Rmdir,
    Rename,
    Link,
    Open,
    Read,
    Write,
    Statfs,
    Release,
    Fsync,
    Setxattr,
    Getxattr,
    Listxattr,
    Removexattr,
    Flush,
    Init,
    Opendir,
    Readdir,
    Releasedir,
    Fsyncdir,
    Create,
    Interrupt,
    Destroy,
    BatchForget,
    Fallocate,
    Rename2,
    Lseek,
    /// Nothing that is offered: the kernel does without.
    Other,
}

impl Op {
    const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Lookup,
            2 => Self::Forget,
            3 => Self::Getattr,
            4 => Self::Setattr,
            5 => Self::Readlink,
            6 => Self::Symlink,
            8 => Self::Mknod,
            9 => Self::Mkdir,
            10 => Self::Unlink,
            11 => Self::Rmdir,
            12 => Self::Rename,
            13 => Self::Link,
            14 => Self::Open,
            15 => Self::Read,
            16 => Self::Write,
            17 => Self::Statfs,
            18 => Self::Release,
            20 => Self::Fsync,
            21 => Self::Setxattr,
            22 => Self::Getxattr,
            23 => Self::Listxattr,
            24 => Self::Removexattr,
            25 => Self::Flush,
            26 => Self::Init,
            27 => Self::Opendir,
            28 => Self::Readdir,
            29 => Self::Releasedir,
            30 => Self::Fsyncdir,
            35 => Self::Create,
            36 => Self::Interrupt,
            38 => Self::Destroy,
            42 => Self::BatchForget,
            43 => Self::Fallocate,
            45 => Self::Rename2,
            46 => Self::Lseek,
            _ => Self::Other,
        }
    }
}

/// A request, with what is left of it to be read.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is asked.
    pub op: Op,
    /// Its number, which the answer repeats.
    pub unique: u64,
    /// What it is about.
    pub node: u64,
    /// Who asks.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    rest: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads the head. None if it is none.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let mut head = Request {
            op: Op::Other,
            unique: 0,
            node: 0,
            uid: 0,
            gid: 0,
            rest: head,
        };
        let len = head.u32().ok()? as usize;
        head.op = Op::from_number(head.u32().ok()?);
        head.unique = head.u64().ok()?;
        head.node = head.u64().ok()?;
        head.uid = head.u32().ok()?;
        head.gid = head.u32().ok()?;
        (len == bytes.len()).then_some(Request { rest, ..head })
    }

    /// The next number.
    pub fn u32(&mut self) -> Result<u32, Errno> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Errno::INVAL)?;
        self.rest = rest;
        Ok(u32::from_ne_bytes(*bytes))
    }

    /// The next number.
    pub fn u64(&mut self) -> Result<u64, Errno> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Errno::INVAL)?;
        self.rest = rest;
        Ok(u64::from_ne_bytes(*bytes))
    }

    /// The next name, without its NUL.
    pub fn name(&mut self) -> Result<&'a [u8], Errno> {
        let end = self.rest.iter().position(|byte| *byte == 0);
        let end = end.ok_or(Errno::INVAL)?;
        let name = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(name)
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Errno> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(Errno::INVAL)?;
        self.rest = rest;
        Ok(bytes)
    }
}

/// An answer's own part.
#[derive(Debug, Default)]
pub struct Answer(pub Vec<u8>);

impl Answer {
    /// Adds a number.
    #[must_use]
    pub fn u16(mut self, number: u16) -> Self {
        self.0.extend_from_slice(&number.to_ne_bytes());
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn u32(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_ne_bytes());
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn u64(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_ne_bytes());
        self
    }

    fn zeros(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    fn attributes(self, stat: &Stat) -> Self {
        let seconds = |seconds: i64| seconds.cast_unsigned();
        let parts = |nanoseconds| u32::try_from(nanoseconds).unwrap_or(0);
        self.u64(stat.st_ino)
            .u64(stat.st_size.cast_unsigned())
            .u64(stat.st_blocks.cast_unsigned())
            .u64(seconds(stat.st_atime))
            .u64(seconds(stat.st_mtime))
            .u64(seconds(stat.st_ctime))
            .u32(parts(stat.st_atime_nsec))
            .u32(parts(stat.st_mtime_nsec))
            .u32(parts(stat.st_ctime_nsec))
            .u32(stat.st_mode)
            .u32(u32::try_from(stat.st_nlink).unwrap_or(u32::MAX))
            .u32(stat.st_uid)
            .u32(stat.st_gid)
            .u32(encode_device(stat.st_rdev))
            .u32(u32::try_from(stat.st_blksize).unwrap_or(0))
            .u32(0)
    }

    /// A name that was found or made. Nothing of it may be remembered by the kernel: what is beneath can change.
    #[must_use]
    pub fn entry(node: u64, stat: &Stat) -> Self {
        // Number, generation, and for how long name and attributes hold.
        Self::default().u64(node).zeros(32).attributes(stat)
    }

    /// What a file is.
    #[must_use]
    pub fn stat(stat: &Stat) -> Self {
        Self::default().zeros(16).attributes(stat)
    }

    /// A file that is open, under that number.
    #[must_use]
    pub fn open(self, handle: u64) -> Self {
        self.u64(handle).u64(0)
    }

    /// How full it is.
    #[must_use]
    pub fn statfs(of: &StatVfs) -> Self {
        let short = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self::default()
            .u64(of.f_blocks)
            .u64(of.f_bfree)
            .u64(of.f_bavail)
            .u64(of.f_files)
            .u64(of.f_ffree)
            .u32(short(of.f_bsize))
            .u32(short(of.f_namemax))
            .u32(short(of.f_frsize))
            .zeros(28)
    }

    /// Adds an entry of a folder if there is room for it: whether there was.
    pub fn add_entry(&mut self, room: usize, ino: u64, next: u64, kind: u32, name: &[u8]) -> bool {
        let whole = (24 + name.len()).next_multiple_of(8);
        let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
        if self.0.len() + whole > room {
            return false;
        }
        let end = self.0.len() + whole;
        let mut answer = std::mem::take(self)
            .u64(ino)
            .u64(next)
            .u32(length)
            .u32(kind);
        answer.0.extend_from_slice(name);
        answer.0.resize(end, 0);
        *self = answer;
        true
    }
}

/// Answers the kernel's first words; [`Errno::PROTO`] if it is too old.
pub fn init(request: &mut Request<'_>) -> Result<Answer, Errno> {
    let (major, minor) = (request.u32()?, request.u32()?);
    let (readahead, flags) = (request.u32()?, request.u32()?);
    if major != MAJOR || minor < MINOR_MIN {
        return Err(Errno::PROTO);
    }
    let write_max = u32::try_from(WRITE_MAX_BYTES).unwrap_or(u32::MAX);
    let pages_max = u16::try_from(WRITE_MAX_BYTES / PAGE_BYTES).unwrap_or(u16::MAX);
    Ok(Answer::default()
        .u32(MAJOR)
        .u32(minor.min(MINOR))
        .u32(readahead)
        .u32(flags & WANTED)
        .u16(BACKGROUND_MAX)
        .u16(BACKGROUND_MAX * 3 / 4)
        .u32(write_max)
        .u32(1)
        .u16(pages_max)
        .zeros(34))
}

/// The head of an answer.
#[must_use]
pub fn answer_head(unique: u64, errno: Option<Errno>, own_bytes: usize) -> [u8; 16] {
    let mut head = [0; 16];
    let len = u32::try_from(16 + own_bytes).unwrap_or(u32::MAX);
    let error = -errno.map_or(0, Errno::raw_os_error);
    head[..4].copy_from_slice(&len.to_ne_bytes());
    head[4..8].copy_from_slice(&error.to_ne_bytes());
    head[8..].copy_from_slice(&unique.to_ne_bytes());
    head
}

/// Tells the kernel to forget what it keeps of a file's bytes and size.
#[must_use]
pub fn forget_content(node: u64) -> Vec<u8> {
    const INVALIDATE_INODE: i32 = 2;
    let mut message = Vec::with_capacity(40);
    message.extend_from_slice(&40_u32.to_ne_bytes());
    message.extend_from_slice(&INVALIDATE_INODE.to_ne_bytes());
    message.extend_from_slice(&0_u64.to_ne_bytes());
    // From the first byte to the last.
    Answer(message).u64(node).u64(0).u64(0).0
}

/// A device's number as this protocol writes it.
fn encode_device(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// A device's number, from how this protocol writes it.
#[must_use]
pub fn decode_device(device: u32) -> u64 {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    rustix::fs::makedev(major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(opcode: u32, rest: &[u8]) -> Vec<u8> {
        let len = u32::try_from(HEAD_BYTES + rest.len()).unwrap();
        let head = Answer::default().u32(len).u32(opcode).u64(7).u64(3);
        let mut bytes = head.u32(1000).u32(1001).u32(42).u32(0).0;
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn a_request_is_read_to_its_end_and_not_beyond() {
        let bytes = request(12, b"\x05\0\0\0\0\0\0\0old\0new\0");
        let mut read = Request::parse(&bytes).unwrap();
        assert_eq!(
            (read.op, read.unique, read.node, read.uid, read.gid),
            (Op::Rename, 7, 3, 1000, 1001)
        );
        assert_eq!(read.u64(), Ok(5));
        assert_eq!(read.name(), Ok(&b"old"[..]));
        assert_eq!(read.name(), Ok(&b"new"[..]));
        assert_eq!(read.name(), Err(Errno::INVAL));
        assert_eq!(read.u32(), Err(Errno::INVAL));
        assert_eq!(read.bytes(1), Err(Errno::INVAL));
        for length in 0..bytes.len() {
            assert!(
                Request::parse(&bytes[..length]).is_none(),
                "{length} of {}",
                bytes.len()
            );
        }
    }

    #[test]
    fn the_first_words_take_what_both_know() {
        let hello = |major: u32, minor: u32| {
            let own = Answer::default().u32(major).u32(minor).u32(131_072);
            let bytes = request(26, &own.u32(u32::MAX).0);
            init(&mut Request::parse(&bytes).unwrap()).map(|answer| answer.0)
        };
        let answer = hello(7, 45).unwrap();
        assert_eq!(answer.len(), 64);
        assert_eq!(answer[4..8], MINOR.to_ne_bytes());
        assert_eq!(answer[12..16], WANTED.to_ne_bytes());
        assert_eq!(answer[28..30], 256_u16.to_ne_bytes());
        assert_eq!(hello(7, 31).unwrap()[4..8], 31_u32.to_ne_bytes());
        assert_eq!(hello(7, MINOR_MIN - 1), Err(Errno::PROTO));
        assert_eq!(hello(8, 0), Err(Errno::PROTO));
    }

    #[test]
    fn answers_have_the_sizes_of_the_protocol() {
        let stat = rustix::fs::stat("/").unwrap();
        assert_eq!(Answer::entry(1, &stat).0.len(), 128);
        assert_eq!(Answer::entry(1, &stat).open(9).0.len(), 144);
        assert_eq!(Answer::stat(&stat).0.len(), 104);
        let statfs = rustix::fs::statvfs("/").unwrap();
        assert_eq!(Answer::statfs(&statfs).0.len(), 80);
        assert_eq!(
            answer_head(7, Some(Errno::IO), 0)[4..8],
            (-5_i32).to_ne_bytes()
        );
        let mut folder = Answer::default();
        assert!(folder.add_entry(64, 1, 1, 4, b"12345678"));
        assert!(folder.add_entry(64, 2, 2, 8, b"a"));
        assert_eq!(folder.0.len(), 64);
        assert!(!folder.add_entry(64, 3, 3, 8, b"b"));
        assert_eq!(forget_content(5).len(), 40);
    }

    #[test]
    fn devices_survive() {
        for (major, minor) in [(1, 3), (10, 229), (259, 70_000)] {
            let device = rustix::fs::makedev(major, minor);
            assert_eq!(decode_device(encode_device(device)), device);
        }
    }
}
