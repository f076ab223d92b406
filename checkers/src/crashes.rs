//! Did a process of the system die by itself?
//!
//! What proves a crash, strongest first:
//! - a process that we did not end was ended by a signal of its own making (SIGSEGV, SIGABRT, …): **invalid**. The exit
//!   status proves it, core dump or not;
//! - it exited with another code than 0, or by any other signal: **invalid**, because nobody asked it to (an OOM kill is the
//!   machine's doing: the note says that SIGKILL without a fault may be one);
//! - it exited with code 0, and nobody asked: a **warning**. A daemon that leaves politely is no crash; availability and
//!   the data checkers judge what it costs;
//! - a core dump was found: **invalid**, even of a process whose exit we expected, since a SIGKILL or SIGTERM leaves none.
//!
//! Core dumps go where the machine's `core_pattern` says, which is never ours to set. Helpers of the system that are not
//! our children show up only there. So where cores would be lost, and nothing else was found, the verdict is `unknown` with
//! the reason: not seeing a core then proves nothing.

use harness_core::{
    meta::{NodeMeta, ProcessExit},
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict, Witness},
};
use serde::Deserialize;
use serde_json::json;

use crate::words;

/// What the checker is told besides the run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// What readers must know of this system where a process died of SIGSEGV; said there and nowhere else.
    pub explanation_for_sigsegv: Option<String>,
}

/// The checker.
#[derive(Clone, Debug, Default)]
pub struct Crashes {
    options: Options,
}

impl Crashes {
    /// With these options.
    #[must_use]
    pub const fn new(options: Options) -> Self {
        Self { options }
    }
}

/// What speaks of a crash.
struct Found {
    node: String,
    kind: &'static str,
    text: String,
    at_ns: u64,
    signal: Option<i32>,
}

const SIGSEGV: i32 = 11;
/// The kind of what lies on a node.
const CORE_DUMP: &str = "core-dump";

/// Signals that a program brings upon itself, on Linux.
const OWN_SIGNALS: [(i32, &str, &str); 7] = [
    (SIGSEGV, "SIGSEGV", "it touched memory that is not its own"),
    (6, "SIGABRT", "it gave up: a failed assertion, or abort()"),
    (
        7,
        "SIGBUS",
        "it touched memory whose file is gone or shorter",
    ),
    (4, "SIGILL", "it ran into an illegal instruction"),
    (8, "SIGFPE", "it divided by zero or the like"),
    (5, "SIGTRAP", "it ran into a trap"),
    (31, "SIGSYS", "it made a forbidden system call"),
];

fn signal_name(signal: i32) -> String {
    match signal {
        1 => "SIGHUP".to_owned(),
        2 => "SIGINT".to_owned(),
        9 => "SIGKILL".to_owned(),
        13 => "SIGPIPE".to_owned(),
        15 => "SIGTERM".to_owned(),
        other => OWN_SIGNALS
            .iter()
            .find(|(number, ..)| *number == other)
            .map_or_else(
                || format!("signal {other}"),
                |(_, name, _)| (*name).to_owned(),
            ),
    }
}

/// A crash, as kind and sentence; None for an exit that is none.
fn crash(node: &str, exit: &ProcessExit) -> Option<(&'static str, String)> {
    let dumped = if exit.core { ", and dumped core" } else { "" };
    let own = exit
        .signal
        .and_then(|signal| OWN_SIGNALS.iter().find(|(number, ..)| *number == signal));
    if let Some((_, name, meaning)) = own {
        if exit.expected && !exit.core {
            return None;
        }
        return Some((
            "crash",
            format!(
                "Process {} on {node} died of {name}: {meaning}{dumped}.",
                exit.pid
            ),
        ));
    }
    if exit.expected {
        return exit.core.then(|| {
            (
                "crash",
                format!(
                    "Process {} on {node} dumped core while it was being stopped.",
                    exit.pid
                ),
            )
        });
    }
    match (exit.signal, exit.code) {
        (Some(9), _) => Some((
            "killed",
            format!(
                "Process {} on {node} was killed by SIGKILL, and no fault did it; the kernel's out-of-memory killer may have.",
                exit.pid
            ),
        )),
        (Some(signal), _) => Some((
            "exit",
            format!(
                "Process {} on {node} ended by {}, and no fault did it.",
                exit.pid,
                signal_name(signal)
            ),
        )),
        (None, Some(0)) => None,
        (None, Some(code)) => Some((
            "exit",
            format!(
                "Process {} on {node} exited by itself with code {code}.",
                exit.pid
            ),
        )),
        (None, None) => Some((
            "exit",
            format!(
                "Process {} on {node} is gone, and nobody knows how it ended.",
                exit.pid
            ),
        )),
    }
}

