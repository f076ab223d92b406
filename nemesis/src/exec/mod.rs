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

mod again;
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
mod prepare;
mod process;
pub mod replay;
mod report;
mod together;
mod transfer;
mod wait;
mod watched;
mod wipe;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use harness_core::meta::Plan;
use harness_lab::Node;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use self::{
    guard::Guards,
    journal::Journal,
    lane::run_lane,
    network::Network,
    one::{Inner, Planned},
    process::Processes,
    report::Undone,
};
pub use self::{
    guard::{DEFAULT_LEASE, GuardSetting, MIN_LEASE},
    live::{InForce, Live, Stage},
    offer::{Offer, offers},
    ports::{Capabilities, Clock, Ledger, Members, NemesisEvent, NemesisLog, SystemClock},
    prepare::PrepareError,
    replay::{heal_everything, heal_ledger, purge},
    report::{Cause, FaultHeal, HealReport, NodeHeal, Trouble},
    wait::{Held, Hold, PhaseEvent, Phases},
};
use crate::{plan::Kind, points::Functions};

/// How long a lane tries to undo its fault before it gives up and leaves that to the final heal.
pub const LANE_HEAL_LIMIT: Duration = Duration::from_secs(30);
/// The same for a node that was wiped: it is removed, made ready and joined anew.
pub const WIPE_HEAL_LIMIT: Duration = Duration::from_secs(90);
/// How long the final heal should be given.
pub const FINAL_HEAL_LIMIT: Duration = Duration::from_secs(60);

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
        let lanes = prepare::lanes(&setup, plan).await?;
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
            inner.listen(planned);
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
