//! What comes after healing: recovery, last reads, the end of the system, and what is gathered from the nodes.

use std::{sync::Arc, time::Duration};

use harness_core::{
    fault,
    generator::{Combine, OpSpec, each_thread, repeat},
};
use tokio::task::JoinSet;

use super::{ConductError, Run, load::Part};
use crate::{cancel::Cancel, collect, recorder::Recorder};

/// How long a recovery probe may take, and how long the next one waits on average.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// See [`PROBE_TIMEOUT`].
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

impl Run<'_> {
    /// Every node that certainly is a member is asked for a write until it takes one.
    pub(super) async fn recover(&mut self, recorder: &Recorder) -> Result<(), ConductError> {
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
        let members = self.certain_members(recorder);
        if members.is_empty() {
            tracing::warn!("nobody is certainly a member, so nobody is asked for a write");
            return Ok(());
        }
        let probes = self.setting.system.probes(&members);
        self.interpret(Part {
            generator,
            clients: probes,
            concurrency: members.len(),
            deadlines: PROBE_TIMEOUT.into(),
            recorder: recorder.clone(),
            cancel: Cancel::new(),
        })
        .await
    }

    pub(super) async fn final_reads(&mut self, recorder: &Recorder) -> Result<(), ConductError> {
        let Some(generator) = self.setting.workload.final_reads(&self.told()) else {
            return Ok(());
        };
        self.begin_phase("final-reads", None)?;
        let (clients, deadlines) = (self.clients(), self.deadlines());
        self.interpret(Part {
            generator,
            clients,
            concurrency: self.setting.concurrency,
            deadlines,
            recorder: recorder.clone(),
            cancel: Cancel::new(),
        })
        .await
    }

    /// Ends the system's processes, at once: there is nothing left to lose, and a graceful stop of all has no leader to hand over to.
    pub(super) async fn end_system(&mut self) {
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

    /// When forming began, by the controller's clock.
    fn began_wall_ns(&self) -> u64 {
        let before_ns = self.meta.phases.first().map_or(0, |phase| phase.start_ns);
        self.meta.started_wall_ns.saturating_add_signed(before_ns)
    }

    pub(super) async fn collect(&mut self, ended_wall_ns: u64) {
        let ledger = std::fs::read(self.setting.folder.path("ledger.jsonl")).unwrap_or_default();
        let faults = fault::decode(&ledger)
            .map(|lines| fault::fold(&lines))
            .unwrap_or_default();
        let began_wall_ns = self.began_wall_ns();
        let remarks = collect::gather(
            &self.setting.nodes,
            &self.setting.system,
            &mut self.meta.nodes,
            &collect::Causes {
                faults: &faults,
                changes: &collect::change_spans(&self.changes),
                began_wall_ns,
                started_wall_ns: self.meta.started_wall_ns,
                ended_wall_ns,
            },
            &self.setting.folder,
        )
        .await;
        for remark in remarks {
            tracing::warn!("{remark}");
        }
    }
}
