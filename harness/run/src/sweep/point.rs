//! One point: a fresh cluster, a run with the operation and the fault, what it left, and what mends that.

use std::{sync::Arc, time::Instant};

use harness_core::{
    generator::OpSpec,
    history::Operation,
    membership::{JOIN, JoinValue, REMOVE, RemoveValue},
    meta::{self, FunctionEntry, Plan, PlannedFault, Trigger},
    seed::Seed,
    sweep::{CrashPoint, FailBy, OpEnd, PointResult, Strike, SweepOp},
    verdict::Verdict,
};
use harness_workloads::{
    judges,
    workload::{Kind, membership::Parameters},
};
use serde_json::json;

use super::{Ask, Cell, SweepError, Works, look, mend, subject};
use crate::{
    cancel::Level,
    check::{Limits, judge},
    clock,
    conduct::{self, Conducted, PointCourse, Setting},
    live::Live,
    load::LoadedRun,
    store::RunFolder,
};

/// The operation is the only one of a client of its own.
const CLIENTS: usize = 1;
/// What judging one point may take.
const JUDGE_LIMITS: Limits = Limits {
    time: std::time::Duration::from_secs(60),
    memory_bytes: 512 * 1024 * 1024,
};

/// A run of the operation, and what can be said of it.
pub(super) struct Done {
    pub(super) conducted: Conducted,
    pub(super) run: LoadedRun,
    pub(super) operation: OpEnd,
    /// When it was invoked and completed, nanoseconds since the run began.
    pub(super) span_ns: (u64, u64),
}

/// The operation of a sweep, on the nodes of a cell.
async fn operation(ask: &Ask, cell: &Cell) -> Result<OpSpec, SweepError> {
    let member = subject(ask, &cell.nodes).name.to_string();
    Ok(match ask.head.op {
        SweepOp::Remove => OpSpec::new(
            REMOVE,
            RemoveValue {
                member,
                force: false,
            },
        ),
        SweepOp::Join | SweepOp::FailedJoin => {
            let mut join = JoinValue {
                member,
                ..JoinValue::default()
            };
            match ask.head.fails_by() {
                None => {}
                Some(FailBy::NameClash) => join.under = Some(bystander(cell)),
                Some(FailBy::RefusedAddress) => join.at = Some(bystander(cell)),
                Some(FailBy::UnreachableMember) => {
                    join.cut_from = Some(cell.leader(ask).await?.name.to_string());
                }
            }
            OpSpec::new(JOIN, join)
        }
    })
}

/// A member that neither leads nor is asked for the token.
fn bystander(cell: &Cell) -> String {
    cell.nodes[1.min(cell.nodes.len() - 1)].name.to_string()
}

/// The plan of one fault at one function, on one node.
fn plan(ask: &Ask, cell: &Cell, victim: &str, point: &CrashPoint) -> Plan {
    let kind = match ask.head.fault {
        Strike::Kill => "kill",
        Strike::PausePartition => "partition",
    };
    let on_ms = u64::try_from(ask.fault_on.as_millis()).unwrap_or(u64::MAX);
    Plan {
        format_version: meta::FORMAT_VERSION,
        seed: 0,
        faults: vec![PlannedFault {
            id: 1,
            lane: 0,
            kind: kind.to_owned(),
            target: victim.to_owned(),
            inject_ms: 0,
            heal_ms: on_ms,
            order: (0..).take(cell.nodes.len()).collect(),
            trigger: Some(Trigger::Function(FunctionEntry {
                name: point.function.clone(),
                nth: point.nth,
                after: None,
            })),
            until: None,
            options: std::collections::BTreeMap::new(),
        }],
    }
}

/// A plan without faults.
pub(super) fn no_faults() -> Plan {
    Plan {
        format_version: meta::FORMAT_VERSION,
        ..Plan::default()
    }
}

