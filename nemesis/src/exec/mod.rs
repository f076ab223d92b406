//! Doing it: faults injected into real nodes, journalled, watched and healed.
//!
//! 1. Before a fault is injected its heal is on disk; whoever has the ledger can heal ([`replay`]).
//! 2. A fault counts only once it was *seen* to hold; one that was not is recorded as that.
//! 3. Lanes run at the same time and compose: what one heals, another may still hold.
//! 4. Cancelling ends waiting, not healing: each lane heals what it holds before it ends.
//! 5. Healing is bounded in time. What did not answer is reported, never passed over.
//! 6. A node without our marker is never touched.
//!
//! The use, in this order: [`Executor::prepare`] before the run begins (it refuses what cannot be
//! done), [`Executor::run`] when load begins, [`Executor::final_heal`] whatever happened.

mod anew;
mod condition;
mod each;
mod function;
mod guard;
mod journal;
mod lane;
mod live;
pub mod marker;
mod network;
mod offer;
mod one;
mod ports;
mod process;
pub mod replay;
mod report;
mod together;
mod transfer;
mod wait;
mod watched;
mod wipe;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use harness_core::meta::{Plan, Trigger};
use harness_lab::{Node, TransportError};
use thiserror::Error;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use self::{
    each::each,
    guard::Guards,
    journal::Journal,
    lane::run_lane,
    network::{Network, has_table},
    one::{Inner, Planned},
    process::Processes,
    report::Undone,
};
pub use self::{
    guard::{DEFAULT_LEASE, GuardSetting, MIN_LEASE},
    live::{InForce, Live, Stage},
    offer::{Offer, offers},
    ports::{Capabilities, Clock, Ledger, Members, NemesisEvent, NemesisLog, SystemClock},
    replay::{heal_everything, heal_ledger, purge},
    report::{Cause, FaultHeal, HealReport, NodeHeal, Trouble},
    wait::{PhaseEvent, Phases},
};
use crate::{
    plan::{Asked, Kind, parse::parse_target},
    points::{Functions, PointError},
};

/// How long a lane tries to undo its fault before it gives up and leaves that to the final heal.
pub const LANE_HEAL_LIMIT: Duration = Duration::from_secs(30);
/// The same for a node that was wiped: it is removed, made ready and joined anew.
pub const WIPE_HEAL_LIMIT: Duration = Duration::from_secs(90);
/// How long the final heal should be given.
pub const FINAL_HEAL_LIMIT: Duration = Duration::from_secs(60);
/// How long a node may take to answer before the run begins.
const PREPARE_LIMIT: Duration = Duration::from_secs(30);

/// What an executor works with.
pub struct Setup {
    /// The lab's nodes, in the order that the plan was made for.
    pub nodes: Vec<Node>,
    /// What the system can do.
    pub can: Capabilities,
    /// Where faults are journalled.
    pub ledger: Arc<dyn Ledger>,
    /// Where the nemesis' events go.
    pub log: Arc<dyn NemesisLog>,
    /// The times that are written down.
    pub clock: Arc<dyn Clock>,
    /// Who tells phases of operations, for faults that wait for one.
    pub phases: Option<Arc<dyn Phases>>,
    /// Who watches functions of the system's program, for faults that wait for one to be entered.
    pub functions: Arc<dyn Functions>,
    /// How the nodes guard themselves against our death; none: not at all.
    pub guard: Option<GuardSetting>,
}

