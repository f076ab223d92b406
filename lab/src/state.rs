//! The state folder: what outlives one call of `harness` on the controller.
//!
//! ```text
//! HARNESS_STATE (default /var/lib/harness)
//!   lock                 who runs now: an flock, and {"pid":812,"purpose":"run","since_unix_ms":…}
//!   lab.json             the lab that is up, coming up or going down
//!   active-ledger.json   the ledger of the run whose faults may still be in force
//!   keys/                our key pair (0700)
//!   images/              cached images, shared by all labs; HARNESS_IMAGES moves them
//!   nodes/               one folder a container: configuration, overlay, logs
//!   lxd/                 the LXD that `lab/lxd` starts, if it was asked to
//!   ssh_config           so that `ssh -F …/ssh_config n1` works for people
//! ```
//!
//! Laws:
//! - a file here is whole or absent: it is written under another name and renamed;
//! - the lock is the kernel's, so it ends with the process that holds it, however that ends;
//! - what is about to be made is recorded before it is made, so that `down` always finds it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::provider::LabRecord;

/// Where the state is unless `HARNESS_STATE` says otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/harness";
/// The environment variable that moves the state folder.
pub const STATE_VARIABLE: &str = "HARNESS_STATE";
/// The environment variable that moves the images out of the state folder.
pub const IMAGES_VARIABLE: &str = "HARNESS_IMAGES";
/// Version of the files in the state folder.
pub const STATE_FORMAT_VERSION: u32 = 1;
/// Times that the lock is tried.
const LOCK_ATTEMPTS: usize = 5;
/// Pause between two of them.
const LOCK_POLL: Duration = Duration::from_millis(10);
/// Longest file of the state folder that is read, in bytes.
const FILE_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// Why the state could not be read, written or locked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file system said no.
    #[error("{what} {}", .path.display())]
    Io {
        /// What was tried, such as `cannot write`.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} is damaged; look at it, then remove it (`harness lab down` cleans up what it finds without it)", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// A newer harness wrote it.
    #[error("{} has format version {found}, this harness knows {STATE_FORMAT_VERSION}; use the harness that wrote it", .path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Somebody else holds the lock.
    #[error("the lab is in use by {holder}, which holds {}; wait for its end or stop it", .path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it.
        holder: Holder,
    },
    /// The folder cannot be used.
    #[error("state folder {} cannot be used: {reason}; set {STATE_VARIABLE} to another one", .path.display())]
    Unusable {
        /// Which folder.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
}

impl StateError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    /// Whether a folder could not be removed because something is in it.
    pub(crate) fn is_not_empty(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::DirectoryNotEmpty)
    }
}

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// What it does, such as `run`.
    pub purpose: String,
    /// Since when, in milliseconds of the Unix epoch.
    pub since_unix_ms: u64,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pid == 0 {
            return f.write_str("another process");
        }
        let seconds = now_unix_ms().saturating_sub(self.since_unix_ms) / 1000;
        write!(
            f,
            "`harness {}` (process {}, for {seconds} s)",
            self.purpose, self.pid
        )
    }
}

/// Which ledger may still have faults in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveLedger {
    /// Version of this file's form.
    pub format_version: u32,
    /// The ledger, as an absolute path.
    pub ledger: PathBuf,
}

/// The state folder.
#[derive(Clone, Debug)]
pub struct State {
    root: PathBuf,
    images: PathBuf,
}

/// Proof that no other run, `up` or `down` is under way. Ends when dropped.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // Whoever looks next sees an empty file rather than a name that is gone.
        let _ = self.file.set_len(0);
    }
}

impl State {
    /// The folder that `HARNESS_STATE` names, or the default one; images where `HARNESS_IMAGES` says.
    ///
    /// # Errors
    /// If the folder cannot be made or used.
    pub fn from_environment() -> Result<Self, StateError> {
        let state = Self::look_from_environment()?;
        make_folder(&state.root, 0o755)?;
        Ok(state)
    }

