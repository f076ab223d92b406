//! A cell: a cluster on nodes of its own, formed once, kept, and put back before each point.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use harness_core::{
    fault::{self, FaultRecord},
    meta::NodeMeta,
    sweep::Victim,
};
use harness_lab::{Node, capability::CapabilityError};
use harness_nemesis::exec::{Clock, Ledger, heal_ledger};
use harness_workloads::systems::System;
use tokio::{task::JoinSet, time::sleep};

use super::{Ask, SweepError, Works, needed, nodes_needed, subject};
use crate::{
    clock::{self, RunClock},
    collect,
    ledger::LedgerWriter,
};

/// How long a member that is to lead may take to lead.
const LEAD_LIMIT: Duration = Duration::from_secs(10);
/// How often it is asked who leads.
const LEAD_POLL: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Clone)]
pub struct Cell {
    /// Its nodes: members first, then who stands by.
    pub nodes: Vec<Node>,
    /// The system on them.
    pub system: Arc<dyn System>,
    /// A second place that gets every line of its runs' ledgers.
    pub active_ledger: Option<PathBuf>,
    /// The nodes as they were described when the cell was made ready.
    pub described: Vec<NodeMeta>,
    /// Their names as told: those of the first cell, so that what points came to can be compared.
    pub shown: Vec<String>,
}

impl Cell {
    pub(super) fn members(&self, ask: &Ask) -> &[Node] {
        &self.nodes[..ask.head.members.min(self.nodes.len())]
    }

    /// Members that the operation is not about.
    pub(super) fn others(&self, ask: &Ask) -> Vec<Node> {
        let subject = &subject(ask, &self.nodes).name;
        let others = self
            .members(ask)
            .iter()
            .filter(|node| node.name != *subject);
        others.cloned().collect()
    }

    /// The member that leads.
    pub(super) async fn leader(&self, ask: &Ask) -> Result<Node, SweepError> {
        let knows = needed("leader", &*self.system, self.system.handles().leader)?;
        let leader = knows.leader(self.members(ask)).await;
        leader.ok_or_else(|| SweepError::Refused("the fresh cluster has no leader".to_owned()))
    }

    /// The node that the fault strikes.
    pub(super) async fn victim(&self, ask: &Ask) -> Result<Node, SweepError> {
        let subject = subject(ask, &self.nodes);
        let (victim, system) = (ask.head.victim, &*self.system);
        if matches!(victim, Victim::Joiner | Victim::Removed) {
            return Ok(subject.clone());
        }
        let knows = needed("leader", system, system.handles().leader)?;
        let nobody = |what: &str| SweepError::Refused(format!("the fresh cluster has no {what}"));
        let leader = self.leader(ask).await?;
        if victim == Victim::Leader {
            return Ok(leader);
        }
        let voters = knows.voters(self.members(ask)).await.unwrap_or_default();
        voters
            .into_iter()
            .find(|voter| voter.name != leader.name && voter.name != subject.name)
            .ok_or_else(|| nobody("follower that votes"))
    }

    /// Puts the kept cluster back, with the first node as its leader. Returns how long that took.
    pub(super) async fn put_back(&self, ask: &Ask) -> Result<Duration, SweepError> {
        let began = Instant::now();
        let fresh = needed(
            "way to put a cluster back",
            &*self.system,
            self.system.fresh(),
        )?;
        let mut putting = JoinSet::new();
        for node in self.nodes.clone() {
            let fresh = Arc::clone(&fresh);
            putting.spawn(async move { fresh.put_back(&node).await });
        }
        all(putting).await?;
        let members = self.members(ask);
        fresh.ready(members).await?;
        if let Some(knows) = self.system.handles().leader {
            let until = Instant::now() + LEAD_LIMIT;
            let first = &self.nodes[0];
            let mut asked = false;
            while Instant::now() < until {
                match knows.leader(members).await {
                    Some(leader) if leader.name == first.name => break,
                    Some(_) if !asked => {
                        fresh.lead(members, first).await;
                        asked = true;
                    }
                    _ => sleep(LEAD_POLL).await,
                }
            }
        }
        Ok(began.elapsed())
    }
}

impl Cell {
    /// Closes what an earlier point could not heal, such as a daemon that did not start again: the fresh state has undone it, and
    /// this sees that it has.
    pub(super) async fn close_ledger(&self) -> Result<(), SweepError> {
        let Some(path) = &self.active_ledger else {
            return Ok(());
        };
        let Ok(bytes) = std::fs::read(path) else {
            return Ok(());
        };
        let broken = |detail: String| SweepError::Ledger {
            path: path.clone(),
            detail,
        };
        let lines = fault::decode(&bytes).map_err(|error| broken(error.to_string()))?;
        if !fault::fold(&lines).iter().any(FaultRecord::is_open) {
            return Ok(());
        }
        let ledger = LedgerWriter::resume(path).map_err(|error| broken(error.to_string()))?;
        let (ledger, clock): (Arc<dyn Ledger>, Arc<dyn Clock>) =
            (Arc::new(ledger), Arc::new(RunClock::start()));
        let report = heal_ledger(&lines, &self.nodes, &ledger, &clock).await;
        match report.is_clean() {
            true => Ok(()),
            false => Err(broken(
                "what an earlier point left cannot be healed; harness lab heal".to_owned(),
            )),
        }
    }
}

