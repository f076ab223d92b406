//! What takes hours: every workload under every kind of fault, on every suite, 60 s each, and the membership of LXD likewise. Behind `./lab/test --full`.
//!
//! What dqlite and LXD do is not asserted here; that each run is judged is: faults seen and healed, a verdict with its proof, a clean lab.
#![cfg(feature = "full")]

mod support;

use support::{Folder, checker, expect_code, harness, stderr};

/// Seconds of load of each run.
const LOAD_S: &str = "60";

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
fn every_workload_under_every_fault_is_judged_on_bookworm() {
    every_workload_under_every_fault_is_judged("bookworm");
}

#[test]
fn every_workload_under_every_fault_is_judged_on_trixie() {
    every_workload_under_every_fault_is_judged("trixie");
}

#[test]
fn every_workload_under_every_fault_is_judged_on_forky() {
    every_workload_under_every_fault_is_judged("forky");
}

fn every_workload_under_every_fault_is_judged(suite: &str) {
    let mut wrong = Vec::new();
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
                LOAD_S,
            ]);
            let what = format!("{suite} {workload} {nemesis}");
            wrong.extend(told(&what, &folder, &output));
        }
    }
    all_right(&wrong);
}

/// LXD is a package of these suites only.
#[test]
fn lxd_under_faults_is_judged_on_bookworm_and_trixie() {
    let mut wrong = Vec::new();
    for suite in ["bookworm", "trixie"] {
        expect_code(&harness().args(["lab", "down"]).output().expect("down"), 0);
        for nemesis in ["partition", "kill"] {
            let folder = Folder::new();
            let output = folder.run(&[
                "--system",
                "lxd",
                "--suite",
                suite,
                "--workload",
                "membership",
                "--nemesis",
                nemesis,
                "--time-limit",
                LOAD_S,
            ]);
            let what = format!("{suite} lxd membership {nemesis}");
            wrong.extend(told(&what, &folder, &output));
        }
    }
    all_right(&wrong);
}

/// Prints how a run ended; what is wrong with it, if anything is: an hour of other runs is not thrown away for one.
fn told(what: &str, folder: &Folder, output: &std::process::Output) -> Option<String> {
    let Some(problem) = problem(folder, output) else {
        println!("{what}: {}", folder.json("verdict.json")["verdict"]);
        return None;
    };
    println!("{what}: WRONG: {problem}");
    Some(format!("{what}: {problem}\n{}", stderr(output)))
}

/// Takes the lab down and fails if something was wrong.
fn all_right(wrong: &[String]) {
    expect_code(&harness().args(["lab", "down"]).output().expect("down"), 0);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What a run lacks of being judged.
fn problem(folder: &Folder, output: &std::process::Output) -> Option<String> {
    if ![Some(0), Some(1), Some(2)].contains(&output.status.code()) {
        return Some(format!("exit {:?}", output.status.code()));
    }
    let verdict = folder.json("verdict.json");
    let faults = checker(&verdict, "faults");
    if faults["verdict"] != "valid" {
        return Some(format!("faults: {faults}"));
    }
    let results = verdict["results"].as_array()?;
    results.iter().find_map(|result| {
        let silent =
            result["notes"].as_array()?.is_empty() && result["witnesses"].as_array()?.is_empty();
        (result["verdict"] == "invalid" && silent)
            .then(|| format!("invalid without a proof: {result}"))
    })
}