    /// This folder; it is made if it does not exist.
    ///
    /// # Errors
    /// If the folder cannot be made or used.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, StateError> {
        let state = Self::look_at(root)?;
        make_folder(&state.root, 0o755)?;
        Ok(state)
    }

    /// As [`State::from_environment`], for somebody who only looks: nothing is made.
    ///
    /// # Errors
    /// If the folder's name cannot be used.
    pub fn look_from_environment() -> Result<Self, StateError> {
        let named = |variable| std::env::var_os(variable).filter(|value| !value.is_empty());
        let state = Self::look_at(named(STATE_VARIABLE).unwrap_or_else(|| DEFAULT_STATE.into()))?;
        Ok(match named(IMAGES_VARIABLE) {
            Some(images) => state.with_images(images),
            None => state,
        })
    }

    /// This folder, for somebody who only looks: it need not exist, and is not made.
    ///
    /// # Errors
    /// If the folder's name cannot be used.
    pub fn look_at(root: impl Into<PathBuf>) -> Result<Self, StateError> {
        let root: PathBuf = root.into();
        let unusable = |reason| StateError::Unusable {
            path: root.clone(),
            reason,
        };
        if !root.is_absolute() {
            return Err(unusable("it is not an absolute path"));
        }
        // LXC separates the parts of an overlay with a colon, and the kernel its options with a comma.
        if root.to_string_lossy().contains([':', ',', '\\', ' ', '\n']) {
            return Err(unusable(
                "its name holds a colon, comma, backslash or space",
            ));
        }
        Ok(Self {
            images: root.join("images"),
            root,
        })
    }

    /// The same folder, with the images elsewhere.
    #[must_use]
    pub fn with_images(mut self, images: impl Into<PathBuf>) -> Self {
        self.images = images.into();
        self
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where images are cached.
    #[must_use]
    pub fn images(&self) -> &Path {
        &self.images
    }

    /// Where our key pair is.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Where containers are: LXC's `lxcpath`.
    #[must_use]
    pub fn nodes(&self) -> PathBuf {
        self.root.join("nodes")
    }

    /// The configuration with which `ssh -F` reaches the nodes.
    #[must_use]
    pub fn ssh_config(&self) -> PathBuf {
        self.root.join("ssh_config")
    }

    fn lab_file(&self) -> PathBuf {
        self.root.join("lab.json")
    }

    fn ledger_file(&self) -> PathBuf {
        self.root.join("active-ledger.json")
    }

    fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Takes the lock, without waiting.
    ///
    /// # Errors
    /// [`StateError::Locked`] says who holds it.
    pub fn lock(&self, purpose: &str) -> Result<RunLock, StateError> {
        let path = self.lock_file();
        let mut file = open_lock(&path)?;
        let mut attempts = 0;
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            // Somebody who only asks who holds it has it for a moment.
            attempts += 1;
            if attempts == LOCK_ATTEMPTS {
                return Err(StateError::Locked {
                    holder: read_holder(&mut file),
                    path,
                });
            }
            std::thread::sleep(LOCK_POLL);
        }
        let holder = Holder {
            pid: std::process::id(),
            purpose: purpose.to_owned(),
            since_unix_ms: now_unix_ms(),
        };
        let text = serde_json::to_vec(&holder).map_err(|source| StateError::Damaged {
            path: path.clone(),
            source,
        })?;
        file.set_len(0)
            .and_then(|()| file.write_all(&text))
            .map_err(StateError::io("cannot write", &path))?;
        Ok(RunLock { file })
    }

    /// Who holds the lock now, if anybody does.
    ///
    /// # Errors
    /// If the lock file cannot be opened.
    pub fn holder(&self) -> Result<Option<Holder>, StateError> {
        let path = self.lock_file();
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(StateError::io("cannot open", &path))?,
        };
        let free = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
        Ok((!free).then(|| read_holder(&mut file)))
    }

    /// The lab that is up, coming up or going down.
    ///
    /// # Errors
    /// If its file is there and cannot be understood.
    pub fn read_lab(&self) -> Result<Option<LabRecord>, StateError> {
        read_json(&self.lab_file())
    }

    /// Records the lab.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_lab(&self, _lock: &RunLock, lab: &LabRecord) -> Result<(), StateError> {
        write_json(&self.lab_file(), lab)
    }

    /// Forgets the lab.
    ///
    /// # Errors
    /// If its file cannot be removed.
    pub fn forget_lab(&self, _lock: &RunLock) -> Result<(), StateError> {
        remove_file(&self.lab_file())?;
        remove_file(&self.ssh_config())
    }

    /// The ledger whose faults may still be in force.
    ///
    /// # Errors
    /// If its file is there and cannot be understood.
    pub fn active_ledger(&self) -> Result<Option<PathBuf>, StateError> {
        let active: Option<ActiveLedger> = read_json(&self.ledger_file())?;
        Ok(active.map(|active| active.ledger))
    }

    /// Records which ledger may have faults in force from now on; none once all is healed.
    ///
    /// # Errors
    /// If it cannot be written or removed.
    pub fn set_active_ledger(&self, ledger: Option<&Path>) -> Result<(), StateError> {
        let path = self.ledger_file();
        let Some(ledger) = ledger else {
            return remove_file(&path);
        };
        let ledger =
            std::path::absolute(ledger).map_err(StateError::io("cannot resolve", ledger))?;
        write_json(
            &path,
            &ActiveLedger {
                format_version: STATE_FORMAT_VERSION,
                ledger,
            },
        )
    }
}

