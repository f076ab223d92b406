//! SIMULATED phases of operations: nobody does any.

use std::sync::{Mutex, PoisonError};

use harness_nemesis::exec::{Held, Hold, PhaseEvent, Phases};
use tokio::sync::broadcast;

/// Tells what is sent, and keeps what operations would wait for.
pub struct Told {
    phases: broadcast::Sender<PhaseEvent>,
    pub held: Mutex<Vec<Held>>,
}

impl Told {
    pub fn new(phases: broadcast::Sender<PhaseEvent>) -> Self {
        Self {
            phases,
            held: Mutex::default(),
        }
    }
}

impl Phases for Told {
    fn subscribe(&self) -> broadcast::Receiver<PhaseEvent> {
        self.phases.subscribe()
    }

    fn subscribe_and_hold(&self, _f: &str) -> (broadcast::Receiver<PhaseEvent>, Hold) {
        let (hold, held) = Hold::new();
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(held);
        (self.subscribe(), hold)
    }
}
