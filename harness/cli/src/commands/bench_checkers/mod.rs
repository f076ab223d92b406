//! `harness bench checkers`: what judging large histories costs, a row a kind of work.
//!
//! Each row's histories are generated into a folder; a process of its own then reads and judges them, so that the largest
//! memory it ever had (`VmHWM`) is that of this row alone. Time is that of reading and judging, without the start of the
//! process, on the clock and of all its threads on processors. A verdict other than the one that holds by construction is a failure of the harness.

mod linear;
mod txn;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use harness_core::{
    exit::Exit,
    verdict::{Verdict, VerdictFile},
};
use harness_run::bench::vm_hwm_bytes;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::sources;
use crate::{
    failure::{Failure, chain},
    terminal,
};

/// The limits within which a row is judged.
const ROW_TIMEOUT: &str = "600s";
const ROW_MEMORY_MIB: u64 = 16 * 1024;

/// A kind of work.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is done, for people.
    pub work: &'static str,
    /// What others take for it, as measured for the issue; said as given, not measured here.
    pub baseline: &'static str,
    /// What ours may take, in milliseconds.
    pub time_ms: f64,
    /// And in megabytes, if that is limited.
    pub memory_mb: Option<f64>,
    /// Only when asked for: it takes minutes to generate.
    pub large: bool,
    /// The checker.
    pub checker: &'static str,
    /// Its options.
    pub options: fn() -> Value,
    /// Operations of the shortest witness, where that is known by construction.
    pub witness: Option<usize>,
    /// What must come out; None where histories with both verdicts are judged.
    pub verdict: Option<Verdict>,
    /// Writes the histories into a folder that is empty.
    pub make: fn(&Path) -> Result<(), Failure>,
}

/// All rows, family by family.
fn rows() -> Vec<Row> {
    let mut rows = linear::rows();
    rows.extend(txn::rows());
    rows
}

/// What a process measured.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    files: usize,
    bytes: u64,
    time_ms: f64,
    processor_ms: f64,
    memory_mb: f64,
    verdict: Verdict,
}

/// What all threads of this process have taken of processors so far, in milliseconds.
fn processor_ms() -> f64 {
    let taken = clock_gettime(ClockId::ProcessCPUTime);
    taken.tv_sec as f64 * 1e3 + taken.tv_nsec as f64 / 1e6
}

/// Measures the rows of these names, or all that are not large.
pub fn checkers(
    names: &[String],
    large: bool,
    folder: Option<PathBuf>,
    as_json: bool,
) -> Result<Exit, Failure> {
    let rows = rows();
    if let Some(unknown) = names
        .iter()
        .find(|name| !rows.iter().any(|row| row.name == **name))
    {
        let known: Vec<&str> = rows.iter().map(|row| row.name).collect();
        return Err(Failure::usage(format!(
            "row: there is no {unknown:?}; there are {}",
            known.join(", ")
        )));
    }
    let own =
        tempfile::tempdir().map_err(|error| Failure::because("no temporary folder", &error))?;
    let folder = folder.unwrap_or_else(|| own.path().to_owned());
    let chosen = rows.iter().filter(|row| {
        if names.is_empty() {
            large || !row.large
        } else {
            names.iter().any(|name| name == row.name)
        }
    });
    let mut told = Vec::new();
    if !as_json {
        terminal::print(
            "| work | baseline | ours, at most | ours | processor | files |\n| --- | --- | --- | --- | --- | --- |",
        );
    }
    for row in chosen {
        let place = folder.join(row.name);
        if !place.exists() {
            std::fs::create_dir_all(&place)
                .map_err(|error| Failure::because("no folder for the histories", &error))?;
            (row.make)(&place)?;
        }
        let figures = elsewhere(row, &place)?;
        if let Some(expected) = row.verdict
            && figures.verdict != expected
        {
            return Err(Failure::harness(format!(
                "{}: {} by construction, judged {}",
                row.name,
                expected.as_str(),
                figures.verdict.as_str()
            )));
        }
        if as_json {
            told.push(json!({ "row": row.name, "baseline": row.baseline, "time_limit_ms": row.time_ms, "memory_limit_mb": row.memory_mb, "measured": figures }));
        } else {
            terminal::print(&line(row, &figures));
        }
        if place.starts_with(own.path()) {
            // Large ones need not lie there until the end.
            drop(std::fs::remove_dir_all(&place));
        }
    }
    if as_json {
        terminal::print(&Value::from(told).to_string());
    }
    Ok(Exit::Valid)
}

