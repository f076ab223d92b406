//! Which checkers judge a run: a function of what `meta.json` says, so that a stored run is judged the same.

use harness_checkers::{
    membership,
    registry::{RegistryError, checker},
};
use harness_core::{meta::Meta, verdict::Checker};
use serde_json::{Value, json};

/// What dqlite's readers must know, put next to a stale read and nowhere else.
///
/// Source: dqlite's gateway answers a query from the node's own state if the node *believes* that it leads; no
/// round of heartbeats confirms it. A leader that was cut off believes so until its election timeout is over.
const DQLITE_STALE_READS: &str = "A dqlite leader answers reads from its own state without asking \
a quorum, so a leader that was cut off goes on answering, with old values, until it notices (about an election timeout, 3 s by default).";

/// What keeps registers from it.
const DQLITE_READS_CURE: &str = "Writes are not affected. Reading through the log, in a transaction that also writes, prevents it: --reads log.";

/// What keeps transactions from it, whose workload has no other way to read.
const DQLITE_TRANSACTIONS_CURE: &str =
    "A transaction that also writes goes through the log and is not affected.";

/// What dqlite's readers must know where a node did not come back.
///
/// Seen on dqlite 1.11.5: `cluster.yaml` of the first node named only itself until 30 s after the cluster had formed; stopped
/// before that and started again as a spare, it logged `no known leader` of itself for as long as it was watched.
pub const DQLITE_LONELY_RESTART: &str = "A go-dqlite node keeps the addresses of the others in cluster.yaml, which it refreshes every 30 s. \
One that is stopped before the first refresh and has handed over its role asks only the nodes that it knew when it was made: the first node asks \
nobody but itself, and finds no leader (its log says: no known leader).";

/// What dqlite's readers must know where a leader died while writes of its disk failed.
///
/// Seen on bookworm's libraft 0.15.0-1 under `io-error` (writes and syncs fail) on the leader: it died in 5 of 5 runs; both core
/// dumps that were looked at stop at the same instruction of libraft, where what was loaded of a snapshot is put into the message
/// that installs it, and what should be the list of its parts is no address (1, and 0). In raft's source the load succeeds without having
/// read anything where there is no snapshot yet.
pub const RAFT_MISSING_SNAPSHOT: &str = "A raft 0.15 leader whose own write failed drops the entry from its log, finds that a follower needs what it no longer has, and \
sends a snapshot instead. Where it has none yet it sends memory that nobody has filled, and dies of SIGSEGV (libraft, sendSnapshotGetCb).";

/// The library of raft that does so, and its version.
const RAFT_WITHOUT_CHECK: (&str, &str) = ("libraft2", "0.15.");

/// Whether failing writes can end a leader of this run so.
fn sends_missing_snapshots(meta: &Meta) -> bool {
    let (library, version) = RAFT_WITHOUT_CHECK;
    let has_it = meta.nodes.iter().any(|node| {
        let found = node.versions.get(library);
        found.is_some_and(|found| found.starts_with(version))
    });
    has_it && meta.nemesis.iter().any(|fault| fault == "io-error")
}

/// The invariants of membership alone, for whoever judges one change of it.
#[must_use]
pub fn membership_checkers() -> Vec<Box<dyn Checker>> {
    membership::checkers()
}

/// The checkers of a run, in the order in which a report shows them.
///
/// # Errors
/// If the stored options are not such as a checker takes.
pub fn checkers(meta: &Meta) -> Result<Vec<Box<dyn Checker>>, RegistryError> {
    let asked = asked(meta);
    asked
        .iter()
        .map(|(name, options)| checker(name, options))
        .collect()
}

