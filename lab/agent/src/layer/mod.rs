//! A layer over a folder: a file system that hands everything on to the folder beneath, fails what it is told to fail, and can lose what was
//! not synced, as a machine does whose power is cut.
//!
//! ```text
//! FOLDER                 the mount; beneath it the folder itself, which only the layer sees now
//! FOLDER.layer/control   a socket: a line of words in, lines out; the first is `ok` or `error TEXT`
//! FOLDER.layer/lock      held while a layer is made
//! FOLDER.layer/said      why the last one could not be made
//! ```
//!
//! It is a FUSE file system because that alone works on unmodified programs, on kernels without fault injection, and whatever way a program
//! takes to its files: `io_submit`, `O_DIRECT` and mapped files do not go through what `LD_PRELOAD` could replace, and Go programs call no
//! library. A BPF program on an LSM hook can refuse a read, but not give back what was there before.
//!
//! Laws:
//! - it changes nothing until it is told to ([`gate`], [`bytes`]); what was written is in the folder beneath at once, so that without the layer
//!   that goes on as it is;
//! - it ends when its mount is gone, and the mount is made by it alone; a mount whose layer has ended is removed by whoever makes a new one;
//! - each request is answered once; none waits for another but for one of the same file.
//!
//! A program opens files by the kernel's own page cache, but for `O_DIRECT`; writing is never put off. What asks the layer to do an
//! operation at once or not at all (`RWF_NOWAIT`) is told that it cannot: raft then writes from threads of its own.

mod bytes;
mod control;
mod gate;
mod mount;
mod names;
mod table;
mod undo;
mod wire;

use std::{
    io::IoSlice,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

pub use control::main_tell;
pub use mount::{main_mount, main_serve};
use rustix::{
    fs::AtFlags,
    io::{Errno, read, write, writev},
};

use self::{
    gate::Gate,
    table::{Handles, Table},
    wire::{Answer, Op, REQUEST_BYTES, Request, answer_head},
};

/// The subcommand that makes a layer over a folder, if there is none that lives.
pub const MOUNT: &str = "layer-mount";
/// The subcommand that is the layer.
pub const SERVE: &str = "layer-serve";
/// The subcommand that tells a layer something.
pub const TELL: &str = "layer-tell";

/// A layer over a folder.
struct Layer {
    folder: PathBuf,
    /// To and from the kernel.
    channel: OwnedFd,
    gate: Gate,
    table: Mutex<Table>,
    handles: Mutex<Handles>,
    /// How many times a file's old bytes were too many to be kept, so that what changed counts as durable.
    given_up: AtomicU64,
}

impl Layer {
    fn new(folder: PathBuf, channel: OwnedFd, root: OwnedFd) -> Result<Self, Errno> {
        Ok(Self {
            folder,
            channel,
            gate: Gate::default(),
            table: Mutex::new(Table::new(root)?),
            handles: Mutex::default(),
            given_up: AtomicU64::new(0),
        })
    }

    /// Held for a moment only.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held for a moment only.
    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers requests until the mount is gone.
    fn work(&self) -> Result<(), Errno> {
        let mut buffer = vec![0; REQUEST_BYTES];
        loop {
            match read(&self.channel, &mut buffer[..]) {
                Ok(count) => {
                    if let Some(request) = Request::parse(&buffer[..count]) {
                        self.serve(request);
                    }
                }
                // Whoever asked has gone meanwhile.
                Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::NODEV) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn serve(&self, mut request: Request<'_>) {
        let unique = request.unique;
        let answer = match request.op {
            Op::Forget => {
                if let Ok(times) = request.u64() {
                    self.table().forget(request.node, times);
                }
                return;
            }
            Op::BatchForget => {
                let _ = self.forget_many(&mut request);
                return;
            }
            // What it is about goes on, and is answered.
            Op::Interrupt => return,
            _ => self.answer(&mut request),
        };
        let (errno, own) = match answer {
            Ok(Answer(own)) => (None, own),
            Err(errno) => (Some(errno), Vec::new()),
        };
        let head = answer_head(unique, errno, own.len());
        // It is not taken if whoever asked has gone.
        let _ = writev(&self.channel, &[IoSlice::new(&head), IoSlice::new(&own)]);
    }

    fn answer(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        match request.op {
            Op::Init => wire::init(request),
            Op::Lookup => self.lookup(request),
            Op::Getattr => self.getattr(request),
            Op::Setattr => self.setattr(request),
            Op::Readlink => self.readlink(request),
            Op::Symlink => self.symlink(request),
            Op::Mknod => self.mknod(request),
            Op::Mkdir => self.mkdir(request),
            Op::Unlink => self.unlink(request, AtFlags::empty()),
            Op::Rmdir => self.unlink(request, AtFlags::REMOVEDIR),
            Op::Rename => self.rename(request, false),
            Op::Rename2 => self.rename(request, true),
            Op::Link => self.link(request),
            Op::Create => self.create(request),
            Op::Open => self.open(request),
            Op::Opendir => self.opendir(request),
            Op::Read => self.read(request),
            Op::Write => self.write(request),
            Op::Readdir => self.readdir(request),
            Op::Release | Op::Releasedir => self.release(request),
            Op::Fsync => self.fsync(request),
            Op::Fsyncdir => self.fsyncdir(request),
            Op::Fallocate => self.fallocate(request),
            Op::Lseek => self.lseek(request),
            Op::Statfs => self.statfs(),
            Op::Setxattr => self.setxattr(request),
            Op::Getxattr => self.getxattr(request, true),
            Op::Listxattr => self.getxattr(request, false),
            Op::Removexattr => self.removexattr(request),
            Op::Flush | Op::Destroy => Ok(Answer::default()),
            Op::Forget | Op::BatchForget | Op::Interrupt | Op::Other => Err(Errno::NOSYS),
        }
    }

    fn forget_many(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let (count, _padding) = (request.u32()?, request.u32()?);
        for _ in 0..count {
            let (node, times) = (request.u64()?, request.u64()?);
            self.table().forget(node, times);
        }
        Ok(())
    }

    /// Tells the kernel something that it did not ask for.
    fn say(&self, message: &[u8]) {
        // It may have forgotten what it is about.
        let _ = write(&self.channel, message);
    }
}
