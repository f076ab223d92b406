//! What a fault waits for before it strikes: phases of operations, as the recorder tells them.
//!
//! A fault waits from the moment at which its lane is free; what happened before does not set it off. Whoever tells
//! phases may be faster than a lane reads: what is lost then is said, and the next one that fits is taken.

use std::{sync::Arc, time::Duration};

use harness_core::{
    fault::Triggered,
    meta::{Moment, Trigger},
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

/// Waits for what a trigger names, and then for its delay; none if it was cancelled before.
pub(super) async fn fired(
    trigger: &Trigger,
    phases: &dyn Phases,
    cancel: &mut watch::Receiver<bool>,
) -> Option<Fired> {
    let Trigger::Phase {
        f,
        moment,
        delay_ms,
    } = trigger;
    let mut told = phases.subscribe();
    let event = loop {
        let next = tokio::select! {
            biased;
            () = cancelled(cancel) => return None,
            next = told.recv() => next,
        };
        match next {
            Ok(event) if *event.f == **f && event.moment == *moment => break event,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                tracing::warn!(
                    lost,
                    "operations went by faster than a trigger could look at"
                );
            }
            Err(broadcast::error::RecvError::Closed) => {
                cancelled(cancel).await;
                return None;
            }
        }
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
        },
        subject: event.subject,
    })
}
