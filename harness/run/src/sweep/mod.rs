//! A sweep: every function that a join or a remove goes through is a crash point; each is tried on a fresh cluster.
//!
//! ```text
//! form once, keep ──► trace idle ──► trace the operation ──► points
//!        └────────► put back ──► the operation, struck at the point ──► recovery ──► settled ──► judged ──► mends ──► journal ──┐
//!                      ▲────────────────────────────────────────── next point ◄────────────────────────────────────────────────┘
//! ```
//!
//! 1. Each point is a run of its own ([`crate::conduct`]), with history, views, ledger and verdict in a folder below the sweep's.
//! 2. A point counts as finished when its line is on disk; an interrupted sweep goes on with the others, and does none twice.
//! 3. A point that was armed and never entered is a result of its own. It is tried [`TRIES`] times first.
//! 4. Cells (a cluster each, on nodes of their own) work at the same time, and share nothing but the journal.
//!
//! `cell` is a cluster that is put back; `trace` finds the points; `point` tries one; `mend` tries to mend what it left; `journal`
//! keeps what is finished. `traced` only watches an operation, on every node.

use std::{
    collections::{BTreeSet, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use harness_core::{
    meta::Meta,
    sweep::{CrashPoint, Head, PointResult, Sweep, Trace},
};
use harness_lab::{Node, capability::CapabilityError};
use harness_nemesis::points::{PointError, Programs};
use harness_workloads::systems::{System, SystemError};
use regex::Regex;
use thiserror::Error;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    cancel::{Cancel, Level},
    conduct::ConductError,
    load::LoadError,
    store::{RunStore, StoreError},
};

mod cell;
mod journal;
mod look;
mod mend;
mod point;
mod trace;
mod traced;

pub use cell::Cell;
pub use journal::{Journal, JournalError};
pub use traced::{Entered, Traced, Watched, traced};

/// How often a point is tried before it is told as never entered, or as not to be had.
pub const TRIES: u32 = 2;

/// How the points are chosen.
#[derive(Clone, Debug)]
pub enum Points {
    /// The functions of the system's own packages that the operation enters and an idle cluster does not.
    Own,
    /// Of all functions of the program, those that match, traced likewise.
    Matching(Regex),
    /// These, in this order; nothing is traced.
    Named(Vec<String>),
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Operation, victim, fault, members.
    pub head: Head,
    /// Which points.
    pub points: Points,
    /// How long all sources must say the same.
    pub unchanged: Duration,
    /// How long that is waited for.
    pub settle_limit: Duration,
    /// How long the operation may take.
    pub op_timeout: Duration,
    /// How long the fault is on, if the operation does not end before.
    pub fault_on: Duration,
    /// How long the members may take to accept writes again.
    pub recovery_timeout: Duration,
    /// Between two rounds of the sampler.
    pub sample_interval: Duration,
    /// Only so many points, the first ones.
    pub first: Option<usize>,
    /// Whether mends are tried.
    pub mends: bool,
    /// What is known of each run before it begins.
    pub meta: Meta,
}

/// Why a sweep cannot go on. Says nothing about the system.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SweepError {
    /// It does not fit the system or the lab.
    #[error("{0}")]
    Refused(String),
    /// A node did not do as told.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    /// The cluster could not be had.
    #[error("a fresh cluster cannot be had")]
    System(#[from] SystemError),
    /// Functions cannot be watched.
    #[error(transparent)]
    Point(#[from] PointError),
    /// A probe was lost.
    #[error("the trace was lost: {0}")]
    Probe(#[from] harness_lab::probe::ProbeError),
    /// A run of a point could not be done.
    #[error("the run of a point failed")]
    Conduct(#[from] ConductError),
    /// A run of a point cannot be read.
    #[error("the run of a point cannot be read")]
    Load(#[from] LoadError),
    /// Results cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A ledger of faults stands in the way.
    #[error("{}: {detail}", path.display())]
    Ledger {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A node cannot be reached.
    #[error(transparent)]
    Transport(#[from] harness_lab::TransportError),
    /// A part of the harness panicked.
    #[error("a task of the harness panicked: {0}")]
    Panicked(String),
    /// Somebody wants an end.
    #[error("interrupted")]
    Interrupted,
}

/// What is told while it goes on.
#[derive(Clone, Debug)]
pub enum Told {
    /// What goes on now.
    Now(String),
    /// A point is finished.
    Finished {
        /// What it came to.
        result: Box<PointResult>,
        /// How many are finished.
        done: usize,
        /// Of how many.
        total: usize,
        /// How long the rest will take, about.
        left: Duration,
    },
    /// A point could not be had, and why; it stays open.
    Open {
        /// Which.
        point: CrashPoint,
        /// Why.
        why: String,
    },
}

/// Who hears it.
pub type Tell = Arc<dyn Fn(Told) + Send + Sync>;

/// What a sweep works with.
pub struct Works {
    /// What is asked.
    pub ask: Ask,
    /// Its folder; runs of points go to `runs` below it.
    pub folder: PathBuf,
    /// Where its runs are kept.
    pub runs: RunStore,
    /// Programs of the nodes, read once.
    pub programs: Arc<Programs>,
    /// Who hears what goes on.
    pub tell: Tell,
    /// Whether to go on.
    pub cancel: Cancel,
}

impl Works {
    fn now(&self, text: impl Into<String>) {
        (self.tell)(Told::Now(text.into()));
    }

    fn go_on(&self) -> Result<(), SweepError> {
        match self.cancel.level() {
            Level::Run => Ok(()),
            _ => Err(SweepError::Interrupted),
        }
    }
}

/// How a sweep ended.
#[derive(Debug)]
pub struct Swept {
    /// What is finished, folded.
    pub sweep: Sweep,
    /// Points that are not, because of the harness or an interruption.
    pub open: usize,
    /// Whether somebody interrupted it.
    pub interrupted: bool,
}

/// Does a sweep, or goes on with one: what is in the journal is not done again.
///
/// # Errors
/// If the cluster, the trace or the journal cannot be had. A single point that cannot be had is told and left open.
pub async fn sweep(
    works: Works,
    cells: Vec<Cell>,
    mut journal: Journal,
) -> Result<Swept, SweepError> {
    let works = Arc::new(works);
    let cells = cell::make_ready(&works, cells).await?;
    let first = cells
        .first()
        .ok_or_else(|| SweepError::Refused("nodes: there is no cell".to_owned()))?;
    let trace = match journal.trace() {
        Some(trace) => trace.clone(),
        None => {
            let mut trace = trace::points(&works, first).await?;
            trace.points.truncate(works.ask.first.unwrap_or(usize::MAX));
            journal.write_trace(&trace)?;
            trace
        }
    };
    let done: BTreeSet<u32> = journal
        .results()
        .iter()
        .map(|result| result.point.number)
        .collect();
    let waiting = trace
        .points
        .iter()
        .filter(|point| !done.contains(&point.number));
    let queue: Arc<Mutex<VecDeque<CrashPoint>>> = Arc::new(Mutex::new(waiting.cloned().collect()));
    let (sender, mut finished) = mpsc::channel(cells.len());
    let mut working = JoinSet::new();
    let workers = cells.len();
    for cell in cells {
        working.spawn(work(
            Arc::clone(&works),
            cell,
            Arc::clone(&queue),
            sender.clone(),
        ));
    }
    drop(sender);
    let (began, mut since) = (Instant::now(), 0_u32);
    while let Some(result) = finished.recv().await {
        journal.write_point(&result)?;
        since += 1;
        let left = trace.points.len().saturating_sub(journal.results().len());
        // Workers finish at the same time, more or less: what one point takes all of them together is what counts.
        let each = began.elapsed() / since.max(1);
        let rounds = u32::try_from(left).unwrap_or(u32::MAX);
        (works.tell)(Told::Finished {
            result: Box::new(result),
            done: journal.results().len(),
            total: trace.points.len(),
            left: each.saturating_mul(rounds),
        });
    }
    tracing::debug!(workers, "all cells are through");
    while let Some(ended) = working.join_next().await {
        ended.map_err(|error| SweepError::Panicked(error.to_string()))?;
    }
    let open = trace.points.len().saturating_sub(journal.results().len());
    Ok(Swept {
        sweep: Sweep::new(journal.head().clone(), trace, journal.results().to_vec()),
        open,
        interrupted: works.cancel.is_raised(),
    })
}

/// One cell takes points until there are none.
async fn work(
    works: Arc<Works>,
    cell: Cell,
    queue: Arc<Mutex<VecDeque<CrashPoint>>>,
    finished: mpsc::Sender<PointResult>,
) {
    loop {
        let next = queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let Some(next) = next else { return };
        let mut last = None;
        for _ in 0..TRIES {
            if works.cancel.is_raised() {
                return;
            }
            match point::attempt(&works, &cell, &next).await {
                Ok(result) => {
                    let again = !result.struck;
                    last = Some(Ok(result));
                    if !again {
                        break;
                    }
                }
                Err(SweepError::Interrupted) => return,
                Err(error) => {
                    let said = crate::conduct::told(&error);
                    tracing::warn!("{}: {said}", next.function);
                    // A result of an earlier try is worth more than a failure of ours.
                    last = Some(last.and_then(Result::ok).ok_or(said));
                }
            }
        }
        match last {
            Some(Ok(result)) => {
                if works.cancel.is_raised() || finished.send(result).await.is_err() {
                    return;
                }
            }
            Some(Err(why)) => (works.tell)(Told::Open { point: next, why }),
            None => return,
        }
    }
}

/// Whom the operation is about, of a cell.
fn subject<'a>(ask: &Ask, nodes: &'a [Node]) -> &'a Node {
    use harness_core::sweep::SweepOp;
    let at = match ask.head.op {
        SweepOp::Join | SweepOp::FailedJoin => ask.head.members,
        SweepOp::Remove => ask.head.members - 1,
    };
    &nodes[at]
}

/// Nodes that a cell needs.
#[must_use]
pub fn nodes_needed(head: &Head) -> usize {
    use harness_core::sweep::SweepOp;
    match head.op {
        SweepOp::Join | SweepOp::FailedJoin => head.members + 1,
        SweepOp::Remove => head.members,
    }
}

/// The system of a cell; a handle that a sweep needs and it lacks is refused.
fn needed<T>(what: &str, system: &dyn System, handle: Option<T>) -> Result<T, SweepError> {
    handle.ok_or_else(|| {
        SweepError::Refused(format!(
            "system: {} offers no {what}, which a sweep needs (mend: lxd)",
            system.name()
        ))
    })
}

/// The points of names that were given by hand.
fn named(names: &[String]) -> Trace {
    let numbered = names.iter().zip(1..);
    Trace {
        points: numbered
            .map(|(name, number)| CrashPoint {
                number,
                function: name.clone(),
                at_ns: None,
                hits: 0,
                nth: 1,
            })
            .collect(),
        watched: names.len(),
        ..Trace::default()
    }
}
