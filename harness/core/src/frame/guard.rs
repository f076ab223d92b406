//! The node's guard: what undoes faults on a node whose controller is gone. Messages of [`super::message::Request::Guard`].
//!
//! The controller hands over the scripts of every fault that holds on the node, and says so again and again. When it has not
//! done so for as long as the lease lasts, a process of the agent's that outlives its channel runs them.
//!
//! ```text
//! Open  {"guard":{"run":"20261122T110000-5f0a","lease_ms":30000,"heals":[{"fault":3,"script":"…"}],"purge":false}}
//! End   {"guarded":{"watching":true,"healed":[]}}
//! End   {"guarded":{"watching":false,"healed":[{"run":"…","fault":3,"silent_ms":30120,"wall_ns":1763800000000000000,"monotonic_ns":5120004,"problem":null}]}}
//! ```
//!
//! Laws: each request holds all scripts that are wanted from then on, and none ends the watch; what was healed is told with
//! every answer until another run hands over scripts; an answer is never given while scripts run.

use serde::{Deserialize, Serialize};

/// Scripts of one request, at most.
pub const MAX_HEALS: usize = 256;

/// What is to be undone if the controller falls silent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardRequest {
    /// Which run hands them over: faults are numbered anew in each.
    pub run: String,
    /// How long the controller may be silent, in milliseconds, on the node's own clock.
    pub lease_ms: u64,
    /// All scripts, in the order in which they are run; none to end the watch. At most [`MAX_HEALS`].
    pub heals: Vec<GuardHeal>,
    /// Also forget what was healed, and leave nothing on the node.
    pub purge: bool,
}

/// A script that undoes a fault on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardHeal {
    /// The fault's number in its run.
    pub fault: u32,
    /// For `/bin/sh -c`, idempotent.
    pub script: String,
}

/// What the guard does, and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardEnd {
    /// Whether it watches now.
    pub watching: bool,
    /// What it healed by itself, the oldest first.
    pub healed: Vec<GuardHealed>,
}

/// A fault that the node healed by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardHealed {
    /// The run that had handed over its script.
    pub run: String,
    /// The fault's number in it.
    pub fault: u32,
    /// For how long nothing had been heard from the controller, in milliseconds.
    pub silent_ms: u64,
    /// When its script had ended: the node's wall clock, nanoseconds since 1970.
    pub wall_ns: i64,
    /// The same on its monotonic clock.
    pub monotonic_ns: i64,
    /// Why the script did not succeed; none if it did.
    pub problem: Option<String>,
}
