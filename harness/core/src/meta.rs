//! `meta.json`: what was run, on what, and when; and `plan.json`: the faults as planned.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::trigger::{FaultStep, Watch};

/// The version of `meta.json` and `plan.json`.
pub const FORMAT_VERSION: u32 = 1;

/// A stretch of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `form`, `load`, `heal`, `recover`, `settle`, `probes`, `final-reads`, `collect`, `check`. `settle` can come twice.
    pub name: String,
    /// Nanoseconds since the run began; negative before it (forming the cluster).
    pub start_ns: i64,
    /// None while it goes on, or if the controller was killed in it.
    pub end_ns: Option<i64>,
}

/// How a process of the system ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessExit {
    /// Its process id on the node.
    pub pid: u32,
    /// Its exit code, if it exited by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether the kernel says that it wrote a core dump.
    #[serde(default)]
    pub core: bool,
    /// Nanoseconds since 1970 on the node's wall clock.
    pub wall_ns: u64,
    /// Whether we ended it: by a fault, or when the run was over.
    pub expected: bool,
}

/// What is known of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeMeta {
    /// Its name.
    pub name: String,
    /// Its address among the nodes.
    pub address: String,
    /// Versions by package or program.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// Kernel release.
    #[serde(default)]
    pub kernel: String,
    /// Node's wall clock minus ours, nanoseconds, and the bound of its error.
    #[serde(default)]
    pub clock_offset_ns: Option<i64>,
    /// Half the best round trip, nanoseconds.
    #[serde(default)]
    pub clock_bound_ns: Option<u64>,
    /// How processes of the system ended while the run went on.
    #[serde(default)]
    pub exits: Vec<ProcessExit>,
    /// Core dumps that were found, by path.
    #[serde(default)]
    pub core_dumps: Vec<String>,
    /// Whether a core dump would have been seen: `core_pattern` keeps it where we look, and the limit allows it.
    #[serde(default)]
    pub cores_visible: Option<bool>,
    /// Why core dumps would be lost.
    #[serde(default)]
    pub cores_reason: String,
}

/// `meta.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The run's identity: `<UTC time>-<id>`.
    pub id: String,
    /// Version of the harness.
    pub harness_version: String,
    /// Its git commit, if it was built in a checkout; with `-dirty`.
    #[serde(default)]
    pub git_commit: Option<String>,
    /// The system under test: `dqlite`.
    pub system: String,
    /// Whether it is a simulation: said everywhere.
    #[serde(default)]
    pub simulated: bool,
    /// Versions of the system, the same on all nodes or joined by `, `.
    #[serde(default)]
    pub system_versions: BTreeMap<String, String>,
    /// The workload's name.
    pub workload: String,
    /// The nemeses as asked, `none` if none.
    pub nemesis: Vec<String>,
    /// Provider, image and suite.
    #[serde(default)]
    pub provider: String,
    /// Suite of the image.
    #[serde(default)]
    pub suite: String,
    /// Hash of the image's recipe.
    #[serde(default)]
    pub image_hash: String,
    /// The nodes.
    pub nodes: Vec<NodeMeta>,
    /// The seed.
    pub seed: u64,
    /// Seconds that load lasts, as asked.
    pub time_limit_s: f64,
    /// Nanoseconds since 1970 when the run began: time 0 of the history.
    pub started_wall_ns: u64,
    /// What it went through.
    pub phases: Vec<Phase>,
    /// The configuration as merged.
    #[serde(default)]
    pub config: Value,
    /// What the workload's checkers need to know, such as `{"total":100}`.
    #[serde(default)]
    pub workload_options: Value,
    /// The command line as typed, and the one that repeats the run.
    #[serde(default)]
    pub command_line: Vec<String>,
    /// Arguments of `harness` that repeat the run with its seed.
    #[serde(default)]
    pub repeat: Vec<String>,
    /// Whether somebody interrupted it.
    #[serde(default)]
    pub interrupted: bool,
    /// What went wrong with the harness itself.
    #[serde(default)]
    pub harness_failures: Vec<String>,
    /// Whether faults were left that could not be healed.
    #[serde(default)]
    pub lab_dirty: bool,
    /// Kernel, processors and memory of the controller.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

