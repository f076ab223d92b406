//! Clients: what turns an invocation into a call on the system, and its answer into an outcome.
//!
//! Laws:
//! - `ok` means that it took effect; `fail` means that it definitely did not; everything else is `info`;
//! - a client belongs to one process: after an `info` the interpreter drops it and opens a new one for the next process;
//! - a client may be dropped in the middle of [`Client::invoke`], when the operation's deadline is over: the
//!   interpreter records `info`, and whatever the call still does must not disturb later clients;
//! - a client that cannot be opened is no `info`: nothing was sent, so the interpreter records the operation as `fail`
//!   with kind `no-client`.

use async_trait::async_trait;
use harness_core::event::OpError;
use serde_json::Value;
use thiserror::Error;

/// One operation to be done now.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a> {
    /// What kind.
    pub f: &'a str,
    /// Its arguments.
    pub value: &'a Value,
    /// Who does it.
    pub process: u64,
    /// Time left for it.
    pub deadline: std::time::Duration,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Completion {
    /// It took effect, with this result.
    Ok(Value),
    /// It definitely did not; the reason is the proof.
    Fail(OpError),
    /// It may or may not have.
    Info(OpError),
}

/// Why no client could be opened.
#[derive(Debug, Error)]
#[error("{kind}: {message}")]
pub struct OpenError {
    /// A short stable word, such as `refused`, `no-leader`.
    pub kind: String,
    /// What was said.
    pub message: String,
}

/// A single-threaded client of the system.
#[async_trait]
pub trait Client: Send {
    /// Does one operation. See the module's laws.
    async fn invoke(&mut self, invocation: Invocation<'_>) -> Completion;
}

/// Makes clients.
#[async_trait]
pub trait Clients: Send + Sync {
    /// The node that this thread's clients work on, for histories; none if they are bound to none.
    fn node_of_thread(&self, thread: usize) -> Option<std::sync::Arc<str>>;

    /// Opens a client for a process on a thread.
    async fn open(&self, thread: usize, process: u64) -> Result<Box<dyn Client>, OpenError>;
}
