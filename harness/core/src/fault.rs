//! Faults as done: the lines of `ledger.jsonl`, and the records that they fold to.
//!
//! Laws:
//! - the line with a fault's heal is on disk (fsync) before the fault is injected;
//! - heals are commands for one node each, idempotent, and need nothing but the node: whoever
//!   has the ledger can heal, also after the controller was killed;
//! - a fault that was never observed to take effect earns no coverage, nor one that a node healed by itself.
//!
//! Lines:
//!
//! ```json
//! {"format_version":1}
//! {"fault":1,"time_ns":12000000000,"wall_ns":1795320000000000000,"step":"intend","kind":"partition","label":"partition leader: n2 | n1 n3 n4 n5","nodes":["n2"],"heals":[{"node":"n2","script":"…"}]}
//! {"fault":1,"time_ns":12004000000,"wall_ns":1795320000004000000,"step":"observed","evidence":[{"node":"n2","text":"7 packets dropped"}]}
//! ```

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The version of `ledger.jsonl`.
pub const FORMAT_VERSION: u32 = 1;

/// How the reason begins of a fault that was not injected because what it waited for never happened. It is written once for a lane
/// that did nothing.
pub const NEVER_FIRED: &str = "its trigger never fired";

/// Undoes a fault on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heal {
    /// The node's name.
    pub node: String,
    /// A script for `/bin/sh -c` on the node, idempotent.
    pub script: String,
}

/// What was seen of a fault or of its healing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where it was seen.
    pub node: String,
    /// One fragment for people: `process 812 gone after SIGKILL`, `7 packets dropped`.
    pub text: String,
}

/// What set a fault off, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Triggered {
    /// For people: `join of n4 invoked (event 812)`, `cluster.Join entered, 1st time, pid 812 on n4`.
    pub what: String,
    /// When that happened, nanoseconds since the run began.
    pub fired_ns: u64,
    /// When the fault was to strike: later than that by the delay that was asked for.
    pub due_ns: u64,
    /// Both are this exact, nanoseconds, where a node's clock told them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_ns: Option<u64>,
}

/// What happened to a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// It is about to be injected; these scripts undo it.
    Intend {
        /// Its kind, as on the command line: `partition`, `kill`.
        kind: String,
        /// A line for people, with the nodes: `partition leader: n2 | n1 n3 n4 n5`.
        label: String,
        /// The nodes that it strikes.
        nodes: Vec<String>,
        /// Its number in `plan.json`, if it was planned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        planned: Option<u32>,
        /// How to undo it.
        heals: Vec<Heal>,
    },
    /// What it waited for has happened.
    Triggered(Triggered),
    /// The nodes were told.
    Asked,
    /// It was seen to hold.
    Observed {
        /// What was seen.
        evidence: Vec<Evidence>,
    },
    /// It could not be injected, or was not seen to hold.
    NotObserved {
        /// Why.
        reason: String,
    },
    /// The nodes were told to undo it.
    HealAsked,
    /// It was seen to be undone.
    Healed {
        /// What was seen.
        evidence: Vec<Evidence>,
    },
    /// Undoing failed; the lab is dirty until another heal succeeds.
    HealFailed {
        /// Why.
        reason: String,
    },
    /// A node undid it by itself, because it had not heard from the controller.
    SelfHealed {
        /// What was seen.
        evidence: Vec<Evidence>,
    },
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// The fault's number in this run, from 1.
    pub fault: u32,
    /// Nanoseconds since the run began; 0 if written by `lab heal`.
    pub time_ns: u64,
    /// Nanoseconds since 1970 on the controller's wall clock.
    pub wall_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub step: Step,
}

/// A fault with all that happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// Its number in this run, from 1.
    pub id: u32,
    /// Its kind.
    pub kind: String,
    /// A line for people.
    pub label: String,
    /// The nodes that it strikes.
    pub nodes: Vec<String>,
    /// Its number in the plan.
    pub planned: Option<u32>,
    /// How to undo it.
    pub heals: Vec<Heal>,
    /// What set it off, if it waited for something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggered: Option<Triggered>,
    /// When its heal was journalled.
    pub intended_ns: u64,
    /// When the nodes were told.
    pub asked_ns: Option<u64>,
    /// When it was seen to hold.
    pub observed_ns: Option<u64>,
    /// When the nodes were told to undo it.
    pub heal_asked_ns: Option<u64>,
    /// When it was seen to be undone.
    pub healed_ns: Option<u64>,
    /// Whether a node undid it by itself.
    pub self_healed: bool,
    /// What was seen of it, and of its healing.
    pub evidence: Vec<Evidence>,
    /// What went wrong with it.
    pub problems: Vec<String>,
}

impl FaultRecord {
    /// How long after it was to strike it was seen to hold, nanoseconds; only of one that waited for something.
    #[must_use]
    pub fn late_ns(&self) -> Option<u64> {
        Some(
            self.observed_ns?
                .saturating_sub(self.triggered.as_ref()?.due_ns),
        )
    }

    /// Whether it counts: seen to hold, and not undone by the node alone.
    #[must_use]
    pub fn took_hold(&self) -> bool {
        self.observed_ns.is_some() && !self.self_healed
    }

    /// Whether what it waited for never happened, so that its lane did nothing.
    #[must_use]
    pub fn never_fired(&self) -> bool {
        let problems = self.problems.iter();
        self.observed_ns.is_none()
            && problems
                .into_iter()
                .any(|problem| problem.starts_with(NEVER_FIRED))
    }

