//! Stored runs and loose history files, judged and reported: what `run`, `check`, `report` and `show` share.

use std::{
    io::{self, Read as _},
    num::NonZero,
    ops::{Deref, Range},
    path::{Path, PathBuf},
};

use harness_checkers::{
    registry::{self, Source},
    verify::{Finding, verify},
};
use harness_core::{
    exit::Exit,
    format::{self, Format},
    meta::{Meta, Plan},
    verdict::{CheckInput, VerdictFile},
};
use harness_report::{
    HISTORY_FILE, Model, ReportInput, RunFile, html, json::RunSummary, junit, summary,
    terminal as lines,
};
use harness_run::{
    check::{Limits, judge, judge_by, merge},
    files::Owner,
    load::LoadedRun,
    map::Mapped,
    store::{RunFolder, RunStore},
};
use harness_workloads::judges;
use serde_json::Value;

use crate::{
    failure::{Failure, chain},
    options::parse_time,
    terminal,
};

/// Threads that take a large file apart, at most.
const READERS: usize = 4;
/// The target that stands for standard input.
pub const STDIN: &str = "-";
/// Columns of results that do not go to a terminal.
const PIPE_WIDTH: usize = 0;

/// The store of a results folder; what is written becomes the calling user's.
pub fn store(results: &Path) -> RunStore {
    RunStore::new(results, Owner::from_sudo())
}

/// Finds and loads a run. A run that is not there is a matter of usage.
pub fn load(store: &RunStore, which: &str) -> Result<LoadedRun, Failure> {
    let folder = store
        .open(which)
        .map_err(|error| Failure::usage(chain(&error)))?;
    load_folder(folder)
}

/// Loads the run of a folder, and says what was missing or torn.
pub fn load_folder(folder: RunFolder) -> Result<LoadedRun, Failure> {
    let run = LoadedRun::load(folder).map_err(|error| Failure::usage(chain(&error)))?;
    for remark in run.remarks.iter().chain(&run.history.remarks) {
        terminal::say(&format!("{}: {remark}", run.folder.id()));
    }
    Ok(run)
}

/// The stored verdict of a run; one that was never judged is told how it is.
pub fn stored_verdict(run: &LoadedRun) -> Result<VerdictFile, Failure> {
    run.verdict.clone().ok_or_else(|| {
        Failure::usage(format!(
            "{} was never judged; harness check {} does it",
            run.folder.id(),
            shown(run.folder.folder()).display()
        ))
    })
}

/// What each checker may take.
pub fn limits(timeout: &str, memory_mib: u64) -> Result<Limits, Failure> {
    Ok(Limits {
        time: parse_time("timeout", timeout)?,
        memory_bytes: memory_mib.saturating_mul(1024 * 1024),
    })
}

/// Checkers by name, each with its options.
type Asked<'a> = Vec<(&'a str, Value)>;

/// The checkers that a run's `meta.json` asks for, or one, with its options there and those given here above them.
pub fn asked<'a>(meta: &Meta, only: Option<&'a str>, given: &Value) -> Result<Asked<'a>, Failure> {
    let mut all: Asked<'a> = judges::asked(meta);
    let Some(name) = only else {
        if given.is_null() {
            return Ok(all);
        }
        return Err(Failure::usage(
            "options: a run is judged by several checkers; add --checker NAME to say whose these are"
                .to_owned(),
        ));
    };
    all.retain(|(asked, _)| *asked == name);
    if all.is_empty() {
        all.push((name, Value::Null));
    }
    for (_, options) in &mut all {
        match (options.as_object_mut(), given.as_object()) {
            (Some(options), Some(given)) => options.extend(given.clone()),
            _ if given.is_null() => {}
            _ => *options = given.clone(),
        }
    }
    Ok(all)
}

