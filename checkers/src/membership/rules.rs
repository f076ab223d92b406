//! What the membership checker is told besides history, faults and views: from `meta.system` and `meta.workload_options`.
//!
//! `workload_options`, each optional:
//!
//! | field | meaning | default |
//! | --- | --- | --- |
//! | `settle_ms` | how long after the last disturbance sources may still differ | 30,000 |
//! | `initial_members` | who is a member at time 0 | read from the views before the first join or remove |
//! | `sources` | which sources the system has | DESIGN.md's table; for an unknown system those that views are of |
//! | `live_nodes` | members that are meant to run at the end | all |
//! | `max_voters` | voters that the system keeps if it has that many members | 3 for LXD and microcluster, else not judged |
//! | `recovery_timeout_ms` | how soon a member must take a write after healing | that of `availability` |

use harness_core::{
    meta::Meta,
    view::{Source, View},
};
use serde::Deserialize;

use crate::availability::RECOVERY_TIMEOUT_MS;

/// How long sources may differ after a disturbance if nothing else is said, milliseconds.
pub const SETTLE_MS: u64 = 30_000;
/// Voters that go-dqlite keeps for LXD and microcluster.
const GO_DQLITE_VOTERS: usize = 3;
/// Nanoseconds in a millisecond.
pub(super) const MS_NS: u64 = 1_000_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Options {
    settle_ms: Option<u64>,
    initial_members: Option<Vec<String>>,
    sources: Option<Vec<Source>>,
    live_nodes: Option<Vec<String>>,
    max_voters: Option<usize>,
    recovery_timeout_ms: Option<u64>,
}

/// The options with their defaults.
#[derive(Debug)]
pub(super) struct Rules {
    pub settle_ns: u64,
    pub initial_members: Option<Vec<String>>,
    /// What the system has, in the order of [`Source::ALL`].
    pub sources: Vec<Source>,
    pub live_nodes: Option<Vec<String>>,
    pub max_voters: Option<usize>,
    pub recovery_timeout_ns: u64,
    /// What could not be used of the options.
    pub problem: Option<String>,
}

impl Rules {
    pub fn new(meta: &Meta, views: &[View]) -> Self {
        let (options, problem) = if meta.workload_options.is_null() {
            (Options::default(), None)
        } else {
            match serde_json::from_value::<Options>(meta.workload_options.clone()) {
                Ok(options) => (options, None),
                Err(error) => (Options::default(), Some(error.to_string())),
            }
        };
        let managed = matches!(meta.system.as_str(), "lxd" | "microcluster");
        Self {
            settle_ns: options.settle_ms.unwrap_or(SETTLE_MS).saturating_mul(MS_NS),
            initial_members: options.initial_members,
            sources: sources(options.sources, &meta.system, views),
            live_nodes: options.live_nodes,
            max_voters: options.max_voters.or(managed.then_some(GO_DQLITE_VOTERS)),
            recovery_timeout_ns: options
                .recovery_timeout_ms
                .unwrap_or(RECOVERY_TIMEOUT_MS)
                .saturating_mul(MS_NS),
            problem,
        }
    }

    pub fn has(&self, source: Source) -> bool {
        self.sources.contains(&source)
    }

    /// Those of database, truststore and raft that the system has.
    pub fn core_sources(&self) -> impl Iterator<Item = Source> + '_ {
        self.sources
            .iter()
            .copied()
            .filter(|source| *source != Source::Cache)
    }
}

fn sources(given: Option<Vec<Source>>, system: &str, views: &[View]) -> Vec<Source> {
    Source::ALL
        .into_iter()
        .filter(|source| match (&given, system) {
            (Some(given), _) => given.contains(source),
            (None, "lxd" | "microcluster") => true,
            (None, "dqlite") => matches!(source, Source::Raft | Source::Cache),
            (None, _) => views.iter().any(|view| view.source == *source),
        })
        .collect()
}
