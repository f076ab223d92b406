//! The phase `load`: clients and faults at once, from the same instant on.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use harness_core::generator::BoxGenerator;
use harness_nemesis::{
    exec::{Capabilities, Executor, GuardSetting, Setup},
    points::Programs,
};
use harness_workloads::{client::Clients, systems::Handles, workload::Load};
use tokio::sync::watch;

use super::{ConductError, Run, membership::Changing};
use crate::{
    cancel::Cancel,
    clock::RunClock,
    deadlines::Deadlines,
    interpreter::{Interpreter, RunSpec},
    recorder::Recorder,
    stats::Stats,
};

/// How often the leader is asked for, for the live display.
const LEADER_INTERVAL: Duration = Duration::from_millis(1000);

/// One call of the interpreter.
pub(super) struct Part {
    pub(super) generator: BoxGenerator,
    pub(super) clients: Arc<dyn Clients>,
    pub(super) concurrency: usize,
    pub(super) deadlines: Deadlines,
    pub(super) recorder: Recorder,
    /// Recovery and last reads are not cut short by the first signal: there would be nothing to judge.
    pub(super) cancel: Cancel,
}

/// What a system can do, as the nemesis asks for it.
#[must_use]
pub fn capabilities(handles: Handles) -> Capabilities {
    Capabilities {
        start: handles.start,
        stop: handles.stop,
        kill: handles.kill,
        pause: handles.pause,
        wipe: handles.wipe,
        membership: handles.membership,
        transfer: handles.transfer,
        program: handles.program,
        data: handles.data,
        leader: handles.leader,
        members: None,
        log_files: handles.log_files,
        query: handles.query,
        sources: handles.sources,
    }
}

impl Run<'_> {
    pub(super) async fn prepare_nemesis(
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
        let mut can = capabilities(self.setting.system.handles());
        can.members = self.changing.as_ref().map(Changing::members);
        let setup = Setup {
            nodes: self.setting.nodes.clone(),
            can,
            ledger: Arc::new(ledger),
            log: Arc::new(recorder.clone()),
            clock: Arc::new(clock),
            phases: Some(Arc::new(recorder.clone())),
            functions: match &self.setting.functions {
                Some(functions) => Arc::clone(functions),
                None => Arc::new(Programs::default()),
            },
            guard: Some(GuardSetting {
                run: self.meta.id.clone(),
                lease: self.setting.agent_heals_after,
            }),
        };
        let executor = Arc::new(Executor::prepare(setup, &self.setting.plan).await?);
        self.live.show_faults(executor.live());
        self.executor = Some(executor);
        Ok(())
    }

    pub(super) fn told(&self) -> Load {
        let names = self.setting.nodes.iter();
        Load {
            seed: self.setting.seed,
            concurrency: self.setting.concurrency,
            names: names.map(|node| node.name.as_str().into()).collect(),
            rate: self.setting.rate,
            time_limit: self.setting.time_limit,
        }
    }

    /// Clients of the workload; the same group of members all along.
    pub(super) fn clients(&self) -> Arc<dyn Clients> {
        match &self.changing {
            Some(changing) => changing.clients(),
            None => self
                .setting
                .system
                .clients(&self.setting.nodes, &self.setting.workload),
        }
    }

    pub(super) fn deadlines(&self) -> Deadlines {
        match &self.changing {
            Some(changing) => changing.deadlines(self.setting.op_timeout),
            None => self.setting.op_timeout.into(),
        }
    }

    /// Load and faults at once, from the same instant on.
    pub(super) async fn load(&mut self, recorder: &Recorder) -> Result<(), ConductError> {
        self.begin_phase("load", Some(self.setting.time_limit))?;
        let watching = self.watch_leader();
        let (load_ended, faults_end) = watch::channel(false);
        let faults = self
            .executor
            .clone()
            .map(|executor| tokio::spawn(async move { executor.run(faults_end).await }));
        if self.setting.point.is_some() {
            self.wait_until_armed().await?;
        }
        let (clients, deadlines) = (self.clients(), self.deadlines());
        let loaded = self
            .interpret(Part {
                generator: self.setting.workload.load(&self.told()),
                clients,
                concurrency: self.setting.concurrency,
                deadlines,
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

    pub(super) async fn interpret(&mut self, part: Part) -> Result<(), ConductError> {
        let stats = Arc::new(Stats::default());
        self.live.show_stats(&stats);
        let summary = Interpreter::run(RunSpec {
            generator: part.generator,
            clients: part.clients,
            concurrency: part.concurrency,
            deadlines: part.deadlines,
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
}