/// Judges a loaded run; with `again` its witnesses are looked at again, by [`verify`].
pub fn judge_run(
    run: &LoadedRun,
    asked: &Asked<'_>,
    limits: Limits,
    again: bool,
) -> Result<(VerdictFile, Vec<Finding>), Failure> {
    let checkers: Result<Vec<_>, _> = asked
        .iter()
        .map(|(name, options)| registry::checker(name, options))
        .collect();
    let checkers = checkers.map_err(|error| Failure::usage(chain(&error)))?;
    let logs = run.log_texts();
    let input = run.input(&logs);
    let verdict = judge(&checkers, &input, limits);
    let mut found = Vec::new();
    if again {
        for ((_, options), result) in asked.iter().zip(&verdict.results) {
            found.extend(verify(options, &input, result));
        }
    }
    Ok((verdict, found))
}

/// How a loose history file is judged.
pub struct How<'a> {
    /// Its format; guessed if not given.
    pub format: Option<Format>,
    /// The checker.
    pub checker: &'a str,
    /// Its options.
    pub options: &'a Value,
    /// What it may take.
    pub limits: Limits,
    /// Whether witnesses are looked at again, by [`verify`].
    pub again: bool,
    /// Where a page is written.
    pub page: Option<&'a Path>,
}

/// The bytes of a history: of a file, or of what can be read once.
enum Text {
    Mapped(Mapped),
    Read(Vec<u8>),
}

impl Text {
    fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new(STDIN) {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes)?;
            return Ok(Self::Read(bytes));
        }
        if path.is_file() {
            return Mapped::open(path).map(Self::Mapped);
        }
        std::fs::read(path).map(Self::Read)
    }

    fn release(&self, range: Range<usize>) {
        if let Self::Mapped(map) = self {
            map.release(range);
        }
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Read(bytes) => bytes,
        }
    }
}

/// Judges a loose history file.
pub fn judge_file(path: &Path, how: &How<'_>) -> Result<(VerdictFile, Vec<Finding>), Failure> {
    let How {
        format,
        checker,
        options,
        limits,
        again,
        page,
    } = *how;
    let name = path.display();
    let text = Text::open(path).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let bytes = format::without_mark(&text);
    let format = format.unwrap_or_else(|| Format::detect(bytes));
    let whole =
        registry::checker(checker, options).map_err(|error| Failure::usage(chain(&error)))?;
    // Where a mark was left out, what is given back ends a little early.
    let release = |range| text.release(range);
    let source = Source {
        bytes,
        format,
        threads: std::thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(READERS),
        release: &release,
    };
    // The verifier and the page need the history whole.
    let straight = (!again && page.is_none())
        .then(|| {
            judge_by(checker, limits, |budget| {
                registry::check_bytes(checker, options, &source, budget)
            })
        })
        .flatten();
    if let Some((result, remarks)) = straight {
        for remark in remarks {
            terminal::say(&format!("{name}: {remark}"));
        }
        return Ok((merge(vec![result]), Vec::new()));
    }
    let history = format::read(bytes, format)
        .map_err(|error| Failure::usage(format!("{name}: {}", chain(&error))))?;
    for remark in &history.remarks {
        terminal::say(&format!("{name}: {remark}"));
    }
    let meta = Meta {
        id: name.to_string(),
        system: HISTORY_FILE.to_owned(),
        workload: checker.to_owned(),
        ..Meta::default()
    };
    let input = CheckInput::of_history(&history, &meta);
    let verdict = judge(&[whole], &input, limits);
    if let Some(page) = page {
        write_page(page, &input, &verdict, options)?;
    }
    let mut found = Vec::new();
    for result in verdict.results.iter().filter(|_| again) {
        found.extend(verify(options, &input, result));
    }
    Ok((verdict, found))
}

