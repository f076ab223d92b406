//! What the nemesis may ask of a system, without knowing which one it is.
//!
//! Small optional capabilities instead of one fat trait: a system implements those that make
//! sense for it, and a fault whose capability is missing is refused before the run begins.
//!
//! Laws: every call is idempotent, ends by itself within a bounded time, and returns only
//! once what it says has been *seen* (a process gone, a process running), not when it was asked.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use harness_core::{
    event::OpError,
    membership::Obstacle,
    view::{RaftPosition, Reading, Source},
};
use serde_json::Value;
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
    /// Starts it if it does not run, and returns once its process is seen running. On a node that stands by, where nothing
    /// is to run until it joins, nothing is done, and no process is seen.
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
    /// Asks it to stop, at once or when the node's `CLOCK_MONOTONIC` comes to so many nanoseconds, and waits until its process is gone.
    /// Where an instant is given, what was seen says how late it was asked.
    async fn stop(&self, node: &Node, at_ns: Option<i64>) -> Result<Seen, CapabilityError>;
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

/// Taking its data away, as a disk that is lost does.
#[async_trait]
pub trait Wipe: Send + Sync {
    /// SIGKILL, then all data are removed: nothing of the node's membership is left on it, and nothing starts by itself. No
    /// process is seen if none ran; what it had is removed all the same.
    async fn wipe(&self, node: &Node) -> Result<Seen, CapabilityError>;

    /// The same as a command for the node; see [`Start::start_script`]. What it leaves is clean, and no member.
    fn wipe_script(&self, node: &Node) -> String;
}

/// Making another node lead.
#[async_trait]
pub trait Transfer: Send + Sync {
    /// Asks the node that leads to hand leadership to `to`, and returns once `to` was heard to lead.
    async fn transfer(&self, nodes: &[Node], to: &Node) -> Result<Seen, CapabilityError>;
}

/// The program that the system is, for whoever watches its functions.
#[async_trait]
pub trait Program: Send + Sync {
    /// Its path on the nodes, or a name that is looked for in their `PATH`.
    fn program(&self) -> PathBuf;

    /// The process of the system that was started last on the node, whether it still runs or not; none if none was.
    async fn newest_process(&self, node: &Node) -> Result<Option<u32>, CapabilityError>;
}

/// Where its data are.
pub trait DataFolder: Send + Sync {
    /// The folder on the node that holds what it must not lose, and nothing else: no log of its own making, no file of ours.
    fn data_folder(&self, node: &Node) -> PathBuf;

    /// The folder in which names of files are looked for: where its files lie, those beside its data too.
    fn files_folder(&self, node: &Node) -> PathBuf {
        self.data_folder(node)
    }
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

/// Asking it as its users do. Asking changes nothing.
#[async_trait]
pub trait Query: Send + Sync {
    /// The first column of the first row that a reading statement gives; none if it gives no row. Answered by the leader that one of
    /// these nodes knows.
    async fn sql(
        &self,
        nodes: &[Node],
        statement: &str,
        deadline: Duration,
    ) -> Result<Option<Value>, CapabilityError>;

    /// Status and body that a node answers to a GET, on the interface that its users have.
    async fn get(
        &self,
        node: &Node,
        path: &str,
        deadline: Duration,
    ) -> Result<(u16, Vec<u8>), CapabilityError>;
}

/// Why a change of the membership did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// The system said no before anything could take effect: the answer is the proof.
    #[error("refused: {}", .0.message)]
    Refused(OpError),
    /// It may have taken effect, wholly or by half, or may yet.
    #[error("indeterminate: {}", .0.message)]
    Unclear(OpError),
}

/// What a member gave that lets one node join. A token is a secret: only its digest goes into a history.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// What the system calls a token; none if it needs none.
    pub token: Option<String>,
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invitation")
            .field("token", &self.token.as_ref().map(|_| "…"))
            .finish()
    }
}

