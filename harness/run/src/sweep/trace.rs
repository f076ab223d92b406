//! The points of an operation: functions that it enters on the victim's node, and an idle cluster does not.
//!
//! 1. An idle cluster is watched on the victim's node and on two members, while its sources are read and it lists its members: what
//!    is entered then is no point.
//! 2. The operation is done once on a fresh cluster, with every function watched; what the daemon first enters before it completed is
//!    a point, in the order of first entries.
//! 3. Commands run the same program (`lxd init`): what only they enter is no point, and what they enter before the daemon is counted,
//!    so that the fault strikes at the daemon's entry.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use harness_core::sweep::{CrashPoint, Trace};
use harness_lab::Node;
use harness_nemesis::{points::Program, symbols::Function};
use tokio::time::sleep;

use super::{Cell, Points, SweepError, Works, look, named, needed, point};

/// How long between two looks at an idle cluster.
const IDLE_PAUSE: Duration = Duration::from_millis(500);
/// How long the product's own list may take.
const LIST_LIMIT: Duration = Duration::from_secs(5);
/// Entries of each function that are told, so that the daemon's first is among them.
const TOLD_HITS: u64 = 64;
/// Members that are watched while they are idle, besides the victim.
const IDLE_MEMBERS: usize = 2;

/// Finds the points.
pub(super) async fn points(works: &Works, cell: &Cell) -> Result<Trace, SweepError> {
    let system = &*cell.system;
    let program = needed(
        "program with functions to watch",
        system,
        system.handles().program,
    )?
    .program();
    works.now("trace: reading the program");
    let program = works.programs.read(&cell.nodes[0], &program).await?;
    if let Points::Named(names) = &works.ask.points {
        for name in names {
            program
                .symbols
                .find(name)
                .map_err(|error| SweepError::Refused(format!("points: {error}")))?;
        }
        return Ok(named(names));
    }
    let functions = functions(works, cell, &program);
    if functions.is_empty() {
        return Err(SweepError::Refused(
            "match: no function of the program matches".to_owned(),
        ));
    }
    works.go_on()?;
    let idle = idle(works, cell, &program, &functions).await?;
    works.go_on()?;
    let mut trace = operation(works, cell, &program, &functions, &idle).await?;
    trace.watched = functions.len();
    Ok(trace)
}

pub(super) fn functions(works: &Works, cell: &Cell, program: &Program) -> Vec<Function> {
    let all = program.symbols.functions().iter();
    let wanted = all.filter(|function| match &works.ask.points {
        Points::Matching(pattern) => pattern.is_match(&function.name),
        _ => cell
            .system
            .is_crash_point(&function.name, function.file.as_deref()),
    });
    wanted.cloned().collect()
}

/// The name by which one of several functions of a name is found again.
pub(super) fn full_name(function: &Function, all: &[Function]) -> String {
    let same = all
        .iter()
        .filter(|other| other.name == function.name)
        .count();
    match same {
        1 => function.name.clone(),
        _ => format!("{}@{:#x}", function.name, function.address),
    }
}

/// Names that an idle cluster enters.
async fn idle(
    works: &Works,
    cell: &Cell,
    program: &Program,
    functions: &[Function],
) -> Result<BTreeSet<u64>, SweepError> {
    let ask = &works.ask;
    works.now("trace: a fresh cluster, left idle");
    cell.put_back(ask).await?;
    let victim = cell.victim(ask).await?;
    let mut watched: Vec<Node> = vec![victim];
    for node in cell.members(ask).iter().take(IDLE_MEMBERS) {
        if watched.iter().all(|other| other.name != node.name) {
            watched.push(node.clone());
        }
    }
    entered_idle(works, cell, &watched, program, functions).await
}

