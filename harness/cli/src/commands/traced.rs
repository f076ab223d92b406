//! `harness trace --op`: the functions that one join or remove enters, on every node of a fresh cluster, in order of time.

use std::{sync::Arc, time::Duration};

use harness_core::{
    event::ANSWERED_ERROR,
    exit::Exit,
    sweep::{self, Head, OpEnd, Strike, SweepOp, Victim},
};
use harness_lab::{lab::Lab, provider::LabSpec};
use harness_nemesis::points::Programs;
use harness_run::{
    cancel::Cancel,
    clock,
    files::Owner,
    signals,
    store::RunStore,
    sweep::{Ask, Cell, Points, SweepError, Told, Traced, Works, nodes_needed, traced as watch},
};
use serde_json::json;

use super::{
    lab,
    sweep::{
        RECOVERY_TIMEOUT, UNCHANGED_HEARTBEATS, UNCHANGED_MARGIN, fail_by, lxd_on, members, meta,
        op, points, versions,
    },
};
use crate::{
    args::TraceArgs,
    failure::{Failure, chain},
    heal,
    options::parse_time,
    progress::Bars,
    terminal,
};

/// Version of the JSON lines.
const FORMAT_VERSION: u32 = 1;
/// The system whose clusters can be put back as they were.
const SYSTEM: &str = "lxd";
/// How long the operation may take if nothing is said.
const USUAL_OP_TIMEOUT: &str = "45s";
/// How long the sources are waited for to be unchanged once it ended.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);
/// How often the sources of membership are read meanwhile.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// What was asked for, understood.
struct Asked {
    head: Head,
    points: Points,
    op_timeout: Duration,
    keep_idle: bool,
    json: bool,
}

/// Traces one operation.
pub fn traced(args: TraceArgs) -> Result<Exit, Failure> {
    let asked = understood(&args)?;
    let choice = &args.lab;
    let spec = lab::spec_or_up(choice.lab.as_deref(), choice.nodes, choice.suite.as_deref())?;
    let spec = match choice.lab {
        None => lab::with_lxd(spec)?,
        Some(_) => spec,
    };
    let (needed, has) = (nodes_needed(&asked.head), spec.node_names().len());
    if has < needed {
        return Err(Failure::usage(format!(
            "nodes: a {} with {} members needs {needed}; the lab has {has}",
            asked.head.op, asked.head.members
        )));
    }
    lab::elevate_for(&spec)?;
    super::runtime()?.block_on(session(asked, &spec))
}

fn understood(args: &TraceArgs) -> Result<Asked, Failure> {
    let system = args.choice.system.as_deref().unwrap_or(SYSTEM);
    if system != SYSTEM {
        return Err(Failure::usage(format!(
            "system: {system:?} cannot be put back as it was, which --op needs; there is {SYSTEM} (mend: --system {SYSTEM}, or --for in place of --op)"
        )));
    }
    let op = op(args.op.as_deref())?;
    // Nobody is struck; a sweep's head names whom the operation is about.
    let victim = match op {
        SweepOp::Remove => Victim::Removed,
        SweepOp::Join | SweepOp::FailedJoin => Victim::Joiner,
    };
    let members = members(op, args.members)?;
    let pattern = Some(args.choice.pattern.as_str()).filter(|pattern| !pattern.is_empty());
    let points = points(pattern, &[])?;
    let op_timeout = args.op_timeout.as_deref().unwrap_or(USUAL_OP_TIMEOUT);
    Ok(Asked {
        points,
        head: Head {
            format_version: sweep::FORMAT_VERSION,
            system: SYSTEM.to_owned(),
            system_versions: std::collections::BTreeMap::new(),
            suite: String::new(),
            op,
            fail_by: fail_by(op, args.fail_by.as_deref())?,
            victim,
            fault: Strike::Kill,
            members,
            pattern: pattern.map(ToOwned::to_owned),
            named: Vec::new(),
            started_wall_ns: clock::wall_ns(),
            unchanged_ms: 0,
        },
        op_timeout: parse_time("op-timeout", op_timeout)?,
        keep_idle: args.keep_idle,
        json: args.json,
    })
}

