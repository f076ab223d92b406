//! One run, from the nodes to the history: form, load and break, heal, recover, last reads, collect.
//!
//! A workload that changes the membership has more: nodes that are no members stand by, the sampler reads all along, and between
//! recovery and collecting come settle, probes, last reads and settle again.
//!
//! 1. Nothing is broken before the system stood, and everything is healed before anything is judged.
//! 2. Every phase ends: each has a limit, and an interruption shortens the load, never the healing.
//! 3. What is learnt is on disk when it is learnt: `meta.json` after each phase, the ledger before each fault.
//! 4. A failure of the harness is told as such (`meta.harness_failures`), and never becomes a verdict about the system.
//!
//! Judging is not here: [`crate::check`] does it from the folder alone, for a run that has just ended as for a stored one.
//!
//! Here are the phases and their order; what is done in them: `form`, `load`, `finish`, `membership`. One point of a sweep takes
//! a shorter course: `point`.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use harness_core::{
    event::Event,
    meta::{Meta, Phase, Plan},
    seed::Seed,
};
use harness_lab::Node;
use harness_nemesis::{
    exec::{Executor, HealReport, PrepareError},
    points::Functions,
};
use harness_workloads::{
    systems::{System, SystemError},
    workload::Kind,
};
use thiserror::Error;

pub use self::load::capabilities;
use self::membership::Changing;
use crate::{
    cancel::{Cancel, Level},
    clock::{self, RunClock},
    interpreter::InterpreterError,
    ledger::LedgerOpenError,
    live::Live,
    recorder::{RecordError, Recorder},
    sampler::{SampleError, Sampler},
    store::{RunFolder, StoreError},
};

mod finish;
mod form;
mod load;
mod membership;
mod point;

pub use point::{PointCourse, Settled};

/// How long undoing everything may take at the end.
pub const FINAL_HEAL_LIMIT: Duration = Duration::from_secs(120);
/// The same after a second signal.
pub const ABANDONED_HEAL_LIMIT: Duration = Duration::from_secs(20);
/// What a run is.
pub struct Setting {
    /// The system under test.
    pub system: Arc<dyn System>,
    /// The nodes of the lab, or simulated ones.
    pub nodes: Vec<Node>,
    /// The workload.
    pub workload: Kind,
    /// The faults.
    pub plan: Plan,
    /// The seed.
    pub seed: Seed,
    /// Clients.
    pub concurrency: usize,
    /// Operations a second.
    pub rate: Option<f64>,
    /// How long load lasts.
    pub time_limit: Duration,
    /// Deadline of each operation.
    pub op_timeout: Duration,
    /// How long recovery is waited for.
    pub recovery_timeout: Duration,
    /// How long between two rounds of the sampler, where there is one.
    pub sample_interval: Duration,
    /// How long a node may be out of hearing before it undoes its faults by itself.
    pub agent_heals_after: Duration,
    /// Leave the system running.
    pub leave_running: bool,
    /// What is known before it begins: written to `meta.json` and filled up as the run goes on.
    pub meta: Meta,
    /// The run's folder.
    pub folder: RunFolder,
    /// A second place that gets every line of the ledger: the state folder's.
    pub active_ledger: Option<PathBuf>,
    /// One point of a sweep instead of a whole run.
    pub point: Option<PointCourse>,
    /// Who finds and watches functions, where somebody knows the program already; none to read it anew.
    pub functions: Option<Arc<dyn Functions>>,
}

