//! What a fault waits for before it strikes: phases of operations, as the recorder tells them.
//!
//! A fault waits from the moment at which its lane is free; what happened before does not set it off. Whoever tells
//! phases may be faster than a lane reads: what is lost then is said, and the next one that fits is taken.

use std::{sync::Arc, time::Duration};

use harness_core::{
    fault::Triggered,
    meta::{Moment, OperationPhase},
};
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep_until},
};

use super::one::cancelled;

/// A phase of an operation that was just recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseEvent {
    /// Index of the event in the history.
    pub index: u64,
    /// When, nanoseconds since the run began.
    pub time_ns: u64,
    /// Which phase.
    pub moment: Moment,
    /// The operation's kind.
    pub f: Arc<str>,
    /// The node that the operation is about, by name.
    pub subject: Option<String>,
}

/// Who tells phases of operations.
pub trait Phases: Send + Sync {
    /// From now on.
    fn subscribe(&self) -> broadcast::Receiver<PhaseEvent>;
}

/// What set a fault off.
#[derive(Clone, Debug)]
pub(super) struct Fired {
    pub(super) triggered: Triggered,
    pub(super) subject: Option<String>,
}

/// Waits for a phase, and then for its delay; none if it was cancelled before.
pub(super) async fn fired(
    phase: &OperationPhase,
    told: &mut broadcast::Receiver<PhaseEvent>,
    cancel: &mut watch::Receiver<bool>,
) -> Option<Fired> {
    let OperationPhase {
        f,
        moment,
        delay_ms,
    } = phase;
    let fits = |event: &PhaseEvent| *event.f == **f && event.moment == *moment;
    let event = tokio::select! {
        biased;
        () = cancelled(cancel) => return None,
        event = next(told, fits) => event,
    };
    let delay = Duration::from_millis(*delay_ms);
    let due = Instant::now() + delay;
    let of = event
        .subject
        .as_ref()
        .map_or_else(String::new, |subject| format!(" of {subject}"));
    let what = match moment {
        Moment::Invoked => "invoked",
        Moment::Completed => "completed",
    };
    tokio::select! {
        biased;
        () = cancelled(cancel) => return None,
        () = sleep_until(due) => {}
    }
    Some(Fired {
        triggered: Triggered {
            what: format!("{f}{of} {what} (event {})", event.index),
            fired_ns: event.time_ns,
            due_ns: event
                .time_ns
                .saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)),
            bound_ns: None,
        },
        subject: event.subject,
    })
}

/// Waits until the operation that came to this phase has completed; for ever if it had done so.
pub(super) async fn over(
    phase: &OperationPhase,
    subject: Option<&str>,
    told: &mut broadcast::Receiver<PhaseEvent>,
) {
    if phase.moment == Moment::Completed {
        return std::future::pending().await;
    }
    let fits = |event: &PhaseEvent| {
        let same = *event.f == *phase.f && event.subject.as_deref() == subject;
        same && event.moment == Moment::Completed
    };
    next(told, fits).await;
}

async fn next(
    told: &mut broadcast::Receiver<PhaseEvent>,
    fits: impl Fn(&PhaseEvent) -> bool,
) -> PhaseEvent {
    loop {
        match told.recv().await {
            Ok(event) if fits(&event) => return event,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                tracing::warn!(
                    lost,
                    "operations went by faster than a trigger could look at"
                );
            }
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}