/// Addresses of what these nodes enter while nobody changes the cluster that stands.
pub(super) async fn entered_idle(
    works: &Works,
    cell: &Cell,
    watched: &[Node],
    program: &Program,
    functions: &[Function],
) -> Result<BTreeSet<u64>, SweepError> {
    let ask = &works.ask;
    let mut traces = Vec::new();
    for node in watched {
        traces.push(
            works
                .programs
                .trace(node, program, functions.to_vec(), 1)
                .await?,
        );
    }
    let system = &*cell.system;
    let sources = needed("sources", system, system.handles().sources)?;
    let membership = needed("membership", system, system.handles().membership)?;
    let until = Instant::now() + ask.unchanged;
    while Instant::now() < until {
        works.go_on()?;
        look::views(&cell.nodes, &sources).await?;
        for node in cell.members(ask) {
            // What it says is nothing to us; that it was asked is.
            let _ = membership.list(node, LIST_LIMIT).await;
        }
        sleep(IDLE_PAUSE).await;
    }
    let mut entered = BTreeSet::new();
    for trace in traces {
        let end = trace.probe.disarm().await?;
        let hits = end.hits.iter().zip(&trace.functions);
        entered.extend(
            hits.filter(|(hits, _)| **hits > 0)
                .map(|(_, function)| function.address),
        );
    }
    Ok(entered)
}

async fn operation(
    works: &Works,
    cell: &Cell,
    program: &Program,
    functions: &[Function],
    idle: &BTreeSet<u64>,
) -> Result<Trace, SweepError> {
    let ask = &works.ask;
    works.now(format!("trace: a {}", ask.head.op));
    cell.put_back(ask).await?;
    let victim = cell.victim(ask).await?;
    let trace = works
        .programs
        .trace(&victim, program, functions.to_vec(), TOLD_HITS)
        .await?;
    let handle = needed(
        "program with functions to watch",
        &*cell.system,
        cell.system.handles().program,
    )?;
    let daemon = handle.newest_process(&victim).await?;
    let done = point::conduct(works, cell, "000-trace", point::no_faults()).await?;
    let end = trace.probe.disarm().await?;
    let offset = victim.transport.clock_offset().await?;
    let (invoked_ns, completed_ns) = done.span_ns;
    let began_wall_ns = i64::try_from(done.run.meta.started_wall_ns).unwrap_or(i64::MAX);
    // Nanoseconds since the run began, of the node's wall clock.
    let at = |wall_ns: i64| {
        wall_ns
            .saturating_sub(offset.wall_offset_ns)
            .saturating_sub(began_wall_ns)
    };
    let completed_ns = i64::try_from(completed_ns).unwrap_or(i64::MAX);
    let invoked_ns = i64::try_from(invoked_ns).unwrap_or(i64::MAX);
    let mut first: BTreeMap<u32, (i64, u64)> = BTreeMap::new();
    for hit in trace.probe.progress().hits {
        let at_ns = at(hit.wall_ns);
        if at_ns <= completed_ns && daemon == Some(hit.pid) {
            let found = (at_ns, hit.hit);
            first
                .entry(hit.site)
                .and_modify(|known| *known = found.min(*known))
                .or_insert(found);
        }
    }
    let mut entered: Vec<(i64, u32, u64)> = first
        .iter()
        .map(|(site, (at_ns, nth))| (*at_ns, *site, *nth))
        .collect();
    entered.sort_unstable();
    let of = |site: u32| {
        usize::try_from(site)
            .ok()
            .and_then(|site| trace.functions.get(site))
    };
    let is_idle = |site: u32| of(site).is_none_or(|function| idle.contains(&function.address));
    let (own, both): (Vec<_>, Vec<_>) = entered
        .iter()
        .copied()
        .partition(|(_, site, _)| !is_idle(*site));
    let points = own
        .iter()
        .zip(1..)
        .filter_map(|((at_ns, site, nth), number)| {
            let function = of(*site)?;
            let hits = usize::try_from(*site)
                .ok()
                .and_then(|site| end.hits.get(site));
            Some(CrashPoint {
                number,
                function: full_name(function, functions),
                at_ns: u64::try_from(at_ns.saturating_sub(invoked_ns)).ok(),
                hits: hits.copied().unwrap_or(0),
                nth: *nth,
            })
        });
    Ok(Trace {
        points: points.collect(),
        watched: functions.len(),
        entered: entered.len(),
        idle: both.len(),
        outcome: Some(done.operation),
        took_ms: u64::try_from(completed_ns.saturating_sub(invoked_ns)).unwrap_or(0) / 1_000_000,
    })
}
