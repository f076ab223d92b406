//! Healing without the run: from its ledger, after the controller was killed, or from nothing.
//!
//! 1. Only open faults are undone, by the scripts in their intents. They are idempotent, so it does
//!    no harm if the fault was never injected or has been healed by somebody else.
//! 2. Nodes are healed at the same time, a node's scripts one after the other in the ledger's order.
//! 3. A partition counts as healed when our table is gone and the nodes connect to each other again;
//!    a process fault when its script succeeded.
//! 4. A node without our marker is left alone and reported.
//! 5. The nodes' guards are told first to let go, so that no script runs twice at the same time; what they healed is recorded.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use harness_core::fault::{FaultRecord, LedgerLine, Step, fold};
use harness_lab::{Exec, Node, provider::ssh::AGENT_FOLDERS};
use tokio::time::Instant;

use super::{
    each::each,
    guard::{evidence, stand_down},
    marker::assert_ours,
    network::{has_table, reach, remove_table, run},
    ports::{Clock, Ledger},
    report::{FaultHeal, HealReport, Trouble, Undone, reason},
};
use crate::plan::{
    Kind,
    condition::script::{heal_leftovers, is_heal},
    nft,
};

/// How long one script may take: starting a system may take a while.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long healing a node may take in all.
const NODE_LIMIT: Duration = Duration::from_secs(180);
/// How long nodes may take to reach each other again.
const REACH_LIMIT: Duration = Duration::from_secs(15);
/// How much of a script stands in messages, in characters.
const SCRIPT_CHARS: usize = 80;

/// One script, and which faults it undoes.
struct Job {
    faults: Vec<u32>,
    script: String,
    is_partition: bool,
}

/// Undoes every open fault of a ledger, and writes down what became of it. Times of its lines are 0
/// since the run began, because the run is no more.
pub async fn heal_ledger(
    lines: &[LedgerLine],
    nodes: &[Node],
    ledger: &Arc<dyn Ledger>,
    clock: &Arc<dyn Clock>,
) -> HealReport {
    let open: Vec<FaultRecord> = fold(lines)
        .into_iter()
        .filter(FaultRecord::is_open)
        .collect();
    let mut report = HealReport::default();
    for (fault, step) in healed_alone(lines, &open, nodes).await {
        if let Step::SelfHealed { evidence } = &step {
            for seen in evidence {
                report
                    .node(&seen.node)
                    .done
                    .push(format!("fault {fault}: {}", seen.text));
            }
        }
        append(ledger, clock, fault, step, &mut report).await;
    }
    for fault in &open {
        append(ledger, clock, fault.id, Step::HealAsked, &mut report).await;
    }
    let mut undone = run_scripts(&open, nodes).await;
    for (fault, more) in see_partitions_healed(&open, nodes, &undone).await {
        undone.entry(fault).or_default().extend(more);
    }
    for fault in &open {
        let undone = undone.remove(&fault.id).unwrap_or_default();
        let healed = undone.troubles.is_empty();
        report.add(&undone);
        report.faults.push(FaultHeal {
            fault: fault.id,
            kind: fault.kind.clone(),
            label: fault.label.clone(),
            healed,
        });
        let step = if healed {
            Step::Healed {
                evidence: undone.evidence,
            }
        } else {
            Step::HealFailed {
                reason: reason(&undone.troubles),
            }
        };
        append(ledger, clock, fault.id, step, &mut report).await;
    }
    tidy(&mut report);
    report
}

/// Law 5. What guards healed of the open faults, by fault. A guard that cannot be asked is on a node that cannot be healed
/// either, and that is told then.
async fn healed_alone(
    lines: &[LedgerLine],
    open: &[FaultRecord],
    nodes: &[Node],
) -> Vec<(u32, Step)> {
    let mut steps = Vec::new();
    if open.is_empty() {
        return steps;
    }
    let jobs = nodes.iter().map(|node| {
        let asked = node.clone();
        (node, async move {
            match assert_ours(&asked).await {
                Ok(()) => stand_down(&asked, true).await,
                Err(error) => Err(error.to_string()),
            }
        })
    });
    for (node, answer) in each(jobs, Instant::now() + NODE_LIMIT).await {
        let healed = match answer {
            Some(Ok(healed)) => healed,
            Some(Err(why)) => {
                tracing::warn!(node = %node.name, why, "its guard was not told");
                continue;
            }
            None => continue,
        };
        for healed in healed {
            // Faults are numbered anew in each run: what was healed before this one was intended was of another.
            let begun = lines.iter().any(|line| {
                let begun_ns = i64::try_from(line.wall_ns).unwrap_or(i64::MAX);
                let intends = matches!(line.step, Step::Intend { .. });
                intends && line.fault == healed.fault && begun_ns <= healed.wall_ns
            });
            if begun && open.iter().any(|fault| fault.id == healed.fault) {
                let evidence = vec![evidence(node, &healed)];
                steps.push((healed.fault, Step::SelfHealed { evidence }));
            }
        }
    }
    steps
}

