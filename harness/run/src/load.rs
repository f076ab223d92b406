//! A stored run, read again: what checkers and reports look at.
//!
//! Law: what is missing or torn is said in `remarks`; what is there and makes no sense is an error. A run that was
//! killed in the middle can be loaded.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use harness_core::{
    fault::{self, FaultRecord, LedgerError},
    history::{self, History, HistoryError},
    meta::{Meta, Plan},
    verdict::{CheckInput, LogText, VerdictFile},
    view::{self, View, ViewError},
};
use thiserror::Error;

use crate::{
    map::Mapped,
    store::{RunFolder, StoreError, failed},
};

/// Logs of a run at most; further ones are left out with a remark.
pub const LOG_FILE_LIMIT: usize = 10_000;
/// How deep folders of logs are looked into.
const LOG_DEPTH_LIMIT: usize = 16;

/// Why a run cannot be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no `meta.json`: nobody knows what was run.
    #[error("{} has no meta.json", path.display())]
    NoMeta {
        /// The folder.
        path: PathBuf,
    },
    /// The history makes no sense.
    #[error("read {}", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: HistoryError,
    },
    /// The ledger makes no sense.
    #[error("read {}", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: LedgerError,
    },
    /// The membership views make no sense.
    #[error("read {}", path.display())]
    Views {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: ViewError,
    },
}

/// A log of a node.
#[derive(Debug)]
pub struct LoadedLog {
    /// The node.
    pub node: String,
    /// Its path under `logs/<node>/`.
    pub path: String,
    /// Its bytes.
    pub bytes: Mapped,
}

/// A stored run.
#[derive(Debug)]
pub struct LoadedRun {
    /// Its folder.
    pub folder: RunFolder,
    /// What was run.
    pub meta: Meta,
    /// The faults as planned.
    pub plan: Plan,
    /// The faults as done.
    pub faults: Vec<FaultRecord>,
    /// The operations.
    pub history: History,
    /// What the places where membership is kept said; empty if nobody sampled them.
    pub views: Vec<View>,
    /// What was said of it before.
    pub verdict: Option<VerdictFile>,
    /// Logs of the nodes, by node and path.
    pub logs: Vec<LoadedLog>,
    /// What was missing or torn, for people.
    pub remarks: Vec<String>,
}

impl LoadedRun {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// If there is no `meta.json`, or a file makes no sense.
    pub fn load(folder: RunFolder) -> Result<Self, LoadError> {
        let meta = folder.read_json("meta.json")?;
        let meta = meta.ok_or_else(|| LoadError::NoMeta {
            path: folder.folder().to_owned(),
        })?;
        let mut remarks = Vec::new();
        let plan = match folder.read_json("plan.json")? {
            Some(plan) => plan,
            None => {
                remarks.push("plan.json is missing".to_owned());
                Plan::default()
            }
        };
        let verdict = folder.read_json("verdict.json")?;
        let history = load_history(&folder.path("history.jsonl"), &mut remarks)?;
        let faults = load_faults(&folder.path("ledger.jsonl"), &mut remarks)?;
        let views = load_views(&folder.path("views.jsonl"), &mut remarks)?;
        let logs = load_logs(&folder.path("logs"), &mut remarks);
        Ok(Self {
            folder,
            meta,
            plan,
            faults,
            history,
            views,
            verdict,
            logs,
            remarks,
        })
    }

    /// Logs as checkers take them.
    #[must_use]
    pub fn log_texts(&self) -> Vec<LogText<'_>> {
        self.logs
            .iter()
            .map(|log| LogText {
                node: &log.node,
                path: &log.path,
                bytes: &log.bytes,
            })
            .collect()
    }

    /// What checkers look at; `logs` from [`Self::log_texts`].
    #[must_use]
    pub fn input<'a>(&'a self, logs: &'a [LogText<'a>]) -> CheckInput<'a> {
        CheckInput {
            history: &self.history,
            faults: &self.faults,
            logs,
            views: &self.views,
            meta: &self.meta,
        }
    }
}

fn load_history(path: &Path, remarks: &mut Vec<String>) -> Result<History, LoadError> {
    let mapped = match Mapped::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            remarks.push("history.jsonl is missing".to_owned());
            return Ok(History::default());
        }
        mapped => mapped.map_err(failed("read", path))?,
    };
    let history = history::decode(&mapped).map_err(|source| LoadError::History {
        path: path.to_owned(),
        source,
    })?;
    let said = history.remarks.iter();
    remarks.extend(said.map(|remark| format!("history.jsonl: {remark}")));
    Ok(history)
}

fn load_faults(path: &Path, remarks: &mut Vec<String>) -> Result<Vec<FaultRecord>, LoadError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            remarks.push("ledger.jsonl is missing".to_owned());
            return Ok(Vec::new());
        }
        bytes => bytes.map_err(failed("read", path))?,
    };
    let lines = fault::decode(&bytes).map_err(|source| LoadError::Ledger {
        path: path.to_owned(),
        source,
    })?;
    Ok(fault::fold(&lines))
}

/// Only runs that judge membership have views, so a missing file is nothing to say; nor is an empty one, which a
/// controller leaves that was killed before its first line was written.
fn load_views(path: &Path, remarks: &mut Vec<String>) -> Result<Vec<View>, LoadError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes.map_err(failed("read", path))?,
    };
    if bytes.is_empty() {
        remarks.push("views.jsonl is empty".to_owned());
        return Ok(Vec::new());
    }
    let (views, said) = view::decode(&bytes).map_err(|source| LoadError::Views {
        path: path.to_owned(),
        source,
    })?;
    remarks.extend(said.iter().map(|remark| format!("views.jsonl: {remark}")));
    Ok(views)
}

/// Logs in order of node and path. One that cannot be read is a remark: the others still count.
fn load_logs(root: &Path, remarks: &mut Vec<String>) -> Vec<LoadedLog> {
    let mut paths = Vec::new();
    collect(root, LOG_DEPTH_LIMIT, &mut paths, remarks);
    paths.sort();
    if paths.len() > LOG_FILE_LIMIT {
        let count = paths.len() - LOG_FILE_LIMIT;
        remarks.push(format!(
            "{count} logs beyond {LOG_FILE_LIMIT} were left out"
        ));
        paths.truncate(LOG_FILE_LIMIT);
    }
    let mut logs = Vec::new();
    for path in paths {
        let Ok(inside) = path.strip_prefix(root) else {
            continue;
        };
        let mut parts = inside.components();
        let node = parts.next().map(|part| part.as_os_str().to_string_lossy());
        let rest = parts.as_path().to_string_lossy();
        let (Some(node), false) = (node, rest.is_empty()) else {
            continue;
        };
        match Mapped::open(&path) {
            Ok(bytes) => logs.push(LoadedLog {
                node: node.into_owned(),
                path: rest.into_owned(),
                bytes,
            }),
            Err(error) => remarks.push(format!("logs/{}: {error}", inside.display())),
        }
    }
    logs
}

fn collect(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>, remarks: &mut Vec<String>) {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            remarks.push(format!("{}: {error}", folder.display()));
            return;
        }
        Ok(entries) => entries,
    };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => collect(&path, depth - 1, paths, remarks),
            // One more than allowed, so that it shows.
            Ok(kind) if kind.is_file() && paths.len() <= LOG_FILE_LIMIT => paths.push(path),
            _ => {}
        }
    }
}
