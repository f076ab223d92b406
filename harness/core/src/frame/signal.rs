//! Signals to processes of the node, at once or at an instant. Messages of [`super::message::Request::Signal`].
//!
//! ```text
//! Open  {"signal":{"pid":812,"start_time":2633796,"signal":"kill","at_monotonic_ns":5120004000}}
//! End   {"signalled":{"errno":0,"before":{"wall_ns":…,"monotonic_ns":…},"after":{"wall_ns":…,"monotonic_ns":…}}}
//! ```
//!
//! Laws: the process is held by a pidfd before it is waited for the instant, so that the signal reaches that very process or
//! none; an instant that has passed is now.

use serde::{Deserialize, Serialize};

use super::message::Clock;

/// How far ahead an instant may lie, in milliseconds.
pub const MAX_AHEAD_MS: u64 = 10_000;

/// Which signal to which process, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalRequest {
    /// The process, in the node's own numbering.
    pub pid: u32,
    /// Its start time as in field 22 of `/proc/PID/stat`: another process of that number is not signalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<u64>,
    /// What it is sent.
    pub signal: SignalName,
    /// When, on the node's `CLOCK_MONOTONIC` in nanoseconds; none for at once. At most [`MAX_AHEAD_MS`] ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_monotonic_ns: Option<i64>,
}

/// What a process is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignalName {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Cont,
    /// SIGTERM.
    Term,
}

/// How `pidfd_send_signal` went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalEnd {
    /// Its error number; 0 if it was sent.
    pub errno: i32,
    /// The node's clocks right before the call.
    pub before: Clock,
    /// The node's clocks right after its return.
    pub after: Clock,
}