impl Meta {
    /// The phase of that name, if the run came to it.
    #[must_use]
    pub fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }
}

/// One fault as planned. Targets like `leader` are resolved when it is injected; what chance decides is decided here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedFault {
    /// Its number, from 1.
    pub id: u32,
    /// Which lane it is in; faults of one lane never overlap.
    pub lane: u32,
    /// As on the command line: `partition`, `kill`, `loss`.
    pub kind: String,
    /// What was chosen about it: `{"share":"30%"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// The target's name, such as `leader` or `n1+n2|n3`.
    pub target: String,
    /// When to inject it, milliseconds of load time.
    pub inject_ms: u64,
    /// When to heal it.
    pub heal_ms: u64,
    /// A permutation of the nodes' ordinals: the order in which a target takes nodes.
    pub order: Vec<u32>,
    /// What it waits for from `inject_ms` on, if not for that time alone. Then it is on for as long as `heal_ms` is after `inject_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// What its healing waits for; it is healed at the latest when its time is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<FaultStep>,
}

/// What a fault waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "kebab-case")]
pub enum Trigger {
    /// An operation of a kind comes to a phase.
    Phase(OperationPhase),
    /// A function of the system's program is entered on the node that is struck.
    Function(FunctionEntry),
    /// Something that is watched on the nodes.
    Watch(Watch),
    /// A step of a fault of another lane.
    Fault(FaultStep),
}

/// A phase of an operation, and a delay.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OperationPhase {
    /// The operation's kind, such as `join`.
    pub f: String,
    /// Which phase.
    pub moment: Moment,
    /// How long after it, milliseconds.
    pub delay_ms: u64,
}

/// An entry of a function: `{"on":"function","name":"main.run","nth":1,"after":{"f":"join","moment":"invoked","delay_ms":0}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionEntry {
    /// The function's name as the program has it; with `@0xADDRESS` where several are called so.
    pub name: String,
    /// Which entry on that node, from 1, counted from when the function is watched.
    pub nth: u64,
    /// From when on it is watched; none: from the fault's own time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<OperationPhase>,
}

impl FunctionEntry {
    /// The name without the path of its package: `cluster.Join`.
    #[must_use]
    pub fn short_name(&self) -> &str {
        let end = self.name.find('(').unwrap_or(self.name.len());
        let start = self.name[..end].rfind('/').map_or(0, |slash| slash + 1);
        &self.name[start..]
    }
}

impl fmt::Display for OperationPhase {
    /// For people: `a join that is invoked, then 300 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = match self.moment {
            Moment::Invoked => "is invoked",
            Moment::Completed => "completes",
        };
        write!(f, "a {} that {moment}", self.f)?;
        match self.delay_ms {
            0 => Ok(()),
            delay_ms => write!(f, ", then {delay_ms} ms"),
        }
    }
}

impl fmt::Display for Trigger {
    /// For people, after `waits for`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phase(phase) => phase.fmt(f),
            Self::Function(entry) => {
                if let Some(after) = &entry.after {
                    write!(f, "{after}, then ")?;
                }
                write!(f, "entry {} of {}", entry.nth, entry.name)
            }
            Self::Watch(watch) => watch.fmt(f),
            Self::Fault(step) => step.fmt(f),
        }
    }
}

/// A phase of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Its invocation was recorded.
    Invoked,
    /// Its completion was, whatever it is.
    Completed,
}

/// `plan.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The seed that it was drawn from.
    pub seed: u64,
    /// In the order of their injection.
    pub faults: Vec<PlannedFault>,
}
