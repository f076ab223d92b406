//! What is refused with 254 before anything is touched, and says where it stands.

use crate::support::{Folder, expect_code, harness, stderr};

/// Each refused, with these words.
fn refused(cases: &[(&[&str], &[&str])]) {
    let folder = Folder::new();
    for (arguments, said) in cases {
        let output = harness()
            .args(*arguments)
            .current_dir(folder.path())
            .output()
            .expect("the binary starts");
        expect_code(&output, 254);
        for word in *said {
            let all = stderr(&output);
            assert!(all.contains(word), "{arguments:?} lacks {word:?}: {all}");
        }
    }
    assert!(!folder.path().join("results").exists());
}

/// A fault that waits for what never happens would be told only at the end.
#[test]
fn faults_that_wait_for_what_the_workload_never_does() {
    let dry = |workload, nemesis| {
        [
            "run",
            "--dry-run",
            "--workload",
            workload,
            "--nemesis",
            nemesis,
        ]
    };
    refused(&[
        (
            &dry("membership", "kill:subject@bogus"),
            &["bogus", "join, remove, list, add, read"],
        ),
        (
            &dry("bank", "kill:subject@join"),
            &["\"join\"", "bank", "transfer, read"],
        ),
        (&dry("bank", "kill:n1@join/fn=main.run"), &["\"join\""]),
        (
            &dry("membership", "kill:subject@add"),
            &["\"add\"", "no subject", "kill:one@add"],
        ),
    ]);
    let good = ["kill:one@transfer", "partition:leader@read.done+1s"];
    for nemesis in good {
        let output = harness().args(dry("bank", nemesis)).output();
        expect_code(&output.expect("the binary starts"), 0);
    }
}

#[test]
fn numbers_that_make_no_sense() {
    refused(&[
        (&["run", "--seed", "-1", "--dry-run"], &["seed", "-1"]),
        (&["run", "--rate", "-1", "--dry-run"], &["rate", "-1"]),
        (
            &["run", "--check-memory", "0", "--dry-run"],
            &["check-memory"],
        ),
        (&["check", "--memory", "0", "latest"], &["--memory"]),
        (
            &["bench", "interpreter", "--concurrency", "0"],
            &["--concurrency"],
        ),
        (
            &["bench", "interpreter", "--operations", "0"],
            &["--operations"],
        ),
    ]);
}

#[test]
fn what_cannot_go_together_or_stand_there() {
    refused(&[
        (
            &["run", "--down", "--leave-running", "--dry-run"],
            &["--down", "--leave-running"],
        ),
        (
            &["run", "--changes", "none,rejoin", "--dry-run"],
            &["changes", "none stands alone"],
        ),
        (
            &["run", "--system", "sim", "--lab", "lab.yaml"],
            &["lab", "simulated"],
        ),
        (
            &["run", "--system", "sim", "--suite", "trixie"],
            &["suite", "simulated"],
        ),
        (
            &["lab", "image", "build", "--with", ""],
            &["with", "dqlite"],
        ),
        (
            &["lab", "heal", "--run", "/nonexistent"],
            &["/nonexistent", "ledger.jsonl"],
        ),
    ]);
}

/// An environment that says where labs are is no choice for this run.
#[test]
fn a_simulation_passes_over_the_lab_of_the_environment() {
    let output = harness()
        .args(["run", "--system", "sim", "--dry-run"])
        .env("HARNESS_LAB", "/nonexistent/lab.yaml")
        .env("HARNESS_SUITE", "trixie")
        .output()
        .expect("the binary starts");
    expect_code(&output, 0);
}
