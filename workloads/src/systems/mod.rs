//! The systems under test: how each is installed, formed, observed and taken apart.
//!
//! Laws:
//! - a system never decides what is a fault and what a verdict is; it does and it tells;
//! - what it does not offer is `None`, and a fault that needs it is refused before the run begins;
//! - data is wiped only after the process is seen gone.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use harness_core::meta::ProcessExit;
use harness_lab::{
    Node,
    capability::{
        CapabilityError, DataFolder, Kill, Leader, LogFiles, Membership, Pause, Program, Query,
        Sources, Start, Stop, Transfer, Wipe,
    },
};
use thiserror::Error;

use crate::{client::Clients, workload::Kind};

mod asking;
pub(crate) mod data_layer;
pub mod data_mount;
pub mod dqlite;
pub mod fresh;
pub mod http;
pub mod lxd;
pub mod raft_disk;
pub mod sampling;
pub mod scripts;
pub mod supervised;

/// Why a system could not be made ready. Says nothing about its consistency: exit 255, with its logs.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SystemError {
    /// Something on a node did not work.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    /// The program is not on the node.
    #[error("{node} has no {program}: {mend}")]
    NotInstalled {
        /// The node's name.
        node: String,
        /// What was looked for.
        program: String,
        /// What to do.
        mend: String,
    },
    /// The cluster did not come to be in time.
    #[error("the cluster did not form within {} s: {detail}", .waited.as_secs())]
    NotFormed {
        /// How long was waited.
        waited: Duration,
        /// The last thing seen.
        detail: String,
    },
    /// The workload's tables could not be made.
    #[error("the workload's data could not be set up: {detail}")]
    NotPrepared {
        /// What was said.
        detail: String,
    },
}

/// The capabilities of a system that the nemesis may use.
#[derive(Clone, Default)]
pub struct Handles {
    /// Starts it.
    pub start: Option<Arc<dyn Start>>,
    /// Stops it.
    pub stop: Option<Arc<dyn Stop>>,
    /// Kills it.
    pub kill: Option<Arc<dyn Kill>>,
    /// Freezes it.
    pub pause: Option<Arc<dyn Pause>>,
    /// Takes its data away.
    pub wipe: Option<Arc<dyn Wipe>>,
    /// Makes another node lead.
    pub transfer: Option<Arc<dyn Transfer>>,
    /// Names its program.
    pub program: Option<Arc<dyn Program>>,
    /// Names its data folder.
    pub data: Option<Arc<dyn DataFolder>>,
    /// Says who leads.
    pub leader: Option<Arc<dyn Leader>>,
    /// Says where logs are.
    pub log_files: Option<Arc<dyn LogFiles>>,
    /// Joins and removes members.
    pub membership: Option<Arc<dyn Membership>>,
    /// Reads the places where membership is kept.
    pub sources: Option<Arc<dyn Sources>>,
    /// Asks it as its users do.
    pub query: Option<Arc<dyn Query>>,
}

impl Handles {
    /// Those of a system that offers all of them.
    fn all<T>(system: &Arc<T>) -> Self
    where
        T: Start
            + Stop
            + Kill
            + Pause
            + Wipe
            + Transfer
            + Program
            + Leader
            + LogFiles
            + Membership
            + Sources
            + DataFolder
            + Query
            + 'static,
    {
        Self {
            start: Some(system.clone()),
            stop: Some(system.clone()),
            kill: Some(system.clone()),
            pause: Some(system.clone()),
            wipe: Some(system.clone()),
            transfer: Some(system.clone()),
            program: Some(system.clone()),
            data: Some(system.clone()),
            leader: Some(system.clone()),
            log_files: Some(system.clone()),
            membership: Some(system.clone()),
            sources: Some(system.clone()),
            query: Some(system.clone()),
        }
    }
}

/// Lines of a package and its version; who has no version is not installed.
fn packages(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(package, version)| (package.to_owned(), version.trim().to_owned()))
        .filter(|(_, version)| !version.is_empty())
        .collect()
}

/// How a system's cluster behaves in time, and what it means to look like: from its options, for checkers and waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long after a disturbance its sources of membership may still differ.
    pub settle: Duration,
    /// Voters that it keeps if it has that many members; none if it keeps to no number.
    pub max_voters: Option<usize>,
    /// How often it brings its sources in line by itself.
    pub heartbeat: Duration,
}

/// A system under test on the nodes of a lab.
#[async_trait]
pub trait System: Send + Sync {
    /// Its name, as in `--system`.
    fn name(&self) -> &'static str;

    /// Whether it is a simulation: then every output says so.
    fn simulated(&self) -> bool {
        false
    }

    /// What the nemesis may use.
    fn handles(&self) -> Handles;

    /// Whether a function of its program is a place where dying inside a join or a remove may leave something: by its name, and
    /// the source file that the program's table gives it.
    fn is_crash_point(&self, name: &str, file: Option<&str>) -> bool {
        let _ = (name, file);
        false
    }

    /// Keeping a cluster as it is and putting it back; none if this system offers no such thing.
    fn fresh(&self) -> Option<Arc<dyn fresh::Fresh>> {
        None
    }

    /// How it behaves in time; none if membership is not judged on it.
    fn timing(&self) -> Option<Timing> {
        None
    }

    /// Checks that it is installed, and returns versions by package or program.
    async fn versions(&self, node: &Node) -> Result<BTreeMap<String, String>, SystemError>;

    /// Ends it and removes its data.
    async fn wipe(&self, node: &Node) -> Result<(), SystemError>;

    /// Forms a cluster of these nodes (perhaps not all of the lab), the first one first, and waits until roles have settled.
    async fn form(&self, nodes: &[Node]) -> Result<(), SystemError>;

    /// Makes a workload's tables.
    async fn prepare(&self, nodes: &[Node], workload: &Kind) -> Result<(), SystemError>;

    /// Clients that do a workload's operations.
    fn clients(&self, nodes: &[Node], workload: &Kind) -> Arc<dyn Clients>;

    /// Clients whose one operation, `availability`, is a write through the interface that users of this system use:
    /// one thread a node, in the order of `nodes`.
    fn probes(&self, nodes: &[Node]) -> Arc<dyn Clients>;

    /// How its processes on a node have ended so far. `expected` is left false; the caller knows the faults.
    async fn exits(&self, node: &Node) -> Result<Vec<ProcessExit>, SystemError>;

    /// Core dumps of its processes that lie on the node, those of earlier runs too.
    async fn core_dumps(&self, node: &Node) -> Result<Vec<CoreDump>, SystemError>;
}

/// A core dump on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreDump {
    /// Where.
    pub path: PathBuf,
    /// When it was written, nanoseconds since 1970 on the node's clock.
    pub wall_ns: u64,
}
