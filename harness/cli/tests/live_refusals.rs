//! What a run does when it cannot be done: nodes that are not ours, a cluster that does not form. On real nodes.
#![cfg(feature = "live")]

#[expect(dead_code, reason = "each test program uses what it needs")]
mod support;

use support::{Folder, expect_code, harness, stderr};

fn lab(arguments: &[&str]) -> std::process::Output {
    harness()
        .arg("lab")
        .args(arguments)
        .output()
        .expect("the binary starts")
}

fn on(node: &str, script: &str) {
    expect_code(&lab(&["exec", node, "--", "sh", "-c", script]), 0);
}

/// A fresh lab, taken down again also if the test fails: what it breaks must not meet the next one.
struct BrokenLab;

impl BrokenLab {
    fn new() -> Self {
        expect_code(&lab(&["down"]), 0);
        expect_code(&lab(&["up"]), 0);
        Self
    }
}

impl Drop for BrokenLab {
    fn drop(&mut self) {
        lab(&["down"]);
    }
}

/// Nothing is done to any node while one lacks the marker: no run is begun, and the message says who and how to mend it.
#[test]
fn a_node_without_our_marker_is_refused() {
    let _lab = BrokenLab::new();
    on("n3", "mv /etc/harness-node /etc/harness-hidden");
    let folder = Folder::new();
    let output = folder.run(&["--workload", "bank", "--nemesis", "kill"]);
    expect_code(&output, 255);
    let said = stderr(&output);
    assert!(said.contains("n3 has no marker file"), "{said}");
    assert!(said.contains("mend"), "{said}");
    assert!(!folder.path().join("runs").exists(), "a run was begun");
    expect_code(&lab(&["down"]), 0);
    expect_code(&lab(&["up"]), 0);
    on("n3", "test -e /etc/harness-node");
}

/// A program that ends at once: exit 255, and the logs say why.
#[test]
fn a_cluster_that_does_not_form_leaves_its_logs() {
    let _lab = BrokenLab::new();
    on(
        "n2",
        "program=$(command -v dqlite-demo) && rm \"$program\" && printf '#!/bin/sh\\necho I break; exit 7\\n' > \"$program\" && chmod +x \"$program\"",
    );
    let folder = Folder::new();
    let output = folder.run(&["--workload", "bank", "--nemesis", "kill"]);
    expect_code(&output, 255);
    assert!(stderr(&output).contains("I break"), "{}", stderr(&output));
    let log = std::fs::read_to_string(folder.latest().join("logs/n2/dqlite.log"));
    assert!(log.expect("n2's log").contains("I break"));
    let meta = folder.json("meta.json");
    assert!(meta["harness_failures"][0].as_str().is_some(), "{meta}");
    assert!(!folder.latest().join("verdict.json").exists());
}
