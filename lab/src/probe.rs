//! Probes on functions of an unmodified program on a node: the `function` trigger, and tracing.
//!
//! ```text
//! arm ──► armed (no hit is missed from here on) ──► fired (the n-th hit, signalled at that instruction)
//!             └────────────── disarm ───────────────────┴──► ended: what was counted
//! ```
//!
//! Laws:
//! - a probe is armed when [`Probes::arm`] returns, and not before;
//! - it counts and fires in its node only, also where other nodes run the very same file;
//! - it fires once: at the n-th hit of a site, counted over all processes of the node, also restarted ones;
//! - one that was armed and never hit says so ([`ProbeEnd::hits`]); one whose connection was lost says that, and is gone, unless it is kept
//!   ([`Keep`]): then arming it again on a new connection goes on with it ([`ProbeArmed::kept`]);
//! - dropping it, disarming it, and the agent's or our own death all take it away, a kept one when its time is over.
//!
//! What to probe is found by `harness_nemesis::symbols`, which proves addresses; this module takes offsets in files.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
pub use harness_core::frame::probe::{
    Fire, Keep, MAX_KEEP_MS, MAX_SITES, ProbeArmed, ProbeEnd, ProbeHit, ProbeMethod, ProbeSignal,
    Site,
};
use thiserror::Error;
use tokio::sync::{Notify, watch};

use crate::transport::TransportError;

/// How long attaching or taking away may take; thousands of probes take a second or two.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(60);
/// Reported hits that are kept, at most; more are counted only.
pub const MAX_KEPT_HITS: usize = 200_000;

/// What to probe on a node.
#[derive(Clone, Debug)]
pub struct ProbeOrder {
    /// The program or library, as the node's own path.
    pub path: PathBuf,
    /// Where in it, and what stands there; 1 to [`MAX_SITES`].
    pub sites: Vec<Site>,
    /// How many hits of each site are reported, from its first on.
    pub report_hits: u64,
    /// What happens at a certain hit; none to count only.
    pub fire: Option<Fire>,
    /// Whether it outlives the connection for a while.
    pub keep: Option<Keep>,
}

/// Arming probes on a node. A transport that can do it gives this by [`crate::Transport::probes`].
#[async_trait]
pub trait Probes: Send + Sync {
    /// Arms probes.
    ///
    /// # Errors
    /// [`TransportError::Refused`] with the mend where the node's kernel or file says no; those of connecting.
    async fn arm(&self, order: ProbeOrder) -> Result<Probe, TransportError>;
}

/// How a probe ended before it said what was waited for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The connection to the agent, or the agent itself, is gone, and the probe with it; it may or may not have fired.
    #[error("the probe on {node} was lost ({detail})")]
    Lost {
        /// The node's name.
        node: String,
        /// What was noticed.
        detail: String,
    },
    /// It was disarmed first: it did not fire.
    #[error("the probe on {node} was disarmed after {hits} hits, and had not fired")]
    NotFired {
        /// The node's name.
        node: String,
        /// Hits of all its sites.
        hits: u64,
    },
}

/// What is known of a probe so far.
#[derive(Clone, Debug, Default)]
pub struct ProbeProgress {
    /// The reported hits, as they came: in order of time for each processor, not strictly overall.
    pub hits: Vec<ProbeHit>,
    /// Reports beyond [`MAX_KEPT_HITS`].
    pub dropped: u64,
    /// The hit that fired.
    pub fired: Option<ProbeHit>,
    /// How it ended, once it has.
    pub end: Option<Result<ProbeEnd, ProbeError>>,
}

impl ProbeProgress {
    /// Takes a hit.
    pub fn note(&mut self, hit: ProbeHit) {
        if hit.fired {
            self.fired.get_or_insert(hit);
        }
        if self.hits.len() < MAX_KEPT_HITS {
            self.hits.push(hit);
        } else {
            self.dropped += 1;
        }
    }
}

/// What whoever carries out a probe holds: it tells the progress and hears when to end. Also for tests.
#[derive(Debug)]
pub struct ProbeDriver {
    /// Where progress goes. Set `end` last, and always.
    pub progress: watch::Sender<ProbeProgress>,
    /// Told when the probe is to be taken away.
    pub stop: Arc<Notify>,
}

/// A probe that is armed. Dropping it takes it away.
#[derive(Debug)]
pub struct Probe {
    node: String,
    armed: ProbeArmed,
    progress: watch::Receiver<ProbeProgress>,
    stop: Arc<Notify>,
}

