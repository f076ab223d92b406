//! A lane: its faults one after the other, each at its time or when what it waits for has come.

use std::{io, sync::Arc, time::Duration};

use harness_core::{
    meta::{FunctionEntry, Trigger},
    trigger::Watch,
};
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep_until},
};

use super::{
    Done, LANE_HEAL_LIMIT, Outcome, Skipped, WIPE_HEAL_LIMIT,
    function::Met,
    one::{Fault, Inner, Planned, cancelled},
    wait::{self, Fired, Listening, StepEvent},
    watched::Saw,
};
use crate::plan::Kind;

/// Why a lane begins no more faults.
const INTERRUPTED: &str = "the run was interrupted";

/// A fault that was begun, and whether it was seen to hold.
struct Begun {
    fault: Arc<Fault>,
    observed: bool,
    /// Whether it waited for something: then it is on from when it struck.
    waited: bool,
    /// Whether what it waited for has come.
    fired: bool,
}

pub(super) async fn run_lane(
    inner: Arc<Inner>,
    faults: Vec<Planned>,
    mut steps: broadcast::Receiver<StepEvent>,
    began: Instant,
    mut cancel: watch::Receiver<bool>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut stop: Option<String> = None;
    let mut fired = false;
    let mut watched_in_vain = None;
    for planned in &faults {
        let at = |ms: u64| began + Duration::from_millis(ms);
        if stop.is_none() && !wait_until(at(planned.fault.inject_ms), &mut cancel).await {
            stop = Some(INTERRUPTED.to_owned());
        }
        let begun = match &stop {
            Some(_) => None,
            None => match begin(&inner, planned, &mut steps, &mut outcome, &mut cancel).await {
                Ok(Some(begun)) => Some(begun),
                Ok(None) => {
                    watched_in_vain = None;
                    stop = Some(match (&planned.fault.trigger, fired) {
                        // Said in the ledger once a lane: nothing of what was asked for has happened.
                        (Some(trigger), false) => inner.never_fired(planned, trigger).await,
                        _ => INTERRUPTED.to_owned(),
                    });
                    None
                }
                Err(error) => {
                    let reason = format!("the ledger cannot be written: {error}");
                    inner.journal.problem(reason.clone());
                    stop = Some(reason);
                    None
                }
            },
        };
        let Some(begun) = begun else {
            outcome.skipped.push(Skipped {
                planned: planned.fault.id,
                reason: stop.clone().unwrap_or_default(),
            });
            continue;
        };
        fired |= begun.fired;
        watched_in_vain = planned
            .fault
            .trigger
            .as_ref()
            .map(|trigger| (planned, trigger));
        let times = &planned.fault;
        let until = match begun.waited {
            false => at(times.heal_ms),
            true => {
                let on_ms = times.heal_ms.saturating_sub(times.inject_ms);
                Instant::now() + Duration::from_millis(on_ms)
            }
        };
        let mut cancelled = cancel.clone();
        let healing = async {
            match &times.until {
                // What it waits for may have happened while this fault was injected.
                Some(step) => drop(wait::stepped(step, &mut steps, &mut cancelled).await),
                None => std::future::pending().await,
            }
        };
        let goes_on = tokio::select! {
            biased;
            goes_on = wait_until(until, &mut cancel) => goes_on,
            () = healing => true,
        };
        if !goes_on {
            stop = Some(INTERRUPTED.to_owned());
        }
        let done = finish(&inner, planned, &begun.fault, begun.observed).await;
        if !done.healed {
            // On top of a fault that is stuck, another one of the lane would overlap it.
            stop = stop.or(Some(format!("fault {} could not be healed", done.fault)));
        }
        outcome.done.push(done);
        // The next fault waits for what happens from now on.
        steps = inner.steps.subscribe();
    }
    if let (false, Some((planned, trigger))) = (fired, watched_in_vain) {
        inner.never_fired(planned, trigger).await;
    }
    outcome
}

/// Heals it, and says what became of it.
async fn finish(inner: &Inner, planned: &Planned, fault: &Fault, observed: bool) -> Done {
    let limit = match planned.kind {
        Kind::Wipe => WIPE_HEAL_LIMIT,
        Kind::Condition(condition) if condition.is_damage() => WIPE_HEAL_LIMIT,
        _ => LANE_HEAL_LIMIT,
    };
    let undone = inner.heal(fault, Instant::now() + limit).await;
    Done {
        fault: fault.head.id,
        planned: planned.fault.id,
        kind: planned.kind,
        observed,
        healed: undone.troubles.is_empty(),
    }
}

