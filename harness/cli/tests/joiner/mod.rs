//! A joiner of LXD that dies half way.

use std::collections::BTreeSet;

use harness_core::fault::{decode, fold};

use crate::support::{Folder, checker, stderr};

/// Initial members, those that join, and the canary.
const NODES: &str = "5";

/// Kills joiners where they enter LXD's `cluster.Join`, on the lab that `arguments` name: what is left of each is found in each place,
/// and named.
#[track_caller]
pub fn is_killed_and_judged(folder: &Folder, arguments: &[&str]) {
    let usual = [
        "--system",
        "lxd",
        "--nodes",
        NODES,
        "--changes",
        "rejoin",
        "--nemesis",
        "kill:subject@join/fn=github.com/lxc/lxd/lxd/cluster.Join",
        "--interval",
        "4s/2s",
        "--time-limit",
        "20",
    ];
    let output = folder.run(&[&usual, arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let verdict = folder.json("verdict.json");
    assert_eq!(
        checker(&verdict, "faults")["verdict"],
        "valid",
        "{}",
        stderr(&output)
    );
    let ledger = std::fs::read(folder.latest().join("ledger.jsonl")).expect("a ledger");
    let faults = fold(&decode(&ledger).expect("lines of a ledger"));
    let killed: BTreeSet<&String> = faults
        .iter()
        .filter(|fault| fault.took_hold() && fault.triggered.is_some())
        .flat_map(|fault| &fault.nodes)
        .collect();
    assert!(!killed.is_empty(), "{faults:#?}");
    for name in ["three-source-agreement", "no-pending", "info-join-atomic"] {
        let judged = checker(&verdict, name);
        assert_eq!(judged["verdict"], "invalid", "{name}: {judged}");
        let found = judged["witnesses"].to_string();
        for member in &killed {
            assert!(found.contains(*member), "{name}, {member}: {found}");
        }
    }
}