impl Checker for Crashes {
    fn name(&self) -> &'static str {
        "crashes"
    }

    fn check(&self, input: &CheckInput<'_>, _budget: &dyn Budget) -> CheckResult {
        let meta = input.meta;
        let mut found: Vec<Found> = Vec::new();
        let mut result = CheckResult::new(self.name(), Verdict::Valid, "");
        let mut exits = 0;
        for node in &meta.nodes {
            exits += node.exits.len();
            for exit in &node.exits {
                if let Some((kind, text)) = crash(&node.name, exit) {
                    found.push(Found {
                        node: node.name.clone(),
                        kind,
                        text,
                        at_ns: exit.wall_ns.saturating_sub(meta.started_wall_ns),
                        signal: exit.signal,
                    });
                } else if !exit.expected {
                    result.notes.push(words::note(
                        "left",
                        Severity::Warning,
                        format!(
                            "process {} on {} exited by itself with code 0, and nobody had asked",
                            exit.pid, node.name
                        ),
                    ));
                }
            }
            for path in &node.core_dumps {
                let text = format!(
                    "A core dump lies on {}: {}.",
                    node.name,
                    words::excerpt(path.as_bytes())
                );
                found.push(Found {
                    node: node.name.clone(),
                    kind: CORE_DUMP,
                    text,
                    at_ns: 0,
                    signal: None,
                });
            }
        }
        let blind: Vec<&NodeMeta> = meta
            .nodes
            .iter()
            .filter(|node| node.cores_visible != Some(true))
            .collect();
        for node in &blind {
            let why = match (node.cores_visible, node.cores_reason.as_str()) {
                (_, reason) if !reason.is_empty() => words::excerpt(reason.as_bytes()),
                (Some(_), _) => "no reason was recorded".to_owned(),
                (None, _) => "nobody looked".to_owned(),
            };
            let severity = if found.is_empty() {
                Severity::Error
            } else {
                Severity::Warning
            };
            result.notes.push(words::note(
                "cores-lost",
                severity,
                format!("a core dump on {} would have been lost: {why}", node.name),
            ));
        }
        (result.verdict, result.summary) = if let Some(Found { text, .. }) = found.first() {
            let more = if found.len() > 1 {
                format!(" (and {} more)", found.len() - 1)
            } else {
                String::new()
            };
            (
                Verdict::Invalid,
                format!("{}{more}", text.trim_end_matches('.')),
            )
        } else if meta.nodes.is_empty() {
            (Verdict::Unknown, "no node is recorded".to_owned())
        } else if !blind.is_empty() {
            let names: Vec<&str> = blind.iter().map(|node| node.name.as_str()).collect();
            (
                Verdict::Unknown,
                format!(
                    "no process died unasked, but core dumps would have been lost on {}",
                    names.join(", ")
                ),
            )
        } else {
            (
                Verdict::Valid,
                format!(
                    "no process died unasked on {}, no core dumps",
                    words::plural(meta.nodes.len(), "node", "nodes")
                ),
            )
        };
        let cores = found.iter().filter(|found| found.kind == CORE_DUMP).count();
        let crashes = found.len() - cores;
        for found in found {
            let Found {
                node, kind, text, ..
            } = found;
            result
                .notes
                .push(words::note(kind, Severity::Error, text.clone()));
            let title = if kind == CORE_DUMP {
                format!("{node} left a core dump.")
            } else {
                format!("A process on {node} died by itself.")
            };
            result.witnesses.push(Witness {
                kind: kind.to_owned(),
                title,
                story: text,
                operations: Vec::new(),
                culprits: Vec::new(),
                edges: Vec::new(),
                nodes: vec![node],
                start_ns: found.at_ns,
                end_ns: found.at_ns,
                explanation: (found.signal == Some(SIGSEGV))
                    .then(|| self.options.explanation_for_sigsegv.clone())
                    .flatten(),
            });
        }
        result.looked_at = exits as u64;
        for (name, value) in [
            ("exit_count", json!(exits)),
            ("crash_count", json!(crashes)),
            ("core_dump_count", json!(cores)),
            ("nodes_where_cores_are_lost", json!(blind.len())),
        ] {
            result.figures.insert(name.to_owned(), value);
        }
        words::finish(result)
    }
}
