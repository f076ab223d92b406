//! What `--json` prints: the terminal's lines as one value, for scripts.
//!
//! Shape (`format_version` 1):
//!
//! ```json
//! {"format_version":1,"verdict":"invalid","simulated":false,"run":"20261122T041411Z-7f3a","system":"dqlite 1.16.0",
//!  "workload":"register","nemesis":"partition","nodes":5,"seed":"0x5eed42","folder":"results/runs/latest",
//!  "report":"results/runs/latest/report.html","operations":{"ok":8412,"fail":31,"info":7},
//!  "faults":{"total":3,"observed":3,"healed":3},"checkers":[{"name":"linearizable","verdict":"invalid","summary":"…","witnesses":["#witness-1-stale-read"]}],
//!  "what_happened":["A read went back in time. …"],"alarms":[],"commands":{"repeat":"harness run …"}}
//! ```

use std::collections::BTreeMap;

use harness_core::verdict::Verdict;
use serde::{Deserialize, Serialize};

use crate::model::Model;

/// The version of [`RunSummary`].
pub const FORMAT_VERSION: u32 = 1;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// All results merged.
    pub verdict: Verdict,
    /// No real node ran.
    pub simulated: bool,
    /// The run's identity.
    pub run: String,
    /// System and version.
    pub system: String,
    /// The workload.
    pub workload: String,
    /// The nemeses.
    pub nemesis: String,
    /// Number of nodes.
    pub nodes: usize,
    /// In hexadecimal, as on the command line.
    pub seed: String,
    /// The run's folder.
    pub folder: String,
    /// The page.
    pub report: String,
    /// Operations by outcome.
    pub operations: Operations,
    /// Faults.
    pub faults: Faults,
    /// What each checker found, the worst first.
    pub checkers: Vec<CheckerSummary>,
    /// Sentences, the worst first.
    pub what_happened: Vec<String>,
    /// What must be said first: simulation, interruption, dirty lab, failures of the harness.
    pub alarms: Vec<String>,
    /// Command lines by what they are for: `repeat`, `check`, `heal`.
    pub commands: BTreeMap<String, String>,
}

/// Numbers of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// They took effect.
    pub ok: u64,
    /// They did not.
    pub fail: u64,
    /// Nobody knows.
    pub info: u64,
}

/// Numbers of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Planned or done.
    pub total: u64,
    /// Observed to hold.
    pub observed: u64,
    /// Observed healed.
    pub healed: u64,
}

/// One checker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckerSummary {
    /// Its name.
    pub name: String,
    /// What it says.
    pub verdict: Verdict,
    /// One line.
    pub summary: String,
    /// Anchors of its witnesses in the page.
    pub witnesses: Vec<String>,
}

impl RunSummary {
    /// The values of a model.
    #[must_use]
    pub fn new(model: &Model) -> Self {
        let headline = &model.headline;
        Self {
            format_version: FORMAT_VERSION,
            verdict: model.verdict,
            simulated: model.simulated,
            run: headline.id.clone(),
            system: headline.system.clone(),
            workload: headline.workload.clone(),
            nemesis: headline.nemesis.clone(),
            nodes: model.nodes.len(),
            seed: headline.seed.clone(),
            folder: headline.folder.clone(),
            report: format!("{}/report.html", headline.folder.trim_end_matches('/')),
            operations: Operations {
                ok: model.tally.counts.ok,
                fail: model.tally.counts.fail,
                info: model.tally.counts.info,
            },
            faults: Faults {
                total: model.faults.total,
                observed: model.faults.observed,
                healed: model.faults.healed,
            },
            checkers: model
                .checks
                .iter()
                .map(|check| CheckerSummary {
                    name: check.name.clone(),
                    verdict: check.verdict,
                    summary: check.summary.clone(),
                    witnesses: check
                        .witnesses
                        .iter()
                        .map(|witness| format!("#{}", witness.anchor))
                        .collect(),
                })
                .collect(),
            what_happened: model
                .sentences
                .iter()
                .map(|sentence| format!("{} {}", sentence.lead, sentence.text))
                .collect(),
            alarms: model
                .alarms
                .iter()
                .map(|alarm| format!("{} {}", alarm.word, alarm.text))
                .collect(),
            commands: model
                .commands
                .iter()
                .map(|command| (command.verb.to_owned(), command.line.clone()))
                .collect(),
        }
    }
}