fn line(row: &Row, figures: &Figures) -> String {
    let limit = row
        .memory_mb
        .map_or_else(String::new, |memory| format!(", {memory:.0} MB"));
    let over = figures.time_ms > row.time_ms
        || row.memory_mb.is_some_and(|limit| figures.memory_mb > limit);
    format!(
        "| {} | {} | {:.0} ms{limit} | {:.1} ms, {:.0} MB{} | {:.0} ms | {} of {:.1} MB |",
        row.work,
        row.baseline,
        row.time_ms,
        figures.time_ms,
        figures.memory_mb,
        if over { " (over)" } else { "" },
        figures.processor_ms,
        figures.files,
        figures.bytes as f64 / 1e6
    )
}

/// Has another process of this program judge a row's histories.
fn elsewhere(row: &Row, place: &Path) -> Result<Figures, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::because("this program cannot be found", &error))?;
    let output = Command::new(program)
        .args(["bench", "checkers", "--row", row.name, "--measure"])
        .arg(place)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::because("no process for the row", &error))?;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        Failure::harness(format!(
            "{}: its process ended with {}: {}",
            row.name,
            output.status,
            chain(&error)
        ))
    })
}

/// Judges a row's histories in this process, and prints what it took.
pub fn measure(names: &[String], place: &Path) -> Result<Exit, Failure> {
    let rows = rows();
    let row = rows
        .iter()
        .find(|row| names.iter().any(|name| name == row.name))
        .ok_or_else(|| Failure::usage("measure: name the row by --row"))?;
    let unread = |error: &std::io::Error| Failure::because("the histories cannot be read", error);
    let mut files: Vec<(PathBuf, u64)> = std::fs::read_dir(place)
        .map_err(|error| unread(&error))?
        .map(|entry| entry.and_then(|entry| Ok((entry.path(), entry.metadata()?.len()))))
        .collect::<Result<_, _>>()
        .map_err(|error| unread(&error))?;
    files.sort();
    let limits = sources::limits(ROW_TIMEOUT, ROW_MEMORY_MIB)?;
    let options = (row.options)();
    let began = Instant::now();
    let processor_before_ms = processor_ms();
    let how = sources::How {
        format: None,
        checker: row.checker,
        options: &options,
        limits,
        again: false,
        page: None,
    };
    let judged = files
        .iter()
        .map(|(path, _)| sources::judge_file(path, &how).map(|(verdict, _)| verdict))
        .collect::<Result<Vec<VerdictFile>, Failure>>()?;
    let time_ms = began.elapsed().as_secs_f64() * 1e3;
    let processor_ms = processor_ms() - processor_before_ms;
    let witnesses = judged.iter().flat_map(|file| &file.results);
    let shortest = witnesses
        .flat_map(|result| &result.witnesses)
        .map(|witness| witness.operations.len())
        .min();
    if row.witness.is_some() && shortest != row.witness {
        return Err(Failure::harness(format!(
            "{}: the shortest witness has {:?} operations by construction, found {shortest:?}",
            row.name, row.witness
        )));
    }
    let figures = Figures {
        files: files.len(),
        bytes: files.iter().map(|(_, bytes)| bytes).sum(),
        time_ms,
        processor_ms,
        memory_mb: vm_hwm_bytes() as f64 / 1e6,
        verdict: Verdict::merge(judged.iter().map(|file| file.verdict)),
    };
    terminal::print(&json!(figures).to_string());
    Ok(Exit::Valid)
}