/// Why a plan is refused before the run begins.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The plan has words that are none.
    #[error("fault {id} of the plan makes no sense ({detail})")]
    Plan {
        /// Its number in the plan.
        id: u32,
        /// Why.
        detail: String,
    },
    /// The system lacks a capability.
    #[error("{kind} cannot be had here: the system under test offers no {}", .missing.join(" and no "))]
    Missing {
        /// The fault's kind.
        kind: Kind,
        /// What is missing.
        missing: Vec<&'static str>,
    },
    /// Two nodes behind one address cannot be cut from each other.
    #[error(
        "{first} and {second} have the same address {address}, so no partition can tell them apart"
    )]
    SharedAddress {
        /// One node.
        first: String,
        /// The other.
        second: String,
        /// Their address.
        address: IpAddr,
    },
    /// A node is not ours, or cannot be asked.
    #[error(transparent)]
    Node(#[from] TransportError),
    /// A node did not answer.
    #[error("{node} did not answer within {} s", PREPARE_LIMIT.as_secs())]
    Silent {
        /// The node's name.
        node: String,
    },
    /// A node cannot be cut.
    #[error("{node} cannot be partitioned ({detail}); it needs nftables and the right to use it")]
    NoNft {
        /// The node's name.
        node: String,
        /// What nft said.
        detail: String,
    },
    /// A function cannot be watched.
    #[error("fault {id} of the plan cannot strike at {function}")]
    Function {
        /// The fault's number in the plan.
        id: u32,
        /// The function.
        function: String,
        /// Why not.
        #[source]
        source: Box<PointError>,
    },
    /// A node cannot be booted anew.
    #[error("{node} cannot be booted anew ({detail}); leave reboot out, or take other nodes")]
    NoReboot {
        /// The node's name.
        node: String,
        /// Why not.
        detail: String,
    },
    /// A node's guard does not answer.
    #[error("the guard of {node} cannot be told ({detail}); `harness lab heal --purge` removes it")]
    NoGuard {
        /// The node's name.
        node: String,
        /// What was said.
        detail: String,
    },
    /// A workload keeps its own account of who is a member.
    #[error(
        "wipe joins what it wiped anew, and this workload changes the membership itself and would not know; choose another --workload, such as bank"
    )]
    WipeAmongChanges,
    /// What a fault waits for cannot be watched.
    #[error("fault {id} of the plan cannot wait for {what}")]
    Watch {
        /// The fault's number in the plan.
        id: u32,
        /// What it waits for.
        what: String,
        /// Why not.
        #[source]
        source: TransportError,
    },
    /// The node or its kernel lacks what the fault takes.
    #[error("{kind} cannot be had on {node}: {reason}{}", .mend.as_ref().map(|mend| format!("; {mend}")).unwrap_or_default())]
    NotOffered {
        /// The fault's kind.
        kind: Kind,
        /// The node's name.
        node: String,
        /// Why not.
        reason: String,
        /// What to do, if something can be done.
        mend: Option<String>,
    },
    /// A fault of an earlier run is still there.
    #[error(
        "{node} has faults left from an earlier run (number {faults}); `harness lab heal` undoes them"
    )]
    FaultsLeft {
        /// The node's name.
        node: String,
        /// Their numbers in that run.
        faults: String,
    },
    /// What a node has could not be found out.
    #[error("whether {kind} can be had on {node} could not be found out ({detail})")]
    Unasked {
        /// The fault's kind.
        kind: Kind,
        /// The node's name.
        node: String,
        /// What went wrong.
        detail: String,
    },
    /// A partition of an earlier run is still there.
    #[error(
        "{node} has a table inet harness left from an earlier run; `harness lab heal` removes it"
    )]
    LeftOver {
        /// The node's name.
        node: String,
    },
}

impl PrepareError {
    /// Whether what was asked for cannot be had here, as opposed to nodes that do not answer or are not as they should be.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Plan { .. }
            | Self::Missing { .. }
            | Self::NotOffered { .. }
            | Self::NoReboot { .. }
            | Self::WipeAmongChanges => true,
            Self::Function { source, .. } => source.is_refusal(),
            Self::Watch { source, .. } => matches!(source, TransportError::Refused { .. }),
            _ => false,
        }
    }
}

/// A fault of the plan as done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its number in the ledger.
    pub fault: u32,
    /// Its number in the plan.
    pub planned: u32,
    /// Its kind.
    pub kind: Kind,
    /// Whether it was seen to hold.
    pub observed: bool,
    /// Whether its lane saw it undone. If not, the final heal tries again.
    pub healed: bool,
}

/// A fault of the plan that was not begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its number in the plan.
    pub planned: u32,
    /// Why.
    pub reason: String,
}

/// What became of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was begun, by number in the ledger.
    pub done: Vec<Done>,
    /// What was not, by number in the plan.
    pub skipped: Vec<Skipped>,
    /// What went wrong with the harness itself: exit code 255.
    pub problems: Vec<String>,
}

/// Injects and heals the faults of one run.
pub struct Executor {
    inner: Arc<Inner>,
    lanes: BTreeMap<u32, Vec<Planned>>,
    /// Renews the leases of the nodes' guards, as long as this lives.
    renewing: Option<AbortHandle>,
}

impl Drop for Executor {
    fn drop(&mut self) {
        if let Some(renewing) = &self.renewing {
            renewing.abort();
        }
    }
}

