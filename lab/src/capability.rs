//! What the nemesis may ask of a system, without knowing which one it is.
//!
//! Small optional capabilities instead of one fat trait: a system implements those that make
//! sense for it, and a fault whose capability is missing is refused before the run begins.
//! `Membership`, `Sources` and `Query` join this list with the issues that need them.
//!
//! Laws: every call is idempotent, ends by itself within a bounded time, and returns only
//! once what it says has been *seen* (a process gone, a process running), not when it was asked.

use std::path::PathBuf;

use async_trait::async_trait;
use thiserror::Error;

use crate::{node::Node, transport::TransportError};

/// Why a capability could not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CapabilityError {
    /// The node could not be reached or did not answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The command ran and did not do what it should.
    #[error("{what} on {node} did not work: {detail}")]
    Failed {
        /// What was asked, such as `start dqlite-demo`.
        what: String,
        /// The node's name.
        node: String,
        /// Exit status and the last lines that it wrote.
        detail: String,
    },
    /// What was waited for did not happen in time.
    #[error("{what} on {node} was not seen within {waited_ms} ms")]
    NotSeen {
        /// What was waited for, such as `the end of process 812`.
        what: String,
        /// The node's name.
        node: String,
        /// How long was waited.
        waited_ms: u64,
    },
}

/// What was seen of a process after acting on it: the evidence of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The process that was acted on; none if there was none to act on.
    pub pid: Option<u32>,
    /// One sentence for people, such as `process 812 gone after SIGKILL, exit by signal 9`.
    pub detail: String,
}

/// Starting the system on a node.
#[async_trait]
pub trait Start: Send + Sync {
    /// Starts it if it does not run, and returns once its process is seen running.
    async fn start(&self, node: &Node) -> Result<Seen, CapabilityError>;

    /// The same as a command for the node, for a journal that must work without us: run by
    /// `/bin/sh -c`, idempotent.
    fn start_script(&self, node: &Node) -> String;

    /// Whether its process runs now.
    async fn is_running(&self, node: &Node) -> Result<bool, CapabilityError>;
}

/// Stopping it gracefully.
#[async_trait]
pub trait Stop: Send + Sync {
    /// Asks it to stop and waits until its process is gone.
    async fn stop(&self, node: &Node) -> Result<Seen, CapabilityError>;
}

/// Killing it.
#[async_trait]
pub trait Kill: Send + Sync {
    /// SIGKILL, then waits until its process is gone.
    async fn kill(&self, node: &Node) -> Result<Seen, CapabilityError>;
}

/// Freezing it.
#[async_trait]
pub trait Pause: Send + Sync {
    /// SIGSTOP, then waits until the process is seen in state T.
    async fn pause(&self, node: &Node) -> Result<Seen, CapabilityError>;

    /// SIGCONT, then waits until the process is seen in another state than T.
    async fn resume(&self, node: &Node) -> Result<Seen, CapabilityError>;

    /// The same as a command for the node; see [`Start::start_script`].
    fn resume_script(&self, node: &Node) -> String;
}

/// Who leads, and who votes.
#[async_trait]
pub trait Leader: Send + Sync {
    /// The node that most of the nodes that answer call the leader; none if there is none now.
    async fn leader(&self, nodes: &[Node]) -> Option<Node>;

    /// The nodes that have a vote, as the leader sees it; none if it could not be learnt.
    async fn voters(&self, nodes: &[Node]) -> Option<Vec<Node>>;
}

/// Where its logs are.
pub trait LogFiles: Send + Sync {
    /// Paths on the node.
    fn log_files(&self, node: &Node) -> Vec<PathBuf>;
}
