//! What the kernel knows of the folder: files by number, and what is open.
//!
//! Each file is held by a descriptor that only names it (`O_PATH`), so that neither a rename nor a removal loses it.
//!
//! Law: a file with changes that are not durable is kept, also when the kernel has forgotten it, until it has no name any more.

use std::{
    collections::HashMap,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{Mode, OFlags, Stat, fstat, open},
    io::Errno,
};

use super::{
    undo::Undo,
    wire::{OPEN_DSYNC, ROOT},
};

/// Names of the harness's own files begin so.
const OURS: &[u8] = b".harness-";

/// A file, a folder, or what else has a name.
#[derive(Debug)]
pub struct Inode {
    /// Its number.
    pub node: u64,
    /// Whether it is the harness's own.
    pub ours: bool,
    /// What names it; nothing can be read or written by it.
    pub fd: OwnedFd,
    undo: Mutex<Option<Undo>>,
    /// Bytes of old bytes that are in memory, of all files together.
    memory_bytes: Arc<AtomicU64>,
}

impl Drop for Inode {
    fn drop(&mut self) {
        let undo = self.undo.get_mut().unwrap_or_else(PoisonError::into_inner);
        let kept = undo.as_ref().map_or(0, Undo::memory_bytes);
        self.memory_bytes.fetch_sub(kept, Ordering::Relaxed);
    }
}

impl Inode {
    /// Changes what is kept of it, and counts that.
    pub fn change(&self, undo: &mut Option<Undo>, change: impl FnOnce(&mut Option<Undo>)) {
        let bytes = |undo: &Option<Undo>| undo.as_ref().map_or(0, Undo::memory_bytes);
        let before = bytes(undo);
        change(undo);
        // Around zero and back: a sum of both is right.
        let more = bytes(undo).wrapping_sub(before);
        self.memory_bytes.fetch_add(more, Ordering::Relaxed);
    }

    /// What is not durable of it. Held while it is changed or synced.
    pub fn undo(&self) -> MutexGuard<'_, Option<Undo>> {
        self.undo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A path by which it can be opened, whatever it is called now.
    pub fn link(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd()).into()
    }

    /// Opens it to be read, or to be read and written.
    pub fn open(&self, write: bool) -> Result<OwnedFd, Errno> {
        let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
        open(self.link(), access | OFlags::CLOEXEC, Mode::empty())
    }

    /// What it is.
    pub fn stat(&self) -> Result<Stat, Errno> {
        fstat(&self.fd)
    }

    /// What it is called below a folder; its number if it has no name there.
    pub fn name(&self, folder: &Path) -> String {
        let path = std::fs::read_link(self.link()).unwrap_or_default();
        path.strip_prefix(folder).map_or_else(
            |_| format!("file {}", self.node),
            |name| name.display().to_string(),
        )
    }
}

#[derive(Debug)]
struct Known {
    inode: Arc<Inode>,
    /// Device and number beneath.
    file: (u64, u64),
    /// How often the kernel was told of it and has not forgotten it.
    lookups: u64,
}

/// All that the kernel was told of.
#[derive(Debug)]
pub struct Table {
    by_node: HashMap<u64, Known>,
    by_file: HashMap<(u64, u64), u64>,
    last: u64,
    memory_bytes: Arc<AtomicU64>,
}

impl Table {
    /// With nothing but the root.
    pub fn new(root: OwnedFd) -> Result<Self, Errno> {
        let stat = fstat(&root)?;
        let file = (stat.st_dev, stat.st_ino);
        let memory_bytes = Arc::default();
        let known = Known {
            inode: Arc::new(Inode {
                node: ROOT,
                ours: false,
                fd: root,
                undo: Mutex::default(),
                memory_bytes: Arc::clone(&memory_bytes),
            }),
            file,
            lookups: 1,
        };
        Ok(Self {
            by_node: HashMap::from([(ROOT, known)]),
            by_file: HashMap::from([(file, ROOT)]),
            last: ROOT,
            memory_bytes,
        })
    }

    /// The file of a number.
    pub fn get(&self, node: u64) -> Result<Arc<Inode>, Errno> {
        let known = self.by_node.get(&node).ok_or(Errno::NOENT)?;
        Ok(Arc::clone(&known.inode))
    }