impl Executor {
    /// Checks that the plan can be done on these nodes, without changing anything on them.
    ///
    /// # Errors
    /// If it cannot; the first thing that stands in the way, with its mend.
    pub async fn prepare(setup: Setup, plan: &Plan) -> Result<Self, PrepareError> {
        let lanes = read_plan(plan, setup.nodes.len())?;
        let kinds: Vec<Kind> = lanes
            .values()
            .flatten()
            .map(|planned| planned.kind)
            .collect();
        for planned in lanes.values().flatten() {
            let at_function = planned.entry().is_some();
            let missing = setup.can.missing(planned.kind, at_function);
            if !missing.is_empty() {
                return Err(PrepareError::Missing {
                    kind: planned.kind,
                    missing,
                });
            }
        }
        let cuts = kinds.contains(&Kind::Partition);
        if kinds.contains(&Kind::Wipe) && setup.can.members.is_some() {
            return Err(PrepareError::WipeAmongChanges);
        }
        if cuts {
            check_addresses(&setup.nodes)?;
        }
        if !kinds.is_empty() {
            let wanted = Wanted {
                cuts,
                boots: kinds.contains(&Kind::Reboot),
                guards: setup.guard.is_some(),
            };
            check_nodes(&setup.nodes, wanted).await?;
        }
        let waits = |trigger: &Trigger| match trigger {
            Trigger::Phase(_) => true,
            Trigger::Function(entry) => entry.after.is_some(),
            Trigger::Watch(watch) => watch.after.is_some(),
            Trigger::Fault(_) => false,
        };
        let mut waiting = plan.faults.iter();
        let waiting = waiting.find(|fault| fault.trigger.as_ref().is_some_and(waits));
        if setup.phases.is_none()
            && let Some(waiting) = waiting
        {
            return Err(PrepareError::Plan {
                id: waiting.id,
                detail: "it waits for an operation, and nobody tells of any".to_owned(),
            });
        }
        offer::check(&setup, lanes.values().flatten()).await?;
        function::check(&setup, lanes.values().flatten()).await?;
        watched::check(&setup, lanes.values().flatten()).await?;
        let network = Network::new(setup.nodes.clone());
        let processes = Processes::new(setup.nodes.clone(), setup.can.clone());
        let journal = Arc::new(Journal::new(setup.ledger, setup.log, setup.clock));
        let guards = Guards::new(setup.guard, setup.nodes.clone(), Arc::clone(&journal));
        let renewing = guards.renew();
        let inner = Inner::new(
            setup.nodes,
            network,
            processes,
            guards,
            setup.can,
            (setup.phases, setup.functions),
            journal,
        );
        let first = lanes.values().filter_map(|faults| faults.first());
        for planned in first.filter(|planned| planned.fault.inject_ms == 0) {
            inner.listen(planned.fault.id);
        }
        Ok(Self {
            inner: Arc::new(inner),
            lanes,
            renewing,
        })
    }

    /// The faults in force, for whoever shows progress.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.inner.live)
    }

    /// Does the plan; load time 0 is the instant of this call. Returns when every lane is through or,
    /// once `cancel` holds true, when every lane has healed what it holds. It may be dropped, too:
    /// then everything is left to [`Self::final_heal`], which must be called in any case.
    pub async fn run(&self, cancel: watch::Receiver<bool>) -> Outcome {
        let began = Instant::now();
        let mut running = JoinSet::new();
        // All listen before the first may speak.
        let lanes: Vec<_> = self
            .lanes
            .values()
            .map(|faults| (faults, self.inner.steps.subscribe()))
            .collect();
        for (faults, steps) in lanes {
            let inner = Arc::clone(&self.inner);
            running.spawn(run_lane(
                inner,
                faults.clone(),
                steps,
                began,
                cancel.clone(),
            ));
        }
        let mut outcome = Outcome::default();
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok(lane) => {
                    outcome.done.extend(lane.done);
                    outcome.skipped.extend(lane.skipped);
                }
                Err(error) => outcome
                    .problems
                    .push(format!("a lane of faults broke off: {error}")),
            }
        }
        outcome.done.sort_by_key(|done| done.fault);
        outcome.skipped.sort_by_key(|skipped| skipped.planned);
        outcome.problems.extend(self.inner.journal.take_problems());
        outcome
    }

    /// Undoes everything that is still open, and returns within about `limit` even if nodes do not
    /// answer. Call it after [`Self::run`] has returned or was dropped; it may be called again. From its
    /// first call on nothing is injected any more.
    pub async fn final_heal(&self, limit: Duration) -> HealReport {
        self.inner.network.close();
        self.inner.processes.close();
        self.inner.conditions.close();
        let deadline = Instant::now() + limit;
        let mut healing = JoinSet::new();
        for fault in self.inner.open() {
            let inner = Arc::clone(&self.inner);
            healing.spawn(async move {
                let undone = inner.heal(&fault, deadline).await;
                (fault.head.clone(), undone)
            });
        }
        let mut report = HealReport::default();
        while let Some(ended) = healing.join_next().await {
            match ended {
                Ok((head, undone)) => {
                    report.add(&undone);
                    report.faults.push(FaultHeal {
                        fault: head.id,
                        kind: head.kind.to_string(),
                        label: head.label,
                        healed: undone.troubles.is_empty(),
                    });
                }
                Err(error) => report.problems.push(format!("a heal broke off: {error}")),
            }
        }
        let late: Undone = self.inner.processes.restart_late_stops(deadline).await;
        report.add(&late);
        report.faults.sort_by_key(|fault| fault.fault);
        report.nodes.sort_by(|a, b| a.node.cmp(&b.node));
        report.problems.extend(self.inner.journal.take_problems());
        report
    }
}

