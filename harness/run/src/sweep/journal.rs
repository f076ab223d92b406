//! `sweep.jsonl`: what is finished, line by line, each on the disk before it counts.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use harness_core::sweep::{FORMAT_VERSION, Head, Journalled, Line, PointResult, Trace};
use thiserror::Error;

/// The journal's name in the folder of a sweep.
pub const NAME: &str = "sweep.jsonl";

/// Why there is no journal.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// It makes no sense.
    #[error("{}: {detail}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

/// The journal of a sweep, open for more.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    head: Head,
    trace: Option<Trace>,
    results: Vec<PointResult>,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io {
        action,
        path,
        source,
    }
}

impl Journal {
    /// Begins one in a folder.
    ///
    /// # Errors
    /// If there is one already, or the system refuses.
    pub fn create(folder: &Path, head: Head) -> Result<Self, JournalError> {
        let path = folder.join(NAME);
        let open = OpenOptions::new().append(true).create_new(true).open(&path);
        let mut journal = Self {
            file: open.map_err(failed("create", &path))?,
            path,
            head: head.clone(),
            trace: None,
            results: Vec::new(),
        };
        journal.write(&Line::Head(Box::new(head)))?;
        Ok(journal)
    }

    /// Goes on with the one in a folder. A torn last line is cut off: its point is done again.
    ///
    /// # Errors
    /// If there is none, it makes no sense, or the system refuses.
    pub fn resume(folder: &Path) -> Result<Self, JournalError> {
        let path = folder.join(NAME);
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        let broken = |detail: String| JournalError::Broken {
            path: path.clone(),
            detail,
        };
        let decoded = Journalled::decode(&bytes)
            .map_err(|(line, why)| broken(format!("line {line}: {why}")))?;
        let Journalled {
            head,
            trace,
            results,
        } = decoded.ok_or_else(|| broken("it has no head".to_owned()))?;
        if head.format_version != FORMAT_VERSION {
            return Err(broken(format!(
                "its format is {}, and {FORMAT_VERSION} is understood",
                head.format_version
            )));
        }
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(failed("open", &path))?;
        file.set_len(whole as u64).map_err(failed("cut", &path))?;
        Ok(Self {
            path,
            file,
            head,
            trace,
            results,
        })
    }

    /// What the sweep is.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Its points, once they are known.
    #[must_use]
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// What is finished.
    #[must_use]
    pub fn results(&self) -> &[PointResult] {
        &self.results
    }

    pub(super) fn write_trace(&mut self, trace: &Trace) -> Result<(), JournalError> {
        self.write(&Line::Trace(Box::new(trace.clone())))?;
        self.trace = Some(trace.clone());
        Ok(())
    }

    pub(super) fn write_point(&mut self, result: &PointResult) -> Result<(), JournalError> {
        self.write(&Line::Point(Box::new(result.clone())))?;
        self.results.push(result.clone());
        Ok(())
    }

    fn write(&mut self, line: &Line) -> Result<(), JournalError> {
        let put = |file: &mut File| {
            let mut bytes = serde_json::to_vec(line)?;
            bytes.push(b'\n');
            file.write_all(&bytes)?;
            file.sync_data()
        };
        put(&mut self.file).map_err(failed("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use harness_core::sweep::{CrashPoint, Strike, SweepOp, Victim};

    use super::*;

    fn head() -> Head {
        Head {
            format_version: FORMAT_VERSION,
            system: "lxd".to_owned(),
            system_versions: [("lxd".to_owned(), "5.0.2".to_owned())].into(),
            suite: "bookworm".to_owned(),
            op: SweepOp::Join,
            fail_by: None,
            victim: Victim::Joiner,
            fault: Strike::Kill,
            members: 3,
            pattern: None,
            named: Vec::new(),
            started_wall_ns: 7,
            unchanged_ms: 11_000,
        }
    }

    #[test]
    fn a_journal_goes_on_where_it_was_torn() {
        let folder = tempfile::tempdir().unwrap();
        let trace = Trace {
            points: vec![CrashPoint {
                number: 1,
                function: "main.f".to_owned(),
                at_ns: Some(5),
                hits: 2,
                nth: 1,
                traced: None,
            }],
            watched: 3,
            ..Trace::default()
        };
        Journal::create(folder.path(), head())
            .unwrap()
            .write_trace(&trace)
            .unwrap();
        assert!(
            Journal::create(folder.path(), head()).is_err(),
            "there is one"
        );
        let path = folder.path().join(NAME);
        let mut torn = fs::read(&path).unwrap();
        let whole = torn.len();
        torn.extend_from_slice(b"{\"point\":{\"numb");
        fs::write(&path, &torn).unwrap();
        let journal = Journal::resume(folder.path()).unwrap();
        assert_eq!(
            (journal.head(), journal.trace(), journal.results()),
            (&head(), Some(&trace), &[][..])
        );
        assert_eq!(fs::read(&path).unwrap().len(), whole);
        fs::write(&path, b"{\"point\":1}\n").unwrap();
        assert!(matches!(
            Journal::resume(folder.path()),
            Err(JournalError::Broken { .. })
        ));
    }
}
