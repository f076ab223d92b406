//! The nodes: versions, clocks, how processes ended, core dumps, and log excerpts.

use harness_core::meta::{NodeMeta, ProcessExit};

use super::{
    ReportInput,
    check::Check,
    fault::Faults,
    log::{self, Clock, Excerpt, Moment},
};
use crate::{
    number,
    text::{self, Anchors},
};

/// Exits that are shown of one node.
const EXIT_LIMIT: usize = 40;
/// Log files that are shown of one node.
const LOG_LIMIT: usize = 6;
/// Moments that lines are looked for around.
const MOMENT_LIMIT: usize = 60;

/// How a process of the system ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitRow {
    /// When, since the run began.
    pub at: String,
    /// `process 812 ended by SIGKILL`.
    pub words: String,
    /// Whether we ended it.
    pub expected: bool,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its anchor.
    pub anchor: String,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its kernel.
    pub kernel: String,
    /// Versions by program, joined.
    pub versions: String,
    /// Offset and bound of its clock.
    pub clock: String,
    /// How processes ended.
    pub exits: Vec<ExitRow>,
    /// Exits that nobody asked for.
    pub unexpected: u64,
    /// Core dumps by path.
    pub core_dumps: Vec<String>,
    /// What is known about core dumps when there is none.
    pub cores: String,
    /// Log excerpts.
    pub excerpts: Vec<Excerpt>,
}

/// The nodes, and remarks about logs that are shown nowhere.
pub(super) fn nodes(
    input: &ReportInput<'_>,
    checks: &[Check],
    faults: &Faults,
    anchors: &mut Anchors,
) -> (Vec<Node>, Vec<String>) {
    let moments = moments(checks, faults);
    let mut remarks = Vec::new();
    let nodes: Vec<Node> = input
        .meta
        .nodes
        .iter()
        .map(|node| {
            let logs: Vec<_> = input
                .logs
                .iter()
                .filter(|log| log.node == node.name)
                .collect();
            if logs.len() > LOG_LIMIT {
                remarks.push(format!(
                    "{}: {} more log files are not shown",
                    text::clip(&node.name, 40),
                    logs.len() - LOG_LIMIT
                ));
            }
            let clock = Clock {
                started_wall_ns: input.meta.started_wall_ns,
                offset_ns: node.clock_offset_ns.unwrap_or_default(),
            };
            let excerpts = logs
                .into_iter()
                .take(LOG_LIMIT)
                .map(|log| log::excerpt(log, clock, &moments))
                .collect();
            row(node, clock, excerpts, anchors)
        })
        .collect();
    let foreign = input
        .logs
        .iter()
        .filter(|log| input.meta.nodes.iter().all(|node| node.name != log.node))
        .count();
    if foreign > 0 {
        remarks.push(format!(
            "{} of no node of this run not shown",
            number::counted(foreign as u64, "log file")
        ));
    }
    (nodes, remarks)
}

/// Witnesses first, because lines are limited.
fn moments(checks: &[Check], faults: &Faults) -> Vec<Moment> {
    let witnesses = checks.iter().flat_map(|check| &check.witnesses);
    let mut moments: Vec<Moment> = witnesses
        .map(|witness| Moment {
            at_ns: witness.end_ns,
            what: format!("witness {}: {}", witness.number, witness.kind),
            anchor: witness.anchor.clone(),
        })
        .collect();
    for row in &faults.rows {
        let steps = [
            (row.observed_ns.or(row.asked_ns), "began"),
            (row.healed_ns.or(row.heal_asked_ns), "was healed"),
        ];
        for (at, step) in steps {
            moments.extend(at.map(|at_ns| Moment {
                at_ns,
                what: format!("fault {} ({}) {step}", row.id, row.kind),
                anchor: row.anchor.clone(),
            }));
        }
    }
    moments.truncate(MOMENT_LIMIT);
    moments
}

fn row(node: &NodeMeta, clock: Clock, excerpts: Vec<Excerpt>, anchors: &mut Anchors) -> Node {
    let name = text::clip(&node.name, 40);
    Node {
        anchor: anchors.claim(&format!("node-{}", text::slug(&name))),
        name,
        address: text::clip(&node.address, 60),
        kernel: text::clip(&node.kernel, 60),
        versions: node
            .versions
            .iter()
            .take(EXIT_LIMIT)
            .map(|(program, version)| {
                format!("{} {}", text::clip(program, 40), text::clip(version, 60))
            })
            .collect::<Vec<_>>()
            .join(", "),
        clock: match node.clock_offset_ns {
            Some(offset) => number::offset(offset, node.clock_bound_ns),
            None => "not measured".to_owned(),
        },
        exits: node
            .exits
            .iter()
            .take(EXIT_LIMIT)
            .map(|exit| ExitRow {
                at: number::instant_signed(clock.of_run(exit.wall_ns)),
                words: exit_words(exit),
                expected: exit.expected,
            })
            .collect(),
        unexpected: node.exits.iter().filter(|exit| !exit.expected).count() as u64,
        core_dumps: node
            .core_dumps
            .iter()
            .take(EXIT_LIMIT)
            .map(|path| text::clip(path, 200))
            .collect(),
        cores: match node.cores_visible {
            Some(true) => "none; one would have been seen".to_owned(),
            Some(false) => format!(
                "unknown: {}",
                text::clip(
                    if node.cores_reason.is_empty() {
                        "they would have been lost"
                    } else {
                        &node.cores_reason
                    },
                    200
                )
            ),
            None => "unknown: nobody looked whether one would be kept".to_owned(),
        },
        excerpts,
    }
}

/// The name of a signal on Linux, which is the same on all its architectures for these.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

fn exit_words(exit: &ProcessExit) -> String {
    let how = match (exit.signal, exit.code) {
        (Some(signal), _) => format!("ended by {}", signal_name(signal)),
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended, nobody saw how".to_owned(),
    };
    let core = if exit.core { ", wrote a core dump" } else { "" };
    let why = if exit.expected {
        "we ended it"
    } else {
        "nobody asked for that"
    };
    format!("process {} {how}{core}; {why}", exit.pid)
}