    /// Whether somebody must still undo it, or see that it is undone: one node that undid it speaks for no other. One that struck
    /// nobody, because what it waited for never came, has nothing to undo.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let means_somebody = !self.nodes.is_empty() || !self.heals.is_empty();
        means_somebody && self.healed_ns.is_none()
    }
}

/// Why bytes are not a ledger.
#[derive(Debug, Error)]
#[error("line {line}: not a ledger line: {detail}")]
pub struct LedgerError {
    /// From 1.
    pub line: usize,
    /// What the parser said.
    pub detail: String,
}

/// Reads a ledger. A torn last line is dropped: its step was never acted upon, because steps are fsynced first.
pub fn decode(bytes: &[u8]) -> Result<Vec<LedgerLine>, LedgerError> {
    let mut lines = Vec::new();
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if number == 0 || line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(parsed) => lines.push(parsed),
            Err(_) if line.last() != Some(&b'\n') => {}
            Err(error) => {
                return Err(LedgerError {
                    line: number + 1,
                    detail: error.to_string(),
                });
            }
        }
    }
    Ok(lines)
}

/// Folds lines to one record a fault, by number.
#[must_use]
pub fn fold(lines: &[LedgerLine]) -> Vec<FaultRecord> {
    let mut records: Vec<FaultRecord> = Vec::new();
    for line in lines {
        if let Step::Intend {
            kind,
            label,
            nodes,
            planned,
            heals,
        } = &line.step
        {
            records.push(FaultRecord {
                id: line.fault,
                kind: kind.clone(),
                label: label.clone(),
                nodes: nodes.clone(),
                planned: *planned,
                heals: heals.clone(),
                triggered: None,
                intended_ns: line.time_ns,
                asked_ns: None,
                observed_ns: None,
                heal_asked_ns: None,
                healed_ns: None,
                self_healed: false,
                evidence: Vec::new(),
                problems: Vec::new(),
            });
            continue;
        }
        let Some(record) = records
            .iter_mut()
            .rev()
            .find(|record| record.id == line.fault)
        else {
            continue;
        };
        match &line.step {
            Step::Intend { .. } => {}
            Step::Triggered(triggered) => record.triggered = Some(triggered.clone()),
            Step::Asked => record.asked_ns = Some(line.time_ns),
            Step::Observed { evidence } => {
                record.observed_ns = Some(line.time_ns);
                record.evidence.extend(evidence.iter().cloned());
            }
            Step::NotObserved { reason } | Step::HealFailed { reason } => {
                record.problems.push(reason.clone());
            }
            Step::HealAsked => record.heal_asked_ns = Some(line.time_ns),
            Step::Healed { evidence } => {
                record.healed_ns = Some(line.time_ns);
                record.evidence.extend(evidence.iter().cloned());
            }
            Step::SelfHealed { evidence } => {
                record.self_healed = true;
                record.evidence.extend(evidence.iter().cloned());
            }
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: Step) -> LedgerLine {
        LedgerLine {
            fault: 1,
            time_ns: 5,
            wall_ns: 7,
            step,
        }
    }

    fn intended(heals: Vec<Heal>) -> LedgerLine {
        line(Step::Intend {
            kind: "kill".to_owned(),
            label: "kill n1".to_owned(),
            nodes: heals.iter().map(|heal| heal.node.clone()).collect(),
            planned: Some(1),
            heals,
        })
    }

    #[test]
    fn what_struck_nobody_is_not_open_and_what_may_have_struck_is() {
        let heal = Heal {
            node: "n1".to_owned(),
            script: "start".to_owned(),
        };
        let why = || {
            line(Step::NotObserved {
                reason: "its trigger never fired".to_owned(),
            })
        };
        let healed = line(Step::Healed {
            evidence: Vec::new(),
        });
        for (lines, open) in [
            (vec![intended(Vec::new()), why()], false),
            (vec![intended(vec![heal.clone()])], true),
            (vec![intended(vec![heal.clone()]), why()], true),
            (vec![intended(vec![heal]), why(), healed], false),
        ] {
            assert_eq!(fold(&lines)[0].is_open(), open, "{lines:?}");
        }
    }

    #[test]
    fn what_one_node_healed_by_itself_counts_for_nothing_and_stays_open_until_it_is_seen_healed() {
        let line = |step| LedgerLine {
            fault: 1,
            time_ns: 5,
            wall_ns: 5,
            step,
        };
        let evidence = || {
            vec![Evidence {
                node: "n1".to_owned(),
                text: "healed itself".to_owned(),
            }]
        };
        let intend = Step::Intend {
            kind: "partition".to_owned(),
            label: "partition: n1 | n2".to_owned(),
            nodes: vec!["n1".to_owned()],
            planned: None,
            heals: vec![Heal {
                node: "n1".to_owned(),
                script: "nft delete table".to_owned(),
            }],
        };
        let observed = Step::Observed {
            evidence: Vec::new(),
        };
        let alone = Step::SelfHealed {
            evidence: evidence(),
        };
        let healed = Step::Healed {
            evidence: Vec::new(),
        };
        let lines: Vec<LedgerLine> = [intend, observed, alone, healed].map(line).into();
        for (steps, took_hold, is_open) in [(2, true, true), (3, false, true), (4, false, false)] {
            let record = fold(&lines[..steps]).remove(0);
            assert_eq!(
                (record.took_hold(), record.is_open()),
                (took_hold, is_open),
                "{steps} steps"
            );
        }
    }
}