/// Waits for what it waits for, and injects it; none if it was cancelled before.
async fn begin(
    inner: &Inner,
    planned: &Planned,
    steps: &mut broadcast::Receiver<StepEvent>,
    outcome: &mut Outcome,
    cancel: &mut watch::Receiver<bool>,
) -> io::Result<Option<Begun>> {
    let fired = match (&planned.fault.trigger, &inner.phases) {
        (Some(Trigger::Function(entry)), _) => {
            return at_function(inner, planned, entry, outcome, cancel).await;
        }
        (Some(Trigger::Phase(phase)), Some(phases)) => {
            let mut listening = inner.told(planned, phases);
            match wait::fired(phase, &mut listening.told, cancel).await {
                Some(fired) => Some(fired),
                None => return Ok(None),
            }
        }
        (Some(Trigger::Watch(watch)), _) => match at_watch(inner, planned, watch, cancel).await {
            Some(fired) => Some(fired),
            None => return Ok(None),
        },
        (Some(Trigger::Fault(step)), _) => match wait::stepped(step, steps, cancel).await {
            Some(fired) => Some(fired),
            None => return Ok(None),
        },
        _ => None,
    };
    if !matches!(planned.fault.trigger, Some(Trigger::Fault(_))) {
        // What ends it is what happens from now on.
        *steps = inner.steps.subscribe();
    }
    let (fault, observed) = inner.inject(planned, fired.as_ref(), cancel).await?;
    Ok(Some(Begun {
        fault,
        observed,
        waited: fired.is_some(),
        fired: true,
    }))
}

/// Waits for what is watched; where that is during an operation only, and it was not seen, for the next operation. None if it was
/// cancelled before.
async fn at_watch(
    inner: &Inner,
    planned: &Planned,
    watch: &Watch,
    cancel: &mut watch::Receiver<bool>,
) -> Option<Fired> {
    loop {
        let after = watch.after.as_ref().zip(inner.phases.as_ref());
        let saw = match after {
            None => {
                let never = std::future::pending();
                inner.watched(watch, None, None, never, cancel).await
            }
            Some((phase, phases)) => {
                let Listening { mut told, hold } = inner.told(planned, phases);
                let first = wait::fired(phase, &mut told, cancel).await?;
                let subject = first.subject.clone();
                let over = wait::over(phase, subject.as_deref(), &mut told);
                inner.watched(watch, Some(&first), hold, over, cancel).await
            }
        };
        match saw {
            Saw::Seen(fired) => return Some(fired),
            Saw::Cancelled => return None,
            Saw::Over => {}
        }
    }
}

/// Watches a function until it is entered. Where it is watched during an operation only and was not entered, that is recorded, and
/// the next operation is waited for.
async fn at_function(
    inner: &Inner,
    planned: &Planned,
    entry: &FunctionEntry,
    outcome: &mut Outcome,
    cancel: &mut watch::Receiver<bool>,
) -> io::Result<Option<Begun>> {
    loop {
        let after = entry.after.as_ref().zip(inner.phases.as_ref());
        let (met, fault) = match after {
            None => {
                let never = std::future::pending();
                inner
                    .inject_at(planned, entry, (None, None), never, cancel)
                    .await?
            }
            Some((phase, phases)) => {
                let Listening { mut told, hold } = inner.told(planned, phases);
                let Some(fired) = wait::fired(phase, &mut told, cancel).await else {
                    return Ok(None);
                };
                let subject = fired.subject.clone();
                let over = wait::over(phase, subject.as_deref(), &mut told);
                inner
                    .inject_at(planned, entry, (Some(&fired), hold), over, cancel)
                    .await?
            }
        };
        if met != Met::Never || *cancel.borrow() {
            return Ok(Some(Begun {
                fault,
                observed: met == Met::Struck,
                waited: true,
                fired: matches!(met, Met::Struck | Met::Unseen),
            }));
        }
        let done = finish(inner, planned, &fault, false).await;
        outcome.done.push(done);
    }
}

/// Waits for an instant; false if it was cancelled before.
async fn wait_until(until: Instant, cancel: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        biased;
        () = cancelled(cancel) => false,
        () = sleep_until(until) => true,
    }
}
