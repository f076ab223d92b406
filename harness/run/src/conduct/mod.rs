//! One run, from the nodes to the history: form, load and break, heal, recover, last reads, collect.
//!
//! 1. Nothing is broken before the system stood, and everything is healed before anything is judged.
//! 2. Every phase ends: each has a limit, and an interruption shortens the load, never the healing.
//! 3. What is learnt is on disk when it is learnt: `meta.json` after each phase, the ledger before each fault.
//! 4. A failure of the harness is told as such (`meta.harness_failures`), and never becomes a verdict about the system.
//!
//! Judging is not here: [`crate::check`] does it from the folder alone, for a run that has just ended as for a stored one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use harness_core::{
    fault,
    generator::{BoxGenerator, Combine, OpSpec, each_thread, repeat},
    meta::{Meta, NodeMeta, Phase, Plan},
    seed::Seed,
};
use harness_lab::Node;
use harness_nemesis::exec::{Capabilities, Executor, HealReport, PrepareError, Setup};
use harness_workloads::{
    client::Clients,
    systems::{System, SystemError},
    workload::{Kind, Load},
};
use thiserror::Error;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    cancel::{Cancel, Level},
    clock::{self, RunClock},
    collect,
    interpreter::{Interpreter, InterpreterError, RunSpec},
    ledger::LedgerOpenError,
    live::Live,
    recorder::{RecordError, Recorder},
    stats::Stats,
    store::{RunFolder, StoreError},
};

/// How long undoing everything may take at the end.
pub const FINAL_HEAL_LIMIT: Duration = Duration::from_secs(120);
/// The same after a second signal.
pub const ABANDONED_HEAL_LIMIT: Duration = Duration::from_secs(20);
/// How long a recovery probe may take, and how long the next one waits on average.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// See [`PROBE_TIMEOUT`].
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// How often the leader is asked for, for the live display.
const LEADER_INTERVAL: Duration = Duration::from_millis(1000);
/// Nodes that a simulation claims to have.
const SIMULATED_NODES: usize = 5;

