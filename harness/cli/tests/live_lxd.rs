//! Whole runs on real LXD in the built-in lab: members join and leave, and the places where membership is kept are judged.
#![cfg(feature = "live")]

mod joiner;
mod lab;
#[expect(dead_code, reason = "each test program uses what it needs")]
mod support;

use std::process::Output;

use lab::Lab;
use serde_json::Value;
use support::{Folder, checker, stderr};

/// Members at first, those that join, and the canary.
const NODES: &str = "5";

fn run(folder: &Folder, arguments: &[&str]) -> (Output, Value) {
    let usual = ["--system", "lxd", "--nodes", NODES];
    let output = folder.run(&[&usual, arguments].concat());
    let code = output.status.code();
    assert!(
        [Some(0), Some(1), Some(2)].contains(&code),
        "{code:?}: {}",
        stderr(&output)
    );
    let verdict = folder.json("verdict.json");
    (output, verdict)
}

/// One change after the other and no faults: every place was read, and what is not valid comes with its proof. Stock LXD is not
/// asserted to be right in every place: seen was a removed member's certificate that stayed in one member's local truststore.
#[test]
fn joins_and_removes_one_after_the_other_are_judged() {
    let _lab = Lab::new();
    let folder = Folder::new();
    let (output, verdict) = run(&folder, &["--changes", "rejoin", "--time-limit", "25"]);
    for result in verdict["results"].as_array().expect("results") {
        let name = result["checker"].as_str().expect("a name");
        // What sudo takes away is not LXD's fault.
        let looked = result["verdict"] != "unknown" || name == "crashes";
        assert!(looked, "{name}: {result}\n{}", stderr(&output));
        let proven = !result["witnesses"]
            .as_array()
            .expect("witnesses")
            .is_empty();
        assert!(result["verdict"] != "invalid" || proven, "{name}: {result}");
    }
    for name in [
        "no-lost",
        "no-pending",
        "no-resurrection",
        "role-agreement",
        "membership-progress",
        "linearizable-membership",
        "set-full",
    ] {
        assert_eq!(
            checker(&verdict, name)["verdict"],
            "valid",
            "{name}: {verdict}"
        );
    }
    let meta = folder.json("meta.json");
    assert_eq!(
        meta["workload_options"]["sources"],
        serde_json::json!(["database", "truststore", "raft", "cache"])
    );
    let report = std::fs::read_to_string(folder.latest().join("report.html")).expect("a report");
    for word in ["truststore", "raft_nodes", "voter"] {
        assert!(report.contains(word), "the report lacks {word}");
    }
}

/// The joiner is killed where its join is half done, every time: what is left of it is found in each place, and named.
#[test]
fn a_joiner_that_is_killed_is_seen_and_judged() {
    let _lab = Lab::new();
    let folder = Folder::new();
    joiner::is_killed_and_judged(&folder, &[]);
}
