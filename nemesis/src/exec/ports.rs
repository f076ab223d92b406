//! What the executor is given: the journal, the history, the clock, and what the system can do.
//!
//! The run store implements [`Ledger`], the recorder [`NemesisLog`]; the nemesis knows neither.

use std::{
    fmt, io,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use harness_core::{
    event::{EventType, OpError},
    fault::LedgerLine,
    trigger::Watched,
};
use harness_lab::{
    Kill, Leader, LogFiles, Pause, Start, Stop,
    capability::{DataFolder, Membership, Program, Query, Sources, Transfer, Wipe},
};
use serde_json::Value;

use crate::plan::{Condition, Kind};

/// Where faults are journalled.
pub trait Ledger: Send + Sync {
    /// Appends a line and returns once it is on disk (fsync). Blocks; the executor calls it where that is allowed.
    ///
    /// # Errors
    /// If it may not be on disk. An intent that is not on disk is not acted upon.
    fn append(&self, line: &LedgerLine) -> io::Result<()>;
}

/// The times that are written down. Waiting is tokio's matter.
pub trait Clock: Send + Sync {
    /// Nanoseconds since the run began, monotonic.
    fn run_ns(&self) -> u64;

    /// Nanoseconds since 1970.
    fn wall_ns(&self) -> u64;
}

/// The machine's clocks; the run began when it was made, or at the instant that was given.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    began: Instant,
}

impl SystemClock {
    /// For a run that began at that instant.
    #[must_use]
    pub fn since(began: Instant) -> Self {
        Self { began }
    }
}

impl Clock for SystemClock {
    fn run_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn wall_ns(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        // A clock before 1970 is broken, and wall times are only for people.
        since_1970.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// An event of the nemesis for the history. The recorder adds index, time and `Process::Nemesis`.
#[derive(Clone, Debug, PartialEq)]
pub struct NemesisEvent {
    /// Always [`EventType::Info`]: lanes overlap, so that pairs of invoke and completion would not nest.
    pub event_type: EventType,
    /// The fault's kind, such as `partition`.
    pub f: String,
    /// `{"fault":1,"step":"observed","label":"partition leader: n2 | n1 n3","nodes":["n2"]}`.
    pub value: Value,
    /// What went wrong: kind `not-observed` or `heal-failed`.
    pub error: Option<OpError>,
}

/// Where the nemesis' events go.
pub trait NemesisLog: Send + Sync {
    /// Records one, with the time of this call. Must not block.
    fn record(&self, event: NemesisEvent);
}

/// Who is a member now, for a workload that changes it. Answers at once, from what it did itself.
pub trait Members: Send + Sync {
    /// Names of nodes that are members, or may be.
    fn members(&self) -> Vec<String>;

    /// How often a node's data were wiped so far. Where that grew while a fault held the node down, its heal starts nothing: the
    /// system would come back as somebody else, or join by itself.
    fn wipings(&self, node: &str) -> u64;
}

/// What a system can do. A fault whose capability is missing is refused before the run begins.
#[derive(Clone, Default)]
pub struct Capabilities {
    /// Starting.
    pub start: Option<Arc<dyn Start>>,
    /// Stopping gracefully.
    pub stop: Option<Arc<dyn Stop>>,
    /// Killing.
    pub kill: Option<Arc<dyn Kill>>,
    /// Freezing.
    pub pause: Option<Arc<dyn Pause>>,
    /// Taking its data away.
    pub wipe: Option<Arc<dyn Wipe>>,
    /// Joining and removing members: a node that was wiped is healed by it.
    pub membership: Option<Arc<dyn Membership>>,
    /// Making another node lead.
    pub transfer: Option<Arc<dyn Transfer>>,
    /// Naming its program. Without it no fault can strike at a function.
    pub program: Option<Arc<dyn Program>>,
    /// Naming its data folder.
    pub data: Option<Arc<dyn DataFolder>>,
    /// Knowing who leads and votes. Without it, targets fall back as `plan::resolve` says.
    pub leader: Option<Arc<dyn Leader>>,
    /// Knowing who is a member, where not all nodes are.
    pub members: Option<Arc<dyn Members>>,
    /// Saying where its logs are. Without it no fault can wait for a log's line.
    pub log_files: Option<Arc<dyn LogFiles>>,
    /// Answering queries. Without it no fault can wait for one to hold.
    pub query: Option<Arc<dyn Query>>,
    /// Reading where membership is kept. Without it no fault can wait for a view.
    pub sources: Option<Arc<dyn Sources>>,
}

impl Capabilities {
    /// What is missing for a kind of fault, and for waiting at a function.
    #[must_use]
    pub fn missing(&self, kind: Kind, at_function: bool) -> Vec<&'static str> {
        let mut needs = match kind {
            Kind::Partition => vec![],
            Kind::Kill => vec![
                ("kill", self.kill.is_some()),
                ("start", self.start.is_some()),
            ],
            Kind::Stop => vec![
                ("stop", self.stop.is_some()),
                ("start", self.start.is_some()),
            ],
            Kind::Pause => vec![("pause", self.pause.is_some())],
            Kind::Restart => vec![
                ("stop", self.stop.is_some()),
                ("start", self.start.is_some()),
            ],
            Kind::Reboot => vec![("start", self.start.is_some())],
            Kind::Wipe => vec![
                ("wipe", self.wipe.is_some()),
                ("membership", self.membership.is_some()),
            ],
            Kind::LeaderTransfer => vec![
                ("leader-transfer", self.transfer.is_some()),
                ("leader", self.leader.is_some()),
            ],
            Kind::Condition(condition) => self.needed(condition),
        };
        if at_function {
            needs.push(("program with functions to watch", self.program.is_some()));
            if kind == Kind::Partition {
                needs.push(("pause", self.pause.is_some()));
            }
        }
        needs
            .into_iter()
            .filter(|(_, there)| !there)
            .map(|(what, _)| what)
            .collect()
    }

    fn needed(&self, condition: Condition) -> Vec<(&'static str, bool)> {
        let all = [
            (condition.needs_process(), "program", self.program.is_some()),
            (
                condition.needs_data_folder(),
                "data folder",
                self.data.is_some(),
            ),
            (condition.needs_kill(), "kill", self.kill.is_some()),
            (condition.needs_start(), "start", self.start.is_some()),
        ];
        let needed = all.into_iter().filter(|(needed, ..)| *needed);
        needed.map(|(_, what, there)| (what, there)).collect()
    }
}

impl Capabilities {
    /// What is missing for waiting for that.
    #[must_use]
    pub fn missing_to_watch(&self, what: &Watched) -> Option<&'static str> {
        let (name, there) = match what {
            Watched::Log { .. } => ("logs to follow", self.log_files.is_some()),
            Watched::File { .. } => ("data folder to watch", self.data.is_some()),
            Watched::Query(_) => ("answers to queries", self.query.is_some()),
            Watched::View { .. } => ("sources of membership to read", self.sources.is_some()),
        };
        (!there).then_some(name)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capabilities")
            .field("start", &self.start.is_some())
            .field("stop", &self.stop.is_some())
            .field("kill", &self.kill.is_some())
            .field("pause", &self.pause.is_some())
            .field("wipe", &self.wipe.is_some())
            .field("membership", &self.membership.is_some())
            .field("transfer", &self.transfer.is_some())
            .field("program", &self.program.is_some())
            .field("data", &self.data.is_some())
            .field("leader", &self.leader.is_some())
            .field("members", &self.members.is_some())
            .field("log_files", &self.log_files.is_some())
            .field("query", &self.query.is_some())
            .field("sources", &self.sources.is_some())
            .finish()
    }
}
