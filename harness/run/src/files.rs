//! Files that survive a crash, and whose they are.
//!
//! Law: after [`write_atomic`] or [`link_atomic`] a reader sees the old file or the new one, whole, also after a
//! power cut (new content is synced before its name, the folder after it).

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, lchown, symlink},
    path::{Path, PathBuf},
};

use serde::Serialize;

/// How deep [`Owner::take_tree`] goes.
const TREE_DEPTH_LIMIT: usize = 32;

/// Whose files are to be, where an ordinary user was elevated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Owner {
    /// Who called `sudo`: from `SUDO_UID` and `SUDO_GID` if we are root.
    #[must_use]
    pub fn from_sudo() -> Option<Self> {
        let number = |name| std::env::var(name).ok()?.parse().ok();
        let owner = Self {
            uid: number("SUDO_UID")?,
            gid: number("SUDO_GID")?,
        };
        let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        root.then_some(owner)
    }

    /// Makes it theirs. A link itself, not what it points to.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn take(self, path: &Path) -> io::Result<()> {
        lchown(path, Some(self.uid), Some(self.gid))
    }

    /// Makes a folder theirs with all that is in it, without following links.
    ///
    /// # Errors
    /// The first that the system gave.
    pub fn take_tree(self, path: &Path) -> io::Result<()> {
        self.take_below(path, TREE_DEPTH_LIMIT)
    }

    fn take_below(self, path: &Path, depth: usize) -> io::Result<()> {
        self.take(path)?;
        if depth == 0 || !fs::symlink_metadata(path)?.is_dir() {
            return Ok(());
        }
        for entry in fs::read_dir(path)? {
            self.take_below(&entry?.path(), depth - 1)?;
        }
        Ok(())
    }
}

/// Makes it theirs if there is somebody.
pub(crate) fn own(owner: Option<Owner>, path: &Path) -> io::Result<()> {
    owner.map_or(Ok(()), |owner| owner.take(path))
}

/// Makes a folder and those above it; the ones that were not there become the owner's.
///
/// # Errors
/// If the system refuses.
pub fn make_folder(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_folder(parent, owner)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => own(owner, path),
    }
}

/// Syncs a folder, so that names in it are on the disk.
///
/// # Errors
/// If the system refuses.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The folder that a path is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A name beside `path` that nobody else uses.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder_of(path).join(format!(".{name}.{}.tmp", std::process::id()))
}

/// Replaces a file with these bytes.
///
/// # Errors
/// If the system refuses; then the old file is as it was.
pub fn write_atomic(path: &Path, bytes: &[u8], owner: Option<Owner>) -> io::Result<()> {
    let temporary = beside(path);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        own(owner, &temporary)?;
        fs::rename(&temporary, path)?;
        sync_folder(folder_of(path))
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// Replaces a file with a value as JSON for people, ending with a newline.
///
/// # Errors
/// If the value is no JSON, or the system refuses.
pub fn write_json(path: &Path, value: &impl Serialize, owner: Option<Owner>) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    write_atomic(path, &bytes, owner)
}

/// Makes a symbolic link, or replaces it.
///
/// # Errors
/// If the system refuses; then the old link is as it was.
pub fn link_atomic(target: &Path, link: &Path, owner: Option<Owner>) -> io::Result<()> {
    let temporary = beside(link);
    let _ = fs::remove_file(&temporary);
    let make = || {
        symlink(target, &temporary)?;
        own(owner, &temporary)?;
        fs::rename(&temporary, link)?;
        sync_folder(folder_of(link))
    };
    make().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}
