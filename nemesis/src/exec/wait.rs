//! What a fault waits for before it strikes: phases of operations, as the recorder tells them.
//!
//! A fault waits from the moment at which its lane is free; what happened before does not set it off. Whoever tells
//! phases may be faster than a lane reads: what is lost then is said, and the next one that fits is taken.

use std::{sync::Arc, time::Duration};

use harness_core::{
    fault::Triggered,
    meta::{Moment, OperationPhase},
    trigger::{FaultMoment, FaultStep},
};
use tokio::{
    sync::{broadcast, oneshot, watch},
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

/// A fault of some lane has come to a step.
#[derive(Clone, Debug)]
pub(super) struct StepEvent {
    pub(super) lane: u32,
    pub(super) step: FaultMoment,
    /// Nanoseconds since the run began.
    pub(super) time_ns: u64,
    pub(super) fault: u32,
    pub(super) label: String,
    pub(super) nodes: Vec<String>,
}

/// Keeps an operation that was recorded from being begun, until it is dropped: what is to be watched during it takes time to set up.
#[derive(Debug)]
pub struct Hold {
    _released: oneshot::Sender<()>,
}

/// What an operation waits for before it is begun.
#[derive(Debug)]
pub struct Held(oneshot::Receiver<()>);

impl Hold {
    /// One, and what waits for its end.
    #[must_use]
    pub fn new() -> (Self, Held) {
        let (sender, receiver) = oneshot::channel();
        let hold = Self { _released: sender };
        (hold, Held(receiver))
    }
}

impl Held {
    /// Waits until the other half is dropped.
    pub async fn released(self) {
        // Nothing is ever sent.
        let _ = self.0.await;
    }
}

/// Who tells phases of operations.
pub trait Phases: Send + Sync {
    /// From now on.
    fn subscribe(&self) -> broadcast::Receiver<PhaseEvent>;
    /// From now on; and the first operation of this kind that is told is not begun before the hold is dropped, for a while.
    fn subscribe_and_hold(&self, f: &str) -> (broadcast::Receiver<PhaseEvent>, Hold);
}

/// Phases that a fault hears, and what keeps the operation back that it waits for.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) told: broadcast::Receiver<PhaseEvent>,
    pub(super) hold: Option<Hold>,
}

impl Listening {
    /// From now on. What is watched `during` an operation is to be watched from its very beginning.
    pub(super) fn new(phases: &Arc<dyn Phases>, during: Option<&OperationPhase>) -> Self {
        match during {
            Some(phase) if phase.moment == Moment::Invoked && phase.delay_ms == 0 => {
                let (told, hold) = phases.subscribe_and_hold(&phase.f);
                let hold = Some(hold);
                Self { told, hold }
            }
            _ => Self {
                told: phases.subscribe(),
                hold: None,
            },
        }
    }
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
    let of = event
        .subject
        .as_ref()
        .map_or_else(String::new, |subject| format!(" of {subject}"));
    let what = match moment {
        Moment::Invoked => "invoked",
        Moment::Completed => "completed",
    };
    let fired = Fired {
        triggered: Triggered {
            what: format!("{f}{of} {what} (event {})", event.index),
            fired_ns: event.time_ns,
            due_ns: due_ns(event.time_ns, delay),
            bound_ns: None,
        },
        subject: event.subject,
    };
    pause(delay, cancel).await.then_some(fired)
}

/// Waits for a step of another lane's fault, and then for its delay; none if it was cancelled before.
pub(super) async fn stepped(
    step: &FaultStep,
    told: &mut broadcast::Receiver<StepEvent>,
    cancel: &mut watch::Receiver<bool>,
) -> Option<Fired> {
    let fits = |event: &StepEvent| event.lane == step.lane && event.step == step.step;
    let event = tokio::select! {
        biased;
        () = cancelled(cancel) => return None,
        event = next(told, fits) => event,
    };
    let delay = Duration::from_millis(step.delay_ms);
    let fired = Fired {
        triggered: Triggered {
            what: format!(
                "fault {} ({}) {}",
                event.fault,
                event.label,
                step.step.as_str()
            ),
            fired_ns: event.time_ns,
            due_ns: due_ns(event.time_ns, delay),
            bound_ns: None,
        },
        subject: event.nodes.into_iter().next(),
    };
    pause(delay, cancel).await.then_some(fired)
}

fn due_ns(fired_ns: u64, delay: Duration) -> u64 {
    fired_ns.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX))
}

/// False if it was cancelled before.
async fn pause(delay: Duration, cancel: &mut watch::Receiver<bool>) -> bool {
    let due = Instant::now() + delay;
    tokio::select! {
        biased;
        () = cancelled(cancel) => false,
        () = sleep_until(due) => true,
    }
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

async fn next<T: Clone>(told: &mut broadcast::Receiver<T>, fits: impl Fn(&T) -> bool) -> T {
    loop {
        match told.recv().await {
            Ok(event) if fits(&event) => return event,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                tracing::warn!(lost, "more went by than a trigger could look at");
            }
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}