/// Why a run could not be done. Says nothing about the system's consistency.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConductError {
    /// The system could not be made ready.
    #[error("the system could not be made ready")]
    System(#[from] SystemError),
    /// The nemesis cannot do its plan here.
    #[error("the faults cannot be injected")]
    Nemesis(#[from] PrepareError),
    /// The run's folder.
    #[error("the run cannot be stored")]
    Store(#[from] StoreError),
    /// The ledger.
    #[error("the ledger cannot be begun")]
    Ledger(#[from] LedgerOpenError),
    /// The history could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The views could not be begun.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The system has no membership that could be changed, or the lab does not fit the workload.
    #[error("the membership workload cannot be done: {0}")]
    Membership(String),
    /// The interpreter refused.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// A part of the harness panicked.
    #[error("a task of the harness panicked: {0}")]
    Panicked(String),
    /// A second signal.
    #[error("interrupted a second time: healed and left without judging")]
    Abandoned,
}

/// What a run left, besides its folder.
#[derive(Debug)]
pub struct Conducted {
    /// As written to `meta.json`.
    pub meta: Meta,
    /// Whether all faults were undone.
    pub heal: HealReport,
    /// How settling went, of a point of a sweep.
    pub settled: Option<Settled>,
}

/// Does a run. [`Level::Stop`] ends the load early, [`Level::Leave`] ends everything but healing.
///
/// # Errors
/// If the cluster cannot be formed, or the harness itself fails before there is anything to judge. Faults are healed all the same.
pub async fn conduct(
    setting: Setting,
    live: &Live,
    cancel: &Cancel,
) -> Result<Conducted, ConductError> {
    let mut run = Run::new(setting, live, cancel.clone());
    let ended = tokio::select! {
        ended = run.course() => ended,
        () = cancel.reached(Level::Leave) => Err(ConductError::Abandoned),
    };
    run.meta.interrupted = cancel.is_raised();
    let failure = match ended {
        Ok(heal) => {
            run.save()?;
            return Ok(Conducted {
                meta: run.meta,
                heal,
                settled: run.settled,
            });
        }
        Err(error) => error,
    };
    let abandoned = matches!(failure, ConductError::Abandoned);
    if !abandoned {
        run.meta.harness_failures.push(told(&failure));
    }
    if let Some(executor) = &run.executor {
        let report = executor.final_heal(ABANDONED_HEAL_LIMIT).await;
        run.meta.lab_dirty = report.lab_is_dirty();
    }
    if !abandoned {
        // Without its logs nobody can tell why.
        run.collect(clock::wall_ns()).await;
    }
    run.end_phase();
    // The first error is the one to tell.
    let _ = run.save();
    Err(failure)
}

/// An error with its sources.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A run under way.
struct Run<'a> {
    setting: Setting,
    live: &'a Live,
    cancel: Cancel,
    meta: Meta,
    began: Instant,
    /// Once the history has a time 0.
    clock: Option<RunClock>,
    executor: Option<Arc<Executor>>,
    /// Where the workload changes the membership.
    changing: Option<Changing>,
    sampler: Option<Sampler>,
    /// Joins and removes, once all are recorded.
    changes: Vec<Event>,
    settled: Option<Settled>,
}

impl<'a> Run<'a> {
    fn new(setting: Setting, live: &'a Live, cancel: Cancel) -> Self {
        Self {
            meta: setting.meta.clone(),
            setting,
            live,
            cancel,
            began: Instant::now(),
            clock: None,
            executor: None,
            changing: None,
            sampler: None,
            changes: Vec::new(),
            settled: None,
        }
    }

    /// Nanoseconds since time 0 of the history; while there is none, since the run began.
    fn now_ns(&self) -> i64 {
        let since = match self.clock {
            Some(clock) => clock.now_ns(),
            None => u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX),
        };
        i64::try_from(since).unwrap_or(i64::MAX)
    }

    /// Time 0 of the history is now: what came before has negative times.
    fn set_origin(&mut self) -> RunClock {
        let before_ns = self.now_ns();
        for phase in &mut self.meta.phases {
            phase.start_ns -= before_ns;
            phase.end_ns = phase.end_ns.map(|end_ns| end_ns - before_ns);
        }
        self.meta.started_wall_ns = clock::wall_ns();
        let clock = RunClock::start();
        self.clock = Some(clock);
        clock
    }

    fn save(&self) -> Result<(), StoreError> {
        self.setting.folder.write_meta(&self.meta)
    }

    /// Ends the phase that goes on, and begins the next.
    fn begin_phase(&mut self, name: &str, length: Option<Duration>) -> Result<(), StoreError> {
        self.end_phase();
        self.meta.phases.push(Phase {
            name: name.to_owned(),
            start_ns: self.now_ns(),
            end_ns: None,
        });
        self.live.enter_phase(name, length);
        self.save()
    }

    fn end_phase(&mut self) {
        let now_ns = self.now_ns();
        if let Some(phase) = self.meta.phases.last_mut()
            && phase.end_ns.is_none()
        {
            phase.end_ns = Some(now_ns);
        }
    }

    async fn course(&mut self) -> Result<HealReport, ConductError> {
        self.begin_phase("form", None)?;
        self.changing = Changing::new(&self.setting)?;
        if let Some(changing) = &self.changing {
            changing.tell(&self.setting, &mut self.meta.workload_options);
        }
        match self.setting.point.clone() {
            Some(point) => self.point(point).await,
            None => self.whole().await,
        }
    }

    /// From a cluster that stands to one that was loaded, broken and healed.
    async fn load_and_heal(&mut self) -> Result<(Recorder, HealReport), ConductError> {
        self.end_phase();
        self.setting.folder.write_plan(&self.setting.plan)?;
        let clock = self.set_origin();
        let recorder = self.setting.folder.recorder(clock)?;
        self.start_sampler(clock)?;
        self.prepare_nemesis(&recorder, clock).await?;
        self.load(&recorder).await?;
        self.begin_phase("heal", None)?;
        let heal = match &self.executor {
            Some(executor) => executor.final_heal(FINAL_HEAL_LIMIT).await,
            None => HealReport::default(),
        };
        self.meta.lab_dirty = heal.lab_is_dirty();
        Ok((recorder, heal))
    }

    async fn whole(&mut self) -> Result<HealReport, ConductError> {
        self.form().await?;
        let (recorder, heal) = self.load_and_heal().await?;
        self.recover(&recorder).await?;
        self.settle().await?;
        self.probe(&recorder).await?;
        self.final_reads(&recorder).await?;
        self.settle().await?;
        self.end(&recorder).await?;
        Ok(heal)
    }

    /// Ends what records, and the system unless it is to run on, and gathers what the nodes have.
    async fn end(&mut self, recorder: &Recorder) -> Result<(), ConductError> {
        self.begin_phase("collect", None)?;
        self.end_sampler().await;
        self.changes = recorder.changes();
        let recorder = recorder.clone();
        let recorded = tokio::task::spawn_blocking(move || recorder.finish())
            .await
            .map_err(|error| ConductError::Panicked(error.to_string()))??;
        tracing::debug!(events = recorded.events, "the history is written");
        let ended_wall_ns = clock::wall_ns();
        if !self.setting.leave_running {
            self.end_system().await;
        }
        self.collect(ended_wall_ns).await;
        self.end_phase();
        Ok(())
    }
}