/// Ends the guards of all nodes and removes what the agent put there; it ends itself when its channel is closed.
pub async fn purge(nodes: &[Node]) -> HealReport {
    let (report, _) = on_each(nodes, true, |node| async move {
        run(&node, Exec::shell(AGENT_FOLDERS).timeout(SCRIPT_TIMEOUT)).await?;
        Ok("the agent's folders are removed".to_owned())
    })
    .await;
    report
}

/// Does something on every node that is ours, at once, after its guard has let go, for good if it is purged.
/// What became of each, and the places of those on which it was done.
async fn on_each<F>(
    nodes: &[Node],
    purge: bool,
    mend: impl Fn(Node) -> F,
) -> (HealReport, Vec<usize>)
where
    F: Future<Output = Result<String, Trouble>> + Send + 'static,
{
    let jobs = nodes.iter().enumerate().map(|(at, node)| {
        let (checked, mending) = (node.clone(), mend(node.clone()));
        (at, async move {
            let name = checked.name.as_str();
            assert_ours(&checked)
                .await
                .map_err(|error| Trouble::transport(name, &error))?;
            stand_down(&checked, purge)
                .await
                .map_err(|why| Trouble::lab(name, why))?;
            mending.await
        })
    });
    let mut report = HealReport::default();
    let mut mended = Vec::new();
    for (at, answer) in each(jobs, Instant::now() + NODE_LIMIT).await {
        let name = nodes[at].name.as_str();
        let entry = report.node(name);
        match answer {
            Some(Ok(text)) => {
                entry.done.push(text);
                mended.push(at);
            }
            Some(Err(trouble)) => entry.troubles.push(trouble),
            None => entry.troubles.push(Trouble::lab(name, "no answer in time")),
        }
    }
    (report, mended)
}

/// Removes our table from every node and undoes what has left notes there, whatever any ledger says, and sees that they reach
/// each other.
/// Processes are not touched: which ones should run is only known to a ledger or a run.
pub async fn heal_everything(nodes: &[Node]) -> HealReport {
    let (mut report, mended) = on_each(nodes, false, |node| async move {
        let done = remove_table(&node).await?;
        let heal = Exec::shell(heal_leftovers()).timeout(SCRIPT_TIMEOUT);
        let said = run(&node, heal).await?.stdout_text();
        Ok(match said.trim() {
            "" => done,
            said => format!("{done}; {}", said.replace('\n', ", ")),
        })
    })
    .await;
    let reached = reach(nodes, &pairs_of(&mended), Instant::now() + REACH_LIMIT).await;
    report.add(&reached);
    tidy(&mut report);
    report
}

fn pairs_of(nodes: &[usize]) -> Vec<(usize, usize)> {
    let later = |at: usize| nodes[at + 1..].iter().map(move |other| (nodes[at], *other));
    (0..nodes.len()).flat_map(later).collect()
}

/// The scripts of all open faults, by node, each distinct one once.
fn jobs_by_node(open: &[FaultRecord]) -> BTreeMap<String, Vec<Job>> {
    let mut by_node: BTreeMap<String, Vec<Job>> = BTreeMap::new();
    for fault in open {
        for heal in &fault.heals {
            let jobs = by_node.entry(heal.node.clone()).or_default();
            match jobs.iter_mut().find(|job| job.script == heal.script) {
                Some(job) => job.faults.push(fault.id),
                None => jobs.push(Job {
                    faults: vec![fault.id],
                    script: heal.script.clone(),
                    is_partition: heal.script == nft::HEAL,
                }),
            }
        }
    }
    by_node
}