async fn session(asked: Asked, spec: &LabSpec) -> Result<Exit, Failure> {
    let cancel = Cancel::new();
    let _signals = signals::listen(cancel.clone(), |_, _| {
        terminal::say("harness: interrupted; leaving the trace");
    })
    .map_err(|error| Failure::because("signals cannot be caught", &error))?;
    let state = lab::state()?;
    let lock = lab::lock(&state, "trace")?;
    let up = lab::bring_up(&state, &lock, spec, &lab::up_options()).await?;
    let healed = heal::before_sweep(&state, &up).await;
    let done = match healed {
        Ok(()) => on_lab(asked, &up, &cancel).await,
        Err(error) => Err(error),
    };
    up.close().await;
    done
}

async fn on_lab(mut asked: Asked, up: &Lab, cancel: &Cancel) -> Result<Exit, Failure> {
    let needed = nodes_needed(&asked.head);
    let nodes = &up.nodes[..needed];
    let system = lxd_on(nodes)?;
    let heartbeat = system
        .timing()
        .map_or(Duration::from_secs(5), |timing| timing.heartbeat);
    asked.head.system_versions = versions(up).await?;
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::because("a temporary folder cannot be made", &error))?;
    let bars = Arc::new(Bars::new());
    let says = Arc::clone(&bars);
    let works = Works {
        ask: Ask {
            points: asked.points,
            unchanged: heartbeat * UNCHANGED_HEARTBEATS + UNCHANGED_MARGIN,
            settle_limit: SETTLE_LIMIT,
            op_timeout: asked.op_timeout,
            fault_on: Duration::ZERO,
            recovery_timeout: RECOVERY_TIMEOUT,
            sample_interval: SAMPLE_INTERVAL,
            first: None,
            mends: false,
            meta: meta(&asked.head, up),
            head: asked.head.clone(),
        },
        runs: RunStore::new(folder.path(), Owner::from_sudo()),
        folder: folder.path().to_owned(),
        programs: Arc::new(Programs::default()),
        tell: Arc::new(move |told| {
            if let Told::Now(text) = told {
                says.live(&text);
            }
        }),
        cancel: cancel.clone(),
    };
    let cell = Cell {
        system,
        nodes: nodes.to_vec(),
        active_ledger: None,
        described: Vec::new(),
        shown: Vec::new(),
    };
    let traced = watch(works, cell, asked.keep_idle).await;
    bars.clear();
    let traced = match traced {
        Ok(traced) => traced,
        Err(SweepError::Interrupted) => return Ok(Exit::Interrupted),
        Err(error) if is_refusal(&error) => return Err(Failure::usage(chain(&error))),
        Err(error) => return Err(Failure::harness(chain(&error))),
    };
    match asked.json {
        true => print_json(&asked.head, &traced),
        false => print_table(&traced),
    }
    for line in remarks(&asked.head, &traced) {
        terminal::say(&line);
    }
    Ok(match ended_as_meant(asked.head.op, &traced.outcome) {
        true => Exit::Valid,
        false => Exit::Unknown,
    })
}

fn is_refusal(error: &SweepError) -> bool {
    match error {
        SweepError::Refused(_) => true,
        SweepError::Point(error) => error.is_refusal(),
        _ => false,
    }
}

/// Whether it is a trace of what was asked for: a join that was refused is none of a join. A join that the system says has failed
/// counts as failed, though what it left is open.
fn ended_as_meant(op: SweepOp, end: &OpEnd) -> bool {
    match op {
        SweepOp::Join | SweepOp::Remove => end.end == "ok",
        SweepOp::FailedJoin => {
            end.end == "fail" || (end.end == "info" && end.kind.as_deref() == Some(ANSWERED_ERROR))
        }
    }
}