/// What a run is.
pub struct Setting {
    /// The system under test.
    pub system: Arc<dyn System>,
    /// The nodes of the lab; none for a simulation.
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
    /// Leave the system running.
    pub leave_running: bool,
    /// What is known before it begins: written to `meta.json` and filled up as the run goes on.
    pub meta: Meta,
    /// The run's folder.
    pub folder: RunFolder,
    /// A second place that gets every line of the ledger: the state folder's.
    pub active_ledger: Option<PathBuf>,
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
        ended = run.whole() => ended,
        () = cancel.reached(Level::Leave) => Err(ConductError::Abandoned),
    };
    run.meta.interrupted = cancel.is_raised();
    let failure = match ended {
        Ok(heal) => {
            run.save()?;
            return Ok(Conducted {
                meta: run.meta,
                heal,
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

fn told(error: &dyn std::error::Error) -> String {
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

    async fn whole(&mut self) -> Result<HealReport, ConductError> {
        self.begin_phase("form", None)?;
        self.form().await?;
        self.end_phase();
        self.setting.folder.write_plan(&self.setting.plan)?;
        let clock = self.set_origin();
        let recorder = self.setting.folder.recorder(clock)?;
        self.prepare_nemesis(&recorder, clock).await?;
        self.load(&recorder).await?;
        self.begin_phase("heal", None)?;
        let heal = match &self.executor {
            Some(executor) => executor.final_heal(FINAL_HEAL_LIMIT).await,
            None => HealReport::default(),
        };
        self.meta.lab_dirty = heal.lab_is_dirty();
        self.recover(&recorder).await?;
        self.final_reads(&recorder).await?;
        self.begin_phase("collect", None)?;
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
        Ok(heal)
    }

    /// Wipes what an earlier run left, forms the cluster, makes the workload's data.
    async fn form(&mut self) -> Result<(), ConductError> {
        let (system, nodes) = (&self.setting.system, &self.setting.nodes);
        let mut wiping = JoinSet::new();
        for node in nodes.clone() {
            let system = Arc::clone(system);
            wiping.spawn(async move { system.wipe(&node).await });
        }
        while let Some(wiped) = wiping.join_next().await {
            wiped.map_err(|error| ConductError::Panicked(error.to_string()))??;
        }
        for node in nodes.iter().take(1) {
            // Told before anything else fails in a less clear way.
            system.versions(node).await?;
        }
        system.form(nodes).await?;
        let (metas, remarks) = collect::describe(nodes, system).await;
        self.meta.system_versions = versions(&metas);
        self.meta.nodes = metas;
        for remark in remarks {
            tracing::warn!("{remark}");
        }
        system.prepare(nodes, &self.setting.workload).await?;
        Ok(())
    }

    async fn prepare_nemesis(
        &mut self,
        recorder: &Recorder,
        clock: RunClock,
    ) -> Result<(), ConductError> {
        let ledger = self
            .setting
            .folder
            .ledger(self.setting.active_ledger.as_deref())?;
        if self.setting.plan.faults.is_empty() {
            return Ok(());
        }
        let handles = self.setting.system.handles();
        let setup = Setup {
            nodes: self.setting.nodes.clone(),
            can: Capabilities {
                start: handles.start,
                stop: handles.stop,
                kill: handles.kill,
                pause: handles.pause,
                leader: handles.leader,
            },
            ledger: Arc::new(ledger),
            log: Arc::new(recorder.clone()),
            clock: Arc::new(clock),
        };
        let executor = Arc::new(Executor::prepare(setup, &self.setting.plan).await?);
        self.live.show_faults(executor.live());
        self.executor = Some(executor);
        Ok(())
    }

    fn told(&self) -> Load {
        Load {
            seed: self.setting.seed,
            concurrency: self.setting.concurrency,
            nodes: match self.setting.nodes.len() {
                0 => SIMULATED_NODES,
                count => count,
            },
            rate: self.setting.rate,
            time_limit: self.setting.time_limit,
        }
    }

    /// Load and faults at once, from the same instant on.
    async fn load(&mut self, recorder: &Recorder) -> Result<(), ConductError> {
        self.begin_phase("load", Some(self.setting.time_limit))?;
        let watching = self.watch_leader();
        let (load_ended, faults_end) = watch::channel(false);
        let faults = self
            .executor
            .clone()
            .map(|executor| tokio::spawn(async move { executor.run(faults_end).await }));
        let clients = self
            .setting
            .system
            .clients(&self.setting.nodes, &self.setting.workload);
        let loaded = self
            .interpret(Part {
                generator: self.setting.workload.load(&self.told()),
                clients,
                concurrency: self.setting.concurrency,
                op_timeout: self.setting.op_timeout,
                recorder: recorder.clone(),
                cancel: self.cancel.clone(),
            })
            .await;
        // What still holds is healed now, also if the load failed.
        load_ended.send_replace(true);
        if let Some(faults) = faults {
            let outcome = faults
                .await
                .map_err(|error| ConductError::Panicked(error.to_string()))?;
            self.meta.harness_failures.extend(outcome.problems);
            for skipped in outcome.skipped {
                tracing::warn!(
                    planned = skipped.planned,
                    "fault not injected: {}",
                    skipped.reason
                );
            }
        }
        watching.abort();
        loaded
    }

    async fn interpret(&mut self, part: Part) -> Result<(), ConductError> {
        let stats = Arc::new(Stats::default());
        self.live.show_stats(&stats);
        let summary = Interpreter::run(RunSpec {
            generator: part.generator,
            clients: part.clients,
            concurrency: part.concurrency,
            op_timeout: part.op_timeout,
            recorder: part.recorder,
            cancel: part.cancel,
            stats,
        })
        .await?;
        self.meta.harness_failures.extend(summary.harness_failures);
        Ok(())
    }

    fn watch_leader(&self) -> tokio::task::AbortHandle {
        let (nodes, handles) = (self.setting.nodes.clone(), self.setting.system.handles());
        let shared = self.live.leader();
        tokio::spawn(async move {
            let Some(leader) = handles.leader else { return };
            loop {
                let now = leader.leader(&nodes).await;
                *shared.lock().unwrap_or_else(PoisonError::into_inner) =
                    now.map(|node| node.name.to_string());
                tokio::time::sleep(LEADER_INTERVAL).await;
            }
        })
        .abort_handle()
    }

    /// Every node is asked for a write until it takes one.
    async fn recover(&mut self, recorder: &Recorder) -> Result<(), ConductError> {
        let limit = self.setting.recovery_timeout;
        self.begin_phase("recover", Some(limit))?;
        let seed = self.setting.seed;
        let generator = each_thread(move |thread| {
            repeat(OpSpec::new("availability", ()))
                .stagger(PROBE_INTERVAL, seed.stream(&format!("recover/{thread}")))
                .until_ok()
                .boxed()
        })
        // Asked a little longer than it may take: cut off exactly there, nobody could say that it took too long.
        .time_limit(limit + PROBE_TIMEOUT)
        .boxed();
        let probes = self.setting.system.probes(&self.setting.nodes);
        let threads = match self.setting.nodes.len() {
            0 => SIMULATED_NODES,
            count => count,
        };
        self.interpret(Part {
            generator,
            clients: probes,
            concurrency: threads,
            op_timeout: PROBE_TIMEOUT,
            recorder: recorder.clone(),
            cancel: Cancel::new(),
        })
        .await
    }

    async fn final_reads(&mut self, recorder: &Recorder) -> Result<(), ConductError> {
        let Some(generator) = self.setting.workload.final_reads(&self.told()) else {
            return Ok(());
        };
        self.begin_phase("final-reads", None)?;
        let clients = self
            .setting
            .system
            .clients(&self.setting.nodes, &self.setting.workload);
        self.interpret(Part {
            generator,
            clients,
            concurrency: self.setting.concurrency,
            op_timeout: self.setting.op_timeout,
            recorder: recorder.clone(),
            cancel: Cancel::new(),
        })
        .await
    }

    /// Ends the system's processes, at once: there is nothing left to lose, and a graceful stop of all has no leader to hand over to.
    async fn end_system(&mut self) {
        let Some(kill) = self.setting.system.handles().kill else {
            return;
        };
        let mut ending = JoinSet::new();
        for node in self.setting.nodes.clone() {
            let kill = Arc::clone(&kill);
            ending.spawn(async move { kill.kill(&node).await });
        }
        while let Some(ended) = ending.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::warn!("{error}");
            }
        }
    }

    async fn collect(&mut self, ended_wall_ns: u64) {
        let ledger = std::fs::read(self.setting.folder.path("ledger.jsonl")).unwrap_or_default();
        let faults = fault::decode(&ledger)
            .map(|lines| fault::fold(&lines))
            .unwrap_or_default();
        let remarks = collect::gather(
            &self.setting.nodes,
            &self.setting.system,
            &mut self.meta.nodes,
            &faults,
            self.meta.started_wall_ns,
            ended_wall_ns,
            &self.setting.folder,
        )
        .await;
        for remark in remarks {
            tracing::warn!("{remark}");
        }
    }
}

/// One call of the interpreter.
struct Part {
    generator: BoxGenerator,
    clients: Arc<dyn Clients>,
    concurrency: usize,
    op_timeout: Duration,
    recorder: Recorder,
    /// Recovery and last reads are not cut short by the first signal: there would be nothing to judge.
    cancel: Cancel,
}

/// The versions of all nodes: one if they agree, else all, each once.
fn versions(nodes: &[NodeMeta]) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (package, version) in nodes.iter().flat_map(|node| &node.versions) {
        all.entry(package.clone()).or_default().insert(version);
    }
    all.into_iter()
        .map(|(package, versions)| (package, versions.into_iter().collect::<Vec<_>>().join(", ")))
        .collect()
}