async fn all(mut jobs: JoinSet<Result<(), CapabilityError>>) -> Result<(), SweepError> {
    while let Some(ended) = jobs.join_next().await {
        ended.map_err(|error| SweepError::Panicked(error.to_string()))??;
    }
    Ok(())
}

/// Describes the nodes of all cells, and sees to it that each has a kept cluster.
pub(super) async fn make_ready(
    works: &Arc<Works>,
    cells: Vec<Cell>,
) -> Result<Vec<Cell>, SweepError> {
    let mut making = JoinSet::new();
    let first = cells.first().map(|cell| cell.nodes.iter());
    let shown: Vec<String> = first
        .into_iter()
        .flatten()
        .map(|node| node.name.to_string())
        .collect();
    for (place, mut cell) in cells.into_iter().enumerate() {
        cell.shown.clone_from(&shown);
        let works = Arc::clone(works);
        making.spawn(async move { Ok::<_, SweepError>((place, ready(&works, cell).await?)) });
    }
    let mut made = Vec::new();
    while let Some(ended) = making.join_next().await {
        made.push(ended.map_err(|error| SweepError::Panicked(error.to_string()))??);
    }
    made.sort_by_key(|(place, _)| *place);
    Ok(made.into_iter().map(|(_, cell)| cell).collect())
}

async fn ready(works: &Works, mut cell: Cell) -> Result<Cell, SweepError> {
    let ask = &works.ask;
    if cell.nodes.len() != nodes_needed(&ask.head) {
        let needed = nodes_needed(&ask.head);
        return Err(SweepError::Refused(format!(
            "nodes: a cell needs {needed}, and this one has {}",
            cell.nodes.len()
        )));
    }
    let fresh = needed(
        "way to put a cluster back",
        &*cell.system,
        cell.system.fresh(),
    )?;
    let membership = needed(
        "membership",
        &*cell.system,
        cell.system.handles().membership,
    )?;
    let (described, remarks) = collect::describe(&cell.nodes, &cell.system).await;
    for remark in remarks {
        tracing::warn!("{remark}");
    }
    cell.described = described;
    let key = key(ask, &cell);
    if kept_together(&cell, &*fresh, &key).await? {
        return Ok(cell);
    }
    works.go_on()?;
    works.now(format!(
        "form: a cluster of {} on {}",
        ask.head.members,
        names(&cell.nodes)
    ));
    let mut wiping = JoinSet::new();
    for node in cell.nodes.clone() {
        let system = Arc::clone(&cell.system);
        wiping.spawn(async move { system.wipe(&node).await });
    }
    while let Some(wiped) = wiping.join_next().await {
        wiped.map_err(|error| SweepError::Panicked(error.to_string()))??;
    }
    let (members, others) = cell.nodes.split_at(ask.head.members);
    cell.system.form(members).await?;
    for node in others {
        membership.stand_by(node).await?;
    }
    // A quiet moment: everybody has heard of everybody.
    works.now(format!("form: letting {} settle", names(&cell.nodes)));
    sleep(ask.unchanged).await;
    let stamp = format!("{key} {}", clock::wall_ns());
    let mut keeping = JoinSet::new();
    for node in cell.nodes.clone() {
        let (fresh, stamp) = (Arc::clone(&fresh), stamp.clone());
        keeping.spawn(async move { fresh.keep(&node, &stamp).await });
    }
    all(keeping).await?;
    Ok(cell)
}

fn names(nodes: &[Node]) -> String {
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    names.join(" ")
}

/// What a copy must be of, to be used again.
fn key(ask: &Ask, cell: &Cell) -> String {
    let versions: Vec<String> = cell
        .described
        .iter()
        .flat_map(|node| &node.versions)
        .map(|(package, version)| format!("{package}={version}"))
        .collect();
    let mut versions = versions;
    versions.sort_unstable();
    versions.dedup();
    format!(
        "{} {} of {}; {}; {}",
        cell.system.name(),
        ask.head.members,
        names(&cell.nodes),
        versions.join(" "),
        ask.meta.config
    )
}

/// Whether all nodes keep copies of one cluster, and of the one that is wanted.
async fn kept_together(
    cell: &Cell,
    fresh: &dyn harness_workloads::systems::fresh::Fresh,
    key: &str,
) -> Result<bool, SweepError> {
    let mut first: Option<String> = None;
    for node in &cell.nodes {
        let Some(stamp) = fresh.kept(node).await? else {
            return Ok(false);
        };
        let alike = first.as_ref().is_none_or(|first| *first == stamp);
        if !alike || !stamp.starts_with(key) {
            return Ok(false);
        }
        first.get_or_insert(stamp);
    }
    Ok(first.is_some())
}