fn open_lock(path: &Path) -> Result<File, StateError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .map_err(StateError::io("cannot open", path))
}

/// Reads who holds the lock; it may be about to write that, then nobody is named.
fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(FILE_LIMIT_BYTES).read_to_string(&mut text));
    let nobody = Holder {
        pid: 0,
        purpose: String::new(),
        since_unix_ms: 0,
    };
    read.ok()
        .and_then(|_| serde_json::from_str(&text).ok())
        .unwrap_or(nobody)
}

/// Milliseconds since the Unix epoch, now.
pub(crate) fn now_unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Makes a folder and its parents; the mode is for those that did not exist.
pub(crate) fn make_folder(path: &Path, mode: u32) -> Result<(), StateError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(StateError::io("cannot make", path))
}

/// Writes a file so that a reader sees all of it or none, also after a crash.
pub(crate) fn write_atomic(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), StateError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(StateError::io("cannot write", path))
}

/// Removes a file; one that is not there is removed already.
pub(crate) fn remove_file(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StateError::io("cannot remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a folder with all that is in it; one that is not there is removed already.
pub(crate) fn remove_folder(path: &Path) -> Result<(), StateError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StateError::io("cannot remove", path)(error))
        }
        _ => Ok(()),
    }
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StateError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|source| StateError::Damaged {
        path: path.to_owned(),
        source,
    })?;
    bytes.push(b'\n');
    write_atomic(path, 0o644, &bytes)
}

#[derive(Deserialize)]
struct Versioned {
    format_version: u32,
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(FILE_LIMIT_BYTES).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateError::io("cannot read", path)(error)),
        Ok(_) => {}
    }
    let damaged = |source| StateError::Damaged {
        path: path.to_owned(),
        source,
    };
    let versioned: Versioned = serde_json::from_slice(&bytes).map_err(damaged)?;
    if versioned.format_version != STATE_FORMAT_VERSION {
        return Err(StateError::Version {
            path: path.to_owned(),
            found: versioned.format_version,
        });
    }
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_has_one_holder_and_says_who() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(folder.path()).unwrap();
        assert_eq!(state.holder().unwrap(), None);
        let lock = state.lock("run").unwrap();
        let error = state.lock("lab down").unwrap_err().to_string();
        let expected = format!(
            "the lab is in use by `harness run` (process {}, for 0 s)",
            std::process::id()
        );
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(state.holder().unwrap().unwrap().purpose, "run");
        drop(lock);
        assert_eq!(state.holder().unwrap(), None);
        state.lock("lab down").unwrap();
    }

    #[test]
    fn the_active_ledger_is_remembered_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(folder.path()).unwrap();
        assert_eq!(state.active_ledger().unwrap(), None);
        state
            .set_active_ledger(Some(Path::new("/r/ledger.jsonl")))
            .unwrap();
        assert_eq!(
            state.active_ledger().unwrap(),
            Some("/r/ledger.jsonl".into())
        );
        state.set_active_ledger(None).unwrap();
        state.set_active_ledger(None).unwrap();
        assert_eq!(state.active_ledger().unwrap(), None);
    }

    #[test]
    fn damaged_and_newer_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(folder.path()).unwrap();
        fs::write(state.lab_file(), "{").unwrap();
        assert!(matches!(state.read_lab(), Err(StateError::Damaged { .. })));
        fs::write(state.lab_file(), r#"{"format_version":9}"#).unwrap();
        assert!(matches!(
            state.read_lab(),
            Err(StateError::Version { found: 9, .. })
        ));
    }

    #[test]
    fn folders_that_an_overlay_cannot_name_are_refused() {
        for bad in ["relative", "/tmp/a:b", "/tmp/a,b", "/tmp/a b"] {
            assert!(
                matches!(State::at(bad), Err(StateError::Unusable { .. })),
                "{bad}"
            );
        }
    }
}