/// The names of a run's checkers with the options that each gets, in the same order.
#[must_use]
pub fn asked(meta: &Meta) -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    if meta.workload == "membership" {
        let invariants = membership::INVARIANTS.iter();
        all.extend(invariants.map(|invariant| (invariant.name, Value::Null)));
    }
    let mut add = |name: &'static str, options: Value| all.push((name, options));
    match meta.workload.as_str() {
        "register" => {
            let mut options = json!({ "model": "cas-register", "keyed": "yes" });
            if meta.system == "dqlite" && meta.workload_options["reads"] != "log" {
                options["stale_read_explanation"] =
                    json!(format!("{DQLITE_STALE_READS} {DQLITE_READS_CURE}"));
            }
            add("linearizable", options);
        }
        "set" | "membership" => add("set-full", Value::Null),
        "bank" => add("bank", Value::Null),
        "append" => {
            let mut options = json!({});
            if meta.system == "dqlite" {
                options["explanation_for_realtime"] =
                    json!(format!("{DQLITE_STALE_READS} {DQLITE_TRANSACTIONS_CURE}"));
            }
            add("append", options);
        }
        _ => {}
    }
    for name in ["stats", "faults"] {
        add(name, Value::Null);
    }
    let availability = match meta.system.as_str() {
        "dqlite" => json!({ "explanation": DQLITE_LONELY_RESTART }),
        _ => Value::Null,
    };
    add("availability", availability);
    // A simulation has no processes and writes no logs.
    if !meta.simulated {
        let crashes = match sends_missing_snapshots(meta) {
            true => json!({ "explanation_for_sigsegv": RAFT_MISSING_SNAPSHOT }),
            false => Value::Null,
        };
        add("crashes", crashes);
        add("logs", Value::Null);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::workload::{Kind, NAMES, Reads};

    #[test]
    fn every_workload_has_a_checker_of_its_own() {
        for name in NAMES {
            let kind = Kind::named(name, Reads::Leader).unwrap();
            let meta = Meta {
                workload: name.to_owned(),
                system: "dqlite".to_owned(),
                workload_options: kind.options(),
                ..Meta::default()
            };
            let names: Vec<String> = checkers(&meta)
                .unwrap()
                .iter()
                .map(|checker| checker.name().to_owned())
                .collect();
            let own = match name {
                // Its data are judged as those of set are.
                "membership" => membership::INVARIANTS.len() + 1,
                _ => 1,
            };
            assert_eq!(names.len(), own + 5, "{name}: {names:?}");
        }
    }

    #[test]
    fn a_snapshot_that_is_not_there_explains_only_failing_writes_on_that_raft() {
        let explained = |version: &str, fault: &str| {
            let node = harness_core::meta::NodeMeta {
                versions: [("libraft2".to_owned(), version.to_owned())].into(),
                ..Default::default()
            };
            let meta = Meta {
                system: "dqlite".to_owned(),
                workload: "bank".to_owned(),
                nemesis: vec![fault.to_owned()],
                nodes: vec![node],
                ..Meta::default()
            };
            let crashes = asked(&meta)
                .into_iter()
                .find(|(name, _)| *name == "crashes");
            crashes.unwrap().1 != Value::Null
        };
        assert!(explained("0.15.0-1", "io-error"));
        assert!(!explained("0.15.0-1", "kill"));
        assert!(!explained("0.18.1-1", "io-error"));
    }

    #[test]
    fn membership_is_judged_by_every_invariant_and_its_data_too() {
        let judged = |workload: &str| -> BTreeSet<String> {
            let meta = Meta {
                workload: workload.to_owned(),
                simulated: true,
                ..Meta::default()
            };
            let all = checkers(&meta).unwrap();
            all.iter()
                .map(|checker| checker.name().to_owned())
                .collect()
        };
        let names = judged("membership");
        for invariant in membership::INVARIANTS {
            assert!(names.contains(invariant.name), "{}", invariant.name);
        }
        for name in ["set-full", "stats", "faults", "availability"] {
            assert!(names.contains(name), "{name}");
        }
        assert!(!judged("set").contains("no-ghost"));
    }
}
