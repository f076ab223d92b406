//! Writing down what happens to a fault: in the ledger first, then in the history.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use harness_core::{
    event::{EventType, OpError},
    fault::{LedgerLine, Step},
};
use serde_json::json;

use super::ports::{Clock, Ledger, NemesisEvent, NemesisLog};
use crate::plan::Kind;

/// What names a fault in every line about it.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) id: u32,
    pub(super) kind: Kind,
    pub(super) label: String,
    pub(super) nodes: Vec<String>,
}

pub(super) struct Journal {
    ledger: Arc<dyn Ledger>,
    log: Arc<dyn NemesisLog>,
    clock: Arc<dyn Clock>,
    /// So that times in the file never go back.
    order: Arc<Mutex<()>>,
    problems: Mutex<Vec<String>>,
}

impl Journal {
    pub(super) fn new(
        ledger: Arc<dyn Ledger>,
        log: Arc<dyn NemesisLog>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            ledger,
            log,
            clock,
            order: Arc::default(),
            problems: Mutex::default(),
        }
    }

    pub(super) fn run_ns(&self) -> u64 {
        self.clock.run_ns()
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Returns once the line is on disk. Goes on to the disk even if nobody waits for it any more.
    pub(super) async fn write(&self, head: &Head, step: Step) -> io::Result<()> {
        let event = event(head, &step);
        let (ledger, clock, order) = (
            Arc::clone(&self.ledger),
            Arc::clone(&self.clock),
            Arc::clone(&self.order),
        );
        let fault = head.id;
        let append = move || {
            let _order = order.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.append(&LedgerLine {
                fault,
                time_ns: clock.run_ns(),
                wall_ns: clock.wall_ns(),
                step,
            })
        };
        let written = match tokio::task::spawn_blocking(append).await {
            Ok(written) => written,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Some(event) = event {
            self.log.record(event);
        }
        written
    }

    /// Like `write`, where what was begun must be finished even if the ledger fails.
    pub(super) async fn note(&self, head: &Head, step: Step) {
        if let Err(error) = self.write(head, step).await {
            tracing::error!(fault = head.id, %error, "the ledger cannot be written");
            self.problem(format!(
                "the ledger cannot be written (fault {}): {error}",
                head.id
            ));
        }
    }

    pub(super) fn problem(&self, text: String) {
        self.problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }

    pub(super) fn take_problems(&self) -> Vec<String> {
        std::mem::take(&mut *self.problems.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The history's view of a step. An intent is not in it: nothing has happened yet.
fn event(head: &Head, step: &Step) -> Option<NemesisEvent> {
    let (word, error) = match step {
        Step::Intend { .. } => return None,
        Step::Triggered(_) => ("triggered", None),
        Step::Asked => ("asked", None),
        Step::Observed { .. } => ("observed", None),
        Step::NotObserved { reason } => ("not-observed", Some(reason)),
        Step::HealAsked => ("heal-asked", None),
        Step::Healed { .. } => ("healed", None),
        Step::HealFailed { reason } => ("heal-failed", Some(reason)),
        Step::SelfHealed { .. } => ("self-healed", None),
    };
    Some(NemesisEvent {
        event_type: EventType::Info,
        f: head.kind.to_string(),
        value: json!({"fault": head.id, "step": word, "label": head.label, "nodes": head.nodes}),
        error: error.map(|reason| OpError {
            kind: word.to_owned(),
            message: reason.clone(),
        }),
    })
}
