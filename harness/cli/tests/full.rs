//! What takes about an hour: every workload under every kind of fault, on every suite, 60 s each. Behind `./lab/test --full`.
//!
//! What dqlite does is not asserted here; that each run is judged is: faults seen and healed, a verdict with its proof, a clean lab.
#![cfg(feature = "full")]

mod support;

use support::{Folder, checker, expect_code, harness, stderr};

/// Leaves a lab of that suite up.
fn lab_of(suite: &str) {
    let lab = |arguments: &[&str]| {
        harness()
            .arg("lab")
            .args(arguments)
            .output()
            .expect("the binary starts")
    };
    expect_code(&lab(&["down"]), 0);
    expect_code(&lab(&["up", "--suite", suite]), 0);
}

#[test]
fn every_workload_under_every_fault_on_every_suite_is_judged() {
    for suite in ["bookworm", "trixie", "forky"] {
        lab_of(suite);
        for workload in ["membership", "register", "set", "bank", "append"] {
            for nemesis in ["partition", "kill", "stop", "pause", "partition,kill,pause"] {
                let folder = Folder::new();
                let output = folder.run(&[
                    "--workload",
                    workload,
                    "--nemesis",
                    nemesis,
                    "--time-limit",
                    "60",
                ]);
                let what = format!("{suite} {workload} {nemesis}: {}", stderr(&output));
                assert!([0, 1, 2].contains(&output.status.code().unwrap()), "{what}");
                let verdict = folder.json("verdict.json");
                assert_eq!(checker(&verdict, "faults")["verdict"], "valid", "{what}");
                for result in verdict["results"].as_array().unwrap() {
                    let told = !result["notes"].as_array().unwrap().is_empty()
                        || !result["witnesses"].as_array().unwrap().is_empty();
                    assert!(result["verdict"] != "invalid" || told, "{what}: {result}");
                }
                println!("{suite} {workload} {nemesis}: {}", verdict["verdict"]);
            }
        }
    }
    expect_code(&harness().args(["lab", "down"]).output().unwrap(), 0);
}
