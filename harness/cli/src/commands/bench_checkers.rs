//! `harness bench checkers`: time and memory of the checkers of transactions, on histories made by `harness generate`.
//!
//! Each row is measured in a process of its own, so that its largest resident memory (VmHWM) is its own, the file's pages included.
//! Numbers are this machine's; a test never asserts them.

use std::{path::Path, path::PathBuf, process::Command, time::Duration, time::Instant};

use harness_checkers::{
    generate::{Parameters, Workload},
    registry,
};
use harness_core::{exit::Exit, format::Format};
use harness_run::{
    bench::vm_hwm_bytes,
    check::{Limits, judge_within},
    map::Mapped,
};
use serde_json::{Value, json};

use super::convert::write_generated;
use crate::{
    failure::{Failure, chain},
    terminal,
};

/// No checker of a bench may take longer than this.
const CHECK_LIMIT: Duration = Duration::from_secs(600);

/// One line of the table.
struct Row {
    name: &'static str,
    checker: &'static str,
    model: &'static str,
    file: &'static str,
}

const fn row(
    name: &'static str,
    checker: &'static str,
    model: &'static str,
    file: &'static str,
) -> Row {
    Row {
        name,
        checker,
        model,
        file,
    }
}

/// Histories of lists: 20 processes, 1 to 4 micro-operations, half of them reads, 10 keys in use at once, 32 appends a key.
const LISTS: &str = "lists.edn";
/// The same as our JSON lines.
const LISTS_JSONL: &str = "lists.jsonl";
/// Histories of registers: 50 sessions, 8 operations a transaction, half of them reads, 1,000 keys, values of their own.
const REGISTERS: &str = "registers.plume";

static ROWS: [Row; 6] = [
    row("list-append", "list-append", "strict-serializable", LISTS),
    row(
        "list-append-jsonl",
        "list-append",
        "strict-serializable",
        LISTS_JSONL,
    ),
    row(
        "list-append-serializable",
        "list-append",
        "serializable",
        LISTS,
    ),
    row(
        "read-committed",
        "weak-isolation",
        "read-committed",
        REGISTERS,
    ),
    row("read-atomic", "weak-isolation", "read-atomic", REGISTERS),
    row("causal", "weak-isolation", "causal", REGISTERS),
];

fn chosen(names: &[String]) -> Result<Vec<&'static Row>, Failure> {
    let found: Vec<&Row> = ROWS
        .iter()
        .filter(|row| names.is_empty() || names.iter().any(|name| name == row.name))
        .collect();
    match names
        .iter()
        .find(|name| !ROWS.iter().any(|row| row.name == **name))
    {
        None => Ok(found),
        Some(name) => Err(Failure::usage(format!(
            "row: there is no {name:?}; there are {}",
            ROWS.iter()
                .map(|row| row.name)
                .collect::<Vec<_>>()
                .join(", ")
        ))),
    }
}

/// The parameters of a history.
fn parameters(file: &str, transactions: u64) -> Parameters {
    if file == REGISTERS {
        return Parameters {
            processes: 50,
            keys: 1_000,
            info: 0.0,
            fail: 0.0,
            transaction_min: 8,
            transaction_max: 8,
            ..Parameters::new(Workload::RwRegister, transactions)
        };
    }
    Parameters {
        processes: 20,
        info: 0.0,
        fail: 0.0,
        ..Parameters::new(Workload::ListAppend, transactions)
    }
}

fn format_of(file: &str) -> Format {
    match file {
        LISTS => Format::Edn,
        REGISTERS => Format::Plume,
        _ => Format::Ours,
    }
}

/// Makes the histories and measures all rows.
pub fn all(
    transactions: u64,
    names: &[String],
    folder: Option<PathBuf>,
    as_json: bool,
) -> Result<Exit, Failure> {
    let own =
        tempfile::tempdir().map_err(|error| Failure::because("no temporary folder", &error))?;
    let folder = folder.unwrap_or_else(|| own.path().to_owned());
    let program = std::env::current_exe()
        .map_err(|error| Failure::because("this program cannot be found", &error))?;
    let mut told = Vec::new();
    for row in chosen(names)? {
        let path = folder.join(format!("{transactions}-{}", row.file));
        if !path.exists() {
            let parameters = parameters(row.file, transactions);
            let (_, written) = write_generated(&parameters, format_of(row.file), Some(&path))?;
            written.map_err(|error| Failure::because("the history cannot be written", &error))?;
        }
        let output = Command::new(&program)
            .args(["bench", "checkers", "--row", row.name, "--measure"])
            .arg(&path)
            .output()
            .map_err(|error| Failure::because("a row could not be measured", &error))?;
        let figures: Value = serde_json::from_slice(&output.stdout).map_err(|_| {
            Failure::harness(format!(
                "row {} ended with {}: {}",
                row.name,
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            ))
        })?;
        if !as_json {
            let number = |name: &str| figures[name].as_f64().unwrap_or(0.0);
            terminal::print(&format!(
                "{:<26} {transactions} transactions, {:.0} MB: read in {:.2} s, judged in {:.2} s, {:.0} MB: {}",
                row.name,
                number("file_bytes") / 1e6,
                number("read_s"),
                number("check_s"),
                number("vm_hwm_bytes") / 1e6,
                figures["summary"].as_str().unwrap_or_default(),
            ));
        }
        told.push(figures);
    }
    if as_json {
        terminal::print(&Value::from(told).to_string());
    }
    Ok(Exit::Valid)
}

/// Measures one row in this process, and prints figures as JSON.
pub fn measure(path: &Path, names: &[String]) -> Result<Exit, Failure> {
    let rows = chosen(names)?;
    let [row] = rows[..] else {
        return Err(Failure::usage("measure: name one --row"));
    };
    let options = json!({ "model": row.model });
    let checker = registry::of_bytes(row.checker, &options)
        .map_err(|error| Failure::harness(chain(&error)))?
        .ok_or_else(|| Failure::harness(format!("{} reads no files by itself", row.checker)))?;
    let name = path.display();
    let bytes = Mapped::open(path).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let began = Instant::now();
    let (columns, _) = checker
        .read(&bytes, format_of(row.file), &mut |until| {
            bytes.release(until);
        })
        .map_err(|error| Failure::usage(format!("{name}: {}", chain(&error))))?;
    let read_s = began.elapsed().as_secs_f64();
    let limits = Limits {
        time: CHECK_LIMIT,
        memory_bytes: u64::MAX,
    };
    let began = Instant::now();
    let result = judge_within(checker.name(), limits, |budget| {
        checker.judge(columns, budget)
    });
    terminal::print(
        &json!({
            "row": row.name,
            "checker": row.checker,
            "model": row.model,
            "read_s": read_s,
            "check_s": began.elapsed().as_secs_f64(),
            "vm_hwm_bytes": vm_hwm_bytes(),
            "file_bytes": bytes.len(),
            "verdict": result.verdict,
            "summary": result.summary,
        })
        .to_string(),
    );
    Ok(Exit::Valid)
}