    /// Notes that the kernel is told of a file of that name, which `fd` names.
    pub fn enter(&mut self, name: &[u8], fd: OwnedFd, stat: &Stat) -> Arc<Inode> {
        let file = (stat.st_dev, stat.st_ino);
        if let Some(known) = self
            .by_file
            .get(&file)
            .and_then(|node| self.by_node.get_mut(node))
        {
            known.lookups += 1;
            return Arc::clone(&known.inode);
        }
        self.last += 1;
        let inode = Arc::new(Inode {
            node: self.last,
            ours: name.starts_with(OURS),
            fd,
            undo: Mutex::default(),
            memory_bytes: Arc::clone(&self.memory_bytes),
        });
        let known = Known {
            inode: Arc::clone(&inode),
            file,
            lookups: 1,
        };
        self.by_file.insert(file, self.last);
        self.by_node.insert(self.last, known);
        inode
    }

    /// The kernel has forgotten it so often.
    pub fn forget(&mut self, node: u64, times: u64) {
        let Some(known) = self.by_node.get_mut(&node).filter(|_| node != ROOT) else {
            return;
        };
        known.lookups = known.lookups.saturating_sub(times);
        if known.lookups == 0 && !is_owed(&known.inode) {
            self.remove(node);
        }
    }

    /// Removes what is kept only for changes that were not durable.
    pub fn tidy(&mut self) {
        let done = self.by_node.values().filter(|known| known.lookups == 0);
        let done = done.filter(|known| !is_owed(&known.inode));
        let done: Vec<u64> = done.map(|known| known.inode.node).collect();
        for node in done {
            self.remove(node);
        }
    }

    /// How many bytes of old bytes are in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Everything.
    pub fn all(&self) -> Vec<Arc<Inode>> {
        let all = self.by_node.values();
        all.map(|known| Arc::clone(&known.inode)).collect()
    }

    fn remove(&mut self, node: u64) {
        if let Some(known) = self.by_node.remove(&node) {
            self.by_file.remove(&known.file);
        }
    }
}

fn is_owed(inode: &Inode) -> bool {
    inode.undo().is_some() && inode.stat().is_ok_and(|stat| stat.st_nlink > 0)
}

/// What is open.
#[derive(Debug)]
pub enum Handle {
    /// A file.
    File {
        /// Which.
        inode: Arc<Inode>,
        /// By which it is read and written.
        fd: OwnedFd,
        /// Whether what is allocated by it is durable at once.
        at_once: bool,
        /// Whether it can be written by it.
        writes: bool,
    },
    /// A folder, with what was in it when it was read from its beginning.
    Folder {
        /// Which.
        inode: Arc<Inode>,
        /// Number, kind and name of each.
        entries: Mutex<Vec<(u64, u32, Vec<u8>)>>,
    },
}

impl Handle {
    /// A file that was opened so.
    pub fn file(inode: Arc<Inode>, fd: OwnedFd, flags: OFlags) -> Self {
        let at_once = flags.bits() & OPEN_DSYNC != 0;
        Self::File {
            inode,
            fd,
            at_once,
            writes: flags.intersects(OFlags::WRONLY | OFlags::RDWR),
        }
    }
}

/// All that is open, by number.
#[derive(Debug, Default)]
pub struct Handles {
    open: HashMap<u64, Arc<Handle>>,
    last: u64,
}

impl Handles {
    /// Adds one; its number.
    pub fn add(&mut self, handle: Handle) -> u64 {
        self.last += 1;
        self.open.insert(self.last, Arc::new(handle));
        self.last
    }

    /// The one of a number.
    pub fn get(&self, number: u64) -> Result<Arc<Handle>, Errno> {
        self.open.get(&number).cloned().ok_or(Errno::BADF)
    }

    /// A file that is open to be written.
    pub fn written(&self) -> Option<Arc<Inode>> {
        self.open.values().find_map(|handle| match &**handle {
            Handle::File {
                inode,
                writes: true,
                ..
            } => Some(Arc::clone(inode)),
            _ => None,
        })
    }

    /// It was closed.
    pub fn remove(&mut self, number: u64) {
        self.open.remove(&number);
    }
}
