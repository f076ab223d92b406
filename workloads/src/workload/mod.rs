//! Workloads: what clients do to the system, and which checkers judge it.
//!
//! A workload is data about the operations ([`Kind`]) and a pure generator. How an operation is done on a given
//! system is that system's business ([`crate::systems`]); the SQL ones are in `systems::dqlite::sql`.
//!
//! Values in histories:
//!
//! | workload | f | invoke | ok |
//! | --- | --- | --- | --- |
//! | register | read | `[k, null]` | `[k, v]`, `[k, null]` if never written |
//! | | write | `[k, v]` | the same |
//! | | cas | `[k, [old, new]]` | the same; a mismatch is a `fail` |
//! | set | add | `v` | `v` |
//! | | read | `null` | `[v, …]` |
//! | bank | transfer | `{"from":a,"to":b,"amount":n}` | the same |
//! | | read | `null` | `{"0":10,"1":12,…}` |
//! | append | txn | `[["append",k,v],["r",k,null]]` | `[["append",k,v],["r",k,[v,…]]]` |
//! | membership | join, remove, list, … | see [`harness_core::membership`] | |
//! | | add, read | as those of set | |

use std::{str::FromStr, sync::Arc, time::Duration};

use harness_core::{
    generator::{BoxGenerator, Combine, OpSpec, each_thread, repeat},
    seed::Seed,
};
use serde::Serialize;
use serde_json::{Value, json};

pub mod append;
pub mod bank;
pub mod membership;
pub mod register;
pub mod set;

/// The names of all workloads, for help and errors.
pub const NAMES: [&str; 5] = ["membership", "register", "set", "bank", "append"];

/// How a read gets its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    /// From the leader, which does not ask a quorum: what the system's users do.
    #[default]
    Leader,
    /// Through the log: with a write in the same transaction, so that a deposed leader cannot answer.
    Log,
}

impl FromStr for Reads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "leader" => Ok(Self::Leader),
            "log" => Ok(Self::Log),
            other => Err(format!("{other:?} is no way to read; use leader or log")),
        }
    }
}

/// A workload and its parameters.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Kind {
    /// Reads, writes and compare-and-sets of several keys.
    Register(register::Parameters),
    /// Adds of distinct elements, and reads of all.
    Set(set::Parameters),
    /// Transfers between accounts whose total must not change.
    Bank(bank::Parameters),
    /// Transactions of appends to lists and reads of them.
    Append(append::Parameters),
    /// Joins and removes of members; its data operations are those of [`Kind::Set`].
    Membership(membership::Parameters),
}

/// What every generator is told.
#[derive(Clone, Debug)]
pub struct Load {
    /// The run's seed.
    pub seed: Seed,
    /// Workers.
    pub concurrency: usize,
    /// Names of the nodes: threads work on node `thread % nodes`.
    pub names: Arc<[Arc<str>]>,
    /// Operations a second, all workers together; none for as many as they can.
    pub rate: Option<f64>,
    /// How long load lasts.
    pub time_limit: Duration,
}

impl Kind {
    /// The workload of that name with its usual parameters.
    pub fn named(name: &str, reads: Reads) -> Result<Self, String> {
        match name {
            "register" => Ok(Self::Register(register::Parameters {
                reads,
                ..register::Parameters::default()
            })),
            "set" => Ok(Self::Set(set::Parameters::default())),
            "bank" => Ok(Self::Bank(bank::Parameters::default())),
            "append" => Ok(Self::Append(append::Parameters::default())),
            "membership" => Ok(Self::Membership(membership::Parameters::default())),
            other => Err(format!(
                "there is no workload {other:?}; there are {}",
                NAMES.join(", ")
            )),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Register(_) => "register",
            Self::Set(_) => "set",
            Self::Bank(_) => "bank",
            Self::Append(_) => "append",
            Self::Membership(_) => "membership",
        }
    }

    /// The kinds of operations that its load consists of: what a fault can wait for.
    #[must_use]
    pub fn operations(&self) -> &'static [&'static str] {
        match self {
            Self::Register(_) => &["read", "write", "cas"],
            Self::Set(_) => &["add", "read"],
            Self::Bank(_) => &["transfer", "read"],
            Self::Append(_) => &["txn"],
            Self::Membership(_) => {
                use harness_core::membership::{DATA_WRITE, JOIN, LIST, REMOVE};
                &[JOIN, REMOVE, LIST, DATA_WRITE, "read"]
            }
        }
    }

    /// What is done while faults strike.
    #[must_use]
    pub fn load(&self, load: &Load) -> BoxGenerator {
        match self {
            Self::Register(parameters) => parameters.load(load),
            Self::Set(parameters) => parameters.load(load),
            Self::Bank(parameters) => parameters.load(load),
            Self::Append(parameters) => parameters.load(load),
            Self::Membership(parameters) => parameters.load(load),
        }
    }

    /// What is read once all is healed; none if the workload needs no last reads.
    #[must_use]
    pub fn final_reads(&self, load: &Load) -> Option<BoxGenerator> {
        match self {
            Self::Register(_) | Self::Append(_) => None,
            Self::Set(parameters) => Some(parameters.final_reads(load)),
            Self::Bank(parameters) => Some(parameters.final_reads(load)),
            Self::Membership(parameters) => Some(parameters.final_reads(load)),
        }
    }

    /// What its checkers need to know: kept in `meta.json`.
    #[must_use]
    pub fn options(&self) -> Value {
        match self {
            Self::Register(parameters) => json!({ "reads": parameters.reads }),
            Self::Set(_) | Self::Append(_) => json!({}),
            Self::Bank(parameters) => parameters.options(),
            Self::Membership(parameters) => parameters.options(),
        }
    }

    /// Its parameters, if it changes the membership.
    #[must_use]
    pub fn membership(&self) -> Option<&membership::Parameters> {
        match self {
            Self::Membership(parameters) => Some(parameters),
            _ => None,
        }
    }
}

/// How long the last reads may take until one succeeded on every thread.
const FINAL_READS_TIMEOUT: Duration = Duration::from_secs(30);

/// A load that keeps to its rate and its time.
fn paced(generator: BoxGenerator, load: &Load) -> BoxGenerator {
    let stream = load.seed.stream("workload/stagger");
    match load.rate {
        Some(rate) => generator
            .stagger(Duration::from_secs_f64(1.0 / rate), stream)
            .time_limit(load.time_limit)
            .boxed(),
        None => generator.time_limit(load.time_limit).boxed(),
    }
}

/// The same read on every thread, until each has succeeded once.
fn read_on_every_thread(read: OpSpec, load: &Load) -> BoxGenerator {
    let streams = load.seed;
    each_thread(move |thread| {
        repeat(read.clone())
            .stagger(
                Duration::from_millis(20),
                streams.stream(&format!("final/{thread}")),
            )
            .until_ok()
            .boxed()
    })
    .time_limit(FINAL_READS_TIMEOUT)
    .boxed()
}
