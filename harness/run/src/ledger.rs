//! `ledger.jsonl` while it is written: each line is on the disk before the call returns, in the run's folder and in
//! the active ledger, from which `harness lab heal` heals after this process was killed.
//!
//! Law: an active ledger with a fault that nobody healed is never overwritten.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use harness_core::fault::{self, FORMAT_VERSION, LedgerLine};
use harness_nemesis::exec::Ledger;
use thiserror::Error;

use crate::files::{Owner, folder_of, make_folder, sync_folder, write_atomic};

/// Why there is no ledger.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LedgerOpenError {
    /// The system refused.
    #[error("open the ledger {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The active ledger makes no sense; faults in it may be in force.
    #[error("the active ledger {} cannot be read", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: fault::LedgerError,
    },
    /// An earlier run left faults.
    #[error(
        "an earlier run left {count} faults that nobody healed ({}); `harness lab heal` heals them",
        path.display()
    )]
    NotHealed {
        /// Which file.
        path: PathBuf,
        /// How many faults.
        count: usize,
    },
}

/// One or two ledger files, written together.
#[derive(Debug)]
pub struct LedgerWriter {
    files: Mutex<Vec<File>>,
    active: Option<PathBuf>,
}

fn header() -> String {
    format!("{{\"format_version\":{FORMAT_VERSION}}}\n")
}

fn append_to(path: &Path) -> Result<File, LedgerOpenError> {
    let open = || {
        let file = OpenOptions::new().append(true).open(path)?;
        file.sync_all()?;
        Ok(file)
    };
    open().map_err(|source| LedgerOpenError::Io {
        path: path.to_owned(),
        source,
    })
}

impl LedgerWriter {
    /// Begins a run's ledger, and mirrors it to `active`, whose folder is made if need be.
    ///
    /// # Errors
    /// If the active ledger has faults that are open or makes no sense, or the system refuses.
    pub fn create(
        path: &Path,
        active: Option<&Path>,
        owner: Option<Owner>,
    ) -> Result<Self, LedgerOpenError> {
        let mut files = Vec::new();
        if let Some(active) = active {
            refuse_open(active)?;
            // Not the user's: it belongs to the state folder.
            let made = make_folder(folder_of(active), None)
                .and_then(|()| write_atomic(active, header().as_bytes(), None));
            made.map_err(|source| LedgerOpenError::Io {
                path: active.to_owned(),
                source,
            })?;
            files.push(append_to(active)?);
        }
        let made = write_atomic(path, header().as_bytes(), owner);
        made.map_err(|source| LedgerOpenError::Io {
            path: path.to_owned(),
            source,
        })?;
        files.push(append_to(path)?);
        Ok(Self {
            files: Mutex::new(files),
            active: active.map(Path::to_owned),
        })
    }

    /// Goes on with a ledger that is there, as `lab heal` does. A torn last line is cut off: nothing was done after it.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn resume(path: &Path) -> Result<Self, LedgerOpenError> {
        let cut = || {
            let bytes = fs::read(path)?;
            let whole = bytes
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            if whole == 0 {
                return write_atomic(path, header().as_bytes(), None);
            }
            if whole < bytes.len() {
                OpenOptions::new()
                    .write(true)
                    .open(path)?
                    .set_len(whole as u64)?;
            }
            Ok(())
        };
        cut().map_err(|source| LedgerOpenError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            files: Mutex::new(vec![append_to(path)?]),
            active: None,
        })
    }

    /// Appends a line to both files; returns when it is on the disk. Blocks.
    ///
    /// # Errors
    /// If it may not be on the disk in one of them.
    pub fn append(&self, line: &LedgerLine) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for file in files.iter_mut() {
            file.write_all(&bytes)?;
            file.sync_data()?;
        }
        Ok(())
    }

    /// Takes the active ledger away if nothing in it is open; says whether it did.
    ///
    /// # Errors
    /// If it cannot be read or removed.
    pub fn retire_active(&self) -> Result<bool, LedgerOpenError> {
        let Some(active) = &self.active else {
            return Ok(true);
        };
        match refuse_open(active) {
            Err(LedgerOpenError::NotHealed { .. }) => return Ok(false),
            other => other?,
        }
        let remove = || {
            match fs::remove_file(active) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
            sync_folder(folder_of(active))
        };
        remove().map_err(|source| LedgerOpenError::Io {
            path: active.clone(),
            source,
        })?;
        Ok(true)
    }
}

impl Ledger for LedgerWriter {
    fn append(&self, line: &LedgerLine) -> io::Result<()> {
        Self::append(self, line)
    }
}

/// An error if faults in this ledger are open. One that is not there has none.
fn refuse_open(path: &Path) -> Result<(), LedgerOpenError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|source| LedgerOpenError::Io {
            path: path.to_owned(),
            source,
        })?,
    };
    let lines = fault::decode(&bytes).map_err(|source| LedgerOpenError::Broken {
        path: path.to_owned(),
        source,
    })?;
    let count = fault::fold(&lines)
        .iter()
        .filter(|fault| fault.is_open())
        .count();
    if count > 0 {
        return Err(LedgerOpenError::NotHealed {
            path: path.to_owned(),
            count,
        });
    }
    Ok(())
}