/// Law 2. What was done for each fault.
async fn run_scripts(open: &[FaultRecord], nodes: &[Node]) -> BTreeMap<u32, Undone> {
    let mut all: BTreeMap<u32, Undone> = BTreeMap::new();
    let mut tasks = Vec::new();
    for (name, jobs) in jobs_by_node(open) {
        let faults: Vec<u32> = jobs.iter().flat_map(|job| job.faults.clone()).collect();
        match nodes.iter().find(|node| node.name.as_str() == name) {
            Some(node) => tasks.push(((name, faults), heal_node(node.clone(), jobs))),
            None => {
                let trouble = Trouble::lab(&name, "no node of that name is in this lab");
                for fault in faults {
                    all.entry(fault).or_default().troubles.push(trouble.clone());
                }
            }
        }
    }
    for ((name, faults), answer) in each(tasks, Instant::now() + NODE_LIMIT).await {
        let Some(done) = answer else {
            for fault in faults {
                let trouble = Trouble::lab(&name, "no answer in time");
                all.entry(fault).or_default().troubles.push(trouble);
            }
            continue;
        };
        for (faults, result) in done {
            for fault in faults {
                let undone = all.entry(fault).or_default();
                match &result {
                    Ok(text) => undone.saw(&name, text),
                    Err(trouble) => undone.troubles.push(trouble.clone()),
                }
            }
        }
    }
    all
}

async fn heal_node(node: Node, jobs: Vec<Job>) -> Vec<(Vec<u32>, Result<String, Trouble>)> {
    let name = node.name.as_str();
    if let Err(error) = assert_ours(&node).await {
        let trouble = Trouble::transport(name, &error);
        let all = jobs
            .into_iter()
            .map(|job| (job.faults, Err(trouble.clone())));
        return all.collect();
    }
    let mut done = Vec::with_capacity(jobs.len());
    for job in jobs {
        let result = heal_one(&node, &job).await;
        done.push((job.faults, result));
    }
    done
}

async fn heal_one(node: &Node, job: &Job) -> Result<String, Trouble> {
    let output = run(node, Exec::shell(&job.script).timeout(SCRIPT_TIMEOUT)).await?;
    if is_heal(&job.script) {
        return Ok(output.stdout_text().trim().replace('\n', "; "));
    }
    if !job.is_partition {
        let short: String = job.script.trim().chars().take(SCRIPT_CHARS).collect();
        return Ok(format!(
            "healed by its script ({})",
            short.replace('\n', " ")
        ));
    }
    if has_table(node).await? {
        return Err(Trouble::lab(
            node.name.as_str(),
            "table inet harness is still there",
        ));
    }
    Ok("table inet harness is gone".to_owned())
}

/// Law 3: the nodes of all healed partitions connect to each other. A pair belongs to the faults
/// that have both its nodes.
async fn see_partitions_healed(
    open: &[FaultRecord],
    nodes: &[Node],
    so_far: &BTreeMap<u32, Undone>,
) -> BTreeMap<u32, Undone> {
    let mut by_fault: BTreeMap<u32, BTreeSet<(usize, usize)>> = BTreeMap::new();
    for fault in open.iter().filter(|f| f.kind == Kind::Partition.as_str()) {
        let failed = |name: &str| {
            let undone = so_far.get(&fault.id);
            undone.is_some_and(|undone| undone.troubles.iter().any(|t| t.node == name))
        };
        let healed: Vec<usize> = (0..nodes.len())
            .filter(|at| {
                let name = nodes[*at].name.as_str();
                fault.heals.iter().any(|heal| heal.node == name) && !failed(name)
            })
            .collect();
        by_fault.insert(fault.id, pairs_of(&healed).into_iter().collect());
    }
    let deadline = Instant::now() + REACH_LIMIT;
    let mut seen = BTreeMap::new();
    for (fault, pairs) in by_fault {
        let pairs: Vec<_> = pairs.into_iter().collect();
        seen.insert(fault, reach(nodes, &pairs, deadline).await);
    }
    seen
}

async fn append(
    ledger: &Arc<dyn Ledger>,
    clock: &Arc<dyn Clock>,
    fault: u32,
    step: Step,
    report: &mut HealReport,
) {
    let line = LedgerLine {
        fault,
        time_ns: 0,
        wall_ns: clock.wall_ns(),
        step,
    };
    let ledger = Arc::clone(ledger);
    let written = tokio::task::spawn_blocking(move || ledger.append(&line)).await;
    if let Err(error) = written.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
        report.ledger_failed(&error);
    }
}

/// In the order of names, each thing said once.
fn tidy(report: &mut HealReport) {
    report.nodes.sort_by(|a, b| a.node.cmp(&b.node));
    for node in &mut report.nodes {
        let mut said = BTreeSet::new();
        node.done.retain(|text| said.insert(text.clone()));
        let mut said: Vec<Trouble> = Vec::new();
        node.troubles.retain(|trouble| {
            let new = !said.contains(trouble);
            if new {
                said.push(trouble.clone());
            }
            new
        });
    }
}
