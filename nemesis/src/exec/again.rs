//! A function that is watched until it is entered, also where the agent that watches it is lost.
//!
//! 1. A watch that was lost is armed again on the node's new agent, but only where the system's process was seen to run afterwards: then
//!    nothing had struck it. Where it does not run, the signal may have been sent, and the fault is healed as if it had been.
//! 2. Entries are counted anew then. That, and for how long nobody watched, is told with whatever comes of the fault.
//! 3. Where only the channel was lost the agent has kept the watch, and goes on with it: nothing was missed.

use std::{
    pin::pin,
    sync::{Arc, PoisonError},
    time::Duration,
};

use harness_core::meta::FunctionEntry;
use harness_lab::Node;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    function::state,
    one::{Fault, Inner, cancelled},
    report::with_sources,
};
use crate::points::Point;

/// How long a watch that was lost may take to be armed again: a node that boots is away for a while.
const AGAIN_LIMIT: Duration = Duration::from_secs(60);
/// How long between two tries.
const AGAIN_PAUSE: Duration = Duration::from_millis(500);

/// A watch that has come to its end, or is to be taken away.
pub(super) struct Watched {
    pub(super) point: Arc<Point>,
    /// Why it is to be taken away, if it is.
    pub(super) until: Option<&'static str>,
    /// When nobody watched, or why nobody does any more, for people.
    pub(super) missed: Vec<String>,
}

impl Fault {
    /// Notes what watches the function from now on.
    pub(super) fn watched_by(&self, point: Point) -> Arc<Point> {
        let point = Arc::new(point);
        let mut known = self.point.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Arc::clone(&point));
        point
    }

    /// What watches the function, if something does or did.
    pub(super) fn watch(&self) -> Option<Arc<Point>> {
        let known = self.point.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }
}

impl Inner {
    /// Waits until the function is entered, the watch is lost for good, or it is to be taken away.
    pub(super) async fn watch(
        &self,
        fault: &Fault,
        entry: &FunctionEntry,
        mut point: Arc<Point>,
        over: impl Future<Output = ()>,
        cancel: &mut watch::Receiver<bool>,
    ) -> Watched {
        let mut over = pin!(over);
        let mut missed = Vec::new();
        loop {
            let until = tokio::select! {
                biased;
                _ = point.probe.wait_fired() => None,
                () = &mut over => Some("the operation was over"),
                () = cancelled(cancel) => Some("the load ended"),
            };
            let is_lost = matches!(point.probe.progress().end, Some(Err(_)));
            if until.is_some() || point.probe.fired().is_some() || !is_lost {
                return Watched {
                    point,
                    until,
                    missed,
                };
            }
            let lost = Instant::now();
            let again = tokio::select! {
                biased;
                again = self.arm_again(fault, entry) => again,
                () = &mut over => Err("the operation was over".to_owned()),
                () = cancelled(cancel) => Err("the load ended".to_owned()),
            };
            match again {
                Ok(again) => {
                    point = again;
                    let away_ms = lost.elapsed().as_millis();
                    missed.push(if point.probe.armed().kept {
                        format!("the agent was not reached for {away_ms} ms, and watched on: no entry was missed")
                    } else {
                        format!(
                            "not watched for {away_ms} ms, because the agent was lost: entries until then do not count"
                        )
                    });
                }
                Err(why) => {
                    missed.push(format!("not watched again: {why}"));
                    return Watched {
                        point,
                        until: None,
                        missed,
                    };
                }
            }
        }
    }

    /// Law 1.
    async fn arm_again(&self, fault: &Fault, entry: &FunctionEntry) -> Result<Arc<Point>, String> {
        let deadline = Instant::now() + AGAIN_LIMIT;
        loop {
            let why = match self.arm_only(fault, entry).await {
                Ok((_, point)) if point.probe.armed().kept => return Ok(fault.watched_by(point)),
                Ok((at, point)) => {
                    // It may strike at once: then the process does not run because of what we see.
                    let unharmed = self.is_unharmed(&self.nodes[at]).await;
                    return match unharmed {
                        Err(why) if point.probe.fired().is_none() => Err(why),
                        _ => Ok(fault.watched_by(point)),
                    };
                }
                Err(why) => why,
            };
            if Instant::now() >= deadline {
                return Err(why);
            }
            sleep(AGAIN_PAUSE).await;
        }
    }

    /// Whether the system's process runs: then nothing has struck it that was not told.
    async fn is_unharmed(&self, node: &Node) -> Result<(), String> {
        let can = self.program.as_ref().ok_or("there is no program")?;
        let newest = can.newest_process(node).await;
        let state = match newest.map_err(|error| with_sources(&error))? {
            Some(pid) => state(node, pid).await.map_err(|e| with_sources(&e))?,
            None => None,
        };
        match state {
            None | Some('Z' | 'X' | 'T') => {
                Err("the system's process does not run, and may have been struck".to_owned())
            }
            Some(_) => Ok(()),
        }
    }
}