fn ms(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64() * 1000.0
}

fn print_table(traced: &Traced) {
    let widest = traced.nodes.iter().map(|node| node.node.len()).max();
    let widest = widest.unwrap_or(0);
    for entered in &traced.entered {
        let more = if entered.more { "+" } else { " " };
        terminal::print(&format!(
            "{:>12.3} ms  {:<widest$}  {:>6}{more}×  {}",
            ms(entered.at_ns),
            entered.node,
            entered.hits,
            entered.function
        ));
    }
}

fn print_json(head: &Head, traced: &Traced) {
    let about = json!({
        "format_version": FORMAT_VERSION, "system": head.system, "system_versions": head.system_versions,
        "op": head.op, "members": head.members, "pattern": head.pattern, "nodes": traced.nodes,
        "outcome": traced.outcome, "took_ms": traced.took_ns.map(ms),
        "watched": traced.functions, "idle": traced.idle,
    });
    terminal::print(&json!({ "head": about }).to_string());
    for entered in &traced.entered {
        let one = json!({
            "at_ms": ms(entered.at_ns), "node": entered.node, "function": entered.function,
            "hits": entered.hits, "more": entered.more, "pid": entered.pid,
        });
        terminal::print(&json!({ "entered": one }).to_string());
    }
}

/// What is to be known beside the table.
fn remarks(head: &Head, traced: &Traced) -> Vec<String> {
    let of: Vec<String> = traced
        .nodes
        .iter()
        .map(|node| format!("{} {}", node.node, node.role))
        .collect();
    let took = traced
        .took_ns
        .map_or_else(String::new, |took| format!(" after {:.0} ms", ms(took)));
    let why = traced.outcome.message.as_ref();
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    let mut lines = vec![
        format!(
            "{} on {}: {}{took}{why}",
            head.op,
            of.join(", "),
            traced.outcome.end
        ),
        format!(
            "{} entries of {} functions that were watched; {} that an idle cluster enters too are left out",
            traced.entered.len(),
            traced.functions,
            traced.idle
        ),
    ];
    let bound = traced.nodes.iter().map(|node| node.clock_bound_ns).max();
    lines.push(format!(
        "times of two nodes are comparable to within {:.3} ms",
        ms(bound.unwrap_or(0).saturating_mul(2))
    ));
    for node in &traced.nodes {
        for (count, what) in [
            (
                u64::try_from(node.unprobed).unwrap_or(u64::MAX),
                "functions could not be watched",
            ),
            (node.lost, "entries found no room and are not told"),
            (
                u64::try_from(node.unclear).unwrap_or(u64::MAX),
                "functions were entered so often before the operation that it is not known whether it enters them",
            ),
        ] {
            if count > 0 {
                lines.push(format!("{}: {count} {what}", node.node));
            }
        }
    }
    if !ended_as_meant(head.op, &traced.outcome) {
        lines.push(format!(
            "the {} did not end as it should: this is a trace of what happened in its place",
            head.op
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_that_fails_is_told_from_one_of_which_nothing_is_known() {
        let end = |end: &str, kind: Option<&str>| OpEnd {
            end: end.to_owned(),
            kind: kind.map(ToOwned::to_owned),
            message: None,
        };
        for (op, ended, kind, meant) in [
            (SweepOp::Join, "ok", None, true),
            (SweepOp::Join, "fail", Some(ANSWERED_ERROR), false),
            (SweepOp::Remove, "info", Some(ANSWERED_ERROR), false),
            (SweepOp::FailedJoin, "ok", None, false),
            (SweepOp::FailedJoin, "fail", Some("not-sent"), true),
            (SweepOp::FailedJoin, "info", Some(ANSWERED_ERROR), true),
            (SweepOp::FailedJoin, "info", Some("timeout"), false),
        ] {
            assert_eq!(ended_as_meant(op, &end(ended, kind)), meant, "{op} {ended}");
        }
    }
}
