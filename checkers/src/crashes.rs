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
use serde_json::json;

use crate::words;

/// The checker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crashes;

/// Signals that a program brings upon itself, on Linux.
const OWN_SIGNALS: [(i32, &str, &str); 7] = [
    (11, "SIGSEGV", "it touched memory that is not its own"),
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
        let mut found: Vec<(String, &'static str, String, u64)> = Vec::new();
        let mut result = CheckResult::new(self.name(), Verdict::Valid, "");
        let mut exits = 0;
        for node in &meta.nodes {
            exits += node.exits.len();
            for exit in &node.exits {
                let at = exit.wall_ns.saturating_sub(meta.started_wall_ns);
                if let Some((kind, text)) = crash(&node.name, exit) {
                    found.push((node.name.clone(), kind, text, at));
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
                found.push((node.name.clone(), "core-dump", text, 0));
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
        (result.verdict, result.summary) = if let Some((_, _, text, _)) = found.first() {
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
        let (crashes, cores) = (
            found
                .iter()
                .filter(|(_, kind, ..)| *kind != "core-dump")
                .count(),
            found
                .iter()
                .filter(|(_, kind, ..)| *kind == "core-dump")
                .count(),
        );
        for (node, kind, text, at_ns) in found {
            result
                .notes
                .push(words::note(kind, Severity::Error, text.clone()));
            let title = if kind == "core-dump" {
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
                start_ns: at_ns,
                end_ns: at_ns,
                explanation: None,
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