/// Does the operation on the cluster that stands, with these faults.
pub(super) async fn conduct(
    works: &Works,
    cell: &Cell,
    name: &str,
    plan: Plan,
) -> Result<Done, SweepError> {
    let ask = &works.ask;
    let folder = works.runs.create(name, clock::wall_ns())?;
    let kind = Kind::Membership(Parameters {
        initial: Some(ask.head.members),
        change_timeout: ask.op_timeout,
        only: Some(operation(ask, cell).await?),
        ..Parameters::default()
    });
    let faults = plan.faults.iter().map(|fault| fault.kind.clone());
    let mut meta = ask.meta.clone();
    folder.id().clone_into(&mut meta.id);
    meta.workload = kind.name().to_owned();
    meta.nemesis = match plan.faults.is_empty() {
        true => vec!["none".to_owned()],
        false => faults.collect(),
    };
    meta.started_wall_ns = clock::wall_ns();
    meta.workload_options = kind.options();
    let recovery_ms = u64::try_from(ask.recovery_timeout.as_millis()).unwrap_or(u64::MAX);
    meta.workload_options["recovery_timeout_ms"] = json!(recovery_ms);
    let setting = Setting {
        system: Arc::clone(&cell.system),
        nodes: cell.nodes.clone(),
        workload: kind,
        plan,
        seed: Seed(meta.seed),
        concurrency: CLIENTS,
        rate: None,
        time_limit: ask.op_timeout,
        op_timeout: ask.op_timeout,
        recovery_timeout: ask.recovery_timeout,
        sample_interval: ask.sample_interval,
        leave_running: true,
        meta,
        folder: folder.clone(),
        active_ledger: cell.active_ledger.clone(),
        agent_heals_after: harness_nemesis::exec::DEFAULT_LEASE,
        point: Some(PointCourse {
            nodes: cell.described.clone(),
            unchanged: ask.unchanged,
            settle_limit: ask.settle_limit,
        }),
        functions: Some(Arc::clone(&works.programs) as _),
    };
    let conducted = conduct::conduct(setting, &Live::default(), &works.cancel).await?;
    if works.cancel.level() > Level::Run {
        return Err(SweepError::Interrupted);
    }
    let run = load(folder).await?;
    let found = run
        .history
        .operations
        .iter()
        .find(|operation| is_the_one(operation));
    let found = found
        .ok_or_else(|| SweepError::Refused("the operation is not in the history".to_owned()))?;
    Ok(Done {
        conducted,
        operation: OpEnd::of(found),
        span_ns: (found.invoked_ns, found.completed_ns.unwrap_or(u64::MAX)),
        run,
    })
}

fn is_the_one(operation: &Operation) -> bool {
    matches!(&*operation.f, JOIN | REMOVE)
}

async fn load(folder: RunFolder) -> Result<LoadedRun, SweepError> {
    let loaded = tokio::task::spawn_blocking(move || LoadedRun::load(folder)).await;
    Ok(loaded.map_err(|error| SweepError::Panicked(error.to_string()))??)
}

/// Judges a run by the invariants of membership, and keeps the verdict in its folder.
async fn judged(run: LoadedRun) -> Result<(LoadedRun, Verdict, Vec<String>), SweepError> {
    let work = tokio::task::spawn_blocking(move || {
        let verdict = judge(
            &judges::membership_checkers(),
            &run.input(&[]),
            JUDGE_LIMITS,
        );
        run.folder.write_verdict(&verdict)?;
        let invalid = verdict
            .results
            .iter()
            .filter(|result| result.verdict == Verdict::Invalid)
            .map(|result| result.checker.clone())
            .collect();
        Ok((run, verdict.verdict, invalid))
    });
    work.await
        .map_err(|error| SweepError::Panicked(error.to_string()))?
}

/// A function's name for a folder: without the path of its package.
fn short(function: &str) -> &str {
    let end = function.find('(').unwrap_or(function.len());
    let start = function[..end].rfind('/').map_or(0, |slash| slash + 1);
    &function[start..]
}

/// Tries one point.
pub(super) async fn attempt(
    works: &Works,
    cell: &Cell,
    point: &CrashPoint,
) -> Result<PointResult, SweepError> {
    let (ask, began) = (&works.ask, Instant::now());
    works.go_on()?;
    let fresh = cell.put_back(ask).await?;
    cell.close_ledger().await?;
    works.go_on()?;
    let victim = cell.victim(ask).await?;
    let plan = plan(ask, cell, victim.name.as_str(), point);
    let name = format!("{:03}-{}", point.number, short(&point.function));
    let done = conduct(works, cell, &name, plan).await?;
    let (run, verdict, invalid) = judged(done.run).await?;
    let left = look::left(ask, cell, &run.views);
    let fault = run.faults.iter().find(|fault| fault.planned == Some(1));
    let struck = fault.is_some_and(|fault| fault.observed_ns.is_some());
    let evidence = fault.map_or_else(
        || "the fault is not in the ledger".to_owned(),
        |fault| match fault.evidence.first() {
            Some(seen) if struck => format!("{}: {}", seen.node, seen.text),
            _ => fault.problems.join("; "),
        },
    );
    let mends = match ask.mends && struck {
        true => mend::mends(works, cell, &left).await?,
        false => Vec::new(),
    };
    let settled = done.conducted.settled;
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let folder = run.folder.folder();
    Ok(PointResult {
        point: point.clone(),
        struck,
        evidence,
        outcome: done.operation,
        settled: settled.is_some_and(|settled| settled.unchanged),
        settle_ms: settled.map_or(0, |settled| ms(settled.took)),
        agrees: left.agrees(),
        left,
        verdict,
        invalid,
        mends,
        run: folder
            .strip_prefix(&works.folder)
            .unwrap_or(folder)
            .display()
            .to_string(),
        took_ms: ms(began.elapsed()),
        fresh_ms: ms(fresh),
    })
}