/// Joining and removing members.
///
/// Laws beside the module's: `deadline` bounds the call, and nothing that it started on a node lives on afterwards,
/// except the system itself; an error is [`ChangeError::Refused`] only where the answer proves that nothing took effect.
#[async_trait]
pub trait Membership: Send + Sync {
    /// Makes a node that is no member ready to join, whatever it was before: its data are wiped, and what must run
    /// for a join to start at once runs. Never called for a node that may be a member.
    async fn stand_by(&self, node: &Node) -> Result<Seen, CapabilityError>;

    /// Asks the member `via` to let `member` in. Changes nothing but tokens.
    async fn invite(
        &self,
        via: &Node,
        member: &Node,
        deadline: Duration,
    ) -> Result<Invitation, ChangeError>;

    /// `member` joins the cluster that `via` belongs to; returns once it is a full member.
    async fn join(
        &self,
        via: &Node,
        member: &Node,
        invitation: &Invitation,
        deadline: Duration,
    ) -> Result<(), ChangeError>;

    /// Whether [`Membership::join`] may be asked of a node whose join broke off, as that node is: not wiped, its program started
    /// anew or still at it, as a user would try again. The default says no.
    fn joins_unwiped(&self) -> bool {
        false
    }

    /// `member` tries to join against an obstacle that has to do with another member: under its name, at its address, or cut off
    /// from it, so that the system takes back what the join did. The obstacle is gone when this comes back, with the error that the
    /// join failed with; the default says that this is not offered, and sends nothing.
    async fn join_against(
        &self,
        via: &Node,
        member: &Node,
        obstacle: Obstacle,
        other: &Node,
        deadline: Duration,
    ) -> Result<(), ChangeError> {
        let _ = (via, deadline, obstacle);
        Err(ChangeError::Refused(OpError {
            kind: "not-offered".to_owned(),
            message: format!(
                "{} cannot be made to fail against {}: this system offers no join that fails",
                member.name, other.name
            ),
        }))
    }

    /// Removes `member`, asked for on `via`. `force`: without asking the member itself.
    async fn remove(
        &self,
        via: &Node,
        member: &Node,
        force: bool,
        deadline: Duration,
    ) -> Result<(), ChangeError>;

    /// The product's own list of full members, as `via` prints it: names of nodes; what is no node of the lab stays as it was printed.
    async fn list(&self, via: &Node, deadline: Duration) -> Result<Vec<String>, ChangeError>;

    /// Whether the node can still read or write the cluster's data: asked of nodes that were removed.
    async fn takes_part(&self, node: &Node, deadline: Duration) -> Result<bool, ChangeError>;
}

/// How much reading a place costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Read in every round.
    Low,
    /// Read less often.
    High,
}

/// One place where membership is kept, on each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The source that it belongs to.
    pub source: Source,
    /// Which one, where a node has several: see [`harness_core::view`].
    pub label: Option<&'static str>,
    /// How much reading it costs.
    pub cost: Cost,
}

/// What a place said. A place may say several things: older configurations in a log are told under [`harness_core::view::LOG`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceReading {
    /// The label to record.
    pub label: Option<&'static str>,
    /// Members, or why it could not be read.
    pub reading: Reading,
    /// Where in raft's log it stands, if that is known.
    pub raft: Option<RaftPosition>,
}

/// Reading the places where membership is kept.
///
/// Laws: reading changes nothing on the node; [`harness_core::view::UnreadKind::Stopped`] is said only if the process was
/// looked for and is not there; what runs into `deadline` says `timeout`; one node's readings never wait for another's.
#[async_trait]
pub trait Sources: Send + Sync {
    /// The places, in the order in which they are shown. The same on every node.
    fn places(&self) -> &[Place];

    /// Reads one place on one node. At least one reading comes back.
    async fn read(&self, node: &Node, place: &Place, deadline: Duration) -> Vec<PlaceReading>;
}