/// Writes the page of a loose history file.
fn write_page(
    page: &Path,
    input: &CheckInput<'_>,
    verdict: &VerdictFile,
    options: &Value,
) -> Result<(), Failure> {
    let meta = Meta {
        workload_options: options.clone(),
        ..input.meta.clone()
    };
    let model = Model::new(&ReportInput {
        meta: &meta,
        plan: &Plan::default(),
        faults: &[],
        history: input.history,
        views: &[],
        verdict,
        logs: &[],
        folder: &input.meta.id,
        files: &[],
    });
    let text = html::render(&model).map_err(|error| Failure::harness(chain(&error)))?;
    std::fs::write(page, text)
        .map_err(|error| Failure::usage(format!("{}: {error}", page.display())))
}

/// A run's folder as people type it: relative if it lies below the current folder.
pub fn shown(folder: &Path) -> PathBuf {
    let current = std::env::current_dir().and_then(std::fs::canonicalize);
    match current {
        Ok(current) => folder
            .strip_prefix(&current)
            .map_or_else(|_| folder.to_owned(), Path::to_owned),
        Err(_) => folder.to_owned(),
    }
}

fn files_of(folder: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) => {
                    let path = entry.path();
                    let name = path.strip_prefix(folder).unwrap_or(&path);
                    found.push((name.display().to_string(), meta.len()));
                }
                Err(_) => {}
            }
        }
    }
    found.sort();
    found
}

/// Everything that is shown of a judged run, computed once.
pub fn with_model<T>(
    run: &LoadedRun,
    verdict: &VerdictFile,
    use_it: impl FnOnce(&Model) -> T,
) -> T {
    let logs = run.log_texts();
    let folder = shown(run.folder.folder()).display().to_string();
    let files = files_of(run.folder.folder());
    let files: Vec<RunFile<'_>> = files
        .iter()
        .map(|(path, size_bytes)| RunFile {
            path,
            size_bytes: *size_bytes,
        })
        .collect();
    let model = Model::new(&ReportInput {
        meta: &run.meta,
        plan: &run.plan,
        faults: &run.faults,
        history: &run.history,
        views: &run.views,
        verdict,
        logs: &logs,
        folder: &folder,
        files: &files,
    });
    use_it(&model)
}

/// Writes page, summary and JUnit file. What fails is said and changes nothing else.
pub fn write_reports(run: &LoadedRun, model: &Model) {
    let said = |what: &str, error: &dyn std::error::Error| {
        terminal::say(&format!(
            "harness: {what} was not written: {}",
            chain(error)
        ));
    };
    if let Err(error) = run
        .folder
        .write("summary.md", summary::render(model).as_bytes())
    {
        said("summary.md", &error);
    }
    match junit::render(model) {
        Ok(text) => {
            if let Err(error) = run.folder.write("junit.xml", text.as_bytes()) {
                said("junit.xml", &error);
            }
        }
        Err(error) => said("junit.xml", &error),
    }
    match html::render(model) {
        Ok(page) => {
            if let Err(error) = run.folder.write("report.html", page.as_bytes()) {
                said("report.html", &error);
            }
        }
        Err(error) => said("report.html", &error),
    }
}

/// Prints what a run found, for people or as JSON.
pub fn print_results(model: &Model, as_json: bool) {
    if as_json {
        match serde_json::to_string(&RunSummary::new(model)) {
            Ok(text) => terminal::print(&text),
            Err(error) => terminal::say(&format!("harness: results are no JSON: {error}")),
        }
        return;
    }
    terminal::print(&lines::render(
        model,
        lines::Style {
            colour: terminal::on_stdout(),
            width: terminal::stdout_columns().unwrap_or(PIPE_WIDTH),
        },
    ));
}

/// The exit code of a judged run.
pub fn exit(meta: &Meta, verdict: &VerdictFile) -> Exit {
    let mut exit = Exit::from(verdict.verdict);
    if meta.lab_dirty {
        exit = exit.worst(Exit::LabDirty);
    }
    if meta.interrupted {
        exit = exit.worst(Exit::Interrupted);
    }
    if !meta.harness_failures.is_empty() {
        exit = exit.worst(Exit::HarnessFailure);
    }
    exit
}
