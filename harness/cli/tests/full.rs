//! What takes hours: every workload under every kind of fault, on every suite, 60 s each, and the membership of LXD likewise. Behind `./lab/test --full`.
//!
//! What dqlite and LXD do is not asserted here; that each run is judged is: faults seen and healed, a verdict with its proof, a clean lab.
#![cfg(feature = "full")]

mod joiner;
mod support;

use std::path::Path;

use serde_json::Value;
use support::{Folder, checker, expect_code, harness, stderr, stdout};

/// Operations a second, the history written to disk included.
const OPS_PER_S_MIN: f64 = 200_000.0;
/// Clients of the interpreter's bench.
const CONCURRENCY: &str = "1024";
/// Operations: their history is at least twice as large as the memory that is allowed.
const OPS: u64 = 3_000_000;
/// Largest memory, in bytes.
const MEMORY_BYTES_MAX: u64 = 200_000_000;
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

/// An LXD of our own in a folder of its own, whose instances are nodes. Ends with it.
struct Server {
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder on a disk");
        let server = Self { folder };
        expect_code(&server.script("start"), 0);
        server
    }

    fn socket(&self) -> String {
        format!("{}/lxd/unix.socket", self.folder.path().display())
    }

    /// As root, which a user's tests are not.
    fn script(&self, command: &str) -> std::process::Output {
        let root = rustix::process::geteuid().is_root();
        let (program, arguments): (_, &[&str]) = if root {
            ("env", &[])
        } else {
            ("sudo", &["-n"])
        };
        std::process::Command::new(program)
            .args(arguments)
            .arg(format!("HARNESS_STATE={}", self.folder.path().display()))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../lab/lxd"))
            .arg(command)
            .stdin(std::process::Stdio::null())
            .output()
            .expect("the script starts")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.script("remove");
    }
}

/// What is seen of a killed joiner in the built-in lab (`live_lxd`) is seen on instances of LXD as well.
#[test]
fn a_killed_joiner_is_judged_on_instances_of_lxd_too() {
    expect_code(&harness().args(["lab", "down"]).output().expect("down"), 0);
    let server = Server::start();
    let folder = Folder::new();
    let file = folder.path().join("lab.yaml");
    let lab = format!(
        "provider: lxd\nremote: {}\nwith: [dqlite, lxd]\n",
        server.socket()
    );
    std::fs::write(&file, lab).expect("lab.yaml");
    joiner::is_killed_and_judged(&folder, &["--lab", file.to_str().expect("a path in UTF-8")]);
    assert_eq!(folder.json("meta.json")["provider"], "lxd");
    all_right(&[]);
}

/// Prints how a run ended; what is wrong with it, if anything is: an hour of other runs is not thrown away for one.
fn told(what: &str, folder: &Folder, output: &std::process::Output) -> Option<String> {
    let Some(problem) = problem(folder, output) else {
        let verdict = folder.json("verdict.json");
        let results = verdict["results"].as_array().into_iter().flatten();
        let why: Vec<String> = results
            .filter(|result| result["verdict"] == "invalid" || result["verdict"] == "unknown")
            .map(|result| format!("\n  {}: {}", result["checker"], result["summary"]))
            .collect();
        println!("{what}: {}{}", verdict["verdict"], why.concat());
        if verdict["verdict"] != "valid" {
            keep(what, folder);
        }
        return None;
    };
    println!("{what}: WRONG: {problem}");
    keep(what, folder);
    Some(format!("{what}: {problem}\n{}", stderr(output)))
}

/// What broke in the night is there in the morning: the run is copied to where cargo keeps what tests leave.
fn keep(what: &str, folder: &Folder) {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("full");
    let to = kept.join(what.replace([' ', ','], "-"));
    let copied = std::fs::create_dir_all(&kept).and_then(|()| {
        let _ = std::fs::remove_dir_all(&to);
        let mut copy = std::process::Command::new("cp");
        copy.arg("-r").arg(folder.latest()).arg(&to).status()
    });
    match copied {
        Ok(status) if status.success() => println!("  kept in {}", to.display()),
        other => println!("  not kept: {other:?}"),
    }
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
    // All members that are asked to stop at once, or more of the voters than can be spared, cannot hand over their roles, and dqlite-demo
    // goes on trying for about 55 s: then no stop is seen to hold within the run, which is told.
    let told = faults.to_string();
    let too_many = ["fault 1 (stop all", "fault 1 (stop majority"];
    let outlasted = too_many.iter().any(|label| told.contains(label))
        && told.contains("interrupted before it was seen to hold");
    if faults["verdict"] != "valid" && !outlasted {
        return Some(format!("faults: {faults}"));
    }
    let results = verdict["results"].as_array()?;
    let unproven = results.iter().find_map(|result| {
        let silent =
            result["notes"].as_array()?.is_empty() && result["witnesses"].as_array()?.is_empty();
        (result["verdict"] == "invalid" && silent)
            .then(|| format!("invalid without a proof: {result}"))
    });
    unproven.or_else(|| unverified(folder, output.status.code()))
}

/// What the independent verifier does not find in what was recorded.
fn unverified(folder: &Folder, code: Option<i32>) -> Option<String> {
    let again = harness()
        .args(["check", "--dry-run", "--verify"])
        .arg(folder.latest())
        .output()
        .expect("the binary starts");
    let told = stdout(&again);
    let line = told.lines().find(|line| line.contains("verified: "));
    println!("{}", line.unwrap_or_default());
    (again.status.code() != code || line.is_none()).then(|| {
        format!(
            "judged again: {:?}\n{told}{}",
            again.status.code(),
            stderr(&again)
        )
    })
}

/// As the issue of the main job demands.
#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "times of a debug build say nothing; ./lab/test --full has a release build of it"
)]
fn the_interpreter_is_fast_enough_and_its_memory_does_not_grow_with_the_history() {
    let output = harness()
        .args(["bench", "interpreter", "--json", "--concurrency"])
        .args([CONCURRENCY, "--operations", &OPS.to_string()])
        .output()
        .expect("the binary starts");
    expect_code(&output, 0);
    let figures: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // For whoever reads what the full tier printed.
    println!("{figures}");
    let number = |name: &str| figures[name].as_u64().expect("a number");
    assert!(number("bytes") > 2 * MEMORY_BYTES_MAX, "{figures}");
    // 0 is a kernel that does not say.
    assert!(
        (1..=MEMORY_BYTES_MAX).contains(&number("vm_hwm_bytes")),
        "{figures}"
    );
    let ops_per_s = figures["ops_per_s"].as_f64().expect("a number");
    assert!(ops_per_s >= OPS_PER_S_MIN, "{figures}");
}
