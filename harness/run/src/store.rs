//! The run store: a folder for each run under `results/runs/`, and how to find one again.
//!
//! ```text
//! results/runs/<system-workload-nemesis>/<UTC time>-<id>/meta.json, plan.json, verdict.json, history.jsonl, …
//! results/runs/latest -> the newest
//! ```
//!
//! JSON files are replaced as a whole or not at all; `history.jsonl` and `ledger.jsonl` only grow. So a killed run
//! leaves a folder that can be read, listed and checked.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher, Hasher},
    io,
    path::{Component, Path, PathBuf},
};

use harness_core::{
    meta::{Meta, Plan},
    verdict::{Verdict, VerdictFile},
};
use thiserror::Error;

use crate::{
    clock::RunClock,
    files::{self, Owner},
    ledger::{LedgerOpenError, LedgerWriter},
    recorder::{RecordError, Recorder},
    utc,
};

/// The link to the newest run.
pub const LATEST: &str = "latest";
/// Names that are tried for a new run before that is given up.
const NAME_TRIES: usize = 16;
/// Bytes of a folder's name at most; file systems allow 255.
const NAME_LIMIT_BYTES: usize = 120;
/// Hexadecimal digits of an id after its time.
const SUFFIX_DIGITS: usize = 4;
const SUFFIX_MASK: u64 = (1 << (4 * SUFFIX_DIGITS)) - 1;

/// Why a run cannot be stored or found.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried: `create`, `write`, `read`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// There is no such run.
    #[error("no run {which:?} in {}", root.display())]
    NotFound {
        /// What was asked.
        which: String,
        /// Where it was looked for.
        root: PathBuf,
    },
    /// There are several.
    #[error("{which:?} may be {}", .candidates.join(" or "))]
    Ambiguous {
        /// What was asked.
        which: String,
        /// Ids that fit.
        candidates: Vec<String>,
    },
    /// Something else is in the way.
    #[error("found no free name for a run in {}", path.display())]
    NoName {
        /// The folder.
        path: PathBuf,
    },
}

pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        action,
        path,
        source,
    }
}

/// Where runs are kept.
#[derive(Clone, Debug)]
pub struct RunStore {
    root: PathBuf,
    owner: Option<Owner>,
}

/// One run in a list.
#[derive(Clone, Debug)]
pub struct RunEntry {
    /// Its folder.
    pub folder: RunFolder,
    /// `<system-workload-nemesis>`.
    pub name: String,
    /// What was run, if that can be read.
    pub meta: Option<Meta>,
    /// The verdict; none if it was never judged.
    pub verdict: Option<Verdict>,
    /// What is wrong with the folder, for people.
    pub remarks: Vec<String>,
}

impl RunStore {
    /// `results` is the folder of results; runs are in `runs` below it. New files become `owner`'s if there is one.
    #[must_use]
    pub fn new(results: &Path, owner: Option<Owner>) -> Self {
        Self {
            root: results.join("runs"),
            owner,
        }
    }

    /// `results/runs`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the folder of a new run, and points `latest` to it. `kind` is `<system-workload-nemesis>`; what does
    /// not belong into a name becomes `-`. `wall_ns` is when it begins, nanoseconds since 1970.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn create(&self, kind: &str, wall_ns: u64) -> Result<RunFolder, StoreError> {
        let kind = plain_name(kind);
        let parent = self.root.join(&kind);
        files::make_folder(&parent, self.owner).map_err(failed("create", &parent))?;
        for _ in 0..NAME_TRIES {
            let suffix = RandomState::new().build_hasher().finish() & SUFFIX_MASK;
            let id = format!("{}-{suffix:0SUFFIX_DIGITS$x}", utc::compact(wall_ns));
            let path = parent.join(&id);
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(failed("create", &path))?,
            }
            let settle = || {
                files::own(self.owner, &path)?;
                files::sync_folder(&parent)?;
                files::link_atomic(
                    &Path::new(&kind).join(&id),
                    &self.root.join(LATEST),
                    self.owner,
                )
            };
            settle().map_err(failed("create", &path))?;
            return Ok(RunFolder {
                path,
                id,
                owner: self.owner,
            });
        }
        Err(StoreError::NoName { path: parent })
    }

    /// Finds a run by its path, by its id or the beginning of one, or by the word `latest`.
    ///
    /// # Errors
    /// If there is none, or several.
    pub fn open(&self, which: &str) -> Result<RunFolder, StoreError> {
        let not_found = || StoreError::NotFound {
            which: which.to_owned(),
            root: self.root.clone(),
        };
        if which == LATEST {
            let link = self.root.join(LATEST);
            let path = fs::canonicalize(link).map_err(|_| not_found())?;
            return Ok(self.at(path));
        }
        if which.is_empty() {
            return Err(not_found());
        }
        let path = Path::new(which);
        if is_run(path) {
            let path = fs::canonicalize(path).map_err(failed("read", path))?;
            return Ok(self.at(path));
        }
        let mut found: Vec<RunFolder> = self.folders()?;
        found.retain(|run| run.id.starts_with(which));
        if let Some(at) = found.iter().position(|run| run.id == which) {
            found = vec![found.swap_remove(at)];
        }
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(not_found()),
            _ => Err(StoreError::Ambiguous {
                which: which.to_owned(),
                candidates: found.into_iter().map(|run| run.id).collect(),
            }),
        }
    }

    /// All runs, the newest first. Broken ones are in it, with remarks.
    ///
    /// # Errors
    /// If the folder of runs cannot be read; one that is not there has none.
    pub fn list(&self) -> Result<Vec<RunEntry>, StoreError> {
        let mut entries: Vec<RunEntry> = self.folders()?.into_iter().map(entry).collect();
        entries.sort_by(|a, b| b.folder.id.cmp(&a.folder.id));
        Ok(entries)
    }

    fn at(&self, path: PathBuf) -> RunFolder {
        let name = path.file_name().unwrap_or_default();
        RunFolder {
            id: name.to_string_lossy().into_owned(),
            path,
            owner: self.owner,
        }
    }

    fn folders(&self) -> Result<Vec<RunFolder>, StoreError> {
        let mut found = Vec::new();
        for kind in subfolders(&self.root).map_err(failed("read", &self.root))? {
            for path in subfolders(&kind).map_err(failed("read", &kind))? {
                found.push(self.at(path));
            }
        }
        Ok(found)
    }
}

