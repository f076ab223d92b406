//! One point of a sweep: a cluster that stands already, one operation, a fault at a function, and a look at what is left.
//!
//! ```text
//! armed ──► the operation ──► healed ──► every member takes a write ──► all sources unchanged for a while ──► last reads
//! ```
//!
//! 1. The operation begins when the function is watched, and not before.
//! 2. Settled is measured, not waited for: every place said the same for the time that was asked for, from healing on.
//! 3. The system runs on afterwards: whoever began this has more to try on it.

use std::time::{Duration, Instant};

use harness_core::meta::NodeMeta;
use harness_nemesis::exec::{HealReport, Stage};
use tokio::time::sleep;

use super::{ConductError, Run, form};
use crate::cancel::Level;

/// How long a function may take to be watched, from when the load begins.
const ARM_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How often it is looked whether sources changed.
const SETTLE_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Complete rounds after settling, as in a whole run.
const COMPLETE_ROUNDS: usize = 2;

/// What one point of a sweep needs instead of forming a cluster.
#[derive(Clone, Debug)]
pub struct PointCourse {
    /// The nodes as they were described when the cluster was formed.
    pub nodes: Vec<NodeMeta>,
    /// How long all sources must say the same.
    pub unchanged: Duration,
    /// How long that is waited for.
    pub settle_limit: Duration,
}

impl PointCourse {
    pub(super) fn unchanged_ms(&self) -> u64 {
        u64::try_from(self.unchanged.as_millis()).unwrap_or(u64::MAX)
    }
}

/// How settling went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Whether all sources were unchanged for as long as was asked for.
    pub unchanged: bool,
    /// How long it took from when recovery had ended.
    pub took: Duration,
}

impl Run<'_> {
    pub(super) async fn point(&mut self, course: PointCourse) -> Result<HealReport, ConductError> {
        self.meta.system_versions = form::versions(&course.nodes);
        self.meta.nodes.clone_from(&course.nodes);
        let (recorder, heal) = self.load_and_heal().await?;
        if !self.cancel.is_raised() {
            self.recover(&recorder).await?;
            self.settle_until_unchanged(&course).await?;
        }
        self.end(&recorder).await?;
        Ok(heal)
    }

    /// Waits until every function is watched, or the nemesis has given one up.
    pub(super) async fn wait_until_armed(&self) -> Result<(), ConductError> {
        let Some(executor) = &self.executor else {
            return Ok(());
        };
        let (live, until) = (executor.live(), Instant::now() + ARM_LIMIT);
        let waits = self.setting.plan.faults.len();
        while Instant::now() < until && !self.cancel.is_raised() {
            let begun = live.snapshot();
            let ready = |stage: Stage| stage != Stage::Injecting;
            if begun.len() >= waits && begun.iter().all(|fault| ready(fault.stage)) {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
        if self.cancel.is_raised() {
            return Ok(());
        }
        Err(ConductError::Membership(format!(
            "the function was not watched within {} s",
            ARM_LIMIT.as_secs()
        )))
    }

    async fn settle_until_unchanged(&mut self, course: &PointCourse) -> Result<(), ConductError> {
        self.begin_phase("settle", Some(course.settle_limit))?;
        let began = Instant::now();
        let mut unchanged = false;
        while let Some(sampler) = &self.sampler {
            unchanged =
                sampler.unchanged_for() >= course.unchanged && began.elapsed() >= course.unchanged;
            if unchanged
                || began.elapsed() >= course.settle_limit
                || self.cancel.level() > Level::Run
            {
                break;
            }
            sleep(SETTLE_POLL_INTERVAL).await;
        }
        self.settled = Some(Settled {
            unchanged,
            took: began.elapsed(),
        });
        for _ in 0..COMPLETE_ROUNDS {
            self.look_once_more().await;
        }
        Ok(())
    }
}