impl Probe {
    /// A probe, and the end that drives it.
    #[must_use]
    pub fn new(node: &str, armed: ProbeArmed) -> (Self, ProbeDriver) {
        let (sender, progress) = watch::channel(ProbeProgress::default());
        let stop = Arc::new(Notify::new());
        let driver = ProbeDriver {
            progress: sender,
            stop: Arc::clone(&stop),
        };
        let probe = Self {
            node: node.to_owned(),
            armed,
            progress,
            stop,
        };
        (probe, driver)
    }

    /// When and how it was armed.
    #[must_use]
    pub fn armed(&self) -> &ProbeArmed {
        &self.armed
    }

    /// The hit that fired, if it has.
    #[must_use]
    pub fn fired(&self) -> Option<ProbeHit> {
        self.progress.borrow().fired
    }

    /// What is known so far.
    #[must_use]
    pub fn progress(&self) -> ProbeProgress {
        self.progress.borrow().clone()
    }

    /// Waits until it fires. Has no time-out of its own: a function may never be entered.
    ///
    /// # Errors
    /// [`ProbeError::NotFired`] once it was disarmed, [`ProbeError::Lost`] if it was lost.
    pub async fn wait_fired(&self) -> Result<ProbeHit, ProbeError> {
        let done = |progress: &ProbeProgress| progress.fired.is_some() || progress.end.is_some();
        let progress = self.wait(done).await?;
        match (progress.fired, progress.end) {
            (Some(hit), _) => Ok(hit),
            (None, Some(Err(error))) => Err(error),
            (None, end) => Err(ProbeError::NotFired {
                node: self.node.clone(),
                hits: end.map_or(0, |end| end.map_or(0, |end| end.hits.iter().sum())),
            }),
        }
    }

    /// Takes it away and says what was counted. Idempotent: a second call says the same.
    ///
    /// # Errors
    /// [`ProbeError::Lost`] if it was lost; then it is gone too, and what was counted is not known.
    pub async fn disarm(&self) -> Result<ProbeEnd, ProbeError> {
        self.stop.notify_one();
        let progress = self.wait(|progress| progress.end.is_some()).await?;
        progress.end.unwrap_or_else(|| Err(self.lost()))
    }

    async fn wait(
        &self,
        until: impl FnMut(&ProbeProgress) -> bool,
    ) -> Result<ProbeProgress, ProbeError> {
        let mut progress = self.progress.clone();
        match progress.wait_for(until).await {
            Ok(progress) => Ok(progress.clone()),
            Err(_) => Err(self.lost()),
        }
    }

    fn lost(&self) -> ProbeError {
        ProbeError::Lost {
            node: self.node.clone(),
            detail: "nobody drives it any more".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(number: u64, fired: bool) -> ProbeHit {
        ProbeHit {
            site: 0,
            hit: number,
            pid: 7,
            tid: 8,
            ip: 0x40_0000,
            monotonic_ns: 1,
            wall_ns: 2,
            fired,
            signal_errno: fired.then_some(0),
        }
    }

    fn probe() -> (Probe, ProbeDriver) {
        let armed = ProbeArmed {
            method: ProbeMethod::UprobePmu,
            unprobed: Vec::new(),
            attach_ns: 1,
            monotonic_ns: 1,
            wall_ns: 1,
            kept: false,
        };
        Probe::new("n1", armed)
    }

    #[tokio::test]
    async fn waiting_ends_with_the_firing_the_end_or_the_loss() {
        let (armed, driver) = probe();
        driver
            .progress
            .send_modify(|progress| progress.note(hit(1, false)));
        assert_eq!(armed.fired(), None);
        driver
            .progress
            .send_modify(|progress| progress.note(hit(2, true)));
        assert_eq!(armed.wait_fired().await, Ok(hit(2, true)));
        assert_eq!(armed.progress().hits.len(), 2);

        let (armed, driver) = probe();
        let end = ProbeEnd {
            hits: vec![3, 4],
            elsewhere: 1,
            lost: 0,
        };
        let expected = end.clone();
        let drive = async {
            driver.stop.notified().await;
            driver
                .progress
                .send_modify(|progress| progress.end = Some(Ok(end)));
        };
        let (ended, ()) = tokio::join!(armed.disarm(), drive);
        assert_eq!(ended, Ok(expected.clone()));
        assert_eq!(armed.disarm().await, Ok(expected));
        let not_fired = ProbeError::NotFired {
            node: "n1".into(),
            hits: 7,
        };
        assert_eq!(armed.wait_fired().await, Err(not_fired));

        let (armed, driver) = probe();
        drop(driver);
        assert!(matches!(
            armed.wait_fired().await,
            Err(ProbeError::Lost { .. })
        ));
        assert!(matches!(armed.disarm().await, Err(ProbeError::Lost { .. })));
    }
}