/// Reads the words of a plan, by lane, each lane in the order of time.
fn read_plan(plan: &Plan, nodes: usize) -> Result<BTreeMap<u32, Vec<Planned>>, PrepareError> {
    let mut lanes: BTreeMap<u32, Vec<Planned>> = BTreeMap::new();
    for fault in &plan.faults {
        let error = |detail: String| PrepareError::Plan {
            id: fault.id,
            detail,
        };
        let kind = Kind::from_word(&fault.kind)
            .ok_or_else(|| error(format!("no fault is called {:?}", fault.kind)))?;
        let target = parse_target(kind, &fault.target).map_err(|e| error(e.to_string()))?;
        let asked = kind
            .condition()
            .map(|condition| Asked::read(condition, &fault.options));
        let asked = asked.transpose().map_err(|e| error(e.to_string()))?;
        if fault.order.len() != nodes {
            let planned = fault.order.len();
            return Err(error(format!(
                "it is for {planned} nodes, and there are {nodes}"
            )));
        }
        lanes.entry(fault.lane).or_default().push(Planned {
            fault: fault.clone(),
            kind,
            target,
            asked,
        });
    }
    for lane in lanes.values_mut() {
        lane.sort_by_key(|planned| planned.fault.inject_ms);
    }
    Ok(lanes)
}

fn check_addresses(nodes: &[Node]) -> Result<(), PrepareError> {
    for (at, node) in nodes.iter().enumerate() {
        if let Some(other) = nodes[..at]
            .iter()
            .find(|other| other.address == node.address)
        {
            return Err(PrepareError::SharedAddress {
                first: other.name.to_string(),
                second: node.name.to_string(),
                address: node.address,
            });
        }
    }
    Ok(())
}

/// What the nodes are to be able to do.
#[derive(Clone, Copy)]
struct Wanted {
    cuts: bool,
    boots: bool,
    guards: bool,
}

async fn check_nodes(nodes: &[Node], wanted: Wanted) -> Result<(), PrepareError> {
    let jobs = nodes.iter().map(|node| {
        let checked = node.clone();
        (node, async move { check_node(&checked, wanted).await })
    });
    for (node, answer) in each(jobs, Instant::now() + PREPARE_LIMIT).await {
        answer.unwrap_or_else(|| {
            Err(PrepareError::Silent {
                node: node.name.to_string(),
            })
        })?;
    }
    Ok(())
}

async fn check_node(node: &Node, wanted: Wanted) -> Result<(), PrepareError> {
    marker::assert_ours(node).await?;
    if wanted.boots {
        anew::check(node).await?;
    }
    if wanted.guards {
        // One that a killed harness left must not act in the middle of this run.
        let told = guard::stand_down(node, false).await;
        told.map_err(|detail| PrepareError::NoGuard {
            node: node.name.to_string(),
            detail,
        })?;
    }
    if !wanted.cuts {
        return Ok(());
    }
    let name = node.name.to_string();
    match has_table(node).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(PrepareError::LeftOver { node: name }),
        Err(trouble) => Err(PrepareError::NoNft {
            node: name,
            detail: trouble.text,
        }),
    }
}
