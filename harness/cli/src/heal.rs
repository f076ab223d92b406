//! `harness lab heal`: undoes what faults left, from the ledger of a harness that was killed.
//!
//! It needs nothing but the ledger and the nodes, can be repeated, and removes our partition table everywhere even where
//! no ledger speaks of it.

use std::{path::Path, sync::Arc};

use harness_core::{exit::Exit, fault};
use harness_lab::{
    lab::Lab,
    state::{RunLock, State},
};
use harness_nemesis::exec::{
    Clock, HealReport, Ledger, SystemClock, heal_everything, heal_ledger, purge,
};
use harness_run::ledger::LedgerWriter;

use crate::{
    commands::lab_failure,
    failure::{Failure, chain},
    terminal,
};

/// How the names of a sweep's ledgers in the state folder begin.
const CELL_LEDGER: &str = "ledger-cell-";

/// Heals the lab that is up: from the active ledger, or from that of a run.
pub async fn heal(
    state: &State,
    _lock: &RunLock,
    run: Option<&Path>,
    with_agent: bool,
) -> Result<Exit, Failure> {
    let lab = Lab::load(state).map_err(|error| lab_failure(&error))?;
    let ledger = match run {
        Some(run) => Some(run.join("ledger.jsonl")),
        None => state
            .active_ledger()
            .map_err(|error| Failure::harness(chain(&error)))?,
    };
    let mut exit = Exit::Valid;
    if let Some(path) = &ledger {
        let report = replay(path, &lab).await?;
        exit = exit.worst(tell(&report));
    } else {
        terminal::say("no ledger has open faults");
    }
    exit = exit.worst(heal_cells(state, &lab).await?);
    let report = heal_everything(&lab.nodes).await;
    exit = exit.worst(tell(&report));
    // Of a lab that is dirty the guards may still be needed.
    if with_agent && exit == Exit::Valid {
        exit = exit.worst(tell(&purge(&lab.nodes).await));
    }
    lab.close().await;
    if exit == Exit::Valid {
        state
            .set_active_ledger(None)
            .map_err(|error| Failure::harness(chain(&error)))?;
        terminal::say("healed: nothing of any fault is left");
    }
    Ok(exit)
}

/// The active ledger of one cluster of a sweep, in the state folder.
pub fn cell_ledger(number: usize) -> String {
    format!("{CELL_LEDGER}{number}.jsonl")
}

/// The ledgers that clusters of a sweep left in the state folder.
fn cell_ledgers(state: &State) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(state.root())
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.starts_with(CELL_LEDGER) && name.ends_with(".jsonl"))
        })
        .collect();
    found.sort();
    found
}

/// Replays those ledgers, and removes each that has nothing open any more.
async fn heal_cells(state: &State, lab: &Lab) -> Result<Exit, Failure> {
    let mut exit = Exit::Valid;
    for path in cell_ledgers(state) {
        let done = tell(&replay(&path, lab).await?);
        exit = exit.worst(done);
        if done == Exit::Valid {
            std::fs::remove_file(&path).map_err(|error| {
                Failure::because(&format!("{} cannot be removed", path.display()), &error)
            })?;
        }
    }
    Ok(exit)
}

/// Undoes what a sweep left that was killed, so that the next one can begin.
pub async fn before_sweep(state: &State, lab: &Lab) -> Result<(), Failure> {
    if let Some(fault) = crate::commands::open_faults(state).first() {
        return Err(Failure::usage(format!(
            "an earlier run left a fault that is not healed ({}); harness lab heal",
            fault.label
        )));
    }
    let exit = heal_cells(state, lab).await?;
    let exit = exit.worst(tell(&heal_everything(&lab.nodes).await));
    match exit {
        Exit::Valid => Ok(()),
        _ => Err(Failure::usage(
            "an earlier sweep left faults that cannot be healed; harness lab heal, or lab down",
        )),
    }
}

async fn replay(path: &Path, lab: &Lab) -> Result<HealReport, Failure> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        // The run that it belonged to was removed before it had a fault.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(HealReport::default());
        }
        Err(error) => return Err(Failure::usage(format!("{}: {error}", path.display()))),
    };
    let lines = fault::decode(&bytes)
        .map_err(|error| Failure::usage(format!("{}: {}", path.display(), chain(&error))))?;
    let writer = LedgerWriter::resume(path).map_err(|error| Failure::harness(chain(&error)))?;
    let ledger: Arc<dyn Ledger> = Arc::new(writer);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::since(std::time::Instant::now()));
    Ok(heal_ledger(&lines, &lab.nodes, &ledger, &clock).await)
}

/// Says what was done, and what could not be.
fn tell(report: &HealReport) -> Exit {
    for fault in &report.faults {
        let word = if fault.healed { "healed" } else { "NOT healed" };
        terminal::say(&format!("{word}: fault {}, {}", fault.fault, fault.label));
    }
    for node in &report.nodes {
        for done in &node.done {
            terminal::say(&format!("{}: {done}", node.node));
        }
        for trouble in &node.troubles {
            terminal::say(&format!("{}: {trouble}", node.node));
        }
    }
    for problem in &report.problems {
        terminal::say(&format!("harness: {problem}"));
    }
    if !report.problems.is_empty() {
        Exit::HarnessFailure
    } else if report.is_clean() {
        Exit::Valid
    } else {
        Exit::LabDirty
    }
}
