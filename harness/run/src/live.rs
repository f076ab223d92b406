//! What is shown of a run while it goes on: written by [`crate::conduct`], read by anybody at any time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    sampler::Changes,
    stats::{Snapshot, Stats},
};

/// What is shown while a run goes on.
#[derive(Default)]
pub struct Live {
    inner: Mutex<Inner>,
    leader: Arc<Mutex<Option<String>>>,
}

#[derive(Default)]
struct Inner {
    phase: String,
    until: Option<Instant>,
    stats: Option<Arc<Stats>>,
    faults: Option<Arc<harness_nemesis::exec::Live>>,
    members: Option<Arc<Changes>>,
}

/// A moment of a run.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// The phase.
    pub phase: String,
    /// Time left in it, if it has a length.
    pub left: Option<Duration>,
    /// The leader's name.
    pub leader: Option<String>,
    /// Operations of this phase so far.
    pub operations: Snapshot,
    /// Faults in force.
    pub faults: Vec<String>,
    /// Sources, and how many members each has now: least and most of the places that have any. Empty if none is read.
    pub members: Vec<(&'static str, usize, usize)>,
}

impl Live {
    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn enter_phase(&self, name: &str, length: Option<Duration>) {
        self.change(|inner| {
            inner.phase = name.to_owned();
            inner.until = length.map(|length| Instant::now() + length);
        });
    }

    pub(crate) fn show_stats(&self, stats: &Arc<Stats>) {
        self.change(|inner| inner.stats = Some(Arc::clone(stats)));
    }

    pub(crate) fn show_faults(&self, faults: Arc<harness_nemesis::exec::Live>) {
        self.change(|inner| inner.faults = Some(faults));
    }

    pub(crate) fn show_members(&self, members: Arc<Changes>) {
        self.change(|inner| inner.members = Some(members));
    }

    /// Where whoever watches the leader writes its name.
    pub(crate) fn leader(&self) -> Arc<Mutex<Option<String>>> {
        Arc::clone(&self.leader)
    }

    /// As it is now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Moment {
            phase: inner.phase.clone(),
            left: inner
                .until
                .map(|until| until.saturating_duration_since(Instant::now())),
            leader: self
                .leader
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            operations: inner
                .stats
                .as_ref()
                .map(|stats| stats.snapshot())
                .unwrap_or_default(),
            faults: inner
                .faults
                .as_ref()
                .map(|faults| {
                    let mut labels: Vec<String> = faults
                        .snapshot()
                        .into_iter()
                        .map(|fault| match fault.stage {
                            harness_nemesis::exec::Stage::Armed => {
                                format!("{} (armed)", fault.label)
                            }
                            _ => fault.label,
                        })
                        .collect();
                    labels.dedup();
                    labels
                })
                .unwrap_or_default(),
            members: inner
                .members
                .as_ref()
                .map(|members| members.members())
                .unwrap_or_default(),
        }
    }
}
