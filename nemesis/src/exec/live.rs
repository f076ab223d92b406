//! The faults in force now, for whoever shows progress.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::plan::Kind;

/// How far a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The nodes are told, and it has not been seen to hold yet.
    Injecting,
    /// A function is watched, and was not entered yet.
    Armed,
    /// It was seen to hold.
    Holding,
    /// It was not seen to hold, and may hold all the same.
    Unseen,
    /// The nodes are told to undo it.
    Healing,
    /// Undoing it failed.
    Stuck,
}

/// A fault in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Its number in this run.
    pub fault: u32,
    /// Its kind.
    pub kind: Kind,
    /// For people: `partition leader: n2 | n1 n3 n4 n5`.
    pub label: String,
    /// Nanoseconds since the run began when its heal was journalled.
    pub since_ns: u64,
    /// How far it is.
    pub stage: Stage,
}

/// The faults in force, by number. Shared; reading never waits for a node.
#[derive(Debug, Default)]
pub struct Live {
    faults: Mutex<BTreeMap<u32, InForce>>,
}

impl Live {
    /// As they are now, by number.
    #[must_use]
    pub fn snapshot(&self) -> Vec<InForce> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn enter(&self, fault: InForce) {
        self.lock().insert(fault.fault, fault);
    }

    pub(super) fn stage(&self, fault: u32, stage: Stage) {
        if let Some(fault) = self.lock().get_mut(&fault) {
            fault.stage = stage;
        }
    }

    pub(super) fn leave(&self, fault: u32) {
        self.lock().remove(&fault);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, InForce>> {
        // Nothing is left half done under this lock, so a panic elsewhere does not spoil it.
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
