//! `harness points` and `harness trace` for a while: the functions of the system's program on a node, and those that are entered.

use std::{future::Future, path::PathBuf};

use harness_core::exit::Exit;
use harness_lab::{Node, lab::Lab};
use harness_nemesis::{
    points::{PointError, Program, Programs},
    symbols::Function,
};
use harness_workloads::systems::{Handles, System, dqlite, lxd};
use regex::Regex;
use serde_json::json;

use super::lab::{elevate_to_look, failure as lab_failure, state};
use crate::{
    args::{PointChoice, PointsArgs, TraceArgs},
    failure::{Failure, chain},
    options::parse_time,
    terminal,
};

/// Version of the JSON that both commands print.
const FORMAT_VERSION: u32 = 1;
/// How long is watched if nothing is said.
const USUAL_WINDOW: &str = "10s";
/// Whose program is meant if nothing is said.
const USUAL_SYSTEM: &str = "dqlite";

/// Lists the functions of a program.
pub fn points(args: PointsArgs) -> Result<Exit, Failure> {
    with_program(&args.choice, async |_, _, program, functions| {
        if args.json {
            let value = json!({
                "format_version": FORMAT_VERSION,
                "program": program.path,
                "sha256": program.sha256,
                "functions": functions,
                "unproven": program.symbols.unproven_count(),
            });
            terminal::print(&value.to_string());
            return Ok(());
        }
        for function in &functions {
            let Function {
                name,
                address,
                size_bytes,
                origin,
                ..
            } = function;
            terminal::print(&format!(
                "{address:#012x} {size_bytes:>7}  {name}  {origin}"
            ));
        }
        terminal::say(&format!(
            "{} of {} functions of {}; {} more names without a proven address",
            functions.len(),
            program.symbols.functions().len(),
            program.path.display(),
            program.symbols.unproven_count()
        ));
        Ok(())
    })
}

/// Watches functions for a while and tells which were entered, in the order of their first entry.
pub fn trace(args: TraceArgs) -> Result<Exit, Failure> {
    let window = parse_time("for", args.window.as_deref().unwrap_or(USUAL_WINDOW))?;
    with_program(&args.choice, async |node, programs, program, functions| {
        let trace = programs
            .trace(&node, &program, functions, 1)
            .await
            .map_err(|error| failure(&error))?;
        terminal::say(&format!(
            "watching {} functions of {} on {} for {} s",
            trace.functions.len() - trace.probe.armed().unprobed.len(),
            program.path.display(),
            node.name,
            window.as_secs_f64()
        ));
        tokio::select! {
            () = tokio::time::sleep(window) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        let end = trace.probe.disarm().await;
        let end = end.map_err(|error| Failure::harness(chain(&error)))?;
        let mut hits = trace.probe.progress().hits;
        hits.sort_by_key(|hit| hit.monotonic_ns);
        let armed_ns = trace.probe.armed().monotonic_ns;
        let entered = hits.iter().filter_map(|hit| {
            let site = usize::try_from(hit.site).ok()?;
            Some((hit, trace.functions.get(site)?, end.hits.get(site)?))
        });
        let mut rows = Vec::new();
        for (hit, function, count) in entered {
            let at_ns = hit.monotonic_ns.saturating_sub(armed_ns);
            if args.json {
                rows.push(json!({
                    "name": function.name, "at_ns": at_ns, "wall_ns": hit.wall_ns,
                    "pid": hit.pid, "tid": hit.tid, "hits": count,
                }));
            } else {
                let at_ms =
                    std::time::Duration::from_nanos(at_ns.unsigned_abs()).as_secs_f64() * 1000.0;
                terminal::print(&format!(
                    "{at_ms:>12.3} ms {count:>9} ×  {}  (process {})",
                    function.name, hit.pid
                ));
            }
        }
        if args.json {
            let value = json!({
                "format_version": FORMAT_VERSION, "program": program.path, "sha256": program.sha256,
                "node": node.name, "entered": rows, "elsewhere": end.elsewhere, "lost": end.lost,
            });
            terminal::print(&value.to_string());
        } else if end.lost > 0 {
            terminal::say(&format!(
                "{} first entries found no room and are not told",
                end.lost
            ));
        }
        Ok(())
    })
}

/// Finds the node, the program and the functions that are meant, then does the work, and lets the sessions go.
fn with_program<Work>(
    choice: &PointChoice,
    work: impl FnOnce(Node, Programs, Program, Vec<Function>) -> Work,
) -> Result<Exit, Failure>
where
    Work: Future<Output = Result<(), Failure>>,
{
    let program = program(choice)?;
    let pattern = Regex::new(&choice.pattern)
        .map_err(|error| Failure::usage(format!("match: {}", chain(&error))))?;
    elevate_to_look()?;
    let state = state()?;
    super::runtime()?.block_on(async {
        let lab = Lab::load(&state).map_err(|error| lab_failure(&error))?;
        let node = match &choice.node {
            None => lab.nodes.first(),
            Some(name) => lab.node(name),
        };
        let node = node.cloned().ok_or_else(|| {
            let names: Vec<&str> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
            Failure::usage(format!("node: there are {}", names.join(", ")))
        })?;
        lab.assert_ours(&node)
            .await
            .map_err(|error| Failure::harness(chain(&error)))?;
        let programs = Programs::default();
        let read = programs.read(&node, &program).await;
        let read = read.map_err(|error| failure(&error))?;
        for problem in read.symbols.problems() {
            terminal::say(&format!("{}: {problem}", read.path.display()));
        }
        let functions = read.symbols.matching(&pattern).cloned().collect();
        let done = work(node, programs, read, functions).await;
        lab.close().await;
        done
    })?;
    Ok(Exit::Valid)
}

fn program(choice: &PointChoice) -> Result<PathBuf, Failure> {
    if let Some(binary) = &choice.binary {
        return Ok(binary.clone());
    }
    let system = choice.system.as_deref().unwrap_or(USUAL_SYSTEM);
    let handles = system_handles(system, &[])?;
    let program = handles.program.map(|system| system.program());
    program.ok_or_else(|| {
        Failure::usage(format!(
            "system: {system} is no program; --binary takes any path on the node"
        ))
    })
}

/// What a real system can do on these nodes, without any option of its own.
pub(super) fn system_handles(system: &str, nodes: &[Node]) -> Result<Handles, Failure> {
    match system {
        "dqlite" => Ok(dqlite::Dqlite::new(nodes, dqlite::Options::default()).handles()),
        "lxd" => Ok(lxd::Lxd::new(nodes, lxd::Options::default())
            .map_err(|error| Failure::usage(error.to_string()))?
            .handles()),
        other => Err(Failure::usage(format!(
            "system: no program of {other:?} is known; there are dqlite and lxd"
        ))),
    }
}

/// What was asked for is not there, or the node could not do it.
fn failure(error: &PointError) -> Failure {
    match error.is_refusal() {
        true => Failure::usage(chain(error)),
        false => Failure::harness(chain(error)),
    }
}