/// Real folders in a folder, links left out; none if it is not there.
fn subfolders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn is_run(path: &Path) -> bool {
    path.is_dir() && (path.join("meta.json").is_file() || path.join("history.jsonl").is_file())
}

fn entry(folder: RunFolder) -> RunEntry {
    let mut remarks = Vec::new();
    let mut note = |error: Option<StoreError>| {
        if let Some(error) = error {
            remarks.push(with_source(&error));
        }
    };
    let (meta, meta_error) = split(folder.read_json::<Meta>("meta.json"));
    note(meta_error);
    let (verdict, verdict_error) = split(folder.read_json::<VerdictFile>("verdict.json"));
    note(verdict_error);
    if !folder.path("history.jsonl").is_file() {
        remarks.push("history.jsonl is missing".to_owned());
    }
    if verdict.is_none() && remarks.is_empty() {
        remarks.push("never judged; `harness check` does it".to_owned());
    }
    let parent = folder.path.parent().and_then(Path::file_name);
    RunEntry {
        name: parent.unwrap_or_default().to_string_lossy().into_owned(),
        folder,
        meta,
        verdict: verdict.map(|file| file.verdict),
        remarks,
    }
}

/// A message with its source's, for a remark.
fn with_source(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn split<T>(read: Result<Option<T>, StoreError>) -> (Option<T>, Option<StoreError>) {
    match read {
        Ok(value) => (value, None),
        Err(error) => (None, Some(error)),
    }
}

/// Letters, digits, `.`, `_`, `+` and `-` only, not too long, and never a name with a meaning of its own.
fn plain_name(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._+-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = text.chars().map(plain).take(NAME_LIMIT_BYTES).collect();
    match name.as_str() {
        "" | "." | ".." | LATEST => format!("run-{name}"),
        _ => name,
    }
}

/// One run's folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    id: String,
    owner: Option<Owner>,
}

impl RunFolder {
    /// A folder that is there, wherever it lies.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let id = path.file_name().unwrap_or_default();
        Self {
            id: id.to_string_lossy().into_owned(),
            path: path.to_owned(),
            owner: None,
        }
    }

    /// `<UTC time>-<id>`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Begins `history.jsonl`. Once in a run's life.
    ///
    /// # Errors
    /// If it is there already, or the system refuses.
    pub fn recorder(&self, clock: RunClock) -> Result<Recorder, RecordError> {
        let path = self.path("history.jsonl");
        let recorder = Recorder::create(&path, clock)?;
        // The history's content matters more than whose it is.
        if let Err(error) = files::own(self.owner, &path) {
            tracing::warn!(%error, "the history keeps its owner");
        }
        Ok(recorder)
    }

    /// Begins `ledger.jsonl`, mirrored to the active ledger.
    ///
    /// # Errors
    /// See [`LedgerWriter::create`].
    pub fn ledger(&self, active: Option<&Path>) -> Result<LedgerWriter, LedgerOpenError> {
        LedgerWriter::create(&self.path("ledger.jsonl"), active, self.owner)
    }

    /// Replaces `meta.json`.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn write_meta(&self, meta: &Meta) -> Result<(), StoreError> {
        self.write_json("meta.json", meta)
    }

    /// Replaces `plan.json`.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn write_plan(&self, plan: &Plan) -> Result<(), StoreError> {
        self.write_json("plan.json", plan)
    }

    /// Replaces `verdict.json`.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn write_verdict(&self, verdict: &VerdictFile) -> Result<(), StoreError> {
        self.write_json("verdict.json", verdict)
    }

    /// Replaces a file, such as `report.html`.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name);
        files::write_atomic(&path, bytes, self.owner).map_err(failed("write", &path))
    }

    fn write_json(&self, name: &str, value: &impl serde::Serialize) -> Result<(), StoreError> {
        let path = self.path(name);
        files::write_json(&path, value, self.owner).map_err(failed("write", &path))
    }

    /// Where to store a log of a node: `logs/<node>/<file>`, its folders made. `file` may have folders; what leads
    /// out of the node's is left away.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn log_path(&self, node: &str, file: &str) -> Result<PathBuf, StoreError> {
        let mut path = self.path("logs").join(plain_name(node));
        let inside = |part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        };
        path.extend(Path::new(file).components().filter_map(inside));
        let folder = files::folder_of(&path);
        files::make_folder(folder, self.owner).map_err(failed("create", folder))?;
        Ok(path)
    }

    /// Makes all files in it, also those that others wrote, the owner's, if there is one.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn hand_over(&self) -> Result<(), StoreError> {
        let owner = self.owner.map(|owner| owner.take_tree(&self.path));
        owner
            .unwrap_or(Ok(()))
            .map_err(failed("hand over", &self.path))
    }

    /// Reads a JSON file; none if it is not there.
    pub(crate) fn read_json<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        let path = self.path(name);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| failed("read", &path)(error.into())),
        }
    }
}
